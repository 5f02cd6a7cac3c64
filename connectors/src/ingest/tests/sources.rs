//! Sources: everything arrives once, in order, with its errors; broken ones disturb nobody.

use super::*;

#[test]
fn everything_is_read_once_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let one = Script::with(vec![(0..250, 0), (250..250, 3), (250..1_000, 7), (1_000..1_001, 0)]);
    let two = Script::with((0..300).map(|n| (n..n + 1, usize::from(n % 10 == 0))).collect());
    one.end();
    two.end();
    let scripts = scripts([(1, one), (2, two)]);
    let (ingest, announced) = open_all(config(dir.path()), &scripts);
    for (object, script) in scripts.iter() {
        let object = ObjectId(*object);
        until("the source ends", || ingest.source_status(object).unwrap().state == SourceState::Ended);
        let status = ingest.source_status(object).unwrap();
        let (ids, errors) = script.all();
        assert_eq!((status.records, status.errors), (ids.len() as u64, errors as u64));
        until("its last tick is bound", || ingest.bound() >= status.last_tick);
        assert_eq!(read_ids(&ingest, object.rows()), ids);
        assert_eq!(read_ids(&ingest, object.errors()).len(), errors);
    }
    ingest.shutdown();
    let announced = announced.lock().unwrap();
    assert!(announced.is_sorted_by(|a, b| a < b), "{announced:?}");
    let metrics = ingest.metrics();
    assert_eq!((metrics.rows, metrics.errors), (1_301, 40));
    assert!(metrics.syncs > 0 && metrics.bytes_appended > 10_000 && metrics.ticks >= 14, "{metrics:?}");
}

#[test]
fn no_tick_exceeds_its_rows_and_errors_travel_with_their_neighbours() {
    let dir = tempfile::tempdir().unwrap();
    let one = Script::with((0..20).map(|n| (n * 55..n * 55 + 55, 1)).collect());
    let two = Script::with(vec![(0..1_000, 0)]);
    let scripts = scripts([(1, one), (2, two)]);
    let (ingest, _) = open(config(dir.path()), &scripts).unwrap();
    for object in [1, 2] {
        ingest.add_source(describe(object)).unwrap();
    }
    let collections = [ObjectId(1).rows(), ObjectId(1).errors(), ObjectId(2).rows(), CLOCK.rows()];
    let seam = ingest.import(&collections, None).unwrap();
    ingest.start();
    for (object, script) in scripts.iter() {
        wait_for_all(&ingest, *object, script);
    }
    let mut rows_of: BTreeMap<Timestamp, usize> = BTreeMap::new();
    let mut delivered = Vec::new();
    for (collection, (_, reader)) in &seam.ports {
        let mut got = Delivered::default();
        until("the port has the last tick", || {
            got.pop(reader, usize::MAX);
            got.last >= ingest.source_status(ObjectId(1)).unwrap().last_tick
        });
        for (tick, ids) in &got.ticks {
            *rows_of.entry(*tick).or_default() += ids.len();
        }
        delivered.push((*collection, got));
    }
    // An item of rows and errors is divided at its rows only.
    assert!(rows_of.values().all(|rows| *rows <= 102), "{rows_of:?}");
    let of = |collection| &delivered.iter().find(|(c, _)| *c == collection).unwrap().1;
    let errors_seen: usize = of(ObjectId(1).errors()).ticks.iter().map(|(_, ids)| ids.len()).sum();
    assert_eq!(errors_seen, 20);
    for (tick, _) in &of(ObjectId(1).errors()).ticks {
        assert!(of(ObjectId(1).rows()).ticks.iter().any(|(rows_tick, _)| rows_tick == tick));
    }
    assert!(of(CLOCK.rows()).ticks.is_empty() && of(CLOCK.rows()).last > 0);
    // Both sources get their share of every tick as long as both have rows.
    assert!(of(ObjectId(2).rows()).ticks[0].1.len() <= 100 && of(ObjectId(2).rows()).ticks.len() >= 10);
}

#[test]
fn a_poll_that_cannot_be_repeated_goes_into_one_tick_and_none_is_ahead_of_its_position() {
    let dir = tempfile::tempdir().unwrap();
    // Ticks have 100 rows at most, but for the last poll that goes in.
    let polls: Vec<_> = (0..30).map(|n| (n * 55..n * 55 + 55, usize::from(n % 3 == 0))).collect();
    let scripts = scripts([(1, Script::with(polls.clone()).unrepeatable()), (2, Script::with(vec![(0..1_000, 0)]))]);
    let (ingest, _) = open(config(dir.path()), &scripts).unwrap();
    for object in [1, 2] {
        ingest.add_source(describe(object)).unwrap();
    }
    let collections = [ObjectId(1).rows()];
    let seam = ingest.import(&collections, None).unwrap();
    ingest.start();
    for (object, script) in scripts.iter() {
        wait_for_all(&ingest, *object, script);
    }
    let mut got = Delivered::default();
    until("the port has the last tick", || {
        got.pop(&seam.ports[&ObjectId(1).rows()].1, usize::MAX);
        got.last >= ingest.source_status(ObjectId(1)).unwrap().last_tick
    });
    let mut next = 0;
    for (tick, ids) in &got.ticks {
        assert!(
            ids.len() % 55 == 0 && ids[0] == next && ids.len() < 155,
            "{} rows from {} at {tick}",
            ids.len(),
            ids[0]
        );
        next += ids.len() as i64;
    }
    assert_eq!(next, 30 * 55);
}

