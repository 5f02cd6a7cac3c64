//! Apache Kafka: one process that is broker and controller, its jars fetched once by Maven.
//!
//! All tests of a run share one broker, started when the first asks for it. Topics are named after their tests. It listens
//! three times: without any protection, with TLS, and with TLS and a password (see [`tls`]).

pub(crate) mod tls;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use self::tls::Tls;
use super::{Folder, Service, cache, free_port};
use crate::harness::{WAIT_MAX, outcome, wait_for};

/// The broker's version.
const VERSION: &str = "4.3.1";

/// The cluster of all runs: any 16 bytes in base64.
const CLUSTER: &str = "AAAAAAAAAAAAAAAAAAAAAQ";

/// How long one request may take.
const REQUEST_MAX: Duration = Duration::from_secs(30);

static BROKER: Mutex<Option<Broker>> = Mutex::new(None);

/// Lets a test use the broker, which is started if it does not run. When the test fails, the end of its log is shown.
pub(crate) fn with_broker<T>(test: impl FnOnce(&mut Broker) -> Result<T>) -> Result<T> {
    let mut shared: MutexGuard<'_, Option<Broker>> = BROKER.lock().unwrap_or_else(PoisonError::into_inner);
    if shared.is_none() {
        *shared = Some(Broker::create()?);
    }
    let broker = shared.as_mut().context("it was just started")?;
    broker.start()?;
    let result = test(broker);
    if result.is_err()
        && let Some(service) = &broker.service
    {
        eprintln!("--- the end of the broker's log\n{}", service.log_tail());
    }
    result
}

/// A broker over one folder and one pair of ports, running or not.
#[derive(Debug)]
pub(crate) struct Broker {
    folder: PathBuf,
    _kept: Folder,
    libs: PathBuf,
    port: u16,
    tls: Tls,
    service: Option<Service>,
}

impl Broker {
    /// Formats a folder. The broker does not run yet.
    fn create() -> Result<Broker> {
        let libs = jars()?;
        let kept = Folder::create("headwater-kafka-")?;
        let folder = kept.path().to_owned();
        let (port, controller) = (free_port()?, free_port()?);
        let data = folder.join("data");
        let tls = Tls::create(&folder)?;
        let properties = format!(
            "process.roles=broker,controller\n\
             node.id=1\n\
             controller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller},{}\n\
             controller.listener.names=CONTROLLER\n\
             log.dirs={}\n\
             offsets.topic.replication.factor=1\n\
             offsets.topic.num.partitions=1\n\
             transaction.state.log.replication.factor=1\n\
             transaction.state.log.num.partitions=1\n\
             transaction.state.log.min.isr=1\n\
             group.initial.rebalance.delay.ms=0\n\
             auto.create.topics.enable=false\n\
             log.retention.ms=-1\n\
             message.max.bytes=8388608\n\
             num.network.threads=2\n\
             num.io.threads=2\n{}",
            tls.listeners(),
            data.display(),
            tls.properties(),
        );
        fs::write(folder.join("server.properties"), properties)?;
        let broker = Broker { folder, _kept: kept, libs, port, tls, service: None };
        let mut format = Command::new("java");
        format.args(broker.java(&["kafka.tools.StorageTool", "format", "-t", CLUSTER, "-c"]));
        format.arg(broker.folder.join("server.properties")).args(Tls::format_words()).stdin(Stdio::null());
        let formatted = outcome(&mut format)?;
        ensure!(formatted.code == 0, "the broker's folder cannot be formatted: {formatted:?}");
        Ok(broker)
    }

    fn java(&self, words: &[&str]) -> Vec<String> {
        let jars = format!("{}/*", self.libs.display());
        // Tests share two cores with the broker: no second compiler, no parallel collector.
        let options = ["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", &jars];
        options.iter().chain(words).map(|word| (*word).to_owned()).collect()
    }

    /// Where clients find it.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What clients of its protected listeners need.
    #[cfg(feature = "kafka-tls")]
    pub(crate) fn tls(&self) -> &Tls {
        &self.tls
    }

