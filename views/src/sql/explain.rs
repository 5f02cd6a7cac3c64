//! EXPLAIN: a plan as an indented tree, one operator a line, each followed by what it keeps and computes.

mod analyzed;
mod expr;
mod notice;
mod window;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::Arc;

use arrow::compute::SortOptions;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use headwater_dataflow::expr::{Recomputed, ScalarExpr};
use headwater_dataflow::plan::{Aggregate, AggregateFunc, BestGroups, BitFunc, Index, JoinKind, NodeId, Op, Plan};
use headwater_dataflow::quantile::{Quantile, QuantileFunc};
use headwater_dataflow::repr::CollectionId;

pub use analyzed::{Measured, explain_analyzed};
pub use notice::{Notice, notices};

use super::error::{SqlError, SqlErrorKind};
use super::plan::plan_view;
use super::read::{IndexLookup, plan_read};
use super::statement::ExplainTarget;
use super::{RelationKind, Relations};
use expr::show;

/// Answers EXPLAIN for a query, and for the name of a view that is inlined. Of a materialized view only its text's owner
/// knows the plan: give the text as a query. Places in errors are counted from the beginning of the query.
pub fn explain(target: &ExplainTarget, relations: &dyn Relations) -> Result<String, SqlError> {
    match target {
        ExplainTarget::Query(query) => {
            let as_view = plan_view(query, relations)?.explain;
            Ok(as_view + &read_lookups(query, relations))
        }
        ExplainTarget::Name(name) => match relations.relation(name).map(|relation| relation.kind) {
            Some(RelationKind::View { query }) => match plan_view(&query, relations) {
                Ok(view) => Ok(view.explain),
                Err(error) => Err(SqlError { position: None, ..error }),
            },
            // The catalog knows the plan of an index.
            Some(RelationKind::Index { of }) => Ok(format!("Index of {of}\n")),
            Some(RelationKind::Collection { append_only, .. }) => {
                let history = if append_only { "append-only" } else { "with retractions" };
                Ok(format!("Get {name} ({history})\n"))
            }
            None => Err(SqlError::new(SqlErrorKind::NotFound, format!("relation \"{name}\" does not exist"))),
        },
    }
}

/// Shows how an index is maintained. `names` has the name of what it is an index of.
pub(super) fn explain_index(index: &Index, plan: &Plan, names: &BTreeMap<CollectionId, String>) -> String {
    let schema = plan.schema();
    let key: Vec<&str> = schema.fields().iter().take(index.key).map(|field| field.name().as_str()).collect();
    format!("Index (arranged by {})\n{}", key.join(", "), tree(plan, names, None, 1))
}

/// What reads of a query look up, a line each.
fn read_lookups(query: &str, relations: &dyn Relations) -> String {
    let Ok(read) = plan_read(query, relations) else { return String::new() };
    let line = |lookup: &IndexLookup| {
        let count = lookup.keys.beginnings.len();
        let how = match (lookup.keys.whole, count) {
            (true, 1) => "1 key looked up, no scan".to_owned(),
            (true, _) => format!("{count} keys looked up, no scan"),
            (false, 1) => "scanned for 1 beginning of keys: its other columns have no values".to_owned(),
            (false, _) => format!("scanned for {count} beginnings of keys: its other columns have no values"),
        };
        format!("Read now: index {} ({how})\n", lookup.name)
    };
    read.lookups().values().map(line).collect()
}

/// Shows a plan. `names` has the names of the collections it reads. The same plan always gives the same text.
pub fn explain_plan(plan: &Plan, names: &BTreeMap<CollectionId, String>) -> String {
    tree(plan, names, None, 0)
}

/// The tree, `depth` levels to the right; `notes` has what stands behind each operator.
fn tree(plan: &Plan, names: &BTreeMap<CollectionId, String>, notes: Option<&[String]>, depth: usize) -> String {
    let mut uses = vec![0_usize; plan.nodes.len()];
    for node in &plan.nodes {
        node.op.inputs().iter().for_each(|input| uses[input.0] += 1);
    }
    let mut tree = Tree { plan, names, notes, uses, shown: BTreeSet::new(), out: String::new() };
    tree.node(plan.output(), depth);
    tree.out
}

struct Tree<'a> {
    plan: &'a Plan,
    names: &'a BTreeMap<CollectionId, String>,
    notes: Option<&'a [String]>,
    uses: Vec<usize>,
    shown: BTreeSet<NodeId>,
    out: String,
}

