//! Logging in, and the token that comes of it: renewed before it ends, obtained anew when it is not accepted any more.

use super::answer::{self, Auth, TokenState};
use super::config::{Config, Login};
use crate::rest::{Answer, Request, Rest, secret_header};
use crate::{Cause, KekError, Operation, Retry};
use dawnkey_secret::Credential;
use dawnkey_secret::credential::{CredentialSource, platform_token};
use http::{HeaderName, HeaderValue, Method};
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

const TOKEN: HeaderName = HeaderName::from_static("x-vault-token");
const NAMESPACE: HeaderName = HeaderName::from_static("x-vault-namespace");
const LOOK_UP: &str = "/v1/auth/token/lookup-self";
const RENEW: &str = "/v1/auth/token/renew-self";

/// A token and how long it lasts.
pub(super) struct Session {
    token: Credential,
    renewable: bool,
    lease: Option<Lease>,
}

struct Lease {
    /// From when on it is to be renewed.
    renew: Instant,
    end: Instant,
}

impl Lease {
    /// A lease of so many seconds; `None` for a token that does not end.
    fn of(seconds: u64) -> Option<Self> {
        let (now, lease) = (Instant::now(), Duration::from_secs(seconds));
        // A lease beyond what the clock can say does not end for us.
        let end = (seconds > 0).then(|| now.checked_add(lease))??;
        let renew = now + lease * 2 / 3;
        Some(Self { renew, end })
    }
}

impl Session {
    fn fresh(&self) -> bool {
        let now = Instant::now();
        self.lease.as_ref().is_none_or(|lease| now < lease.renew)
    }

    fn ended(&self) -> bool {
        let now = Instant::now();
        self.lease.as_ref().is_some_and(|lease| now >= lease.end)
    }
}

/// The server, as one that we are logged in at.
pub(super) struct Server {
    name: String,
    rest: Rest,
    namespace: Option<HeaderValue>,
    login: Login,
    session: Mutex<Option<Arc<Session>>>,
}

impl Server {
    pub(super) fn new(name: &str, rest: Rest, config: &Config) -> Result<Self, KekError> {
        let namespace = config.namespace.as_deref().map(HeaderValue::from_str);
        Ok(Self {
            name: name.to_owned(),
            rest,
            namespace: namespace.transpose().map_err(|error| {
                KekError::new(name, Operation::Login, Cause::Misconfigured, error)
            })?,
            login: config.login.clone(),
            session: Mutex::new(None),
        })
    }

    fn error(
        &self,
        operation: Operation,
        cause: Cause,
        detail: impl std::fmt::Display,
    ) -> KekError {
        KekError::new(&self.name, operation, cause, detail)
    }

    /// Asks with our token. When the server does not know that any more, once more with a new one. The answer may be a
    /// refusal.
    pub(super) async fn ask(
        &self,
        operation: Operation,
        request: impl Fn() -> Request,
    ) -> Result<Answer, KekError> {
        let session = self.session().await?;
        let answer = self
            .send(operation, request(), Some(&session.token))
            .await?;
        if answer.status != 403 || self.knows(&session).await? {
            return Ok(answer);
        }
        let session = self.replace(&session).await?;
        self.send(operation, request(), Some(&session.token)).await
    }

    /// Whether the server still knows the token, so that a 403 is about what it may do.
    async fn knows(&self, session: &Session) -> Result<bool, KekError> {
        let request = Request::new(Method::GET, LOOK_UP);
        let sent = self.send(Operation::Login, request, Some(&session.token));
        Ok(sent.await?.status == 200)
    }

    async fn send(
        &self,
        operation: Operation,
        mut request: Request,
        token: Option<&Credential>,
    ) -> Result<Answer, KekError> {
        if let Some(token) = token {
            let value = secret_header(token).ok_or_else(|| {
                let what = "the token has bytes that no header can have";
                self.error(Operation::Login, Cause::Credentials, what)
            })?;
            request = request.header(TOKEN, value);
        }
        if let Some(namespace) = &self.namespace {
            request = request.header(NAMESPACE, namespace.clone());
        }
        let answer = self.rest.call(&request).await;
        answer.map_err(|error| error.into_kek(&self.name, operation))
    }

    /// A token that is good for a while. One caller at a time obtains it; the others wait for that one.
    async fn session(&self) -> Result<Arc<Session>, KekError> {
        let mut held = self.session.lock().await;
        let Some(session) = held.clone() else {
            let session = Arc::new(self.log_in().await?);
            return Ok(Arc::clone(held.insert(session)));
        };
        if session.fresh() {
            return Ok(session);
        }
        let next = match self.renew(&session).await {
            Some(renewed) => Ok(renewed),
            None => self.log_in().await,
        };
        match next {
            Ok(next) => Ok(Arc::clone(held.insert(Arc::new(next)))),
            // The old one is good until it ends.
            Err(error) if error.cause.retry() == Retry::Later && !session.ended() => Ok(session),
            Err(error) => Err(error),
        }
    }

    /// Another token than this one, which was not accepted.
    async fn replace(&self, refused: &Arc<Session>) -> Result<Arc<Session>, KekError> {
        let mut held = self.session.lock().await;
        match &*held {
            Some(session) if !Arc::ptr_eq(session, refused) => Ok(Arc::clone(session)),
            _ => Ok(Arc::clone(held.insert(Arc::new(self.log_in().await?)))),
        }
    }

