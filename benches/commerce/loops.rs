//! The plain way: one pass with the standard maps, nothing emitted, nothing retracted, what needs an order sorted at the
//! end. What a query costs at least in everyday code.

use std::collections::{HashMap, HashSet};

use arrow::array::{AsArray, RecordBatch};
use foldhash::fast::RandomState;

use super::columns::{Columns, HOUR, MINUTE};
use super::input::Change;
use super::measure::{Sink, text_value};
use super::queries::{Fraud, Query, q1_row, q2_row, q2n_row, q3_row, q4_row, q5_row};

type Map<K, V> = HashMap<K, V, RandomState>;
type Set<K> = HashSet<K, RandomState>;

/// The answer of a query over all ticks; `None` where rows are taken away, which a loop over additions cannot know.
pub(crate) fn run(query: Query, ticks: &[Change], products: &RecordBatch) -> Option<Sink> {
    match query {
        Query::Q1 => Some(q1(ticks)),
        Query::Q2 => Some(q2(ticks)),
        Query::Q2n => Some(q2n(ticks)),
        Query::Q3 => Some(q3(ticks)),
        Query::Q4 => Some(q4(ticks, products)),
        Query::Q5 => Some(q5(ticks)),
        Query::Q2Retractable | Query::Q6 | Query::Q7 => None,
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

fn q1(ticks: &[Change]) -> Sink {
    let mut groups: Map<(i64, u16), Group> = Map::default();
    let mut orders: Set<(u32, i64)> = Set::default();
    for change in ticks {
        let columns = Columns::new(change);
        for row in 0..columns.len() {
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

fn customers(ticks: &[Change]) -> Map<i64, Group> {
    let mut groups: Map<i64, Group> = Map::default();
    let mut orders: Set<(u32, i64)> = Set::default();
    for change in ticks {
        let columns = Columns::new(change);
        for row in 0..columns.len() {
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
    groups
}

fn q2(ticks: &[Change]) -> Sink {
    let mut sink = Sink::default();
    for (customer, group) in &customers(ticks) {
        sink.add(q2_row(*customer, group.latest, group.orders, group.sum), 1);
    }
    sink
}

fn q2n(ticks: &[Change]) -> Sink {
    let groups = customers(ticks);
    let mut ranked: Vec<(i64, i64)> = groups.iter().map(|(customer, group)| (group.sum, *customer)).collect();
    ranked.sort_unstable();
    let (size, larger) = (ranked.len() / 5, ranked.len() % 5);
    let mut sink = Sink::default();
    let mut tile = 1;
    let mut left = size + usize::from(larger > 0);
    for (_, customer) in &ranked {
        if left == 0 {
            tile += 1;
            left = size + usize::from(larger >= tile);
        }
        left -= 1;
        let group = &groups[customer];
        sink.add(q2n_row(q2_row(*customer, group.latest, group.orders, group.sum), tile as u64), 1);
    }
    sink
}

/// A transaction in its card's or customer's history: time, number, amount.
type Event = (i64, i64, i64);

fn q3(ticks: &[Change]) -> Sink {
    let (mut cards, mut customers): (Map<i64, Vec<Event>>, Map<i64, Vec<Event>>) = Default::default();
    let mut amounts = Vec::new();
    for change in ticks {
        let columns = Columns::new(change);
        for row in 0..columns.len() {
            let amount = columns.amount[row] as i64;
            let event = (columns.time[row], columns.transaction[row], amount);
            amounts.push(amount);
            cards.entry(columns.card[row]).or_default().push(event);
            customers.entry(columns.customer[row]).or_default().push(event);
        }
    }
    let mut answers = vec![Fraud::default(); amounts.len()];
    for events in cards.values_mut() {
        frames(events, 10 * MINUTE, |event, n, sum| (answers[event].n, answers[event].spent) = (n, sum));
    }
    for events in customers.values_mut() {
        frames(events, i64::MAX, |event, n, sum| (answers[event].rows, answers[event].total) = (n, sum));
    }
    let mut sink = Sink::default();
    for ((transaction, answer), amount) in (0..).zip(&answers).zip(&amounts) {
        sink.add(q3_row(transaction, *amount, answer), 1);
    }
    sink
}

/// Count and sum of each event's frame, by two pointers.
fn frames(events: &mut [Event], window: i64, mut answer: impl FnMut(usize, i64, i64)) {
    events.sort_unstable();
    let (mut start, mut end, mut sum) = (0, 0, 0);
    for (time, transaction, _) in events.iter() {
        while let Some((_, _, amount)) = events.get(end).filter(|(other, ..)| other <= time) {
            sum += amount;
            end += 1;
        }
        while events[start].0 < time.saturating_sub(window) {
            sum -= events[start].2;
            start += 1;
        }
        answer(*transaction as usize, (end - start) as i64, sum);
    }
}

fn q4(ticks: &[Change], products: &RecordBatch) -> Sink {
    let categories: Vec<u64> =
        products.column(1).as_string::<i32>().iter().flatten().map(|name| text_value(name.as_bytes())).collect();
    let by_product: Map<i64, u64> = (0..).zip(categories).collect();
    let mut groups: Map<(u64, i64), i64> = Map::default();
    for change in ticks {
        let columns = Columns::new(change);
        for row in 0..columns.len() {
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

fn q5(ticks: &[Change]) -> Sink {
    let mut sums: Map<(u16, i64), i64> = Map::default();
    for change in ticks {
        let columns = Columns::new(change);
        for row in 0..columns.len() {
            *sums.entry((columns.country_code(row), columns.product[row])).or_default() += columns.amount[row] as i64;
        }
    }
    let mut countries: Map<u16, Vec<(i64, i64)>> = Map::default();
    for ((country, product), revenue) in sums {
        countries.entry(country).or_default().push((-revenue, product));
    }
    let mut sink = Sink::default();
    for (country, mut products) in countries {
        products.sort_unstable();
        for (revenue, product) in products.into_iter().take(10) {
            sink.add(q5_row(country, product, -revenue), 1);
        }
    }
    sink
}
