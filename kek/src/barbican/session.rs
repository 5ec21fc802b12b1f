//! Logging in at Keystone with an application credential, and asking Barbican with the token that comes of it.

use super::answer::{self, Login};
use super::config::Config;
use crate::rest::{Answer, Base, Request, Rest, RestError, TlsConfig, secret_header};
use crate::{Cause, KekError, Operation, Retry};
use dawnkey_secret::Credential;
use dawnkey_secret::credential::CredentialSource;
use http::header::{ACCEPT, HeaderName};
use http::{HeaderValue, Method};
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

const TOKEN: HeaderName = HeaderName::from_static("x-auth-token");
const SUBJECT: HeaderName = HeaderName::from_static("x-subject-token");

/// A token and where it is good.
pub(super) struct Session {
    token: Credential,
    /// From when on another is to be obtained, and when this one ends.
    renew: Instant,
    end: Instant,
    barbican: Arc<Rest>,
    base: Base,
    /// Names of the roles that we have in the project.
    pub(super) roles: Vec<String>,
}

/// Keystone and Barbican, as services that we are logged in at.
pub(super) struct Services {
    name: String,
    keystone: Rest,
    id: String,
    secret: CredentialSource,
    interface: String,
    region: Option<String>,
    endpoint: Option<Base>,
    tls: TlsConfig,
    session: Mutex<Option<Arc<Session>>>,
}

#[derive(Serialize)]
struct Body<'a> {
    auth: Auth<'a>,
}

#[derive(Serialize)]
struct Auth<'a> {
    identity: Identity<'a>,
}

#[derive(Serialize)]
struct Identity<'a> {
    methods: [&'static str; 1],
    application_credential: ApplicationCredential<'a>,
}

#[derive(Serialize)]
struct ApplicationCredential<'a> {
    id: &'a str,
    secret: &'a str,
}

