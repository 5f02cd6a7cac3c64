//! Writes: each is a tick of its own, durable when it says so, and whole or not there after a crash.

use std::sync::mpsc::{Receiver, channel};

use super::*;

const TABLE: ObjectId = ObjectId(7);

fn signed(ids: Range<i64>, diff: i64) -> RecordBatch {
    let rows = rows(ids);
    let mut columns = rows.columns().to_vec();
    columns.push(Arc::new(Int64Array::from(vec![diff; rows.num_rows()])));
    RecordBatch::try_new(signed_schema(&schema()), columns).unwrap()
}

/// What became of a write.
struct Told {
    sealed: Receiver<Result<Timestamp, EdgeError>>,
    durable: Receiver<()>,
}

fn write(ingest: &Ingest, rows: RecordBatch) -> Told {
    let ((tell_sealed, sealed), (tell_durable, durable)) = (channel(), channel());
    let on_sealed = Box::new(move |tick| tell_sealed.send(tick).unwrap());
    let on_durable = Box::new(move || tell_durable.send(()).unwrap());
    ingest.write(TABLE, rows, on_sealed, on_durable);
    Told { sealed, durable }
}

#[test]
fn every_write_is_a_tick_and_takes_along_what_waits() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::with(vec![(0..5_000, 0)]);
    let (ingest, announced) = open_all(config(dir.path()), &scripts([(1, Arc::clone(&script))]));
    ingest.add_table(TABLE, "t", &schema()).unwrap();
    let seam = ingest.import(&[TABLE.rows()], None).unwrap();
    let told: Vec<Told> = (0..200).map(|n| write(&ingest, signed(n * 3..n * 3 + 3, 1))).collect();
    let mut ticks = Vec::new();
    for told in &told {
        let tick = told.sealed.recv().unwrap().unwrap();
        told.durable.recv().unwrap();
        // What is durable had been announced before.
        assert!(announced.lock().unwrap().iter().any(|time| *time >= tick));
        ticks.push(tick);
    }
    assert!(ticks.windows(2).all(|pair| pair[0] < pair[1]), "writes are sealed in order, each by itself");
    wait_for_all(&ingest, 1, &script);
    let mut got = Delivered::default();
    let reader = &seam.ports[&TABLE.rows()].1;
    until("the last write is delivered", || {
        got.pop(reader, 100);
        got.last >= ticks[199]
    });
    let expected: Vec<(Timestamp, Vec<i64>)> =
        ticks.iter().zip(0..).map(|(tick, n)| (*tick, (n * 3..n * 3 + 3).collect())).collect();
    assert_eq!(got.ticks, expected);
    let status = ingest.source_status(TABLE).unwrap();
    assert_eq!((status.records, status.state, status.last_tick), (600, SourceState::CaughtUp, ticks[199]));
    ingest.shutdown();
}

#[test]
fn what_was_durable_is_there_after_a_crash_and_a_write_is_never_there_in_part() {
    let dir = tempfile::tempdir().unwrap();
    let (ingest, _) = open_all(config(dir.path()), &scripts([]));
    ingest.add_table(TABLE, "t", &schema()).unwrap();
    let told: Vec<Told> = (0..300).map(|n| write(&ingest, signed(n * 3..n * 3 + 3, 1))).collect();
    told[100].durable.recv().unwrap();
    let crashed = crash_copy(dir.path());
    told[101..].iter().for_each(|told| told.durable.recv().unwrap());
    for (dir, least) in [(crashed.path(), 101 * 3), (dir.path(), 900)] {
        // The first one is in use; its copy is not.
        if least == 900 {
            ingest.shutdown();
        }
        let (ingest, _) = open_all(config(dir), &scripts([]));
        ingest.add_table(TABLE, "t", &schema()).unwrap();
        let ids = read_ids(&ingest, TABLE.rows());
        assert!(ids.len() >= least && ids.len().is_multiple_of(3), "{} rows", ids.len());
        assert_eq!(ids, (0..i64::try_from(ids.len()).unwrap()).collect::<Vec<_>>());
        ingest.shutdown();
    }
}

#[test]
fn a_write_that_cannot_be_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (ingest, _) = open_all(config(dir.path()), &scripts([]));
    let unknown = write(&ingest, signed(0..1, 1));
    assert!(matches!(unknown.sealed.recv().unwrap(), Err(EdgeError::UnknownCollection { .. })));
    ingest.add_table(TABLE, "t", &schema()).unwrap();
    assert!(matches!(ingest.add_table(TABLE, "t", &schema()), Err(EdgeError::SourceExists { .. })));
    write(&ingest, signed(0..9, 1)).durable.recv().unwrap();
    write(&ingest, signed(0..9, -1)).durable.recv().unwrap();
    ingest.shutdown();
    let late = write(&ingest, signed(0..1, 1));
    assert!(late.sealed.recv().is_err() && late.durable.recv().is_err(), "nothing is written any more");
}

#[test]
fn what_nobody_claims_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let (ingest, _) = open_all(config(dir.path()), &scripts([]));
    ingest.add_table(TABLE, "t", &schema()).unwrap();
    ingest.add_table(ObjectId(8), "u", &schema()).unwrap();
    write(&ingest, signed(0..9, 1)).durable.recv().unwrap();
    ingest.shutdown();
    let (ingest, _) = open(config(dir.path()), &scripts([])).unwrap();
    ingest.add_table(ObjectId(8), "u", &schema()).unwrap();
    ingest.remove_unclaimed().unwrap();
    assert!(!dir.path().join("log/7").exists());
    ingest.add_table(TABLE, "t", &schema()).unwrap();
    ingest.start();
    assert_eq!(read_ids(&ingest, TABLE.rows()), [0_i64; 0]);
    ingest.shutdown();
}