#[test]
fn a_broken_source_says_so_and_disturbs_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let good = Script::with(vec![(0..10, 0)]);
    let bad = Script::with(vec![(0..5, 0)]);
    bad.fail();
    let scripts = scripts([(1, Arc::clone(&good)), (2, bad)]);
    let (ingest, _) = open_all(config(dir.path()), &scripts);
    // Object 3 has no script: it cannot even be opened.
    assert!(ingest.check_source(&describe(3)).is_err());
    assert!(ingest.check_source(&describe(1)).is_ok());
    ingest.add_source(describe(3)).unwrap();
    for object in [2, 3] {
        until(
            "the source failed",
            || matches!(ingest.source_status(ObjectId(object)).unwrap().state, SourceState::Failed(message) if message.contains("scripted")),
        );
    }
    assert_eq!(ingest.source_status(ObjectId(2)).unwrap().records, 5, "what was read before counts");
    good.push(10..30, 0);
    wait_for_all(&ingest, 1, &good);
    until("it has caught up", || ingest.source_status(ObjectId(1)).unwrap().state == SourceState::CaughtUp);
    assert_eq!(ingest.failure(), None);
    ingest.shutdown();
}

#[test]
fn sources_are_added_and_removed_while_others_run() {
    let dir = tempfile::tempdir().unwrap();
    let one = Script::with(vec![(0..10, 0)]);
    let two = Script::with(vec![(0..500, 0)]);
    let scripts = scripts([(1, Arc::clone(&one)), (2, two), (3, Script::with(vec![(0..7, 1)]))]);
    let (ingest, _) = open(config(dir.path()), &scripts).unwrap();
    ingest.add_source(describe(1)).unwrap();
    ingest.start();
    ingest.add_source(describe(2)).unwrap();
    assert!(matches!(ingest.add_source(describe(2)), Err(EdgeError::SourceExists { .. })));
    let folder = dir.path().join("log/2");
    until("the source has a log", || folder.exists());
    ingest.remove_source(ObjectId(2)).unwrap();
    assert!(!folder.exists() && ingest.source_status(ObjectId(2)).is_none());
    assert!(matches!(ingest.read(ObjectId(2).rows(), 0), Err(EdgeError::UnknownCollection { .. })));
    ingest.add_source(describe(3)).unwrap();
    one.push(10..20, 0);
    wait_for_all(&ingest, 1, &one);
    wait_for_all(&ingest, 3, &scripts[&3]);
    assert!(!folder.exists(), "late rows of a removed source bring nothing back");
    ingest.shutdown();
    assert!(matches!(ingest.add_source(describe(2)), Err(EdgeError::Stopped)));

    let (ingest, _) = open(config(dir.path()), &scripts).unwrap();
    let mut changed = describe(1);
    changed.schema = Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false)]));
    assert!(matches!(ingest.add_source(changed), Err(EdgeError::SchemaChanged { .. })));
    ingest.add_source(describe(1)).unwrap();
    assert_eq!(read_ids(&ingest, ObjectId(1).rows()), (0..20).collect::<Vec<_>>());
    let current = ingest.bound();
    assert!(matches!(ingest.import(&[CLOCK.rows()], Some(current + 1)), Err(EdgeError::AsOfAhead { .. })));
    assert!(ingest.import(&[CLOCK.rows()], Some(current)).is_ok());
    // Object 3 was not added again: only its removal ends its log.
    assert!(dir.path().join("log/3").exists());
    ingest.remove_source(ObjectId(3)).unwrap();
    assert!(!dir.path().join("log/3").exists());
}

#[test]
fn what_waits_at_a_shutdown_is_sealed() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::with(vec![(0..5_000, 0)]);
    let scripts = scripts([(1, script)]);
    let (ingest, _) = open_all(config(dir.path()), &scripts);
    until("something was read", || ingest.source_status(ObjectId(1)).unwrap().bytes_read > 0);
    until("something was sealed", || ingest.source_status(ObjectId(1)).unwrap().records > 0);
    ingest.shutdown();
    let status = ingest.source_status(ObjectId(1)).unwrap();
    assert_eq!((status.records, ingest.bound() >= status.last_tick), (5_000, true));
    ingest.shutdown();
}

#[test]
fn a_directory_in_use_is_refused_until_it_is_free() {
    let dir = tempfile::tempdir().unwrap();
    let scripts = scripts([]);
    let (ingest, _) = open(config(dir.path()), &scripts).unwrap();
    assert!(matches!(open(config(dir.path()), &scripts), Err(EdgeError::InUse { .. })));
    ingest.shutdown();
    let (ingest, _) = open(config(dir.path()), &scripts).unwrap();
    drop(ingest);
    until("the dropped ingest lets go", || open(config(dir.path()), &scripts).is_ok());
}