    /// Starts it unless it runs, and waits until it answers.
    pub(crate) fn start(&mut self) -> Result<()> {
        if self.service.is_some() {
            return Ok(());
        }
        let properties = self.folder.join("server.properties").display().to_string();
        let mut command = vec!["java".to_owned()];
        command.extend(self.java(&["kafka.Kafka", &properties]));
        let mut service = Service::spawn("kafka", &self.folder, &command)?;
        let client: BaseConsumer = self.client().create()?;
        service.wait_until(|| {
            client.fetch_metadata(None, Duration::from_millis(500)).is_ok_and(|cluster| !cluster.brokers().is_empty())
        })?;
        self.service = Some(service);
        Ok(())
    }

    /// Stops it with SIGTERM; with `at_once` as a power cut would.
    pub(crate) fn stop(&mut self, at_once: bool) -> Result<()> {
        self.service.take().context("the broker does not run")?.stop(at_once)
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.address()).set("reconnect.backoff.max.ms", "500");
        config.set_log_level(rdkafka::config::RDKafkaLogLevel::Emerg);
        config
    }

    fn admin(&self) -> Result<AdminClient<DefaultClientContext>> {
        Ok(self.client().create()?)
    }

    /// Creates a topic whose records are never too old.
    pub(crate) fn create_topic(&self, topic: &str, partitions: i32) -> Result<()> {
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let options = AdminOptions::new().request_timeout(Some(REQUEST_MAX));
        each(futures::executor::block_on(self.admin()?.create_topics([&new], &options))?)?;
        let client: BaseConsumer = self.client().create()?;
        wait_for(&format!("topic {topic}"), WAIT_MAX, || {
            let seen = client.fetch_metadata(Some(topic), REQUEST_MAX)?;
            let led = |topic: &rdkafka::metadata::MetadataTopic| {
                topic.partitions().len() == partitions as usize && topic.partitions().iter().all(|p| p.leader() >= 0)
            };
            Ok(seen.topics().iter().any(led).then_some(()))
        })
    }

    /// Deletes a topic and waits until it is gone.
    pub(crate) fn delete_topic(&self, topic: &str) -> Result<()> {
        let options = AdminOptions::new().request_timeout(Some(REQUEST_MAX));
        each(futures::executor::block_on(self.admin()?.delete_topics(&[topic], &options))?)?;
        let client: BaseConsumer = self.client().create()?;
        wait_for(&format!("the end of topic {topic}"), WAIT_MAX, || {
            let seen = client.fetch_metadata(None, REQUEST_MAX)?;
            Ok((!seen.topics().iter().any(|other| other.name() == topic)).then_some(()))
        })
    }

    /// Makes the topic have so many partitions.
    pub(crate) fn add_partitions(&self, topic: &str, partitions: usize) -> Result<()> {
        let options = AdminOptions::new().request_timeout(Some(REQUEST_MAX));
        let more = NewPartitions::new(topic, partitions);
        each(futures::executor::block_on(self.admin()?.create_partitions([&more], &options))?)
    }

    /// Deletes the records of a partition before `offset`.
    pub(crate) fn delete_records(&self, topic: &str, partition: i32, offset: i64) -> Result<()> {
        let mut before = rdkafka::TopicPartitionList::new();
        before.add_partition_offset(topic, partition, rdkafka::Offset::Offset(offset))?;
        let options = AdminOptions::new().request_timeout(Some(REQUEST_MAX));
        let deleted = futures::executor::block_on(self.admin()?.delete_records(&before, &options))?;
        deleted.elements().iter().try_for_each(|partition| Ok(partition.error()?))
    }

    /// A producer that waits a millisecond at most for more to send.
    pub(crate) fn prompt_producer(&self) -> Result<Records> {
        let mut config = self.client();
        config.set("compression.codec", "none").set("linger.ms", "1").set("acks", "1");
        Ok(Records(config.create()?))
    }

    /// A producer with a compression codec.
    pub(crate) fn producer(&self, codec: &str) -> Result<Records> {
        let mut config = self.client();
        config.set("compression.codec", codec).set("linger.ms", "5").set("enable.idempotence", "true");
        config.set("message.max.bytes", "8000000").set("queue.buffering.max.messages", "200000");
        Ok(Records(config.create()?))
    }
}

/// The first error of an administrative request.
fn each(results: Vec<Result<String, (String, RDKafkaErrorCode)>>) -> Result<()> {
    for result in results {
        result.map_err(|(topic, code)| anyhow::anyhow!("{topic}: {code}"))?;
    }
    Ok(())
}

