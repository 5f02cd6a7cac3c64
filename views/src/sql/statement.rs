//! Statements: a script is split and parsed into [`Parsed`], each with its exact text and place. Queries stay text here;
//! only their syntax is checked.

mod alter;
mod index;
mod kafka;
mod key;
mod reader;
mod refuse;
mod source;
mod table;
pub(in crate::sql) mod write;

use std::num::NonZeroU32;

use arrow::datatypes::SchemaRef;
use headwater_connectors::source::{Connector, Envelope, Format};

pub use alter::PaceChange;
pub use write::Write;

use super::ObjectKind;
use super::error::{Position, SqlError};
use super::locate::Text;
use reader::Reader;

/// One statement of a script.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// What it says.
    pub statement: Statement,
    /// Its exact text, without the semicolon.
    pub text: String,
    /// Where it begins in the script.
    pub position: Position,
}

/// The statements.
#[derive(Clone, Debug)]
pub enum Statement {
    /// `CREATE SOURCE`.
    CreateSource(CreateSource),
    /// `CREATE TABLE`.
    CreateTable(CreateTable),
    /// `CREATE INDEX`.
    CreateIndex(CreateIndex),
    /// `CREATE VIEW`.
    CreateView(CreateView),
    /// `CREATE MATERIALIZED VIEW`.
    CreateMaterializedView(CreateView),
    /// `ALTER SOURCE`.
    Alter(AlterSource),
    /// `INSERT`, `UPDATE`, `DELETE` or `COPY`.
    Write(Write),
    /// `DROP`.
    Drop(DropObject),
    /// `SHOW`.
    Show(Show),
    /// `EXPLAIN`.
    Explain(Explain),
    /// Any query: its exact text, which begins where the statement begins.
    Query(String),
}

/// `CREATE SOURCE [IF NOT EXISTS] name (column type [NOT NULL] [PRIMARY KEY], …) FROM … FORMAT … [ENVELOPE …]`.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateSource {
    /// The folded name.
    pub name: String,
    /// An existing source is no error.
    pub if_not_exists: bool,
    /// The columns; a field that is not nullable is `NOT NULL`.
    pub schema: SchemaRef,
    /// Where the bytes come from.
    pub connector: Connector,
    /// What the bytes mean.
    pub format: Format,
    /// What the records mean.
    pub envelope: Envelope,
    /// How the last record of a key is told, if not by arrival.
    pub order: Option<Order>,
    /// The most rows that are read in a second.
    pub rows_per_second_max: Option<NonZeroU32>,
}

/// `CREATE TABLE [IF NOT EXISTS] name (column type [NOT NULL] [PRIMARY KEY] [DEFAULT literal], …)`.
#[derive(Clone, Debug, PartialEq)]
pub struct CreateTable {
    /// The folded name.
    pub name: String,
    /// An existing table is no error.
    pub if_not_exists: bool,
    /// The columns; a field that is not nullable is `NOT NULL`, as those of the key are.
    pub schema: SchemaRef,
    /// The columns of the key, by position; none if there is no key.
    pub key: Vec<usize>,
    /// The text of each column's default.
    pub defaults: Vec<Option<String>>,
}

/// `CREATE INDEX [IF NOT EXISTS] [name] ON relation [USING btree] (column, …)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateIndex {
    /// The folded name, or the one that it has by itself: `relation_column_idx`.
    pub name: String,
    /// An existing index is no error.
    pub if_not_exists: bool,
    /// What is indexed, and where that stands in the script.
    pub of: String,
    /// Where `of` stands in the script.
    pub place: Position,
    /// The columns, and where each stands in the script.
    pub columns: Vec<(String, Position)>,
}

/// The expression of `ENVELOPE UPSERT (ORDER BY expression)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Its exact text.
    pub text: String,
    /// Where it begins in the script.
    pub position: Position,
}

/// `ALTER SOURCE [IF EXISTS] name PAUSE | RESUME | SET (…) | RESET (…)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlterSource {
    /// The folded name.
    pub name: String,
    /// A missing source is no error.
    pub if_exists: bool,
    /// What is changed.
    pub change: PaceChange,
}

/// `CREATE [MATERIALIZED] VIEW [IF NOT EXISTS] name AS query`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateView {
    /// The folded name.
    pub name: String,
    /// An existing view is no error.
    pub if_not_exists: bool,
    /// The exact text of the query.
    pub query: String,
    /// Where the query begins in the script; see [`SqlError::within`].
    pub position: Position,
}

