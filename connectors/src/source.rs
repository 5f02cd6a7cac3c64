//! What a source is: its description, the position it continues from, and the trait that ingest polls.
//!
//! A source turns something outside (files, a Kafka topic) into batches of rows and of errors: opened at a position that a
//! poll returned, it delivers exactly what came after that poll, usually in the same order every time (see
//! [`Source::repeats`]). It knows nothing of ticks, times or durability: ingest binds positions to times.

use std::fmt::Debug;
use std::num::NonZeroU32;
use std::path::Path;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, SchemaRef, TimeUnit};
use headwater_dataflow::repr::ObjectId;
use serde::{Deserialize, Serialize};

mod envelope;
mod error;
mod file;
mod files;
mod kafka;
mod position;
mod reader;
mod stream;

#[cfg(test)]
mod tests;

pub use envelope::{DELETED, Envelope};
pub use error::SourceError;

/// A source as its `CREATE SOURCE` statement describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceDescription {
    /// The object in the catalog.
    pub object: ObjectId,
    /// The name in the catalog.
    pub name: String,
    /// The declared columns, in order. A field that is not nullable is NOT NULL.
    pub schema: SchemaRef,
    /// Where the bytes come from.
    pub connector: Connector,
    /// What the bytes mean.
    pub format: Format,
    /// What the records mean.
    pub envelope: Envelope,
    /// How fast it is read.
    pub pace: Pace,
}

/// How fast a source is read. It may be changed while it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// It is not read at all.
    #[serde(default)]
    pub paused: bool,
    /// The most records, good and bad, that are read in a second; `None` is as many as there are.
    #[serde(default)]
    pub rows_per_second_max: Option<NonZeroU32>,
}

/// Where the bytes of a source come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Connector {
    /// Files on this machine.
    File(FileOptions),
    /// A topic of a Kafka cluster.
    Kafka(KafkaOptions),
}

/// Which topic a Kafka source reads, from where, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaOptions {
    /// Some brokers of the cluster, `host:port` with commas between.
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// Where reading begins in the partitions that there are when it begins; those that come later are read whole.
    pub start: KafkaStart,
    /// The longest record, key included, in bytes; a longer one is a bad record.
    pub record_bytes_max: usize,
    /// Properties of the client library, with `${NAME}` for what is in the environment of the process that reads.
    pub properties: Vec<(String, String)>,
    /// What the last columns of the schema hold, in order.
    pub included: Vec<Included>,
}

impl KafkaOptions {
    /// The longest record unless the statement says otherwise, in bytes.
    pub const RECORD_BYTES_MAX: usize = 1 << 20;

    /// Why a property of the client library cannot be given in a statement, with what to do instead.
    pub fn refused_property(name: &str, value: &str) -> Option<String> {
        kafka::refused_property(name, value)
    }
}

/// Where a Kafka source begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum KafkaStart {
    /// At the first record that is still there.
    #[default]
    Earliest,
    /// Behind the last record.
    Latest,
    /// At this offset of every partition.
    Offset(i64),
    /// At the first record with this timestamp or a later one, in milliseconds since 1970.
    Timestamp(i64),
}

impl KafkaStart {
    /// At a timestamp as TIMESTAMPTZ columns take it; `None` if it is none.
    pub fn at(timestamp: &str) -> Option<KafkaStart> {
        crate::decode::timestamp_ms(timestamp).map(KafkaStart::Timestamp)
    }
}

/// What stands beside the value of a Kafka record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Included {
    /// The key as TEXT.
    Key,
    /// The partition.
    Partition,
    /// The offset.
    Offset,
    /// The timestamp.
    Timestamp,
    /// The headers as the text of a JSON object; of a name given twice the last value counts.
    Headers,
}

impl Included {
    /// All of them.
    pub const ALL: [Included; 5] =
        [Included::Key, Included::Partition, Included::Offset, Included::Timestamp, Included::Headers];

    /// The column's name unless the statement gives another.
    pub fn default_name(self) -> &'static str {
        match self {
            Included::Key => "key",
            Included::Partition => "partition",
            Included::Offset => "offset",
            Included::Timestamp => "timestamp",
            Included::Headers => "headers",
        }
    }

    /// The column that holds it.
    pub fn field(self, name: &str) -> Field {
        match self {
            Included::Key | Included::Headers => Field::new(name, DataType::Utf8, true),
            Included::Partition => Field::new(name, DataType::Int32, false),
            Included::Offset => Field::new(name, DataType::Int64, false),
            Included::Timestamp => {
                Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())), true)
            }
        }
    }
}

