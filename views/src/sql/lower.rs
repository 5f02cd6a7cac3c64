//! From DataFusion's optimised plan to operators that can be maintained. What cannot is refused here and nowhere later.

mod aggregate;
mod bind;
mod grouping;
mod join;
mod nodes;
mod output;
mod unnest;
mod window;

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, DFSchemaRef, TableReference};
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Distinct, EmptyRelation, Expr, LogicalPlan, Projection, TableScan, Union, Values};
use headwater_dataflow::plan::{NodeId, Plan};
use headwater_dataflow::repr::CollectionId;

use super::error::SqlError;
use super::locate::Construct;
use super::provider::CollectionSource;
use nodes::Nodes;

/// A view's plan.
pub(super) struct Lowered {
    /// The operators.
    pub(super) plan: Plan,
    /// Whether the view never retracts.
    pub(super) append_only: bool,
    /// The collections it reads, with their names, in the order of their first use.
    pub(super) collections: Vec<(CollectionId, String)>,
}

/// Why a plan cannot be lowered.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Something in it cannot be maintained.
    Unsupported {
        /// What to look for in the text.
        construct: Construct,
        /// What is not supported.
        message: String,
        /// What to do.
        hint: String,
    },
    /// The text says something wrong.
    Invalid(SqlError),
    /// The planner failed.
    Planner(DataFusionError),
}

impl From<DataFusionError> for Refusal {
    fn from(error: DataFusionError) -> Refusal {
        Refusal::Planner(error)
    }
}

impl Refusal {
    pub(super) fn new(construct: Construct, message: impl Into<String>, hint: impl Into<String>) -> Refusal {
        Refusal::Unsupported { construct, message: message.into(), hint: hint.into() }
    }
}

/// Lowers an optimised plan. `state` is the session that optimised it.
pub(super) fn lower(plan: &LogicalPlan, state: &SessionState) -> Result<Lowered, Refusal> {
    let mut lowering = Lowering { state, nodes: Nodes::default(), collections: Vec::new(), fillers: 0 };
    let flow = lowering.plan(plan)?;
    let output = output::columns(&mut lowering.nodes, flow.node, plan.schema())?;
    let append_only = lowering.nodes.append_only(output);
    let plan = lowering.nodes.finish(output);
    Ok(Lowered { plan, append_only, collections: lowering.collections })
}

/// A node and what the planner calls its columns: as many and in the same order.
///
/// Where the planner has no columns at all (only their number counts, as below `COUNT(*)`), there is one that nobody
/// reads: batches without columns are trouble.
#[derive(Clone)]
struct Flow {
    node: NodeId,
    schema: DFSchemaRef,
}

struct Lowering<'a> {
    state: &'a SessionState,
    nodes: Nodes,
    collections: Vec<(CollectionId, String)>,
    fillers: usize,
}

