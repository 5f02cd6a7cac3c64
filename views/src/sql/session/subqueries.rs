//! Subqueries that ask whether something exists, where DataFusion does not go all the way.
//!
//! [`InMeansExists`] gives IN its three values: `x IN (SELECT y …)` is NULL if no y equals x but some y, or x, is NULL.
//! DataFusion knows that for one NOT IN under WHERE; a mark join has no NULL. Written with EXISTS it is right everywhere.
//! [`SubqueriesOfProjections`] makes EXISTS in the select list a mark join; DataFusion makes those under WHERE only.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{DFSchema, Result, Spans};
use datafusion::logical_expr::expr::{Exists, InSubquery};
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{
    Expr, ExprSchemable, Filter, LogicalPlan, LogicalPlanBuilder, Projection, Subquery, lit, when,
};
use datafusion::optimizer::analyzer::AnalyzerRule;
use datafusion::optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};
use datafusion::scalar::ScalarValue;

/// Rewrites every IN (SELECT) that could be NULL.
#[derive(Debug)]
pub(super) struct InMeansExists;

impl AnalyzerRule for InMeansExists {
    fn name(&self) -> &str {
        "in_means_exists"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        let mut names = 0;
        plan.transform_up_with_subqueries(|node| {
            let inputs: Vec<&DFSchema> = node.inputs().iter().map(|input| input.schema().as_ref()).collect();
            let schema = inputs.into_iter().try_fold(DFSchema::empty(), |all, schema| all.join(schema));
            // Both sides of a set operation have columns of the same names, and no expressions.
            let Ok(schema) = schema else { return Ok(Transformed::no(node)) };
            if let LogicalPlan::Filter(filter) = node {
                return condition(filter, &schema, &mut names);
            }
            node.map_expressions(|expr| values(expr, &schema, &mut names))
        })
        .data()
    }
}

/// A condition: where only true counts, IN is as good as it is, and NOT IN falls apart into parts that can each be a join.
fn condition(filter: Filter, schema: &DFSchema, names: &mut usize) -> Result<Transformed<LogicalPlan>> {
    let mut changed = false;
    let mut parts = Vec::new();
    for part in split_conjunction_owned(filter.predicate) {
        let part = match part {
            Expr::Not(inner) => match *inner {
                Expr::InSubquery(asked) => Expr::InSubquery(InSubquery { negated: !asked.negated, ..asked }),
                other => Expr::Not(Box::new(other)),
            },
            other => other,
        };
        match part {
            Expr::InSubquery(asked) if !asked.negated => parts.push(Expr::InSubquery(asked)),
            Expr::InSubquery(asked) => {
                let Some(asked) = Asked::new(&asked, schema, names)? else {
                    parts.push(Expr::InSubquery(asked));
                    continue;
                };
                parts.push(!asked.equal()?);
                if asked.found_nullable {
                    parts.push(!asked.null_found()?);
                }
                if asked.sought_nullable {
                    parts.push(asked.sought.clone().is_not_null().or(!asked.any()));
                }
                changed = true;
            }
            other => {
                let rewritten = values(other, schema, names)?;
                changed |= rewritten.transformed;
                parts.push(rewritten.data);
            }
        }
    }
    let predicate = conjunction(parts).unwrap_or_else(|| lit(true));
    let filter = LogicalPlan::Filter(Filter::try_new(predicate, filter.input)?);
    Ok(if changed { Transformed::yes(filter) } else { Transformed::no(filter) })
}

/// Every IN (SELECT) below `expr` as a value: true, false or NULL.
fn values(expr: Expr, schema: &DFSchema, names: &mut usize) -> Result<Transformed<Expr>> {
    expr.transform_up(|inner| {
        let Expr::InSubquery(asked) = &inner else { return Ok(Transformed::no(inner)) };
        let Some(seen) = Asked::new(asked, schema, names)? else { return Ok(Transformed::no(inner)) };
        let unknown = match (seen.found_nullable, seen.sought_nullable) {
            (true, true) => seen.null_found()?.or(seen.sought.clone().is_null().and(seen.any())),
            (true, false) => seen.null_found()?,
            (false, _) => seen.sought.clone().is_null().and(seen.any()),
        };
        let value = when(seen.equal()?, lit(!asked.negated))
            .when(unknown, Expr::Literal(ScalarValue::Boolean(None), None))
            .otherwise(lit(asked.negated))?;
        Ok(Transformed::yes(value.alias(inner.schema_name().to_string())))
    })
}

/// An IN (SELECT) that could be NULL.
struct Asked<'a> {
    /// The columns that what is sought is made of.
    schema: &'a DFSchema,
    sought: Expr,
    sought_nullable: bool,
    found_nullable: bool,
    /// The subquery, its column under a name that nothing else has.
    query: LogicalPlan,
    outer: Vec<Expr>,
}

