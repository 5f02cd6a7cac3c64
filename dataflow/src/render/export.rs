//! Export: the output and the errors are arranged, and every closed stretch of their changes leaves the worker.

use std::any::Any;
use std::cell::Cell;
use std::rc::Rc;

use arrow::datatypes::SchemaRef;
use crossbeam_channel::Sender;
use timely::container::CapacityContainerBuilder;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Probe;
use timely::dataflow::operators::generic::Operator;
use timely::progress::frontier::MutableAntichain;

use super::import::{UpdatesByTime, codec_for};
use super::{Chunks, Context, Tokens};
use crate::protocol::{DataflowDescription, Response};
use crate::repr::{Chunk, Delta, Diff, Diffs, ErrorRow, ErrorRows, ObjectId, Row, RowCodec, Timestamp, errors_schema};
use crate::spines::{BatchStream, RowTrace, RowUpdate, arrange_rows, for_each_update};

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
    let rows_schema = description.plan.schema();
    let (row_batches, rows) = arrange_rows(encode(output, &rows_schema), "Arrange rows");
    let (error_batches, error_trace) = arrange_rows(error_updates(row_batches.clone(), context), "Arrange errors");
    let stop = Rc::new(Cell::new(false));
    let sink = Sink {
        object: description.object,
        worker: context.index,
        as_of: context.as_of,
        sent: None,
        rows: Half::new(rows_schema.clone()),
        errors: Half::new(errors_schema()),
        responses: context.responses.clone(),
        stop: Rc::clone(&stop),
    };
    send(row_batches, error_batches, sink).probe_with(&context.probe);
    Exported { rows, rows_schema, errors: error_trace, stop }
}

/// Releases what it holds when dropped.
pub(crate) fn tokens(tokens: Vec<Box<dyn Any>>) -> Tokens {
    Rc::new(tokens)
}

/// Rows as updates of an arrangement.
fn encode<'scope>(
    Chunks { stream, steps }: Chunks<'scope>,
    schema: &SchemaRef,
) -> Stream<'scope, Timestamp, Vec<RowUpdate>> {
    let codec = codec_for(schema);
    stream.unary(Pipeline, "Encode", move |_, _| {
        move |input, output| {
            input.for_each(|capability, chunks| {
                let mut session = output.session(&capability);
                for Chunk { time, delta } in chunks.drain(..).filter_map(|chunk| steps.run(chunk)) {
                    session.give_iterator(row_updates(&codec, time, &delta));
                }
            });
        }
    })
}

fn row_updates(codec: &RowCodec, time: Timestamp, delta: &Delta) -> impl Iterator<Item = RowUpdate> {
    let rows = codec.encode(delta.rows.columns()).expect("a chunk has the planned types");
    let diffs = delta.diffs.clone();
    (0..delta.len()).map(move |index| ((Row::new(rows.get(index)), ()), time, diffs.get(index)))
}

/// The errors of the whole dataflow. It stands behind all operators, which is why it reads the arrangement's batches: a
/// time's errors are complete when that frontier has passed it.
fn error_updates<'scope>(
    batches: BatchStream<'scope>,
    context: &Context<'_>,
) -> Stream<'scope, Timestamp, Vec<RowUpdate>> {
    let errors = context.errors.clone();
    let codec = codec_for(&errors_schema());
    batches.unary_frontier(Pipeline, "Errors", move |capability, _| {
        let mut capability = Some(capability);
        move |(input, frontier), output| {
            input.for_each(|_, batches| batches.clear());
            let upper = first_of(frontier);
            while let Some((time, rows)) = errors.take_before(upper) {
                let held = capability.as_ref().expect("errors are written before the frontier passes their time");
                let held = held.delayed(&time);
                output.session(&held).give_iterator(row_updates(&codec, time, &error_delta(rows)));
            }
            match (upper, &mut capability) {
                (Some(upper), Some(capability)) => capability.downgrade(&upper),
                _ => capability = None,
            }
        }
    })
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

fn first_of(frontier: &MutableAntichain<Timestamp>) -> Option<Timestamp> {
    frontier.frontier().iter().next().copied()
}

/// One of the two collections on its way out.
struct Half {
    schema: SchemaRef,
    codec: RowCodec,
    waiting: UpdatesByTime,
    full: Vec<Chunk>,
}

impl Half {
    fn new(schema: SchemaRef) -> Half {
        let codec = codec_for(&schema);
        Half { schema, codec, waiting: UpdatesByTime::default(), full: Vec::new() }
    }

    fn push(&mut self, row: &[u8], time: Timestamp, diff: Diff) {
        if let Some(chunk) = self.waiting.push(row, time, diff, &self.codec, &self.schema) {
            self.full.push(chunk);
        }
    }

    fn take_before(&mut self, upper: Timestamp) -> Vec<Chunk> {
        let mut chunks = Vec::new();
        let (closed, open): (Vec<Chunk>, Vec<Chunk>) = self.full.drain(..).partition(|chunk| chunk.time < upper);
        self.full = open;
        chunks.extend(closed);
        chunks.extend(self.waiting.take_before(upper).finish(&self.codec, &self.schema));
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
    rows: Half,
    errors: Half,
    responses: Sender<Response>,
    stop: Rc<Cell<bool>>,
}

impl Sink {
    /// Sends everything before `upper`. An empty frontier is what a dropped producer looks like, never completion, so it
    /// does not come here.
    fn close(&mut self, upper: Timestamp) {
        let lower = self.sent.unwrap_or(self.as_of + 1);
        if upper < lower || self.sent == Some(upper) {
            return;
        }
        let (rows, errors) = (self.rows.take_before(upper), self.errors.take_before(upper));
        self.sent = Some(upper);
        let batch = Response::Batch { object: self.object, worker: self.worker, lower, upper, rows, errors };
        // Nobody listens any more only when the engine is being shut down.
        let _ = self.responses.send(batch);
    }
}

fn send<'scope>(
    rows: BatchStream<'scope>,
    errors: BatchStream<'scope>,
    mut sink: Sink,
) -> Stream<'scope, Timestamp, Vec<()>> {
    rows.binary_frontier::<_, CapacityContainerBuilder<Vec<()>>, _, _, _, _>(
        errors,
        Pipeline,
        Pipeline,
        "Export",
        move |_, _| {
            move |(rows, rows_frontier), (errors, errors_frontier), _output| {
                let stopped = sink.stop.get();
                let as_of = sink.as_of;
                // What is there at as_of is read by peeks.
                let news = |upper: &[Timestamp]| !stopped && upper.iter().all(|upper| *upper > as_of + 1);
                rows.for_each(|_, spans| {
                    for span in spans.drain(..).filter(|span| news(span.upper())) {
                        let Some(batch) = span.inner else { continue };
                        for_each_update(batch, |row, time, diff| {
                            if time > as_of {
                                sink.rows.push(row, time, diff);
                            }
                        });
                    }
                });
                errors.for_each(|_, spans| {
                    for span in spans.drain(..).filter(|span| news(span.upper())) {
                        let Some(batch) = span.inner else { continue };
                        for_each_update(batch, |row, time, diff| {
                            if time > as_of {
                                sink.errors.push(row, time, diff);
                            }
                        });
                    }
                });
                if let (false, Some(rows), Some(errors)) = (stopped, first_of(rows_frontier), first_of(errors_frontier))
                {
                    sink.close(rows.min(errors));
                }
            }
        },
    )
}