    async fn renew(&self, session: &Session) -> Option<Session> {
        if !session.renewable || session.ended() {
            return None;
        }
        let request = Request::new(Method::POST, RENEW);
        let sent = self.send(Operation::Login, request, Some(&session.token));
        let answer = sent.await.ok().filter(|answer| answer.status == 200)?;
        let renewed = session_of(answer::auth(&answer.body)?)?;
        // At the end of its longest life a token is renewed for less and less: then a login is due.
        let left = renewed.lease.as_ref().map(|lease| lease.end);
        let grew = left > session.lease.as_ref().map(|lease| lease.end);
        grew.then_some(renewed)
    }

    async fn log_in(&self) -> Result<Session, KekError> {
        match &self.login {
            Login::Token { token } => self.look_up(self.read(token)?).await,
            Login::Approle {
                mount,
                role_id,
                secret_id,
            } => {
                let secret_id = self.read(secret_id)?;
                let secret_id = self.text(&secret_id)?;
                self.post(mount, &AppRole { role_id, secret_id }).await
            }
            Login::Kubernetes {
                mount,
                role,
                service_account_token,
            } => {
                let jwt = platform_token(service_account_token)
                    .map_err(|error| KekError::credential(&self.name, &error))?;
                let jwt = self.text(&jwt)?;
                self.post(mount, &Pod { role, jwt }).await
            }
            Login::Cert { mount, role } => {
                let name = role.as_deref();
                self.post(mount, &Certificate { name }).await
            }
        }
    }

    fn read(&self, source: &CredentialSource) -> Result<Credential, KekError> {
        let read = source.read();
        read.map_err(|error| KekError::credential(&self.name, &error))
    }

    fn text<'a>(&self, credential: &'a Credential) -> Result<&'a str, KekError> {
        std::str::from_utf8(credential.expose()).map_err(|_| {
            let what = "the credential is not text";
            self.error(Operation::Login, Cause::Credentials, what)
        })
    }

    /// How long a token lasts that was given to us.
    async fn look_up(&self, token: Credential) -> Result<Session, KekError> {
        let request = Request::new(Method::GET, LOOK_UP);
        let answer = self.send(Operation::Login, request, Some(&token)).await?;
        if answer.status != 200 {
            return Err(self.refused(&answer));
        }
        let state: TokenState = answer::data(&answer.body).ok_or_else(|| self.garbage())?;
        Ok(Session {
            token,
            renewable: state.renewable,
            lease: Lease::of(state.ttl),
        })
    }

    async fn post(&self, mount: &str, body: &impl Serialize) -> Result<Session, KekError> {
        let body = serde_json::to_vec(body).map_err(|_| self.garbage())?;
        let path = format!("/v1/auth/{mount}/login");
        let request = Request::new(Method::POST, path).json(Zeroizing::new(body));
        let answer = self.send(Operation::Login, request, None).await?;
        if answer.status != 200 {
            return Err(self.refused(&answer));
        }
        let auth = answer::auth(&answer.body).ok_or_else(|| self.garbage())?;
        session_of(auth).ok_or_else(|| self.garbage())
    }

    fn refused(&self, answer: &Answer) -> KekError {
        let refusal = answer::refusal(answer, Operation::Login, "");
        self.error(Operation::Login, refusal.cause, refusal.said)
    }

    fn garbage(&self) -> KekError {
        let what = "the answer to the login is none";
        self.error(Operation::Login, Cause::Garbage, what)
    }
}

/// The session that a login or renewal gave; `None` when its token is none.
fn session_of(mut auth: Auth) -> Option<Session> {
    // The text's own buffer, so that taking the token wipes it.
    let mut token = Zeroizing::new(std::mem::take(&mut *auth.client_token).into_bytes());
    Some(Session {
        token: Credential::take(&mut token).ok()?,
        renewable: auth.renewable,
        lease: Lease::of(auth.lease_duration),
    })
}

#[derive(Serialize)]
struct AppRole<'a> {
    role_id: &'a str,
    secret_id: &'a str,
}

#[derive(Serialize)]
struct Pod<'a> {
    role: &'a str,
    jwt: &'a str,
}

#[derive(Serialize)]
struct Certificate<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_lease_is_renewed_at_two_thirds_and_a_token_without_lease_never() {
        assert!(Lease::of(0).is_none());
        assert!(Lease::of(u64::MAX).is_none());
        let lease = Lease::of(3600).unwrap();
        let left = lease.end - lease.renew;
        assert_eq!(left, Duration::from_secs(1200));
    }

    #[test]
    fn an_answer_without_a_token_is_no_session() {
        let auth = answer::auth(br#"{"auth":{"client_token":""}}"#).unwrap();
        assert!(session_of(auth).is_none());
        let auth = br#"{"auth":{"client_token":"s.x","lease_duration":60,"renewable":true}}"#;
        let session = session_of(answer::auth(auth).unwrap()).unwrap();
        assert!(session.fresh() && !session.ended() && session.renewable);
        assert_eq!(session.token.expose(), b"s.x");
    }
}
