//! The Kafka source: all partitions of one topic, by positions of our own and without a consumer group.
//!
//! ```text
//! watch thread ─ looks: partitions, marks ─► admit: check positions, assign ─► poll: message ─► decode ─► batch
//!      └─ the brokers are away, the topic is gone                                  └─ bad record ─► error row
//! ```
//! A record is known by its partition and offset. A position holds, for each partition, the offset behind the last record
//! of the poll, and a poll goes into one tick whole (see [`Source::repeats`]): whatever is bound holds exactly the records
//! below its position, and reading goes on there after a restart. In which order partitions answer then, which is never
//! twice the same, touches nothing that was bound. A record below the position is passed over should it come again.
//!
//! Brokers that are away are waited for. What cannot be mended by waiting ends the source with the reason: the topic is
//! gone or another one than before, or has lost records that were not read.

mod native;
mod notices;
mod position;
mod settings;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headwater_dataflow::repr::{ErrorRow, ErrorRows};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use self::native::{Batches, Logs, Message};
use self::notices::Notices;
use self::position::TopicPosition;
pub(super) use self::settings::refused_property;
use self::watch::{Look, Unseen, Watch, look};
use super::{KafkaOptions, PollState, Polled, Source, SourceDescription, SourceError, SourcePosition, SourceProgress};
use crate::decode::{Columns, MessageDecoder, MessageView, payload};

/// How long a poll waits for a record.
const WAIT: Duration = Duration::from_millis(50);
/// How long the brokers may take to answer when a source is created.
const CHECK_MAX: Duration = Duration::from_secs(5);
/// How long they may take for one question meanwhile.
const CHECK_STEP: Duration = Duration::from_secs(1);
/// How long a client that does not read may say what it has to say.
const HEAR: Duration = Duration::from_millis(2);
/// How many bytes of records one poll takes at most, give or take a record.
const POLL_BYTES_MAX: u64 = 8 << 20;
/// The most messages of one batch. With what the client queues at most, that bounds the bytes of a batch too.
const BATCH_MAX: usize = 1_000;
/// A poll is not divided between ticks, so it takes this part of a tick at most.
const POLLS_PER_TICK: usize = 4;

/// A source that reads a topic.
pub(super) struct KafkaSource {
    topic: String,
    batches: Batches,
    logs: Arc<Logs>,
    watch: Watch,
    /// The number of the last look that was admitted.
    looked: u64,
    /// The position was given or has been found.
    begun: bool,
    position: TopicPosition,
    /// By partition, the offset that must be reached before the source has caught up for the first time.
    targets: BTreeMap<i32, i64>,
    /// By partition, the end as of the last look.
    highs: BTreeMap<i32, i64>,
    decoder: MessageDecoder,
    columns: Columns,
    errors: ErrorRows,
    records: u64,
    bytes: u64,
    failed: Option<SourceError>,
}

impl std::fmt::Debug for KafkaSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaSource")
            .field("topic", &self.topic)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

/// A client for the source that says what it notices.
fn consumer(
    description: &SourceDescription,
    options: &KafkaOptions,
    identity: Option<String>,
) -> Result<BaseConsumer<Notices>, SourceError> {
    let group = format!("headwater-{}", description.name);
    let config = settings::client(options, &group, |name| std::env::var(name).ok())?;
    config.create_with_context(Notices::new(&options.topic, identity)).map_err(settings::refusal)
}

fn decoder(description: &SourceDescription, options: &KafkaOptions) -> Result<MessageDecoder, SourceError> {
    let declared = description.schema.fields().len() - options.included.len();
    let (format, envelope) = (description.format, description.envelope.clone());
    MessageDecoder::new(format, envelope, declared, options.included.clone(), options.record_bytes_max)
}

/// Asks the brokers for the topic once.
pub(super) fn check(description: &SourceDescription, options: &KafkaOptions) -> Result<(), SourceError> {
    Columns::of_source(description)?;
    decoder(description, options)?;
    let consumer = consumer(description, options, None)?;
    let topic = &options.topic;
    match look_patiently(&consumer, options) {
        Ok(look) => look.starts.iter().try_for_each(|(partition, start)| match look.marks[partition] {
            (low, high) if (low..=high).contains(start) => Ok(()),
            (low, high) => {
                let reason = format!("has the offsets {low} to {high} in partition {partition}, not {start}");
                Err(SourceError::Topic { topic: topic.clone(), reason })
            }
        }),
        Err(Unseen::Away(reason)) => Err(SourceError::Brokers { brokers: options.brokers.clone(), reason }),
        Err(Unseen::Rejected(reason)) => Err(SourceError::Rejected { brokers: options.brokers.clone(), reason }),
        Err(Unseen::Missing) => {
            let reason = format!("does not exist at {}: create it, or mend its name", options.brokers);
            Err(SourceError::Topic { topic: topic.clone(), reason })
        }
    }
}

