//! A thin typed client: one method an rpc, errors sorted by who can do something about them.

use std::error::Error;
use std::time::Duration;

use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};

use crate::refusal;
use crate::v1::view_admin_service_client::ViewAdminServiceClient;
use crate::v1::view_service_client::ViewServiceClient;
use crate::v1::{
    DeployRequest, DeployResponse, DropRequest, DropResponse, ErrorDetail, ExecuteRequest, ExecuteResponse,
    ExplainRequest, ExplainResponse, GetRequest, GetResponse, GetStatusRequest, GetStatusResponse, ListRequest,
    ListResponse, QueryRequest, QueryResponse, SubscribeRequest, SubscribeResponse, WatchDeploymentRequest,
    WatchDeploymentResponse,
};

/// The largest message that client and server send or accept, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// After how much silence client and server ask each other for a sign of life.
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// How long they wait for it before they give the connection up.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
// A large answer is limited by these windows times the round trips, not by the default 64 KiB.
const STREAM_WINDOW_BYTES: u32 = 2 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;

/// Why a call had no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address cannot be an address.
    #[error("\"{address}\" is not the address of a server: {message}")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        message: String,
    },
    /// Nobody answers there, or the connection broke.
    #[error("the server at {address} does not answer: {message}")]
    Unreachable {
        /// Where.
        address: String,
        /// What the network said.
        message: String,
    },
    /// The server refused or failed.
    #[error("{}", .0.message)]
    Refused(Box<Refusal>),
}

/// What the server said when it refused.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// The status code.
    pub code: Code,
    /// What is wrong.
    pub message: String,
    /// Where, and what to do, if the server said so.
    pub detail: Option<ErrorDetail>,
}

/// A connection to a server. Clones share it.
#[derive(Clone, Debug)]
pub struct Client {
    address: String,
    admin: ViewAdminServiceClient<Channel>,
    view: ViewServiceClient<Channel>,
}

impl Client {
    /// Connects to `address`, for instance `http://127.0.0.1:6565`, within five seconds.
    pub async fn connect(address: &str) -> Result<Client, ClientError> {
        let wrong = |message: String| ClientError::Address { address: address.to_owned(), message };
        if !address.starts_with("http://") {
            return Err(wrong("it must have the form http://HOST:PORT".to_owned()));
        }
        let channel = Endpoint::from_shared(address.to_owned())
            .map_err(|error| wrong(innermost(&error)))?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .connect()
            .await
            .map_err(|error| ClientError::Unreachable { address: address.to_owned(), message: innermost(&error) })?;
        Ok(Client {
            address: address.to_owned(),
            admin: ViewAdminServiceClient::new(channel.clone())
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX),
            view: ViewServiceClient::new(channel)
                .max_decoding_message_size(MESSAGE_BYTES_MAX)
                .max_encoding_message_size(MESSAGE_BYTES_MAX),
        })
    }

    /// Where the server is.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Checks and applies statements.
    pub async fn deploy(&self, request: DeployRequest) -> Result<DeployResponse, ClientError> {
        let answer = self.admin.clone().deploy(request).await;
        answer.map(tonic::Response::into_inner).map_err(|status| self.error(&status))
    }

    /// Carries out statements of any kind, in order.
    pub async fn execute(&self, request: ExecuteRequest) -> Result<Messages<ExecuteResponse>, ClientError> {
        let answer = self.admin.clone().execute(request).await;
        self.messages(answer)
    }

    /// Drops an object.
    pub async fn drop_object(&self, request: DropRequest) -> Result<DropResponse, ClientError> {
        let answer = self.admin.clone().drop(request).await;
        answer.map(tonic::Response::into_inner).map_err(|status| self.error(&status))
    }

    /// Reports the state of objects until all are serving or failed.
    pub async fn watch_deployment(
        &self,
        request: WatchDeploymentRequest,
    ) -> Result<Messages<WatchDeploymentResponse>, ClientError> {
        let answer = self.admin.clone().watch_deployment(request).await;
        self.messages(answer)
    }

    /// All objects.
    pub async fn list(&self) -> Result<ListResponse, ClientError> {
        let answer = self.admin.clone().list(ListRequest {}).await;
        answer.map(tonic::Response::into_inner).map_err(|status| self.error(&status))
    }

    /// One object.
    pub async fn get(&self, request: GetRequest) -> Result<GetResponse, ClientError> {
        let answer = self.admin.clone().get(request).await;
        answer.map(tonic::Response::into_inner).map_err(|status| self.error(&status))
    }

    /// The plan of a view or a query.
    pub async fn explain(&self, request: ExplainRequest) -> Result<ExplainResponse, ClientError> {
        let answer = self.admin.clone().explain(request).await;
        answer.map(tonic::Response::into_inner).map_err(|status| self.error(&status))
    }

    /// The state of the server.
    pub async fn status(&self) -> Result<GetStatusResponse, ClientError> {
        let answer = self.admin.clone().get_status(GetStatusRequest {}).await;
        answer.map(tonic::Response::into_inner).map_err(|status| self.error(&status))
    }

    /// The rows of a SELECT at one time.
    pub async fn query(&self, request: QueryRequest) -> Result<Messages<QueryResponse>, ClientError> {
        let answer = self.view.clone().query(request).await;
        self.messages(answer)
    }

    /// Views and their changes.
    pub async fn subscribe(&self, request: SubscribeRequest) -> Result<Messages<SubscribeResponse>, ClientError> {
        let answer = self.view.clone().subscribe(request).await;
        self.messages(answer)
    }

    fn messages<T>(&self, answer: Result<tonic::Response<Streaming<T>>, Status>) -> Result<Messages<T>, ClientError> {
        let stream = answer.map_err(|status| self.error(&status))?.into_inner();
        Ok(Messages { address: self.address.clone(), stream })
    }

    fn error(&self, status: &Status) -> ClientError {
        sorted(&self.address, status)
    }
}

/// The messages of a streaming call.
#[derive(Debug)]
pub struct Messages<T> {
    address: String,
    stream: Streaming<T>,
}

impl<T> Messages<T> {
    /// The next message, or none after the last.
    pub async fn next(&mut self) -> Result<Option<T>, ClientError> {
        self.stream.message().await.map_err(|status| sorted(&self.address, &status))
    }
}

fn sorted(address: &str, status: &Status) -> ClientError {
    // Only a status that this side made up from a failed connection has a source.
    if status.source().is_some() {
        return ClientError::Unreachable { address: address.to_owned(), message: innermost(status) };
    }
    ClientError::Refused(Box::new(Refusal {
        code: status.code(),
        message: status.message().to_owned(),
        detail: refusal::detail(status),
    }))
}

/// The text of the innermost cause, which is what the operating system said; the outer ones only name layers.
fn innermost(error: &dyn Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(address: &str) -> ClientError {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(Client::connect(address)).unwrap_err()
    }

    #[test]
    fn an_address_that_is_none_is_refused() {
        assert!(matches!(connect("127.0.0.1:6565"), ClientError::Address { .. }));
        assert!(matches!(connect("http://"), ClientError::Address { .. }));
    }

    #[test]
    fn a_server_that_is_not_there_is_named() {
        // The port was free a moment ago, and nobody listens on it.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("http://127.0.0.1:{port}");
        let error = connect(&address);
        assert!(matches!(error, ClientError::Unreachable { .. }));
        assert!(error.to_string().contains(&address));
    }
}