impl Lowering<'_> {
    fn plan(&mut self, plan: &LogicalPlan) -> Result<Flow, Refusal> {
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(scan),
            LogicalPlan::Projection(projection) => self.projection(projection),
            LogicalPlan::Filter(filter) => {
                let input = self.plan(&filter.input)?;
                self.filtered(input, &filter.predicate)
            }
            LogicalPlan::SubqueryAlias(alias) => {
                let input = self.plan(&alias.input)?;
                Ok(renamed(input, &alias.schema))
            }
            // Without a limit an order inside a query orders nothing.
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => self.plan(&sort.input),
            LogicalPlan::Aggregate(aggregate) => self.aggregate(aggregate),
            LogicalPlan::Distinct(Distinct::All(input)) => {
                let input = self.plan(input)?;
                Ok(Flow { node: self.nodes.distinct(input.node), schema: input.schema })
            }
            LogicalPlan::Union(union) => self.union(union),
            LogicalPlan::Join(join) => self.join(join),
            LogicalPlan::Window(window) => self.window(window),
            LogicalPlan::Limit(limit) => self.limit(limit),
            LogicalPlan::EmptyRelation(empty) => self.empty(empty),
            LogicalPlan::Values(values) => self.values(values),
            LogicalPlan::Unnest(unnest) => self.unnest(unnest),
            other => Err(refused(other)),
        }
    }

    fn scan(&mut self, scan: &TableScan) -> Result<Flow, Refusal> {
        let Some(source) = scan.source.downcast_ref::<CollectionSource>() else {
            if let Some(series) = self.series(scan)? {
                return Ok(series);
            }
            let name = scan.table_name.table().trim_end_matches("()").to_owned();
            return Err(Refusal::new(
                Construct::Name(name.clone()),
                format!("the table function {name} in a view"),
                "list the rows: (VALUES (1), (2)) AS t(x)",
            ));
        };
        if !self.collections.iter().any(|(known, _)| *known == source.collection) {
            self.collections.push((source.collection, source.name.clone()));
        }
        let columns = match &scan.projection {
            Some(columns) => columns.clone(),
            None => (0..source.schema.fields().len()).collect(),
        };
        let node = self.nodes.get(source.collection, &source.schema, columns, source.append_only);
        let flow = if scan.projected_schema.fields().is_empty() {
            self.filler(node)?
        } else {
            Flow { node, schema: Arc::clone(&scan.projected_schema) }
        };
        scan.filters.iter().try_fold(flow, |flow, filter| self.filtered(flow, filter))
    }

    fn filtered(&mut self, input: Flow, predicate: &Expr) -> Result<Flow, Refusal> {
        let filters = split_conjunction(predicate)
            .into_iter()
            .map(|condition| self.bind(condition, &input.schema, &self.nodes.schema(input.node)))
            .collect::<Result<Vec<_>, _>>()?;
        let project = self.nodes.columns(input.node);
        let node = self.nodes.mfp(input.node, filters, project);
        Ok(Flow { node, schema: input.schema })
    }

    fn projection(&mut self, projection: &Projection) -> Result<Flow, Refusal> {
        let input = self.plan(&projection.input)?;
        self.projected(input, projection)
    }

    fn projected(&mut self, input: Flow, projection: &Projection) -> Result<Flow, Refusal> {
        if projection.expr.is_empty() {
            return self.filler(input.node);
        }
        let schema = self.nodes.schema(input.node);
        let project = projection
            .expr
            .iter()
            .zip(projection.schema.fields())
            .map(|(expr, field)| Ok(bind::named(self.bind(expr, &input.schema, &schema)?, field.name())))
            .collect::<Result<Vec<_>, Refusal>>()?;
        let node = self.nodes.mfp(input.node, Vec::new(), project);
        Ok(Flow { node, schema: Arc::clone(&projection.schema) })
    }

    fn union(&mut self, union: &Union) -> Result<Flow, Refusal> {
        let inputs = union.inputs.iter().map(|input| self.plan(input)).collect::<Result<Vec<_>, _>>()?;
        let Some(first) = inputs.first() else {
            return Err(Refusal::Planner(DataFusionError::Internal("a union of nothing".to_owned())));
        };
        let filler = union.schema.fields().is_empty();
        let schema = if filler { Arc::clone(&first.schema) } else { Arc::clone(&union.schema) };
        let types = schema.as_arrow();
        let nodes = inputs
            .iter()
            .map(|input| output::cast_to(&mut self.nodes, input.node, types))
            .collect::<Result<Vec<_>, _>>()?;
        let node = if let [only] = nodes.as_slice() { *only } else { self.nodes.union(nodes, types) };
        Ok(Flow { node, schema })
    }

    fn empty(&mut self, empty: &EmptyRelation) -> Result<Flow, Refusal> {
        if empty.produce_one_row {
            let row = bind::one_row()?;
            let node = self.nodes.constant(row);
            return self.filler(node);
        }
        let schema = Arc::clone(&empty.schema);
        if schema.fields().is_empty() {
            let node = self.nodes.constant(bind::one_row()?.slice(0, 0));
            return self.filler(node);
        }
        let node = self.nodes.constant(arrow::array::RecordBatch::new_empty(Arc::new(schema.as_arrow().clone())));
        Ok(Flow { node, schema })
    }

    fn values(&mut self, values: &Values) -> Result<Flow, Refusal> {
        let rows = bind::constant_rows(self.state, values)?;
        Ok(Flow { node: self.nodes.constant(rows), schema: Arc::clone(&values.schema) })
    }

    /// `node` with one column that nobody reads.
    fn filler(&mut self, node: NodeId) -> Result<Flow, Refusal> {
        self.fillers += 1;
        let column = bind::filler();
        let qualifier = TableReference::bare(format!("{FILLER}{}", self.fillers));
        let schema = DFSchema::new_with_metadata(vec![(Some(qualifier), bind::field(&column))], HashMap::new())?;
        Ok(Flow { node: self.nodes.mfp(node, Vec::new(), vec![column]), schema: Arc::new(schema) })
    }
}

/// The relation of columns that nobody reads. No relation of a catalog has such a name.
const FILLER: &str = "$filler";

/// Whether nobody reads column `index`.
fn is_filler(schema: &DFSchema, index: usize) -> bool {
    schema.qualified_field(index).0.is_some_and(|relation| relation.table().starts_with(FILLER))
}

/// The same rows under other names. A flow without columns keeps the one it has.
fn renamed(flow: Flow, schema: &DFSchemaRef) -> Flow {
    let schema = if schema.fields().is_empty() { flow.schema } else { Arc::clone(schema) };
    Flow { node: flow.node, schema }
}

fn refused(plan: &LogicalPlan) -> Refusal {
    let (construct, message, hint) = match plan {
        LogicalPlan::RecursiveQuery(_) => (Construct::Recursive, "WITH RECURSIVE in a view", "use it when reading"),
        LogicalPlan::Subquery(_) => (Construct::MarkJoin, "this kind of subquery in a view", "write it as a join"),
        _ => (Construct::Query, "this kind of query in a view", "use it when reading"),
    };
    Refusal::new(construct, message, hint)
}

/// Whether some expression under `expr` satisfies `test`.
fn contains(expr: &Expr, mut test: impl FnMut(&Expr) -> bool) -> bool {
    expr.exists(|inner| Ok(test(inner))).unwrap_or(false)
}
