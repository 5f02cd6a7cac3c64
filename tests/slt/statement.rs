//! Statements: what creates, fills and drops the tables of a file.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::{CastOptions, cast_with_options, concat_batches};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::sql::parser::{DFParser, Statement as DfStatement};
use datafusion::sql::sqlparser::ast::{
    AssignmentTarget, ColumnDef, CreateTable, CreateView, DataType as SqlType, Delete, FromTable, Ident, Insert,
    ObjectName, Statement, TableFactor, TableObject, TableWithJoins, Update,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;

use super::evaluate::{Answer, Failure, Reader};
use super::tables::Tables;
use super::words;
use super::{decisions, external};

/// A file's world: its tables, and what evaluates over them.
pub(super) struct World<'a> {
    pub(super) reader: &'a Reader,
    pub(super) tables: Tables,
    /// Where the file is, for the files it names.
    pub(super) path: &'a Path,
    /// Why queries mean something else here until the next change of settings.
    pub(super) settings: Option<&'static str>,
}

/// The statements of a text.
pub(super) fn parse(sql: &str) -> Result<Vec<DfStatement>, Failure> {
    let parsed = DFParser::parse_sql_with_dialect(sql, &PostgreSqlDialect {});
    parsed.map(Vec::from).map_err(|error| Failure::Refused(format!("invalid: {}", error.strip_backtrace())))
}

