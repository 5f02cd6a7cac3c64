//! The engine: SQL text, parsed Arrow input through ports, every change delivered to a sink that counts and hashes it.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{DataType, Decimal128Type, Int64Type, TimestampMicrosecondType, UInt64Type};
use crossbeam_channel::Receiver;
use headwater_dataflow::engine::{Engine, EngineConfig};
use headwater_dataflow::port::{PortFeed, PortItem, Tick, port};
use headwater_dataflow::protocol::{Command, DataflowDescription, Import, PortForm, PortHandle, Response};
use headwater_dataflow::repr::{CollectionId, Delta, ObjectId, Timestamp};
use headwater_views::sql::{self, Relation, RelationKind, Relations};

use super::input::{Change, Source};
use super::measure::{NULL, Sink, mix, text_value};
use super::queries::Query;

const VIEW: ObjectId = ObjectId(100);

fn object(source: Source) -> ObjectId {
    let index = Source::ALL.iter().position(|other| *other == source).expect("all of them are there");
    ObjectId(1 + index as u64)
}

struct Names {
    append_only: bool,
}

impl Relations for Names {
    fn relation(&self, name: &str) -> Option<Relation> {
        let source = Source::ALL.into_iter().find(|source| source.name() == name)?;
        let collection = object(source).rows();
        let kind = RelationKind::Collection { collection, schema: source.schema(), append_only: self.append_only };
        Some(Relation { name: name.to_owned(), kind })
    }

    fn names(&self) -> Vec<String> {
        Source::ALL.map(|source| source.name().to_owned()).to_vec()
    }
}

fn source_of(collection: CollectionId) -> Source {
    Source::ALL.into_iter().find(|source| object(*source) == collection.object).expect("views read what has a name")
}

/// A view that runs and is fed.
pub(crate) struct Running {
    engine: Engine,
    responses: Receiver<Response>,
    feeds: Vec<(Source, PortFeed)>,
    uppers: Vec<Timestamp>,
    time: Timestamp,
    /// What the view has changed so far.
    pub(crate) sink: Sink,
}

impl Running {
    /// Starts an engine with the view; the products are there from the beginning.
    pub(crate) fn start(query: Query, workers: usize, products: &RecordBatch) -> Result<Running> {
        Running::start_sql(query.name(), query.sql(), query.append_only(), workers, Some(products))
    }

    /// The same for any text.
    pub(crate) fn start_sql(
        name: &str,
        text: &str,
        append_only: bool,
        workers: usize,
        products: Option<&RecordBatch>,
    ) -> Result<Running> {
        let planned = sql::plan_view(text, &Names { append_only })
            .map_err(|error| anyhow::anyhow!("{name}: {}", error.message))?;
        let (sender, responses) = crossbeam_channel::unbounded();
        let engine = Engine::start(EngineConfig::alone(workers), sender).context("the engine does not start")?;
        let mut imports = Vec::new();
        let mut feeds = Vec::new();
        for collection in &planned.imports {
            let (feed, reader) = port();
            let source = source_of(*collection);
            imports.push(Import::Source {
                collection: *collection,
                schema: source.schema(),
                port: PortHandle::new(reader),
                form: PortForm::Rows,
            });
            if source == Source::Products
                && let Some(products) = products
            {
                let rows = Arc::new(Delta::insert(products.clone()));
                feed.replay(PortItem::Snapshot(rows)).expect("the dataflow is about to exist");
            }
            feed.replay(PortItem::SnapshotComplete).expect("the dataflow is about to exist");
            feeds.push((source, feed));
        }
        let description = DataflowDescription {
            object: VIEW,
            name: name.to_owned(),
            imports,
            plan: planned.plan,
            errors: None,
            key: None,
            as_of: 0,
        };
        engine.send(Command::Create(Box::new(description)));
        let uppers = vec![0; workers];
        let mut running = Running { engine, responses, feeds, uppers, time: 0, sink: Sink::default() };
        running.wait();
        Ok(running)
    }

    /// Feeds one tick, and takes in what has changed meanwhile. Waits only while the port is full.
    pub(crate) fn tick(&mut self, change: &Change) {
        self.time += 1;
        for (source, feed) in &self.feeds {
            let tick = Tick { time: self.time, delta: change.delta(*source).cloned() };
            feed.replay(PortItem::Tick(Arc::new(tick))).expect("the dataflow exists");
        }
        while let Ok(response) = self.responses.try_recv() {
            self.take(&response);
        }
    }

    /// Lets the view forget what was before the last `ticks`.
    pub(crate) fn keep_history(&mut self, ticks: u64) {
        let since = Arc::new([(VIEW, self.time.saturating_sub(ticks))]);
        self.engine.send(Command::AllowCompaction { since });
    }

    /// Waits until everything fed has been delivered.
    pub(crate) fn wait(&mut self) {
        while self.uppers.iter().any(|upper| *upper <= self.time) {
            let response = self.responses.recv().expect("the workers live");
            self.take(&response);
        }
    }

    fn take(&mut self, response: &Response) {
        let Response::Batch { worker, upper, rows, errors, .. } = response else { return };
        assert!(errors.is_empty(), "the work has no errors");
        self.uppers[*worker] = *upper;
        for chunk in rows {
            hash_rows(&chunk.delta, &mut self.sink);
        }
    }

    /// Ends the engine.
    pub(crate) fn shutdown(self) {
        self.engine.shutdown();
    }
}

/// Takes in every row of a delta.
fn hash_rows(delta: &Delta, sink: &mut Sink) {
    let mut hashes = vec![0u64; delta.len()];
    for column in delta.rows.columns() {
        mix_column(column, &mut hashes);
    }
    for (row, hash) in hashes.into_iter().enumerate() {
        sink.add(hash, delta.diffs.get(row));
    }
}

fn mix_column(column: &ArrayRef, hashes: &mut [u64]) {
    let nulls = column.nulls();
    match column.data_type() {
        DataType::Int64 => {
            let values = column.as_primitive::<Int64Type>().values();
            mix_values(hashes, nulls, |row| values[row] as u64);
        }
        DataType::Timestamp(..) => {
            let values = column.as_primitive::<TimestampMicrosecondType>().values();
            mix_values(hashes, nulls, |row| values[row] as u64);
        }
        DataType::Decimal128(..) => {
            let values = column.as_primitive::<Decimal128Type>().values();
            mix_values(hashes, nulls, |row| values[row] as u64);
        }
        DataType::Utf8 => {
            let values = column.as_string::<i32>();
            mix_values(hashes, nulls, |row| text_value(values.value(row).as_bytes()));
        }
        DataType::UInt64 => {
            let values = column.as_primitive::<UInt64Type>().values();
            mix_values(hashes, nulls, |row| values[row]);
        }
        other => panic!("no query returns {other}"),
    }
}

/// What lies behind a NULL is anything, so it is not looked at.
fn mix_values(hashes: &mut [u64], nulls: Option<&NullBuffer>, value: impl Fn(usize) -> u64) {
    let rows = hashes.iter_mut().enumerate();
    match nulls.filter(|nulls| nulls.null_count() > 0) {
        None => rows.for_each(|(row, hash)| *hash = mix(*hash, value(row))),
        Some(nulls) => {
            rows.for_each(|(row, hash)| *hash = mix(*hash, if nulls.is_null(row) { NULL } else { value(row) }));
        }
    }
}
