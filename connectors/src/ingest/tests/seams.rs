//! The seam: however and whenever an importer enters, it gets every row exactly once, at its tick.

use std::sync::atomic::AtomicBool;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

/// Every tick of the collection, as the log has it.
fn logged(ingest: &Ingest, collection: CollectionId) -> BTreeMap<Timestamp, Vec<i64>> {
    let log = ingest.inner().core().log_of(collection).unwrap().unwrap();
    let mut cursor = LogCursor::new(&log, collection.part, 0);
    std::iter::from_fn(|| cursor.next(u64::MAX).unwrap()).map(|logged| (logged.tick, ids(&logged.rows))).collect()
}

/// Compares what an importer got with the log; it must have got everything.
fn check(delivered: &Delivered, as_of: Timestamp, log: &BTreeMap<Timestamp, Vec<i64>>, who: &str) {
    let snapshot: Vec<i64> = log.range(..=as_of).flat_map(|(_, ids)| ids.clone()).collect();
    assert_eq!(delivered.snapshot, snapshot, "{who}: snapshot as of {as_of}");
    let ticks: Vec<_> = log.range(as_of + 1..).map(|(tick, ids)| (*tick, ids.clone())).collect();
    assert_eq!(delivered.ticks, ticks, "{who}: ticks after {as_of}");
}

/// Pushes rows at a random pace until `done`.
fn write(script: &Script, done: &AtomicBool) {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut next = 0;
    while !done.load(Ordering::Acquire) {
        let len = if random.random_bool(0.9) { random.random_range(1..5) } else { random.random_range(50..400) };
        script.push(next..next + len, usize::from(random.random_bool(0.1)));
        next += len;
        std::thread::sleep(Duration::from_micros(random.random_range(0..3_000)));
    }
}

/// What one importer got.
struct Imported {
    number: u64,
    collection: CollectionId,
    as_of: Timestamp,
    delivered: Delivered,
}

/// Enters, reads at a random pace until `done`, and then whatever is left.
fn import_under_load(ingest: &Ingest, number: u64, done: &AtomicBool) -> Imported {
    let mut random = ChaCha8Rng::seed_from_u64(1_000 + number);
    let object = ObjectId(1);
    let collection = if number % 10 == 9 { object.errors() } else { object.rows() };
    let back = random.random_range(0..3_000);
    let as_of = number.is_multiple_of(3).then(|| ingest.bound().saturating_sub(back));
    let seam = ingest.import(&[collection], as_of).unwrap();
    let reader = &seam.ports[&collection].1;
    let mut delivered = Delivered::default();
    while !done.load(Ordering::Acquire) {
        delivered.pop(reader, random.random_range(0..20));
        std::thread::sleep(Duration::from_micros(random.random_range(0..5_000)));
    }
    until("the source is bound", || {
        let status = ingest.source_status(object).unwrap();
        status.state == SourceState::Ended && ingest.bound() >= status.last_tick
    });
    let last = ingest.source_status(object).unwrap().last_tick;
    until("everything is delivered", || {
        delivered.pop(reader, usize::MAX);
        delivered.last >= last
    });
    Imported { number, collection, as_of: seam.as_of, delivered }
}

#[test]
fn a_hundred_importers_enter_under_load() {
    let dir = tempfile::tempdir().unwrap();
    let script = Arc::new(Script::default());
    let scripts = scripts([(1, Arc::clone(&script)), (2, Script::with(vec![(0..50, 0)]))]);
    let (ingest, _) = open_all(config(dir.path()), &scripts);
    let done = AtomicBool::new(false);
    let imported = std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(&script, &done));
        let mut random = ChaCha8Rng::seed_from_u64(2);
        let importers: Vec<_> = (0..100)
            .map(|number| {
                std::thread::sleep(Duration::from_micros(random.random_range(0..30_000)));
                let (ingest, done) = (&ingest, &done);
                scope.spawn(move || import_under_load(ingest, number, done))
            })
            .collect();
        until("enough ticks were sealed", || ingest.metrics().ticks >= 800);
        // The writer first: a script must not grow after its end.
        done.store(true, Ordering::Release);
        writer.join().unwrap();
        script.end();
        importers.into_iter().map(|importer| importer.join().unwrap()).collect::<Vec<_>>()
    });
    let rows = logged(&ingest, ObjectId(1).rows());
    let errors = logged(&ingest, ObjectId(1).errors());
    assert_eq!(rows.values().flatten().copied().collect::<Vec<_>>(), script.all().0);
    assert_eq!(errors.values().flatten().count(), script.all().1);
    for Imported { number, collection, as_of, delivered } in &imported {
        let log = if collection.part == Part::Rows { &rows } else { &errors };
        check(delivered, *as_of, log, &format!("importer {number}"));
    }
    assert_eq!(ingest.failure(), None);
    until("importers that are gone are forgotten", || {
        let metrics = ingest.metrics();
        metrics.imports_following + metrics.imports_replaying == 0
    });
    ingest.shutdown();
}