impl World<'_> {
    /// Runs statements; how many rows the last one touched.
    pub(super) fn execute(&mut self, sql: &str) -> Result<usize, Failure> {
        let mut count = 0;
        for statement in parse(sql)? {
            count = match statement {
                DfStatement::Statement(statement) => self.statement(*statement, sql)?,
                DfStatement::CreateExternalTable(create) => {
                    let name = name_of(&create.name);
                    let made = self.schema(&create.columns).and_then(|s| external::read(&create, s, self.path));
                    self.create(&name, create.if_not_exists, made)?
                }
                DfStatement::CopyTo(_) => return Err(Failure::Skipped("COPY … TO a file")),
                DfStatement::Explain(_) => return Err(Failure::Skipped("EXPLAIN shows another program's plans")),
                DfStatement::Reset(_) => {
                    self.settings = None;
                    return Err(Failure::Skipped("settings of another program"));
                }
            };
        }
        Ok(count)
    }

    /// The answer of a query over the tables.
    pub(super) fn read(&self, query: &str) -> Result<Answer, Failure> {
        let answer = self.reader.read(query, &self.tables, |id| self.tables.content(id));
        answer.map_err(|failure| self.tables.blame(failure))
    }

    fn statement(&mut self, statement: Statement, sql: &str) -> Result<usize, Failure> {
        match statement {
            Statement::CreateTable(create) => {
                let name = name_of(&create.name);
                if create.or_replace {
                    self.tables.remove(&name);
                }
                let made = match decisions::foreign_rows(sql) {
                    Some(reason) => Err(Failure::Skipped(reason)),
                    None => self.new_table(&create, sql),
                };
                self.create(&name, create.if_not_exists, made)
            }
            Statement::CreateView(create) => self.create_view(&create, sql),
            Statement::Drop { if_exists, names, object_type, .. } => {
                use datafusion::sql::sqlparser::ast::ObjectType;
                if !matches!(object_type, ObjectType::Table | ObjectType::View) {
                    return Ok(0);
                }
                let there = names.iter().map(|name| self.tables.remove(&name_of(name))).fold(true, |a, b| a & b);
                if there || if_exists { Ok(0) } else { Err(Failure::Failed("it does not exist".to_owned())) }
            }
            Statement::CreateIndex(_) => Ok(0),
            Statement::Insert(insert) => self.insert(&insert, sql),
            Statement::Delete(delete) => self.delete(&delete),
            Statement::Update(update) => self.update(&update),
            Statement::Query(query) => self.read(&query.to_string()).map(|answer| rows_in(&answer.batches)),
            Statement::Set(_) => {
                self.settings = decisions::settings(self.settings, sql);
                Err(Failure::Skipped("settings of another program"))
            }
            Statement::ShowVariable { .. }
            | Statement::ShowTables { .. }
            | Statement::ShowColumns { .. }
            | Statement::ShowFunctions { .. }
            | Statement::ShowCreate { .. }
            | Statement::ExplainTable { .. } => Err(Failure::Skipped("the catalog of another program")),
            Statement::Explain { .. } => Err(Failure::Skipped("EXPLAIN shows another program's plans")),
            other => {
                let words: Vec<String> = other.to_string().split_whitespace().take(2).map(str::to_owned).collect();
                Err(Failure::Refused(format!("the statement {}", words.join(" "))))
            }
        }
    }

    fn create(
        &mut self,
        name: &str,
        if_not_exists: bool,
        made: Result<RecordBatch, Failure>,
    ) -> Result<usize, Failure> {
        if self.tables.contains(name) {
            return if if_not_exists { Ok(0) } else { Err(Failure::Failed(format!("{name} exists"))) };
        }
        match made {
            Ok(rows) => self.tables.put(name, rows),
            Err(failure) => {
                self.tables.put_missing(name, failure.clone());
                return Err(failure);
            }
        }
        Ok(0)
    }

    fn new_table(&self, create: &CreateTable, sql: &str) -> Result<RecordBatch, Failure> {
        let columns = self.schema(&create.columns)?;
        let Some(query) = &create.query else { return Ok(RecordBatch::new_empty(columns)) };
        let answer = self.read(&behind_as(sql).unwrap_or_else(|| query.to_string()))?;
        let rows = one_batch(&answer)?;
        if create.columns.is_empty() {
            return Ok(rows);
        }
        conform(rows.columns(), &columns, rows.num_rows())
    }

    fn create_view(&mut self, create: &CreateView, sql: &str) -> Result<usize, Failure> {
        let name = name_of(&create.name);
        if self.tables.contains(&name) && !create.or_replace {
            return Err(Failure::Failed(format!("{name} exists")));
        }
        let query = behind_as(sql).unwrap_or_else(|| create.query.to_string());
        let query = match create.columns.as_slice() {
            [] => query,
            columns => {
                let columns: Vec<String> = columns.iter().map(|column| column.name.to_string()).collect();
                format!("SELECT * FROM ({query}) AS q ({})", columns.join(", "))
            }
        };
        match self.read(&query) {
            Ok(_) | Err(Failure::Failed(_)) => self.tables.put_view(&name, query),
            Err(failure) => {
                self.tables.put_missing(&name, failure.clone());
                return Err(failure);
            }
        }
        Ok(0)
    }

    fn insert(&mut self, insert: &Insert, sql: &str) -> Result<usize, Failure> {
        let TableObject::TableName(name) = &insert.table else {
            return Err(Failure::Refused("INSERT into something else than a table".to_owned()));
        };
        let (name, old) = self.table(name)?;
        let Some(source) = &insert.source else {
            return Err(Failure::Refused("INSERT without rows".to_owned()));
        };
        if insert.or.is_some() || insert.replace_into || insert.on.is_some() {
            return Err(Failure::Refused("INSERT that replaces".to_owned()));
        }
        let text = words::from(sql, &["VALUES", "SELECT", "WITH"]).map_or_else(|| source.to_string(), str::to_owned);
        let answer = self.read(&text)?;
        let new = one_batch(&answer)?;
        let schema = old.schema();
        let columns = if insert.columns.is_empty() {
            new.columns().to_vec()
        } else {
            let named: Vec<String> = insert.columns.iter().map(name_of).collect();
            if named.len() != new.num_columns() {
                return Err(Failure::Refused("INSERT with more values than columns, or fewer".to_owned()));
            }
            if let Some(unknown) = named.iter().find(|name| schema.column_with_name(name).is_none()) {
                return Err(Failure::Refused(format!("there is no column {unknown}")));
            }
            let value = |field: &Arc<Field>| match named.iter().position(|name| name == field.name()) {
                Some(index) => Arc::clone(new.column(index)),
                None => new_null_array(field.data_type(), new.num_rows()),
            };
            schema.fields().iter().map(value).collect()
        };
        let added = conform(&columns, &schema, new.num_rows())?;
        let count = added.num_rows();
        let rows = concat_batches(&schema, [&old, &added]).expect("the columns are the same");
        self.tables.fill(&name, rows);
        Ok(count)
    }

    fn delete(&mut self, delete: &Delete) -> Result<usize, Failure> {
        let (FromTable::WithFromKeyword(from) | FromTable::WithoutKeyword(from)) = &delete.from;
        let (name, old) = self.table(table_of(from.first())?)?;
        let condition = delete.selection.as_ref().map_or("TRUE".to_owned(), ToString::to_string);
        let kept = self.read(&format!("SELECT * FROM {} WHERE ({condition}) IS NOT TRUE", quoted(&name)))?;
        let kept = conform(one_batch(&kept)?.columns(), &old.schema(), rows_in(&kept.batches))?;
        let count = old.num_rows() - kept.num_rows();
        self.tables.fill(&name, kept);
        Ok(count)
    }

    fn update(&mut self, update: &Update) -> Result<usize, Failure> {
        let (name, old) = self.table(table_of(Some(&update.table))?)?;
        if update.from.is_some() {
            return Err(Failure::Refused("UPDATE … FROM".to_owned()));
        }
        let condition = update.selection.as_ref().map_or("TRUE".to_owned(), ToString::to_string);
        let mut values = Vec::new();
        for field in old.schema().fields() {
            let column = quoted(field.name());
            let assigned = update.assignments.iter().rfind(|assignment| match &assignment.target {
                AssignmentTarget::ColumnName(target) => name_of(target) == *field.name(),
                AssignmentTarget::Tuple(_) => false,
            });
            values.push(match assigned {
                Some(set) => format!("CASE WHEN {condition} THEN {} ELSE {column} END AS {column}", set.value),
                None => column,
            });
        }
        let touched = self.read(&format!("SELECT 1 AS one FROM {} WHERE {condition}", quoted(&name)))?;
        let new = self.read(&format!("SELECT {} FROM {}", values.join(", "), quoted(&name)))?;
        let rows = conform(one_batch(&new)?.columns(), &old.schema(), old.num_rows())?;
        self.tables.fill(&name, rows);
        Ok(rows_in(&touched.batches))
    }

    fn table(&self, name: &ObjectName) -> Result<(String, RecordBatch), Failure> {
        let name = name_of(name);
        match self.tables.rows(&name) {
            Some(rows) => Ok((name, rows.clone())),
            None => {
                let message = format!("not found: relation \"{name}\" does not exist");
                Err(self.tables.blame(Failure::Refused(message)))
            }
        }
    }

    fn schema(&self, columns: &[ColumnDef]) -> Result<SchemaRef, Failure> {
        let field = |column: &ColumnDef| Ok(Field::new(folded(&column.name), self.data_type(&column.data_type)?, true));
        Ok(Arc::new(Schema::new(columns.iter().map(field).collect::<Result<Vec<_>, Failure>>()?)))
    }

    /// What a column of that type contains here: what a cast to the type gives, and the nearest for types that we
    /// refuse but other programs' files have.
    fn data_type(&self, sql_type: &SqlType) -> Result<DataType, Failure> {
        Ok(match sql_type {
            SqlType::Varchar(_) | SqlType::Char(_) | SqlType::Character(_) | SqlType::CharacterVarying(_) => {
                DataType::Utf8
            }
            SqlType::TinyInt(_) | SqlType::TinyIntUnsigned(_) => DataType::Int16,
            SqlType::SmallIntUnsigned(_) | SqlType::Int2Unsigned(_) => DataType::Int32,
            SqlType::IntUnsigned(_) | SqlType::IntegerUnsigned(_) | SqlType::UnsignedInteger => DataType::Int64,
            SqlType::BigIntUnsigned(_) => DataType::Decimal128(20, 0),
            SqlType::Integer(Some(_)) | SqlType::Int(Some(_)) => DataType::Int32,
            // Of a single's width for those who wrote the files.
            SqlType::Float(_) => DataType::Float32,
            SqlType::Unspecified => DataType::Utf8,
            other => {
                let cast = format!("SELECT CAST(NULL AS {other}) AS c");
                let answer = self.reader.read(&cast, &self.tables, |_| unreachable!("it reads nothing"))?;
                answer.schema.field(0).data_type().clone()
            }
        })
    }
}

