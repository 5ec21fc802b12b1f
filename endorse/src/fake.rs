//! A vendor in memory, for tests: answers what it was given, over connections that no network is needed for.
//!
//! No release build contains this module. Everything panics on failure: a test cannot go on without its fixture.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use crate::http::{Base, Dial, Dialled, Stream};

/// An answer to come.
#[derive(Clone, Debug)]
pub struct Canned {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: Vec<(&'static str, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Canned {
    /// A good answer.
    #[must_use]
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::status(200, body)
    }

    /// An answer with a status.
    #[must_use]
    pub fn status(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }

    /// The same with a header.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

#[derive(Debug, Default)]
struct State {
    answers: HashMap<String, Canned>,
    asked: Vec<String>,
    down: bool,
    silent: bool,
}

/// A vendor's service in memory. Clones are the same service.
#[derive(Clone, Debug, Default)]
pub struct FakeVendor(Arc<Mutex<State>>);

impl FakeVendor {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Answers requests for `path` (with its query) from now on.
    pub fn answer(&self, path: impl Into<String>, canned: Canned) {
        self.state().answers.insert(path.into(), canned);
    }

    /// Takes all connections down, or up again.
    pub fn set_down(&self, down: bool) {
        self.state().down = down;
    }

    /// Takes connections and never answers.
    pub fn set_silent(&self, silent: bool) {
        self.state().silent = silent;
    }

    /// Paths that were asked for, in order.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.state().asked.clone()
    }

    /// Forgets what was asked for.
    pub fn forget(&self) {
        self.state().asked.clear();
    }

    /// Serves one connection.
    pub async fn serve(self, stream: impl Stream + 'static) {
        let service = service_fn(move |request: Request<Incoming>| {
            let this = self.clone();
            async move { Ok::<_, Infallible>(this.respond(&request).await) }
        });
        // A client that hangs up early is no failure of the vendor.
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }

    async fn respond(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let path = request.uri().path_and_query().unwrap().to_string();
        let (canned, silent) = {
            let mut state = self.state();
            state.asked.push(path.clone());
            (state.answers.get(&path).cloned(), state.silent)
        };
        if silent {
            std::future::pending::<()>().await;
        }
        let canned = canned.unwrap_or_else(|| Canned::status(404, "no such thing"));
        let mut response = Response::builder().status(canned.status);
        for (name, value) in canned.headers {
            response = response.header(name, value);
        }
        response.body(Full::from(canned.body)).unwrap()
    }
}

impl Dial for FakeVendor {
    fn dial<'a>(&'a self, _: &'a Base) -> Dialled<'a> {
        Box::pin(async move {
            if self.state().down {
                return Err(io::ErrorKind::ConnectionRefused.into());
            }
            let (client, server) = tokio::io::duplex(64 << 10);
            tokio::spawn(self.clone().serve(server));
            Ok(Box::new(client) as Box<dyn Stream>)
        })
    }
}

/// A chain as a header of Intel's service has it.
#[must_use]
pub fn header_of_chain(pem: &[u8]) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    pem.iter()
        .map(|byte| match plain(*byte) {
            true => char::from(*byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}
