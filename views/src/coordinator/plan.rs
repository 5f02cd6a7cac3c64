//! Planning a deployment: every statement of every script against a scratch catalog, in order, so that a later
//! statement sees the earlier ones. Nothing is changed; what comes out can be applied step by step.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use headwater_connectors::source::{self, Pace, SourceDescription};
use headwater_dataflow::expr::caught;
use headwater_dataflow::repr::ObjectId;

use super::asking::Found;
use crate::catalog::{Catalog, Definition, ERRORS_SUFFIX, Object};
use crate::control::{ControlError, Script};
use crate::sql::{
    self, AlterSource, CreateIndex, CreateSource, CreateTable, CreateView, DropObject, Explain, ExplainTarget,
    ObjectKind, PaceChange, Parsed, Position, Relation, Relations, Show, SqlError, SqlErrorKind, Statement, Table,
    Write,
};
use crate::tables::check_first_rows;

/// One statement, ready to be applied.
#[derive(Clone, Debug)]
pub(super) struct Step {
    /// Which script.
    pub(super) origin: String,
    /// Where in it.
    pub(super) position: Position,
    /// What to do.
    pub(super) work: Work,
}

/// What a statement does.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// Creates an object; a table with its first rows.
    Create(Arc<Object>, Option<RecordBatch>),
    /// The rows of an INSERT, which are among the first rows of the table that is created before it.
    FirstRows(Arc<Object>),
    /// Reads a source at another pace: the object as it is from then on.
    Alter(Arc<Object>),
    /// The object is there already.
    Unchanged(Arc<Object>),
    /// Drops objects, dependents first; the last is the one that was named.
    Drop(Vec<Arc<Object>>),
    /// Does nothing: the object does not exist and need not.
    Nothing {
        /// What was named.
        name: String,
    },
    /// Answers with rows of a query.
    Query {
        /// The query.
        sql: String,
        /// Where it begins in the script.
        position: Position,
    },
    /// Answers from the catalog.
    Show(Show),
    /// Answers with a plan.
    Explain(String),
    /// Answers with the plan of what a dataflow maintains, and its figures.
    Analyze(Arc<Object>),
}

/// Plans all statements of all scripts; `base_dir` is where files of sources are looked for, `found` is what was found of
/// those that were asked for.
///
/// # Errors
/// The first statement that is refused, with its script and place.
pub(super) fn plan_scripts(
    catalog: &Catalog,
    scripts: &[Script],
    base_dir: &Path,
    found: &Found,
) -> Result<Vec<Step>, ControlError> {
    let mut scratch = catalog.clone();
    let mut steps = Vec::new();
    for script in scripts {
        let refuse = |error: SqlError| ControlError::Sql { origin: script.origin.clone(), error };
        for parsed in guarded(|| sql::parse(&script.text)).map_err(refuse)? {
            let position = parsed.position;
            let work = guarded(|| match &parsed.statement {
                Statement::Write(write) => plan_first_rows(&mut steps, write),
                _ => plan_statement(&scratch, parsed, base_dir, found),
            });
            let work = work.map_err(|error| refuse(placed(error, position)))?;
            match &work {
                Work::Create(object, _) => scratch.insert(Arc::clone(object)),
                Work::Alter(object) => scratch.replace(Arc::clone(object)),
                Work::Drop(objects) => objects.iter().for_each(|object| drop(scratch.remove(object.id))),
                Work::FirstRows(_)
                | Work::Unchanged(_)
                | Work::Nothing { .. }
                | Work::Query { .. }
                | Work::Show(_)
                | Work::Explain(_)
                | Work::Analyze(_) => {}
            }
            steps.push(Step { origin: script.origin.clone(), position, work });
        }
    }
    Ok(steps)
}

