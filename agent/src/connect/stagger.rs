//! Several addresses at once, each begun a little after the one before it.

use super::ConnectError;
use crate::discover::{Address, Search};
use std::future::Future;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// How long an address has the field for itself before the next is tried beside it.
const STAGGER: Duration = Duration::from_millis(250);

/// Where the addresses come from, some of them late.
pub(super) trait Candidates {
    /// The next to try, if there is one by now.
    fn take(&mut self) -> Option<Address>;
    /// Whether there is one by now.
    fn has_next(&self) -> bool;
    /// Whether there may be more later.
    fn goes_on(&self) -> bool;
    /// Waits until there may be more; may be cancelled without loss.
    fn more(&mut self) -> impl Future<Output = ()>;
}

impl Candidates for Search {
    fn take(&mut self) -> Option<Address> {
        Self::take(self)
    }

    fn has_next(&self) -> bool {
        Self::has_next(self)
    }

    fn goes_on(&self) -> bool {
        Self::goes_on(self)
    }

    async fn more(&mut self) {
        Self::more(self).await;
    }
}

/// Gives what the first successful `attempt` gives; the others end with that. Each address is begun 250 ms after the
/// one before it, or as soon as one has failed.
///
/// # Errors
/// One for each address, in the order in which they were begun, when all have failed and there will be no more.
pub(super) async fn first<L, F>(
    candidates: &mut impl Candidates,
    attempt: impl Fn(Address) -> F,
) -> Result<L, Vec<ConnectError>>
where
    L: Send + 'static,
    F: Future<Output = Result<L, ConnectError>> + Send + 'static,
{
    let mut running = JoinSet::new();
    let mut failed = Vec::new();
    let (mut begun, mut next_begins) = (0_usize, Instant::now());
    loop {
        if (running.is_empty() || Instant::now() >= next_begins)
            && let Some(address) = candidates.take()
        {
            let (place, attempt) = (begun, attempt(address));
            running.spawn(async move { attempt.await.map_err(|error| (place, error)) });
            begun += 1;
            next_begins = Instant::now() + STAGGER;
        }
        if running.is_empty() && !candidates.goes_on() {
            break;
        }
        let (next, later) = (candidates.has_next(), candidates.goes_on());
        tokio::select! {
            Some(ended) = running.join_next(), if !running.is_empty() => match ended {
                Ok(Ok(link)) => return Ok(link),
                Ok(Err(error)) => {
                    failed.push(error);
                    next_begins = Instant::now();
                }
                // A task that was torn down.
                Err(_) => {}
            },
            () = candidates.more(), if later => {}
            () = sleep_until(next_begins), if next => {}
        }
    }
    failed.sort_by_key(|(place, _)| *place);
    Err(failed.into_iter().map(|(_, error)| error).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::discover::Endpoint;
    use std::collections::VecDeque;
    use std::net::Ipv4Addr;
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
        let mut candidates = Listed(
            (0..all.len())
                .map(|n| address(n.try_into().unwrap()))
                .collect(),
        );
        let begun = Arc::new(Mutex::new(Vec::new()));
        let won = first(&mut candidates, |address| {
            let (port, begun) = (address.socket.port(), Arc::clone(&begun));
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
                        let endpoint = address.into();
                        return Err(ConnectError::TcpTimeout { endpoint, waited });
                    }
                    Hangs => std::future::pending().await,
                }
                Ok(port)
            }
        })
        .await;
        let port = |error: ConnectError| match error {
            ConnectError::TcpTimeout { endpoint, .. } => endpoint.socket.port(),
            other => panic!("{other}"),
        };
        let won = won.map_err(|errors| errors.into_iter().map(port).collect());
        let begun = begun.lock().unwrap().clone();
        (begun, won, start.elapsed().as_millis())
    }

    fn address(port: u16) -> Address {
        let host = "replica.test".into();
        Address {
            endpoint: Endpoint { host, port },
            socket: (Ipv4Addr::LOCALHOST, port).into(),
        }
    }

    /// Addresses that are all known at once.
    struct Listed(VecDeque<Address>);

    impl Candidates for Listed {
        fn take(&mut self) -> Option<Address> {
            self.0.pop_front()
        }

        fn has_next(&self) -> bool {
            !self.0.is_empty()
        }

        fn goes_on(&self) -> bool {
            false
        }

        async fn more(&mut self) {}
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
