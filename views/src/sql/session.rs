//! The DataFusion session in which everything is planned: views, reads, and the tests' recomputation alike.
//!
//! It differs from DataFusion's own in a few places only, each stated here or in a file of this folder: the list of
//! optimizer rules, the types (`types`), what would hurt in its semantics (`semantics`, `floats`, `arithmetic`, `sum`,
//! `moments`, `quantiles`, `estimates`, `ordered`, `ranks`, `to_char`), what it gets wrong (`repair`, `grouping_sets`, `many_groups`,
//! `offsets`), what it lacks (`lateral`, `mode`), and what would be slow (`date_trunc`).

mod arithmetic;
mod date_trunc;
mod distinct_on;
pub(super) mod estimates;
mod floats;
mod grouping;
pub(super) mod grouping_sets;
mod lateral;
mod many_groups;
mod mode;
mod moments;
mod offsets;
pub(super) mod one_row;
mod ordered;
mod push_down;
pub(super) mod quantiles;
mod ranks;
mod repair;
mod semantics;
mod subqueries;
mod sum;
mod to_char;
pub(crate) mod types;

use std::sync::{Arc, LazyLock};

use datafusion::catalog::TableFunctionArgs;
use datafusion::common::{DFSchema, Result, plan_err};
use datafusion::datasource::provider_as_source;
use datafusion::execution::SessionStateBuilder;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, TableSource};
use datafusion::optimizer::analyzer::AnalyzerRule;
use datafusion::optimizer::analyzer::resolve_grouping_function::ResolveGroupingFunction;
use datafusion::optimizer::analyzer::type_coercion::TypeCoercion;
use datafusion::optimizer::common_subexpr_eliminate::CommonSubexprEliminate;
use datafusion::optimizer::decorrelate_lateral_join::DecorrelateLateralJoin;
use datafusion::optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion::optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion::optimizer::eliminate_duplicated_expr::EliminateDuplicatedExpr;
use datafusion::optimizer::eliminate_filter::EliminateFilter;
use datafusion::optimizer::eliminate_group_by_constant::EliminateGroupByConstant;
use datafusion::optimizer::eliminate_join::EliminateJoin;
use datafusion::optimizer::eliminate_outer_join::EliminateOuterJoin;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::optimize_projections::OptimizeProjections;
use datafusion::optimizer::optimize_unions::OptimizeUnions;
use datafusion::optimizer::propagate_empty_relation::PropagateEmptyRelation;
use datafusion::optimizer::replace_distinct_aggregate::ReplaceDistinctWithAggregate;
use datafusion::optimizer::rewrite_set_comparison::RewriteSetComparison;
use datafusion::optimizer::scalar_subquery_to_join::ScalarSubqueryToJoin;
use datafusion::optimizer::simplify_expressions::{ExprSimplifier, SimplifyExpressions};
use datafusion::optimizer::{Optimizer, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::prelude::SessionConfig;

pub(super) use arithmetic::operator_of;
pub(super) use repair::repair;

/// For what a session plans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Plans that our lowering understands.
    View,
    /// Plans that DataFusion executes.
    Read,
}

static VIEW: LazyLock<Result<SessionState, String>> = LazyLock::new(|| build(Purpose::View).map_err(|e| e.to_string()));
static READ: LazyLock<Result<SessionState, String>> = LazyLock::new(|| build(Purpose::Read).map_err(|e| e.to_string()));

/// A session for one plan. Each begins to count invented names anew, so that the same text gives the same plan.
pub(super) fn session(purpose: Purpose) -> Result<SessionState> {
    let built = match purpose {
        Purpose::View => &*VIEW,
        Purpose::Read => &*READ,
    };
    let mut state = built.clone().map_err(datafusion::error::DataFusionError::Configuration)?;
    *state.execution_props_mut() = ExecutionProps::new();
    if purpose == Purpose::Read {
        state.mark_start_execution();
    }
    Ok(state)
}

/// Our types, for the planner.
pub(super) fn type_planner() -> Arc<dyn TypePlanner> {
    Arc::new(types::Types)
}

/// The relation that a call of a table function stands for: `generate_series` and `range`, over constants.
pub(super) fn table_function(state: &SessionState, name: &str, args: &[Expr]) -> Result<Arc<dyn TableSource>> {
    let Some(function) = state.table_functions().get(name) else {
        return plan_err!("Table function '{name}' does not exist");
    };
    let simplifier = ExprSimplifier::new(
        SimplifyContext::builder()
            .with_config_options(Arc::clone(state.config_options()))
            .with_query_execution_start_time(state.execution_props().query_execution_start_time)
            .build(),
    );
    let schema = DFSchema::empty();
    let args = args
        .iter()
        .map(|arg| simplifier.simplify(simplifier.coerce(arg.clone(), &schema)?))
        .collect::<Result<Vec<Expr>>>()?;
    let table = function.create_table_provider_with_args(TableFunctionArgs::new(&args, state))?;
    Ok(provider_as_source(table))
}