impl Tree<'_> {
    fn node(&mut self, id: NodeId, depth: usize) {
        let shared = self.uses[id.0] > 1 && !matches!(self.plan.node(id).op, Op::Get { .. } | Op::Constant { .. });
        if shared && !self.shown.insert(id) {
            self.line(depth, &format!("→ #{} (shown above)", id.0));
            return;
        }
        let mark = if shared { format!("#{} ", id.0) } else { String::new() };
        let head = self.head(&self.plan.node(id).op);
        let note = self.notes.map_or("", |notes| &notes[id.0]);
        self.line(depth, &format!("{mark}{head}{note}"));
        for detail in self.details(id) {
            self.line(depth + 2, &detail);
        }
        for input in self.plan.node(id).op.inputs() {
            self.node(input, depth + 1);
        }
    }

    fn line(&mut self, depth: usize, text: &str) {
        let _ = writeln!(self.out, "{:width$}{text}", "", width = depth * 2);
    }

    fn head(&self, op: &Op) -> String {
        match op {
            Op::Constant { rows } => format!("Constant ({} rows)", rows.len()),
            Op::Get { collection, append_only, .. } => {
                let name = self.name(*collection);
                format!("Get {name} (shared import, {})", if *append_only { "append-only" } else { "with retractions" })
            }
            Op::Mfp { filters, .. } => if filters.is_empty() { "Project" } else { "Filter and project" }.to_owned(),
            Op::Index { index, .. } => format!("Look up in index {} (shared arrangement)", self.name(*index)),
            Op::Join { left, right, kind, left_keys, .. } => {
                let kind = match kind {
                    JoinKind::Inner if left_keys.is_empty() => "Cross join",
                    JoinKind::Inner => "Join",
                    JoinKind::Left => "Left join",
                    JoinKind::Right => "Right join",
                    JoinKind::Full => "Full join",
                    JoinKind::LeftSemi => "Semi join",
                    JoinKind::LeftAnti => "Anti join",
                    JoinKind::LeftMark => "Mark join",
                };
                format!("{kind} ({})", self.sides(*left, *right))
            }
            Op::Reduce { .. } => "Reduce (private table)".to_owned(),
            Op::JoinReduce { .. } => "Reduce, aggregated below the join (private tables)".to_owned(),
            Op::Distinct { .. } => "Distinct (private table)".to_owned(),
            Op::Upsert { .. } => "Upsert (private table, the last record of each key)".to_owned(),
            Op::Unnest { .. } => "Unnest".to_owned(),
            Op::Window { functions, limit, .. } => match (limit, functions.is_empty()) {
                (Some(_), true) => "Top rows (private tree)".to_owned(),
                (Some(_), false) => "Window, top rows (private tree per partition)".to_owned(),
                (None, _) => "Window (private tree per partition)".to_owned(),
            },
            Op::Union { .. } => "Union".to_owned(),
        }
    }

    fn name(&self, collection: CollectionId) -> String {
        self.names.get(&collection).cloned().unwrap_or_else(|| collection.to_string())
    }

    /// What a join knows of its sides' rows.
    fn sides(&self, left: NodeId, right: NodeId) -> String {
        let index = |side: NodeId| match &self.plan.node(side).op {
            Op::Index { index, .. } => Some(format!("index {}", self.name(*index))),
            _ => None,
        };
        match (index(left), index(right)) {
            (None, None) => "private table per side".to_owned(),
            (Some(index), None) => format!("{index}, private table"),
            (None, Some(index)) => format!("private table, {index}"),
            (Some(left), Some(right)) => format!("{left}, {right}"),
        }
    }

    fn details(&self, id: NodeId) -> Vec<String> {
        let node = self.plan.node(id);
        let names = |id: NodeId| -> Vec<String> {
            self.plan.node(id).schema.fields().iter().map(|field| field.name().clone()).collect()
        };
        let mut details = Vec::new();
        match &node.op {
            Op::Constant { .. } | Op::Get { .. } | Op::Index { .. } => {
                details.push(format!("columns: {}", names(id).join(", ")))
            }
            Op::Mfp { input, filters, project } => {
                let columns = names(*input);
                if !filters.is_empty() {
                    details.push(format!("filter: {}", list(filters, &columns, " AND ")));
                }
                details.push(format!("project: {}", named_list(project, &columns)));
            }
            Op::Join { left, right, left_keys, right_keys, null_equals_null, filter, .. } => {
                let (left, right) = (names(*left), names(*right));
                let equal = if *null_equals_null { "IS NOT DISTINCT FROM" } else { "=" };
                let pair = |(a, b): (&ScalarExpr, &ScalarExpr)| {
                    format!("{} {equal} {}", show(&a.expr, &left), show(&b.expr, &right))
                };
                let keys: Vec<String> = left_keys.iter().zip(right_keys).map(pair).collect();
                if !keys.is_empty() {
                    details.push(format!("keys: {}", keys.join(", ")));
                }
                if let Some(filter) = filter {
                    details.push(format!("filter: {}", show(&filter.expr, &[left, right].concat())));
                }
            }
            Op::Reduce { input, keys, aggregates, append_only, best } => {
                let columns = names(*input);
                if keys.is_empty() {
                    details.push("one group".to_owned());
                } else {
                    details.push(format!("keys: {}", named_list(keys, &columns)));
                }
                for aggregate in aggregates {
                    details.push(aggregate_text(aggregate, &columns, *append_only));
                }
                details.extend(best.as_ref().map(|best| best_text(best, keys, aggregates)));
            }
            Op::JoinReduce { facts, partners, null_equals_null, aggregates, .. } => {
                let (fact_names, partner_names) = (names(facts.input), names(partners.input));
                let equal = if *null_equals_null { "IS NOT DISTINCT FROM" } else { "=" };
                let keys =
                    facts.keys.iter().zip(&partners.keys).map(|(a, b)| {
                        format!("{} {equal} {}", show(&a.expr, &fact_names), show(&b.expr, &partner_names))
                    });
                details.push(format!("join: {}", keys.collect::<Vec<_>>().join(", ")));
                details.push(format!("keys of the first input: {}", named_list(&facts.groups, &fact_names)));
                details.push(format!("keys of the second input: {}", named_list(&partners.groups, &partner_names)));
                for aggregate in aggregates {
                    details.push(aggregate_text(aggregate, &fact_names, false));
                }
            }
            Op::Upsert { input, keys, order } => {
                let columns = names(*input);
                let keys: Vec<&str> = keys.iter().map(|index| columns[*index].as_str()).collect();
                details.push(format!("key: {}", keys.join(", ")));
                let order = order.map_or_else(String::new, |index| format!("{}, then ", columns[index]));
                details.push(format!("order: {order}arrival"));
            }
            Op::Unnest { input, lists, structs, .. } => details.extend(unnest_texts(lists, structs, &names(*input))),
            Op::Window { input, partition, order, functions, limit } => {
                details.extend(window::details((partition, order), functions, *limit, &names(*input)));
            }
            Op::Distinct { .. } | Op::Union { .. } => {}
        }
        details
    }
}

