//! Tests of sources as ingest sees them, on real files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use tempfile::TempDir;

use super::*;

mod bad;
mod follow;
mod packed;
mod real;
mod resume;

/// A directory with files, and a source description over them.
struct Fixture {
    dir: TempDir,
    description: SourceDescription,
}

impl Fixture {
    fn new(path: &str, format: Format, fields: Vec<Field>) -> Fixture {
        let options = FileOptions { path: path.to_owned(), follow: false, compression: Compression::Auto };
        Fixture {
            dir: tempfile::tempdir().unwrap(),
            description: SourceDescription {
                object: ObjectId(1),
                name: "s".to_owned(),
                schema: Arc::new(Schema::new(fields)),
                connector: Connector::File(options),
                format,
                pace: Pace::default(),
                envelope: Envelope::None,
            },
        }
    }

    /// CSV with columns `n INT NOT NULL` and `t TEXT`.
    fn csv(path: &str) -> Fixture {
        let fields = vec![Field::new("n", DataType::Int32, false), Field::new("t", DataType::Utf8, true)];
        Fixture::new(path, Format::Csv { delimiter: b',' }, fields)
    }

    fn following(mut self) -> Fixture {
        let Connector::File(options) = &mut self.description.connector else { panic!("a file source") };
        options.follow = true;
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    fn append(&self, name: &str, bytes: impl AsRef<[u8]>) {
        use std::io::Write;
        let mut file = fs::OpenOptions::new().append(true).create(true).open(self.path(name)).unwrap();
        file.write_all(bytes.as_ref()).unwrap();
    }

    fn open_at(&self, from: &SourcePosition) -> Result<Box<dyn Source>, SourceError> {
        open(&self.description, self.dir.path(), from)
    }

    fn open(&self) -> Box<dyn Source> {
        self.open_at(&SourcePosition::default()).unwrap()
    }
}

fn show(rows: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("NULL");
    let columns: Vec<_> =
        rows.columns().iter().map(|column| ArrayFormatter::try_new(column.as_ref(), &options).unwrap()).collect();
    (0..rows.num_rows())
        .map(|row| columns.iter().map(|column| column.value(row).to_string()).collect::<Vec<_>>().join("|"))
        .collect()
}

fn positions(errors: &RecordBatch) -> Vec<String> {
    let column: &StringArray = errors.column(0).as_any().downcast_ref().unwrap();
    column.iter().map(|position| position.unwrap().to_owned()).collect()
}

/// Everything that came until a source stopped saying that there is more.
#[derive(Debug, Default, PartialEq, Eq)]
struct Read {
    rows: Vec<String>,
    /// The positions of the bad records.
    bad: Vec<String>,
}

impl Read {
    fn add(&mut self, polled: &Polled) {
        self.rows.extend(show(&polled.rows));
        self.bad.extend(positions(&polled.errors));
    }
}

fn drain(source: &mut dyn Source, rows_max: usize) -> (Read, SourcePosition, PollState) {
    let mut read = Read::default();
    loop {
        let polled = source.poll(rows_max).unwrap();
        assert!(polled.rows.num_rows() <= rows_max && polled.errors.num_rows() <= rows_max);
        read.add(&polled);
        if polled.state != PollState::More {
            return (read, polled.position, polled.state);
        }
    }
}

/// Polls until `rows` rows and bad records came.
fn wait_for(source: &mut dyn Source, count: usize) -> Read {
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut read = Read::default();
    while read.rows.len() + read.bad.len() < count {
        assert!(Instant::now() < deadline, "still waiting, with {read:?}");
        read.add(&source.poll(100).unwrap());
    }
    read
}

/// Polls until the source fails.
fn wait_for_failure(source: &mut dyn Source) -> SourceError {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match source.poll(100) {
            Err(error) => return error,
            Ok(polled) => assert!(Instant::now() < deadline, "still no failure: {polled:?}"),
        }
    }
}

