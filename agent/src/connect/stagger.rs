//! Several endpoints at once, each begun a little after the one before it.

use super::ConnectError;
use crate::config::Endpoint;
use std::future::Future;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long an endpoint has the field for itself before the next is tried beside it.
const STAGGER: Duration = Duration::from_millis(250);

/// Gives what the first successful `attempt` gives; the others end with that. Each endpoint is begun 250 ms after the
/// one before it, or as soon as one has failed.
///
/// # Errors
/// One for each endpoint, in their order, when all have failed.
pub(super) async fn first<L, F>(
    endpoints: &[Endpoint],
    attempt: impl Fn(Endpoint) -> F,
) -> Result<L, Vec<ConnectError>>
where
    L: Send + 'static,
    F: Future<Output = Result<L, ConnectError>> + Send + 'static,
{
    let mut waiting = endpoints.iter().cloned().enumerate();
    let mut running = JoinSet::new();
    let mut failed = Vec::new();
    loop {
        let next = waiting.next();
        let more = next.is_some();
        if let Some((place, endpoint)) = next {
            let attempt = attempt(endpoint);
            running.spawn(async move { attempt.await.map_err(|error| (place, error)) });
        }
        let ended = if more {
            timeout(STAGGER, running.join_next()).await.ok().flatten()
        } else {
            match running.join_next().await {
                Some(ended) => Some(ended),
                None => break,
            }
        };
        match ended {
            Some(Ok(Ok(link))) => return Ok(link),
            Some(Ok(Err(error))) => failed.push(error),
            // A task that was torn down, or the stagger's end.
            Some(Err(_)) | None => {}
        }
    }
    failed.sort_by_key(|(place, _)| *place);
    Err(failed.into_iter().map(|(_, error)| error).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use std::sync::{Arc, Mutex};
    use tokio::time::{Instant, sleep};

    /// How an endpoint behaves: after so many ms it answers, or fails.
    #[derive(Clone, Copy)]
    enum Does {
        Answers(u64),
        Fails(u64),
        Hangs,
    }
    use Does::{Answers, Fails, Hangs};

    /// When each endpoint was begun, which one won, and when that was, in ms; or the ports of the errors.
    async fn race(all: &[Does]) -> (Vec<(u16, u128)>, Result<u16, Vec<u16>>, u128) {
        let (start, all) = (Instant::now(), all.to_vec());
        let endpoints: Vec<_> = (0..all.len())
            .map(|n| endpoint(n.try_into().unwrap()))
            .collect();
        let begun = Arc::new(Mutex::new(Vec::new()));
        let won = first(&endpoints, |endpoint| {
            let (port, begun) = (endpoint.port, Arc::clone(&begun));
            let does = all[usize::from(port)];
            async move {
                begun
                    .lock()
                    .unwrap()
                    .push((port, start.elapsed().as_millis()));
                match does {
                    Answers(ms) => sleep(Duration::from_millis(ms)).await,
                    Fails(ms) => {
                        sleep(Duration::from_millis(ms)).await;
                        let waited = start.elapsed();
                        return Err(ConnectError::TcpTimeout { endpoint, waited });
                    }
                    Hangs => std::future::pending().await,
                }
                Ok(port)
            }
        })
        .await;
        let port = |error: ConnectError| match error {
            ConnectError::TcpTimeout { endpoint, .. } => endpoint.port,
            other => panic!("{other}"),
        };
        let won = won.map_err(|errors| errors.into_iter().map(port).collect());
        let begun = begun.lock().unwrap().clone();
        (begun, won, start.elapsed().as_millis())
    }

    fn endpoint(port: u16) -> Endpoint {
        let host = "replica.test".into();
        Endpoint { host, port }
    }

    #[tokio::test(start_paused = true)]
    async fn quick_first_endpoint_is_the_only_one_tried() {
        let (begun, won, _) = race(&[Answers(249), Answers(0)]).await;
        assert_eq!((begun, won), (vec![(0, 0)], Ok(0)));
    }

    #[tokio::test(start_paused = true)]
    async fn each_endpoint_begins_250_ms_after_a_silent_one_and_the_first_to_answer_wins() {
        let (begun, won, after) = race(&[Hangs, Hangs, Answers(10), Answers(0)]).await;
        assert_eq!(begun, [(0, 0), (1, 250), (2, 500)]);
        assert_eq!((won, after), (Ok(2), 510));
        // A slow one is not given up for a later one that is slower.
        let (begun, won, after) = race(&[Answers(400), Answers(400)]).await;
        assert_eq!(begun, [(0, 0), (1, 250)]);
        assert_eq!((won, after), (Ok(0), 400));
    }

    #[tokio::test(start_paused = true)]
    async fn failure_brings_the_next_endpoint_forward() {
        let (begun, won, after) = race(&[Fails(0), Fails(30), Hangs, Answers(5)]).await;
        assert_eq!(begun, [(0, 0), (1, 0), (2, 30), (3, 280)]);
        assert_eq!((won, after), (Ok(3), 285));
    }

    #[tokio::test(start_paused = true)]
    async fn every_failure_is_told_in_the_order_of_the_endpoints() {
        let (_, won, after) = race(&[Fails(900), Fails(10), Fails(0)]).await;
        assert_eq!((won, after), (Err(vec![0, 1, 2]), 900));
    }
}