impl Services {
    pub(super) fn new(name: &str, config: &Config) -> Result<Self, RestError> {
        let endpoint = config.endpoint.as_deref().map(root).transpose()?;
        Ok(Self {
            name: name.to_owned(),
            keystone: Rest::new(Base::parse(&config.auth_url)?, &config.tls)?,
            id: config.application_credential_id.clone(),
            secret: config.application_credential_secret.clone(),
            interface: config.interface.clone(),
            region: config.region.clone(),
            endpoint,
            tls: config.tls.clone(),
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

    /// Asks Barbican for `path`, in this media type. When it does not accept our token any more, once more with a new
    /// one. The answer may be a refusal.
    pub(super) async fn get(
        &self,
        operation: Operation,
        path: &str,
        accept: &'static str,
    ) -> Result<Answer, KekError> {
        let session = self.session().await?;
        let answer = self.send(&session, operation, path, accept).await?;
        if answer.status != 401 {
            return Ok(answer);
        }
        let session = self.replace(&session).await?;
        self.send(&session, operation, path, accept).await
    }

    async fn send(
        &self,
        session: &Session,
        operation: Operation,
        path: &str,
        accept: &'static str,
    ) -> Result<Answer, KekError> {
        let token = secret_header(&session.token).ok_or_else(|| {
            let what = "the token has bytes that no header can have";
            self.error(Operation::Login, Cause::Garbage, what)
        })?;
        let request = Request::new(Method::GET, path)
            .header(ACCEPT, HeaderValue::from_static(accept))
            .header(TOKEN, token);
        let answer = session.barbican.call(&request).await;
        answer.map_err(|error| error.into_kek(&self.name, operation))
    }

    /// A token that is good for a while. One caller at a time obtains it; the others wait for that one.
    pub(super) async fn session(&self) -> Result<Arc<Session>, KekError> {
        let mut held = self.session.lock().await;
        let old = held.clone();
        let now = Instant::now();
        if let Some(session) = old.as_ref().filter(|session| now < session.renew) {
            return Ok(Arc::clone(session));
        }
        match (self.log_in(old.as_deref()).await, old) {
            (Ok(session), _) => Ok(Arc::clone(held.insert(Arc::new(session)))),
            // The old one is good until it ends.
            (Err(error), Some(old)) if error.cause.retry() == Retry::Later && now < old.end => {
                Ok(old)
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Another token than this one, which was not accepted.
    async fn replace(&self, refused: &Arc<Session>) -> Result<Arc<Session>, KekError> {
        let mut held = self.session.lock().await;
        match &*held {
            Some(session) if !Arc::ptr_eq(session, refused) => Ok(Arc::clone(session)),
            _ => {
                let session = self.log_in(Some(refused)).await?;
                Ok(Arc::clone(held.insert(Arc::new(session))))
            }
        }
    }

    async fn log_in(&self, old: Option<&Session>) -> Result<Session, KekError> {
        let failed = |cause, detail: &str| self.error(Operation::Login, cause, detail);
        let answer = self.authenticate().await?;
        if answer.status != 201 {
            let (cause, said) = answer::keystone(&answer);
            return Err(failed(cause, &said));
        }
        let none = || failed(Cause::Garbage, "the answer to the login is none");
        let login: Login = serde_json::from_slice(&answer.body).map_err(|_| none())?;
        let subject = answer.headers.get(SUBJECT).ok_or_else(none)?;
        let mut token = Zeroizing::new(subject.as_bytes().to_vec());
        let token = Credential::take(&mut token).map_err(|_| none())?;
        // A difference, so that our clock and Keystone's need not agree.
        let lasts = login.token.expires_at.duration_since(login.token.issued_at);
        let lasts = Duration::try_from(lasts).map_err(|_| none())?;
        let now = Instant::now();
        let base = self.barbican(&login.token)?;
        let barbican = match old.filter(|old| old.base == base) {
            Some(old) => Arc::clone(&old.barbican),
            None => Rest::new(base.clone(), &self.tls)
                .map(Arc::new)
                .map_err(|error| error.into_kek(&self.name, Operation::Login))?,
        };
        Ok(Session {
            token,
            renew: now.checked_add(lasts * 2 / 3).ok_or_else(none)?,
            end: now.checked_add(lasts).ok_or_else(none)?,
            barbican,
            base,
            roles: login
                .token
                .roles
                .into_iter()
                .map(|role| role.name)
                .collect(),
        })
    }

    async fn authenticate(&self) -> Result<Answer, KekError> {
        let secret = self.secret.read();
        let secret = secret.map_err(|error| KekError::credential(&self.name, &error))?;
        let secret = std::str::from_utf8(secret.expose()).map_err(|_| {
            let what = "the application credential's secret is not text";
            self.error(Operation::Login, Cause::Credentials, what)
        })?;
        let identity = Identity {
            methods: ["application_credential"],
            application_credential: ApplicationCredential {
                id: &self.id,
                secret,
            },
        };
        let auth = Auth { identity };
        // As large as it can get, so that it never moves.
        let mut body = Zeroizing::new(Vec::with_capacity(8 * Credential::MAX));
        serde_json::to_writer(&mut *body, &Body { auth })
            .map_err(|error| self.error(Operation::Login, Cause::Unsupported, error))?;
        let request = Request::new(Method::POST, "/auth/tokens").json(body);
        let answer = self.keystone.call(&request).await;
        answer.map_err(|error| error.into_kek(&self.name, Operation::Login))
    }

    /// Where Barbican is: as configured, or as the catalog says.
    fn barbican(&self, token: &answer::Token) -> Result<Base, KekError> {
        if let Some(base) = &self.endpoint {
            return Ok(base.clone());
        }
        let region = self.region.as_deref();
        let wrong = |what: String| self.error(Operation::Login, Cause::Misconfigured, what);
        match token.key_managers(&self.interface, region).as_slice() {
            [url] => root(url).map_err(|error| error.into_kek(&self.name, Operation::Login)),
            [] => Err(wrong(format!(
                "the catalog has no key-manager with interface {:?}{}; set endpoint",
                self.interface,
                region.map_or_else(String::new, |region| format!(" in region {region:?}")),
            ))),
            [..] => Err(wrong(
                "the catalog has several key managers; set region or endpoint".to_owned(),
            )),
        }
    }
}

/// A key manager's URL, with or without the version that paths begin with.
fn root(url: &str) -> Result<Base, RestError> {
    let url = url.trim_end_matches('/');
    Base::parse(url.strip_suffix("/v1").unwrap_or(url))
}
