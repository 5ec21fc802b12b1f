//! A front on loopback that stands before a server, or in its place, and misbehaves.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What a front does with a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mode {
    /// Carries it to the server.
    Forward(SocketAddr),
    /// Takes it, reads, and never answers.
    Slow,
    /// Closes it at once.
    Close,
    /// Answers every request with these bytes, whatever it was.
    Answer(Vec<u8>),
}

impl Mode {
    /// An HTTP/1.1 answer with a JSON body.
    #[must_use]
    pub fn http(status: u16, headers: &[(&str, &str)], body: &str) -> Self {
        let mut head = format!("HTTP/1.1 {status} Answer\r\ncontent-type: application/json\r\n");
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!(
            "content-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        );
        Self::Answer(head.into_bytes())
    }
}

/// A listening front; ends with this value. The mode can be changed and holds for connections opened from then on.
#[derive(Debug)]
pub struct Front {
    /// Where it listens.
    pub address: SocketAddr,
    mode: Arc<Mutex<Mode>>,
    task: JoinHandle<()>,
}

impl Front {
    /// Listens on a loopback port.
    ///
    /// # Panics
    /// When there is none.
    pub async fn start(mode: Mode) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .expect("listen on loopback");
        let address = listener.local_addr().expect("an address");
        let mode = Arc::new(Mutex::new(mode));
        let shared = Arc::clone(&mode);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let mode = lock(&shared).clone();
                tokio::spawn(serve(stream, mode));
            }
        });
        Self {
            address,
            mode,
            task,
        }
    }

    /// Changes what it does with connections from now on.
    pub fn set(&self, mode: Mode) {
        *lock(&self.mode) = mode;
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(mode: &Mutex<Mode>) -> std::sync::MutexGuard<'_, Mode> {
    mode.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(mut stream: TcpStream, mode: Mode) {
    match mode {
        Mode::Forward(server) => {
            if let Ok(mut upstream) = TcpStream::connect(server).await {
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut upstream).await;
            }
        }
        Mode::Slow => {
            let mut buffer = [0; 4096];
            while stream.read(&mut buffer).await.is_ok_and(|n| n > 0) {}
        }
        Mode::Close => {}
        Mode::Answer(bytes) => {
            let mut buffer = [0; 65536];
            if stream.read(&mut buffer).await.is_ok_and(|n| n > 0) {
                let _ = stream.write_all(&bytes).await;
                let _ = stream.shutdown().await;
                // What still comes is read, so that the answer is not lost to a reset.
                while stream.read(&mut buffer).await.is_ok_and(|n| n > 0) {}
            }
        }
    }
}

/// A loopback address where nothing listens.
#[must_use]
pub fn gone() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, crate::ports::free()))
}
