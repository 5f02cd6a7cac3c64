//! Export: the output and the errors are arranged, and every closed stretch of their changes leaves the worker.
//!
//! All of it is one operator. A tick that changes nothing costs every operator a schedule and every worker the news of its
//! progress, so what ends a dataflow ends it in one place.

use std::any::Any;
use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use arrow::datatypes::SchemaRef;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::OperatorInfo;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, Stream};
use timely::progress::frontier::AntichainRef;

use super::import::{UpdatesByTime, codec_for};
use super::keyed::{KeyedRows, by_worker};
use super::{Chunks, Context, ErrorLog, Outbox, Sealed, Tokens, index};
use crate::protocol::{DataflowDescription, Response};
use crate::repr::{
    Chunk, Delta, Diff, Diffs, ErrorRow, ErrorRows, ObjectId, RowCodec, Timestamp, errors_schema, hash_bytes,
};
use crate::spines::{RowArranger, RowBatch, RowTrace, for_each_update};

/// What the worker keeps of a rendered dataflow.
pub(crate) struct Exported {
    /// The arrangement of the output.
    pub(crate) rows: RowTrace,
    /// The columns of the output.
    pub(crate) rows_schema: SchemaRef,
    /// The arrangement of the errors.
    pub(crate) errors: RowTrace,
    /// Set to stop exporting.
    pub(crate) stop: Rc<Cell<bool>>,
}

/// Arranges rows and errors, and sends what changes after `as_of`.
pub(super) fn export<'scope>(
    output: Chunks<'scope>,
    description: &DataflowDescription,
    context: &mut Context<'_>,
) -> Exported {
    let (scope, rows_schema) = (output.stream.scope(), description.plan.schema());
    let output = match description.key {
        None => Output::Chunks(output),
        Some(key) => Output::Rows(index::spread(output, (&rows_schema, key), context)),
    };
    let stop = Rc::new(Cell::new(false));
    let sink = Sink {
        object: description.object,
        worker: context.index,
        as_of: context.as_of,
        sent: None,
        tells: description.key.is_none(),
        outbox: context.outbox.clone(),
        stop: Rc::clone(&stop),
    };
    let mut builder = OperatorBuilder::new("Export".to_owned(), scope);
    let info = builder.operator_info();
    let (rows, rows_trace) = Half::new(&scope, &info, rows_schema.clone(), context.as_of);
    let (errors, errors_trace) = Half::new(&scope, &info, errors_schema(), context.as_of);
    let (logged, sealed) = (context.errors.clone(), context.sealed.clone());
    let mut export = Export { rows, errors, logged, sink, sealed };
    let meter = context.meter.clone();
    match output {
        Output::Chunks(Chunks { stream, steps }) => {
            let mut input = builder.new_input(stream, Pipeline);
            builder.build(move |_| {
                move |frontiers| {
                    let _busy = meter.enter();
                    input.for_each(|_, chunks| {
                        for chunk in chunks.drain(..).filter_map(|chunk| steps.run(chunk)) {
                            meter.count(&chunk);
                            export.rows.insert(chunk);
                        }
                    });
                    export.advance(frontiers[0].frontier());
                }
            });
        }
        Output::Rows(rows) => {
            let mut input = builder.new_input(rows, by_worker());
            builder.build(move |_| {
                move |frontiers| {
                    let _busy = meter.enter();
                    input.for_each(|_, blocks| blocks.drain(..).for_each(|rows| export.rows.insert_rows(&rows)));
                    export.advance(frontiers[0].frontier());
                }
            });
        }
    }
    Exported { rows: rows_trace, rows_schema, errors: errors_trace, stop }
}

