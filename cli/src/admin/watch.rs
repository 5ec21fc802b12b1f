//! A stream that remembers the TLS error it failed with, and whether the service ever answered on it.
//!
//! In TLS 1.3 a server refuses a client's certificate after the client has finished its handshake. The alert then arrives in the
//! middle of HTTP/2, whose errors keep only its text. Remembering it here keeps the cause typed.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What was seen on a watched stream.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    error: Arc<OnceLock<rustls::Error>>,
    answered: Arc<AtomicBool>,
}

impl Seen {
    /// The error, if the stream met one.
    pub(super) fn tls_error(&self) -> Option<rustls::Error> {
        self.error.get().cloned()
    }

    /// Whether the service has sent anything after the handshake. It does so only once it has accepted the client.
    pub(super) fn answered(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }

    fn note<T>(&self, result: &Poll<io::Result<T>>) {
        if let Poll::Ready(Err(error)) = result
            && let Some(tls) = tls_cause(error)
        {
            // Only the first counts: later ones follow from it.
            let _ = self.error.set(tls.clone());
        }
    }
}

/// The TLS error inside an I/O error.
pub(super) fn tls_cause(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}

/// A stream whose TLS errors are remembered.
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    seen: Seen,
}

impl<S> Watched<S> {
    /// Watches `stream`.
    pub(super) fn new(stream: S) -> (Self, Seen) {
        let seen = Seen::default();
        let watched = Self {
            stream,
            seen: seen.clone(),
        };
        (watched, seen)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.seen.note(&result);
        if buf.filled().len() > before {
            self.seen.answered.store(true, Ordering::Relaxed);
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.seen.note(&result);
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        self.seen.note(&result);
        result
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
