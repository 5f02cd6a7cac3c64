//! Ingest with scripted sources on real directories.

mod crashes;
mod files;
mod seams;
mod sources;
mod writes;

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::sync::Condvar;
use std::time::Instant;

use arrow::array::{Int64Array, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use headwater_dataflow::port::PortItem;
use headwater_dataflow::repr::{ErrorRow, ErrorRows};

use super::*;
use crate::clock::{ManualClock, SystemClock};
use crate::source::{Compression, Connector, Envelope, FileOptions, Format, Pace, PollState, Polled, SourceProgress};

fn schema() -> SchemaRef {
    let text = Field::new("text", DataType::Utf8, true);
    Arc::new(Schema::new(vec![Field::new("id", DataType::Int64, false), text]))
}

fn describe(object: u64) -> SourceDescription {
    let options = FileOptions { path: format!("{object}.csv"), follow: true, compression: Compression::Auto };
    SourceDescription {
        object: ObjectId(object),
        name: format!("source_{object}"),
        schema: schema(),
        connector: Connector::File(options),
        format: Format::Csv { delimiter: b',' },
        pace: Pace::default(),
        envelope: Envelope::None,
    }
}

fn rows(ids: Range<i64>) -> RecordBatch {
    let text: StringArray = ids.clone().map(|id| (id % 3 != 0).then(|| format!("row {id}"))).collect();
    RecordBatch::try_new(schema(), vec![Arc::new(Int64Array::from_iter_values(ids)), Arc::new(text)]).unwrap()
}

fn errors(count: usize) -> RecordBatch {
    let mut rows = ErrorRows::default();
    for index in 0..count {
        rows.push(&ErrorRow { position: index.to_string(), column: None, message: "bad".into(), payload: None });
    }
    rows.finish()
}

/// The ids of a batch of rows; of a batch of errors only how many there are.
fn ids(batch: &RecordBatch) -> Vec<i64> {
    match batch.column(0).as_any().downcast_ref::<Int64Array>() {
        Some(ids) => ids.values().to_vec(),
        None => vec![0; batch.num_rows()],
    }
}

fn all_ids(batches: &[RecordBatch]) -> Vec<i64> {
    batches.iter().flat_map(ids).collect()
}

/// Waits for a condition, with a deadline.
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "waited too long: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// What the scripted source of one object delivers, poll by poll. It may be extended while it is read.
#[derive(Debug, Default)]
struct Script {
    lines: Mutex<Lines>,
    grown: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    polls: Vec<(Range<i64>, usize)>,
    ended: bool,
    failed: bool,
    /// A poll is never the same again.
    unrepeatable: bool,
}

impl Script {
    fn with(polls: Vec<(Range<i64>, usize)>) -> Arc<Script> {
        let script = Script::default();
        script.lines.lock().unwrap().polls = polls;
        Arc::new(script)
    }

    fn push(&self, ids: Range<i64>, errors: usize) {
        self.lines.lock().unwrap().polls.push((ids, errors));
        self.grown.notify_all();
    }

    fn end(&self) {
        self.lines.lock().unwrap().ended = true;
        self.grown.notify_all();
    }

    fn fail(&self) {
        self.lines.lock().unwrap().failed = true;
        self.grown.notify_all();
    }

    /// Every poll has to go into one tick.
    fn unrepeatable(self: Arc<Script>) -> Arc<Script> {
        self.lines.lock().unwrap().unrepeatable = true;
        self
    }

    /// All ids and the number of errors.
    fn all(&self) -> (Vec<i64>, usize) {
        let lines = self.lines.lock().unwrap();
        let ids = lines.polls.iter().flat_map(|(ids, _)| ids.clone()).collect();
        (ids, lines.polls.iter().map(|(_, errors)| errors).sum())
    }
}

fn broken() -> SourceError {
    SourceError::Directory { path: "scripted".into() }
}

#[derive(Debug)]
struct ScriptSource {
    script: Arc<Script>,
    next: usize,
}

impl Source for ScriptSource {
    fn poll(&mut self, _rows_max: usize) -> Result<Polled, SourceError> {
        let mut lines = self.script.lines.lock().unwrap();
        if lines.polls.len() <= self.next && !lines.ended && !lines.failed {
            lines = self.script.grown.wait_timeout(lines, Duration::from_millis(10)).unwrap().0;
        }
        let (ids, errors_count) = match lines.polls.get(self.next) {
            Some(poll) => {
                self.next += 1;
                poll.clone()
            }
            None if lines.failed => return Err(broken()),
            None => (0..0, 0),
        };
        let state = match (self.next < lines.polls.len(), lines.ended) {
            (true, _) => PollState::More,
            (false, true) => PollState::Ended,
            (false, false) => PollState::CaughtUp,
        };
        let position = SourcePosition(self.next.to_string());
        Ok(Polled { rows: rows(ids), errors: errors(errors_count), position, state })
    }

    fn progress(&self) -> SourceProgress {
        SourceProgress { bytes_read: self.next as u64, bytes_total: None, records: 0, ..SourceProgress::default() }
    }

    fn repeats(&self) -> bool {
        !self.script.lines.lock().unwrap().unrepeatable
    }
}

type Scripts = Arc<BTreeMap<u64, Arc<Script>>>;

fn scripts(scripts: impl IntoIterator<Item = (u64, Arc<Script>)>) -> Scripts {
    Arc::new(scripts.into_iter().collect())
}

fn config(data_dir: &Path) -> IngestConfig {
    IngestConfig {
        data_dir: data_dir.to_path_buf(),
        base_dir: data_dir.to_path_buf(),
        history_ms: 60_000,
        tick_max_ms: 20,
        tick_rows_max: 100,
        idle_tick_ms: 50,
        clock: Arc::new(SystemClock),
    }
}

/// The announced times.
type Announced = Arc<Mutex<Vec<Timestamp>>>;

/// Opens ingest over scripts.
fn open(config: IngestConfig, scripts: &Scripts) -> Result<(Ingest, Announced), EdgeError> {
    let announced = Arc::new(Mutex::new(Vec::new()));
    let (noted, scripts) = (Arc::clone(&announced), Arc::clone(scripts));
    let opener = move |description: &SourceDescription, _: &Path, from: &SourcePosition| {
        let script = scripts.get(&description.object.0).ok_or_else(broken)?;
        let next = if from.0.is_empty() { 0 } else { from.0.parse().unwrap() };
        Ok(Box::new(ScriptSource { script: Arc::clone(script), next }) as Box<dyn Source>)
    };
    let on_bound = Box::new(move |time| noted.lock().unwrap().push(time));
    Ok((Ingest::open_with(config, on_bound, Box::new(opener))?, announced))
}

/// Opens ingest and reads all scripts.
fn open_all(config: IngestConfig, scripts: &Scripts) -> (Ingest, Announced) {
    let (ingest, announced) = open(config, scripts).unwrap();
    for object in scripts.keys() {
        ingest.add_source(describe(*object)).unwrap();
    }
    ingest.start();
    (ingest, announced)
}

/// Waits until all of a script is durable.
fn wait_for_all(ingest: &Ingest, object: u64, script: &Script) {
    until("all of a script is bound", || {
        let (ids, errors) = script.all();
        let status = ingest.source_status(ObjectId(object)).unwrap();
        assert!(!matches!(status.state, SourceState::Failed(_)), "{status:?}");
        (status.records, status.errors) == (ids.len() as u64, errors as u64) && ingest.bound() >= status.last_tick
    });
}

fn read_ids(ingest: &Ingest, collection: CollectionId) -> Vec<i64> {
    all_ids(&ingest.read(collection, u64::MAX).unwrap())
}

/// Copies a data directory as a crash at this moment would leave it: bindings first, so that data may run ahead of them.
fn crash_copy(data_dir: &Path) -> tempfile::TempDir {
    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let target = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                copy(&entry.path(), &target);
            } else {
                fs::copy(entry.path(), target).unwrap();
            }
        }
    }
    let to = tempfile::tempdir().unwrap();
    fs::copy(data_dir.join("format"), to.path().join("format")).unwrap();
    copy(&data_dir.join("bind"), &to.path().join("bind"));
    copy(&data_dir.join("log"), &to.path().join("log"));
    to
}

