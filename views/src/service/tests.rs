//! The services over a real connection, against a coordinator that is played.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use headwater_dataflow::repr::ObjectId;
use headwater_proto::client::{Client, ClientError};
use headwater_proto::v1;
use headwater_proto::v1::{query_response, subscribe_response};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use super::*;
use crate::control::{ControlError, ObjectInfo, ObjectState, QueryAnswer, Request, SubscriptionEvent, ViewChanges};
use crate::sql::ObjectKind;

const WAIT: Duration = Duration::from_secs(20);

fn rows(count: i64) -> RecordBatch {
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(0..count));
    RecordBatch::try_from_iter([("n", column)]).unwrap()
}

fn info(name: &str) -> ObjectInfo {
    ObjectInfo {
        object: ObjectId(1),
        name: name.to_owned(),
        kind: ObjectKind::MaterializedView,
        state: ObjectState::Serving,
        sql: String::new(),
        schema: rows(0).schema(),
        reads: Vec::new(),
        since: 0,
        upper: 8,
        updates: 0,
        errors: 0,
        rows_per_second_max: None,
        freshness_ms: None,
        figures: None,
    }
}

/// Answers as a coordinator that has one view, `v`. Subscriptions stay open in `open`.
async fn play(mut requests: mpsc::Receiver<Request>) {
    let mut open = Vec::new();
    while let Some(request) = requests.recv().await {
        match request {
            Request::Get { name, reply } => {
                let found =
                    if name == "v" { Ok(info("v")) } else { Err(ControlError::NotFound { kind: "view", name }) };
                reply.send(found).unwrap();
            }
            Request::List { reply } => reply.send(Ok(vec![info("v")])).unwrap(),
            Request::Query { at, reply, .. } => {
                let answer = QueryAnswer { at: at.unwrap_or(7), schema: rows(0).schema(), batches: vec![rows(20_000)] };
                reply.send(Ok(answer)).unwrap();
            }
            Request::Watch { reply, .. } => {
                let (send, reports) = mpsc::channel(1);
                send.try_send(vec![info("v")]).unwrap();
                reply.send(Ok(reports)).unwrap();
            }
            Request::Subscribe { reply, .. } => {
                let (send, events) = mpsc::channel(4);
                send.try_send(SubscriptionEvent::Started { schemas: vec![rows(0).schema()], at: 7 }).unwrap();
                let changes = vec![ViewChanges { view: 0, rows: rows(3), diffs: Arc::new([1, 1, 1]) }];
                let snapshot = SubscriptionEvent::Transition { from: 0, to: 7, snapshot: true, more: false, changes };
                send.try_send(snapshot).unwrap();
                open.push(send);
                reply.send(Ok(events)).unwrap();
            }
            other => panic!("no test asks {other:?}"),
        }
    }
}

struct Served {
    address: String,
    ready: watch::Sender<bool>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), ServiceError>>,
}

async fn start() -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (requests, received) = mpsc::channel(4);
    tokio::spawn(play(received));
    let (ready, is_ready) = watch::channel(false);
    let (stop, stopped) = oneshot::channel();
    let serving = tokio::spawn(serve(Control::new(requests), listener, is_ready, async {
        let _ = stopped.await;
    }));
    Served { address, ready, stop, serving }
}

async fn channel(served: &Served) -> Channel {
    Endpoint::from_shared(served.address.clone()).unwrap().connect().await.unwrap()
}

#[tokio::test]
async fn requests_reach_the_coordinator_and_answers_come_back() {
    let served = start().await;
    let client = Client::connect(&served.address).await.unwrap();
    assert_eq!(client.list().await.unwrap().objects[0].name, "v");
    assert_eq!(client.get(v1::GetRequest { name: "v".to_owned() }).await.unwrap().object.unwrap().upper, 8);
    let request = v1::QueryRequest { sql: "SELECT n FROM v".to_owned(), at: Some(5), ..Default::default() };
    let mut messages = client.query(request).await.unwrap();
    let (mut at, mut values) = (0, 0);
    while let Some(message) = messages.next().await.unwrap() {
        match message.message.unwrap() {
            query_response::Message::Started(started) => at = started.at,
            query_response::Message::Batch(batch) => values += batch.rows.len(),
        }
    }
    assert_eq!((at, values), (5, 20_000));
    let mut reports =
        client.watch_deployment(v1::WatchDeploymentRequest { names: vec!["v".to_owned()] }).await.unwrap();
    assert_eq!(reports.next().await.unwrap().unwrap().objects[0].phase(), v1::ObjectPhase::Serving);
    assert!(reports.next().await.unwrap().is_none());
}

