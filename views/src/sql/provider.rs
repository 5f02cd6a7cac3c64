//! What the planner may know: our relations, the session's functions.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::sync::Arc;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DataFusionError, Result, TableReference};
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, TypePlanner};
use datafusion::logical_expr::{AggregateUDF, Expr, HigherOrderUDF, LogicalPlan, ScalarUDF, TableSource, WindowUDF};
use datafusion::sql::planner::{ParserOptions, SqlToRel};
use datafusion::sql::sqlparser::ast::Statement;
use headwater_dataflow::repr::CollectionId;

use super::error::{SqlError, SqlErrorKind, from_datafusion, is_two_columns};
use super::locate::Text;
use super::names;
use super::session::repair;
use super::{RelationKind, Relations};

/// How deep views may be inlined into each other.
const VIEWS_DEPTH_MAX: usize = 32;

/// A collection as the planner sees it.
#[derive(Debug)]
pub(super) struct CollectionSource {
    pub(super) name: String,
    pub(super) collection: CollectionId,
    pub(super) schema: SchemaRef,
    pub(super) append_only: bool,
}

impl TableSource for CollectionSource {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}

/// A view as the planner sees it: it puts the plan in the place of the name.
struct InlinedView {
    schema: SchemaRef,
    plan: LogicalPlan,
}

impl TableSource for InlinedView {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn get_logical_plan(&self) -> Option<Cow<'_, LogicalPlan>> {
        Some(Cow::Borrowed(&self.plan))
    }
}

/// The planner's context for one query.
pub(super) struct Provider<'a> {
    state: &'a SessionState,
    relations: &'a dyn Relations,
    type_planner: Arc<dyn TypePlanner>,
    /// The views whose texts are part of the plan, in the order of their first use.
    inlined: RefCell<Vec<(String, String)>>,
    depth: Cell<usize>,
}

impl<'a> Provider<'a> {
    pub(super) fn new(state: &'a SessionState, relations: &'a dyn Relations) -> Provider<'a> {
        Provider {
            state,
            relations,
            type_planner: super::session::type_planner(),
            inlined: RefCell::default(),
            depth: Cell::new(0),
        }
    }

    /// Plans one query, which is not analysed yet.
    pub(super) fn plan(&self, text: &Text<'_>) -> Result<LogicalPlan, SqlError> {
        self.plan_statement(parse_query(text)?, text)
    }

    /// Plans one query whose columns may have one name; [`names::written`] says which.
    pub(super) fn plan_names(&self, mut query: Statement, text: &Text<'_>) -> Result<LogicalPlan, SqlError> {
        self.plan_statement(query.clone(), text).or_else(|error| {
            if is_two_columns(&error) && names::make_distinct(&mut query) {
                self.plan_statement(query, text)
            } else {
                Err(error)
            }
        })
    }

    /// Plans one query that was parsed, or made, out of `text`.
    pub(super) fn plan_statement(&self, query: Statement, text: &Text<'_>) -> Result<LogicalPlan, SqlError> {
        let planner = SqlToRel::new_with_options(self, ParserOptions::from(&self.options().sql_parser));
        let plan = planner.sql_statement_to_plan(query).and_then(repair);
        plan.map_err(|error| from_datafusion(&error, text))
    }

    /// Names and texts of the views that were inlined.
    pub(super) fn into_inlined(self) -> Vec<(String, String)> {
        self.inlined.into_inner()
    }

    fn inline(&self, name: &str, query: &str) -> Result<InlinedView, SqlError> {
        if self.depth.get() >= VIEWS_DEPTH_MAX {
            return Err(SqlError::unsupported(format!("views nested more than {VIEWS_DEPTH_MAX} deep"))
                .hint("make one of them a MATERIALIZED VIEW"));
        }
        self.depth.set(self.depth.get() + 1);
        let plan = Text::new(query).and_then(|text| self.plan(&text));
        self.depth.set(self.depth.get() - 1);
        // A place in the view's text means nothing in the text that names the view.
        let plan = plan.map_err(|error| SqlError {
            message: format!("in view \"{name}\": {}", error.message),
            position: None,
            ..error
        })?;
        let mut inlined = self.inlined.borrow_mut();
        if !inlined.iter().any(|(known, _)| known == name) {
            inlined.push((name.to_owned(), query.to_owned()));
        }
        Ok(InlinedView { schema: Arc::new(plan.schema().as_arrow().clone()), plan })
    }

    fn missing(&self, name: &str) -> SqlError {
        let error = SqlError::new(SqlErrorKind::NotFound, format!("relation \"{name}\" does not exist"));
        let names = self.relations.names();
        let near = names.iter().map(|known| (distance(known, name), known)).filter(|(far, _)| *far <= 2).min();
        match near {
            Some((_, known)) => error.hint(format!("did you mean \"{known}\"?")),
            None => error.hint("create it first, or see SHOW OBJECTS for what there is"),
        }
    }
}