/// The object that a statement of the catalog describes, planned again against what stands before it.
///
/// # Errors
/// The text is no longer understood: a program with other abilities wrote it.
pub(super) fn plan_again(catalog: &Catalog, id: ObjectId, text: &str) -> Result<Arc<Object>, SqlError> {
    let parsed = sql::parse(text)?.into_iter().next().ok_or_else(|| SqlError::invalid("the statement is empty"))?;
    match parsed.statement {
        Statement::CreateSource(create) => source_object(id, create, parsed.text),
        Statement::CreateTable(create) => Ok(table_object(id, create, parsed.text)),
        Statement::CreateIndex(create) => index_object(catalog, id, create, parsed.text),
        Statement::CreateView(create) => view_object(catalog, id, create, parsed.text),
        Statement::CreateMaterializedView(create) => materialized_object(catalog, id, create, parsed.text),
        Statement::Alter(_)
        | Statement::Write(_)
        | Statement::Drop(_)
        | Statement::Show(_)
        | Statement::Explain(_)
        | Statement::Query(_) => Err(SqlError::invalid("the statement creates nothing")),
    }
}

/// Runs the planner. A panic in it, which is not our code for the most part, refuses the statement and nothing else.
///
/// # Errors
/// What `plan` says, or the panic's message.
pub(crate) fn guarded<T>(plan: impl FnOnce() -> Result<T, SqlError>) -> Result<T, SqlError> {
    caught(plan).unwrap_or_else(|panic| {
        Err(SqlError::unsupported(format!("the planner cannot handle this statement: {panic}"))
            .hint("write it differently; and please report it"))
    })
}

fn placed(error: SqlError, position: Position) -> SqlError {
    SqlError { position: error.position.or(Some(position)), ..error }
}

fn plan_statement(catalog: &Catalog, parsed: Parsed, base_dir: &Path, found: &Found) -> Result<Work, SqlError> {
    let Parsed { statement, text, position } = parsed;
    let id = catalog.next_id();
    match statement {
        Statement::CreateSource(create) => {
            if let Some(work) = existing(catalog, &create.name, create.if_not_exists, &text, position)? {
                return Ok(work);
            }
            let object = source_object(id, create, text)?;
            check_source(&object, base_dir, found).map_err(|error| error.at(position))?;
            Ok(Work::Create(object, None))
        }
        Statement::CreateTable(create) => {
            if let Some(work) = existing(catalog, &create.name, create.if_not_exists, &text, position)? {
                return Ok(work);
            }
            Ok(Work::Create(table_object(id, create, text), None))
        }
        Statement::CreateIndex(create) => {
            if let Some(work) = existing(catalog, &create.name, create.if_not_exists, &text, position)? {
                return Ok(work);
            }
            index_object(catalog, id, create, text).map(|index| Work::Create(index, None))
        }
        Statement::CreateView(create) => {
            if let Some(work) = existing(catalog, &create.name, create.if_not_exists, &text, position)? {
                return Ok(work);
            }
            view_object(catalog, id, create, text).map(|view| Work::Create(view, None))
        }
        Statement::CreateMaterializedView(create) => {
            if let Some(work) = existing(catalog, &create.name, create.if_not_exists, &text, position)? {
                return Ok(work);
            }
            materialized_object(catalog, id, create, text).map(|view| Work::Create(view, None))
        }
        Statement::Alter(alter) => plan_alter(catalog, &alter, position),
        Statement::Write(write) => Err(no_first_rows(&write).at(position)),
        Statement::Drop(drop) => plan_drop(catalog, &drop, position),
        Statement::Show(show) => plan_show(catalog, show, position),
        Statement::Explain(Explain { analyze: true, target, position }) => {
            analyzed_target(catalog, &target).map(Work::Analyze).map_err(|error| error.within(position))
        }
        Statement::Explain(Explain { analyze: false, target, position }) => {
            explain_target(catalog, &target).map(Work::Explain).map_err(|error| error.within(position))
        }
        Statement::Query(query) => {
            sql::plan_read(&query, catalog).map_err(|error| error.within(position))?;
            Ok(Work::Query { sql: query, position })
        }
    }
}