/// `DROP SOURCE | TABLE | VIEW | MATERIALIZED VIEW | INDEX [IF EXISTS] name [CASCADE | RESTRICT]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DropObject {
    /// What the name must be.
    pub kind: ObjectKind,
    /// The folded name.
    pub name: String,
    /// A missing object is no error.
    pub if_exists: bool,
    /// Drop what depends on it too.
    pub cascade: bool,
}

/// `SHOW …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Show {
    /// `SHOW SOURCES`.
    Sources,
    /// `SHOW TABLES`.
    Tables,
    /// `SHOW VIEWS`: those that are not materialized.
    Views,
    /// `SHOW MATERIALIZED VIEWS`.
    MaterializedViews,
    /// `SHOW INDEXES`.
    Indexes,
    /// `SHOW OBJECTS`: all of them.
    Objects,
    /// `SHOW ERRORS FOR name`: the rows of `name$errors`.
    Errors(String),
    /// `SHOW CREATE name`: the statement that created it.
    Create(String),
}

/// `EXPLAIN [ANALYZE] …`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explain {
    /// With what a running dataflow has done; then the target is a name.
    pub analyze: bool,
    /// What to explain.
    pub target: ExplainTarget,
    /// Where the target begins in the script; see [`SqlError::within`].
    pub position: Position,
}

/// What EXPLAIN explains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExplainTarget {
    /// The plan of a view.
    Name(String),
    /// The plan that a query would have as a view.
    Query(String),
}

/// Splits `text` at its semicolons and parses every statement. Places in errors are places in `text`.
pub fn parse(text: &str) -> Result<Vec<Parsed>, SqlError> {
    let text = Text::new(text)?;
    let mut reader = Reader::new(&text);
    let mut statements = Vec::new();
    while let Some(start) = reader.next_statement()? {
        let statement = statement(&mut reader)?;
        let body = reader.text_since(start);
        statements.push(Parsed { statement, text: body.to_owned(), position: start.into() });
    }
    Ok(statements)
}

fn statement(reader: &mut Reader<'_>) -> Result<Statement, SqlError> {
    let start = reader.place();
    if reader.at_query() {
        return Ok(Statement::Query(reader.query()?));
    }
    if reader.accept("CREATE") {
        return create(reader, start);
    }
    if ["INSERT", "UPDATE", "DELETE"].iter().any(|word| reader.at(word)) {
        return write::write(reader).map(Statement::Write);
    }
    if reader.accept("COPY") {
        return write::copy(reader, start).map(Statement::Write);
    }
    if reader.accept("ALTER") {
        return alter::alter(reader, start).map(Statement::Alter);
    }
    if reader.accept("DROP") {
        return drop_object(reader, start).map(Statement::Drop);
    }
    if reader.accept("SHOW") {
        return show(reader).map(Statement::Show);
    }
    if reader.accept("EXPLAIN") {
        return explain(reader).map(Statement::Explain);
    }
    Err(refuse::statement(reader, start))
}

fn create(reader: &mut Reader<'_>, start: Position) -> Result<Statement, SqlError> {
    if reader.accept_all(&["MATERIALIZED", "VIEW"]) {
        return create_view(reader).map(Statement::CreateMaterializedView);
    }
    if reader.accept("VIEW") {
        return create_view(reader).map(Statement::CreateView);
    }
    if reader.accept("SOURCE") {
        return source::create_source(reader).map(Statement::CreateSource);
    }
    if reader.accept("TABLE") {
        return table::create_table(reader).map(Statement::CreateTable);
    }
    if reader.accept("INDEX") {
        return index::create_index(reader).map(Statement::CreateIndex);
    }
    Err(refuse::create(reader, start))
}

fn create_view(reader: &mut Reader<'_>) -> Result<CreateView, SqlError> {
    let if_not_exists = reader.accept_all(&["IF", "NOT", "EXISTS"]);
    let name = reader.new_name()?;
    if reader.at("(") {
        return Err(SqlError::unsupported("a list of column names")
            .at(reader.place())
            .hint("name the columns in the query: SELECT expression AS name"));
    }
    if reader.at("WITH") {
        return Err(SqlError::unsupported("options of a view")
            .at(reader.place())
            .hint("a view has none: write AS query"));
    }
    reader.expect("AS")?;
    let position = reader.place();
    if !reader.at_query() {
        return Err(reader.unexpected("a query: SELECT, WITH or VALUES"));
    }
    let query = reader.query()?;
    Ok(CreateView { name, if_not_exists, query, position })
}