/// How many characters must change to turn one name into the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// The one query that `text` must be.
pub(super) fn parse_query(text: &Text<'_>) -> Result<Statement, SqlError> {
    let mut parser = text.parser();
    let query = parser.parse_query().map_err(|error| text.parser_error(&error))?;
    let next = parser.peek_token();
    match next.token {
        datafusion::sql::sqlparser::tokenizer::Token::EOF => Ok(Statement::Query(query)),
        token => {
            Err(SqlError::invalid(format!("expected the end of the query, found \"{token}\"")).at(next.span.start))
        }
    }
}

impl ContextProvider for Provider<'_> {
    fn get_table_source(&self, name: TableReference) -> Result<Arc<dyn TableSource>> {
        let TableReference::Bare { table } = &name else {
            let error = SqlError::unsupported(format!("the qualified name \"{name}\""))
                .hint("there are no schemas: use the name alone, or quotes if the point belongs to the name");
            return Err(DataFusionError::External(Box::new(error)));
        };
        let external = |error: SqlError| DataFusionError::External(Box::new(error));
        let relation = self.relations.relation(table).ok_or_else(|| external(self.missing(table)))?;
        Ok(match relation.kind {
            RelationKind::Collection { collection, schema, append_only } => {
                Arc::new(CollectionSource { name: relation.name, collection, schema, append_only })
            }
            RelationKind::Index { of } => {
                let error = SqlError::invalid(format!("\"{}\" is an index and cannot be read", relation.name))
                    .hint(format!("read \"{of}\": the index is used where it helps"));
                return Err(external(error));
            }
            RelationKind::View { query } => Arc::new(self.inline(&relation.name, &query).map_err(external)?),
        })
    }

    fn create_cte_work_table(&self, name: &str, schema: SchemaRef) -> Result<Arc<dyn TableSource>> {
        let table = datafusion::catalog::cte_worktable::CteWorkTable::new(name, schema);
        Ok(datafusion::datasource::provider_as_source(Arc::new(table)))
    }

    fn get_table_function_source(&self, name: &str, args: Vec<Expr>) -> Result<Arc<dyn TableSource>> {
        super::session::table_function(self.state, name, &args)
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        self.state.expr_planners()
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::clone(&self.type_planner))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        self.state.scalar_functions().get(name).cloned()
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.state.higher_order_functions().get(name).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.state.aggregate_functions().get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.state.window_functions().get(name).cloned()
    }

    fn get_variable_type(&self, _variable_names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.state.config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        sorted(self.state.scalar_functions().keys())
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        sorted(self.state.higher_order_functions().keys())
    }

    fn udaf_names(&self) -> Vec<String> {
        sorted(self.state.aggregate_functions().keys())
    }

    fn udwf_names(&self) -> Vec<String> {
        sorted(self.state.window_functions().keys())
    }
}

fn sorted<'a>(names: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut names: Vec<String> = names.cloned().collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests {
    use super::distance;

    #[test]
    fn distances() {
        assert_eq!(distance("orders", "orders"), 0);
        assert_eq!(distance("orders", "order"), 1);
        assert_eq!(distance("lines", "lnies"), 2);
        assert_eq!(distance("", "abc"), 3);
    }
}
