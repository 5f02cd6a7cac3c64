//! Metrics in the Prometheus text format: what the coordinator observed last, the edge's and the process' own figures.
//!
//! Nothing is counted here. Every scrape reads the latest values, so an object that was dropped is gone from the next
//! scrape.

use std::fmt;

use headwater_connectors::ingest::Ingest;
use headwater_dataflow::figures::NodeFigures;
use headwater_dataflow::repr::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::{Registry, Unit};
use tokio::sync::watch;

use crate::sql::ObjectKind;
use crate::watched;

/// What the coordinator observed last.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Why the server is not ready to serve everything; nothing if it is.
    pub not_ready: Vec<String>,
    /// The last durable time.
    pub bound: Timestamp,
    /// Open subscriptions.
    pub subscriptions: usize,
    /// Dataflows of the engine, those on their way out included.
    pub dataflows: usize,
    /// Dataflows that compute.
    pub dataflows_live: usize,
    /// How long the recovery took, once it is over.
    pub recovery_ms: Option<u64>,
    /// Every object.
    pub objects: Vec<ObservedObject>,
}

impl Observed {
    /// What is known before the coordinator runs.
    pub fn starting() -> Observed {
        Observed { not_ready: vec!["starting".to_owned()], ..Observed::default() }
    }
}

/// One object as observed.
#[derive(Clone, Debug)]
pub struct ObservedObject {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: ObjectKind,
    /// Every worker holds its snapshot.
    pub hydrated: bool,
    /// It has caught up.
    pub serving: bool,
    /// It cannot go on.
    pub failed: bool,
    /// How long ago the newest readable time was.
    pub freshness_ms: u64,
    /// What its dataflow has done and holds.
    pub figures: NodeFigures,
    /// Changes emitted, or records read.
    pub updates: u64,
    /// Rows in its errors relation.
    pub errors: u64,
    /// Bytes read, for sources.
    pub bytes: Option<u64>,
    /// Records that existed and were not read when the source last looked, if it knows.
    pub behind: Option<u64>,
    /// A source that waits for something outside.
    pub waits: bool,
    /// A source that is paused.
    pub paused: bool,
    /// The most rows that a source reads in a second, if it has a limit.
    pub rows_per_second_max: Option<u32>,
}

/// The registry of everything that is scraped.
pub fn registry(observed: watch::Receiver<Observed>, ingest: Ingest) -> Registry {
    let mut registry = Registry::with_prefix("headwater");
    registry.register_collector(Box::new(Objects { observed }));
    registry.register_collector(Box::new(Edge { ingest }));
    registry.register_collector(Box::new(Process));
    registry
}

type Labels = [(&'static str, String); 1];

/// One metric without labels.
fn write<M: EncodeMetric + TypedMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, unit): (&str, &str, Option<Unit>),
    metric: &M,
) -> fmt::Result {
    metric.encode(encoder.encode_descriptor(name, help, unit.as_ref(), M::TYPE)?)
}

/// One metric with a value for each name.
fn write_family<M: EncodeMetric>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, unit): (&str, &str, Option<Unit>),
    metric_type: MetricType,
    values: impl IntoIterator<Item = (Labels, M)>,
) -> fmt::Result {
    let mut family = encoder.encode_descriptor(name, help, unit.as_ref(), metric_type)?;
    for (labels, metric) in values {
        metric.encode(family.encode_family(&labels)?)?;
    }
    Ok(())
}

/// Objects, times, subscriptions.
struct Objects {
    observed: watch::Receiver<Observed>,
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Objects")
    }
}

impl Objects {
    fn views(encoder: &mut DescriptorEncoder<'_>, objects: &[ObservedObject]) -> fmt::Result {
        let of = |value: fn(&ObservedObject) -> f64| {
            let views = objects.iter().filter(|object| object.kind == ObjectKind::MaterializedView);
            views.map(move |view| ([("view", view.name.clone())], ConstGauge::new(value(view)))).collect::<Vec<_>>()
        };
        let gauge = MetricType::Gauge;
        let fresh = ("view_freshness", "Age of the newest readable time", Some(Unit::Seconds));
        write_family(encoder, fresh, gauge, of(|view| seconds(view.freshness_ms)))?;
        let hydrated = ("view_hydrated", "1 if every worker holds the view's snapshot", None);
        write_family(encoder, hydrated, gauge, of(|view| flag(view.hydrated)))?;
        let serving = ("view_serving", "1 if the view has caught up with its sources", None);
        write_family(encoder, serving, gauge, of(|view| flag(view.serving)))?;
        let failed = ("view_failed", "1 if the view cannot go on", None);
        write_family(encoder, failed, gauge, of(|view| flag(view.failed)))?;
        let errors = ("view_error_rows", "Rows in the view's errors relation", None);
        write_family(encoder, errors, gauge, of(|view| count(view.errors)))?;
        let records = of(|view| count(view.figures.held.unwrap_or_default().records));
        write_family(encoder, ("view_held_records", "Records that the view's operators hold", None), gauge, records)?;
        let described = ("view_held", "Memory that the view's operators hold, about", Some(Unit::Bytes));
        write_family(encoder, described, gauge, of(|view| count(view.figures.held.unwrap_or_default().bytes)))?;
        let views = || objects.iter().filter(|object| object.kind == ObjectKind::MaterializedView);
        let elapsed = |view: &ObservedObject| ConstCounter::new(view.figures.elapsed.as_secs_f64());
        let described = ("view_elapsed", "Time that workers spent in the view's operators", Some(Unit::Seconds));
        let values = views().map(|view| ([("view", view.name.clone())], elapsed(view)));
        write_family(encoder, described, MetricType::Counter, values)?;
        let updates = views().map(|view| ([("view", view.name.clone())], ConstCounter::new(view.updates)));
        let described = ("view_updates", "Changes that became visible since the start", None);
        write_family(encoder, described, MetricType::Counter, updates)
    }

