//! What the log costs, printed: `cargo test --profile ci --workspace --lib cost -- --nocapture`.

use std::time::Instant;

use arrow::array::{ArrayRef, Decimal128Array, Int32Array, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use headwater_dataflow::repr::Part;

use super::super::cursor::LogCursor;
use super::super::*;

/// Invoice lines of a shop: nine columns, about 100 bytes.
fn lines(first: i64, count: i64) -> RecordBatch {
    let ids = first..first + count;
    let text = |make: fn(i64) -> String| -> ArrayRef { Arc::new(StringArray::from_iter_values(ids.clone().map(make))) };
    let decimals = Decimal128Array::from_iter_values(ids.clone().map(|id| i128::from(id % 10_000)));
    let times =
        TimestampMicrosecondArray::from_iter_values(ids.clone().map(|id| id * 1_000_000)).with_timezone("+00:00");
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("invoice", text(|id| format!("{}", 536_365 + id / 20))),
        ("stock_code", text(|id| format!("{:05}A", id * 7 % 4_000))),
        ("description", text(|id| format!("WHITE HANGING HEART T-LIGHT {}", id % 4_000))),
        ("quantity", Arc::new(Int32Array::from_iter_values(ids.clone().map(|id| i32::try_from(id % 50).unwrap())))),
        ("invoice_date", Arc::new(times)),
        ("price", Arc::new(decimals.with_precision_and_scale(12, 3).unwrap())),
        (
            "customer_id",
            Arc::new(ids.clone().map(|id| (id % 4 != 0).then_some(12_000 + id % 4_300)).collect::<Int64Array>()),
        ),
        ("country", text(|id| if id % 10 == 0 { "Germany".into() } else { "United Kingdom".into() })),
        ("line", Arc::new(Int64Array::from_iter_values(ids.clone()))),
    ];
    let fields: Vec<Field> =
        columns.iter().map(|(name, column)| Field::new(*name, column.data_type().clone(), true)).collect();
    assert!(fields.iter().any(|f| matches!(f.data_type(), DataType::Timestamp(TimeUnit::Microsecond, Some(_)))));
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns.into_iter().map(|(_, column)| column).collect())
        .unwrap()
}

/// CPU seconds of this thread.
fn thread_cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e9
}

fn measure(what: &str, rows: i64, work: impl FnOnce()) {
    let (cpu, wall) = (thread_cpu(), Instant::now());
    work();
    let (cpu, wall) = (thread_cpu() - cpu, wall.elapsed().as_secs_f64());
    let rows = rows as f64 / 1e6;
    println!("{what}: {:.3} us/row CPU, {:.3} us/row wall", cpu / rows, wall / rows);
}

fn commit(log: &mut Log, object: &Arc<ObjectLog>, tick: u64, rows: &RecordBatch) {
    let reached = Reached { position: crate::source::SourcePosition("{}".into()), rows_ahead: 0, errors_ahead: 0 };
    let part = LogPart { log: Arc::clone(object), rows: Some(rows.clone()), errors: None, reached };
    log.commit(&[LogTick { tick, sequence: tick, parts: vec![part] }]).unwrap();
}

#[test]
fn cost_of_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let batches: Vec<RecordBatch> = (0..100).map(|n| lines(n * 10_000, 10_000)).collect();
    let Recovered { mut log, lock, .. } = Log::open(dir.path()).unwrap();
    let object = begin_object(dir.path(), ObjectId(1), batches[0].schema()).unwrap();
    measure("append 1 M rows in ticks of 10,000", 1_000_000, || {
        for (tick, rows) in (1..).zip(&batches) {
            commit(&mut log, &object, tick, rows);
        }
    });
    println!("bytes/row: {:.1}", log.figures.bytes.load(Ordering::Relaxed) as f64 / 1e6);
    let read = |object: &Arc<ObjectLog>, part, from| {
        let mut cursor = LogCursor::new(object, part, from);
        std::iter::from_fn(|| cursor.next_coalesced(u64::MAX).unwrap()).map(|rows| rows.num_rows()).sum::<usize>()
    };
    measure("read 1 M rows", 1_000_000, || assert_eq!(read(&object, Part::Rows, 0), 1_000_000));
    let line = lines(0, 1);
    let before = log.figures.bytes.load(Ordering::Relaxed);
    measure("append 1,000 ticks of one row", 1_000, || {
        (1_000..2_000).for_each(|tick| commit(&mut log, &object, tick, &line))
    });
    println!("bytes/tick: {:.1}", (log.figures.bytes.load(Ordering::Relaxed) - before) as f64 / 1e3);
    measure("read 1,000 ticks of one row", 1_000, || assert_eq!(read(&object, Part::Rows, 1_000), 1_000));
    drop((log, lock));
    measure("recover 1 M rows", 1_000_000, || drop(Log::open(dir.path()).unwrap()));
}
