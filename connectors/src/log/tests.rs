//! The log on real files: what is bound comes back, torn tails are cut, all other damage is refused.

mod cost;

use std::fs;

use arrow::array::{Array, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use headwater_dataflow::repr::{ErrorRow, ErrorRows, Part};

use super::cursor::{LogCursor, counts_through};
use super::object::Counts;
use super::*;
use crate::source::SourcePosition;

fn schema() -> SchemaRef {
    let text = Field::new("text", DataType::Utf8, true);
    Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false), text]))
}

/// Rows `ids`, each with a text that says so.
fn rows(ids: std::ops::Range<i64>) -> RecordBatch {
    let text: StringArray = ids.clone().map(|id| (id % 3 != 0).then(|| format!("row {id}"))).collect();
    RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from_iter_values(ids)), Arc::new(text)]).unwrap()
}

fn errors(messages: &[&str]) -> RecordBatch {
    let mut rows = ErrorRows::default();
    for message in messages {
        rows.push(&ErrorRow { position: "p".into(), column: None, message: (*message).into(), payload: None });
    }
    rows.finish()
}

fn reached(position: &str) -> Reached {
    Reached { position: SourcePosition(position.into()), rows_ahead: 0, errors_ahead: 0 }
}

fn ids(batch: &RecordBatch) -> Vec<i64> {
    batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap().values().to_vec()
}

/// Every tick of the rows, with its ids.
fn ticks(log: &Arc<ObjectLog>, from: Timestamp, limit: Timestamp) -> Vec<(Timestamp, Vec<i64>)> {
    let mut cursor = LogCursor::new(log, Part::Rows, from);
    std::iter::from_fn(|| cursor.next(limit).unwrap()).map(|logged| (logged.tick, ids(&logged.rows))).collect()
}

/// A log with one object and a tick for every 10 ms, tick n holding the ids n*10 .. n*10+3.
struct Written {
    dir: tempfile::TempDir,
    log: Log,
    object: Arc<ObjectLog>,
    lock: Option<File>,
}

const OBJECT: ObjectId = ObjectId(7);

impl Written {
    fn new(segment_len_max: u64) -> Written {
        let dir = tempfile::tempdir().unwrap();
        let recovered = Log::open_with(dir.path(), segment_len_max).unwrap();
        let object = begin_object(dir.path(), OBJECT, schema()).unwrap();
        Written { dir, log: recovered.log, object, lock: Some(recovered.lock) }
    }

    fn commit(&mut self, numbers: std::ops::Range<u64>) {
        let ticks: Vec<LogTick> = numbers
            .map(|number| {
                let first = i64::try_from(number).unwrap() * 10;
                let errors = (number % 4 == 0).then(|| errors(&["bad"]));
                let part = LogPart {
                    log: Arc::clone(&self.object),
                    rows: Some(rows(first..first + 3)),
                    errors,
                    reached: reached(&number.to_string()),
                };
                LogTick { tick: number * 10, sequence: number, parts: vec![part] }
            })
            .collect();
        self.log.commit(&ticks).unwrap();
    }

    /// Opens a copy of the directory: the process that wrote it is gone.
    fn reopen(&self) -> Result<(tempfile::TempDir, Recovered), EdgeError> {
        let copy = tempfile::tempdir().unwrap();
        copy_dir(self.dir.path(), copy.path());
        let recovered = Log::open(copy.path())?;
        Ok((copy, recovered))
    }
}

