//! Refusals as gRPC statuses: the status code, and the same in a form that programs can read.

use headwater_proto::refusal;
use headwater_proto::v1::{ErrorDetail, ErrorReason};
use tonic::{Code, Status};

use super::objects::ms;
use crate::control::ControlError;
use crate::sql::{SqlError, SqlErrorKind};

/// The status of a refused or failed request.
pub(super) fn refuse(error: ControlError) -> Status {
    let message = error.to_string();
    match error {
        ControlError::Sql { origin, error } => refuse_sql(origin, error),
        ControlError::NotFound { kind: _, name } => {
            let detail = ErrorDetail {
                name,
                hint: "headwater list shows what exists".to_owned(),
                ..detail(ErrorReason::NotFound)
            };
            refusal::status(Code::NotFound, message, &detail)
        }
        ControlError::AlreadyExists { name } => {
            let hint = "drop it first, or give the new definition another name".to_owned();
            let detail = ErrorDetail { name, hint, ..detail(ErrorReason::AlreadyExists) };
            refusal::status(Code::AlreadyExists, message, &detail)
        }
        ControlError::Dependencies { name, dependents } => {
            let hint = "drop those first, or add CASCADE".to_owned();
            let detail = ErrorDetail { name, dependents, hint, ..detail(ErrorReason::Dependencies) };
            refusal::status(Code::FailedPrecondition, message, &detail)
        }
        ControlError::OutOfRange { at, side: _, limit } => {
            let (reason, hint) = if at < limit {
                (ErrorReason::Compacted, "older times are gone: engine.history says for how long they are kept")
            } else {
                (ErrorReason::Future, "leave the time out to read the newest")
            };
            let detail = ErrorDetail { limit: Some(ms(limit)), hint: hint.to_owned(), ..detail(reason) };
            refusal::status(Code::OutOfRange, message, &detail)
        }
        ControlError::NotReady { .. } => {
            refusal::status(Code::FailedPrecondition, message, &detail(ErrorReason::NotReady))
        }
        ControlError::Unavailable { .. } => unavailable(message),
        ControlError::Failed { .. } => refusal::status(Code::Internal, message, &detail(ErrorReason::Failed)),
    }
}

fn refuse_sql(origin: String, error: SqlError) -> Status {
    let (code, reason) = match error.kind {
        SqlErrorKind::Invalid => (Code::InvalidArgument, ErrorReason::SqlInvalid),
        SqlErrorKind::Unsupported => (Code::Unimplemented, ErrorReason::SqlUnsupported),
        SqlErrorKind::NotFound => (Code::NotFound, ErrorReason::NotFound),
        SqlErrorKind::AlreadyExists => (Code::AlreadyExists, ErrorReason::AlreadyExists),
        SqlErrorKind::Dependencies => (Code::FailedPrecondition, ErrorReason::Dependencies),
    };
    let (line, column) = error.position.map_or((0, 0), |position| (position.line, position.column));
    let detail = ErrorDetail { origin, line, column, hint: error.hint.unwrap_or_default(), ..detail(reason) };
    refusal::status(code, error.message, &detail)
}

/// A field of the request is missing or out of its range.
pub(super) fn invalid(message: impl Into<String>) -> Status {
    refusal::status(Code::InvalidArgument, message, &detail(ErrorReason::RequestInvalid))
}

/// The server is stopping or still recovering.
pub(super) fn unavailable(message: impl Into<String>) -> Status {
    refusal::status(Code::Unavailable, message, &detail(ErrorReason::Recovering))
}

/// A column of the answer has a type that has no place on the wire.
pub(super) fn type_unsupported(column: &str, data_type: &impl std::fmt::Display) -> Status {
    let message = format!("column \"{column}\" has the type {data_type}, which cannot be sent");
    let hint = "cast the column, for instance to TEXT".to_owned();
    let detail = ErrorDetail { hint, name: column.to_owned(), ..detail(ErrorReason::TypeUnsupported) };
    refusal::status(Code::Unimplemented, message, &detail)
}

/// An answer that cannot be put into a message: a bug or a value out of the range of its type on the wire.
pub(super) fn failed(message: impl Into<String>) -> Status {
    refusal::status(Code::Internal, message, &detail(ErrorReason::Failed))
}

fn detail(reason: ErrorReason) -> ErrorDetail {
    ErrorDetail { reason: reason.into(), ..ErrorDetail::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::Position;

    fn check(error: ControlError, code: Code, reason: ErrorReason) -> ErrorDetail {
        let status = refuse(error);
        let detail = refusal::detail(&status).expect("every refusal has a detail");
        assert_eq!((status.code(), detail.reason()), (code, reason), "{status}");
        detail
    }

    #[test]
    fn every_refusal_has_its_status_and_reason() {
        let name = || "v".to_owned();
        let message = || "m".to_owned();
        let not_found = ControlError::NotFound { kind: "view", name: name() };
        assert_eq!(check(not_found, Code::NotFound, ErrorReason::NotFound).name, "v");
        check(ControlError::AlreadyExists { name: name() }, Code::AlreadyExists, ErrorReason::AlreadyExists);
        let dependents = vec!["w".to_owned()];
        let error = ControlError::Dependencies { name: name(), dependents: dependents.clone() };
        let detail = check(error, Code::FailedPrecondition, ErrorReason::Dependencies);
        assert_eq!(detail.dependents, dependents);
        let old = ControlError::OutOfRange { at: 3, side: "oldest", limit: 5 };
        assert_eq!(check(old, Code::OutOfRange, ErrorReason::Compacted).limit, Some(5));
        let new = ControlError::OutOfRange { at: 9, side: "newest", limit: 5 };
        assert_eq!(check(new, Code::OutOfRange, ErrorReason::Future).limit, Some(5));
        check(ControlError::NotReady { message: message() }, Code::FailedPrecondition, ErrorReason::NotReady);
        check(ControlError::Unavailable { message: message() }, Code::Unavailable, ErrorReason::Recovering);
        check(ControlError::Failed { message: message() }, Code::Internal, ErrorReason::Failed);
    }

    #[test]
    fn a_refused_statement_says_where_and_what_to_do() {
        let table = [
            (SqlErrorKind::Invalid, Code::InvalidArgument, ErrorReason::SqlInvalid),
            (SqlErrorKind::Unsupported, Code::Unimplemented, ErrorReason::SqlUnsupported),
            (SqlErrorKind::NotFound, Code::NotFound, ErrorReason::NotFound),
            (SqlErrorKind::AlreadyExists, Code::AlreadyExists, ErrorReason::AlreadyExists),
            (SqlErrorKind::Dependencies, Code::FailedPrecondition, ErrorReason::Dependencies),
        ];
        for (kind, code, reason) in table {
            let error = SqlError {
                kind,
                message: "what".to_owned(),
                position: Some(Position { line: 12, column: 8 }),
                hint: Some("do".to_owned()),
            };
            let detail = check(ControlError::Sql { origin: "a.sql".to_owned(), error }, code, reason);
            assert_eq!((detail.origin.as_str(), detail.line, detail.column), ("a.sql", 12, 8));
            assert_eq!(detail.hint, "do");
        }
    }
}
