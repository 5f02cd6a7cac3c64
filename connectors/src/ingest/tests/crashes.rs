//! Crashes: copies of the data directory taken at any moment recover, and time never runs twice.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

#[test]
fn a_crash_at_any_moment_loses_and_doubles_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let mut polls = Vec::new();
    let mut next = 0;
    for _ in 0..200 {
        let len = if random.random_bool(0.5) { random.random_range(0..10) } else { random.random_range(0..90) };
        polls.push((next..next + len, random.random_range(0..4) / 3));
        next += len;
    }
    let script = Script::with(polls);
    let scripts = scripts([(1, Arc::clone(&script)), (2, Script::with(vec![(0..4_000, 0)]))]);
    // Ticks are smaller than polls: positions are bound in the middle of a poll.
    let small = IngestConfig { tick_rows_max: 17, ..config(dir.path()) };
    let (ingest, announced) = open_all(small, &scripts);
    let mut copies = Vec::new();
    until("everything is bound", || {
        let before = announced.lock().unwrap().last().copied().unwrap_or(0);
        if copies.len() < 40 {
            copies.push((before, crash_copy(dir.path())));
        }
        ingest.source_status(ObjectId(1)).unwrap().records == script.all().0.len() as u64
            && ingest.source_status(ObjectId(2)).unwrap().records == 4_000
    });
    ingest.shutdown();
    script.end();
    let mut recovered_in_the_middle = 0;
    for (announced_before, copy) in &copies {
        let (ingest, announced) = open(IngestConfig { tick_rows_max: 230, ..config(copy.path()) }, &scripts).unwrap();
        let bound = ingest.bound();
        ingest.add_source(describe(1)).unwrap();
        ingest.add_source(describe(2)).unwrap();
        let recovered = read_ids(&ingest, ObjectId(1).rows());
        assert!(bound >= *announced_before);
        recovered_in_the_middle += usize::from(!recovered.is_empty() && recovered.len() < script.all().0.len());
        assert!(script.all().0.starts_with(&recovered));
        // A dataflow enters before anything is read, and a restart is no different from a long pause for it.
        let seam = ingest.import(&[ObjectId(1).rows()], Some(bound.saturating_sub(100))).unwrap();
        ingest.start();
        wait_for_all(&ingest, 1, &script);
        wait_for_all(&ingest, 2, &scripts[&2]);
        assert_eq!(read_ids(&ingest, ObjectId(1).rows()), script.all().0);
        assert_eq!(read_ids(&ingest, ObjectId(1).errors()).len(), script.all().1);
        assert_eq!(read_ids(&ingest, ObjectId(2).rows()), (0..4_000).collect::<Vec<_>>());
        let last = ingest.source_status(ObjectId(1)).unwrap().last_tick;
        let mut got = Delivered::default();
        until("everything is delivered", || {
            got.pop(&seam.ports[&ObjectId(1).rows()].1, usize::MAX);
            got.last >= last
        });
        assert_eq!(got.all(), script.all().0);
        ingest.shutdown();
        let first = announced.lock().unwrap().first().copied();
        assert!(first.is_none_or(|first| first > *announced_before));
    }
    assert!(recovered_in_the_middle >= 5, "{recovered_in_the_middle}");
}

#[test]
fn times_never_repeat_whatever_the_clock_does() {
    let mut dir = tempfile::tempdir().unwrap();
    let script = Arc::new(Script::default());
    let scripts = scripts([(1, Arc::clone(&script))]);
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let clock = Arc::new(ManualClock::new(1_000_000));
    let mut last = 0;
    let mut next = 0;
    for round in 0..12 {
        let config =
            IngestConfig { idle_tick_ms: 1, clock: Arc::clone(&clock) as Arc<dyn Clock>, ..config(dir.path()) };
        let (ingest, announced) = open_all(config, &scripts);
        for _ in 0..random.random_range(1..30) {
            let now = clock.now_ms();
            let jump = random.random_range(0..3_000);
            clock.set(if random.random_bool(0.3) { now.saturating_sub(jump) } else { now + jump });
            if random.random_bool(0.3) {
                script.push(next..next + 1, 0);
                next += 1;
            }
            let count = announced.lock().unwrap().len();
            until("time passes", || announced.lock().unwrap().len() > count);
        }
        // What was announced before the copy must lie below everything after it.
        let seen = announced.lock().unwrap().clone();
        assert!(seen.is_sorted_by(|a, b| a < b));
        assert!(seen[0] > last, "round {round}: {} was announced after {last}", seen[0]);
        last = *seen.last().unwrap();
        if round % 3 == 0 {
            ingest.shutdown();
            last = *announced.lock().unwrap().last().unwrap();
        } else {
            dir = crash_copy(dir.path());
        }
        clock.set(clock.now_ms().saturating_sub(random.random_range(0..100_000)));
    }
}