/// Looks at the topic until the brokers answer, reject the client, or have had long enough.
fn look_patiently(consumer: &BaseConsumer<Notices>, options: &KafkaOptions) -> Result<Look, Unseen> {
    let deadline = Instant::now() + CHECK_MAX;
    loop {
        // Nothing is read, so there are no messages that this could take.
        let hear = || while consumer.poll(HEAR).is_some() {};
        let seen = look(consumer, &options.topic, Some(options.start), CHECK_STEP, &hear);
        if !matches!(seen, Err(Unseen::Away(_))) || Instant::now() >= deadline {
            return seen;
        }
    }
}

impl KafkaSource {
    /// Starts reading at `from`. The brokers need not be there yet.
    pub(super) fn open(
        description: &SourceDescription,
        options: &KafkaOptions,
        from: &SourcePosition,
    ) -> Result<KafkaSource, SourceError> {
        let known = position::read(from)?;
        let begun = known.is_some();
        let position = known.unwrap_or_default();
        let columns = Columns::of_source(description)?;
        let decoder = decoder(description, options)?;
        let consumer = Arc::new(consumer(description, options, position.topic.clone())?);
        let logs = Arc::new(Logs::new(&consumer)?);
        let start = (!begun).then_some(options.start);
        Ok(KafkaSource {
            topic: options.topic.clone(),
            watch: Watch::spawn(Arc::clone(&consumer), Arc::clone(&logs), options.topic.clone(), start)?,
            batches: Batches::new(consumer)?,
            logs,
            looked: 0,
            begun,
            position,
            targets: BTreeMap::new(),
            highs: BTreeMap::new(),
            decoder,
            columns,
            errors: ErrorRows::default(),
            records: 0,
            bytes: 0,
            failed: None,
        })
    }

    fn broken(&self, reason: impl Into<String>) -> SourceError {
        SourceError::Topic { topic: self.topic.clone(), reason: reason.into() }
    }

    /// Takes note of what the topic looks like: checks the first time whether our positions are still in it, and reads
    /// partitions that are new.
    fn admit(&mut self, look: &Look) -> Result<(), SourceError> {
        let first = self.highs.is_empty();
        self.highs = look.marks.iter().map(|(partition, (_, high))| (*partition, *high)).collect();
        if first {
            self.targets.clone_from(&self.highs);
        }
        for (partition, next) in &self.position.next {
            match look.marks.get(partition) {
                None => return Err(self.broken(format!("has no partition {partition} any more; {MEND}"))),
                Some(marks) if first => self.check_marks(*partition, *next, *marks)?,
                Some(_) => {}
            }
        }
        let known = self.position.next.len();
        for (partition, (low, _)) in &look.marks {
            // Partitions that come later begin at their first record.
            let start = if self.begun { *low } else { look.starts.get(partition).copied().unwrap_or(*low) };
            self.position.next.entry(*partition).or_insert(start);
        }
        self.begun = true;
        if first || self.position.next.len() > known {
            self.assign()?;
        }
        Ok(())
    }

    /// Whether a partition still has everything from `next` on.
    fn check_marks(&self, partition: i32, next: i64, (low, high): (i64, i64)) -> Result<(), SourceError> {
        if next < low {
            return Err(self.broken(format!(
                "begins at offset {low} in partition {partition}, but was read up to offset {next}: records were deleted \
                 before they were read; {MEND}"
            )));
        }
        if next > high {
            return Err(self.broken(format!(
                "ends at offset {high} in partition {partition}, but was read up to offset {next}: it was truncated, or \
                 deleted and created again; {MEND}"
            )));
        }
        Ok(())
    }

    fn assign(&self) -> Result<(), SourceError> {
        let failed = |error: KafkaError| SourceError::Client { reason: error.to_string() };
        let mut partitions = TopicPartitionList::new();
        for (partition, next) in &self.position.next {
            partitions.add_partition_offset(&self.topic, *partition, Offset::Offset(*next)).map_err(failed)?;
        }
        tracing::debug!(topic = self.topic, partitions = partitions.count(), "reading a topic");
        self.batches.consumer().assign(&partitions).map_err(failed)
    }

    /// Reads until the batch is full or nothing more is at hand.
    fn read(&mut self, rows_max: usize) -> Result<PollState, SourceError> {
        if let Some(error) = self.watch.failure() {
            return Err(error);
        }
        if let Some((number, look)) = self.watch.newer(self.looked) {
            self.looked = number;
            self.admit(&look)?;
        }
        if self.looked == 0 {
            self.watch.wait(WAIT);
            return Ok(PollState::More);
        }
        let (rows_max, bytes_max) = ((rows_max / POLLS_PER_TICK).max(1), self.bytes + POLL_BYTES_MAX);
        // A batch is waited for until it is full, so the first is one message.
        let (mut most, mut wait) = (1, WAIT);
        while most > 0 && self.bytes < bytes_max {
            if self.take_batch(most, wait)? < most {
                return Ok(self.at_end());
            }
            let taken = self.columns.rows().max(self.errors.len());
            (most, wait) = (rows_max.saturating_sub(taken).min(BATCH_MAX), Duration::ZERO);
        }
        Ok(PollState::More)
    }

