//! Builds the list of nodes: fuses neighbours, reads only the columns that are used, and builds equal parts once.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, Literal};
use headwater_dataflow::expr::ScalarExpr;
use headwater_dataflow::plan::{
    Aggregate, EmptyLists, JoinKind, NodeId, Op, OrderBy, Places, Plan, RowLimit, WindowCall, WindowFunction,
};
use headwater_dataflow::repr::{CollectionId, Delta};

use super::bind;

/// The nodes so far.
#[derive(Default)]
pub(super) struct Nodes {
    plan: Plan,
    append_only: Vec<bool>,
}

impl Nodes {
    /// The columns of a node.
    pub(super) fn schema(&self, node: NodeId) -> SchemaRef {
        Arc::clone(&self.plan.node(node).schema)
    }

    /// Whether a node never retracts, as far as the plan can tell.
    pub(super) fn append_only(&self, node: NodeId) -> bool {
        self.append_only[node.0]
    }

    /// All columns of a node, as expressions over it.
    pub(super) fn columns(&self, node: NodeId) -> Vec<ScalarExpr> {
        let schema = &self.plan.node(node).schema;
        (0..schema.fields().len()).map(|index| bind::column(schema, index)).collect()
    }

    pub(super) fn constant(&mut self, rows: RecordBatch) -> NodeId {
        let schema = rows.schema();
        self.push(Op::Constant { rows: Delta::insert(rows) }, schema, true)
    }

    /// Reads `columns` of a collection; one more if there are none, because a batch needs a column.
    pub(super) fn get(
        &mut self,
        collection: CollectionId,
        schema: &Schema,
        mut columns: Vec<usize>,
        append_only: bool,
    ) -> NodeId {
        if columns.is_empty() && !schema.fields().is_empty() {
            columns.push(narrowest(schema, 0..schema.fields().len()));
        }
        let fields: Vec<Arc<Field>> = columns.iter().map(|column| Arc::clone(&schema.fields()[*column])).collect();
        self.push(Op::Get { collection, columns, append_only }, Arc::new(Schema::new(fields)), append_only)
    }

    /// Filters and projects, together with what the input does of the kind.
    pub(super) fn mfp(&mut self, input: NodeId, filters: Vec<ScalarExpr>, project: Vec<ScalarExpr>) -> NodeId {
        let (mut input, mut filters, mut project) = (input, filters, project);
        while let Op::Mfp { input: below, filters: earlier, project: columns } = &self.plan.node(input).op {
            if !can_inline(columns, filters.iter().chain(&project)) {
                break;
            }
            let inlined = filters.iter().map(|filter| inline(filter, columns)).collect::<Vec<_>>();
            let (below, earlier) = (*below, earlier.clone());
            project = project.iter().map(|expr| inline(expr, columns)).collect();
            filters = earlier.into_iter().chain(inlined).collect();
            input = below;
        }
        let input = self.limited(input, &filters);
        let input = self.narrow(input, &mut [&mut filters, &mut project]);
        if filters.is_empty() && is_identity(&project, self.plan.node(input).schema.fields().len()) {
            return input;
        }
        self.push_mfp(input, filters, project)
    }

    /// Projects with exactly the names and types of `project`, also where only a name changes.
    pub(super) fn project(&mut self, input: NodeId, project: Vec<ScalarExpr>) -> NodeId {
        let node = self.plan.node(input);
        let schema = Arc::new(Schema::new(project.iter().map(bind::field).collect::<Vec<_>>()));
        let only_renames = is_identity(&project, node.schema.fields().len());
        let append_only = self.append_only(input);
        match node.op.clone() {
            Op::Mfp { input: below, filters, project: columns } if can_inline(&columns, project.iter()) => {
                let project = project.iter().map(|expr| inline(expr, &columns)).collect();
                self.push_mfp(below, filters, project)
            }
            op @ Op::Get { .. } if only_renames => self.push(op, schema, append_only),
            Op::Reduce { input: below, mut keys, mut aggregates, append_only: growing, best } if only_renames => {
                let names = project.iter().map(|expr| &expr.name);
                let old = keys.iter_mut().map(|key| &mut key.name).chain(aggregates.iter_mut().map(|a| &mut a.name));
                old.zip(names).for_each(|(old, name)| old.clone_from(name));
                let op = Op::Reduce { input: below, keys, aggregates, append_only: growing, best };
                self.push(op, schema, append_only)
            }
            _ => self.push_mfp(input, Vec::new(), project),
        }
    }

