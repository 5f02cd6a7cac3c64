//! Views: from the text of a query to a plan that the dataflow can maintain.

use std::collections::{BTreeMap, BTreeSet};

use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, Volatility};
use datafusion::optimizer::OptimizerConfig;
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::resolve::resolve_table_references;
use datafusion::sql::sqlparser::ast::{Distinct as AstDistinct, SetExpr, Statement};
use headwater_dataflow::plan::{Index, Node, Op, Plan};
use headwater_dataflow::repr::{CollectionId, ObjectId};

use super::error::{SqlError, from_datafusion};
use super::explain::explain_plan;
use super::locate::{Construct, Text};
use super::lower::{Refusal, lower};
use super::provider::{Provider, parse_query};
use super::session::{Purpose, session};
use super::{NamedIndex, Relations};

/// A view that can be maintained.
#[derive(Clone, Debug)]
pub struct PlannedView {
    /// The operators.
    pub plan: Plan,
    /// The columns, of different names and of our types.
    pub schema: SchemaRef,
    /// The collections that the dataflow imports, in order; with the clock's rows (object 0) if something in the plan
    /// never changes and therefore needs to be told that time passes.
    pub imports: Vec<CollectionId>,
    /// The names of the relations that the text mentions, views included, in order; errors count as their object:
    /// who reads `"orders$errors"` depends on `orders`.
    pub reads: Vec<String>,
    /// Whether the view never retracts.
    pub append_only: bool,
    /// The names of the collections that the plan reads.
    pub names: BTreeMap<CollectionId, String>,
    /// The plan as EXPLAIN shows it.
    pub explain: String,
}

impl PlannedView {
    /// The indexes that the plan looks up.
    pub fn indexes(&self) -> BTreeSet<ObjectId> {
        let index = |node: &Node| if let Op::Index { index, .. } = node.op { Some(index.object) } else { None };
        self.plan.nodes.iter().filter_map(index).collect()
    }
}

/// Plans `query` as a view. Places in errors are counted from the beginning of `query`; see [`SqlError::within`].
pub fn plan_view(query: &str, relations: &dyn Relations) -> Result<PlannedView, SqlError> {
    plan(query, None, relations)
}

/// Plans `query` as a view whose columns have these names, whatever the query calls them.
pub fn plan_view_as(query: &str, columns: &[String], relations: &dyn Relations) -> Result<PlannedView, SqlError> {
    plan(query, Some(columns), relations)
}

fn plan(query: &str, columns: Option<&[String]>, relations: &dyn Relations) -> Result<PlannedView, SqlError> {
    let text = Text::new(query)?;
    let statement = parse_query(&text)?;
    check_top_level(&statement, &text)?;
    let reads = reads(&statement);
    let state = session(Purpose::View).map_err(|error| from_datafusion(&error, &text))?;
    let provider = Provider::new(&state, relations);
    let fail = |error| from_datafusion(&error, &text);
    let plan = match columns {
        None => provider.plan(&text)?,
        Some(columns) => renamed(provider.plan_names(statement, &text)?, columns).map_err(fail)?,
    };
    let inlined = provider.into_inlined();
    let plan = state.analyzer().execute_and_check(plan, &state.options(), |_, _| {}).map_err(fail)?;
    check_analyzed(&plan).map_err(|refusal| refused(refusal, &text, &inlined))?;
    let plan = state.optimizer().optimize(plan, &state, |_, _| {}).map_err(fail)?;
    let mut lowered = lower(&plan, &state).map_err(|refusal| refused(refusal, &text, &inlined))?;
    lowered.plan.optimize();
    let mut names: BTreeMap<CollectionId, String> = lowered.collections.iter().cloned().collect();
    let indexes: Vec<NamedIndex> = names.keys().flat_map(|collection| relations.indexes(*collection)).collect();
    let plain: Vec<Index> = indexes.iter().map(|named| named.index.clone()).collect();
    lowered.plan.use_indexes(&plain);
    names.extend(indexes.into_iter().map(|named| (named.index.rows, named.name)));
    Ok(PlannedView {
        schema: lowered.plan.schema(),
        imports: imports(&lowered.plan),
        reads,
        append_only: lowered.append_only,
        explain: explain_plan(&lowered.plan, &names),
        names,
        plan: lowered.plan,
    })
}

