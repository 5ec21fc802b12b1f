//! The gRPC service for nodes: a thin coat over the desk.

use super::stream::Caller;
use crate::desk::{Desk, Session};
use dawnkey_proto::wire::key_service_server::KeyService;
use dawnkey_proto::wire::{self, confirm_answer};
use std::future::Future;
use std::sync::Arc;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status};

/// Answers nodes.
pub(super) struct Nodes {
    pub desk: Arc<Desk>,
    pub tasks: TaskTracker,
}

fn session<T>(request: &Request<T>) -> Result<Arc<Session>, Status> {
    match request.extensions().get::<Caller>() {
        Some(Caller::Node(session)) => Ok(Arc::clone(session)),
        _ => Err(Status::internal("the connection is not a node's")),
    }
}

impl Nodes {
    /// Runs to its end even when the node hangs up: a change of the store never stays without its audit record.
    async fn finish<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, Status> {
        let task = self.tasks.spawn(work);
        task.await
            .map_err(|_| Status::internal("the answer broke off"))
    }
}

#[tonic::async_trait]
impl KeyService for Nodes {
    async fn unlock(
        &self,
        request: Request<wire::UnlockRequest>,
    ) -> Result<Response<wire::UnlockAnswer>, Status> {
        let session = session(&request)?;
        let work = Arc::clone(&self.desk).unlock(session, request.into_inner());
        Ok(Response::new(self.finish(work).await?.into()))
    }

    async fn activate(
        &self,
        request: Request<wire::ActivateRequest>,
    ) -> Result<Response<wire::UnlockAnswer>, Status> {
        let session = session(&request)?;
        let work = Arc::clone(&self.desk).activate(session, request.into_inner());
        Ok(Response::new(self.finish(work).await?.into()))
    }

    async fn confirm(
        &self,
        request: Request<wire::ConfirmRequest>,
    ) -> Result<Response<wire::ConfirmAnswer>, Status> {
        let session = session(&request)?;
        let work = Arc::clone(&self.desk).confirm(session, request.into_inner());
        let answer = match self.finish(work).await? {
            Ok(()) => confirm_answer::Answer::Confirmed(wire::Confirmed {}),
            Err(refusal) => confirm_answer::Answer::Refuse(refusal.into()),
        };
        Ok(Response::new(wire::ConfirmAnswer {
            answer: Some(answer),
        }))
    }

    async fn renew(
        &self,
        request: Request<wire::RenewRequest>,
    ) -> Result<Response<wire::RenewAnswer>, Status> {
        let session = session(&request)?;
        let work = Arc::clone(&self.desk).renew(session, request.into_inner());
        Ok(Response::new(self.finish(work).await?.into()))
    }
}