    fn tables(encoder: &mut DescriptorEncoder<'_>, objects: &[ObservedObject]) -> fmt::Result {
        let tables = || objects.iter().filter(|object| object.kind == ObjectKind::Table);
        let written = tables().map(|table| ([("table", table.name.clone())], ConstCounter::new(table.updates)));
        let described = ("table_rows_written", "Rows that came or went over the life of the table", None);
        write_family(encoder, described, MetricType::Counter, written)?;
        let serving = tables().map(|table| ([("table", table.name.clone())], ConstGauge::new(flag(table.serving))));
        write_family(encoder, ("table_serving", "1 if the table can be read", None), MetricType::Gauge, serving)
    }

    fn indexes(encoder: &mut DescriptorEncoder<'_>, objects: &[ObservedObject]) -> fmt::Result {
        let of = |value: fn(&ObservedObject) -> f64| {
            let indexes = objects.iter().filter(|object| object.kind == ObjectKind::Index);
            indexes
                .map(move |index| ([("index", index.name.clone())], ConstGauge::new(value(index))))
                .collect::<Vec<_>>()
        };
        let gauge = MetricType::Gauge;
        let serving = ("index_serving", "1 if the index has caught up with what it is an index of", None);
        write_family(encoder, serving, gauge, of(|index| flag(index.serving)))?;
        let fresh = ("index_freshness", "Age of the newest time that can be looked up", Some(Unit::Seconds));
        write_family(encoder, fresh, gauge, of(|index| seconds(index.freshness_ms)))?;
        let records = of(|index| count(index.figures.held.unwrap_or_default().records));
        write_family(encoder, ("index_held_records", "Records that the index holds", None), gauge, records)?;
        let held = ("index_held", "Memory that the index holds, about", Some(Unit::Bytes));
        write_family(encoder, held, gauge, of(|index| count(index.figures.held.unwrap_or_default().bytes)))
    }

    fn sources(encoder: &mut DescriptorEncoder<'_>, objects: &[ObservedObject]) -> fmt::Result {
        let of = |value: fn(&ObservedObject) -> u64| {
            let sources = objects.iter().filter(|object| object.kind == ObjectKind::Source);
            sources.map(move |s| ([("source", s.name.clone())], ConstCounter::new(value(s)))).collect::<Vec<_>>()
        };
        let counter = MetricType::Counter;
        let records = ("source_records", "Rows of the source in sealed ticks", None);
        write_family(encoder, records, counter, of(|source| source.updates))?;
        let errors = ("source_errors", "Records of the source that could not be decoded", None);
        write_family(encoder, errors, counter, of(|source| source.errors))?;
        let bytes = ("source_read", "Bytes read from the source since the start", Some(Unit::Bytes));
        write_family(encoder, bytes, counter, of(|source| source.bytes.unwrap_or(0)))?;
        let gauges = |value: fn(&ObservedObject) -> Option<f64>| {
            let sources = objects.iter().filter(|object| object.kind == ObjectKind::Source);
            let values = sources.filter_map(move |s| Some(([("source", s.name.clone())], ConstGauge::new(value(s)?))));
            values.collect::<Vec<_>>()
        };
        let gauge = MetricType::Gauge;
        let behind =
            ("source_behind_records", "Records that were there and not read when the source last looked", None);
        write_family(encoder, behind, gauge, gauges(|source| source.behind.map(count)))?;
        let waits = ("source_waiting", "1 if the source waits for something outside, such as its brokers", None);
        write_family(encoder, waits, gauge, gauges(|source| Some(flag(source.waits))))?;
        let paused = ("source_paused", "1 if somebody paused the source", None);
        write_family(encoder, paused, gauge, gauges(|source| Some(flag(source.paused))))?;
        let limit = ("source_max_rows_per_second", "The most rows read in a second; 0 is no limit", None);
        write_family(encoder, limit, gauge, gauges(|source| Some(f64::from(source.rows_per_second_max.unwrap_or(0)))))?;
        let failed = ("source_failed", "1 if the source cannot be read", None);
        write_family(encoder, failed, gauge, gauges(|source| Some(flag(source.failed))))
    }
}

