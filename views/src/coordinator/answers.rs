//! Answers from what the coordinator knows: lists, plans, the server's state, SHOW, and the way to the hub for
//! subscriptions.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use headwater_dataflow::repr::Timestamp;
use tokio::sync::mpsc;

use super::Coordinator;
use super::dataflows::Stage;
use super::plan::explain_target;
use super::progress::settled;
use crate::catalog::{Definition, Object};
use crate::control::{ControlError, ObjectInfo, ObjectState, Status, SubscribeOptions, SubscriptionEvent};
use crate::metrics::{Observed, ObservedObject};
use crate::sql::{ObjectKind, Show, SqlError, SqlErrorKind};

/// The rows that a statement returns.
pub(super) type Rows = (SchemaRef, Vec<RecordBatch>);

impl Coordinator {
    /// All objects in the order of their names.
    pub(super) fn list(&self) -> Vec<ObjectInfo> {
        self.catalog.by_name().map(|object| self.info(object)).collect()
    }

    /// One object.
    pub(super) fn get(&self, name: &str) -> Result<ObjectInfo, ControlError> {
        let missing = || ControlError::NotFound { kind: "object", name: name.to_owned() };
        self.catalog.find(name).map(|object| self.info(object)).ok_or_else(missing)
    }

    /// The plan of a view, or of a query as a view.
    pub(super) fn explain(&self, target: &str) -> Result<String, ControlError> {
        let explained = explain_target(&self.catalog, &self.target(target));
        explained.map_err(|error| ControlError::Sql { origin: "<explain>".to_owned(), error })
    }

    /// Opens a subscription to materialised views, tables and enveloped sources.
    pub(super) fn subscribe(
        &self,
        options: SubscribeOptions,
    ) -> Result<mpsc::Receiver<SubscriptionEvent>, ControlError> {
        let refuse = |error| ControlError::Sql { origin: "<subscribe>".to_owned(), error };
        if options.views.is_empty() {
            return Err(refuse(SqlError::invalid("a subscription names no view").hint("name at least one")));
        }
        let mut collections = Vec::new();
        for name in &options.views {
            let kind = "materialized view";
            let missing = || ControlError::NotFound { kind, name: name.clone() };
            let object = self.catalog.owner(name).ok_or_else(missing)?;
            match self.catalog.collection(name) {
                Some((collection, object)) if object.maintained().is_some() => collections.push(collection),
                _ => return Err(refuse(not_subscribable(object))),
            }
        }
        Ok(self.parts.hub.subscribe(collections, options))
    }

    /// The whole server in a few figures.
    pub(super) fn status(&self) -> Status {
        let objects = self.list();
        let runs = |state: &ObjectState| {
            matches!(state, ObjectState::Paused | ObjectState::Serving | ObjectState::CatchingUp { .. })
        };
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_ms: self.started_ms,
            workers: self.parts.workers,
            bound: self.frontiers().bound,
            healthy: self.recovery_ms.is_some() && objects.iter().all(|object| runs(&object.state)),
            objects,
            recovery_ms: self.recovery_ms,
        }
    }

    /// The rows of a SHOW statement.
    pub(super) fn show(&self, show: &Show) -> Rows {
        let of = |kind: ObjectKind| self.list().into_iter().filter(|info| info.kind == kind).collect::<Vec<_>>();
        match show {
            Show::Sources => object_rows(&of(ObjectKind::Source)),
            Show::Tables => object_rows(&of(ObjectKind::Table)),
            Show::Views => object_rows(&of(ObjectKind::View)),
            Show::MaterializedViews => object_rows(&of(ObjectKind::MaterializedView)),
            Show::Indexes => self.index_rows(),
            Show::Objects => object_rows(&self.list()),
            Show::Create(name) => text_rows("statement", self.catalog.find(name).map(|object| object.sql.as_str())),
            // Planning has turned it into a query.
            Show::Errors(_) => text_rows("message", std::iter::empty::<&str>()),
        }
    }

    /// Every index: of what, by what, how it gets on, and who looks it up.
    fn index_rows(&self) -> Rows {
        let names = ["name", "on", "columns", "state", "used by"];
        let schema: SchemaRef =
            Arc::new(Schema::new(names.map(|name| Field::new(name, DataType::Utf8, false)).to_vec()));
        let mut rows: [Vec<String>; 5] = Default::default();
        for object in self.catalog.by_name() {
            let Definition::Index { index, .. } = &object.definition else { continue };
            let key = object.schema.fields().iter().take(index.key).map(|field| field.name().as_str());
            let of = self.catalog.get(index.of.object).map_or_else(String::new, |of| of.name.clone());
            let columns = key.collect::<Vec<_>>().join(", ");
            let users = self.catalog.dependents(object.id).join(", ");
            let row = [object.name.clone(), of, columns, state_text(&self.state(object)), users];
            rows.iter_mut().zip(row).for_each(|(column, value)| column.push(value));
        }
        let columns = rows.map(|values| Arc::new(StringArray::from(values)) as ArrayRef).to_vec();
        let batch = RecordBatch::try_new(Arc::clone(&schema), columns).expect("the columns match the schema");
        (schema, vec![batch])
    }

    /// Publishes what metrics and readiness show.
    pub(super) fn observe(&self) {
        let now = self.parts.clock.now_ms();
        let objects = self.list();
        let mut not_ready = Vec::new();
        if self.recovery_ms.is_none() {
            not_ready.push("recovering".to_owned());
        }
        for info in objects.iter().filter(|info| !settled(info)) {
            if let ObjectState::Planned | ObjectState::Hydrating { .. } = info.state {
                not_ready.push(format!("{} \"{}\" is hydrating", info.kind, info.name));
            }
        }
        let frontiers = self.frontiers();
        let observed = Observed {
            not_ready,
            bound: frontiers.bound,
            subscriptions: frontiers.subscriptions,
            dataflows: self.dataflow_stages().len(),
            dataflows_live: self.dataflow_stages().values().filter(|stage| **stage == Stage::Live).count(),
            recovery_ms: self.recovery_ms,
            objects: objects.iter().map(|info| self.observed(info, now)).collect(),
        };
        self.parts.observed.send_replace(observed);
    }

    fn observed(&self, info: &ObjectInfo, now: Timestamp) -> ObservedObject {
        let status = self.parts.ingest.source_status(info.object);
        ObservedObject {
            name: info.name.clone(),
            kind: info.kind,
            hydrated: self.frontiers().views.get(&info.object).is_some_and(|frontier| frontier.hydrated),
            serving: info.state == ObjectState::Serving,
            failed: matches!(info.state, ObjectState::Failed { .. }),
            freshness_ms: now.saturating_sub(info.upper.saturating_sub(1)),
            figures: info.figures.unwrap_or_default(),
            updates: info.updates,
            errors: info.errors,
            bytes: status.as_ref().map(|status| status.bytes_read),
            behind: status.as_ref().and_then(|status| status.records_behind),
            waits: matches!(info.state, ObjectState::Waiting { .. }),
            paused: status.as_ref().is_some_and(|status| status.pace.paused),
            rows_per_second_max: info.rows_per_second_max,
        }
    }
}

