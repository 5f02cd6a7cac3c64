//! Looks at the topic now and then, in a thread of its own: which partitions there are and where they begin and end, or
//! that the brokers do not answer or the topic is gone. Whoever reads never waits for that.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::native::Logs;
use super::notices::Notices;
use crate::source::{KafkaStart, SourceError};

/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// How often it looks while the brokers do not answer.
const TRY_EVERY: Duration = Duration::from_millis(500);
/// How long the brokers may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// A topic is gone when the brokers have said so for this long. A broker that starts may not know its topics at once.
const GONE_AFTER: Duration = Duration::from_secs(10);

/// The topic as it was seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    /// By partition, the offset of its first record and that behind its last one.
    pub(super) marks: BTreeMap<i32, (i64, i64)>,
    /// By partition, where the source begins; empty unless it was asked for.
    pub(super) starts: BTreeMap<i32, i64>,
}

/// Why the topic cannot be seen.
#[derive(Clone, Debug)]
pub(super) enum Unseen {
    /// The brokers do not answer, or not for all of it.
    Away(String),
    /// They refuse the client, or the client does not trust them.
    Rejected(String),
    /// They answer that there is no such topic.
    Missing,
}

#[derive(Debug, Default)]
struct State {
    /// The newest look and its number.
    seen: Option<(u64, Arc<Look>)>,
    waits_for: Option<String>,
    failed: Option<SourceError>,
    stopped: bool,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics while it holds what was seen of a topic")
    }
}

/// The thread that looks; it ends soon after this is dropped.
#[derive(Debug)]
pub(super) struct Watch(Arc<Shared>);

impl Drop for Watch {
    fn drop(&mut self) {
        self.0.lock().stopped = true;
        self.0.changed.notify_all();
    }
}

impl Watch {
    /// Looks at `topic` from now on. The first look also finds out where `start` is, if it is given.
    pub(super) fn spawn(
        consumer: Arc<BaseConsumer<Notices>>,
        logs: Arc<Logs>,
        topic: String,
        start: Option<KafkaStart>,
    ) -> Result<Watch, SourceError> {
        let shared = Arc::new(Shared::default());
        let watched = Arc::clone(&shared);
        let run = move || watch(&watched, (&consumer, &logs), &topic, start);
        let spawned = std::thread::Builder::new().name("kafka watch".to_owned()).spawn(run);
        spawned.map_err(|error| SourceError::Client { reason: error.to_string() })?;
        Ok(Watch(shared))
    }

    /// The look after the one of this number, if there is one.
    pub(super) fn newer(&self, than: u64) -> Option<(u64, Arc<Look>)> {
        self.0.lock().seen.clone().filter(|(number, _)| *number > than)
    }

    /// Waits for the first look.
    pub(super) fn wait(&self, limit: Duration) {
        let nothing = |state: &mut State| state.seen.is_none() && state.failed.is_none();
        // Whether something came is seen by asking for it.
        drop(self.0.changed.wait_timeout_while(self.0.lock(), limit, nothing));
    }

    /// What is waited for, if the topic could not be seen lately.
    pub(super) fn waits_for(&self) -> Option<String> {
        self.0.lock().waits_for.clone()
    }

    /// Why there is nothing to look at any more.
    pub(super) fn failure(&self) -> Option<SourceError> {
        self.0.lock().failed.clone()
    }
}