fn copy_dir(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir_all(&target).unwrap();
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn expected(numbers: std::ops::Range<u64>) -> Vec<(Timestamp, Vec<i64>)> {
    numbers.map(|n| (n * 10, (0..3).map(|i| i64::try_from(n).unwrap() * 10 + i).collect())).collect()
}

#[test]
fn what_is_committed_is_read_and_recovered() {
    for (segment_len_max, end) in [(1, 50), (5_000, 600), (SEGMENT_LEN_MAX, 600)] {
        let mut written = Written::new(segment_len_max);
        for number in 1..40 {
            written.commit(number..number + 1);
        }
        written.commit(40..end);
        let last = (end - 1) * 10;
        assert_eq!(ticks(&written.object, 0, u64::MAX), expected(1..end));
        let (_copy, recovered) = written.reopen().unwrap();
        assert_eq!(recovered.bindings.tick, last);
        assert_eq!(recovered.bindings.lease, last + LEASE_MS);
        assert_eq!(recovered.bindings.objects[&OBJECT].reached, reached(&(end - 1).to_string()));
        let object = &recovered.objects[&OBJECT];
        assert_eq!(object.schema(Part::Rows), schema());
        assert_eq!(ticks(object, 0, u64::MAX), expected(1..end));
        for limit in [0, 9, 10, 234, last / 2, last] {
            assert_eq!(ticks(object, 0, limit), expected(1..limit / 10 + 1));
            let counts = Counts { rows: limit / 10 * 3, errors: limit / 40 };
            assert_eq!(counts_through(object, limit).unwrap(), counts);
            assert_eq!(counts_through(&written.object, limit).unwrap(), counts);
            for log in [object, &written.object] {
                assert_eq!(ticks(log, limit, u64::MAX), expected(limit.div_ceil(10).max(1)..end));
            }
        }
        let mut errors = LogCursor::new(object, Part::Errors, 0);
        assert_eq!(errors.next_coalesced(u64::MAX).unwrap().unwrap().num_rows() as u64, (end - 1) / 4);
        assert!(errors.next_coalesced(u64::MAX).unwrap().is_none());
    }
}

#[test]
fn a_reader_notices_that_the_log_grows() {
    let mut written = Written::new(2_000);
    let mut cursor = LogCursor::new(&written.object, Part::Rows, 0);
    for number in 1..50 {
        assert!(cursor.next(u64::MAX).unwrap().is_none());
        written.commit(number..number + 1);
        assert_eq!(cursor.next(u64::MAX).unwrap().unwrap().tick, number * 10);
    }
}

#[test]
fn a_recovered_log_is_continued() {
    let mut written = Written::new(3_000);
    for start in 0..6 {
        written.commit(start * 10 + 1..start * 10 + 11);
        written.lock.take();
        let recovered = Log::open_with(written.dir.path(), 3_000).unwrap();
        written.object = Arc::clone(&recovered.objects[&OBJECT]);
        (written.log, written.lock) = (recovered.log, Some(recovered.lock));
        assert_eq!(ticks(&written.object, 0, u64::MAX), expected(1..start * 10 + 11));
    }
    assert!(dir::segment_numbers(written.object.dir()).unwrap().len() > 3);
}

/// Cuts both files at every byte after what the binding before the last one bound.
#[test]
fn torn_tails_are_cut_at_every_byte() {
    let mut written = Written::new(SEGMENT_LEN_MAX);
    written.commit(1..4);
    let data = dir::segment_path(written.object.dir(), 0);
    let bind = dir::segment_path(&written.dir.path().join("bind"), 0);
    let before = (fs::metadata(&data).unwrap().len(), fs::metadata(&bind).unwrap().len());
    written.commit(4..5);
    let after = (fs::read(&data).unwrap(), fs::read(&bind).unwrap());
    written.lock.take();
    let dir = written.dir.path();
    let check = |data_bytes: &[u8], bind_bytes: &[u8], last: u64, what: &str| {
        fs::write(&data, data_bytes).unwrap();
        fs::write(&bind, bind_bytes).unwrap();
        let recovered = Log::open(dir).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(recovered.bindings.tick, last * 10, "{what}");
        assert_eq!(recovered.bindings.objects[&OBJECT].reached, reached(&last.to_string()), "{what}");
        assert_eq!(ticks(&recovered.objects[&OBJECT], 0, u64::MAX), expected(1..last + 1), "{what}");
        // What was cut stays cut.
        assert!(
            fs::metadata(&data).unwrap().len() == if last == 4 { after.0.len() as u64 } else { before.0 },
            "{what}"
        );
    };
    check(&after.0, &after.1, 4, "nothing is torn");
    for cut in usize::try_from(before.0).unwrap()..after.0.len() {
        check(&after.0[..cut], &after.1[..usize::try_from(before.1).unwrap()], 3, &format!("data cut at {cut}"));
    }
    for cut in usize::try_from(before.1).unwrap()..after.1.len() {
        check(&after.0, &after.1[..cut], 3, &format!("bindings cut at {cut}"));
        let mut zeros = after.1.clone();
        zeros[cut..].fill(0);
        if zeros != after.1 {
            check(&after.0, &zeros, 3, &format!("bindings zeroed from {cut}"));
        }
    }
}

#[test]
fn a_log_goes_on_after_its_tail_was_cut() {
    let mut written = Written::new(SEGMENT_LEN_MAX);
    written.commit(1..4);
    let bind = dir::segment_path(&written.dir.path().join("bind"), 0);
    let bound = fs::metadata(&bind).unwrap().len();
    written.commit(4..5);
    written.lock.take();
    File::options().write(true).open(&bind).unwrap().set_len(bound + 5).unwrap();
    let recovered = Log::open(written.dir.path()).unwrap();
    written.object = Arc::clone(&recovered.objects[&OBJECT]);
    (written.log, written.lock) = (recovered.log, Some(recovered.lock));
    written.commit(5..8);
    let (_copy, recovered) = written.reopen().unwrap();
    let mut all = expected(1..4);
    all.extend(expected(5..8));
    assert_eq!(ticks(&recovered.objects[&OBJECT], 0, u64::MAX), all);
}

/// Every bit of every bound byte of every file, but those of the last binding, which cannot be told from a torn one.
#[test]
fn every_flipped_bit_is_refused_by_name() {
    let mut written = Written::new(1_500);
    for number in 1..6 {
        written.commit(number..number + 1);
    }
    let bind = dir::segment_path(&written.dir.path().join("bind"), 0);
    let bound = fs::metadata(&bind).unwrap().len();
    written.commit(6..7);
    written.lock.take();
    let mut files = vec![(bind, bound), (written.dir.path().join("format"), u64::MAX)];
    for number in dir::segment_numbers(written.object.dir()).unwrap() {
        files.push((dir::segment_path(written.object.dir(), number), u64::MAX));
    }
    assert!(files.len() >= 4);
    for (path, end) in files {
        let whole = fs::read(&path).unwrap();
        for byte in 0..whole.len().min(usize::try_from(end).unwrap_or(usize::MAX)) {
            // One bit of every byte, each bit in turn.
            let mut flipped = whole.clone();
            flipped[byte] ^= 1 << (byte % 8);
            fs::write(&path, &flipped).unwrap();
            match Log::open(written.dir.path()).map(|recovered| recovered.bindings.tick) {
                Err(error @ (EdgeError::Damaged { .. } | EdgeError::NewerFormat { .. })) => {
                    assert!(error.to_string().contains(path.to_str().unwrap()), "byte {byte}: {error}");
                }
                other => panic!("{} byte {byte}: {other:?}", path.display()),
            }
            assert_eq!(fs::read(&path).unwrap(), flipped, "a refused file is left as it is");
        }
        fs::write(&path, &whole).unwrap();
    }
    Log::open(written.dir.path()).unwrap();
}

#[test]
fn missing_and_shortened_segments_are_refused_by_name() {
    let mut written = Written::new(1_000);
    for number in 1..9 {
        written.commit(number..number + 1);
    }
    written.lock.take();
    let numbers = dir::segment_numbers(written.object.dir()).unwrap();
    assert!(numbers.len() > 3);
    for number in numbers {
        let path = dir::segment_path(written.object.dir(), number);
        let whole = fs::read(&path).unwrap();
        let refused = |what: &str| match Log::open(written.dir.path()).map(|_| ()) {
            Err(EdgeError::Damaged { .. }) => {}
            other => panic!("segment {number} {what}: {other:?}"),
        };
        for len in (0..whole.len()).step_by(8) {
            fs::write(&path, &whole[..len]).unwrap();
            refused(&format!("cut at {len}"));
        }
        fs::remove_file(&path).unwrap();
        refused("missing");
        fs::write(&path, &whole).unwrap();
    }
    let bind = written.dir.path().join("bind");
    fs::rename(&bind, written.dir.path().join("moved")).unwrap();
    assert!(Log::open(written.dir.path()).map(drop).unwrap_err().to_string().contains("bind"));
    fs::rename(written.dir.path().join("moved"), &bind).unwrap();
    let format = written.dir.path().join("format");
    fs::remove_file(&format).unwrap();
    assert!(Log::open(written.dir.path()).map(drop).unwrap_err().to_string().contains(format.to_str().unwrap()));
}

#[test]
fn a_removed_object_is_gone_and_its_late_ticks_are_ignored() {
    let mut written = Written::new(SEGMENT_LEN_MAX);
    written.commit(1..4);
    assert!(written.object.dir().exists());
    written.log.remove(OBJECT).unwrap();
    assert!(!written.object.dir().exists());
    written.commit(4..5);
    assert!(!written.object.dir().exists());
    let (_copy, recovered) = written.reopen().unwrap();
    assert!(recovered.bindings.objects.is_empty());
    written.log.remove(ObjectId(99)).unwrap();
}

#[test]
fn a_removal_that_was_cut_short_leaves_an_orphan_only() {
    let mut written = Written::new(SEGMENT_LEN_MAX);
    written.commit(1..4);
    let folder = written.object.dir().to_path_buf();
    let saved = tempfile::tempdir().unwrap();
    copy_dir(&folder, saved.path());
    written.log.remove(OBJECT).unwrap();
    // The process ended after the binding and before the files were deleted.
    fs::create_dir(&folder).unwrap();
    copy_dir(saved.path(), &folder);
    written.lock.take();
    let mut recovered = Log::open(written.dir.path()).unwrap();
    assert!(recovered.objects.is_empty() && folder.exists());
    recovered.log.remove(OBJECT).unwrap();
    assert!(!folder.exists());
}

#[test]
fn empty_ticks_are_written_only_to_renew_the_lease() {
    let mut written = Written::new(SEGMENT_LEN_MAX);
    written.commit(1..2);
    let syncs = || written.log.figures.syncs.load(Ordering::Relaxed);
    let before = syncs();
    for tick in 11..6_000 {
        written.log.commit(&[LogTick { tick, sequence: 0, parts: Vec::new() }]).unwrap();
    }
    assert_eq!(written.log.figures.syncs.load(Ordering::Relaxed), before);
    for tick in 6_000..60_000 {
        written.log.commit(&[LogTick { tick, sequence: 0, parts: Vec::new() }]).unwrap();
        assert!(tick < written.log.bind.bindings().lease);
    }
    assert!((5..10).contains(&(written.log.figures.syncs.load(Ordering::Relaxed) - before)));
    written.log.close(60_000).unwrap();
    let (_copy, recovered) = written.reopen().unwrap();
    assert_eq!((recovered.bindings.tick, recovered.bindings.lease), (60_000, 60_000));
    assert_eq!(ticks(&recovered.objects[&OBJECT], 0, u64::MAX), expected(1..2));
}
