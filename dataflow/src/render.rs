//! Rendering: a plan becomes operators of one timely dataflow. A plain walk, one file per operator class.
//!
//! Between operators flow [`Chunk`]s: rows that share one time. A message may hold several times and travels under a
//! capability that is no later than any of them; an operator never takes a message's time for its rows' time.

mod constant;
mod context;
mod errors;
mod export;
mod import;
mod index;
mod join;
mod keyed;
mod meter;
mod mfp;
mod pending;
mod reduce;
mod source;
mod split;
mod unnest;
mod upsert;
mod window;

use std::collections::BTreeMap;

use timely::dataflow::operators::Concatenate;
use timely::dataflow::{Scope, Stream};

use crate::expr::ScalarExpr;
use crate::plan::{Node, NodeId, Op, Plan};
use crate::protocol::{DataflowDescription, Import};
use crate::repr::{Chunk, CollectionId, Timestamp};

pub(crate) use context::{Context, ErrorLog, Flow, InFlight, Outbox, Sealed, Tokens};
pub(crate) use export::{Exported, tokens};
pub(crate) use import::{codec_for, decode_delta};
use index::Indexed;
use meter::Meter;
pub(crate) use meter::Meters;
use mfp::Chunks;

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
    let mut imported: BTreeMap<CollectionId, Chunks<'scope>> = BTreeMap::new();
    let mut indexes: BTreeMap<CollectionId, Indexed<'scope>> = BTreeMap::new();
    for import in &description.imports {
        context.meter = meter_of_import(import.collection(), description, context);
        let stream = match import {
            Import::Source { schema, port, form, .. } => source::source(scope, port, (*form, schema), context),
            Import::View { collection, schema } => import::import(scope, *collection, schema, context),
            Import::Index { collection, schema, key } => {
                indexes.insert(*collection, index::import(scope, *collection, (schema, *key), context));
                continue;
            }
        };
        imported.insert(import.collection(), Chunks::new(stream));
    }
    let mut output = render_plan(scope, &description.plan, (&imported, &indexes), context);
    context.meter = context.meters.output();
    if let Some(collection) = &description.errors {
        let errors = imported.get(collection).expect("the errors of a dataflow are imported").clone();
        output = errors::noted(output, errors, context);
    }
    export::export(output, description, context)
}

/// The time that an import takes is that of the first node that gets its rows; what no node gets is of the end.
fn meter_of_import(collection: CollectionId, description: &DataflowDescription, context: &Context<'_>) -> Meter {
    let gets = |node: &Node| matches!(&node.op, Op::Get { collection: got, .. } if *got == collection);
    let first = description.plan.nodes.iter().position(gets);
    first.map_or_else(|| context.meters.output(), |index| context.meters.of(NodeId(index))).inside()
}

fn render_plan<'scope>(
    scope: Scope<'scope, Timestamp>,
    plan: &Plan,
    (imported, indexes): (&BTreeMap<CollectionId, Chunks<'scope>>, &BTreeMap<CollectionId, Indexed<'scope>>),
    context: &mut Context<'_>,
) -> Chunks<'scope> {
    let mut readers = vec![0usize; plan.nodes.len()];
    for node in &plan.nodes {
        node.op.inputs().iter().for_each(|input| readers[input.0] += 1);
    }
    let mut rendered: Vec<Rendered<'scope>> = Vec::with_capacity(plan.nodes.len());
    for (index, node) in plan.nodes.iter().enumerate() {
        context.meter = context.meters.of(NodeId(index));
        if let Op::Index { index, .. } = &node.op {
            let indexed = indexes.get(index).expect("every index that a plan reads is imported").clone();
            rendered.push(Rendered::Index(indexed, context.meter.clone()));
            continue;
        }
        let chunks = render_node(scope, plan, node, &rendered, imported, context);
        // What several read is computed once.
        let chunks = if readers[index] > 1 { Chunks::new(chunks.into_stream()) } else { chunks };
        rendered.push(Rendered::Chunks(chunks));
    }
    rendered.pop().expect("a plan has at least one node").chunks()
}

