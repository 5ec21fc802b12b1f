//! A Key Broker Service as Trustee's protocol 0.4.0 says it, written apart from the agent's code: cookie session, nonce, the
//! digest that evidence must carry, resources sealed to the key of the attempt. A [`Twist`] makes it lie in one way.

mod judge;
mod jwe;

use crate::world::pki::{NAME, Pki};
use dawnkey_agent::config::{Pace, Protocol, ServiceConfig, TrusteeConfig};
use dawnkey_agent::discover::{Endpoint, Places};
use dawnkey_proto::tls::Pin;
use dawnkey_proto::trustee::Collection;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use uuid::Uuid;

/// Where the keys of these tests are.
pub const RESOURCES: &str = "default/dawnkey";

/// One way to lie, or to be what real ones are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Twist {
    /// None.
    #[default]
    None,
    /// Answers requests whose path has this part with a status and an error, so many times.
    Deny(&'static str, u16, usize),
    /// Answers such requests with these bytes as the body of a success.
    Say(&'static str, Vec<u8>),
    /// Answers such requests with these bytes, head and all.
    Raw(&'static str, Vec<u8>),
    /// Ends the connection after each answer, with or without saying so.
    Closes {
        /// Whether it says so.
        said: bool,
    },
    /// Seals resources to a key of its own.
    OtherKey,
    /// Hands out the nonce of another session.
    ForeignNonce,
}

/// A running KBS.
pub struct Kbs {
    /// Where.
    pub address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

struct State {
    keys: BTreeMap<Uuid, Vec<u8>>,
    twist: Mutex<Twist>,
    /// Nonce and, once its evidence was good, key of each session.
    sessions: Mutex<BTreeMap<String, (String, Option<Value>)>>,
    requests: Mutex<Vec<String>>,
}

impl Drop for Kbs {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Kbs {
    /// Starts one with these keys.
    pub async fn start(pki: &Pki, keys: BTreeMap<Uuid, Vec<u8>>, twist: Twist) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            keys,
            twist: Mutex::new(twist),
            sessions: Mutex::default(),
            requests: Mutex::default(),
        });
        let mut tls = dawnkey_proto::tls::server_config(pki.server(), None).unwrap();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let tls = TlsAcceptor::from(Arc::new(tls));
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            loop {
                let Ok((tcp, _)) = listener.accept().await else {
                    return;
                };
                let (tls, state) = (tls.clone(), Arc::clone(&shared));
                tokio::spawn(async move { serve(tcp, tls, state).await });
            }
        });
        Self {
            address,
            state,
            task,
        }
    }

    /// Lies in another way from now on.
    pub fn twist(&self, twist: Twist) {
        *self.state.twist.lock().unwrap() = twist;
    }

    /// First lines of the requests so far, without their version.
    pub fn requests(&self) -> Vec<String> {
        self.state.requests.lock().unwrap().clone()
    }
}

/// An agent's configuration for a KBS there.
pub fn service(address: SocketAddr, pin: Pin, provision: bool) -> ServiceConfig {
    ServiceConfig {
        places: Places::listed(vec![Endpoint {
            host: address.ip().to_string(),
            port: address.port(),
        }]),
        name: NAME.try_into().unwrap(),
        pin,
        pace: Pace {
            budget: Duration::from_secs(300),
            attempt: Duration::from_secs(100),
        },
        protocol: Protocol::Trustee(TrusteeConfig {
            resources: Collection::parse(RESOURCES).unwrap(),
            provision,
        }),
    }
}

async fn serve(tcp: TcpStream, tls: TlsAcceptor, state: Arc<State>) {
    let Ok(mut stream) = tls.accept(tcp).await else {
        return;
    };
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let head = String::from_utf8(head).unwrap();
        let length = header(&head, "content-length").map_or(0, |text| text.parse().unwrap());
        let mut body = vec![0; length];
        if stream.read_exact(&mut body).await.is_err() {
            return;
        }
        let (answer, closes) = answer(&state, &head, &body);
        let _ = stream.write_all(&answer).await;
        let _ = stream.flush().await;
        if closes {
            let _ = stream.shutdown().await;
            return;
        }
    }
}

