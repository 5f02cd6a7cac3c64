//! What the coordinator knows, as messages.

use headwater_dataflow::figures::NodeFigures;
use headwater_dataflow::repr::Timestamp;
use headwater_proto::v1;
use tonic::Status;

use super::columns::WireSchema;
use super::encoder::{RowEncoder, slices};
use crate::control::{Action, ObjectInfo, ObjectState, StatementOutcome, Status as ServerStatus};
use crate::sql::{Notice, ObjectKind};

/// A time of the engine on the wire. Times beyond int64 mean "for ever" and stay the greatest.
pub(super) fn ms(time: Timestamp) -> i64 {
    i64::try_from(time).unwrap_or(i64::MAX)
}

/// A source or view.
pub(super) fn object(info: ObjectInfo) -> Result<v1::Object, Status> {
    let (phase, ratio, reason) = state(info.state);
    Ok(v1::Object {
        id: info.object.0,
        name: info.name,
        kind: kind(info.kind).into(),
        phase: phase.into(),
        ratio,
        reason,
        sql: info.sql,
        schema: Some(WireSchema::new(&info.schema)?.message()),
        reads: info.reads,
        since: ms(info.since),
        upper: ms(info.upper),
        updates: info.updates,
        errors: info.errors,
        max_rows_per_second: info.rows_per_second_max,
        freshness_millis: info.freshness_ms,
        figures: info.figures.map(figures),
    })
}

fn figures(figures: NodeFigures) -> v1::Figures {
    let held = figures.held.unwrap_or_default();
    v1::Figures {
        elapsed_nanos: u64::try_from(figures.elapsed.as_nanos()).unwrap_or(u64::MAX),
        held_records: held.records,
        held_bytes: held.bytes,
    }
}

/// What is to be known of an object, as messages.
pub(super) fn notices(notices: Vec<Notice>) -> Vec<v1::Notice> {
    notices.into_iter().map(|Notice { message, hint }| v1::Notice { message, hint }).collect()
}

/// Sources and views.
pub(super) fn objects(infos: Vec<ObjectInfo>) -> Result<Vec<v1::Object>, Status> {
    infos.into_iter().map(object).collect()
}

fn kind(kind: ObjectKind) -> v1::ObjectKind {
    match kind {
        ObjectKind::Source => v1::ObjectKind::Source,
        ObjectKind::View => v1::ObjectKind::View,
        ObjectKind::MaterializedView => v1::ObjectKind::MaterializedView,
        ObjectKind::Table => v1::ObjectKind::Table,
        ObjectKind::Index => v1::ObjectKind::Index,
    }
}

fn state(state: ObjectState) -> (v1::ObjectPhase, Option<f64>, String) {
    match state {
        ObjectState::Planned => (v1::ObjectPhase::Planned, None, String::new()),
        ObjectState::Hydrating { ratio } => (v1::ObjectPhase::Hydrating, ratio, String::new()),
        ObjectState::CatchingUp { ratio } => (v1::ObjectPhase::CatchingUp, ratio, String::new()),
        // The phase is that of a source that is not up to date; the reason tells it from one that reads.
        ObjectState::Waiting { reason } => (v1::ObjectPhase::CatchingUp, None, reason),
        ObjectState::Paused => (v1::ObjectPhase::Paused, None, String::new()),
        ObjectState::Serving => (v1::ObjectPhase::Serving, None, String::new()),
        ObjectState::Failed { reason } => (v1::ObjectPhase::Failed, None, reason),
        ObjectState::Stopping => (v1::ObjectPhase::Stopping, None, String::new()),
    }
}

/// What became of a statement; the rows that it returned are in `encoding`.
pub(super) fn outcome(outcome: StatementOutcome, encoding: v1::Encoding) -> Result<v1::StatementOutcome, Status> {
    let mut schema = None;
    let mut batches = Vec::new();
    if let Some((columns, rows)) = outcome.rows {
        let (mut encoder, head) = RowEncoder::start(&columns, encoding)?;
        schema = Some(head);
        for rows in rows.iter().flat_map(slices) {
            batches.push(encoder.encode(&rows)?);
        }
    }
    Ok(v1::StatementOutcome {
        origin: outcome.origin,
        line: outcome.line,
        name: outcome.name,
        kind: outcome.kind.map_or(v1::ObjectKind::Unspecified, kind).into(),
        action: action(outcome.action).into(),
        schema,
        batches,
        notices: notices(outcome.notices),
    })
}