/// The plan with other names for its columns, and its own where there is none.
fn renamed(plan: LogicalPlan, names: &[String]) -> Result<LogicalPlan, DataFusionError> {
    let columns = plan.schema().columns();
    let named = columns.into_iter().enumerate().map(|(index, column)| match names.get(index) {
        Some(name) => Expr::Column(column).alias(name),
        None => Expr::Column(column),
    });
    LogicalPlanBuilder::from(plan).project(named)?.build()
}

/// The names that a query mentions, without those it defines itself.
pub(super) fn reads(statement: &Statement) -> Vec<String> {
    let statement = DfStatement::Statement(Box::new(statement.clone()));
    let Ok((relations, _)) = resolve_table_references(&statement, true) else { return Vec::new() };
    let names: BTreeSet<String> = relations
        .iter()
        .map(|relation| relation.table())
        .map(|name| name.strip_suffix("$errors").unwrap_or(name).to_owned())
        .collect();
    names.into_iter().collect()
}

fn check_top_level(statement: &Statement, text: &Text<'_>) -> Result<(), SqlError> {
    let Statement::Query(query) = statement else { return Ok(()) };
    let limited = query.limit_clause.is_some() || query.fetch.is_some();
    let distinct_on =
        matches!(query.body.as_ref(), SetExpr::Select(select) if matches!(select.distinct, Some(AstDistinct::On(_))));
    if query.order_by.is_some() && !limited && !distinct_on {
        let error = SqlError::unsupported("ORDER BY in a view")
            .hint("leave it out and order when reading: SELECT … FROM view ORDER BY …");
        return Err(error.at(text.find(&Construct::OrderBy).unwrap_or(text.start())));
    }
    Ok(())
}

/// Refuses functions whose value is not determined by their arguments, and what the optimizer would disguise.
fn check_analyzed(plan: &LogicalPlan) -> Result<(), Refusal> {
    let mut found: Option<(String, Volatility)> = None;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|inner| {
                if let Expr::ScalarFunction(function) = inner {
                    let volatility = function.func.signature().volatility;
                    if volatility != Volatility::Immutable && found.is_none() {
                        found = Some((function.name().to_owned(), volatility));
                    }
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    let Some((name, volatility)) = found else { return Ok(()) };
    let hint = match volatility {
        Volatility::Volatile => "the same row must always give the same value: compute it from the row's columns",
        _ => {
            "a view's answer must not change while its sources do not: use it when reading, or compare with a time column"
        }
    };
    Err(Refusal::new(Construct::Name(name.clone()), format!("the function {name}() in a view"), hint))
}

/// An error with the place of what was refused, or with the view that it came from.
fn refused(refusal: Refusal, text: &Text<'_>, inlined: &[(String, String)]) -> SqlError {
    let (construct, message, hint) = match refusal {
        Refusal::Planner(error) => return from_datafusion(&error, text),
        Refusal::Invalid(error) => {
            let place = text.quoted_in(&error.message).unwrap_or(text.start());
            return error.at(place);
        }
        Refusal::Unsupported { construct, message, hint } => (construct, message, hint),
    };
    if let Some(place) = text.find(&construct) {
        return SqlError::unsupported(message).at(place).hint(hint);
    }
    let origin = inlined.iter().find(|(_, query)| Text::new(query).is_ok_and(|text| text.find(&construct).is_some()));
    let message = match origin {
        Some((name, _)) => format!("in view \"{name}\": {message}"),
        None => message,
    };
    let place = origin.and_then(|(name, _)| text.find(&Construct::Name(name.clone())));
    SqlError::unsupported(message).at(place.unwrap_or(text.start())).hint(hint)
}

fn imports(plan: &Plan) -> Vec<CollectionId> {
    let imports: BTreeSet<CollectionId> = plan
        .nodes
        .iter()
        .filter_map(|node| match node.op {
            Op::Get { collection, .. } => Some(collection),
            Op::Index { index, .. } => Some(index),
            Op::Constant { .. } => Some(ObjectId(0).rows()),
            Op::Mfp { .. }
            | Op::Join { .. }
            | Op::Reduce { .. }
            | Op::JoinReduce { .. }
            | Op::Distinct { .. }
            | Op::Upsert { .. }
            | Op::Unnest { .. }
            | Op::Window { .. }
            | Op::Union { .. } => None,
        })
        .collect();
    imports.into_iter().collect()
}

#[cfg(test)]
mod snapshots;
#[cfg(test)]
pub(super) mod tests;
