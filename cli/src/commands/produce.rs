//! `headwater produce`: sends the records of a file, or generated ones, to topics: keyed, at a rate, in order. Generated ones
//! may also go to a file.
//!
//! What is sent where is decided by the file and the flags alone: a record with a key goes where the key's hash says (the
//! hash of Kafka's own clients), one without to the partitions in turn. The producer is idempotent, so what the brokers
//! acknowledge is there once and in order, whatever is sent again.

mod commerce;
pub(crate) mod generated;
pub(crate) mod records;
mod target;

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write, stderr};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rdkafka::ClientConfig;
use rdkafka::ClientContext;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};

use self::generated::{Generated, Text};
use self::records::{InputForm, Record, Records};
use self::target::Target;
use crate::args::ProduceArgs;
use crate::output::failure::Failure;

/// How long the brokers may take to answer a question.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// How long records may wait for their brokers before the command gives up.
const DELIVERY_MAX: Duration = Duration::from_secs(120);
/// How often a rate is looked after.
const PACE: Duration = Duration::from_millis(2);

/// What became of the records.
#[derive(Default)]
struct Deliveries {
    failed: AtomicU64,
    first_failure: Mutex<Option<String>>,
}

impl ClientContext for Deliveries {
    fn log(&self, _level: RDKafkaLogLevel, _facility: &str, _line: &str) {}

    fn error(&self, _error: KafkaError, _reason: &str) {}
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.failed.fetch_add(1, Ordering::Relaxed);
            let mut first = self.first_failure.lock().expect("no thread panics while it holds a text");
            first.get_or_insert_with(|| error.to_string());
        }
    }
}

/// Where records come from.
enum Origin {
    File(Records),
    Generator(Generated),
}

impl Origin {
    fn open(args: &ProduceArgs, bar: &ProgressBar) -> anyhow::Result<Origin> {
        let Some(name) = args.generator else {
            let file = args.file.as_ref().context("there is neither a file nor a generator")?;
            return Records::open(file, args.form, args.key.clone(), bar).map(Origin::File);
        };
        let text = match (args.form, &args.to) {
            (InputForm::Csv, _) => Text::Csv,
            (InputForm::Ndjson, _) | (InputForm::Auto, None) => Text::Json,
            (InputForm::Auto, Some(path)) => target::text_of(path),
            (InputForm::Events, _) => anyhow::bail!("generated records are no events: leave out --form events"),
        };
        let generated = Generated::new(name, args.rows, args.seed, text, args.key.as_deref())?;
        bar.set_length(generated.len());
        Ok(Origin::Generator(generated))
    }

    fn next(&mut self) -> anyhow::Result<Option<Record>> {
        match self {
            Origin::File(records) => records.next(),
            Origin::Generator(generated) => generated.next(),
        }
    }

    /// Shows how far it is; a file counts its bytes itself.
    fn show(&self, bar: &ProgressBar, records: u64) {
        bar.set_message(format!("{records} records"));
        if let Origin::Generator(_) = self {
            bar.set_position(records);
        }
    }
}

/// Records between two looks at how it goes.
const LOOK_EVERY: u64 = 4_096;

/// Sends the records, or writes them.
pub(crate) fn run(args: &ProduceArgs) -> anyhow::Result<ExitCode> {
    let bar = bar();
    let mut origin = Origin::open(args, &bar)?;
    let begun = Instant::now();
    let (records, to) = match &args.to {
        Some(path) => (write_all(&mut origin, path, &bar)?, path.display().to_string()),
        None => send_all(args, &mut origin, &bar)?,
    };
    bar.finish_and_clear();
    let seconds = begun.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate is shown in whole records")]
    let rate = records as f64 / seconds.max(0.001);
    // If the standard error is gone, the exit code still tells.
    let _ = writeln!(stderr(), "sent {records} records to {to} in {seconds:.1} s, {rate:.0}/s");
    Ok(ExitCode::SUCCESS)
}

/// Sends everything; returns how many records, and to which topics.
fn send_all(args: &ProduceArgs, origin: &mut Origin, bar: &ProgressBar) -> anyhow::Result<(u64, String)> {
    let mut sender = Sender::new(args)?;
    let begun = Instant::now();
    let mut sent = 0_u64;
    while let Some(record) = origin.next()? {
        if let Some(rate) = args.rate {
            sender.pace(begun, sent, rate);
        }
        sender.send(record)?;
        sent += 1;
        if sent.is_multiple_of(LOOK_EVERY) {
            origin.show(bar, sent);
            sender.check()?;
        }
    }
    sender.finish()?;
    let topics: Vec<&str> = sender.partitions.keys().map(String::as_str).collect();
    Ok((sent, topics.join(", ")))
}

/// Writes everything to a file; returns how many records.
fn write_all(origin: &mut Origin, path: &Path, bar: &ProgressBar) -> anyhow::Result<u64> {
    let mut target = Target::create(path)?;
    if let Origin::Generator(generated) = origin
        && let Some(header) = generated.file_header()
    {
        target.line(header.as_bytes())?;
    }
    let mut written = 0_u64;
    while let Some(record) = origin.next()? {
        target.line(&record.value)?;
        written += 1;
        if written.is_multiple_of(LOOK_EVERY) {
            origin.show(bar, written);
        }
    }
    target.finish()?;
    Ok(written)
}

fn bar() -> ProgressBar {
    let target = if stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}, {eta} left");
    let style = style.expect("the template above is valid").progress_chars("##-");
    ProgressBar::with_draw_target(None, target).with_style(style)
}

struct Sender<'a> {
    args: &'a ProduceArgs,
    brokers: &'a str,
    config: ClientConfig,
    producer: BaseProducer<Deliveries>,
    /// How many partitions each topic has, and to which the next record without a key goes.
    partitions: BTreeMap<String, (i32, i32)>,
}