/// Which files a file source reads, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileOptions {
    /// One file or a glob, relative to the base directory. Names that start with a dot must be written out, and `*` does
    /// not cross `/`, as in a shell. Files are read in the byte order of their paths.
    pub path: String,
    /// Go on when everything was read: as the last file grows and as more files match. Only the last file may grow; each
    /// file before it is complete when it is read to its end.
    pub follow: bool,
    /// How the files are packed.
    pub compression: Compression,
}

/// How a file is packed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// By the extension: `.gz` and `.gzip` are gzip, `.zst` and `.zstd` are zstd, anything else is plain.
    #[default]
    Auto,
    /// Plain bytes.
    None,
    /// Gzip, with one member or several.
    Gzip,
    /// Zstandard, with one frame or several.
    Zstd,
}

/// What the bytes of a source mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Comma-separated values after RFC 4180, the first record names the columns.
    Csv {
        /// The byte between two fields: ASCII, neither a quote nor a line end.
        delimiter: u8,
    },
    /// One JSON object a line.
    Json,
}

/// How far a source was read, as text that only the source understands. The default is the beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SourcePosition(pub String);

/// One open source.
pub trait Source: Send + Debug {
    /// The next rows: at most `rows_max` rows and at most `rows_max` errors, so that the caller bounds what it holds. The
    /// last record may make two rows.
    ///
    /// Returns at once when there is something to return or when the state changed, and blocks for at most about 50 ms
    /// otherwise. A record that does not decode is one row of `errors` and never an `Err`.
    ///
    /// # Errors
    /// The source cannot go on: a file is gone, shrank, is damaged, or lacks a declared column. What was read before is
    /// delivered first, and every later poll returns the same error.
    fn poll(&mut self, rows_max: usize) -> Result<Polled, SourceError>;

    /// How much was read and how much there is.
    fn progress(&self) -> SourceProgress;

    /// Whether a source that is opened at a position returns the same rows and errors in the same order every time. Where
    /// it does not, because it reads several partitions as they answer, a position must hold all of a poll or nothing:
    /// then a poll is never divided between ticks.
    fn repeats(&self) -> bool {
        true
    }
}

/// What one poll returns.
#[derive(Clone, Debug)]
pub struct Polled {
    /// The good rows, with the columns of [`SourceDescription::logged_schema`]; also together with [`PollState::Ended`].
    pub rows: RecordBatch,
    /// The bad records, in the shape of [`headwater_dataflow::repr::errors_schema`].
    pub errors: RecordBatch,
    /// The position after these rows and errors.
    pub position: SourcePosition,
    /// What to expect of the next poll.
    pub state: PollState,
}

/// What to expect of the next poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PollState {
    /// There may be more at hand.
    More,
    /// Everything that exists was read; the source waits for more.
    CaughtUp,
    /// The input is complete; there will never be more.
    Ended,
}

/// How much of a source was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceProgress {
    /// Bytes read, those before the position it was opened at included. Of a packed file the packed bytes count.
    pub bytes_read: u64,
    /// Bytes that exist, if that is known.
    pub bytes_total: Option<u64>,
    /// Records read since the source was opened, good and bad.
    pub records: u64,
    /// Records that existed and were not read when the source last looked, if it knows.
    pub records_behind: Option<u64>,
    /// What the source waits for, if it delivers nothing because something outside is away.
    pub waits_for: Option<String>,
}

/// Opens a source at a position: the default one, or one that a poll of the same description returned.
///
/// The first file's header is read here, so that a missing column shows when the source is created. A packed file that
/// was read in part is decompressed up to the position.
///
/// # Errors
/// No such file (unless the source follows), a packed file in a source that follows, a declared column that the header
/// lacks or whose type cannot be decoded, a position that is not one of this source, or an input/output error. Each names
/// what it concerns.
pub fn open(
    description: &SourceDescription,
    base_dir: &Path,
    from: &SourcePosition,
) -> Result<Box<dyn Source>, SourceError> {
    match &description.connector {
        Connector::File(options) => Ok(Box::new(file::FileSource::open(description, options, base_dir, from)?)),
        Connector::Kafka(options) => Ok(Box::new(kafka::KafkaSource::open(description, options, from)?)),
    }
}

/// Whether the source can be read from its beginning: what a statement that creates it should know first. An open Kafka
/// source waits for its brokers; this asks them once, and for some seconds at most.
///
/// # Errors
/// Those of [`open`]; the brokers do not answer or do not have the topic.
pub fn check(description: &SourceDescription, base_dir: &Path) -> Result<(), SourceError> {
    match &description.connector {
        Connector::File(_) => open(description, base_dir, &SourcePosition::default()).map(drop),
        Connector::Kafka(options) => kafka::check(description, options),
    }
}