/// What came out of a port.
#[derive(Debug, Default)]
struct Delivered {
    snapshot: Vec<i64>,
    complete: bool,
    ticks: Vec<(Timestamp, Vec<i64>)>,
    last: Timestamp,
}

impl Delivered {
    /// Pops what waits, at most `max` items.
    fn pop(&mut self, reader: &PortReader, max: usize) -> usize {
        (0..max).take_while(|_| reader.pop().map(|item| self.take(item)).is_some()).count()
    }

    fn take(&mut self, item: PortItem) {
        match item {
            PortItem::Snapshot(delta) => {
                assert!(!self.complete, "a snapshot follows its end");
                self.snapshot.extend(ids(&delta.rows));
            }
            PortItem::SnapshotComplete => self.complete = true,
            PortItem::Tick(tick) => {
                assert!(self.complete, "a tick precedes the end of the snapshot");
                assert!(tick.time > self.last, "tick {} follows {}", tick.time, self.last);
                self.last = tick.time;
                if let Some(delta) = &tick.delta {
                    self.ticks.push((tick.time, ids(&delta.rows)));
                }
            }
        }
    }

    fn all(&self) -> Vec<i64> {
        self.snapshot.iter().copied().chain(self.ticks.iter().flat_map(|(_, ids)| ids.iter().copied())).collect()
    }
}
