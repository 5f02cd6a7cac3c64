//! A changed row costs a median a look into the order of its group, and not the group; and estimates are those of reads.

use std::sync::Arc;

use arrow::array::{Float64Array, RecordBatch};
use arrow::datatypes::{DataType, Field};
use datafusion::functions_aggregate::median::median_udaf;
use headwater_dataflow::expr::{AggregateCall, Recomputed};
use headwater_dataflow::plan::{AggregateFunc, Op, Plan};
use headwater_dataflow::port::{PortItem, Tick};
use headwater_dataflow::quantile::Quantile;
use headwater_dataflow::repr::{Delta, Diff, Diffs};
use headwater_views::sql;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use super::alone::{alone, cpu_ns};
use super::driver::Driver;
use super::plans::{aggregate, column, schema};
use super::rows::{Row, Rows, Value, add, delta_of, difference};
use crate::oracle::batch::{Batch, Contents, Names};

const GROUP_ROWS: u32 = 200_000;
/// One row of the group changes in each.
const TICKS: u64 = 200;
/// So many ticks of recomputation are enough to know.
const RECOMPUTED_TICKS: u64 = 20;

fn value(row: u32) -> f64 {
    f64::from(row.wrapping_mul(2_654_435_761) % 1_000_003)
}

fn delta(rows: &[(f64, Diff)]) -> Delta {
    let values: Float64Array = rows.iter().map(|(value, _)| Some(*value)).collect();
    let rows_of = RecordBatch::try_new(schema(&[("x", DataType::Float64)]), vec![Arc::new(values)]);
    let diffs = Diffs::Each(rows.iter().map(|(_, diff)| *diff).collect());
    Delta { rows: rows_of.expect("one column of the schema"), diffs }
}

/// DataFusion's median of all rows of the group, whenever one of them changes.
fn recomputed() -> AggregateFunc {
    let arg = column(0, DataType::Float64).expr;
    let field = Arc::new(Field::new("x", DataType::Float64, true));
    let call = AggregateCall {
        function: median_udaf(),
        args: &[arg],
        fields: &[Arc::clone(&field)],
        order: &[],
        order_types: &[],
        distinct: false,
        ignore_nulls: false,
        result: field,
    };
    AggregateFunc::Recomputed(Recomputed::new(&call).expect("it is a function of one column").0)
}

const ESTIMATES: &str = "SELECT g, approx_distinct(n) AS a, approx_distinct(t) AS b, approx_median(x) AS c, \
     approx_percentile_cont(0.99) WITHIN GROUP (ORDER BY x) AS d, \
     approx_percentile_cont(0.3) WITHIN GROUP (ORDER BY x DESC) FILTER (WHERE n % 3 = 0) AS e FROM t GROUP BY g";

/// Rows in random order, most of them in one group: more than estimates count exactly.
fn many_rows(random: &mut ChaCha8Rng) -> Vec<Row> {
    let row = |n: i64| {
        let group = if n % 10 == 0 { n % 7 } else { 0 };
        let x = if n % 50 == 0 {
            Value::Null
        } else {
            Value::double((n as f64 - 9_000.0) * 1.5_f64.powf(n as f64 / 900.0))
        };
        vec![Value::Int(group), Value::Int(n), Value::text(format!("{} in words", n / 2)), x]
    };
    let mut rows: Vec<Row> = (0..20_000).map(|n| row(n % 15_000)).collect();
    rows.shuffle(random);
    rows
}

