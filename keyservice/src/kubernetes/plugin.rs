//! The gRPC service: checks the API's limits, finds the key, encrypts or decrypts, and writes it down.

use super::keys::{Keys, NoKey};
use super::socket::{self, LocalPeer, SocketError};
use super::{KeyId, MAX_ANNOTATIONS, MAX_BYTES, seal};
use crate::audit::Entry;
use crate::config::KubernetesKms;
use crate::desk::Desk;
use dawnkey_proto::kubernetes as wire;
use dawnkey_proto::kubernetes::key_management_service_server::{
    KeyManagementService, KeyManagementServiceServer,
};
use dawnkey_proto::message::printable;
use std::collections::HashMap;
use std::sync::Arc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::UdsConnectInfo;
use tonic::{Code, Request, Response, Status};

/// Longest message: annotations, ciphertext, ids and framing.
const MAX_MESSAGE: usize = 64 << 10;

/// Binds the plugin's socket and answers until `stop`.
///
/// # Errors
/// [`SocketError`] when it cannot listen there.
pub(crate) async fn serve(
    config: &KubernetesKms,
    desk: Arc<Desk>,
    stop: CancellationToken,
) -> Result<JoinHandle<()>, SocketError> {
    let listener = socket::bind(&config.socket).await?;
    let incoming = socket::accept(listener, config.uids.clone(), stop.clone());
    let plugin = Plugin {
        keys: Arc::new(Keys::new(desk, config.cache)),
    };
    let service = KeyManagementServiceServer::new(plugin).max_decoding_message_size(MAX_MESSAGE);
    let path = config.socket.clone();
    Ok(tokio::spawn(async move {
        let server = Server::builder().add_service(service);
        // An error of one connection is not the server's.
        let _ = server
            .serve_with_incoming_shutdown(incoming, stop.cancelled_owned())
            .await;
        // A socket that nobody answers would only puzzle.
        let _ = std::fs::remove_file(path);
    }))
}

struct Plugin {
    keys: Arc<Keys>,
}

fn peer<T>(request: &Request<T>) -> Result<LocalPeer, Status> {
    request
        .extensions()
        .get::<UdsConnectInfo>()
        .and_then(LocalPeer::of)
        .ok_or_else(|| Status::unauthenticated("the kernel names no user of this connection"))
}

fn refused(error: &NoKey) -> Status {
    let code = match error {
        NoKey::Unknown(_) => Code::NotFound,
        error if error.passes() => Code::Unavailable,
        _ => Code::FailedPrecondition,
    };
    Status::new(code, error.to_string())
}

/// The key id of a request to decrypt that keeps the API's limits.
fn checked(asked: &wire::DecryptRequest) -> Result<KeyId, Status> {
    let invalid = |text: String| Err(Status::invalid_argument(text));
    if asked.key_id.is_empty() || asked.key_id.len() > MAX_BYTES {
        let length = asked.key_id.len();
        return invalid(format!(
            "key_id: {length} bytes instead of 1 to {MAX_BYTES}"
        ));
    }
    let length = asked.ciphertext.len();
    if length == 0 || length > MAX_BYTES {
        return invalid(format!(
            "ciphertext: {length} bytes instead of 1 to {MAX_BYTES}"
        ));
    }
    annotations(&asked.annotations)?;
    KeyId::parse(&asked.key_id).ok_or_else(|| {
        let found = printable(&asked.key_id);
        Status::not_found(format!("there is no key {found}"))
    })
}

/// This plugin makes no annotations, so that none can come back.
fn annotations(given: &HashMap<String, Vec<u8>>) -> Result<(), Status> {
    let bytes: usize = given.iter().map(|(k, v)| k.len() + v.len()).sum();
    if bytes > MAX_ANNOTATIONS {
        let text = format!("annotations: {bytes} bytes instead of at most {MAX_ANNOTATIONS}");
        return Err(Status::invalid_argument(text));
    }
    match given.keys().next() {
        None => Ok(()),
        Some(name) => Err(Status::invalid_argument(format!(
            "annotations: this plugin makes none, but there is {}",
            printable(name)
        ))),
    }
}