/// What a CREATE of a name that is taken means; `None` if the name is free.
fn existing(
    catalog: &Catalog,
    name: &str,
    if_not_exists: bool,
    text: &str,
    position: Position,
) -> Result<Option<Work>, SqlError> {
    if name.ends_with(ERRORS_SUFFIX) {
        return Err(SqlError::invalid(format!(
            "the name \"{name}\" ends with {ERRORS_SUFFIX}, as errors relations do"
        ))
        .hint("choose another name")
        .at(position));
    }
    let Some(object) = catalog.relation(name).and_then(|_| catalog.find(name)) else { return Ok(None) };
    if if_not_exists || object.sql == text {
        return Ok(Some(Work::Unchanged(Arc::clone(object))));
    }
    let message = format!("{} \"{name}\" exists with another definition", object.kind());
    Err(SqlError::new(SqlErrorKind::AlreadyExists, message)
        .hint(format!(
            "drop it first (DROP {} {name}), or choose another name",
            object.kind().to_string().to_uppercase()
        ))
        .at(position))
}

/// The source that a statement describes.
pub(super) fn described(id: ObjectId, create: CreateSource) -> SourceDescription {
    let CreateSource { name, schema, connector, format, envelope, rows_per_second_max, .. } = create;
    let pace = Pace { paused: false, rows_per_second_max };
    SourceDescription { object: id, name, schema, connector, format, envelope, pace }
}

fn source_object(id: ObjectId, mut create: CreateSource, text: String) -> Result<Arc<Object>, SqlError> {
    let order = create.order.take();
    let description = described(id, create);
    let (name, schema) = (description.name.clone(), Arc::clone(&description.schema));
    let table = sql::plan_envelope(&description, order.as_ref())?.map(Box::new);
    let append_only = table.is_none();
    let definition = Definition::Source { description, table };
    Ok(Arc::new(Object { id, name, sql: text, definition, schema, append_only, reads: BTreeSet::new() }))
}

fn table_object(id: ObjectId, create: CreateTable, text: String) -> Arc<Object> {
    let CreateTable { name, schema, key, defaults, .. } = create;
    let table = Table { name: name.clone(), schema: Arc::clone(&schema), key, defaults };
    let planned = Box::new(sql::plan_table(id, &table));
    let definition = Definition::Table { table: Arc::new(table), planned };
    Arc::new(Object { id, name, sql: text, definition, schema, append_only: false, reads: BTreeSet::new() })
}

/// The table that a statement writes into.
pub(super) fn find_table<'a>(
    catalog: &'a Catalog,
    write: &Write,
) -> Result<(&'a Arc<Object>, &'a Arc<Table>), SqlError> {
    let name = &write.table;
    let Some(object) = catalog.relation(name).and_then(|_| catalog.owner(name)) else {
        let message = format!("relation \"{name}\" does not exist");
        return Err(SqlError::new(SqlErrorKind::NotFound, message)
            .at(write.place)
            .hint("create it first with CREATE TABLE, or see SHOW TABLES for what there is"));
    };
    match &object.definition {
        Definition::Table { table, .. } if *name == object.name => Ok((object, table)),
        Definition::Table { .. }
        | Definition::Source { .. }
        | Definition::View { .. }
        | Definition::Index { .. }
        | Definition::MaterializedView(_) => {
            let message = format!("cannot write into \"{name}\", which is no table but of {}", object.kind().one());
            Err(SqlError::invalid(message).at(write.place).hint("rows are written into what CREATE TABLE has created"))
        }
    }
}

/// Adds the rows of an INSERT to the table that is created right before it. If that table is there already, so are its
/// first rows.
fn plan_first_rows(steps: &mut [Step], write: &Write) -> Result<Work, SqlError> {
    let place = |error: SqlError| SqlError { position: error.position.or(Some(write.place)), ..error };
    for step in steps.iter_mut().rev() {
        match &mut step.work {
            Work::FirstRows(object) if object.name == write.table => {}
            Work::Unchanged(object) if object.name == write.table && object.kind() == ObjectKind::Table => {
                return Ok(Work::Unchanged(Arc::clone(object)));
            }
            Work::Create(object, rows) if object.name == write.table => {
                let Definition::Table { table, .. } = &object.definition else { break };
                let Some(more) = sql::first_rows(write, table) else { break };
                let more = more.map_err(place)?;
                let all = rows.iter().chain([&more]);
                let all = concat_batches(&table.schema, all).map_err(|error| SqlError::invalid(error.to_string()))?;
                check_first_rows(table, &all).map_err(place)?;
                *rows = Some(all);
                return Ok(Work::FirstRows(Arc::clone(object)));
            }
            _ => break,
        }
    }
    Err(place(no_first_rows(write)))
}