impl<'a> Sender<'a> {
    fn new(args: &'a ProduceArgs) -> anyhow::Result<Sender<'a>> {
        let brokers = args.brokers.as_deref().context("there are no brokers to send to: give --brokers")?;
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("client.id", "headwater-produce");
        config.set("compression.codec", args.compression.name()).set("linger.ms", "5");
        config.set("enable.idempotence", "true").set("partitioner", "murmur2_random");
        config.set("message.timeout.ms", DELIVERY_MAX.as_millis().to_string());
        config.set("message.max.bytes", "67108864").set("batch.size", "262144");
        for property in &args.properties {
            let (name, value) = property.split_once('=').with_context(|| {
                format!("{property} is no property: write --property name=value, as librdkafka names it")
            })?;
            config.set(name, value);
        }
        config.set_log_level(RDKafkaLogLevel::Emerg);
        let producer = config.create_with_context(Deliveries::default()).map_err(|error| match error {
            KafkaError::ClientConfig(_, reason, name, _) => anyhow::anyhow!("property {name}: {reason}"),
            other => other.into(),
        })?;
        Ok(Sender { args, brokers, config, producer, partitions: BTreeMap::new() })
    }

    /// Finds out how many partitions a topic has; creates it if that is asked for.
    fn topic(&mut self, topic: &str) -> anyhow::Result<()> {
        let found = match self.count(topic)? {
            0 => {
                let Some(partitions) = self.args.partitions else {
                    let hint = "create it, or give --partitions N and it is created with so many";
                    return Err(Failure::with_hint(format!("topic {topic} does not exist"), hint).into());
                };
                self.create(topic, partitions)?;
                partitions
            }
            found => found,
        };
        if let Some(wanted) = self.args.partitions.filter(|wanted| *wanted != found) {
            let hint = "leave out --partitions, or name another topic";
            return Err(Failure::with_hint(format!("topic {topic} has {found} partitions, not {wanted}"), hint).into());
        }
        self.partitions.insert(topic.to_owned(), (found, 0));
        Ok(())
    }

    /// The partitions of a topic; 0 if it does not exist.
    fn count(&self, topic: &str) -> anyhow::Result<i32> {
        let seen = self.producer.client().fetch_metadata(Some(topic), ANSWER_MAX).map_err(|error| {
            let message = format!("the brokers at {} do not answer: {error}", self.brokers);
            Failure::with_hint(message, "are the addresses right, and do the brokers run?")
        })?;
        let found = seen.topics().iter().find(|found| found.name() == topic);
        Ok(i32::try_from(found.map_or(0, |found| found.partitions().len()))?)
    }

    fn create(&self, topic: &str, partitions: i32) -> anyhow::Result<()> {
        let admin: AdminClient<DefaultClientContext> = self.config.create()?;
        // Records may be years old by their timestamps, and must not be deleted for it.
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(-1)).set("retention.ms", "-1");
        let options = AdminOptions::new().request_timeout(Some(ANSWER_MAX));
        for created in futures::executor::block_on(admin.create_topics([&new], &options))? {
            created.map_err(|(topic, code)| anyhow::anyhow!("topic {topic} cannot be created: {code}"))?;
        }
        let deadline = Instant::now() + ANSWER_MAX;
        while self.count(topic)? != partitions {
            anyhow::ensure!(Instant::now() < deadline, "topic {topic} was created and does not appear");
            self.producer.poll(PACE);
        }
        Ok(())
    }

    /// Leaves a record to be sent, waiting while too many are on their way.
    fn send(&mut self, record: Record) -> anyhow::Result<()> {
        let named = self.args.topic.clone().or(record.topic);
        let topic = named.ok_or_else(|| Failure::with_hint("the records have no topic", "give --topic NAME"))?;
        if !self.partitions.contains_key(&topic) {
            self.topic(&topic)?;
        }
        let (count, turn) = self.partitions.get_mut(&topic).expect("it was just looked up");
        let mut next = BaseRecord::<[u8], [u8]>::to(&topic).payload(&record.value);
        next.timestamp = record.timestamp_ms;
        if let Some(key) = &record.key {
            next.key = Some(key.as_bytes());
        } else {
            next.partition = Some(*turn);
            *turn = (*turn + 1) % *count;
        }
        loop {
            match self.producer.send(next) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                    next = back;
                    self.producer.poll(Duration::from_millis(50));
                    self.check()?;
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
        self.producer.poll(Duration::ZERO);
        Ok(())
    }

    /// Waits until `sent` records may have been sent at `rate` records a second.
    fn pace(&self, begun: Instant, sent: u64, rate: f64) {
        #[expect(clippy::cast_precision_loss, reason = "a moment need not be exact")]
        let due = begun + Duration::from_secs_f64(sent as f64 / rate);
        while let Some(wait) = due.checked_duration_since(Instant::now()).filter(|wait| !wait.is_zero()) {
            self.producer.poll(wait.min(PACE));
        }
    }

    /// Whether everything has been delivered so far.
    fn check(&self) -> anyhow::Result<()> {
        let deliveries = self.producer.context();
        let failed = deliveries.failed.load(Ordering::Relaxed);
        if failed == 0 {
            return Ok(());
        }
        let first = deliveries.first_failure.lock().expect("no thread panics while it holds a text").clone();
        anyhow::bail!("{failed} records were not delivered: {}", first.unwrap_or_default())
    }

    /// Waits until everything has been delivered.
    fn finish(&self) -> anyhow::Result<()> {
        self.producer.flush(DELIVERY_MAX + ANSWER_MAX)?;
        self.check()
    }
}
