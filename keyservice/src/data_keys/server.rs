//! The gRPC service for callers in a cluster: finds out who asks, then a thin coat over the desk.

use super::desk::DataKeyError;
use super::{Caller, ReviewError, Reviewer};
use crate::desk::Desk;
use crate::server::Guest;
use dawnkey_proto::data_key as wire;
use dawnkey_proto::data_key::api_server::Api;
use std::sync::Arc;
use tokio_util::task::TaskTracker;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status};

/// Answers callers in a cluster.
pub(crate) struct DataKeys {
    pub desk: Arc<Desk>,
    pub tasks: TaskTracker,
    pub reviewer: Option<Arc<Reviewer>>,
}

fn bearer(metadata: &MetadataMap) -> Option<&str> {
    metadata
        .get("authorization")?
        .to_str()
        .ok()?
        .strip_prefix("Bearer ")
}

fn status(error: &DataKeyError) -> Status {
    let code = match error {
        DataKeyError::Invalid(_) => Code::InvalidArgument,
        DataKeyError::Denied(_) | DataKeyError::Volume(_) => Code::PermissionDenied,
        DataKeyError::Missing(_) => Code::NotFound,
        DataKeyError::Unavailable(_) => Code::Unavailable,
    };
    Status::new(code, error.to_string())
}

impl DataKeys {
    /// Who asks: a token speaks for its account, whatever certificate comes with it.
    async fn caller<T>(&self, guest: &Guest, request: &Request<T>) -> Result<Caller, Status> {
        match (bearer(request.metadata()), &self.reviewer) {
            (Some(token), Some(reviewer)) => {
                reviewer.review(token).await.map_err(|error| match error {
                    ReviewError::Refused(_) => Status::unauthenticated(error.to_string()),
                    ReviewError::Failed { .. } => Status::unavailable(error.to_string()),
                })
            }
            (Some(_), None) => Err(Status::unauthenticated(
                "this service takes no tokens; use a client certificate",
            )),
            (None, _) if !guest.names().is_empty() => Ok(Caller {
                names: guest.names().to_vec(),
            }),
            (None, _) => Err(Status::unauthenticated(
                "neither a client certificate nor a service account's token says who asks",
            )),
        }
    }
}

#[tonic::async_trait]
impl Api for DataKeys {
    async fn get_data_key(
        &self,
        request: Request<wire::GetDataKeyRequest>,
    ) -> Result<Response<wire::GetDataKeyResponse>, Status> {
        let guest = Guest::of(&request)?;
        let caller = self.caller(&guest, &request).await?;
        let (desk, peer, asked) = (Arc::clone(&self.desk), guest.peer(), request.into_inner());
        // Runs to its end even when the caller hangs up: no key is made without its audit record.
        let task = self.tasks.spawn(async move {
            desk.data_key(&caller, peer, &asked.data_key_id, asked.length)
                .await
        });
        let outcome = task
            .await
            .map_err(|_| Status::internal("the answer broke off"))?;
        let key = outcome.map_err(|e| status(&e))?;
        Ok(Response::new(wire::GetDataKeyResponse {
            data_key: key.expose().to_vec(),
        }))
    }
}
