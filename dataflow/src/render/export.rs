//! Export: the output and the errors are arranged, and every closed stretch of their changes leaves the worker.
//!
//! All of it is one operator. A tick that changes nothing costs every operator a schedule and every worker the news of its
//! progress, so what ends a dataflow ends it in one place.

use std::any::Any;
use std::cell::Cell;
use std::rc::Rc;

use arrow::array::BooleanArray;
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
use crate::repr::{Chunk, Delta, Diff, Diffs, ErrorRow, ErrorRows, ObjectId, RowCodec, Timestamp, errors_schema};
use crate::spines::{Consolidated, RowArranger, RowTrace, Seal, for_each_update};

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
    let (rows, rows_trace) =
        Half::new((&scope, &info), (rows_schema.clone(), description.key.is_some()), context.as_of);
    let (errors, errors_trace) = Half::new((&scope, &info), (errors_schema(), false), context.as_of);
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
    /// What has arrived of times that are not sealed, in the order in which it was inserted.
    open: Vec<Arrived>,
}

/// Updates of one time.
struct Arrived {
    time: Timestamp,
    updates: usize,
    /// The updates in columns, if somebody is told of them: what is there at `as_of` is read by peeks.
    chunk: Option<Chunk>,
}

/// What a seal closes: the consolidated updates, and how they arrived.
struct Closed {
    seal: Seal,
    /// By time; each chunk with the number of its first update.
    chunks: Vec<(usize, Chunk)>,
}

impl Half {
    fn new(
        (scope, info): (&Scope<'_, Timestamp>, &OperatorInfo),
        (schema, index): (SchemaRef, bool),
        as_of: Timestamp,
    ) -> (Half, RowTrace) {
        let (arranger, trace) = RowArranger::new(scope, info, index);
        (Half { codec: codec_for(&schema), schema, arranger, as_of, open: Vec::new() }, trace)
    }

    fn insert(&mut self, chunk: Chunk) {
        let Chunk { time, delta } = &chunk;
        let (time, updates) = (*time, delta.len());
        let rows = self.codec.encode(delta.rows.columns()).expect("a chunk has the planned types");
        self.arranger.insert_all(&rows, time, (0..updates).map(|index| delta.diffs.get(index)));
        self.open.push(Arrived { time, updates, chunk: (time > self.as_of).then_some(chunk) });
    }

    /// Takes encoded rows, whose changes nobody is told.
    fn insert_rows(&mut self, rows: &KeyedRows) {
        rows.for_each(|hash, _, row, diff| self.arranger.insert(hash, row, rows.time, diff));
    }

    fn seal(&mut self, upper: AntichainRef<'_, Timestamp>) -> Closed {
        let (mut number, mut chunks) = (0, Vec::new());
        self.open.retain_mut(|arrived| {
            let first = number;
            number += arrived.updates;
            let later = upper.less_equal(&arrived.time);
            if !later {
                chunks.extend(arrived.chunk.take().map(|chunk| (first, chunk)));
            }
            later
        });
        chunks.sort_by_key(|(_, chunk)| chunk.time);
        Closed { seal: self.arranger.seal(upper), chunks }
    }

    /// The changes after `as_of`, consolidated.
    fn changes(&self, Closed { seal, chunks }: Closed) -> Vec<Chunk> {
        let Some(batch) = seal.batch else { return Vec::new() };
        let mut updates = UpdatesByTime::default();
        let mut changes = Vec::new();
        let mut decode = |row: &[u8], time, diff, changes: &mut Vec<Chunk>| {
            if time > self.as_of {
                changes.extend(updates.push(row, time, diff, &self.codec, &self.schema));
            }
        };
        match seal.consolidated {
            // The columns are at hand, and what is gone of them is little.
            Some(Consolidated { gone, instead }) => {
                changes.extend(chunks.into_iter().filter_map(|(first, chunk)| without(chunk, first, &gone)));
                instead.iter().for_each(|(row, time, diff)| decode(row.bytes(), *time, *diff, &mut changes));
            }
            None => for_each_update(&batch, |row, time, diff| decode(row, time, diff, &mut changes)),
        }
        changes.extend(updates.finish(&self.codec, &self.schema));
        changes
    }
}

/// A chunk without those of its updates that are `gone`, by their numbers, if it has others; its first has number `first`.
fn without(Chunk { time, delta }: Chunk, first: usize, gone: &[u32]) -> Option<Chunk> {
    let position = |number: usize| gone.partition_point(|gone| (*gone as usize) < number);
    let gone = &gone[position(first)..position(first + delta.len())];
    if gone.is_empty() {
        return Some(Chunk { time, delta });
    }
    let mut stays = vec![true; delta.len()];
    gone.iter().for_each(|number| stays[*number as usize - first] = false);
    let delta = delta.filter(&BooleanArray::from(stays)).expect("a mask as long as the chunk");
    (!delta.is_empty()).then_some(Chunk { time, delta })
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
