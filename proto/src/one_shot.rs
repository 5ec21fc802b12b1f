//! A connector that gives out one prepared stream, once.
//!
//! A tonic channel reconnects by itself when its connection is lost. Here that would move the call to another TLS
//! connection with another exporter, to which the evidence is not bound and which nobody has checked; so there is nothing
//! to reconnect with.

use http::Uri;
use hyper_util::rt::TokioIo;
use std::future::{Ready, ready};
use std::task::{Context, Poll};
use tower_service::Service;

/// The stream was given out already; the connection is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection ended; it carries evidence and is never made again")]
pub struct Spent;

/// Gives out its stream once, then [`Spent`].
pub struct OneShot<S>(Option<S>);

impl<S> OneShot<S> {
    /// A connector for one finished connection.
    pub const fn new(stream: S) -> Self {
        Self(Some(stream))
    }
}

impl<S> Service<Uri> for OneShot<S> {
    type Response = TokioIo<S>;
    type Error = Spent;
    type Future = Ready<Result<TokioIo<S>, Spent>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Spent>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        ready(self.0.take().map(TokioIo::new).ok_or(Spent))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn gives_its_stream_once_and_then_never_again() {
        let mut connector = OneShot::new(tokio::io::empty());
        assert!(connector.call(Uri::default()).into_inner().is_ok());
        for _ in 0..2 {
            let again = connector.call(Uri::default()).into_inner();
            assert_eq!(again.err(), Some(Spent));
        }
    }
}