    fn push_mfp(&mut self, input: NodeId, filters: Vec<ScalarExpr>, project: Vec<ScalarExpr>) -> NodeId {
        if let Some(rows) = self.fold(input, &filters, &project) {
            return self.constant(rows);
        }
        let schema = Arc::new(Schema::new(project.iter().map(bind::field).collect::<Vec<_>>()));
        let append_only = self.append_only(input);
        self.push(Op::Mfp { input, filters, project }, schema, append_only)
    }

    pub(super) fn distinct(&mut self, input: NodeId) -> NodeId {
        if matches!(self.plan.node(input).op, Op::Distinct { .. }) {
            return input;
        }
        let (schema, append_only) = (self.schema(input), self.append_only(input));
        self.push(Op::Distinct { input }, schema, append_only)
    }

    /// Lists as rows, structs as columns; the output's columns are those of `schema`.
    pub(super) fn unnest(
        &mut self,
        input: NodeId,
        (lists, structs): (Vec<usize>, Vec<usize>),
        empty: EmptyLists,
        schema: SchemaRef,
    ) -> NodeId {
        let append_only = self.append_only(input);
        self.push(Op::Unnest { input, lists, structs, empty }, schema, append_only)
    }

    /// All rows of all inputs, whose columns have the types of `schema`.
    pub(super) fn union(&mut self, inputs: Vec<NodeId>, schema: &Schema) -> NodeId {
        let nullable =
            |index: usize| inputs.iter().any(|input| self.plan.node(*input).schema.field(index).is_nullable());
        let fields: Vec<Field> = schema
            .fields()
            .iter()
            .enumerate()
            .map(|(index, field)| Field::new(field.name(), field.data_type().clone(), nullable(index)))
            .collect();
        let append_only = inputs.iter().all(|input| self.append_only(*input));
        self.push(Op::Union { inputs }, Arc::new(Schema::new(fields)), append_only)
    }

    /// Joins. `filter` may only be given for inner joins.
    pub(super) fn join(
        &mut self,
        (left, right): (NodeId, NodeId),
        kind: JoinKind,
        (left_keys, right_keys): (Vec<ScalarExpr>, Vec<ScalarExpr>),
        null_equals_null: bool,
        filter: Option<ScalarExpr>,
    ) -> NodeId {
        let (left_schema, right_schema) = (self.schema(left), self.schema(right));
        let fields_of = |schema: &SchemaRef, nullable: bool| -> Vec<Arc<Field>> {
            let field = |field: &Arc<Field>| {
                let nullable = nullable || field.is_nullable();
                Arc::new(field.as_ref().clone().with_nullable(nullable))
            };
            schema.fields().iter().map(field).collect()
        };
        let mut fields = fields_of(&left_schema, kind.keeps_right());
        if kind.pairs() {
            fields.extend(fields_of(&right_schema, kind.keeps_left()));
        } else if kind == JoinKind::LeftMark {
            fields.push(Arc::new(Field::new("mark", DataType::Boolean, false)));
        }
        // What is kept or marked for want of a partner changes when one comes.
        let grows = matches!(kind, JoinKind::Inner | JoinKind::LeftSemi);
        let append_only = grows && self.append_only(left) && self.append_only(right);
        let schema = Arc::new(Schema::new(fields));
        let op = Op::Join { left, right, kind, left_keys, right_keys, null_equals_null, filter };
        self.push(op, schema, append_only)
    }