    /// Takes at most `most` messages and returns how many there were.
    fn take_batch(&mut self, most: usize, wait: Duration) -> Result<usize, SourceError> {
        let messages = self.batches.take(most, wait);
        let taken = messages.len();
        // The client says so before it fetches on: then the batch may be of another topic.
        self.logs.serve();
        if self.batches.consumer().context().recreated() {
            return Err(self.broken(format!("was deleted and created again: it is another topic now; {MEND}")));
        }
        for message in &messages {
            match message.error() {
                None => self.take(message),
                Some(error) => self.handle(error, message.partition())?,
            }
        }
        Ok(taken)
    }

    /// Nothing is at hand: whether that is all there was.
    fn at_end(&self) -> PollState {
        if self.targets.is_empty() { PollState::CaughtUp } else { PollState::More }
    }

    /// Takes one record.
    #[inline]
    fn take(&mut self, message: &Message) {
        let (partition, offset) = (message.partition(), message.offset());
        let Some(next) = self.position.next.get_mut(&partition) else { return };
        if offset < *next {
            return;
        }
        *next = offset + 1;
        if !self.targets.is_empty() && self.targets.get(&partition).is_some_and(|target| *target <= offset + 1) {
            self.targets.remove(&partition);
        }
        let bytes = |part: &[u8]| u64::try_from(part.len()).expect("a length fits");
        let view = MessageView {
            value: message.payload(),
            key: message.key(),
            partition,
            offset,
            timestamp_ms: message.timestamp_ms(),
            headers: if self.decoder.wants_headers() { headers(message) } else { None },
        };
        self.records += 1;
        self.bytes += view.value.map_or(0, bytes) + view.key.map_or(0, bytes);
        if let Err(bad) = self.decoder.decode(&view, &mut self.columns) {
            self.errors.push(&ErrorRow {
                position: format!("{}/{partition}/{offset}", self.topic),
                column: bad.column,
                message: bad.message,
                payload: view.value.map(payload),
            });
        }
    }

    /// What the client reports instead of a record.
    fn handle(&mut self, error: RDKafkaErrorCode, partition: i32) -> Result<(), SourceError> {
        match error {
            // A partition whose end is deleted or holds no records, such as marks of transactions, has caught up too.
            RDKafkaErrorCode::PartitionEOF => {
                self.targets.remove(&partition);
                Ok(())
            }
            RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange => {
                for (partition, next) in &self.position.next {
                    // A broker that does not answer this leaves the general reason.
                    let marks = self.batches.consumer().fetch_watermarks(&self.topic, *partition, CHECK_MAX);
                    marks.map_or(Ok(()), |marks| self.check_marks(*partition, *next, marks))?;
                }
                Err(self.broken(format!("has lost records that were not read; {MEND}")))
            }
            code @ (RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::GroupAuthorizationFailed) => {
                Err(self.broken(format!("cannot be read: {code}; let the server's user read it")))
            }
            code @ RDKafkaErrorCode::Fatal => Err(SourceError::Client { reason: code.to_string() }),
            // Brokers that are away, and topics that are gone, are told by the watch; the client tries again by itself.
            other => {
                tracing::debug!(topic = self.topic, error = %other, "the Kafka client reports an error");
                Ok(())
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.columns.rows() == 0 && self.errors.is_empty()
    }
}

/// What to do about a topic that is not what it was.
const MEND: &str = "what was read stays readable; drop the source and create it again to read what there is now";

/// The headers as the text of a JSON object.
fn headers(message: &Message) -> Option<String> {
    let mut object = serde_json::Map::new();
    for (name, value) in message.headers()? {
        let value = value.map_or(serde_json::Value::Null, |value| String::from_utf8_lossy(value).into());
        object.insert(name, value);
    }
    Some(serde_json::Value::Object(object).to_string())
}

impl Source for KafkaSource {
    fn poll(&mut self, rows_max: usize) -> Result<Polled, SourceError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        let state = match self.read(rows_max) {
            Ok(state) => state,
            Err(error) => {
                self.failed = Some(error.clone());
                if self.is_empty() {
                    return Err(error);
                }
                PollState::More
            }
        };
        if self.begun && self.position.topic.is_none() {
            self.position.topic = self.batches.consumer().context().identity();
        }
        let position = if self.begun { position::write(&self.position) } else { SourcePosition::default() };
        Ok(Polled { rows: self.columns.finish(), errors: self.errors.finish(), position, state })
    }

    fn progress(&self) -> SourceProgress {
        let behind = self.position.next.iter().map(|(partition, next)| {
            let high = self.highs.get(partition).copied().unwrap_or(*next);
            u64::try_from(high - next).unwrap_or(0)
        });
        SourceProgress {
            bytes_read: self.bytes,
            bytes_total: None,
            records: self.records,
            records_behind: (self.looked > 0).then(|| behind.sum()),
            waits_for: self.watch.waits_for(),
        }
    }

    fn repeats(&self) -> bool {
        false
    }
}
