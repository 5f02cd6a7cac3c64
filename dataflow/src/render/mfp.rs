//! Map, filter, project: stateless, vectorised.

use arrow::datatypes::SchemaRef;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

use super::context::batch;
use super::{ChunkStream, Context};
use crate::expr::{ScalarExpr, as_filter, evaluate};
use crate::repr::{Chunk, Delta};

/// Rows that pass every filter, projected.
pub(super) fn mfp<'scope>(
    stream: ChunkStream<'scope>,
    filters: &[ScalarExpr],
    project: &[ScalarExpr],
    schema: &SchemaRef,
    context: &Context<'_>,
) -> ChunkStream<'scope> {
    let (filters, project, schema) = (filters.to_vec(), project.to_vec(), schema.clone());
    let (errors, at_filter, at_project) =
        (context.errors.clone(), context.position("filter"), context.position("projection"));
    map_chunks(stream, "Mfp", move |chunk| {
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

/// Some columns of a collection, by position.
pub(super) fn project_columns<'scope>(
    stream: ChunkStream<'scope>,
    columns: &[usize],
    schema: &SchemaRef,
) -> ChunkStream<'scope> {
    let (columns, schema) = (columns.to_vec(), schema.clone());
    map_chunks(stream, "Get", move |chunk| {
        let rows = &chunk.delta.rows;
        let projected = columns.iter().map(|index| rows.column(*index).clone()).collect();
        let rows = batch(&schema, projected, rows.num_rows());
        Some(Chunk { time: chunk.time, delta: Delta { rows, diffs: chunk.delta.diffs } })
    })
}

/// The same columns under the names of `schema`.
pub(super) fn relabel<'scope>(stream: ChunkStream<'scope>, schema: &SchemaRef) -> ChunkStream<'scope> {
    let schema = schema.clone();
    map_chunks(stream, "Union", move |chunk| {
        let rows = batch(&schema, chunk.delta.rows.columns().to_vec(), chunk.delta.rows.num_rows());
        Some(Chunk { time: chunk.time, delta: Delta { rows, diffs: chunk.delta.diffs } })
    })
}

fn map_chunks<'scope>(
    stream: ChunkStream<'scope>,
    name: &str,
    mut logic: impl FnMut(Chunk) -> Option<Chunk> + 'static,
) -> ChunkStream<'scope> {
    stream.unary(Pipeline, name, move |_, _| {
        move |input, output| {
            input.for_each(|capability, chunks| {
                output.session(&capability).give_iterator(chunks.drain(..).filter_map(&mut logic));
            });
        }
    })
}