impl Plugin {
    /// Writes an act or a refusal down; without that there is no answer.
    async fn note<T>(
        &self,
        event: &'static str,
        (peer, uid, key): (LocalPeer, &str, &str),
        outcome: Result<T, Status>,
    ) -> Result<T, Status> {
        let refusal = outcome.as_ref().err().map(|status| status.message());
        let entry = Entry::new(event)
            .with("peer_uid", peer.uid())
            .with("request", printable(uid))
            .with("key_id", printable(key))
            .with_some("refused", refusal.map(str::to_owned));
        let desk = self.keys.desk();
        let name = if outcome.is_ok() { "done" } else { "refused" };
        desk.metrics.administered(event, name);
        match desk.audit.append(entry).await {
            Ok(()) => outcome,
            Err(error) => Err(Status::unavailable(error.to_string())),
        }
    }

    async fn open(&self, peer: LocalPeer, asked: &wire::DecryptRequest) -> Result<Vec<u8>, Status> {
        let id = checked(asked)?;
        let dek = self.keys.of(id, &peer).await.map_err(|e| refused(&e))?;
        match seal::open(&dek, id, &asked.ciphertext) {
            Some(mut plaintext) => Ok(std::mem::take(&mut *plaintext)),
            None => Err(Status::invalid_argument(format!(
                "ciphertext: it was not made with key {id}, or is damaged"
            ))),
        }
    }

    async fn seal(&self, peer: LocalPeer, plaintext: &[u8]) -> Result<(KeyId, Vec<u8>), Status> {
        let (length, most) = (plaintext.len(), seal::MAX_PLAINTEXT);
        if length > most {
            return Err(Status::invalid_argument(format!(
                "plaintext: {length} bytes instead of at most {most}"
            )));
        }
        let (id, dek) = self.keys.current(&peer).await.map_err(|e| refused(&e))?;
        let sealed = seal::seal(&dek, id, plaintext)
            .ok_or_else(|| Status::internal("the random generator of this system does not work"))?;
        Ok((id, sealed))
    }
}

#[tonic::async_trait]
impl KeyManagementService for Plugin {
    async fn status(
        &self,
        request: Request<wire::StatusRequest>,
    ) -> Result<Response<wire::StatusResponse>, Status> {
        let (id, health) = self.keys.health(&peer(&request)?).await;
        let healthz = match health {
            Ok(()) => "ok".to_owned(),
            Err(error) => error.to_string(),
        };
        Ok(Response::new(wire::StatusResponse {
            version: "v2".into(),
            healthz,
            key_id: id.map(|id| id.to_string()).unwrap_or_default(),
        }))
    }

    async fn decrypt(
        &self,
        request: Request<wire::DecryptRequest>,
    ) -> Result<Response<wire::DecryptResponse>, Status> {
        let peer = peer(&request)?;
        let asked = request.into_inner();
        let outcome = self.open(peer, &asked).await;
        let about = (peer, asked.uid.as_str(), asked.key_id.as_str());
        let plaintext = self.note("kubernetes-decrypt", about, outcome).await?;
        Ok(Response::new(wire::DecryptResponse { plaintext }))
    }

    async fn encrypt(
        &self,
        request: Request<wire::EncryptRequest>,
    ) -> Result<Response<wire::EncryptResponse>, Status> {
        let peer = peer(&request)?;
        let asked = request.into_inner();
        let plaintext = zeroize::Zeroizing::new(asked.plaintext);
        let outcome = self.seal(peer, &plaintext).await;
        let key_id = outcome.as_ref().map(|(id, _)| id.to_string());
        let key_id = key_id.unwrap_or_default();
        let about = (peer, asked.uid.as_str(), key_id.as_str());
        let (_, ciphertext) = self.note("kubernetes-encrypt", about, outcome).await?;
        Ok(Response::new(wire::EncryptResponse {
            ciphertext,
            key_id,
            annotations: HashMap::new(),
        }))
    }
}