fn build(purpose: Purpose) -> Result<SessionState> {
    let mut config = SessionConfig::new().with_target_partitions(1).with_create_default_catalog_and_schema(false);
    let options = config.options_mut();
    options.sql_parser.dialect = datafusion::config::Dialect::PostgreSQL;
    options.sql_parser.parse_float_as_decimal = true;
    options.sql_parser.enable_ident_normalization = true;
    options.sql_parser.map_string_types_to_utf8view = false;
    options.sql_parser.collect_spans = true;
    options.execution.time_zone = Some("+00:00".to_owned());
    options.optimizer.skip_failed_rules = false;
    // A view knows subqueries only as joins.
    options.optimizer.enable_physical_uncorrelated_scalar_subquery = purpose == Purpose::Read;
    // It allocates for as many groups as a LIMIT allows.
    options.optimizer.enable_topk_aggregation = false;
    // A nullable IS UNKNOWN of the physical plan is no reason to refuse a GROUP BY over it.
    options.execution.skip_physical_aggregate_schema_check = true;
    let builder = SessionStateBuilder::new_with_default_features()
        .with_config(config)
        .with_type_planner(type_planner())
        .with_analyzer_rules(analyzer_rules(purpose));
    let builder = builder.with_physical_optimizer_rules(physical_rules()).with_optimizer_rules(match purpose {
        Purpose::View => view_rules(),
        Purpose::Read => read_rules(),
    });
    let mut state = builder.build();
    datafusion_functions_json::register_all(&mut state)?;
    date_trunc::register(&mut state)?;
    to_char::register(&mut state)?;
    sum::register(&mut state)?;
    many_groups::register(&mut state)?;
    ranks::register(&mut state)?;
    moments::register(&mut state)?;
    quantiles::register(&mut state)?;
    estimates::register(&mut state)?;
    mode::register(&mut state)?;
    Ok(state)
}

/// Types first, then ours: values in our types, then the operators on them.
fn analyzer_rules(purpose: Purpose) -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    let mut rules: Vec<Arc<dyn AnalyzerRule + Send + Sync>> = vec![
        Arc::new(lateral::LateralUnnest),
        Arc::new(distinct_on::FirstOfPartition),
        Arc::new(subqueries::InMeansExists),
        Arc::new(ResolveGroupingFunction::new()),
        Arc::new(grouping::GroupingColumns),
        Arc::new(floats::FloatsWin),
        Arc::new(TypeCoercion::new()),
        Arc::new(semantics::OurTypes),
        Arc::new(TypeCoercion::new()),
        Arc::new(semantics::OurOperators),
    ];
    if purpose == Purpose::Read {
        rules.push(Arc::new(ordered::OrderedAggregates));
        rules.push(Arc::new(grouping_sets::SetsApart));
        rules.push(Arc::new(offsets::LimitedOffsets));
    }
    rules
}

/// DataFusion's rules and ours.
fn read_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules = Optimizer::new().rules;
    for rule in rules.iter_mut().filter(|rule| rule.name() == "push_down_filter") {
        *rule = Arc::new(push_down::PushDownMostFilters::default());
    }
    rules.insert(0, Arc::new(subqueries::SubqueriesOfProjections));
    rules
}

/// DataFusion's rules for execution without the one that moves filters: it takes columns of both sides of a join for one
/// where they have the same name.
fn physical_rules() -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let rules = PhysicalOptimizer::new().rules.into_iter();
    rules.filter(|rule| !rule.name().starts_with("FilterPushdown")).collect()
}

/// DataFusion's rules without those whose result we could not lower or that only help its own execution: no limits are
/// pushed anywhere, one COUNT(DISTINCT) stays one.
fn view_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    vec![
        Arc::new(RewriteSetComparison::new()),
        Arc::new(OptimizeUnions::new()),
        Arc::new(SimplifyExpressions::new()),
        Arc::new(ReplaceDistinctWithAggregate::new()),
        Arc::new(EliminateJoin::new()),
        Arc::new(subqueries::SubqueriesOfProjections),
        Arc::new(DecorrelatePredicateSubquery::new()),
        Arc::new(ScalarSubqueryToJoin::new()),
        Arc::new(DecorrelateLateralJoin::new()),
        Arc::new(ExtractEquijoinPredicate::new()),
        Arc::new(EliminateDuplicatedExpr::new()),
        Arc::new(EliminateFilter::new()),
        Arc::new(EliminateCrossJoin::new()),
        Arc::new(PropagateEmptyRelation::new()),
        Arc::new(EliminateOuterJoin::new()),
        Arc::new(push_down::PushDownMostFilters::default()),
        Arc::new(EliminateGroupByConstant::new()),
        Arc::new(CommonSubexprEliminate::new()),
        Arc::new(OptimizeProjections::new()),
    ]
}