/// What is arranged.
enum Output<'scope> {
    /// What the plan gives, where it comes out.
    Chunks(Chunks<'scope>),
    /// Encoded rows on their way to their owners.
    Rows(Stream<'scope, Timestamp, Vec<KeyedRows>>),
}

/// Releases what it holds when dropped.
pub(crate) fn tokens(tokens: Vec<Box<dyn Any>>) -> Tokens {
    Rc::new(tokens)
}

/// The state of the operator.
struct Export {
    rows: Half,
    errors: Half,
    /// What the operators in front of this one note. It stands behind all of them: when its input's frontier has passed a
    /// time, every error of that time on this worker has been noted.
    logged: ErrorLog,
    sink: Sink,
    sealed: Sealed,
}

impl Export {
    /// Seals and sends what `frontier` closes.
    fn advance(&mut self, frontier: AntichainRef<'_, Timestamp>) {
        if !self.rows.arranger.is_sealed(frontier) {
            let upper = frontier.first().copied();
            while let Some((time, errors)) = self.logged.take_before(upper) {
                self.errors.insert(Chunk { time, delta: error_delta(errors) });
            }
            let (rows, errors) = (self.rows.seal(frontier), self.errors.seal(frontier));
            if let Some(upper) = upper.filter(|upper| self.sink.wants(*upper)) {
                let (rows, errors) = match self.sink.tells {
                    true => (self.rows.changes(rows), self.errors.changes(errors)),
                    false => Default::default(),
                };
                self.sink.send(upper, rows, errors);
            }
            self.sealed.set(frontier);
        }
        self.rows.arranger.exert();
        self.errors.arranger.exert();
    }
}

fn error_delta(errors: Vec<(ErrorRow, Diff)>) -> Delta {
    let mut rows = ErrorRows::default();
    let mut diffs = Vec::with_capacity(errors.len());
    for (error, diff) in errors {
        rows.push(&error);
        diffs.push(diff);
    }
    Delta { rows: rows.finish(), diffs: Diffs::Each(diffs.into()) }
}

/// One of the two collections on its way out.
struct Half {
    schema: SchemaRef,
    codec: RowCodec,
    arranger: RowArranger,
    as_of: Timestamp,
    /// What has arrived of times that are not sealed.
    open: BTreeMap<Timestamp, Arrived>,
}

/// What has arrived of one time, or of several.
#[derive(Default)]
struct Arrived {
    updates: usize,
    /// The updates after `as_of` in columns. What is there at `as_of` is read by peeks.
    chunks: Vec<Chunk>,
}

/// What a seal closes: the consolidated updates, and how they arrived.
struct Closed {
    batch: Option<RowBatch>,
    arrived: Arrived,
}

impl Half {
    fn new(scope: &Scope<'_, Timestamp>, info: &OperatorInfo, schema: SchemaRef, as_of: Timestamp) -> (Half, RowTrace) {
        let (arranger, trace) = RowArranger::new(scope, info);
        (Half { codec: codec_for(&schema), schema, arranger, as_of, open: BTreeMap::new() }, trace)
    }

    fn insert(&mut self, chunk: Chunk) {
        let Chunk { time, delta } = &chunk;
        let rows = self.codec.encode(delta.rows.columns()).expect("a chunk has the planned types");
        for index in 0..delta.len() {
            let row = rows.get(index);
            self.arranger.insert(hash_bytes(row), row, *time, delta.diffs.get(index));
        }
        let arrived = self.open.entry(*time).or_default();
        arrived.updates += delta.len();
        if *time > self.as_of {
            arrived.chunks.push(chunk);
        }
    }

    /// Takes encoded rows, whose changes nobody is told.
    fn insert_rows(&mut self, rows: &KeyedRows) {
        rows.for_each(|hash, _, row, diff| self.arranger.insert(hash, row, rows.time, diff));
    }

    fn seal(&mut self, upper: AntichainRef<'_, Timestamp>) -> Closed {
        let mut arrived = Arrived::default();
        while let Some(entry) = self.open.first_entry().filter(|entry| !upper.less_equal(entry.key())) {
            let time = entry.remove();
            arrived.updates += time.updates;
            arrived.chunks.extend(time.chunks);
        }
        Closed { batch: self.arranger.seal(upper), arrived }
    }

    /// The changes after `as_of`, consolidated.
    fn changes(&self, Closed { batch, arrived }: Closed) -> Vec<Chunk> {
        let Some(batch) = batch else { return Vec::new() };
        if batch.updates() == arrived.updates {
            // Consolidation only takes updates away: it found nothing to do, and the columns are at hand.
            return arrived.chunks;
        }
        let mut chunks = Vec::new();
        let mut updates = UpdatesByTime::default();
        for_each_update(&batch, |row, time, diff| {
            if time > self.as_of {
                chunks.extend(updates.push(row, time, diff, &self.codec, &self.schema));
            }
        });
        chunks.extend(updates.finish(&self.codec, &self.schema));
        chunks
    }
}

/// Where closed batches leave.
struct Sink {
    object: ObjectId,
    worker: usize,
    as_of: Timestamp,
    /// The upper of the last batch.
    sent: Option<Timestamp>,
    /// Whether batches say what changed.
    tells: bool,
    outbox: Outbox,
    stop: Rc<Cell<bool>>,
}

impl Sink {
    fn lower(&self) -> Timestamp {
        self.sent.unwrap_or(self.as_of + 1)
    }

    /// Whether what was closed before `upper` is news. An empty frontier is what a dropped producer looks like, never
    /// completion, so it does not come here.
    fn wants(&self, upper: Timestamp) -> bool {
        !self.stop.get() && upper >= self.lower() && self.sent != Some(upper)
    }

    fn send(&mut self, upper: Timestamp, rows: Vec<Chunk>, errors: Vec<Chunk>) {
        let lower = self.lower();
        self.sent = Some(upper);
        self.outbox.push(Response::Batch { object: self.object, worker: self.worker, lower, upper, rows, errors });
    }
}