fn drop_object(reader: &mut Reader<'_>, start: Position) -> Result<DropObject, SqlError> {
    let kind = if reader.accept_all(&["MATERIALIZED", "VIEW"]) {
        ObjectKind::MaterializedView
    } else if reader.accept("VIEW") {
        ObjectKind::View
    } else if reader.accept("SOURCE") {
        ObjectKind::Source
    } else if reader.accept("TABLE") {
        ObjectKind::Table
    } else if reader.accept("INDEX") {
        if reader.at("CONCURRENTLY") {
            return Err(SqlError::unsupported("DROP INDEX CONCURRENTLY")
                .at(reader.place())
                .hint("leave the word out: nobody waits while an index is dropped"));
        }
        ObjectKind::Index
    } else {
        return Err(refuse::drop(reader, start));
    };
    let if_exists = reader.accept_all(&["IF", "EXISTS"]);
    let name = reader.name()?;
    if reader.at(",") {
        return Err(SqlError::unsupported("dropping several objects in one statement")
            .at(reader.place())
            .hint("write one DROP for each"));
    }
    let cascade = reader.accept("CASCADE");
    if !cascade {
        reader.accept("RESTRICT");
    }
    Ok(DropObject { kind, name, if_exists, cascade })
}

fn show(reader: &mut Reader<'_>) -> Result<Show, SqlError> {
    if reader.accept("SOURCES") {
        Ok(Show::Sources)
    } else if reader.accept("TABLES") {
        Ok(Show::Tables)
    } else if reader.accept("VIEWS") {
        Ok(Show::Views)
    } else if reader.accept_all(&["MATERIALIZED", "VIEWS"]) {
        Ok(Show::MaterializedViews)
    } else if reader.accept("INDEXES") || reader.accept("INDEX") || reader.accept("INDICES") {
        Ok(Show::Indexes)
    } else if reader.accept("OBJECTS") {
        Ok(Show::Objects)
    } else if reader.accept_all(&["ERRORS", "FOR"]) {
        Ok(Show::Errors(reader.name()?))
    } else if reader.accept("CREATE") {
        // What the object is may be said, as elsewhere in SQL, but the name suffices.
        for kind in [["MATERIALIZED", "VIEW"].as_slice(), &["VIEW"], &["SOURCE"], &["TABLE"], &["INDEX"]] {
            if reader.accept_all(kind) {
                break;
            }
        }
        Ok(Show::Create(reader.name()?))
    } else {
        Err(reader
            .unexpected("SOURCES, TABLES, VIEWS, MATERIALIZED VIEWS, INDEXES, OBJECTS, ERRORS FOR name or CREATE name"))
    }
}

fn explain(reader: &mut Reader<'_>) -> Result<Explain, SqlError> {
    let analyze = reader.accept("ANALYZE") || reader.accept("ANALYSE");
    if reader.at("(") && !reader.at_query() || reader.at("VERBOSE") {
        return Err(SqlError::unsupported("options of EXPLAIN")
            .at(reader.place())
            .hint("write EXPLAIN or EXPLAIN ANALYZE followed by the name of a view, or EXPLAIN followed by a query"));
    }
    let position = reader.place();
    if analyze && reader.at_query() {
        return Err(analyzed_query().at(position));
    }
    let target = if reader.at_query() {
        ExplainTarget::Query(reader.query()?)
    } else {
        for kind in [["MATERIALIZED", "VIEW"].as_slice(), &["VIEW"], &["TABLE"], &["SOURCE"], &["INDEX"]] {
            if reader.accept_all(kind) {
                break;
            }
        }
        ExplainTarget::Name(reader.name()?)
    };
    Ok(Explain { analyze, target, position })
}

/// A query is not maintained, so there is nothing to measure.
pub fn analyzed_query() -> SqlError {
    SqlError::unsupported("EXPLAIN ANALYZE of a query").hint(
        "its figures are those of a running dataflow: deploy the query as a materialized view and write EXPLAIN ANALYZE name; \
         EXPLAIN alone shows the plan that it would have",
    )
}

#[cfg(test)]
mod tests;
