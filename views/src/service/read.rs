//! `ViewService`: reading views, once or as they change.

use futures::stream::{self, BoxStream, StreamExt};
use headwater_proto::v1;
use headwater_proto::v1::query_response::Message;
use headwater_proto::v1::view_service_server::ViewService;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use super::encoder::{RowEncoder, encoding, slices};
use super::objects::ms;
use super::refusal::{invalid, refuse};
use super::subscription::Subscription;
use crate::control::{Control, SubscribeOptions};

/// The service.
pub(super) struct Read {
    control: Control,
    stopping: watch::Receiver<bool>,
}

impl Read {
    pub(super) fn new(control: Control, stopping: watch::Receiver<bool>) -> Read {
        Read { control, stopping }
    }
}

#[tonic::async_trait]
impl ViewService for Read {
    type QueryStream = BoxStream<'static, Result<v1::QueryResponse, Status>>;
    type SubscribeStream = BoxStream<'static, Result<v1::SubscribeResponse, Status>>;

    async fn query(&self, request: Request<v1::QueryRequest>) -> Result<Response<Self::QueryStream>, Status> {
        let request = request.into_inner();
        let encoding = encoding(request.encoding)?;
        if request.sql.trim().is_empty() {
            return Err(invalid("there is no query"));
        }
        let at = request.at.map(|at| u64::try_from(at).map_err(|_| invalid(format!("there is no time {at}"))));
        let answer = self.control.query(&request.sql, at.transpose()?).await.map_err(refuse)?;
        let (mut encoder, schema) = RowEncoder::start(&answer.schema, encoding)?;
        let started = v1::QueryStarted { at: ms(answer.at), schema: Some(schema) };
        let started = v1::QueryResponse { message: Some(Message::Started(started)) };
        // A slice is encoded when the connection has room for it.
        let batches = answer.batches.into_iter().flat_map(|batch| slices(&batch)).map(move |slice| {
            let batch = encoder.encode(&slice)?;
            Ok(v1::QueryResponse { message: Some(Message::Batch(batch)) })
        });
        Ok(Response::new(stream::iter(std::iter::once(Ok(started)).chain(batches)).boxed()))
    }

    async fn subscribe(
        &self,
        request: Request<v1::SubscribeRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let request = request.into_inner();
        let encoding = encoding(request.encoding)?;
        if request.views.is_empty() {
            return Err(invalid("there is no view to subscribe to"));
        }
        let options =
            SubscribeOptions { views: request.views, skip_snapshot: request.skip_snapshot, progress: request.progress };
        let events = self.control.subscribe(options).await.map_err(refuse)?;
        let subscription = Subscription::new(events, encoding, self.stopping.clone());
        let messages = stream::unfold(subscription, |mut subscription| async {
            let message = subscription.next().await?;
            Some((message, subscription))
        });
        Ok(Response::new(messages.boxed()))
    }
}
