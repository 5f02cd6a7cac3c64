//! Group-by over a private table: no input arrangement, nothing sorted, nothing recomputed.
//!
//! Two operators. The first evaluates keys and arguments and pre-aggregates each chunk by hash, so that what crosses
//! workers is one partial answer a group and chunk. The second owns the table: it adds the partial answers of a time,
//! notes each group's answer at its first touch, and when the time is complete emits −old +new where they differ.

mod answer;
mod best;
mod find;
mod groups;
mod identity;
mod join;
mod layout;
mod partial;
mod records;
mod slots;

use arrow::datatypes::SchemaRef;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::Operator;

use super::keyed::by_worker;
use super::meter::Meter;
use super::pending::Pending;
use super::{ChunkStream, Chunks, Context};
use crate::expr::{ScalarExpr, evaluate};
use crate::plan::{Aggregate, BestGroups};
pub(super) use crate::repr::values;
use crate::repr::{Chunk, Timestamp, hash_bytes, owner};
use groups::Groups;
pub(super) use groups::bits;
pub(super) use join::join_reduce;
use layout::Layout;
use partial::{PartialGroups, Preaggregator};

/// What a group-by computes: see [`crate::plan::Op::Reduce`].
#[derive(Clone, Copy)]
pub(super) struct Grouping<'a> {
    pub(super) keys: &'a [ScalarExpr],
    pub(super) aggregates: &'a [Aggregate],
    pub(super) append_only: bool,
    pub(super) best: Option<&'a BestGroups>,
}

/// One row per group of the input, whose columns stand beside it: keys, then aggregates.
pub(super) fn reduce<'scope>(
    (chunks, input): (Chunks<'scope>, SchemaRef),
    Grouping { keys, aggregates, append_only, best }: Grouping<'_>,
    schema: &SchemaRef,
    context: &Context<'_>,
) -> ChunkStream<'scope> {
    let mut layout = Layout::new(keys, aggregates, append_only, (&input, schema));
    layout.best = best.cloned();
    apply(preaggregate(chunks, layout.clone(), context), layout, &context.meter, context)
}

/// Every different row once: groups without aggregates.
pub(super) fn distinct<'scope>(
    chunks: Chunks<'scope>,
    schema: &SchemaRef,
    context: &Context<'_>,
) -> ChunkStream<'scope> {
    let layout = Layout::distinct(schema);
    apply(preaggregate(chunks, layout.clone(), context), layout, &context.meter, context)
}

fn preaggregate<'scope>(
    Chunks { stream, steps }: Chunks<'scope>,
    layout: Layout,
    context: &Context<'_>,
) -> Stream<'scope, Timestamp, Vec<PartialGroups>> {
    let (errors, position, peers) = (context.errors.clone(), context.position("aggregate"), context.peers);
    let mut preaggregator = Preaggregator::new(layout.clone());
    let meter = context.meter.clone();
    stream.unary(Pipeline, "Preaggregate", move |_, _| {
        move |input, output| {
            let _busy = meter.enter();
            input.for_each(|capability, chunks| {
                let mut session = output.session(&capability);
                for Chunk { time, delta } in chunks.drain(..).filter_map(|chunk| steps.run(chunk)) {
                    let mut columns;
                    let delta = if layout.exprs.is_empty() {
                        columns = delta.rows.columns().to_vec();
                        delta
                    } else {
                        let evaluated = evaluate(&layout.exprs, delta, &position);
                        errors.extend(time, evaluated.errors);
                        columns = evaluated.columns;
                        evaluated.delta
                    };
                    let arguments = columns.split_off(layout.keys);
                    for partial in preaggregator.run(time, &columns, &arguments, &delta.diffs, delta.len(), peers) {
                        session.give(partial);
                    }
                }
            });
        }
    })
}

fn apply<'scope>(
    stream: Stream<'scope, Timestamp, Vec<PartialGroups>>,
    layout: Layout,
    meter: &Meter,
    context: &Context<'_>,
) -> ChunkStream<'scope> {
    let meter = meter.clone();
    let state = meter.holds(Groups::new(layout));
    let (errors, position, as_of) = (context.errors.clone(), context.position("aggregate"), context.as_of);
    let owns_global = state.borrow().is_global() && owner(hash_bytes(&[]), context.peers) == context.index;
    stream.unary_frontier(by_worker(), "Reduce", move |capability, _| {
        let mut pending: Pending<PartialGroups> = Pending::default();
        if owns_global {
            // Over nothing there is one row too, from the first readable time on.
            state.borrow_mut().open_global();
            pending.open(capability.delayed(&as_of));
        }
        move |(input, frontier), output| {
            let _busy = meter.enter();
            let mut groups = state.borrow_mut();
            input.for_each(|capability, partials| {
                partials.drain(..).for_each(|partial| pending.insert(&capability, partial.time, partial));
            });
            while let Some((time, capability, partials)) = pending.pop_complete(&[frontier]) {
                partials.iter().for_each(|partial| groups.apply(partial));
                let mut session = output.session(&capability);
                groups.finish_time(|answer| match answer {
                    answer::Answer::Rows(delta) => {
                        let chunk = Chunk { time, delta };
                        meter.count(&chunk);
                        session.give(chunk);
                    }
                    answer::Answer::Errors(failed) => errors.extend(
                        time,
                        failed.into_iter().map(|mut error| {
                            error.0.position.clone_from(&position);
                            error
                        }),
                    ),
                });
            }
            // No earlier time can come: what has arrived of the open one goes into the table at once, so that a
            // hydration, all of whose rows share one time, holds no second copy.
            if let Some((_, partials)) = pending.take_earliest(frontier) {
                partials.iter().for_each(|partial| groups.apply(partial));
            }
        }
    })
}