/// A node of the plan.
enum Rendered<'scope> {
    /// What leaves it.
    Chunks(Chunks<'scope>),
    /// An index, which only joins read, and the meter of the node.
    Index(Indexed<'scope>, Meter),
}

impl<'scope> Rendered<'scope> {
    /// What leaves the node. Panics if it is an index: then the plan is broken.
    fn chunks(&self) -> Chunks<'scope> {
        match self {
            Rendered::Chunks(chunks) => chunks.clone(),
            Rendered::Index(..) => panic!("an index is read by joins only"),
        }
    }
}

/// An input of a join.
fn side<'scope, 'a>(
    plan: &'a Plan,
    (input, keys): (NodeId, &'a [ScalarExpr]),
    rendered: &[Rendered<'scope>],
) -> join::Side<'scope, 'a> {
    let Node { op, schema } = plan.node(input);
    let rows = match (&rendered[input.0], op) {
        (Rendered::Index(index, meter), Op::Index { columns, .. }) => {
            join::SideRows::Index(index.clone(), columns, meter.clone())
        }
        (rendered, _) => join::SideRows::Chunks(rendered.chunks()),
    };
    join::Side { rows, schema: schema.clone(), keys }
}

fn render_node<'scope>(
    scope: Scope<'scope, Timestamp>,
    plan: &Plan,
    Node { op, schema }: &Node,
    rendered: &[Rendered<'scope>],
    imported: &BTreeMap<CollectionId, Chunks<'scope>>,
    context: &Context<'_>,
) -> Chunks<'scope> {
    let input = |id: &NodeId| rendered[id.0].chunks();
    let schema_of = |id: &NodeId| plan.node(*id).schema.clone();
    match op {
        Op::Constant { rows } => {
            let clock = imported.values().next().expect("a dataflow with constants imports the clock").clone();
            Chunks::new(constant::constant(clock.into_stream(), rows, schema, context))
        }
        Op::Get { collection, columns, .. } => {
            let chunks = imported.get(collection).expect("everything a plan gets is imported").clone();
            chunks.columns(columns, schema, &context.meter)
        }
        Op::Index { .. } => unreachable!("an index is rendered by the joins that read it"),
        Op::Mfp { input: id, filters, project } => input(id).mfp(&schema_of(id), filters, project, schema, context),
        Op::Join { left, right, kind, left_keys, right_keys, null_equals_null, filter } => Chunks::new(join::join(
            side(plan, (*left, left_keys), rendered),
            side(plan, (*right, right_keys), rendered),
            join::Shape { kind: *kind, null_equals_null: *null_equals_null, filter: filter.as_ref() },
            schema,
            context,
        )),
        Op::Reduce { input: id, keys, aggregates, append_only, best } => {
            let grouping = reduce::Grouping { keys, aggregates, append_only: *append_only, best: best.as_ref() };
            Chunks::new(reduce::reduce((input(id), schema_of(id)), grouping, schema, context))
        }
        Op::JoinReduce { facts, partners, null_equals_null, aggregates, order } => reduce::join_reduce(
            (input(&facts.input), schema_of(&facts.input), facts),
            (input(&partners.input), schema_of(&partners.input), partners),
            *null_equals_null,
            aggregates,
            order,
            schema,
            context,
        ),
        Op::Distinct { input: id } => Chunks::new(reduce::distinct(input(id), schema, context)),
        Op::Upsert { input: id, keys, order } => {
            Chunks::new(upsert::upsert(input(id), &schema_of(id), (keys, *order), schema, context))
        }
        Op::Unnest { input: id, lists, structs, empty } => {
            let (lists, structs) = (lists.clone(), structs.clone());
            let unnest = unnest::Unnest { lists, structs, empty: *empty, schema: schema.clone() };
            input(id).unnest(unnest, &context.meter)
        }
        Op::Window { input: id, partition, order, functions, limit } => Chunks::new(window::window(
            (input(id), schema_of(id)),
            window::Over { partition, order, functions, limit: *limit },
            schema,
            context,
        )),
        Op::Union { inputs } => {
            let columns: Vec<usize> = (0..schema.fields().len()).collect();
            let all = scope.concatenate(inputs.iter().map(|id| input(id).into_stream()));
            Chunks::new(all).columns(&columns, schema, &context.meter)
        }
    }
}