/// The query behind AS, as it was written.
fn behind_as(sql: &str) -> Option<String> {
    let query = words::from(sql, &["AS"])?;
    Some(query.get(2..)?.to_owned())
}

/// The name in lower case unless it was quoted; without a schema.
pub(super) fn name_of(name: &ObjectName) -> String {
    name.0.last().and_then(|part| part.as_ident()).map(folded).unwrap_or_default()
}

fn folded(name: &Ident) -> String {
    if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn table_of(from: Option<&TableWithJoins>) -> Result<&ObjectName, Failure> {
    match from.map(|from| &from.relation) {
        Some(TableFactor::Table { name, .. }) => Ok(name),
        _ => Err(Failure::Refused("a change of something else than a table".to_owned())),
    }
}

/// How many rows there are.
pub(super) fn rows_in(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
}

/// All rows of an answer.
pub(super) fn one_batch(answer: &Answer) -> Result<RecordBatch, Failure> {
    concat_batches(&answer.schema, &answer.batches).map_err(|error| Failure::Failed(error.to_string()))
}

/// Columns as those of `schema`, cast where they differ.
pub(super) fn conform(columns: &[ArrayRef], schema: &SchemaRef, rows: usize) -> Result<RecordBatch, Failure> {
    if columns.len() != schema.fields().len() {
        return Err(Failure::Refused(format!("{} values for {} columns", columns.len(), schema.fields().len())));
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let cast = |(column, field): (&ArrayRef, &Arc<Field>)| {
        if column.data_type().is_integer() && matches!(field.data_type(), DataType::Timestamp(..)) {
            return Err(Failure::Skipped("numbers as times, which count microseconds here"));
        }
        cast_with_options(column, field.data_type(), &options).map_err(|error| Failure::Failed(error.to_string()))
    };
    let columns = columns.iter().zip(schema.fields()).map(cast).collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).expect("the columns were cast"))
}
