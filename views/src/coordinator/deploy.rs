//! Applying what was planned, one statement after the other; and recovery, which applies the catalog in the same way.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::RecordBatch;
use headwater_dataflow::repr::{ObjectId, Timestamp};

use super::asking::Found;
use super::plan::{Step, Work, guarded, plan_again, plan_scripts};
use super::{Change, Coordinator, Parts};
use crate::catalog::store::{self, StoreError};
use crate::catalog::{Definition, Object};
use crate::control::{Action, ControlError, QueryAnswer, Reply, Script, StatementOutcome};
use crate::sql::{ObjectKind, SqlError, notices};

/// A deployment on its way: what is done, what is not.
pub(super) struct Deployment {
    pub(super) scripts: Vec<Script>,
    validate_only: bool,
    /// What was found when its sources were asked for.
    pub(super) found: Found,
    steps: VecDeque<Step>,
    /// The query that is being answered.
    asked: Option<Step>,
    outcomes: Vec<StatementOutcome>,
    reply: Reply<Vec<StatementOutcome>>,
}

/// Why the catalog cannot be brought back.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// A statement of the catalog is no longer understood.
    #[error(
        "the catalog's {kind} \"{name}\" ({id}) is refused by this program: {error}; start the program that wrote it"
    )]
    Statement {
        /// The object.
        id: ObjectId,
        /// Its name.
        name: String,
        /// What it is.
        kind: ObjectKind,
        /// Why.
        error: SqlError,
    },
    /// A part of the catalog does not fit what stands before it.
    #[error("the catalog contradicts itself: {0}; restore the data directory from a copy")]
    Contradiction(String),
    /// An object cannot be brought back to life.
    #[error("{kind} \"{name}\" cannot be recovered: {error}")]
    Object {
        /// Its name.
        name: String,
        /// What it is.
        kind: ObjectKind,
        /// Why.
        error: ControlError,
    },
}

impl Coordinator {
    /// A coordinator that has brought `changes`, the content of the catalog, back to life. Ingest has not been started.
    ///
    /// # Errors
    /// An object that this program, or the log, does not let be what it was.
    pub fn recover(parts: Parts, changes: Vec<store::Change>) -> Result<Coordinator, RecoveryError> {
        let mut coordinator = Coordinator::new(parts);
        // Dropped objects are not planned again: what they read may be gone, or be something else by now.
        let mut alive = std::collections::BTreeMap::new();
        let mut dropped_sources = Vec::new();
        for change in changes {
            match change {
                store::Change::Create { id, name, kind, sql } => {
                    if id < coordinator.catalog.next_id() {
                        return Err(RecoveryError::Contradiction(format!("{kind} \"{name}\" has the used id {id}")));
                    }
                    coordinator.catalog.reserve(id);
                    alive.insert(id, (name, kind, sql, None));
                }
                store::Change::Alter { id, pace } => match alive.get_mut(&id) {
                    Some((_, ObjectKind::Source, _, altered)) => *altered = Some(pace),
                    _ => return Err(RecoveryError::Contradiction(format!("{id} is altered but is no source"))),
                },
                store::Change::Drop { id } => match alive.remove(&id) {
                    Some((_, ObjectKind::Source | ObjectKind::Table, ..)) => dropped_sources.push(id),
                    Some(_) => {}
                    None => return Err(RecoveryError::Contradiction(format!("{id} is dropped but was not there"))),
                },
            }
        }
        let last_id = ObjectId(coordinator.catalog.next_id().0 - 1);
        coordinator.catalog = crate::catalog::Catalog::default();
        let as_of = coordinator.recovered_bound.saturating_sub(coordinator.parts.history_ms);
        for (id, (name, kind, sql, pace)) in alive {
            let mut object = guarded(|| plan_again(&coordinator.catalog, id, &sql))
                .map_err(|error| RecoveryError::Statement { id, name: name.clone(), kind, error })?;
            if let Some(altered) = pace.and_then(|pace| object.at_pace(pace)) {
                object = Arc::new(altered);
            }
            coordinator.bring_to_life(&object, Some(as_of), false).map_err(|error| RecoveryError::Object {
                name,
                kind,
                error,
            })?;
            coordinator.catalog.insert(object);
        }
        coordinator.catalog.reserve(last_id);
        for id in dropped_sources {
            coordinator.remove_source(id);
        }
        // First rows of a table that the catalog never knew.
        if let Err(error) = coordinator.parts.ingest.remove_unclaimed() {
            tracing::warn!(error = with_causes(&error), "cannot remove logs that belong to nothing");
        }
        Ok(coordinator)
    }