fn not_subscribable(object: &Object) -> SqlError {
    let message = format!("\"{}\" is {}, which cannot be subscribed to", object.name, object.kind().one());
    SqlError::new(SqlErrorKind::Unsupported, message).hint(match object.kind() {
        ObjectKind::Index => "subscribe to what it is an index of",
        _ => "create a materialized view over it and subscribe to that, or to its errors",
    })
}

/// One text column.
pub(super) fn text_rows<'a>(name: &str, lines: impl IntoIterator<Item = &'a str>) -> Rows {
    let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new(name, DataType::Utf8, false)]));
    let lines: Vec<&str> = lines.into_iter().collect();
    let column: ArrayRef = Arc::new(StringArray::from(lines));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![column]).expect("the column matches the schema");
    (schema, vec![batch])
}

fn object_rows(infos: &[ObjectInfo]) -> Rows {
    let text = |name| Field::new(name, DataType::Utf8, false);
    let count = |name| Field::new(name, DataType::Int64, false);
    let fields = vec![text("name"), text("kind"), text("state"), count("updates"), count("errors"), text("reads")];
    let schema: SchemaRef = Arc::new(Schema::new(fields));
    let texts = |value: &dyn Fn(&ObjectInfo) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(infos.iter().map(value)))
    };
    let counts = |value: &dyn Fn(&ObjectInfo) -> u64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(infos.iter().map(|info| i64::try_from(value(info)).unwrap_or(i64::MAX))))
    };
    let columns = vec![
        texts(&|info| info.name.clone()),
        texts(&|info| info.kind.to_string()),
        texts(&|info| match info.rows_per_second_max {
            Some(limit) => format!("{}, at most {limit} rows/s", state_text(&info.state)),
            None => state_text(&info.state),
        }),
        counts(&|info| info.updates),
        counts(&|info| info.errors),
        texts(&|info| info.reads.join(", ")),
    ];
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns).expect("the columns match the schema");
    (schema, vec![batch])
}

fn state_text(state: &ObjectState) -> String {
    let percent = |ratio: &Option<f64>| ratio.map_or_else(String::new, |ratio| format!(" {:.0} %", ratio * 100.0));
    match state {
        ObjectState::Planned => "planned".to_owned(),
        ObjectState::Hydrating { ratio } => format!("hydrating{}", percent(ratio)),
        ObjectState::CatchingUp { ratio } => format!("catching up{}", percent(ratio)),
        ObjectState::Waiting { reason } => format!("waiting: {reason}"),
        ObjectState::Paused => "paused".to_owned(),
        ObjectState::Serving => "serving".to_owned(),
        ObjectState::Failed { reason } => format!("failed: {reason}"),
        ObjectState::Stopping => "stopping".to_owned(),
    }
}