fn watch(shared: &Shared, (consumer, logs): (&BaseConsumer<Notices>, &Logs), topic: &str, start: Option<KafkaStart>) {
    let mut missing_since: Option<Instant> = None;
    for number in 1_u64.. {
        let begins = if shared.lock().seen.is_none() { start } else { None };
        let seen = look(consumer, topic, begins, ANSWER_MAX, &|| logs.serve());
        let mut state = shared.lock();
        let waits_for = match seen {
            Ok(seen) => {
                missing_since = None;
                state.seen = Some((number, Arc::new(seen)));
                None
            }
            Err(Unseen::Away(reason)) => {
                missing_since = None;
                Some(format!("the brokers of topic {topic} do not answer: {reason}"))
            }
            // A user may be created, a certificate replaced.
            Err(Unseen::Rejected(reason)) => {
                missing_since = None;
                Some(format!("the brokers of topic {topic} cannot be talked to: {reason}"))
            }
            Err(Unseen::Missing) => {
                if missing_since.get_or_insert_with(Instant::now).elapsed() >= GONE_AFTER {
                    state.failed = Some(gone(topic));
                }
                Some(format!("the brokers do not have topic {topic}"))
            }
        };
        match (&state.waits_for, &waits_for) {
            (None, Some(reason)) => tracing::warn!(reason, "a Kafka source waits"),
            (Some(_), None) => tracing::info!(topic, "a Kafka source goes on"),
            (Some(_), Some(_)) | (None, None) => {}
        }
        let rest = if waits_for.is_some() { TRY_EVERY } else { LOOK_EVERY };
        state.waits_for = waits_for;
        shared.changed.notify_all();
        let waited = shared.changed.wait_timeout_while(state, rest, |state| !state.stopped);
        let (state, _) = waited.expect("no thread panics while it holds what was seen of a topic");
        if state.stopped || state.failed.is_some() {
            return;
        }
    }
}

fn gone(topic: &str) -> SourceError {
    let reason =
        "was deleted: what was read of it stays readable; drop the source, and create it again over another topic";
    SourceError::Topic { topic: topic.to_owned(), reason: reason.to_owned() }
}

/// Looks at the topic once. `hear` lets the client say what it has to say, which tells why brokers do not answer.
pub(super) fn look(
    consumer: &BaseConsumer<Notices>,
    topic: &str,
    start: Option<KafkaStart>,
    answer_max: Duration,
    hear: &dyn Fn(),
) -> Result<Look, Unseen> {
    // What the question says is that it timed out; why, a failed connection says.
    let away = |error: KafkaError| match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => Unseen::Missing,
        _ => {
            hear();
            match consumer.context().failure() {
                Some(reason) if consumer.context().rejected() => Unseen::Rejected(reason),
                reason => Unseen::Away(reason.unwrap_or_else(|| error.to_string())),
            }
        }
    };
    let metadata = consumer.fetch_metadata(Some(topic), answer_max).map_err(away)?;
    hear();
    consumer.context().answered();
    let Some(seen) = metadata.topics().iter().find(|seen| seen.name() == topic) else { return Err(Unseen::Missing) };
    match seen.error().map(RDKafkaErrorCode::from) {
        None => {}
        Some(RDKafkaErrorCode::UnknownTopicOrPartition) => return Err(Unseen::Missing),
        Some(code) => return Err(Unseen::Away(code.to_string())),
    }
    if seen.partitions().is_empty() {
        return Err(Unseen::Missing);
    }
    let mut look = Look::default();
    for partition in seen.partitions() {
        if partition.leader() < 0 {
            return Err(Unseen::Away(format!("partition {} has no leader", partition.id())));
        }
        let marks = consumer.fetch_watermarks(topic, partition.id(), answer_max).map_err(away)?;
        look.marks.insert(partition.id(), marks);
    }
    match start {
        None => {}
        Some(KafkaStart::Earliest) => look.starts = look.marks.iter().map(|(id, (low, _))| (*id, *low)).collect(),
        Some(KafkaStart::Latest) => look.starts = look.marks.iter().map(|(id, (_, high))| (*id, *high)).collect(),
        Some(KafkaStart::Offset(offset)) => look.starts = look.marks.keys().map(|id| (*id, offset)).collect(),
        Some(KafkaStart::Timestamp(ms)) => {
            let mut times = TopicPartitionList::new();
            for partition in look.marks.keys() {
                times.add_partition_offset(topic, *partition, Offset::Offset(ms)).map_err(away)?;
            }
            let found = consumer.offsets_for_times(times, answer_max).map_err(away)?;
            for found in found.elements() {
                found.error().map_err(away)?;
                let (_, high) = look.marks[&found.partition()];
                let start = if let Offset::Offset(offset) = found.offset() { offset } else { high };
                look.starts.insert(found.partition(), start);
            }
        }
    }
    Ok(look)
}