/// What a statement did.
pub(super) fn action(action: Action) -> v1::StatementAction {
    match action {
        Action::Created => v1::StatementAction::Created,
        Action::Unchanged => v1::StatementAction::Unchanged,
        Action::Altered => v1::StatementAction::Altered,
        Action::Inserted => v1::StatementAction::Inserted,
        Action::Dropped => v1::StatementAction::Dropped,
        Action::Answered => v1::StatementAction::Answered,
    }
}

/// The state of the server.
pub(super) fn status(status: ServerStatus) -> Result<v1::GetStatusResponse, Status> {
    Ok(v1::GetStatusResponse {
        version: status.version,
        started: ms(status.started_ms),
        workers: u32::try_from(status.workers).unwrap_or(u32::MAX),
        bound: ms(status.bound),
        healthy: status.healthy,
        objects: objects(status.objects)?,
        recovery_millis: status.recovery_ms.map(ms),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use arrow::array::{Int64Array, RecordBatch};
    use arrow::datatypes::{DataType, Field, Schema};
    use headwater_dataflow::figures::Held;
    use headwater_dataflow::repr::ObjectId;

    use super::*;

    fn info(state: ObjectState) -> ObjectInfo {
        ObjectInfo {
            object: ObjectId(7),
            name: "daily".to_owned(),
            kind: ObjectKind::MaterializedView,
            state,
            sql: "create".to_owned(),
            schema: Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)])),
            reads: vec!["lines".to_owned()],
            since: 5,
            upper: u64::MAX,
            updates: 3,
            errors: 1,
            rows_per_second_max: Some(500),
            freshness_ms: Some(40),
            figures: Some(NodeFigures {
                rows: 9,
                elapsed: Duration::from_micros(2),
                held: Some(Held { records: 3, bytes: 200 }),
            }),
        }
    }

    #[test]
    fn an_object_keeps_every_field() {
        let message = object(info(ObjectState::Failed { reason: "disk".to_owned() })).unwrap();
        assert_eq!((message.id, message.name.as_str(), message.reason.as_str()), (7, "daily", "disk"));
        assert_eq!((message.kind(), message.phase()), (v1::ObjectKind::MaterializedView, v1::ObjectPhase::Failed));
        assert_eq!((message.since, message.upper, message.updates, message.errors), (5, i64::MAX, 3, 1));
        assert_eq!(message.max_rows_per_second, Some(500));
        assert_eq!(message.reads, ["lines"]);
        assert_eq!(message.freshness_millis, Some(40));
        let figures = v1::Figures { elapsed_nanos: 2_000, held_records: 3, held_bytes: 200 };
        assert_eq!(message.figures, Some(figures));
        assert_eq!(message.schema.unwrap().columns[0].name, "n");
    }

    #[test]
    fn every_state_has_its_phase() {
        let table = [
            (ObjectState::Planned, v1::ObjectPhase::Planned, None),
            (ObjectState::Hydrating { ratio: Some(0.5) }, v1::ObjectPhase::Hydrating, Some(0.5)),
            (ObjectState::CatchingUp { ratio: None }, v1::ObjectPhase::CatchingUp, None),
            (ObjectState::Serving, v1::ObjectPhase::Serving, None),
            (ObjectState::Stopping, v1::ObjectPhase::Stopping, None),
        ];
        for (state, phase, ratio) in table {
            let message = object(info(state)).unwrap();
            assert_eq!((message.phase(), message.ratio), (phase, ratio));
        }
    }

    #[test]
    fn a_statement_that_answers_carries_its_rows() {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, false)]));
        let rows = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::new(Int64Array::from(vec![1, 2]))]).unwrap();
        let answered = StatementOutcome {
            origin: "a.sql".to_owned(),
            line: 3,
            name: String::new(),
            kind: None,
            action: Action::Answered,
            rows: Some((schema, vec![rows])),
            notices: vec![Notice { message: "dear".to_owned(), hint: "cheaper".to_owned() }],
        };
        let message = outcome(answered, v1::Encoding::Rows).unwrap();
        assert_eq!((message.action(), message.kind()), (v1::StatementAction::Answered, v1::ObjectKind::Unspecified));
        assert_eq!(message.schema.unwrap().columns.len(), 1);
        assert_eq!(message.batches[0].rows.len(), 2);
        assert_eq!((message.notices[0].message.as_str(), message.notices[0].hint.as_str()), ("dear", "cheaper"));
    }
}