    /// Groups. What the input only projects is computed by the group's own expressions.
    pub(super) fn reduce(&mut self, input: NodeId, keys: Vec<ScalarExpr>, aggregates: Vec<Aggregate>) -> NodeId {
        let (mut input, mut keys, mut aggregates) = (input, keys, aggregates);
        while let Op::Mfp { input: below, filters, project } = &self.plan.node(input).op {
            let uses = keys.iter().chain(aggregates.iter().flat_map(|a| a.args.iter().chain(&a.filter)));
            if !filters.is_empty() || !can_inline(project, uses) {
                break;
            }
            keys = keys.iter().map(|key| inline(key, project)).collect();
            for aggregate in &mut aggregates {
                aggregate.args.iter_mut().for_each(|arg| *arg = inline(arg, project));
                aggregate.filter = aggregate.filter.as_ref().map(|filter| inline(filter, project));
            }
            input = *below;
        }
        let mut args: Vec<ScalarExpr> = Vec::new();
        for aggregate in &aggregates {
            args.extend(aggregate.args.iter().chain(&aggregate.filter).cloned());
        }
        let input = self.narrow(input, &mut [&mut keys, &mut args]);
        let mut args = args.into_iter();
        for part in aggregates.iter_mut().flat_map(|aggregate| aggregate.args.iter_mut().chain(&mut aggregate.filter)) {
            *part = args.next().expect("one each");
        }
        let fields: Vec<Arc<Field>> = keys.iter().map(bind::field).chain(aggregates.iter().map(output_field)).collect();
        let append_only = self.append_only(input);
        let op = Op::Reduce { input, keys, aggregates, append_only, best: None };
        self.push(op, Arc::new(Schema::new(fields)), false)
    }

    /// Rows in order: all, or those that `limit` lets out, with one more column a function.
    pub(super) fn window(
        &mut self,
        input: NodeId,
        partition: Vec<ScalarExpr>,
        order: Vec<OrderBy>,
        functions: Vec<WindowFunction>,
        limit: Option<RowLimit>,
    ) -> NodeId {
        let added = functions.iter().map(|function| {
            let ranks = matches!(
                function.call,
                WindowCall::RowNumber | WindowCall::Rank | WindowCall::DenseRank | WindowCall::Ntile(_)
            );
            Arc::new(Field::new(&function.name, function.data_type.clone(), !ranks))
        });
        let fields: Vec<Arc<Field>> = self.schema(input).fields().iter().cloned().chain(added).collect();
        let op = Op::Window { input, partition, order, functions, limit };
        self.push(op, Arc::new(Schema::new(fields)), false)
    }

    /// If `filters` keep only rows up to some number or rank of a window's order, the window lets out no others.
    fn limited(&mut self, input: NodeId, filters: &[ScalarExpr]) -> NodeId {
        let Op::Window { input: below, partition, order, functions, limit: None } = &self.plan.node(input).op else {
            return input;
        };
        let first = self.plan.node(*below).schema.fields().len();
        let last = |places: Places| {
            let counts = |column: usize| {
                let function = column.checked_sub(first).and_then(|function| functions.get(function));
                function.is_some_and(|function| places_of(&function.call) == Some(places))
            };
            let fetch = filters.iter().filter_map(|filter| bind::at_most(filter, &counts)).min()?;
            Some(RowLimit { places, offset: 0, fetch: Some(fetch.max(0)) })
        };
        // Of the same number fewest rows leave.
        let limit = [Places::Rows, Places::FirstPeers, Places::Groups].into_iter().find_map(last);
        if limit.is_none() {
            return input;
        }
        let (below, partition, order, functions) = (*below, partition.clone(), order.clone(), functions.clone());
        self.window(below, partition, order, functions, limit)
    }

    /// The plan of `output` alone, which comes last.
    pub(super) fn finish(self, output: NodeId) -> Plan {
        let mut needed = vec![false; self.plan.nodes.len()];
        needed[output.0] = true;
        for index in (0..=output.0).rev() {
            if needed[index] {
                self.plan.nodes[index].op.inputs().iter().for_each(|input| needed[input.0] = true);
            }
        }
        let mut plan = Plan::default();
        let mut moved: BTreeMap<NodeId, NodeId> = BTreeMap::new();
        for (index, node) in self.plan.nodes.into_iter().enumerate().take(output.0 + 1) {
            if needed[index] {
                moved.insert(NodeId(index), plan.push(node.op.with_inputs(|id| moved[&id]), node.schema));
            }
        }
        plan
    }

    /// Adds a node, or finds the one that does the same.
    fn push(&mut self, op: Op, schema: SchemaRef, append_only: bool) -> NodeId {
        let known = self.plan.nodes.iter().position(|node| node.schema == schema && same(&node.op, &op));
        if let Some(index) = known {
            return NodeId(index);
        }
        self.append_only.push(append_only);
        self.plan.push(op, schema)
    }

