//! OpenBao, built from its own packages (`tests/servers/go/openbao`): transit engine, four logins, storage in memory.

use super::pki::Pki;
use crate::process::Process;
use crate::{go, ports};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// Its version.
pub const VERSION: &str = "2.4.0";
const START: Duration = Duration::from_secs(60);

/// A running server that is initialised and unsealed; ends with the value.
pub struct OpenBao {
    /// Its certificates and those of its users.
    pub pki: Pki,
    /// Its port on 127.0.0.1, which speaks TLS.
    pub port: u16,
    tls: Arc<ClientConfig>,
    root: String,
    unseal: String,
    _process: Process,
}

impl OpenBao {
    /// Starts one, initialises it with one unseal key, and unseals it.
    ///
    /// # Panics
    /// When one of these fails.
    #[must_use]
    pub fn start() -> Self {
        let program = go::program("openbao");
        let pki = Pki::new();
        let port = ports::free();
        let mut command = Command::new(program);
        command.arg(port.to_string());
        command.args([pki.file("server.pem"), pki.file("server.key")]);
        let mut process = Process::start(&mut command, &pki.file("openbao.log"));
        process.wait_port(port, START);
        let mut server = Self {
            tls: trust(&pki),
            pki,
            port,
            root: String::new(),
            unseal: String::new(),
            _process: process,
        };
        let shares = json!({ "secret_shares": 1, "secret_threshold": 1 });
        let made = server.call("PUT", "sys/init", &shares);
        server.root = text(&made, "/root_token");
        server.unseal = text(&made, "/keys/0");
        server.unseal();
        server
    }

    /// `https://127.0.0.1:PORT`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// Seals it.
    pub fn seal(&self) {
        self.call("PUT", "sys/seal", &json!({}));
    }

    /// Unseals it.
    pub fn unseal(&self) {
        self.call("PUT", "sys/unseal", &json!({ "key": self.unseal }));
    }

    /// Calls the API as root. Returns the whole answer, null where there is none.
    ///
    /// # Panics
    /// When the server refuses.
    pub fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        self.call_in("", method, path, body)
    }

    /// The same in a namespace.
    ///
    /// # Panics
    /// As [`OpenBao::call`].
    pub fn call_in(&self, namespace: &str, method: &str, path: &str, body: &Value) -> Value {
        let answer = self.ask(namespace, method, path, body);
        answer.unwrap_or_else(|refused| panic!("{method} {path}: {refused}"))
    }

    /// What the API answers to root: nothing when it refuses.
    #[must_use]
    pub fn try_call(&self, method: &str, path: &str, body: &Value) -> Option<Value> {
        self.ask("", method, path, body).ok()
    }

    fn ask(
        &self,
        namespace: &str,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Result<Value, String> {
        let name = ServerName::try_from("127.0.0.1").expect("a name");
        let session = ClientConnection::new(Arc::clone(&self.tls), name).expect("a session");
        let tcp = TcpStream::connect(("127.0.0.1", self.port)).expect("connect");
        let mut stream = StreamOwned::new(session, tcp);
        let body = body.to_string();
        // HTTP/1.0, so that the answer ends with the connection.
        let request = format!(
            "{method} /v1/{path} HTTP/1.0\r\nhost: it\r\nx-vault-token: {}\r\nx-vault-namespace: {namespace}\r\n\
             content-length: {}\r\n\r\n{body}",
            self.root,
            body.len()
        );
        stream.write_all(request.as_bytes()).expect("send");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("read");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
        let status = head.split(' ').nth(1).unwrap_or_default();
        match status.starts_with('2') {
            true => Ok(serde_json::from_str(body).unwrap_or_default()),
            false => Err(answer),
        }
    }

    /// Its keys to itself, which no log of ours may have.
    #[must_use]
    pub fn secrets(&self) -> Vec<Vec<u8>> {
        vec![self.root.clone().into(), self.unseal.clone().into()]
    }
}

fn trust(pki: &Pki) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_file(pki.file("ca.pem")).expect("the CA");
    roots.add(ca).expect("the CA");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions");
    Arc::new(config.with_root_certificates(roots).with_no_client_auth())
}

/// A text of an answer, by JSON pointer.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn text(answer: &Value, pointer: &str) -> String {
    let found = answer.pointer(pointer).and_then(Value::as_str);
    found.expect("a text in the answer").to_owned()
}
