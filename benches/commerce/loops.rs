//! The plain way: one pass with the standard maps, nothing emitted, nothing retracted. What a query costs at least in
//! everyday code.

use std::collections::{HashMap, HashSet};

use arrow::array::{AsArray, RecordBatch};
use foldhash::fast::RandomState;

use super::columns::{Columns, HOUR, MINUTE};
use super::measure::{Sink, text_value};
use super::queries::{Query, q1_row, q2_row, q4_row};

type Map<K, V> = HashMap<K, V, RandomState>;
type Set<K> = HashSet<K, RandomState>;

/// The answer of a query over all ticks.
pub(crate) fn run(query: Query, ticks: &[RecordBatch], products: &RecordBatch) -> Sink {
    match query {
        Query::Q1 => q1(ticks),
        Query::Q2 | Query::Q2Retractable => q2(ticks),
        Query::Q4 => q4(ticks, products),
    }
}

#[derive(Default)]
struct Group {
    number: u32,
    sum: i64,
    rows: i64,
    orders: i64,
    latest: i64,
}

fn q1(ticks: &[RecordBatch]) -> Sink {
    let mut groups: Map<(i64, u16), Group> = Map::default();
    let mut orders: Set<(u32, i64)> = Set::default();
    for batch in ticks {
        let columns = Columns::new(batch);
        for row in 0..batch.num_rows() {
            let key = (columns.time[row].div_euclid(MINUTE), columns.country_code(row));
            let number = groups.len() as u32;
            let group = groups.entry(key).or_insert_with(|| Group { number, ..Group::default() });
            group.sum += columns.amount[row] as i64;
            group.rows += 1;
            group.orders += i64::from(orders.insert((group.number, columns.order[row])));
        }
    }
    let mut sink = Sink::default();
    for ((minute, country), group) in &groups {
        sink.add(q1_row(minute * MINUTE, *country, group.sum, group.rows, group.orders), 1);
    }
    sink
}

fn q2(ticks: &[RecordBatch]) -> Sink {
    let mut groups: Map<i64, Group> = Map::default();
    let mut orders: Set<(u32, i64)> = Set::default();
    for batch in ticks {
        let columns = Columns::new(batch);
        for row in 0..batch.num_rows() {
            let number = groups.len() as u32;
            let group = groups.entry(columns.customer[row]).or_insert_with(|| Group {
                number,
                latest: i64::MIN,
                ..Group::default()
            });
            group.sum += columns.amount[row] as i64;
            group.latest = group.latest.max(columns.time[row]);
            group.orders += i64::from(orders.insert((group.number, columns.order[row])));
        }
    }
    let mut sink = Sink::default();
    for (customer, group) in &groups {
        sink.add(q2_row(*customer, group.latest, group.orders, group.sum), 1);
    }
    sink
}

fn q4(ticks: &[RecordBatch], products: &RecordBatch) -> Sink {
    let categories: Vec<u64> =
        products.column(1).as_string::<i32>().iter().flatten().map(|name| text_value(name.as_bytes())).collect();
    let by_product: Map<i64, u64> = (0..).zip(categories).collect();
    let mut groups: Map<(u64, i64), i64> = Map::default();
    for batch in ticks {
        let columns = Columns::new(batch);
        for row in 0..batch.num_rows() {
            if let Some(category) = by_product.get(&columns.product[row]) {
                let key = (*category, columns.time[row].div_euclid(HOUR));
                *groups.entry(key).or_default() += columns.amount[row] as i64;
            }
        }
    }
    let mut sink = Sink::default();
    for ((category, hour), sum) in &groups {
        sink.add(q4_row(*category, hour * HOUR, *sum), 1);
    }
    sink
}
