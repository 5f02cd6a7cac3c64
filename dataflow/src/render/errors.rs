//! Errors from outside: what a source could not decode becomes errors of the collection that is made of its rows.

use arrow::array::{Array, AsArray};
use timely::container::CapacityContainerBuilder;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::Concatenate;
use timely::dataflow::operators::generic::Operator;

use super::{ChunkStream, Chunks, Context};
use crate::repr::{Chunk, Delta, Diff, ErrorRow};

/// `output`, behind which the rows of `errors` have been noted as errors of the dataflow.
pub(super) fn noted<'scope>(output: Chunks<'scope>, errors: Chunks<'scope>, context: &Context<'_>) -> Chunks<'scope> {
    let (log, meter) = (context.errors.clone(), context.meter.clone());
    let silent: ChunkStream<'scope> =
        errors.into_stream().unary::<CapacityContainerBuilder<Vec<Chunk>>, _, _, _>(Pipeline, "Errors", move |_, _| {
            move |input, _output| {
                let _busy = meter.enter();
                input.for_each(|_, chunks| {
                    for Chunk { time, delta } in chunks.drain(..) {
                        log.extend(time, error_rows(&delta));
                    }
                });
            }
        });
    let Chunks { stream, steps } = output;
    // Nothing comes on the second way; but the end of a time waits for it.
    Chunks { stream: stream.scope().concatenate([stream, silent]), steps }
}

/// The rows of an errors relation.
fn error_rows(delta: &Delta) -> impl Iterator<Item = (ErrorRow, Diff)> {
    let [position, column, message, payload] = [0, 1, 2, 3].map(|index| delta.rows.column(index).as_string::<i32>());
    (0..delta.len()).map(move |row| {
        let error = ErrorRow {
            position: position.value(row).to_owned(),
            column: column.is_valid(row).then(|| column.value(row).to_owned()),
            message: message.value(row).to_owned(),
            payload: payload.is_valid(row).then(|| payload.value(row).to_owned()),
        };
        (error, delta.diffs.get(row))
    })
}