    /// If `input` reads a collection, reads only the columns that `uses` need and renumbers these.
    fn narrow(&mut self, input: NodeId, uses: &mut [&mut Vec<ScalarExpr>]) -> NodeId {
        let node = self.plan.node(input);
        let Op::Get { collection, columns, append_only } = &node.op else { return input };
        let mut used = vec![false; columns.len()];
        for expr in uses.iter().flat_map(|exprs| exprs.iter()) {
            visit_columns(&expr.expr, &mut |index| used[index] = true);
        }
        let mut kept: Vec<usize> = (0..columns.len()).filter(|index| used[*index]).collect();
        if kept.is_empty() && !columns.is_empty() {
            kept.push(narrowest(&node.schema, 0..columns.len()));
        }
        if kept.len() == columns.len() {
            return input;
        }
        let fields: Vec<Arc<Field>> = kept.iter().map(|index| Arc::clone(&node.schema.fields()[*index])).collect();
        let schema = Arc::new(Schema::new(fields));
        let columns = kept.iter().map(|index| columns[*index]).collect();
        let (collection, append_only) = (*collection, *append_only);
        let renumbered: BTreeMap<usize, usize> = kept.iter().enumerate().map(|(new, old)| (*old, new)).collect();
        for expr in uses.iter_mut().flat_map(|exprs| exprs.iter_mut()) {
            expr.expr = replace_columns(&expr.expr, &|column| {
                Arc::new(Column::new(column.name(), renumbered.get(&column.index()).copied().unwrap_or_default()))
            });
        }
        self.push(Op::Get { collection, columns, append_only }, schema, append_only)
    }

    /// The result of a filter and projection over rows that never change, if it can be computed.
    fn fold(&self, input: NodeId, filters: &[ScalarExpr], project: &[ScalarExpr]) -> Option<RecordBatch> {
        let Op::Constant { rows } = &self.plan.node(input).op else { return None };
        let mut rows = rows.rows.clone();
        for filter in filters {
            let mask = filter.expr.evaluate(&rows).ok()?.into_array(rows.num_rows()).ok()?;
            let mask = mask.as_any().downcast_ref::<arrow::array::BooleanArray>()?;
            rows = arrow::compute::filter_record_batch(&rows, mask).ok()?;
        }
        let columns = project
            .iter()
            .map(|expr| expr.expr.evaluate(&rows)?.into_array(rows.num_rows()))
            .collect::<Result<Vec<ArrayRef>, _>>()
            .ok()?;
        RecordBatch::try_new(Arc::new(Schema::new(project.iter().map(bind::field).collect::<Vec<_>>())), columns).ok()
    }
}

/// The column of `candidates` that costs least to read.
fn narrowest(schema: &Schema, candidates: std::ops::Range<usize>) -> usize {
    let width = |index: &usize| schema.field(*index).data_type().primitive_width().unwrap_or(usize::MAX);
    candidates.min_by_key(width).unwrap_or_default()
}

fn output_field(aggregate: &Aggregate) -> Arc<Field> {
    Arc::new(Field::new(&aggregate.name, aggregate.data_type.clone(), aggregate.nullable()))
}

/// Whether every one of `columns` that has to be computed is used at most once, so that inlining repeats no work.
fn can_inline<'a>(columns: &[ScalarExpr], uses: impl Iterator<Item = &'a ScalarExpr>) -> bool {
    let mut counts = vec![0_usize; columns.len()];
    uses.for_each(|expr| visit_columns(&expr.expr, &mut |index| counts[index] += 1));
    columns.iter().zip(counts).all(|(column, count)| count <= 1 || is_trivial(&column.expr))
}

fn is_trivial(expr: &Arc<dyn PhysicalExpr>) -> bool {
    expr.downcast_ref::<Column>().is_some() || expr.downcast_ref::<Literal>().is_some()
}

fn is_identity(project: &[ScalarExpr], width: usize) -> bool {
    project.len() == width
        && project
            .iter()
            .enumerate()
            .all(|(index, expr)| expr.expr.downcast_ref::<Column>().is_some_and(|column| column.index() == index))
}

