//! OFFSET without LIMIT, for reads. DataFusion's physical planner moves the order that something above asks for below an
//! OFFSET, and so skips other rows; it does not where there is a LIMIT too.

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult};
use datafusion::logical_expr::{Limit, LogicalPlan, SkipType, lit};
use datafusion::optimizer::analyzer::AnalyzerRule;

/// Gives every OFFSET a LIMIT that nothing reaches.
#[derive(Debug)]
pub(super) struct LimitedOffsets;

impl AnalyzerRule for LimitedOffsets {
    fn name(&self) -> &str {
        "limited_offsets"
    }

    fn analyze(&self, plan: LogicalPlan, _config: &ConfigOptions) -> Result<LogicalPlan> {
        plan.transform_up_with_subqueries(|node| match node {
            LogicalPlan::Limit(Limit { skip: Some(skip), fetch: None, input }) => {
                let limit = Limit { skip: Some(skip), fetch: None, input };
                let fetch = match limit.get_skip_type()? {
                    // The sum of both is computed.
                    SkipType::Literal(skip) => i64::try_from(skip).ok().map(|skip| Box::new(lit(i64::MAX - skip))),
                    SkipType::UnsupportedExpr => None,
                };
                let changed = fetch.is_some();
                let node = LogicalPlan::Limit(Limit { fetch, ..limit });
                Ok(if changed { Transformed::yes(node) } else { Transformed::no(node) })
            }
            other => Ok(Transformed::no(other)),
        })
        .data()
    }
}