#[test]
fn an_importer_that_does_not_read_goes_on_from_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::with((0..300).map(|n| (n..n + 1, 0)).collect());
    let scripts = scripts([(1, Arc::clone(&script))]);
    let (ingest, _) = open(IngestConfig { tick_rows_max: 1, ..config(dir.path()) }, &scripts).unwrap();
    ingest.add_source(describe(1)).unwrap();
    let rows = ObjectId(1).rows();
    // The first enters before everything, the second never reads before the end, the third reads one tick in a while.
    let idle = ingest.import(&[rows, CLOCK.rows()], None).unwrap();
    let slow = ingest.import(&[rows], None).unwrap();
    let mut slow_got = Delivered::default();
    ingest.start();
    let mut pushed = 300;
    until("enough ticks were sealed", || {
        slow_got.pop(&slow.ports[&rows].1, 1);
        if ingest.source_status(ObjectId(1)).unwrap().records == pushed {
            let first = i64::try_from(pushed).unwrap();
            for id in first..first + 100 {
                script.push(id..id + 1, 0);
            }
            pushed += 100;
        }
        pushed >= 1_500
    });
    script.end();
    wait_for_all(&ingest, 1, &script);
    assert!(ingest.metrics().overflows >= 2, "{:?}", ingest.metrics());
    let log = logged(&ingest, rows);
    assert!(log.len() >= 1_500);
    let last = *log.last_key_value().unwrap().0;
    let mut idle_got = Delivered::default();
    let mut clock_got = Delivered::default();
    until("everything is delivered", || {
        idle_got.pop(&idle.ports[&rows].1, usize::MAX);
        clock_got.pop(&idle.ports[&CLOCK.rows()].1, usize::MAX);
        slow_got.pop(&slow.ports[&rows].1, usize::MAX);
        idle_got.last >= last && slow_got.last >= last && clock_got.last >= last
    });
    check(&idle_got, idle.as_of, &log, "the idle importer");
    check(&slow_got, slow.as_of, &log, "the slow importer");
    assert!(clock_got.all().is_empty() && clock_got.complete);
    until("all follow again", || {
        for (got, seam) in [(&mut idle_got, &idle), (&mut slow_got, &slow)] {
            got.pop(&seam.ports[&rows].1, usize::MAX);
        }
        clock_got.pop(&idle.ports[&CLOCK.rows()].1, usize::MAX);
        ingest.metrics().imports_following == 3
    });
    ingest.shutdown();
}

#[test]
fn a_snapshot_is_announced_and_made_of_large_pieces() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::with((0..2_000).map(|n| (n..n + 1, 0)).collect());
    let scripts = scripts([(1, Arc::clone(&script))]);
    let (ingest, _) = open_all(IngestConfig { tick_rows_max: 5, ..config(dir.path()) }, &scripts);
    wait_for_all(&ingest, 1, &script);
    assert!(ingest.metrics().ticks >= 400);
    let rows = ObjectId(1).rows();
    let log = logged(&ingest, rows);
    let middle = *log.keys().nth(100).unwrap();
    for (as_of, total) in [(None, 2_000), (Some(middle), log.range(..=middle).map(|(_, ids)| ids.len()).sum())] {
        let seam = ingest.import(&[rows], as_of).unwrap();
        let (feed, reader) = &seam.ports[&rows];
        let mut pieces = 0;
        let mut got = Delivered::default();
        until("the snapshot is complete", || {
            while let Some(item) = reader.pop() {
                pieces += usize::from(matches!(item, PortItem::Snapshot(_)));
                got.take(item);
            }
            got.complete
        });
        assert_eq!((pieces, got.snapshot.len()), (1, total));
        assert_eq!(feed.snapshot_progress(), (total as u64, total as u64));
        assert_eq!(all_ids(&ingest.read(rows, seam.as_of).unwrap()), got.snapshot);
    }
    ingest.shutdown();
}

/// The replay waits for its reader with ticks already being pushed, and those overflow too.
#[test]
fn an_importer_that_overflows_before_it_follows_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let script = Script::with((0..30).map(|n| (n * 10_000..n * 10_000 + 10_000, 0)).collect());
    let scripts = scripts([(1, Arc::clone(&script))]);
    let config = IngestConfig { tick_rows_max: 10_000, idle_tick_ms: 60_000, ..config(dir.path()) };
    let (ingest, _) = open_all(config, &scripts);
    wait_for_all(&ingest, 1, &script);
    let rows = ObjectId(1).rows();
    let seam = ingest.import(&[rows], None).unwrap();
    for id in 300_000..300_400 {
        script.push(id..id + 1, 0);
        until("the row is sealed", || {
            ingest.source_status(ObjectId(1)).unwrap().records == u64::try_from(id).unwrap() + 1
        });
    }
    wait_for_all(&ingest, 1, &script);
    assert_eq!((ingest.metrics().overflows, ingest.metrics().imports_replaying), (1, 1));
    let log = logged(&ingest, rows);
    let last = *log.last_key_value().unwrap().0;
    let mut got = Delivered::default();
    until("everything is delivered", || {
        got.pop(&seam.ports[&rows].1, usize::MAX);
        got.last >= last
    });
    check(&got, seam.as_of, &log, "the importer");
    until("it follows", || ingest.metrics().imports_following == 1);
    ingest.shutdown();
}