fn header<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines().skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

/// The bytes to send, and whether that is the connection's end.
fn answer(state: &State, head: &str, body: &[u8]) -> (Vec<u8>, bool) {
    let line = head.lines().next().unwrap();
    let request = line.strip_suffix(" HTTP/1.1").unwrap().to_owned();
    state.requests.lock().unwrap().push(request.clone());
    let mut twist = state.twist.lock().unwrap();
    let concerns = |part: &str| request.contains(part);
    let mut closing = (false, false);
    let (status, cookie, body) = match &mut *twist {
        Twist::Deny(part, status, times) if concerns(part) && *times > 0 => {
            *times -= 1;
            (*status, None, error("AttestationError", "told to deny"))
        }
        Twist::Say(part, body) if concerns(part) => (200, None, body.clone()),
        Twist::Raw(part, bytes) if concerns(part) => return (bytes.clone(), true),
        twist => {
            if let Twist::Closes { said } = twist {
                closing = (true, *said);
            }
            let (twist, cookie) = (twist.clone(), header(head, "cookie"));
            let done = state.handle(&request, cookie, body, &twist);
            done.unwrap_or_else(|problem| (401, None, error("AttestationError", &problem)))
        }
    };
    let cookie = cookie.map(|id| format!("Set-Cookie: kbs-session-id={id}; HttpOnly; Path=/\r\n"));
    let said = if closing.1 {
        "Connection: close\r\n"
    } else {
        ""
    };
    let head = format!(
        "HTTP/1.1 {status} X\r\n{}{said}Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        cookie.unwrap_or_default(),
        body.len()
    );
    ([head.into_bytes(), body].concat(), closing.0)
}

/// An error as Trustee makes it.
pub fn error(kind: &str, detail: &str) -> Vec<u8> {
    let kind = format!("https://github.com/confidential-containers/kbs/errors/{kind}");
    json!({"type": kind, "detail": detail})
        .to_string()
        .into_bytes()
}

impl State {
    /// Status, cookie to set, body; or why the request is denied.
    fn handle(
        &self,
        request: &str,
        cookie: Option<&str>,
        body: &[u8],
        twist: &Twist,
    ) -> Result<(u16, Option<String>, Vec<u8>), String> {
        let mut sessions = self.sessions.lock().unwrap();
        if request == "POST /kbs/v0/auth" {
            let asked: Value = serde_json::from_slice(body).unwrap();
            assert_eq!(asked["version"], "0.4.0");
            assert!(asked["extra-params"].is_object());
            judge::known(asked["tee"].as_str().unwrap())?;
            let (id, nonce) = (Uuid::new_v4(), judge::nonce());
            sessions.insert(id.to_string(), (nonce.clone(), None));
            let nonce = match twist {
                Twist::ForeignNonce => judge::nonce(),
                _ => nonce,
            };
            let answer = json!({"nonce": nonce, "extra-params": ""});
            return Ok((200, Some(id.to_string()), answer.to_string().into_bytes()));
        }
        let id = cookie.and_then(|cookie| cookie.strip_prefix("kbs-session-id="));
        let session = id.and_then(|id| sessions.get_mut(id));
        let (nonce, proven) = session.ok_or("no session of that cookie")?;
        if request == "POST /kbs/v0/attest" {
            let shown: Value = serde_json::from_slice(body).unwrap();
            *proven = Some(judge::judge(&shown, nonce)?);
            return Ok((
                200,
                None,
                json!({"token": "a.b.c"}).to_string().into_bytes(),
            ));
        }
        let key = proven.as_ref().ok_or("no evidence was shown")?;
        let tag = request
            .strip_prefix("GET /kbs/v0/resource/default/dawnkey/")
            .ok_or("no such path")?;
        let resource = Uuid::parse_str(tag).ok().and_then(|id| self.keys.get(&id));
        let Some(resource) = resource else {
            return Ok((404, None, error("ResourceNotFound", "no such resource")));
        };
        let sealed = match twist {
            Twist::OtherKey => jwe::seal(&jwe::other_key(), resource),
            _ => jwe::seal(key, resource),
        };
        Ok((200, None, sealed))
    }
}
