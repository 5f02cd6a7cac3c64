//! `Execute`: statements of any kind, and what becomes of each, as messages.

use futures::stream::{self, BoxStream, StreamExt};
use headwater_proto::v1;
use headwater_proto::v1::execute_response::Message;
use tonic::Status;

use super::encoder::{RowEncoder, encoding, slices};
use super::objects::{action, ms, notices};
use super::refusal::{invalid, refuse};
use crate::control::{Action, Control, ControlError, StatementOutcome};
use crate::execute::{Done, Executed, StatementText};
use crate::sql::{ObjectKind, Position, WriteKind};

/// Begins to carry the statements out.
pub(super) fn execute(
    control: Control,
    request: v1::ExecuteRequest,
) -> Result<BoxStream<'static, Result<v1::ExecuteResponse, Status>>, Status> {
    let encoding = encoding(request.encoding)?;
    if request.texts.is_empty() {
        return Err(invalid("there is no statement to carry out"));
    }
    let texts = request.texts.into_iter().map(|v1::StatementText { text, line, column, data }| StatementText {
        text,
        start: Position { line: line.max(1), column: column.max(1) },
        data,
    });
    let executed = crate::execute::execute(control, request.origin, texts.collect());
    let outcomes =
        stream::unfold(executed, |mut executed| async { executed.recv().await.map(|next| (next, executed)) });
    let messages = outcomes.flat_map(move |outcome| stream::iter(messages(outcome, encoding)));
    Ok(messages.boxed())
}

/// What became of one statement. The rows are encoded when the connection has room for them.
fn messages(
    outcome: Result<Executed, ControlError>,
    encoding: v1::Encoding,
) -> Box<dyn Iterator<Item = Result<v1::ExecuteResponse, Status>> + Send> {
    let one = |message| v1::ExecuteResponse { message: Some(message) };
    let Executed { line, done } = match outcome {
        Ok(executed) => executed,
        Err(error) => return Box::new(std::iter::once(Err(refuse(error)))),
    };
    let (rows, at, mut end) = match done {
        Done::Wrote { kind, rows } => (None, 0, wrote(kind, rows)),
        Done::Rows(answer) => {
            let count = answer.batches.iter().map(|batch| batch.num_rows()).sum();
            (Some((answer.schema, answer.batches)), ms(answer.at), answered(count))
        }
        Done::Outcome(outcome) => changed(*outcome),
    };
    end.line = line;
    let end = std::iter::once(Ok(one(Message::Done(end))));
    let Some((schema, batches)) = rows else { return Box::new(end) };
    match RowEncoder::start(&schema, encoding) {
        Err(error) => Box::new(std::iter::once(Err(error))),
        Ok((mut encoder, schema)) => {
            let started = one(Message::Started(v1::QueryStarted { at, schema: Some(schema) }));
            let slices = batches.into_iter().flat_map(|batch| slices(&batch));
            let batches = slices.map(move |slice| Ok(one(Message::Batch(encoder.encode(&slice)?))));
            Box::new(std::iter::once(Ok(started)).chain(batches).chain(end))
        }
    }
}

fn count(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}

fn wrote(kind: WriteKind, rows: usize) -> v1::StatementDone {
    let tag = match kind {
        // The zero is what Postgres has there.
        WriteKind::Insert => format!("INSERT 0 {rows}"),
        WriteKind::Update => format!("UPDATE {rows}"),
        WriteKind::Delete => format!("DELETE {rows}"),
        WriteKind::Copy => format!("COPY {rows}"),
    };
    v1::StatementDone { tag, rows: count(rows), ..v1::StatementDone::default() }
}

fn answered(rows: usize) -> v1::StatementDone {
    let action = action(Action::Answered).into();
    v1::StatementDone { tag: format!("SELECT {rows}"), rows: count(rows), action, ..v1::StatementDone::default() }
}

type Rows = Option<(arrow::datatypes::SchemaRef, Vec<arrow::array::RecordBatch>)>;

fn changed(outcome: StatementOutcome) -> (Rows, i64, v1::StatementDone) {
    let StatementOutcome { name, kind, action: done, rows, notices: known, .. } = outcome;
    if let Some((schema, batches)) = rows {
        let count = batches.iter().map(|batch| batch.num_rows()).sum();
        return (Some((schema, batches)), 0, answered(count));
    }
    let verb = match done {
        Action::Created => "CREATE",
        Action::Unchanged => "UNCHANGED",
        Action::Altered => "ALTER",
        Action::Inserted => "INSERT",
        Action::Dropped => "DROP",
        Action::Answered => "SELECT",
    };
    let kind = kind.map_or_else(String::new, |kind: ObjectKind| format!(" {}", kind.to_string().to_uppercase()));
    let tag = format!("{verb}{kind}");
    let (action, notices) = (action(done).into(), notices(known));
    (None, 0, v1::StatementDone { tag, name, action, notices, ..v1::StatementDone::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_statement_has_its_tag() {
        assert_eq!(wrote(WriteKind::Insert, 3).tag, "INSERT 0 3");
        assert_eq!(wrote(WriteKind::Copy, 0).tag, "COPY 0");
        assert_eq!(answered(1).tag, "SELECT 1");
        let outcome = |action, kind| StatementOutcome {
            origin: String::new(),
            line: 1,
            name: "t".to_owned(),
            kind,
            action,
            rows: None,
            notices: Vec::new(),
        };
        let tag = |action, kind| changed(outcome(action, kind)).2.tag;
        assert_eq!(tag(Action::Created, Some(ObjectKind::MaterializedView)), "CREATE MATERIALIZED VIEW");
        assert_eq!(tag(Action::Dropped, Some(ObjectKind::Table)), "DROP TABLE");
        assert_eq!(tag(Action::Unchanged, None), "UNCHANGED");
    }
}