#[test]
fn estimates_of_growing_views_equal_those_of_reads() {
    let types = [("g", DataType::Int64), ("n", DataType::Int64), ("t", DataType::Utf8), ("x", DataType::Float64)];
    let input = schema(&types);
    for workers in [1, 2, 4] {
        let mut random = ChaCha8Rng::seed_from_u64(workers as u64);
        let mut driver = Driver::start(workers);
        let source = driver.new_object().rows();
        let mut names = Names::default();
        names.add_collection("t", source, input.clone(), true);
        let planned = sql::plan_view(ESTIMATES, &names).expect("the query is maintained");
        assert_eq!(planned.explain.matches("(estimate per group, append-only)").count(), 5, "{}", planned.explain);
        let object = driver.new_object();
        let (feed, import) = driver.port(source, &input);
        driver.create(object, vec![import], planned.plan, 0);
        feed.replay(PortItem::SnapshotComplete).expect("the dataflow exists");
        let (mut all, mut time) = (Rows::new(), 0);
        for rows in many_rows(&mut random).chunks(3_000) {
            time += 1;
            let delta = delta_of(&input, &rows.iter().map(|row| (row.clone(), 1)).collect::<Vec<_>>());
            feed.replay(PortItem::Tick(Arc::new(Tick { time, delta: Some(delta) }))).expect("the dataflow exists");
            rows.iter().for_each(|row| add(&mut all, row.clone(), 1));
            driver.wait_upper(object, time + 1).expect("the engine answers");
            let contents = Contents::from([(source, (input.clone(), all.clone()))]);
            let read = Batch::new().answer(ESTIMATES, &names, &contents).expect("the query is answered").rows;
            let view = &driver.export(object).states(&Rows::new(), &[time])[0];
            assert_eq!(difference(&read, view, 5), "", "{workers} workers, time {time}");
        }
        driver.shutdown();
    }
}

/// CPU nanoseconds a tick, and the rows that are exported in the end.
fn run(func: AggregateFunc, ticks: u64) -> (u64, Rows) {
    let mut driver = Driver::start(1);
    let source = driver.new_object().rows();
    let input = schema(&[("x", DataType::Float64)]);
    let mut plan = Plan::default();
    let get = Op::Get { collection: source, columns: vec![0], append_only: false };
    let rows = plan.push(get, input.clone());
    let aggregates = vec![aggregate(func, Some(column(0, DataType::Float64)), DataType::Float64)];
    let reduce = Op::Reduce { input: rows, keys: Vec::new(), aggregates, append_only: false, best: None };
    plan.push(reduce, schema(&[("median", DataType::Float64)]));
    let object = driver.new_object();
    let (feed, import) = driver.port(source, &input);
    driver.create(object, vec![import], plan, 0);
    feed.replay(PortItem::SnapshotComplete).expect("the dataflow exists");
    let mut tick = |time: u64, rows: &[(f64, Diff)]| {
        let tick = Tick { time, delta: Some(delta(rows)) };
        feed.replay(PortItem::Tick(Arc::new(tick))).expect("the dataflow exists");
        driver.wait_upper(object, time + 1).expect("the engine answers");
    };
    tick(1, &(0..GROUP_ROWS).map(|row| (value(row), 1)).collect::<Vec<_>>());
    let before = cpu_ns();
    for time in 0..ticks {
        let row = u32::try_from(time).expect("there are few ticks") * 7;
        tick(time + 2, &[(value(row), -1), (value(GROUP_ROWS + row), 1)]);
    }
    let spent = (cpu_ns() - before) / ticks;
    let last = ticks + 1;
    let states = driver.export(object).states(&Rows::new(), &[last]);
    driver.shutdown();
    (spent, states.into_iter().next().expect("one time was asked for"))
}

#[test]
fn a_median_costs_what_changes() {
    alone("engine::quantiles::a_median_costs_what_changes", || {
        let in_order = || AggregateFunc::Quantile(Quantile::median());
        let (slow, wanted) = run(recomputed(), RECOMPUTED_TICKS);
        assert_eq!(run(in_order(), RECOMPUTED_TICKS).1, wanted, "both ways give the same median");
        let (fast, _) = run(in_order(), TICKS);
        eprintln!(
            "median of {GROUP_ROWS} rows, one changed: {} us of CPU a tick, recomputed {}",
            fast / 1_000,
            slow / 1_000
        );
        assert!(fast * 20 < slow, "{fast} ns beside {slow} ns");
    });
}