/// One record to be sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Record<'a> {
    pub(crate) partition: i32,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) timestamp_ms: Option<i64>,
    pub(crate) headers: Option<OwnedHeaders>,
}

/// A producer.
pub(crate) struct Records(BaseProducer);

impl Records {
    /// Leaves a record to be sent, waiting while too many are on their way.
    pub(crate) fn send(&self, topic: &str, record: &Record<'_>) -> Result<()> {
        let mut next = BaseRecord::<[u8], [u8]>::to(topic).partition(record.partition);
        (next.key, next.payload, next.timestamp) = (record.key, record.value, record.timestamp_ms);
        next.headers.clone_from(&record.headers);
        loop {
            match self.0.send(next) {
                Ok(()) => {
                    self.0.poll(Duration::ZERO);
                    return Ok(());
                }
                Err((error, back)) => {
                    if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                        bail!(error);
                    }
                    next = back;
                    self.0.poll(Duration::from_millis(20));
                }
            }
        }
    }

    /// Sends a value to a partition.
    pub(crate) fn value(&self, topic: &str, partition: i32, value: &str) -> Result<()> {
        self.send(topic, &Record { partition, value: Some(value.as_bytes()), ..Record::default() })
    }

    /// Looks after what is on its way for that long.
    pub(crate) fn wait(&self, time: Duration) {
        self.0.poll(time);
    }

    /// Waits until everything has been sent.
    pub(crate) fn flush(&self) -> Result<()> {
        Ok(self.0.flush(WAIT_MAX)?)
    }
}

/// The folder with the jars of the broker, fetched by Maven if it is not there.
fn jars() -> Result<PathBuf> {
    let folder = cache()?.join(format!("kafka-{VERSION}"));
    let libs = folder.join("libs");
    if libs.is_dir() {
        return Ok(libs);
    }
    let fetching = tempfile::Builder::new().prefix("fetching-").tempdir_in(cache()?)?;
    fs::write(fetching.path().join("pom.xml"), pom())?;
    let mut maven = Command::new("mvn");
    maven.args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime", "-DoutputDirectory=libs"]);
    let fetched = outcome(maven.current_dir(fetching.path()).stdin(Stdio::null()))
        .context("Maven cannot be started: `make services` installs what the tests' services need")?;
    ensure!(fetched.code == 0, "Maven cannot fetch Kafka {VERSION}: {}{}", fetched.stdout, fetched.stderr);
    // Another run may have been faster.
    if fs::rename(fetching.path(), &folder).is_err() && !libs.is_dir() {
        bail!("cannot move {} to {}", fetching.path().display(), folder.display());
    }
    Ok(libs)
}

fn pom() -> String {
    let dependency = |group: &str, artifact: &str, version: &str| {
        format!(
            "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version></dependency>"
        )
    };
    format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
         <groupId>headwater</groupId><artifactId>test-services</artifactId><version>1</version>\
         <packaging>pom</packaging><dependencies>{}{}</dependencies></project>",
        dependency("org.apache.kafka", "kafka_2.13", VERSION),
        dependency("org.slf4j", "slf4j-nop", "1.7.36"),
    )
}

/// Whether a process of this id lives.
fn alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn a_broker_keeps_its_records_over_a_stop_and_a_kill() {
    crate::harness::run(|_| {
        with_broker(|broker| {
            let topic = "kept-records";
            broker.create_topic(topic, 2)?;
            let records = broker.producer("none")?;
            for partition in [0, 1] {
                records.value(topic, partition, "{}")?;
            }
            records.flush()?;
            for at_once in [false, true] {
                let pid = broker.service.as_ref().context("it runs")?.pid;
                broker.stop(at_once)?;
                ensure!(!alive(pid), "process {pid} is still there");
                broker.start()?;
            }
            let client: BaseConsumer = broker.client().create()?;
            for partition in [0, 1] {
                wait_for("the records", WAIT_MAX, || {
                    // A broker that has just started may not lead its partitions yet.
                    let marks = client.fetch_watermarks(topic, partition, REQUEST_MAX).ok();
                    ensure!(marks.is_none_or(|marks| marks == (0, 1)), "{marks:?}");
                    Ok(marks)
                })?;
            }
            Ok(())
        })
    });
}