    /// Checks all statements, then applies them unless `validate_only`. Sources are asked for first.
    pub(super) fn deploy(&mut self, scripts: Vec<Script>, validate_only: bool, reply: Reply<Vec<StatementOutcome>>) {
        let (steps, outcomes) = (VecDeque::new(), Vec::new());
        let found = Found::default();
        let deployment = Deployment { scripts, validate_only, found, steps, asked: None, outcomes, reply };
        if let Some(deployment) = self.ask(deployment) {
            self.begin(deployment);
        }
    }

    /// Checks all statements, knowing what was found of their sources, then applies them unless they are only checked.
    pub(super) fn begin(&mut self, deployment: Deployment) {
        if !deployment.validate_only {
            return self.change(Change::Deploy(deployment));
        }
        let planned = plan_scripts(&self.catalog, &deployment.scripts, &self.parts.base_dir, &deployment.found);
        let outcomes = planned.map(|steps| steps.iter().map(|step| outcome(step, None)).collect());
        // Whoever asked may have gone.
        let _ = deployment.reply.send(outcomes);
    }

    /// Carries a change out, or queues it behind a deployment that waits for an answer: each sees the catalog as the
    /// one before it left it.
    pub(super) fn change(&mut self, change: Change) {
        self.changes.push_back(change);
        self.next_changes();
    }

    fn next_changes(&mut self) {
        while self.deployment.is_none() {
            match self.changes.pop_front() {
                None => return,
                Some(Change::Drop { name, cascade, if_exists, reply }) => {
                    // Whoever asked may have gone.
                    let _ = reply.send(self.drop_object(&name, cascade, if_exists));
                }
                Some(Change::Deploy(mut deployment)) => {
                    match plan_scripts(&self.catalog, &deployment.scripts, &self.parts.base_dir, &deployment.found) {
                        Ok(steps) => {
                            deployment.steps = steps.into();
                            self.proceed(deployment);
                        }
                        Err(error) => drop(deployment.reply.send(Err(error))),
                    }
                }
            }
        }
    }

    /// A query of the deployment has been answered: goes on with what stands behind it.
    pub(super) fn resume(&mut self, answer: Result<QueryAnswer, ControlError>) {
        let Some(mut deployment) = self.deployment.take() else { return };
        if let Some(step) = deployment.asked.take() {
            match answer {
                Ok(answer) => {
                    deployment.outcomes.push(outcome(&step, Some((answer.schema, answer.batches))));
                    self.proceed(deployment);
                }
                Err(error) => deployment.fail(&step, error),
            }
        }
        self.next_changes();
    }

    /// Applies steps until one has to wait, one fails, or none is left.
    fn proceed(&mut self, mut deployment: Deployment) {
        while let Some(step) = deployment.steps.pop_front() {
            let rows = match &step.work {
                Work::Create(object, rows) => self.create(object, rows.as_ref()).map(|()| None),
                Work::Alter(object) => self.alter(object).map(|()| None),
                Work::Drop(objects) => self.drop_objects(objects).map(|()| None),
                // The rows came with the table.
                Work::FirstRows(_) | Work::Unchanged(_) | Work::Nothing { .. } => Ok(None),
                Work::Show(show) => Ok(Some(self.show(show))),
                Work::Explain(text) => Ok(Some(super::answers::text_rows("plan", text.lines()))),
                Work::Analyze(object) => {
                    self.analysis_of_deployment(object);
                    deployment.asked = Some(step);
                    self.deployment = Some(deployment);
                    return;
                }
                Work::Query { sql, position } => {
                    self.query_of_deployment(&step.origin, sql, *position);
                    deployment.asked = Some(step);
                    self.deployment = Some(deployment);
                    return;
                }
            };
            match rows {
                Ok(rows) => deployment.outcomes.push(outcome(&step, rows)),
                Err(error) => return deployment.fail(&step, error),
            }
        }
        // Whoever asked may have gone; what was deployed stays.
        let _ = deployment.reply.send(Ok(deployment.outcomes));
    }

    /// Commits an object to the catalog and brings it to life. If that fails it is taken out again. The first rows of a
    /// table are durable before the table is.
    fn create(&mut self, object: &Arc<Object>, rows: Option<&RecordBatch>) -> Result<(), ControlError> {
        if let Some(rows) = rows {
            self.write_first_rows(object, rows).inspect_err(|_| self.remove_source(object.id))?;
        }
        let entry = store::Change::Create {
            id: object.id,
            name: object.name.clone(),
            kind: object.kind(),
            sql: object.sql.clone(),
        };
        if let Err(error) = self.parts.store.append(&entry) {
            if rows.is_some() {
                self.remove_source(object.id);
            }
            return Err(store_failed(error));
        }
        match self.bring_to_life(object, None, rows.is_some()) {
            Ok(()) => {
                self.catalog.insert(Arc::clone(object));
                Ok(())
            }
            Err(error) => {
                self.catalog.reserve(object.id);
                self.parts.store.append(&store::Change::Drop { id: object.id }).map_err(store_failed)?;
                Err(error)
            }
        }
    }