impl<'a> Asked<'a> {
    /// `None` if it cannot be NULL, or if it asks for something that is itself a subquery.
    fn new(asked: &InSubquery, schema: &'a DFSchema, names: &mut usize) -> Result<Option<Asked<'a>>> {
        let sought = asked.expr.as_ref().clone();
        let nested = |inner: &Expr| {
            Ok(matches!(
                inner,
                Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_) | Expr::SetComparison(_)
            ))
        };
        if sought.exists(nested)? || asked.subquery.subquery.schema().fields().len() != 1 {
            return Ok(None);
        }
        let sought_nullable = sought.nullable(schema).unwrap_or(true);
        let found_nullable = asked.subquery.subquery.schema().field(0).is_nullable();
        if !sought_nullable && !found_nullable {
            return Ok(None);
        }
        *names += 1;
        // Not an alias of the relation: what a correlated query pulls up must pass.
        let query = asked.subquery.subquery.as_ref().clone();
        let found = Expr::Column(query.schema().columns().remove(0)).alias(format!("__in_{names}"));
        let query = LogicalPlanBuilder::from(query).project([found])?.build()?;
        let outer = asked.subquery.outer_ref_columns.clone();
        Ok(Some(Asked { schema, sought, sought_nullable, found_nullable, query, outer }))
    }

    fn found(&self) -> Expr {
        Expr::Column(self.query.schema().columns().remove(0))
    }

    /// Whether the subquery finds what is sought.
    fn equal(&self) -> Result<Expr> {
        let mut outer = self.outer.clone();
        let sought = self.sought.clone().transform(|inner| {
            Ok(match inner {
                Expr::Column(column) => {
                    let field = Arc::clone(self.schema.qualified_field_from_column(&column)?.1);
                    let reference = Expr::OuterReferenceColumn(field, column);
                    outer.push(reference.clone());
                    Transformed::yes(reference)
                }
                other => Transformed::no(other),
            })
        });
        Ok(exists(self.filtered(self.found().eq(sought.data()?))?, outer))
    }

    /// Whether the subquery finds a NULL.
    fn null_found(&self) -> Result<Expr> {
        Ok(exists(self.filtered(self.found().is_null())?, self.outer.clone()))
    }

    /// Whether the subquery finds anything.
    fn any(&self) -> Expr {
        exists(self.query.clone(), self.outer.clone())
    }

    fn filtered(&self, predicate: Expr) -> Result<LogicalPlan> {
        LogicalPlanBuilder::from(self.query.clone()).filter(predicate)?.build()
    }
}

fn exists(query: LogicalPlan, outer_ref_columns: Vec<Expr>) -> Expr {
    let subquery = Subquery { subquery: Arc::new(query), outer_ref_columns, spans: Spans::new() };
    Expr::Exists(Exists { subquery, negated: false })
}

/// Makes EXISTS in the select list a mark join.
#[derive(Debug)]
pub(super) struct SubqueriesOfProjections;

impl OptimizerRule for SubqueriesOfProjections {
    fn name(&self) -> &str {
        "subqueries_of_projections"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::TopDown)
    }

    fn supports_rewrite(&self) -> bool {
        true
    }

    fn rewrite(&self, plan: LogicalPlan, config: &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>> {
        let LogicalPlan::Projection(projection) = plan else { return Ok(Transformed::no(plan)) };
        if !projection.expr.iter().any(asks) {
            return Ok(Transformed::no(LogicalPlan::Projection(projection)));
        }
        let mut input = projection.input.as_ref().clone();
        let mut exprs = Vec::with_capacity(projection.expr.len());
        for expr in &projection.expr {
            if !asks(expr) {
                exprs.push(expr.clone());
                continue;
            }
            // DataFusion's rule knows conditions: what it makes of one about the value has the value in it.
            let filter = Filter::try_new(expr.clone().is_null(), Arc::new(input.clone()))?;
            let mut rewritten = DecorrelatePredicateSubquery::new().rewrite(LogicalPlan::Filter(filter), config)?.data;
            if let LogicalPlan::Projection(outer) = &rewritten {
                rewritten = outer.input.as_ref().clone();
            }
            match rewritten {
                LogicalPlan::Filter(Filter { predicate: Expr::IsNull(value), input: joined, .. }) if !asks(&value) => {
                    input = joined.as_ref().clone();
                    exprs.push(value.alias_if_changed(expr.schema_name().to_string())?);
                }
                _ => return Ok(Transformed::no(LogicalPlan::Projection(projection))),
            }
        }
        Ok(Transformed::yes(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input))?)))
    }
}

fn asks(expr: &Expr) -> bool {
    expr.exists(|inner| Ok(matches!(inner, Expr::Exists(_) | Expr::InSubquery(_)))).unwrap_or(false)
}
