//! Writes: what `INSERT`, `UPDATE`, `DELETE` and `COPY` do to a table, as rows that go and rows that come.
//!
//! Literal rows are at hand when the statement has been planned. Everything else is a read, of which [`Completion`] makes
//! rows of the table: an UPDATE reads the rows that match, each followed by its new values.

mod assign;
mod copy;
mod literal;
mod target;

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, SchemaRef};
use datafusion::sql::sqlparser::ast::{
    Assignment, AssignmentTarget, ConflictTarget, Delete, Expr, FromTable, Ident, Insert, OnConflictAction, OnInsert,
    Query, Select, SelectItem, SetExpr, Statement as Ast, TableWithJoins, Update,
};
use headwater_dataflow::plan::{Op, Plan};
use headwater_dataflow::repr::{CollectionId, ObjectId};

use self::assign::complete;
use self::target::{columns_of, find_column, is_default};
use super::error::SqlError;
use super::explain::explain_plan;
use super::locate::Text;
use super::plan::PlannedView;
use super::read::{PlannedRead, plan_statement};
use super::statement::write::{Action, folded};
use super::{Relation, RelationKind, Relations, Write};

pub(super) use self::literal::check_default;

/// A table as its `CREATE TABLE` declares it.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Its name.
    pub name: String,
    /// Its columns; those of the key are NOT NULL.
    pub schema: SchemaRef,
    /// The columns of the key, by position; none if there is no key.
    pub key: Vec<usize>,
    /// The text of each column's default.
    pub defaults: Vec<Option<String>>,
}

/// How the rows of a table are maintained: its log, whose rows come and go, is arranged. It is a materialised view that
/// nobody wrote.
pub fn plan_table(object: ObjectId, table: &Table) -> PlannedView {
    let mut plan = Plan::default();
    let (collection, columns) = (object.rows(), (0..table.schema.fields().len()).collect());
    plan.push(Op::Get { collection, columns, append_only: false }, Arc::clone(&table.schema));
    let names = std::collections::BTreeMap::from([(collection, format!("what was written into {}", table.name))]);
    PlannedView {
        schema: Arc::clone(&table.schema),
        imports: vec![collection],
        reads: Vec::new(),
        append_only: false,
        explain: explain_plan(&plan, &names),
        names,
        plan,
    }
}

/// What kind of statement writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteKind {
    /// Rows come.
    Insert,
    /// Rows get other values.
    Update,
    /// Rows go.
    Delete,
    /// Rows come, as lines behind the statement.
    Copy,
}

/// A statement that writes, ready to be carried out.
#[derive(Debug)]
pub struct PlannedWrite {
    /// What kind it is.
    pub kind: WriteKind,
    /// Which rows it concerns.
    pub rows: RowsOf,
    /// What becomes of a row whose key is taken.
    pub on_conflict: OnConflict,
}

/// Where the rows of a write come from.
#[derive(Debug)]
pub enum RowsOf {
    /// They are at hand, whole.
    Values(RecordBatch),
    /// A query gives them.
    Query(Box<PlannedRead>, Completion),
}

/// What becomes of a row whose key is taken.
#[derive(Debug)]
pub enum OnConflict {
    /// The statement fails.
    Refuse,
    /// The row is left out.
    Skip,
    /// The row that is there gets other values: the read is over the table, of which the rows concerned suffice, and over
    /// [`EXCLUDED`].
    Update(Box<PlannedRead>, Completion),
}

/// The rows that could not be inserted, in the read of [`OnConflict::Update`].
pub const EXCLUDED: ObjectId = ObjectId(u64::MAX);

/// Rows that go and rows that come.
#[derive(Clone, Debug, Default)]
pub struct Written {
    /// Rows that go.
    pub old: Option<RecordBatch>,
    /// Rows that come.
    pub new: Option<RecordBatch>,
}

/// How the answer of a read becomes rows of a table.
#[derive(Clone, Debug)]
pub struct Completion {
    table: Arc<Table>,
    shape: Shape,
}

/// What the columns of the answer are.
#[derive(Clone, Debug)]
enum Shape {
    /// Values of these columns, of rows that come.
    New(Vec<usize>),
    /// Rows that go.
    Old,
    /// Rows that go, followed by the new values of these columns.
    OldAndNew(Vec<usize>),
}

