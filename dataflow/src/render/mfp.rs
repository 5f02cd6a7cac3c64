//! Map, filter, project: stateless, vectorised. Steps are not operators of their own: the next operator with state, or the
//! next that several read, runs them on the way in, so that a tick of one row wakes few operators.

use std::rc::Rc;

use arrow::datatypes::SchemaRef;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

use super::context::batch;
use super::meter::Meter;
use super::unnest::Unnest;
use super::{ChunkStream, Context};
use crate::expr::{ScalarExpr, as_filter, evaluate};
use crate::repr::{Chunk, Delta};

/// One stateless step: a chunk becomes another, or nothing.
type Step = Rc<dyn Fn(Chunk) -> Option<Chunk>>;

/// Steps in the order in which they are taken.
#[derive(Clone, Default)]
pub(super) struct Steps(Vec<Step>);

impl Steps {
    /// Takes all steps.
    pub(super) fn run(&self, chunk: Chunk) -> Option<Chunk> {
        self.0.iter().try_fold(chunk, |chunk, step| step(chunk))
    }
}

/// A stream and the steps that its reader has to take.
#[derive(Clone)]
pub(super) struct Chunks<'scope> {
    pub(super) stream: ChunkStream<'scope>,
    pub(super) steps: Steps,
}

impl<'scope> Chunks<'scope> {
    /// A stream without steps.
    pub(super) fn new(stream: ChunkStream<'scope>) -> Chunks<'scope> {
        Chunks { stream, steps: Steps::default() }
    }

    /// What leaves the step leaves the meter's node.
    fn then(mut self, meter: &Meter, step: impl Fn(Chunk) -> Option<Chunk> + 'static) -> Chunks<'scope> {
        let meter = meter.clone();
        self.steps.0.push(Rc::new(move |chunk: Chunk| {
            let _busy = meter.enter();
            let chunk = step(chunk)?;
            meter.count(&chunk);
            Some(chunk)
        }));
        self
    }

    /// The stream with all steps taken, by an operator of its own if there are any.
    pub(super) fn into_stream(self) -> ChunkStream<'scope> {
        let Chunks { stream, steps } = self;
        if steps.0.is_empty() {
            return stream;
        }
        stream.unary(Pipeline, "Mfp", move |_, _| {
            move |input, output| {
                input.for_each(|capability, chunks| {
                    output.session(&capability).give_iterator(chunks.drain(..).filter_map(|chunk| steps.run(chunk)));
                });
            }
        })
    }

    /// Rows of the columns `input` that pass every filter, projected to `schema`.
    pub(super) fn mfp(
        self,
        input: &SchemaRef,
        filters: &[ScalarExpr],
        project: &[ScalarExpr],
        schema: &SchemaRef,
        context: &Context<'_>,
    ) -> Chunks<'scope> {
        let prepared = |exprs: &[ScalarExpr]| -> Vec<ScalarExpr> { exprs.iter().map(|e| e.prepared(input)).collect() };
        let (filters, project, schema) = (prepared(filters), prepared(project), schema.clone());
        let (errors, at_filter, at_project) =
            (context.errors.clone(), context.position("filter"), context.position("projection"));
        self.then(&context.meter, move |chunk| {
            let Chunk { time, mut delta } = chunk;
            // One after the other: a later condition is not evaluated for rows that an earlier one removes.
            for filter in &filters {
                let evaluated = evaluate(std::slice::from_ref(filter), delta, &at_filter);
                errors.extend(time, evaluated.errors);
                delta = evaluated.delta.filter(&as_filter(&evaluated.columns[0])).expect("a mask as long as the batch");
                if delta.is_empty() {
                    return None;
                }
            }
            let evaluated = evaluate(&project, delta, &at_project);
            errors.extend(time, evaluated.errors);
            let Delta { rows, diffs } = evaluated.delta;
            let delta = Delta { rows: batch(&schema, evaluated.columns, rows.num_rows()), diffs };
            (!delta.is_empty()).then_some(Chunk { time, delta })
        })
    }

    /// Lists as rows.
    pub(super) fn unnest(self, unnest: Unnest, meter: &Meter) -> Chunks<'scope> {
        self.then(meter, move |Chunk { time, delta }| {
            let delta = unnest.run(&delta);
            (!delta.is_empty()).then_some(Chunk { time, delta })
        })
    }

    /// Some of the columns, by position, under the names of `schema`.
    pub(super) fn columns(self, columns: &[usize], schema: &SchemaRef, meter: &Meter) -> Chunks<'scope> {
        let (columns, schema) = (columns.to_vec(), schema.clone());
        self.then(meter, move |chunk| {
            let rows = &chunk.delta.rows;
            let projected = columns.iter().map(|index| rows.column(*index).clone()).collect();
            let rows = batch(&schema, projected, rows.num_rows());
            Some(Chunk { time: chunk.time, delta: Delta { rows, diffs: chunk.delta.diffs } })
        })
    }
}
