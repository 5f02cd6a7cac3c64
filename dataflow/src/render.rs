//! Rendering: a plan becomes operators of one timely dataflow. A plain walk, one file per operator class.
//!
//! Between operators flow [`Chunk`]s: rows that share one time. A message may hold several times and travels under a
//! capability that is no later than any of them; an operator never takes a message's time for its rows' time.

mod constant;
mod context;
mod export;
mod import;
mod join;
mod keyed;
mod mfp;
mod pending;
mod reduce;
mod source;

use std::collections::BTreeMap;

use timely::dataflow::operators::Concatenate;
use timely::dataflow::{Scope, Stream};

use crate::plan::{Node, Op, Plan};
use crate::protocol::{DataflowDescription, Import};
use crate::repr::{Chunk, CollectionId, Timestamp};

pub(crate) use context::{Context, ErrorLog, Flow, InFlight, Tokens};
pub(crate) use export::{Exported, tokens};
pub(crate) use import::{codec_for, decode_delta};

/// A stream of chunks.
pub(crate) type ChunkStream<'scope> = Stream<'scope, Timestamp, Vec<Chunk>>;

/// Builds the dataflow's operators: imports, plan, arrangements, export.
///
/// Every worker must call it with the same description, in the same order of dataflows: channels are numbered by it.
pub(crate) fn render<'scope>(
    scope: Scope<'scope, Timestamp>,
    description: &DataflowDescription,
    context: &mut Context<'_>,
) -> Exported {
    let mut imported: BTreeMap<CollectionId, ChunkStream<'scope>> = BTreeMap::new();
    for import in &description.imports {
        let stream = match import {
            Import::Source { schema, port, .. } => source::source(scope, port, schema, context),
            Import::View { collection, schema } => import::import(scope, *collection, schema, context),
        };
        imported.insert(import.collection(), stream);
    }
    let output = render_plan(scope, &description.plan, &imported, context);
    export::export(output, description, context)
}

fn render_plan<'scope>(
    scope: Scope<'scope, Timestamp>,
    plan: &Plan,
    imported: &BTreeMap<CollectionId, ChunkStream<'scope>>,
    context: &Context<'_>,
) -> ChunkStream<'scope> {
    let mut streams: Vec<ChunkStream<'scope>> = Vec::with_capacity(plan.nodes.len());
    for Node { op, schema } in &plan.nodes {
        let input = |id: &crate::plan::NodeId| streams[id.0].clone();
        let schema_of = |id: &crate::plan::NodeId| plan.node(*id).schema.clone();
        let stream = match op {
            Op::Constant { rows } => {
                let clock = imported.values().next().expect("a dataflow with constants imports the clock").clone();
                constant::constant(clock, rows, schema, context)
            }
            Op::Get { collection, columns, .. } => {
                let stream = imported.get(collection).expect("everything a plan gets is imported").clone();
                mfp::project_columns(stream, columns, schema)
            }
            Op::Mfp { input: id, filters, project } => mfp::mfp(input(id), filters, project, schema, context),
            Op::Join { left, right, kind, left_keys, right_keys, null_equals_null, filter } => join::join(
                join::Side { stream: input(left), schema: schema_of(left), keys: left_keys },
                join::Side { stream: input(right), schema: schema_of(right), keys: right_keys },
                join::Shape { kind: *kind, null_equals_null: *null_equals_null, filter: filter.as_ref() },
                schema,
                context,
            ),
            Op::Reduce { input: id, keys, aggregates, append_only } => {
                reduce::reduce(input(id), keys, aggregates, *append_only, schema, context)
            }
            Op::JoinReduce { facts, partners, null_equals_null, aggregates, order } => reduce::join_reduce(
                (input(&facts.input), facts),
                (input(&partners.input), partners),
                *null_equals_null,
                aggregates,
                order,
                schema,
                context,
            ),
            Op::Distinct { input: id } => reduce::distinct(input(id), schema, context),
            Op::Union { inputs } => mfp::relabel(scope.concatenate(inputs.iter().map(input)), schema),
        };
        streams.push(stream);
    }
    streams.pop().expect("a plan has at least one node")
}