impl Collector for Objects {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let observed = watched::now(&self.observed);
        let encoder = &mut encoder;
        Objects::views(encoder, &observed.objects)?;
        Objects::sources(encoder, &observed.objects)?;
        Objects::tables(encoder, &observed.objects)?;
        Objects::indexes(encoder, &observed.objects)?;
        let bound = ("bound_timestamp", "The last durable time, since the Unix epoch", Some(Unit::Seconds));
        write(encoder, bound, &ConstGauge::new(seconds(observed.bound)))?;
        let subscriptions = ("subscriptions", "Open subscriptions", None);
        write(encoder, subscriptions, &gauge(observed.subscriptions))?;
        let dataflows = ("dataflows", "Dataflows, those being dropped included", None);
        write(encoder, dataflows, &gauge(observed.dataflows))?;
        write(encoder, ("dataflows_live", "Dataflows that compute", None), &gauge(observed.dataflows_live))?;
        if let Some(recovery_ms) = observed.recovery_ms {
            let recovery = ("recovery", "How long the last start took until everything served", Some(Unit::Seconds));
            write(encoder, recovery, &ConstGauge::new(seconds(recovery_ms)))?;
        }
        write(encoder, ("ready", "1 if everything serves", None), &ConstGauge::new(flag(observed.not_ready.is_empty())))
    }
}

/// Ticks and the log.
struct Edge {
    ingest: Ingest,
}

impl fmt::Debug for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Edge")
    }
}

impl Collector for Edge {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let figures = self.ingest.metrics();
        let encoder = &mut encoder;
        write(encoder, ("ticks", "Sealed ticks", None), &ConstCounter::new(figures.ticks))?;
        let empty = ("ticks_empty", "Sealed ticks that changed no source", None);
        write(encoder, empty, &ConstCounter::new(figures.empty_ticks))?;
        let appended = ("log_appended", "Bytes appended to the input log", Some(Unit::Bytes));
        write(encoder, appended, &ConstCounter::new(figures.bytes_appended))?;
        write(encoder, ("log_syncs", "Syncs of log files", None), &ConstCounter::new(figures.syncs))?;
        let sync = ("log_sync", "Time spent in syncs of log files", Some(Unit::Seconds));
        write(encoder, sync, &ConstCounter::new(figures.sync_seconds))?;
        let replaying = ("imports_replaying", "Imports that read the log", None);
        write(encoder, replaying, &gauge(figures.imports_replaying))?;
        let following = ("imports_following", "Imports that get ticks as they are sealed", None);
        write(encoder, following, &gauge(figures.imports_following))?;
        let overflows = ("import_overflows", "How often an import fell behind and went on from the log", None);
        write(encoder, overflows, &ConstCounter::new(figures.overflows))?;
        write(
            encoder,
            ("log_failed", "1 if the log failed", None),
            &ConstGauge::new(flag(self.ingest.failure().is_some())),
        )
    }
}

/// What the operating system says about this process; nothing where there is no /proc.
#[derive(Debug)]
struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        let version = [("version", env!("CARGO_PKG_VERSION").to_owned())];
        let build = [(version, ConstGauge::new(1.0))];
        write_family(encoder, ("build", "Always 1; the version is a label", None), MetricType::Gauge, build)?;
        if let Some(kib) = status_kib("VmRSS:") {
            let resident = ("process_resident_memory", "Resident memory", Some(Unit::Bytes));
            write(encoder, resident, &ConstGauge::new(count(kib * 1024)))?;
        }
        if let Some(cpu) = cpu_seconds() {
            let described = ("process_cpu", "User and system CPU time", Some(Unit::Seconds));
            write(encoder, described, &ConstCounter::new(cpu))?;
        }
        if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
            write(encoder, ("process_open_fds", "Open file descriptors", None), &gauge(files.count()))?;
        }
        Ok(())
    }
}

fn status_kib(key: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}

/// User and system time out of `/proc/self/stat`, which counts in hundredths of a second on every Linux.
fn cpu_seconds() -> Option<f64> {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the program's name in brackets and may hold anything.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(count(user + system) / TICKS_PER_SECOND)
}

fn seconds(ms: u64) -> f64 {
    count(ms) / 1000.0
}

fn flag(set: bool) -> f64 {
    if set { 1.0 } else { 0.0 }
}

fn gauge(value: usize) -> ConstGauge<f64> {
    ConstGauge::new(count(u64::try_from(value).unwrap_or(u64::MAX)))
}

/// Prometheus knows doubles only; figures above 2^53 may lose their last digits.
#[allow(clippy::cast_precision_loss)]
fn count(value: u64) -> f64 {
    value as f64
}