    /// Reads a source at the pace of `object` from now on, also after a restart.
    fn alter(&mut self, object: &Arc<Object>) -> Result<(), ControlError> {
        let Definition::Source { description, .. } = &object.definition else { return Ok(()) };
        let pace = description.pace;
        self.parts.store.append(&store::Change::Alter { id: object.id, pace }).map_err(store_failed)?;
        self.catalog.replace(Arc::clone(object));
        self.parts.ingest.set_pace(object.id, pace).map_err(edge_failed)
    }

    /// Starts what an object of the catalog does: a source is read, and if it is enveloped its rows are maintained; those of
    /// a table, and materialised views, are maintained from `as_of` on (`None`: from the present tick on). `logged` says
    /// that the log of a table is there already.
    fn bring_to_life(&mut self, object: &Object, as_of: Option<Timestamp>, logged: bool) -> Result<(), ControlError> {
        match &object.definition {
            Definition::Table { table, planned } => {
                if !logged {
                    self.parts.ingest.add_table(object.id, &table.name, &table.schema).map_err(edge_failed)?;
                }
                self.create_dataflow(object, planned, as_of).inspect_err(|_| self.remove_source(object.id))
            }
            Definition::Source { description, table } => {
                self.parts.ingest.add_source(description.clone()).map_err(edge_failed)?;
                let Some(planned) = table else { return Ok(()) };
                self.create_dataflow(object, planned, as_of).inspect_err(|_| self.remove_source(object.id))
            }
            Definition::View { .. } => Ok(()),
            Definition::MaterializedView(planned) | Definition::Index { planned, .. } => {
                self.create_dataflow(object, planned, as_of)
            }
        }
    }
}

impl Deployment {
    /// Ends the deployment with what went wrong at `step`, and says what was applied before it.
    fn fail(self, step: &Step, error: ControlError) {
        let done: Vec<&str> = self
            .outcomes
            .iter()
            .filter(|outcome| !matches!(outcome.action, Action::Unchanged | Action::Answered))
            .map(|outcome| outcome.name.as_str())
            .collect();
        let error = if done.is_empty() {
            error
        } else {
            let place = format!("{}:{}", step.origin, step.position.line);
            let message = format!("{place}: {error}; the statements before it were applied: {}", done.join(", "));
            match error {
                ControlError::NotReady { .. } => ControlError::NotReady { message },
                ControlError::Unavailable { .. } => ControlError::Unavailable { message },
                ControlError::Sql { .. }
                | ControlError::NotFound { .. }
                | ControlError::AlreadyExists { .. }
                | ControlError::Dependencies { .. }
                | ControlError::OutOfRange { .. }
                | ControlError::Failed { .. } => ControlError::Failed { message },
            }
        };
        // Whoever asked may have gone.
        let _ = self.reply.send(Err(error));
    }
}

fn outcome(step: &Step, rows: Option<super::answers::Rows>) -> StatementOutcome {
    let (name, kind, action) = match &step.work {
        Work::Create(object, _) => (object.name.clone(), Some(object.kind()), Action::Created),
        Work::FirstRows(object) => (object.name.clone(), Some(object.kind()), Action::Inserted),
        Work::Alter(object) => (object.name.clone(), Some(object.kind()), Action::Altered),
        Work::Unchanged(object) => (object.name.clone(), Some(object.kind()), Action::Unchanged),
        Work::Drop(objects) => {
            let named = objects.last();
            (named.map(|o| o.name.clone()).unwrap_or_default(), named.map(|o| o.kind()), Action::Dropped)
        }
        Work::Nothing { name } => (name.clone(), None, Action::Unchanged),
        Work::Query { .. } | Work::Show(_) | Work::Explain(_) | Work::Analyze(_) => {
            (String::new(), None, Action::Answered)
        }
    };
    let notices = match &step.work {
        Work::Create(object, _) => object.maintained().map_or_else(Vec::new, |planned| notices(&planned.plan)),
        _ => Vec::new(),
    };
    StatementOutcome { origin: step.origin.clone(), line: step.position.line, name, kind, action, rows, notices }
}

/// The disk refused the catalog.
pub(super) fn store_failed(error: StoreError) -> ControlError {
    ControlError::Failed { message: error.to_string() }
}

/// The edge refused, with all its reasons.
pub(super) fn edge_failed(error: headwater_connectors::error::EdgeError) -> ControlError {
    ControlError::Failed { message: with_causes(&error) }
}

/// An error's message followed by those of its causes.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