#[test]
fn a_file_is_read_to_its_end_and_ends_again_and_again() {
    let fixture = Fixture::csv("a.csv");
    fixture.write("a.csv", "n,t\n1,a\n2,b\nx,c\n4,d");
    let mut source = fixture.open();
    let polled = source.poll(100).unwrap();
    assert_eq!(show(&polled.rows), ["1|a", "2|b", "4|d"]);
    assert_eq!(show(&polled.errors), ["a.csv:4|n|'x' is not a value of type INT|x,c"]);
    assert_eq!((polled.state, polled.position.0.as_str()), (PollState::Ended, r#"{"done":["a.csv"]}"#));
    assert_eq!(
        source.progress(),
        SourceProgress { bytes_read: 19, bytes_total: Some(19), records: 4, ..SourceProgress::default() }
    );
    let again = source.poll(100).unwrap();
    assert_eq!((again.rows.num_rows(), again.state, again.position), (0, PollState::Ended, polled.position));
}

#[test]
fn a_poll_holds_no_more_than_it_may() {
    let fixture = Fixture::csv("a.csv");
    let lines: String = (0..10).map(|n| if n % 2 == 0 { format!("{n},t\n") } else { "bad\n".to_owned() }).collect();
    fixture.write("a.csv", format!("n,t\n{lines}"));
    let mut source = fixture.open();
    let none = source.poll(0).unwrap();
    assert_eq!((none.rows.num_rows(), none.errors.num_rows(), none.state), (0, 0, PollState::More));
    let (read, _, state) = drain(source.as_mut(), 1);
    assert_eq!((read.rows.len(), read.bad.len(), state), (5, 5, PollState::Ended));
    assert_eq!(read.bad[4], "a.csv:11");
}

#[test]
fn a_glob_is_read_in_the_byte_order_of_its_paths_under_their_names() {
    let fixture = Fixture::csv("data/*.csv");
    fs::create_dir(fixture.path("data")).unwrap();
    // Headers may differ, and the last line of each file may lack its end.
    fixture.write("data/b.csv", "t,n\nb,2\nbad");
    fixture.write("data/a.csv", "n,t\n1,a");
    fixture.write("data/B.csv", "n,t,u\n0,B,u\n");
    fixture.write("data/c.csv", "");
    let mut source = fixture.open();
    let (read, position, _) = drain(source.as_mut(), 100);
    assert_eq!((read.rows.join(" "), read.bad.join(" ")), ("0|B 1|a 2|b".to_owned(), "data/b.csv:3".to_owned()));
    assert_eq!(position.0, r#"{"done":["data/B.csv","data/a.csv","data/b.csv","data/c.csv"]}"#);
}

#[test]
fn a_source_without_its_file_says_which() {
    let fixture = Fixture::csv("data/*.csv");
    let error = fixture.open_at(&SourcePosition::default()).unwrap_err().to_string();
    assert!(error.starts_with("there is no file data/*.csv"), "{error}");
    let fixture = Fixture::csv("a.csv");
    let error = fixture.open_at(&SourcePosition::default()).unwrap_err().to_string();
    assert!(error.starts_with("there is no file a.csv"), "{error}");
    fs::create_dir(fixture.path("a.csv")).unwrap();
    assert!(matches!(fixture.open_at(&SourcePosition::default()), Err(SourceError::Directory { .. })));
}

#[test]
fn a_declared_column_that_is_not_there_is_told_at_the_open() {
    let fixture = Fixture::csv("a.csv");
    fixture.write("a.csv", "n,text\n1,a\n");
    let error = fixture.open_at(&SourcePosition::default()).unwrap_err().to_string();
    assert_eq!(error, "the header of a.csv has no column t: it has n, text; declare one of these or mend the file");
}

#[test]
fn what_was_read_before_a_failure_is_delivered_first_and_the_failure_stays() {
    let fixture = Fixture::csv("*.csv");
    fixture.write("a.csv", "n,t\n1,a\n");
    fixture.write("b.csv", "n,text\n2,b\n");
    let mut source = fixture.open();
    let polled = source.poll(100).unwrap();
    assert_eq!((show(&polled.rows), polled.state), (vec!["1|a".to_owned()], PollState::More));
    for _ in 0..2 {
        assert!(matches!(source.poll(100), Err(SourceError::Column { file, .. }) if file == "b.csv"));
    }
    // Mended, the source goes on where it was.
    fixture.write("b.csv", "n,t\n2,b\n");
    let (read, _, _) = drain(fixture.open_at(&polled.position).unwrap().as_mut(), 100);
    assert_eq!(read.rows, ["2|b"]);
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_first_record() {
    for follow in [false, true] {
        let fields = vec![Field::new("n", DataType::Int32, false)];
        let fixture = Fixture::new("a.json", Format::Json, fields);
        let fixture = if follow { fixture.following() } else { fixture };
        fixture.write("a.json", "\u{feff}{\"n\":1}\n{\"n\":2}\n");
        let (read, _, _) = drain(fixture.open().as_mut(), 1);
        assert_eq!((read.rows.join(" "), read.bad.len()), ("1 2".to_owned(), 0));
    }
}

fn timestamptz() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into()))
}
