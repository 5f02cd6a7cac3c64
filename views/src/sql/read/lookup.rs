//! Look-ups of reads: where a query wants only the rows of some values of an index's first columns, only those are fetched.
//!
//! What is fetched may be more than the query wants, never less: its conditions are evaluated all the same.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::ArrayRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, LogicalPlan, Operator};
use headwater_dataflow::plan::Index;
use headwater_dataflow::protocol::IndexKeys;
use headwater_dataflow::repr::{CollectionId, Row, RowCodec};

use crate::sql::provider::CollectionSource;
use crate::sql::{NamedIndex, Relations};

/// Beyond so many keys all rows are fetched.
const KEYS_MAX: usize = 1_000;

/// What of a collection a read wants, by an index.
#[derive(Clone, Debug)]
pub struct IndexLookup {
    /// The name of the index.
    pub name: String,
    /// The rows of the index.
    pub index: CollectionId,
    /// Which rows of the index are wanted.
    pub keys: IndexKeys,
    /// Where each column of the collection stands in those rows.
    pub columns: Vec<usize>,
}

/// How the collections of an optimised plan are looked up, those of which all rows are needed left out.
pub(super) fn lookups(plan: &LogicalPlan, relations: &dyn Relations) -> Result<BTreeMap<CollectionId, IndexLookup>> {
    let mut scans: BTreeMap<CollectionId, usize> = BTreeMap::new();
    let mut wanted: BTreeMap<CollectionId, Vec<Wanted>> = BTreeMap::new();
    plan.apply_with_subqueries(|node| {
        match node {
            LogicalPlan::TableScan(scan) => {
                if let Some(source) = scan.source.downcast_ref::<CollectionSource>() {
                    *scans.entry(source.collection).or_default() += 1;
                }
            }
            LogicalPlan::Filter(filter) => {
                if let LogicalPlan::TableScan(scan) = filter.input.as_ref()
                    && let Some(source) = scan.source.downcast_ref::<CollectionSource>()
                {
                    let conditions = split_conjunction(&filter.predicate);
                    let values = conditions.into_iter().filter_map(|condition| values(condition, source)).collect();
                    wanted.entry(source.collection).or_default().push(values);
                }
            }
            _ => {}
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    let mut found = BTreeMap::new();
    for (collection, wanted) in wanted {
        // All places that read the collection read the same rows: each must know what it wants.
        if scans.get(&collection) != Some(&wanted.len()) {
            continue;
        }
        let lookups = relations.indexes(collection).into_iter().filter_map(|index| lookup(index, &wanted));
        // Whole keys are looked up. Else, the more columns say which rows are wanted, the fewer these are.
        if let Some((_, lookup)) = lookups.max_by_key(|(columns, lookup)| (lookup.keys.whole, *columns)) {
            found.insert(collection, lookup);
        }
    }
    Ok(found)
}

/// What one place wants: columns and their values.
type Wanted = Vec<(usize, Vec<ScalarValue>)>;

/// A look-up that serves all places, and how many columns of the index each of them knows at least.
fn lookup(NamedIndex { name, index }: NamedIndex, wanted: &[Wanted]) -> Option<(usize, IndexLookup)> {
    let mut keys: BTreeSet<Row> = BTreeSet::new();
    let known = wanted.iter().map(|wanted| known(&index, wanted)).min()?;
    if known == 0 {
        return None;
    }
    for wanted in wanted {
        keys.extend(beginnings(&index.columns[..known], wanted)?);
    }
    let place = |column: usize| index.columns.iter().position(|kept| *kept == column);
    let columns = (0..index.columns.len()).map(place).collect::<Option<_>>()?;
    if keys.len() > KEYS_MAX {
        return None;
    }
    let keys = IndexKeys { beginnings: keys.into_iter().collect(), whole: known == index.key };
    Some((known, IndexLookup { name, index: index.rows, keys, columns }))
}

/// How many of the first columns of the index have values.
fn known(index: &Index, wanted: &Wanted) -> usize {
    let key = &index.columns[..index.key];
    key.iter().take_while(|column| wanted.iter().any(|(known, _)| known == *column)).count()
}

/// What rows begin with that have any combination of the wanted values in `columns`.
fn beginnings(columns: &[usize], wanted: &Wanted) -> Option<Vec<Row>> {
    let mut combinations: Vec<Vec<ScalarValue>> = vec![Vec::new()];
    for column in columns {
        let (_, values) = wanted.iter().find(|(known, _)| known == column)?;
        if combinations.len().checked_mul(values.len())? > KEYS_MAX {
            return None;
        }
        let more = |begun: &Vec<ScalarValue>| {
            values.iter().map(|value| begun.iter().chain([value]).cloned().collect()).collect::<Vec<Vec<_>>>()
        };
        combinations = combinations.iter().flat_map(more).collect();
    }
    let encode = |values: &Vec<ScalarValue>| {
        let columns: Vec<ArrayRef> = values.iter().map(|value| value.to_array().ok()).collect::<Option<_>>()?;
        let codec = RowCodec::new(columns.iter().map(|column| column.data_type())).ok()?;
        Some(Row::new(codec.encode(&columns).ok()?.get(0)))
    };
    combinations.iter().map(encode).collect()
}

/// The column of which a condition says that it has one of some values, and these.
fn values(condition: &Expr, source: &CollectionSource) -> Option<(usize, Vec<ScalarValue>)> {
    match condition {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) => match (left.as_ref(), right.as_ref()) {
            (Expr::Column(_), Expr::Literal(..)) => one(left, right, source),
            (Expr::Literal(..), Expr::Column(_)) => one(right, left, source),
            _ => None,
        },
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            let ((column, mut values), (other, more)) = (values(left, source)?, values(right, source)?);
            values.extend(more);
            (column == other).then_some((column, values))
        }
        Expr::InList(InList { expr, list, negated: false }) => {
            let found = list.iter().map(|value| one(expr, value, source)).collect::<Option<Vec<_>>>()?;
            let column = found.first()?.0;
            Some((column, found.into_iter().flat_map(|(_, values)| values).collect()))
        }
        _ => None,
    }
}

/// A column and a literal as a value of it.
fn one(column: &Expr, literal: &Expr, source: &CollectionSource) -> Option<(usize, Vec<ScalarValue>)> {
    let (Expr::Column(column), Expr::Literal(value, _)) = (column, literal) else { return None };
    let (position, field) = source.schema.column_with_name(&column.name)?;
    // Floats that are equal need not have the same bits; NULL equals nothing.
    if value.is_null() || field.data_type().is_floating() {
        return None;
    }
    let cast = value.cast_to(field.data_type()).ok()?;
    let same =
        cast.data_type() == value.data_type() || cast.cast_to(&value.data_type()).is_ok_and(|back| back == *value);
    same.then(|| (position, vec![cast]))
}