/// Which groups leave, where only the first are of use.
fn best_text(best: &BestGroups, keys: &[ScalarExpr], aggregates: &[Aggregate]) -> String {
    let partition: Vec<&str> = best.partition.iter().map(|column| keys[*column].name.as_str()).collect();
    let of = if partition.is_empty() { String::new() } else { format!(" of each ({})", partition.join(", ")) };
    let direction = if best.descending { " descending" } else { "" };
    format!("leave: the first {}{of} by {}{direction}, and some to spare", best.rows, aggregates[best.aggregate].name)
}

/// The columns that an unnest takes apart.
fn unnest_texts(lists: &[usize], structs: &[usize], columns: &[String]) -> Vec<String> {
    let text = |kind: &str, indices: &[usize]| {
        let names: Vec<&str> = indices.iter().map(|index| columns[*index].as_str()).collect();
        (!names.is_empty()).then(|| format!("{kind}: {}", names.join(", ")))
    };
    text("lists", lists).into_iter().chain(text("structs", structs)).collect()
}

fn list(exprs: &[ScalarExpr], columns: &[String], separator: &str) -> String {
    exprs.iter().map(|expr| show(&expr.expr, columns)).collect::<Vec<_>>().join(separator)
}

/// Expressions, with the name of each where it is another than its text.
fn named_list(exprs: &[ScalarExpr], columns: &[String]) -> String {
    let named = exprs.iter().map(|expr| {
        let text = show(&expr.expr, columns);
        if text == expr.name { text } else { format!("{text} AS {}", expr.name) }
    });
    named.collect::<Vec<_>>().join(", ")
}

/// The name of an aggregate function.
fn function_name(func: &AggregateFunc) -> &str {
    match func {
        AggregateFunc::Count => "count",
        AggregateFunc::Sum => "sum",
        AggregateFunc::Avg => "avg",
        AggregateFunc::Min => "min",
        AggregateFunc::Max => "max",
        AggregateFunc::Bits(BitFunc::And) => "bit_and",
        AggregateFunc::Bits(BitFunc::Or) => "bit_or",
        AggregateFunc::Bits(BitFunc::Xor) => "bit_xor",
        AggregateFunc::Moment(moment) => moment.name(),
        AggregateFunc::ApproxDistinct => "approx_distinct",
        AggregateFunc::Quantile(quantile) | AggregateFunc::ApproxQuantile(quantile) => quantile.func().name(),
        AggregateFunc::Recomputed(function) => function.name(),
    }
}