fn code(error: ClientError) -> (Code, v1::ErrorReason) {
    let ClientError::Refused(refusal) = error else { panic!("{error}") };
    (refusal.code, refusal.detail.unwrap().reason())
}

#[tokio::test]
async fn refusals_come_with_their_reason() {
    let served = start().await;
    let client = Client::connect(&served.address).await.unwrap();
    let missing = client.get(v1::GetRequest { name: "w".to_owned() }).await.unwrap_err();
    assert_eq!(code(missing), (Code::NotFound, v1::ErrorReason::NotFound));
    let invalid = (Code::InvalidArgument, v1::ErrorReason::RequestInvalid);
    assert_eq!(code(client.get(v1::GetRequest::default()).await.unwrap_err()), invalid);
    assert_eq!(code(client.deploy(v1::DeployRequest::default()).await.unwrap_err()), invalid);
    assert_eq!(code(client.subscribe(v1::SubscribeRequest::default()).await.unwrap_err()), invalid);
    let past = v1::QueryRequest { sql: "SELECT 1".to_owned(), at: Some(-1), ..Default::default() };
    assert_eq!(code(client.query(past).await.unwrap_err()), invalid);
}

#[tokio::test]
async fn a_stopping_server_closes_its_subscriptions_and_ends() {
    let served = start().await;
    let client = Client::connect(&served.address).await.unwrap();
    let request = v1::SubscribeRequest { views: vec!["v".to_owned()], ..Default::default() };
    let mut messages = client.subscribe(request).await.unwrap();
    let mut next = async || messages.next().await.unwrap().unwrap().message.unwrap();
    assert!(matches!(next().await, subscribe_response::Message::Started(_)));
    let subscribe_response::Message::Transition(snapshot) = next().await else { panic!("no snapshot") };
    assert!(snapshot.snapshot && snapshot.changes[0].diffs == [1, 1, 1]);
    served.stop.send(()).unwrap();
    assert!(matches!(next().await, subscribe_response::Message::Closing(_)));
    timeout(WAIT, served.serving).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn health_follows_readiness() {
    let served = start().await;
    let mut health = HealthClient::new(channel(&served).await);
    let service = view_service_server::SERVICE_NAME.to_owned();
    let mut states = health.watch(HealthCheckRequest { service }).await.unwrap().into_inner();
    let mut until = async |wanted: ServingStatus| {
        let seen = async { while states.message().await.unwrap().unwrap().status != wanted as i32 {} };
        timeout(WAIT, seen).await.unwrap();
    };
    until(ServingStatus::NotServing).await;
    served.ready.send_replace(true);
    until(ServingStatus::Serving).await;
    served.ready.send_replace(false);
    until(ServingStatus::NotServing).await;
    served.ready.send_replace(true);
    until(ServingStatus::Serving).await;
    served.stop.send(()).unwrap();
    until(ServingStatus::NotServing).await;
}

#[tokio::test]
async fn the_server_describes_its_services() {
    let served = start().await;
    let mut reflection = ServerReflectionClient::new(channel(&served).await);
    let question =
        |message_request| ServerReflectionRequest { host: String::new(), message_request: Some(message_request) };
    let questions = [
        question(MessageRequest::ListServices(String::new())),
        question(MessageRequest::FileContainingSymbol("headwater.v1.ErrorDetail".to_owned())),
    ];
    let mut answers = reflection.server_reflection_info(futures::stream::iter(questions)).await.unwrap().into_inner();
    let Some(MessageResponse::ListServicesResponse(list)) = answers.message().await.unwrap().unwrap().message_response
    else {
        panic!("no list of services");
    };
    let names: Vec<&str> = list.service.iter().map(|service| service.name.as_str()).collect();
    for name in [view_admin_service_server::SERVICE_NAME, view_service_server::SERVICE_NAME, "grpc.health.v1.Health"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let file = answers.message().await.unwrap().unwrap().message_response;
    assert!(matches!(file, Some(MessageResponse::FileDescriptorResponse(_))), "{file:?}");
}
