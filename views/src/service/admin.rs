//! `ViewAdminService`: what is deployed, and how it is.

use futures::stream::{self, BoxStream, StreamExt};
use headwater_proto::v1;
use headwater_proto::v1::view_admin_service_server::ViewAdminService;
use tokio::sync::{mpsc, watch};
use tonic::{Request, Response, Status};

use super::encoder::encoding;
use super::refusal::{invalid, refuse, unavailable};
use super::{execute, objects, stopped};
use crate::control::{Control, ObjectInfo, Script};

/// The service.
pub(super) struct Admin {
    control: Control,
    stopping: watch::Receiver<bool>,
}

impl Admin {
    pub(super) fn new(control: Control, stopping: watch::Receiver<bool>) -> Admin {
        Admin { control, stopping }
    }
}

#[tonic::async_trait]
impl ViewAdminService for Admin {
    type WatchDeploymentStream = BoxStream<'static, Result<v1::WatchDeploymentResponse, Status>>;

    async fn deploy(&self, request: Request<v1::DeployRequest>) -> Result<Response<v1::DeployResponse>, Status> {
        let request = request.into_inner();
        let encoding = encoding(request.encoding)?;
        if request.scripts.is_empty() {
            return Err(invalid("there is no script to deploy"));
        }
        let scripts = request.scripts.into_iter().map(|v1::Script { origin, text }| Script { origin, text }).collect();
        let outcomes = self.control.deploy(scripts, request.validate_only).await.map_err(refuse)?;
        let outcomes = outcomes.into_iter().map(|outcome| objects::outcome(outcome, encoding));
        Ok(Response::new(v1::DeployResponse { outcomes: outcomes.collect::<Result<_, Status>>()? }))
    }

    type ExecuteStream = BoxStream<'static, Result<v1::ExecuteResponse, Status>>;

    async fn execute(&self, request: Request<v1::ExecuteRequest>) -> Result<Response<Self::ExecuteStream>, Status> {
        execute::execute(self.control.clone(), request.into_inner()).map(Response::new)
    }

    async fn drop(&self, request: Request<v1::DropRequest>) -> Result<Response<v1::DropResponse>, Status> {
        let v1::DropRequest { name, cascade, if_exists } = request.into_inner();
        named(&name)?;
        let dropped = self.control.drop_object(&name, cascade, if_exists).await.map_err(refuse)?;
        Ok(Response::new(v1::DropResponse { dropped }))
    }

    async fn watch_deployment(
        &self,
        request: Request<v1::WatchDeploymentRequest>,
    ) -> Result<Response<Self::WatchDeploymentStream>, Status> {
        let names = request.into_inner().names;
        if names.is_empty() {
            return Err(invalid("there is no name to watch"));
        }
        let reports = self.control.watch(names).await.map_err(refuse)?;
        let watched = Watched { reports, stopping: self.stopping.clone(), ended: false };
        let messages = stream::unfold(watched, |mut watched| async {
            let message = watched.next().await?;
            Some((message, watched))
        });
        Ok(Response::new(messages.boxed()))
    }

    async fn list(&self, _: Request<v1::ListRequest>) -> Result<Response<v1::ListResponse>, Status> {
        let objects = objects::objects(self.control.list().await.map_err(refuse)?)?;
        Ok(Response::new(v1::ListResponse { objects }))
    }

    async fn get(&self, request: Request<v1::GetRequest>) -> Result<Response<v1::GetResponse>, Status> {
        let name = request.into_inner().name;
        named(&name)?;
        let object = objects::object(self.control.get(&name).await.map_err(refuse)?)?;
        Ok(Response::new(v1::GetResponse { object: Some(object) }))
    }

    async fn explain(&self, request: Request<v1::ExplainRequest>) -> Result<Response<v1::ExplainResponse>, Status> {
        let v1::ExplainRequest { target, analyze } = request.into_inner();
        named(&target)?;
        let plan = self.control.explain(&target, analyze).await.map_err(refuse)?;
        Ok(Response::new(v1::ExplainResponse { plan }))
    }

    async fn get_status(&self, _: Request<v1::GetStatusRequest>) -> Result<Response<v1::GetStatusResponse>, Status> {
        let status = self.control.status().await.map_err(refuse)?;
        Ok(Response::new(objects::status(status)?))
    }
}

fn named(name: &str) -> Result<(), Status> {
    if name.trim().is_empty() { Err(invalid("the request names nothing")) } else { Ok(()) }
}

/// The reports on a deployment, until it or the server ends.
struct Watched {
    reports: mpsc::Receiver<Vec<ObjectInfo>>,
    stopping: watch::Receiver<bool>,
    ended: bool,
}

impl Watched {
    async fn next(&mut self) -> Option<Result<v1::WatchDeploymentResponse, Status>> {
        if self.ended {
            return None;
        }
        let report = tokio::select! {
            biased;
            report = self.reports.recv() => report?,
            () = stopped(&mut self.stopping) => {
                self.ended = true;
                return Some(Err(unavailable("the server is stopping")));
            }
        };
        let message = objects::objects(report).map(|objects| v1::WatchDeploymentResponse { objects });
        self.ended = message.is_err();
        Some(message)
    }
}