/// An aggregate and how its answer is kept.
fn aggregate_text(aggregate: &Aggregate, columns: &[String], append_only: bool) -> String {
    match &aggregate.func {
        AggregateFunc::Quantile(quantile) | AggregateFunc::ApproxQuantile(quantile) => {
            return quantile_text(quantile, aggregate, columns, append_only);
        }
        AggregateFunc::Recomputed(function) => return recomputed_text(function, aggregate, columns),
        _ => {}
    }
    let function = function_name(&aggregate.func);
    let arg = if aggregate.args.is_empty() { "*".to_owned() } else { list(&aggregate.args, columns, ", ") };
    let distinct = if aggregate.distinct { "DISTINCT " } else { "" };
    let filter = aggregate.filter.as_ref().map(|filter| format!(" FILTER ({})", show(&filter.expr, columns)));
    let state = match &aggregate.func {
        AggregateFunc::Count | AggregateFunc::Sum | AggregateFunc::Avg if aggregate.distinct => "set per group",
        AggregateFunc::Bits(_) => "counts per bit",
        AggregateFunc::Moment(_) => "exact sums",
        AggregateFunc::Min | AggregateFunc::Max if !append_only => "multiset per group",
        AggregateFunc::Min | AggregateFunc::Max => "slot, append-only",
        AggregateFunc::Count | AggregateFunc::Sum | AggregateFunc::Avg => "slot",
        AggregateFunc::ApproxDistinct if append_only => "estimate per group, append-only",
        AggregateFunc::ApproxDistinct => "set per group",
        AggregateFunc::Quantile(_) | AggregateFunc::ApproxQuantile(_) | AggregateFunc::Recomputed(_) => {
            unreachable!("they are shown by themselves")
        }
    };
    format!("{function}({distinct}{arg}){} AS {} ({state})", filter.unwrap_or_default(), aggregate.name)
}

/// A median or percentile.
fn quantile_text(quantile: &Quantile, aggregate: &Aggregate, columns: &[String], append_only: bool) -> String {
    let distinct = if aggregate.distinct { "DISTINCT " } else { "" };
    let (name, arg) = (quantile.func().name(), list(&aggregate.args, columns, ", "));
    let (about, kept) = match aggregate.func {
        AggregateFunc::ApproxQuantile(_) if append_only => ("approx_", "estimate per group, append-only"),
        AggregateFunc::ApproxQuantile(_) => ("approx_", "values in order per group"),
        _ => ("", "values in order per group"),
    };
    let call = match quantile.func() {
        QuantileFunc::Median => format!("{name}({distinct}{arg})"),
        QuantileFunc::Continuous | QuantileFunc::Discrete => {
            let direction = if quantile.descending() { " DESC" } else { "" };
            format!("{about}{name}({distinct}{}) WITHIN GROUP (ORDER BY {arg}{direction})", quantile.fraction())
        }
    };
    let filter = aggregate.filter.as_ref().map(|filter| format!(" FILTER ({})", show(&filter.expr, columns)));
    format!("{call}{} AS {} ({kept})", filter.unwrap_or_default(), aggregate.name)
}

/// An argument over the columns of a kept row, which are `args` over the input.
fn kept_text(expr: &Arc<dyn PhysicalExpr>, args: &[ScalarExpr], columns: &[String]) -> String {
    match expr.downcast_ref::<Column>() {
        Some(column) => show(&args[column.index()].expr, columns),
        None => show(expr, columns),
    }
}

/// An aggregate that is answered from all rows of its group.
fn recomputed_text(function: &Recomputed, aggregate: &Aggregate, columns: &[String]) -> String {
    let distinct = if function.is_distinct() { "DISTINCT " } else { "" };
    let shown = |expr: &Arc<dyn PhysicalExpr>| kept_text(expr, &aggregate.args, columns);
    let args: Vec<String> = function.args().iter().map(shown).collect();
    let direction = |options: SortOptions| match (options.descending, options.nulls_first) {
        (false, false) => "",
        (false, true) => " NULLS FIRST",
        (true, true) => " DESC",
        (true, false) => " DESC NULLS LAST",
    };
    let order: Vec<String> =
        function.order().iter().map(|key| format!("{}{}", shown(&key.expr), direction(key.options))).collect();
    let order = if order.is_empty() { String::new() } else { format!(" ORDER BY {}", order.join(", ")) };
    let filter = aggregate.filter.as_ref().map(|filter| format!(" FILTER ({})", show(&filter.expr, columns)));
    format!(
        "{}({distinct}{}{order}){} AS {} (rows per group, recomputed when one of them changes)",
        function.name(),
        args.join(", "),
        filter.unwrap_or_default(),
        aggregate.name
    )
}
