//! How an [`ErrorDetail`] travels in a gRPC status.
//!
//! The trailer `grpc-status-details-bin` holds a `google.rpc.Status`, the form that other tools know how to show. Its
//! three fields are declared here rather than compiled in from Google's files.

use prost::Message;
use prost_types::Any;
use tonic::{Code, Status};

use crate::v1::ErrorDetail;

const TYPE_URL: &str = "type.googleapis.com/headwater.v1.ErrorDetail";

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// A status with `detail` attached.
pub fn status(code: Code, message: impl Into<String>, detail: &ErrorDetail) -> Status {
    let message = message.into();
    let details = vec![Any { type_url: TYPE_URL.to_owned(), value: detail.encode_to_vec() }];
    let rpc = RpcStatus { code: i32::from(code), message: message.clone(), details };
    Status::with_details(code, message, rpc.encode_to_vec().into())
}

/// The detail attached to `status`, if there is one that can be read.
pub fn detail(status: &Status) -> Option<ErrorDetail> {
    let rpc = RpcStatus::decode(status.details()).ok()?;
    let any = rpc.details.iter().find(|any| any.type_url == TYPE_URL)?;
    ErrorDetail::decode(any.value.as_slice()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v1::ErrorReason;

    #[test]
    fn a_detail_survives_the_status() {
        let sent = ErrorDetail {
            reason: ErrorReason::SqlInvalid.into(),
            origin: "a.sql".to_owned(),
            line: 12,
            column: 8,
            hint: "write it otherwise".to_owned(),
            ..ErrorDetail::default()
        };
        let status = status(Code::InvalidArgument, "no such column", &sent);
        assert_eq!(status.message(), "no such column");
        assert_eq!(detail(&status), Some(sent));
        assert_eq!(detail(&Status::not_found("bare")), None);
    }
}