impl Completion {
    /// The rows that go and come.
    ///
    /// # Errors
    /// A value that its column cannot hold, or NULL where it must not be. There is no place in it.
    pub fn rows(&self, schema: &SchemaRef, answer: &[RecordBatch]) -> Result<Written, SqlError> {
        let answer = concat_batches(schema, answer).map_err(|error| SqlError::invalid(error.to_string()))?;
        let table = &*self.table;
        let width = table.schema.fields().len();
        let old = || table.batch(answer.columns()[..width].to_vec(), answer.num_rows());
        match &self.shape {
            Shape::New(targets) => {
                let new = complete(table, targets, answer.columns(), answer.num_rows())?;
                Ok(Written { old: None, new: Some(new) })
            }
            Shape::Old => Ok(Written { old: Some(old()?), new: None }),
            Shape::OldAndNew(targets) => {
                let mut columns = answer.columns()[..width].to_vec();
                for (target, values) in targets.iter().zip(&answer.columns()[width..]) {
                    columns[*target] = assign::assign(table, *target, values)?;
                }
                Ok(Written { old: Some(old()?), new: Some(table.batch(columns, answer.num_rows())?) })
            }
        }
    }
}

impl Table {
    fn batch(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch, SqlError> {
        self.check_nulls(&columns)?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns, &options)
            .map_err(|error| SqlError::invalid(format!("rows of table \"{}\": {error}", self.name)))
    }

    fn check_nulls(&self, columns: &[ArrayRef]) -> Result<(), SqlError> {
        for (field, column) in self.schema.fields().iter().zip(columns) {
            if !field.is_nullable() && column.logical_null_count() > 0 {
                return Err(SqlError::invalid(format!(
                    "null value in column \"{}\" of relation \"{}\" violates not-null constraint",
                    field.name(),
                    self.name
                )));
            }
        }
        Ok(())
    }
}

/// Plans a write into `table`. `text` is the exact text of the statement, in which places in errors are counted; `data` are
/// the lines behind a COPY.
///
/// # Errors
/// What is wrong with the statement, or with literal values and lines.
pub fn plan_write(
    write: &Write,
    (text, data): (&str, Option<&str>),
    table: &Arc<Table>,
    relations: &dyn Relations,
) -> Result<PlannedWrite, SqlError> {
    let planned = |kind, rows| PlannedWrite { kind, rows, on_conflict: OnConflict::Refuse };
    match &write.action {
        Action::Insert(insert) => plan_insert(insert, text, table, relations),
        Action::Update(update) => {
            let text = Text::new(text)?;
            let rows = plan_update(update, &text, table, relations)?;
            Ok(planned(WriteKind::Update, rows))
        }
        Action::Delete(delete) => {
            let Delete { from, selection, .. } = &**delete;
            let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = from;
            let query = template("SELECT *", from.clone(), Vec::new(), selection.clone())?;
            let read = plan_statement(query, &Text::new(text)?, relations)?;
            let completion = Completion { table: Arc::clone(table), shape: Shape::Old };
            Ok(planned(WriteKind::Delete, RowsOf::Query(Box::new(read), completion)))
        }
        Action::Copy(copy) => {
            let targets = if copy.columns.is_empty() {
                (0..table.schema.fields().len()).collect()
            } else {
                columns_of(table, copy.columns.iter().cloned())?
            };
            let data = data.ok_or_else(|| {
                SqlError::invalid("COPY … FROM STDIN without data")
                    .hint("`headwater sql` reads it behind the statement")
            })?;
            let rows = copy::rows(copy, data, table, &targets)?;
            Ok(planned(WriteKind::Copy, RowsOf::Values(rows)))
        }
    }
}

/// The literal rows of an INSERT; `None` if it is none, or its rows have to be computed.
pub(super) fn literal_rows(
    insert: &Insert,
    targets: Option<&[usize]>,
    table: &Table,
) -> Option<Result<RecordBatch, SqlError>> {
    let values = match &insert.source {
        Some(query) => only_values(query)?,
        None => return Some(complete(table, &[], &[], 1)),
    };
    let width = table.schema.fields().len();
    let all: Vec<usize>;
    let targets = match targets {
        Some(targets) => targets,
        None => {
            // As many of the first columns as there are values.
            all = (0..values.first().map_or(0, |row| row.len()).min(width)).collect();
            &all
        }
    };
    if let Err(error) = target::check_widths(&values, targets.len(), width) {
        return Some(Err(error));
    }
    literal::columns(table, targets, &values)
        .map(|columns| columns.and_then(|columns| complete(table, targets, &columns, values.len())))
}

