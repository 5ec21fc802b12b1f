//! A KMS that takes its time: what a key service asks of a transit engine, and how often it does. It keeps nothing secret.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// A running KMS.
pub struct Kms {
    address: SocketAddr,
    decrypted: Arc<AtomicU64>,
}

impl Kms {
    /// One that answers each request after so long.
    pub async fn start(latency: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let decrypted = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&decrypted);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                tokio::spawn(serve(tcp, latency, Arc::clone(&count)));
            }
        });
        Self { address, decrypted }
    }

    /// DEKs that it was asked to unwrap so far.
    pub fn decrypted(&self) -> u64 {
        self.decrypted.load(Relaxed)
    }

    /// A section `[kek]` with it as the only provider; its token is written into `dir`.
    pub fn section(&self, dir: &Path, cache_seconds: u32) -> String {
        use std::os::unix::fs::PermissionsExt;
        let token = dir.join("kms-token");
        std::fs::write(&token, "token\n").unwrap();
        std::fs::set_permissions(&token, PermissionsExt::from_mode(0o600)).unwrap();
        format!(
            "[kek]\ncache_seconds = {cache_seconds}\n[[kek.provider]]\nname = \"kms\"\nkind = \"transit\"\n\
             address = \"http://{}\"\nkey = \"k\"\nlogin = {{ method = \"token\", token = \"file:{}\" }}\n",
            self.address,
            token.display()
        )
    }
}

/// Answers requests of one connection until it ends.
async fn serve(tcp: TcpStream, latency: Duration, decrypted: Arc<AtomicU64>) {
    let _ = tcp.set_nodelay(true);
    let mut stream = BufReader::new(tcp);
    while let Some((path, body)) = request(&mut stream).await {
        tokio::time::sleep(latency).await;
        if path.contains("/decrypt/") {
            decrypted.fetch_add(1, Relaxed);
        }
        let (status, answer) = match answer(&path, &body) {
            Some(data) => ("200 OK", json!({ "data": data })),
            None => (
                "400 Bad Request",
                json!({ "errors": ["message authentication failed"] }),
            ),
        };
        let body = answer.to_string();
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        if stream.write_all((head + &body).as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The path and body of the next request, if there is one.
async fn request(stream: &mut BufReader<TcpStream>) -> Option<(String, Vec<u8>)> {
    let mut line = String::new();
    stream.read_line(&mut line).await.ok().filter(|n| *n > 0)?;
    let path = line.split(' ').nth(1)?.to_owned();
    let mut length = 0;
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).await.ok()?;
        let Some((name, value)) = header.trim_end().split_once(':') else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((path, body))
}

/// The `data` of an answer; `None` where the ciphertext is of other associated data.
fn answer(path: &str, body: &[u8]) -> Option<Value> {
    if path.contains("/keys/") {
        return Some(json!({
            "type": "aes256-gcm96", "latest_version": 1, "exportable": false,
            "allow_plaintext_backup": false, "derived": false, "deletion_allowed": false,
        }));
    }
    if path.contains("/auth/") {
        return Some(json!({ "ttl": 0, "renewable": false }));
    }
    let body: Value = serde_json::from_slice(body).ok()?;
    let field = |name: &str| BASE64_STANDARD.decode(body[name].as_str()?).ok();
    let bound = field("associated_data")?;
    if path.contains("/encrypt/") {
        let sealed = BASE64_STANDARD.encode([field("plaintext")?, bound].concat());
        return Some(json!({ "ciphertext": format!("vault:v1:{sealed}") }));
    }
    let sealed = body["ciphertext"].as_str()?.strip_prefix("vault:v1:")?;
    let sealed = BASE64_STANDARD.decode(sealed).ok()?;
    let (dek, with) = sealed.split_at_checked(32)?;
    (with == bound).then(|| json!({ "plaintext": BASE64_STANDARD.encode(dek) }))
}
