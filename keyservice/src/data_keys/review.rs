//! Tokens of service accounts, reviewed by the cluster's API server (`authentication.k8s.io/v1` TokenReview).
//!
//! The token must have been made for our audience. A good answer is remembered for a short time, under the token's
//! SHA-256; a bad one is not.

use super::Caller;
use crate::config::KubernetesReview;
use dawnkey_proto::tls::{Clock, Pin, TlsError, client_config};
use dawnkey_secret::Credential;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Longest token.
const MAX_TOKEN: usize = 16 << 10;
/// Longest answer.
const MAX_ANSWER: usize = 64 << 10;
/// Longest wait for an answer.
const DEADLINE: Duration = Duration::from_secs(5);
/// Most answers that are remembered.
const MOST: usize = 1024;
const PATH: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
/// Begin of the names of service accounts.
const ACCOUNT: &str = "system:serviceaccount:";

/// A token was not reviewed, or is not good.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// It is not a good one.
    #[error("the service account's token is not accepted: {0}")]
    Refused(String),
    /// The API server did not answer as it should.
    #[error("have the token reviewed at {server}: {problem}")]
    Failed {
        /// The API server.
        server: String,
        /// What went wrong.
        problem: String,
    },
}

/// Has tokens reviewed.
pub struct Reviewer {
    settings: KubernetesReview,
    tls: Arc<ClientConfig>,
    known: Mutex<BTreeMap<[u8; 32], (Caller, Instant)>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a> {
    api_version: &'static str,
    kind: &'static str,
    spec: Spec<'a>,
}

#[derive(Serialize)]
struct Spec<'a> {
    token: &'a str,
    audiences: [&'a str; 1],
}

#[derive(Deserialize)]
struct Reviewed {
    status: ReviewStatus,
}

#[derive(Deserialize)]
struct ReviewStatus {
    #[serde(default)]
    authenticated: bool,
    #[serde(default)]
    user: User,
    #[serde(default)]
    audiences: Vec<String>,
    #[serde(default)]
    error: String,
}

#[derive(Deserialize, Default)]
struct User {
    #[serde(default)]
    username: String,
}

impl Reviewer {
    /// Reviews at the API server of these settings.
    ///
    /// # Errors
    /// [`TlsError`] if the cluster's CA is not usable.
    pub fn new(settings: KubernetesReview) -> Result<Self, TlsError> {
        let pin = Pin::Ca(settings.ca.clone());
        let mut tls = client_config(&pin, Clock::Trusted, None)?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self {
            settings,
            tls: Arc::new(tls),
            known: Mutex::default(),
        })
    }

    /// Whose token it is.
    pub async fn review(&self, token: &str) -> Result<Caller, ReviewError> {
        if token.is_empty() || token.len() > MAX_TOKEN {
            let text = format!("{} bytes are no token", token.len());
            return Err(ReviewError::Refused(text));
        }
        let digest: [u8; 32] = Sha256::digest(token).into();
        if let Some(known) = self.remembered(&digest) {
            return Ok(known);
        }
        let asked = tokio::time::timeout(DEADLINE, self.ask(token)).await;
        let late = || self.failed(format!("no answer within {} s", DEADLINE.as_secs()));
        let status = asked.map_err(|_| late())??;
        let caller = self.judge(status)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let keep = self.settings.cache;
        known.retain(|_, (_, at)| at.elapsed() < keep);
        if known.len() < MOST {
            known.insert(digest, (caller.clone(), Instant::now()));
        }
        Ok(caller)
    }

    fn remembered(&self, digest: &[u8; 32]) -> Option<Caller> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (caller, at) = known.get(digest)?;
        (at.elapsed() < self.settings.cache).then(|| caller.clone())
    }

    fn failed(&self, problem: impl ToString) -> ReviewError {
        ReviewError::Failed {
            server: self.settings.host.clone(),
            problem: problem.to_string(),
        }
    }

    fn judge(&self, status: ReviewStatus) -> Result<Caller, ReviewError> {
        let refused = |text: String| Err(ReviewError::Refused(text));
        if !status.authenticated {
            let said = dawnkey_proto::message::printable(&status.error);
            return refused(format!("the API server says: {said}"));
        }
        // An API server that ignores audiences returns none.
        if !status.audiences.contains(&self.settings.audience) {
            return refused(format!(
                "it was not made for the audience {}",
                self.settings.audience
            ));
        }
        let name = status.user.username;
        if !name.starts_with(ACCOUNT) {
            return refused("it is not a service account's".into());
        }
        Ok(Caller { names: vec![name] })
    }

    async fn ask(&self, token: &str) -> Result<ReviewStatus, ReviewError> {
        let review = Review {
            api_version: "authentication.k8s.io/v1",
            kind: "TokenReview",
            spec: Spec {
                token,
                audiences: [&self.settings.audience],
            },
        };
        let body = serde_json::to_vec(&review).map_err(|e| self.failed(e))?;
        let own = self.own_token()?;
        let own = std::str::from_utf8(own.expose()).map_err(|e| self.failed(e))?;
        let mut bearer = header::HeaderValue::try_from(format!("Bearer {}", own.trim()))
            .map_err(|_| self.failed("our own token is not one"))?;
        bearer.set_sensitive(true);
        let request = Request::builder()
            .method(Method::POST)
            .uri(PATH)
            .header(header::HOST, &self.settings.host)
            .header(header::AUTHORIZATION, bearer)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|e| self.failed(e))?;
        let bytes = self.exchange(request).await?;
        let reviewed: Reviewed = serde_json::from_slice(&bytes).map_err(|e| self.failed(e))?;
        Ok(reviewed.status)
    }

    /// Read each time: the platform renews it.
    fn own_token(&self) -> Result<Credential, ReviewError> {
        dawnkey_secret::credential::platform_token(&self.settings.token).map_err(|e| self.failed(e))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Bytes, ReviewError> {
        let settings = &self.settings;
        let tcp = TcpStream::connect((settings.host.as_str(), settings.port)).await;
        let tcp = tcp.map_err(|e| self.failed(e))?;
        let tls = TlsConnector::from(Arc::clone(&self.tls))
            .connect(settings.name.clone(), tcp)
            .await
            .map_err(|e| self.failed(e))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(tls))
            .await
            .map_err(|e| self.failed(e))?;
        // Ends with the sender.
        let driver = tokio::spawn(connection);
        let answer = sender.send_request(request).await;
        let answer = answer.map_err(|e| self.failed(e))?;
        let status = answer.status();
        if status != StatusCode::CREATED && status != StatusCode::OK {
            driver.abort();
            return Err(self.failed(format!(
                "HTTP {status}; our service account needs `create` on tokenreviews (ClusterRole system:auth-delegator)"
            )));
        }
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        driver.abort();
        let body = body.map_err(|e| self.failed(e))?;
        Ok(body.to_bytes())
    }
}