fn plan_insert(
    insert: &Insert,
    text: &str,
    table: &Arc<Table>,
    relations: &dyn Relations,
) -> Result<PlannedWrite, SqlError> {
    if !insert.assignments.is_empty() || insert.partitioned.is_some() {
        return Err(SqlError::unsupported("this form of INSERT").hint("write INSERT INTO name (columns) VALUES (…)"));
    }
    let named = if insert.columns.is_empty() {
        None
    } else {
        let names = insert.columns.iter().map(super::statement::write::bare).collect::<Result<Vec<_>, _>>()?;
        Some(columns_of(table, names)?)
    };
    let rows = match (literal_rows(insert, named.as_deref(), table), &insert.source) {
        (Some(rows), _) => RowsOf::Values(rows?),
        (None, None) => return Err(SqlError::invalid("INSERT without rows")),
        (None, Some(query)) => {
            let query = target::prepared(query, table, named.as_deref())?;
            let read = plan_statement(Ast::Query(Box::new(query)), &Text::new(text)?, relations)?;
            let (given, width) = (read.schema().fields().len(), table.schema.fields().len());
            let targets = named.unwrap_or_else(|| (0..given.min(width)).collect());
            if given != targets.len() {
                return Err(target::wrong_width(given, targets.len()));
            }
            RowsOf::Query(Box::new(read), Completion { table: Arc::clone(table), shape: Shape::New(targets) })
        }
    };
    let on_conflict = match &insert.on {
        None => OnConflict::Refuse,
        Some(on) => plan_conflict(on, insert, text, table, relations)?,
    };
    Ok(PlannedWrite { kind: WriteKind::Insert, rows, on_conflict })
}

fn plan_update(
    update: &Update,
    text: &Text<'_>,
    table: &Arc<Table>,
    relations: &dyn Relations,
) -> Result<RowsOf, SqlError> {
    let (targets, values) = assignments(&update.assignments, table)?;
    let query = template("SELECT *", vec![update.table.clone()], values, update.selection.clone())?;
    let read = plan_statement(query, text, relations)?;
    Ok(RowsOf::Query(Box::new(read), Completion { table: Arc::clone(table), shape: Shape::OldAndNew(targets) }))
}

fn plan_conflict(
    on: &OnInsert,
    insert: &Insert,
    text: &str,
    table: &Arc<Table>,
    relations: &dyn Relations,
) -> Result<OnConflict, SqlError> {
    let OnInsert::OnConflict(conflict) = on else {
        return Err(SqlError::unsupported("ON DUPLICATE KEY UPDATE").hint("write ON CONFLICT (key) DO UPDATE SET …"));
    };
    if table.key.is_empty() {
        return Err(SqlError::invalid(format!("ON CONFLICT on table \"{}\", which has no PRIMARY KEY", table.name))
            .hint("without a key nothing is ever in conflict: leave it out, or declare a key"));
    }
    match &conflict.conflict_target {
        Some(ConflictTarget::Columns(idents)) => {
            let mut named = columns_of(table, idents.iter().map(|ident| (folded(ident), ident.span.start.into())))?;
            let mut key = table.key.clone();
            named.sort_unstable();
            key.sort_unstable();
            if named != key {
                let message =
                    "there is no unique or exclusion constraint matching the ON CONFLICT specification".to_owned();
                return Err(SqlError::invalid(message).hint("name the columns of the PRIMARY KEY"));
            }
        }
        Some(ConflictTarget::OnConstraint(name)) => {
            return Err(SqlError::unsupported(format!("ON CONFLICT ON CONSTRAINT {name}"))
                .hint("name the columns of the PRIMARY KEY: ON CONFLICT (a, b)"));
        }
        None => {}
    }
    let update = match &conflict.action {
        OnConflictAction::DoNothing => return Ok(OnConflict::Skip),
        OnConflictAction::DoUpdate(update) => update,
    };
    if conflict.conflict_target.is_none() {
        return Err(SqlError::invalid("ON CONFLICT DO UPDATE requires inference specification")
            .hint("name the columns of the PRIMARY KEY: ON CONFLICT (a, b) DO UPDATE SET …"));
    }
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let alias = insert.table_alias.as_ref().map_or_else(|| table.name.clone(), |alias| folded(&alias.alias));
    let (name, alias) = (quoted(&table.name), quoted(&alias));
    let key = |column: &usize| {
        let column = quoted(table.schema.field(*column).name());
        format!("{alias}.{column} = excluded.{column}")
    };
    let keys: Vec<String> = table.key.iter().map(key).collect();
    let join = format!("SELECT {alias}.* FROM {name} AS {alias} JOIN excluded ON {}", keys.join(" AND "));
    let (targets, values) = assignments(&update.assignments, table)?;
    let from = from_of(&join)?;
    let query = template(&join, from, values, update.selection.clone())?;
    let relations = WithExcluded { relations, schema: &table.schema };
    let read = plan_statement(query, &Text::new(text)?, &relations)?;
    let completion = Completion { table: Arc::clone(table), shape: Shape::OldAndNew(targets) };
    Ok(OnConflict::Update(Box::new(read), completion))
}