/// Calls `visit` with every column that `expr` reads.
pub(super) fn visit_columns(expr: &Arc<dyn PhysicalExpr>, visit: &mut dyn FnMut(usize)) {
    expr.apply(|inner| {
        if let Some(column) = inner.downcast_ref::<Column>() {
            visit(column.index());
        }
        Ok(TreeNodeRecursion::Continue)
    })
    .expect("the visitor never fails");
}

/// `expr` with every column replaced by an expression of the same type.
pub(super) fn replace_columns(
    expr: &Arc<dyn PhysicalExpr>,
    replace: &dyn Fn(&Column) -> Arc<dyn PhysicalExpr>,
) -> Arc<dyn PhysicalExpr> {
    Arc::clone(expr)
        .transform_up(|inner| {
            Ok(match inner.downcast_ref::<Column>() {
                Some(column) => Transformed::yes(replace(column)),
                None => Transformed::no(inner),
            })
        })
        .data()
        .expect("replacing a column by an expression of its type keeps every expression valid")
}

/// `expr` over what `columns` are computed from.
fn inline(expr: &ScalarExpr, columns: &[ScalarExpr]) -> ScalarExpr {
    ScalarExpr {
        expr: replace_columns(&expr.expr, &|column| Arc::clone(&columns[column.index()].expr)),
        ..expr.clone()
    }
}

/// Whether two operators do the same to the same inputs.
fn same(a: &Op, b: &Op) -> bool {
    match (a, b) {
        (Op::Constant { rows: a }, Op::Constant { rows: b }) => a.rows == b.rows,
        (
            Op::Get { collection: a, columns: ac, append_only: aa },
            Op::Get { collection: b, columns: bc, append_only: ba },
        ) => a == b && ac == bc && aa == ba,
        (Op::Mfp { input: a, filters: af, project: ap }, Op::Mfp { input: b, filters: bf, project: bp }) => {
            a == b && same_exprs(af, bf) && same_exprs(ap, bp)
        }
        (
            Op::Join {
                left: al,
                right: ar,
                kind: ak,
                left_keys: alk,
                right_keys: ark,
                null_equals_null: an,
                filter: af,
            },
            Op::Join {
                left: bl,
                right: br,
                kind: bk,
                left_keys: blk,
                right_keys: brk,
                null_equals_null: bn,
                filter: bf,
            },
        ) => {
            al == bl
                && ar == br
                && ak == bk
                && an == bn
                && same_exprs(alk, blk)
                && same_exprs(ark, brk)
                && same_exprs(af.as_slice(), bf.as_slice())
        }
        (
            Op::Reduce { input: a, keys: ak, aggregates: aa, append_only: ao, best: abest },
            Op::Reduce { input: b, keys: bk, aggregates: ba, append_only: bo, best: bbest },
        ) => {
            let aggregates = || aa.len() == ba.len() && aa.iter().zip(ba).all(same_aggregate);
            a == b && ao == bo && abest == bbest && same_exprs(ak, bk) && aggregates()
        }
        (Op::Distinct { input: a }, Op::Distinct { input: b }) => a == b,
        (
            Op::Unnest { input: a, lists: al, structs: ast, empty: ae },
            Op::Unnest { input: b, lists: bl, structs: bs, empty: be },
        ) => a == b && al == bl && ast == bs && ae == be,
        (Op::Union { inputs: a }, Op::Union { inputs: b }) => a == b,
        _ => false,
    }
}

fn same_exprs(a: &[ScalarExpr], b: &[ScalarExpr]) -> bool {
    a.len() == b.len()
        && a.iter()
            .zip(b)
            .all(|(a, b)| a.expr.as_ref() == b.expr.as_ref() && a.name == b.name && a.data_type == b.data_type)
}

fn same_aggregate((a, b): (&Aggregate, &Aggregate)) -> bool {
    a.func == b.func
        && a.distinct == b.distinct
        && a.name == b.name
        && a.data_type == b.data_type
        && same_exprs(&a.args, &b.args)
        && same_exprs(a.filter.as_slice(), b.filter.as_slice())
}

/// What a function counts, if it numbers rows from the first of a partition.
fn places_of(call: &WindowCall) -> Option<Places> {
    match call {
        WindowCall::RowNumber => Some(Places::Rows),
        WindowCall::Rank => Some(Places::FirstPeers),
        WindowCall::DenseRank => Some(Places::Groups),
        _ => None,
    }
}
