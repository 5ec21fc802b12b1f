//! `dawnkey-agent diagnose`: why the key service cannot be had, and what to do; the same at the end of a failed unlock, and
//! when a node begins to wait for an operator.

use super::{Stop, load, runtime};
use crate::config::ServiceConfig;
use crate::diagnose::{Cause, Machine, diagnose as look};
use crate::report::{self, Event, Sink};
use std::future::Future;
use std::path::Path;
use tokio::sync::Notify;

/// Prints the diagnosis, or one object with `json`. The exit code is 0 when the service can be reached, 22 when something
/// else is there, and else 20.
///
/// # Errors
/// The configuration is not good.
pub fn diagnose(file: &Path, json: bool) -> Result<u8, Stop> {
    let config = load(file)?;
    let diagnosis = runtime()?.block_on(look(&config.service, Machine::here()));
    if json {
        report::json(&diagnosis);
    } else {
        for (about, found) in diagnosis.lines() {
            report::line(&format!("{about:14} {}", printable(&found)));
        }
    }
    Ok(match diagnosis.cause {
        Cause::None => 0,
        Cause::NotPinned | Cause::Protocol => 22,
        _ => 20,
    })
}

/// Says it on the console, if the unlock failed for want of the service.
pub(super) fn at_the_end(service: &ServiceConfig, exit_code: u8) {
    if !matches!(exit_code, 20 | 22) {
        return;
    }
    // Without a runtime there is nothing to say that has not been said.
    let Ok(runtime) = runtime() else { return };
    runtime.block_on(say(service, &mut report::console));
}

async fn say(service: &ServiceConfig, report: Sink<'_>) {
    let diagnosis = look(service, Machine::here()).await;
    for (about, found) in diagnosis.lines() {
        report(&Event::Diagnosis { about, found });
    }
}

/// That a node has begun to wait for an operator: whoever stands at its console wants to know why.
#[derive(Debug, Default)]
pub(super) struct Waiting(Notify);

impl Waiting {
    /// Takes every event of the unlock.
    pub(super) fn see(&self, event: &Event) {
        if matches!(
            event,
            Event::RecoveryWaiting { .. } | Event::RecoveryNotListening { .. }
        ) {
            self.0.notify_one();
        }
    }

    /// Runs the unlock, and beside it says once why the service cannot be had, if it comes to waiting. The unlock's end is the
    /// end of both.
    pub(super) async fn beside<T>(
        &self,
        unlock: impl Future<Output = T>,
        service: &ServiceConfig,
        report: Sink<'_>,
    ) -> T {
        let diagnosis = async {
            self.0.notified().await;
            say(service, report).await;
            std::future::pending::<T>().await
        };
        tokio::select! {
            biased;
            ended = unlock => ended,
            never = diagnosis => never,
        }
    }
}

/// Without anything that a terminal would act on: a name may come from a DNS server.
fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::{Pace, Protocol};
    use crate::discover::{Endpoint, Places};
    use dawnkey_proto::binding::SpkiDigest;
    use dawnkey_proto::tls::Pin;
    use std::cell::RefCell;
    use std::time::Duration;

    /// A service where nothing listens.
    fn service() -> ServiceConfig {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        ServiceConfig {
            places: Places::listed(vec![Endpoint {
                host: address.ip().to_string(),
                port: address.port(),
            }]),
            name: "keys.test".try_into().unwrap(),
            pin: Pin::Spki(SpkiDigest([7; 32])),
            pace: Pace {
                budget: Duration::from_secs(1),
                attempt: Duration::from_secs(1),
            },
            protocol: Protocol::Dawnkey,
        }
    }

    /// What is said beside an unlock that sees these events and then waits for the diagnosis's last line.
    async fn said(events: &[Event]) -> Vec<&'static str> {
        let (waiting, told) = (Waiting::default(), RefCell::new(Vec::new()));
        let (done, mut is_done) = tokio::sync::mpsc::unbounded_channel();
        let mut report = |event: &Event| {
            if let Event::Diagnosis { about, .. } = event {
                told.borrow_mut().push(*about);
                if *about == "advice" {
                    done.send(()).unwrap();
                }
            }
        };
        let unlock = async {
            for event in events {
                waiting.see(event);
            }
            if !events.is_empty() {
                is_done.recv().await.unwrap();
                waiting.see(events.first().unwrap());
            }
            // The diagnosis has every chance to be said again.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        };
        waiting.beside(unlock, &service(), &mut report).await;
        told.into_inner()
    }

    #[tokio::test]
    async fn a_node_that_waits_for_an_operator_says_once_why() {
        let volume = uuid::Uuid::from_u128(1);
        let listen = None;
        let told = said(&[Event::RecoveryWaiting { listen, volume }]).await;
        assert_eq!(told.iter().filter(|about| **about == "advice").count(), 1);
        assert!(told.contains(&"service"), "{told:?}");
    }

    #[tokio::test]
    async fn an_unlock_that_never_waits_says_nothing() {
        assert!(said(&[]).await.is_empty());
    }
}