/// The columns that are set, and to what.
fn assignments(assignments: &[Assignment], table: &Table) -> Result<(Vec<usize>, Vec<Expr>), SqlError> {
    let (mut targets, mut values) = (Vec::new(), Vec::new());
    for Assignment { target, value } in assignments {
        let AssignmentTarget::ColumnName(name) = target else {
            return Err(SqlError::unsupported("SET of several columns at once").hint("write SET a = …, b = …"));
        };
        let (name, place) = super::statement::write::bare(name)?;
        let target = find_column(table, &name).map_err(|error| error.at(place))?;
        if targets.contains(&target) {
            return Err(SqlError::invalid(format!("multiple assignments to same column \"{name}\"")).at(place));
        }
        targets.push(target);
        values.push(if is_default(value) { literal::default_of(table, target)? } else { value.clone() });
    }
    Ok((targets, values))
}

/// `select`, over `from`, with `values` as further columns, of the rows for which `selection` is true.
fn template(
    select: &str,
    from: Vec<TableWithJoins>,
    values: Vec<Expr>,
    selection: Option<Expr>,
) -> Result<Ast, SqlError> {
    let mut query = parsed(select)?;
    let select = select_of(&mut query)?;
    select.from = from;
    select.selection = selection;
    let named = |(index, expr): (usize, Expr)| {
        let alias = Ident::with_quote('"', format!("$set{index}"));
        SelectItem::ExprWithAlias { expr, alias }
    };
    select.projection.extend(values.into_iter().enumerate().map(named));
    Ok(Ast::Query(Box::new(query)))
}

fn from_of(select: &str) -> Result<Vec<TableWithJoins>, SqlError> {
    Ok(std::mem::take(&mut select_of(&mut parsed(select)?)?.from))
}

fn parsed(text: &str) -> Result<Query, SqlError> {
    let text = Text::new(text)?;
    let query = text.parser().parse_query().map_err(|error| text.parser_error(&error))?;
    Ok(*query)
}

fn select_of(query: &mut Query) -> Result<&mut Select, SqlError> {
    match &mut *query.body {
        SetExpr::Select(select) => Ok(&mut **select),
        _ => Err(SqlError::invalid("a SELECT was expected")),
    }
}

/// The rows of a query that is VALUES and nothing else.
fn only_values(query: &Query) -> Option<Vec<&[Expr]>> {
    let plain =
        query.with.is_none() && query.order_by.is_none() && query.limit_clause.is_none() && query.fetch.is_none();
    match &*query.body {
        SetExpr::Values(values) if plain => Some(values.rows.iter().map(|row| row.content.as_slice()).collect()),
        _ => None,
    }
}

/// The literal rows that a statement of a deployment brings, the first rows of a table; `None` if it brings others.
pub fn first_rows(write: &Write, table: &Table) -> Option<Result<RecordBatch, SqlError>> {
    let Action::Insert(insert) = &write.action else { return None };
    if insert.on.is_some() || insert.source.is_none() {
        return None;
    }
    let names = insert.columns.iter().map(super::statement::write::bare).collect::<Result<Vec<_>, _>>();
    let targets = match names.and_then(|names| columns_of(table, names)) {
        Ok(targets) => targets,
        Err(error) => return Some(Err(error)),
    };
    literal_rows(insert, (!insert.columns.is_empty()).then_some(targets.as_slice()), table)
}

/// The relations, and `excluded`: rows that could not be inserted.
struct WithExcluded<'a> {
    relations: &'a dyn Relations,
    schema: &'a SchemaRef,
}

impl Relations for WithExcluded<'_> {
    fn relation(&self, name: &str) -> Option<Relation> {
        if name != "excluded" {
            return self.relations.relation(name);
        }
        let (collection, schema): (CollectionId, _) = (EXCLUDED.rows(), Arc::clone(self.schema));
        let kind = RelationKind::Collection { collection, schema, append_only: false };
        Some(Relation { name: name.to_owned(), kind })
    }

    fn names(&self) -> Vec<String> {
        self.relations.names()
    }
}

/// The name of a type, for messages.
fn type_name(data_type: &DataType) -> String {
    super::session::types::sql_name(data_type)
}

#[cfg(test)]
mod tests;
