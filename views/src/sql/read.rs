//! Reads: any query, executed by DataFusion over the rows that the relations have at one time.

mod lookup;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::sqlparser::ast::Statement;
use headwater_dataflow::repr::CollectionId;

use super::Relations;
use super::error::{Position, SqlError, SqlErrorKind, from_datafusion};
use super::locate::{Construct, Text};
use super::names;
use super::provider::{CollectionSource, Provider, parse_query};
use super::session::types::column_type;
use super::session::{Purpose, session};

pub use lookup::IndexLookup;

/// A query that waits for its rows.
pub struct PlannedRead {
    state: SessionState,
    plan: LogicalPlan,
    schema: SchemaRef,
    collections: Vec<CollectionId>,
    lookups: BTreeMap<CollectionId, IndexLookup>,
    start: Position,
}

impl std::fmt::Debug for PlannedRead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PlannedRead").field("collections", &self.collections).field("schema", &self.schema).finish()
    }
}

/// Plans `query` for one execution. `now()` is the time of this call. Places in errors are counted from the beginning of
/// `query`; see [`SqlError::within`].
pub fn plan_read(query: &str, relations: &dyn Relations) -> Result<PlannedRead, SqlError> {
    let text = Text::new(query)?;
    let statement = parse_query(&text)?;
    plan_statement(statement, &text, relations)
}

/// Plans a query that was parsed, or made, out of `text`.
pub(super) fn plan_statement(
    statement: Statement,
    text: &Text<'_>,
    relations: &dyn Relations,
) -> Result<PlannedRead, SqlError> {
    let fail = |error| from_datafusion(&error, text);
    let state = session(Purpose::Read).map_err(fail)?;
    let plan = Provider::new(&state, relations).plan_names(statement, text)?;
    let plan = state.optimize(&plan).map_err(fail)?;
    check_subqueries(&plan, text)?;
    let collections = collections(&plan).map_err(fail)?;
    let lookups = lookup::lookups(&plan, relations).map_err(fail)?;
    let schema = output_schema(plan.schema().as_arrow(), text)?;
    Ok(PlannedRead { state, plan, schema, collections, lookups, start: text.start() })
}

impl PlannedRead {
    /// The collections whose rows [`PlannedRead::run`] needs, each once, in order.
    pub fn collections(&self) -> &[CollectionId] {
        &self.collections
    }

    /// How collections can be looked up of which the query does not need all rows.
    pub fn lookups(&self) -> &BTreeMap<CollectionId, IndexLookup> {
        &self.lookups
    }

    /// The columns of the answer.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    /// Executes the query over the rows of its collections, each row as often as it is there; a collection that is
    /// missing is empty. An overflow, a division by zero or a failing cast in any row that matters is an error.
    pub async fn run(self, tables: BTreeMap<CollectionId, Vec<RecordBatch>>) -> Result<Vec<RecordBatch>, SqlError> {
        let start = self.start;
        self.execute(tables).await.map_err(|error| failed(&error, start))
    }

    async fn execute(
        self,
        tables: BTreeMap<CollectionId, Vec<RecordBatch>>,
    ) -> Result<Vec<RecordBatch>, DataFusionError> {
        let filled = self.plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::TableScan(mut scan) => {
                let Some(source) = scan.source.downcast_ref::<CollectionSource>() else {
                    return Ok(Transformed::no(LogicalPlan::TableScan(scan)));
                };
                let rows = tables.get(&source.collection).cloned().unwrap_or_default();
                let rows =
                    rows.into_iter().map(|batch| conform(batch, &source.schema)).collect::<Result<Vec<_>, _>>()?;
                let table = MemTable::try_new(Arc::clone(&source.schema), vec![rows])?;
                scan.source = provider_as_source(Arc::new(table));
                Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
            }
            other => Ok(Transformed::no(other)),
        })?;
        let physical = self.state.query_planner().create_physical_plan(&filled.data, &self.state).await?;
        let batches = datafusion::physical_plan::collect(physical, self.state.task_ctx()).await?;
        batches.into_iter().filter(|batch| batch.num_rows() > 0).map(|batch| shown(&batch, &self.schema)).collect()
    }
}

/// A batch under the schema that the planner was told.
fn conform(batch: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, DataFusionError> {
    if batch.schema() == *schema {
        return Ok(batch);
    }
    Ok(RecordBatch::try_new(Arc::clone(schema), batch.columns().to_vec())?)
}

/// A batch of the answer in our types.
fn shown(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, DataFusionError> {
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let columns = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| match column.data_type() == field.data_type() {
            true => Ok(Arc::clone(column)),
            false => cast_with_options(column, field.data_type(), &options),
        })
        .collect::<Result<Vec<ArrayRef>, _>>()?;
    Ok(RecordBatch::try_new(Arc::clone(schema), columns)?)
}

/// The columns of an answer: the planner's in our types. Names may repeat.
fn output_schema(schema: &Schema, text: &Text<'_>) -> Result<SchemaRef, SqlError> {
    let mut fields = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        let data_type = column_type(field.data_type()).map_err(|refusal| {
            SqlError::unsupported(format!("{} (\"{}\")", refusal.message, field.name()))
                .at(text.quoted_in(&format!("\"{}\"", field.name())).unwrap_or(text.start()))
                .hint(refusal.hint)
        })?;
        fields.push(Field::new(names::written(field.name()), data_type, true));
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// Subqueries that the optimizer could not turn into joins.
fn check_subqueries(plan: &LogicalPlan, text: &Text<'_>) -> Result<(), SqlError> {
    let mut left = false;
    let mut outer = false;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            left |= expr
                .exists(|inner| Ok(matches!(inner, Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_))))?;
            outer |= expr.exists(|inner| Ok(matches!(inner, Expr::OuterReferenceColumn(..))))?;
            Ok(TreeNodeRecursion::Continue)
        })
    })
    .map_err(|error| from_datafusion(&error, text))?;
    if left {
        return Err(SqlError::unsupported("EXISTS or IN (SELECT …) in this place")
            .at(text.find(&Construct::MarkJoin).unwrap_or(text.start()))
            .hint("use it as a condition in WHERE or in the select list, or join"));
    }
    if outer {
        let place = text.find_words(&[&["LATERAL"]]).or_else(|| text.find(&Construct::ScalarSubquery));
        return Err(SqlError::unsupported("a subquery that reads columns of the query around it in this way")
            .at(place.unwrap_or(text.start()))
            .hint("write it as a join: aggregate or number the rows of the inner relation, then join by the common columns"));
    }
    Ok(())
}

fn collections(plan: &LogicalPlan) -> Result<Vec<CollectionId>, DataFusionError> {
    let mut found = std::collections::BTreeSet::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(source) = scan.source.downcast_ref::<CollectionSource>()
        {
            found.insert(source.collection);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(found.into_iter().collect())
}

/// An error of the execution. It has no place of its own: the data is at fault, not a word of the text.
fn failed(error: &DataFusionError, start: Position) -> SqlError {
    let text = super::error::tidy(&error.find_root().strip_backtrace());
    let error = match error.find_root() {
        DataFusionError::NotImplemented(_) | DataFusionError::Internal(_) => {
            SqlError::new(SqlErrorKind::Unsupported, text)
        }
        _ => SqlError::new(SqlErrorKind::Invalid, text),
    };
    error.at(start)
}

#[cfg(test)]
mod tests;
