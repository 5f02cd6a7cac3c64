//! Constants: rows that are there from `as_of` on. Time passes for them as it passes for the dataflow's first import.

use arrow::datatypes::SchemaRef;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

use super::context::batch;
use super::{ChunkStream, Context};
use crate::repr::{Chunk, Delta};

/// The rows, once, on the first worker.
pub(super) fn constant<'scope>(
    clock: ChunkStream<'scope>,
    rows: &Delta,
    schema: &SchemaRef,
    context: &Context<'_>,
) -> ChunkStream<'scope> {
    let (as_of, meter) = (context.as_of, context.meter.clone());
    let columns = rows.rows.columns().to_vec();
    let delta = Delta { rows: batch(schema, columns, rows.rows.num_rows()), diffs: rows.diffs.clone() };
    let mut waiting = (context.index == 0 && !delta.is_empty()).then_some(delta);
    clock.unary(Pipeline, "Constant", move |capability, _| {
        let mut capability = waiting.is_some().then(|| capability.delayed(&as_of));
        move |input, output| {
            let _busy = meter.enter();
            input.for_each(|_, chunks| chunks.clear());
            if let (Some(capability), Some(delta)) = (capability.take(), waiting.take()) {
                let chunk = Chunk { time: as_of, delta };
                meter.count(&chunk);
                output.session(&capability).give(chunk);
            }
        }
    })
}