fn no_first_rows(write: &Write) -> SqlError {
    let verb = write.verb();
    SqlError::unsupported(format!("{verb} in a deployment, other than the first rows of a table that it creates"))
        .hint(format!(
            "a deployment says what there is, and may be repeated: right behind CREATE TABLE {0} it may have INSERT INTO {0} \
             VALUES (…) with literal values; write anything else with `headwater sql`",
            write.table
        ))
}

/// Asks for the source once, unless that has been done: what is missing is said before anything is applied.
fn check_source(object: &Object, base_dir: &Path, found: &Found) -> Result<(), SqlError> {
    let Definition::Source { description, .. } = &object.definition else { return Ok(()) };
    match found.of(description).cloned().unwrap_or_else(|| source::check(description, base_dir)) {
        Ok(()) => Ok(()),
        Err(error) => Err(SqlError::invalid(format!("source \"{}\" cannot be read: {error}", object.name))),
    }
}

fn view_object(catalog: &Catalog, id: ObjectId, create: CreateView, text: String) -> Result<Arc<Object>, SqlError> {
    let CreateView { name, query, position, .. } = create;
    let named = Named { catalog, names: RefCell::default() };
    // A view that can be maintained says what it names; one that can only be read shows it by what is looked up.
    let (schema, append_only, names) = match sql::plan_view(&query, catalog) {
        Ok(planned) => (planned.schema, planned.append_only, planned.reads.into_iter().collect()),
        Err(_) => {
            let read = sql::plan_read(&query, &named).map_err(|error| error.within(position))?;
            (read.schema(), false, named.names.into_inner())
        }
    };
    let reads = names.iter().filter_map(|name| catalog.owner(name)).map(|object| object.id).collect();
    let definition = Definition::View { query };
    Ok(Arc::new(Object { id, name, sql: text, definition, schema, append_only, reads }))
}

fn index_object(catalog: &Catalog, id: ObjectId, create: CreateIndex, text: String) -> Result<Arc<Object>, SqlError> {
    let (index, planned) = sql::plan_index(id, &create, catalog)?;
    let (schema, append_only) = (Arc::clone(&planned.schema), planned.append_only);
    let reads = BTreeSet::from([index.of.object]);
    let definition = Definition::Index { index, planned: Box::new(planned) };
    Ok(Arc::new(Object { id, name: create.name, sql: text, definition, schema, append_only, reads }))
}

fn materialized_object(
    catalog: &Catalog,
    id: ObjectId,
    create: CreateView,
    text: String,
) -> Result<Arc<Object>, SqlError> {
    let CreateView { name, query, position, .. } = create;
    let planned = sql::plan_view(&query, catalog).map_err(|error| error.within(position))?;
    let named = planned.reads.iter().filter_map(|name| catalog.owner(name)).map(|object| object.id);
    let reads = named.chain(planned.indexes()).collect();
    let (schema, append_only) = (Arc::clone(&planned.schema), planned.append_only);
    let definition = Definition::MaterializedView(Box::new(planned));
    Ok(Arc::new(Object { id, name, sql: text, definition, schema, append_only, reads }))
}

fn plan_alter(catalog: &Catalog, alter: &AlterSource, position: Position) -> Result<Work, SqlError> {
    let AlterSource { name, if_exists, change } = alter;
    let kind = ObjectKind::Source;
    let Some(object) = catalog.find(name) else {
        if *if_exists {
            return Ok(Work::Nothing { name: name.clone() });
        }
        return Err(SqlError::new(SqlErrorKind::NotFound, format!("{kind} \"{name}\" does not exist")).at(position));
    };
    let Definition::Source { description, .. } = &object.definition else {
        let is = object.kind();
        return Err(SqlError::invalid(format!("\"{name}\" is {}, not {}", is.one(), kind.one()))
            .hint("pause or limit the sources that it reads")
            .at(position));
    };
    let pace = match *change {
        PaceChange::Pause => Pace { paused: true, ..description.pace },
        PaceChange::Resume => Pace { paused: false, ..description.pace },
        PaceChange::Limit(rows_per_second_max) => Pace { rows_per_second_max, ..description.pace },
    };
    Ok(match object.at_pace(pace) {
        Some(altered) if pace != description.pace => Work::Alter(Arc::new(altered)),
        _ => Work::Unchanged(Arc::clone(object)),
    })
}

fn plan_drop(catalog: &Catalog, drop: &DropObject, position: Position) -> Result<Work, SqlError> {
    let DropObject { kind, name, if_exists, cascade } = drop;
    let Some(object) = catalog.find(name) else {
        if *if_exists {
            return Ok(Work::Nothing { name: name.clone() });
        }
        let message = format!("{kind} \"{name}\" does not exist");
        return Err(SqlError::new(SqlErrorKind::NotFound, message).at(position));
    };
    if object.kind() != *kind {
        let is = object.kind();
        return Err(SqlError::invalid(format!("\"{name}\" is {}, not {}", is.one(), kind.one()))
            .hint(format!("write DROP {} {name}", is.to_string().to_uppercase()))
            .at(position));
    }
    let order = catalog.drop_order(object.id);
    if order.len() > 1 && !cascade {
        let dependents = catalog.dependents(object.id).join(", ");
        let message = format!("cannot drop {kind} \"{name}\": {dependents} read it");
        return Err(SqlError::new(SqlErrorKind::Dependencies, message)
            .hint("drop them first, or add CASCADE to drop them too")
            .at(position));
    }
    Ok(Work::Drop(order.into_iter().filter_map(|id| catalog.get(id).cloned()).collect()))
}

fn plan_show(catalog: &Catalog, show: Show, position: Position) -> Result<Work, SqlError> {
    match &show {
        Show::Errors(name) => {
            let relation = format!("{}{ERRORS_SUFFIX}", name.strip_suffix(ERRORS_SUFFIX).unwrap_or(name));
            let sql = format!("SELECT * FROM \"{}\" ORDER BY position, message", relation.replace('"', "\"\""));
            // The text of the query is ours: a place in it says nothing to the reader.
            sql::plan_read(&sql, catalog).map_err(|error| SqlError { position: Some(position), ..error })?;
            Ok(Work::Query { sql, position })
        }
        Show::Create(name) if catalog.find(name).is_none() => {
            Err(SqlError::new(SqlErrorKind::NotFound, format!("\"{name}\" does not exist")).at(position))
        }
        Show::Sources
        | Show::Tables
        | Show::Views
        | Show::MaterializedViews
        | Show::Indexes
        | Show::Objects
        | Show::Create(_) => Ok(Work::Show(show)),
    }
}

/// The plan of a view by name, or of a query as a view.
pub(super) fn explain_target(catalog: &Catalog, target: &ExplainTarget) -> Result<String, SqlError> {
    if let ExplainTarget::Name(name) = target
        && let Some(planned) = catalog.find(name).and_then(|object| object.maintained())
    {
        return Ok(planned.explain.clone());
    }
    guarded(|| sql::explain(target, catalog))
}

/// What EXPLAIN ANALYZE is about: something that a dataflow maintains.
pub(super) fn analyzed_target(catalog: &Catalog, target: &ExplainTarget) -> Result<Arc<Object>, SqlError> {
    let ExplainTarget::Name(name) = target else { return Err(sql::analyzed_query()) };
    let missing = || SqlError::new(SqlErrorKind::NotFound, format!("relation \"{name}\" does not exist"));
    let object = catalog.find(name).ok_or_else(missing)?;
    if object.maintained().is_none() {
        let kind = object.kind();
        return Err(SqlError::unsupported(format!("EXPLAIN ANALYZE of \"{name}\", which is a {kind}"))
            .hint("it has no dataflow of its own: write EXPLAIN ANALYZE for a materialized view that reads it"));
    }
    Ok(Arc::clone(object))
}

/// The catalog, noting which names are looked up and found.
struct Named<'a> {
    catalog: &'a Catalog,
    names: RefCell<BTreeSet<String>>,
}

impl Relations for Named<'_> {
    fn relation(&self, name: &str) -> Option<Relation> {
        let found = self.catalog.relation(name)?;
        self.names.borrow_mut().insert(name.to_owned());
        Some(found)
    }

    fn names(&self) -> Vec<String> {
        self.catalog.names()
    }
}
