//! Opening the configured KEK providers, and what goes on with them while the service runs.

use super::service::StartError;
use crate::config::KekConfig;
use crate::desk::{Clock, Desk};
use crate::kek::doctor::{self, Examination};
use crate::kek::{KeyRing, Seat, Settings};
use crate::master::Masters;
use crate::records::Records;
use crate::report::{self, Event};
use dawnkey_kek::recovery::Recipient;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often DEKs whose time is over are wiped out of the cache.
const SWEEP: Duration = Duration::from_secs(5);
/// Longest file that is read for a public key.
const RECIPIENT_BYTES: u64 = 8 << 10;

/// Opens every provider.
async fn seats(config: &KekConfig, mut masters: Masters) -> Result<Vec<Seat>, StartError> {
    let mut seats = Vec::with_capacity(config.providers.len());
    for section in &config.providers {
        let master = masters.take(&section.name);
        let provider = section.config.open(&section.name, master).await?;
        seats.push(Seat::new(
            provider,
            section.deadline,
            section.allow_without_aad,
        )?);
    }
    Ok(seats)
}

/// Proves every configured provider live, without a running service.
pub async fn examine(config: &KekConfig, masters: Masters) -> Result<Vec<Examination>, StartError> {
    let mut all = Vec::new();
    for seat in seats(config, masters).await? {
        all.push(doctor::examine(&seat).await);
    }
    Ok(all)
}

/// Opens every provider and joins the ring that the store has.
pub(super) async fn ring(
    config: &KekConfig,
    masters: Masters,
    records: &Records,
    clock: &Clock,
) -> Result<KeyRing, StartError> {
    let settings = Settings {
        first_active: config.active.clone(),
        also_wrap: config.also_wrap.clone(),
        recovery: config
            .recovery_recipient
            .as_deref()
            .map(recipient)
            .transpose()?,
        cache: config.cache,
    };
    let seats = seats(config, masters).await?;
    let ring = KeyRing::new(seats, settings, records.clone(), Arc::clone(clock));
    ring.join().await?;
    Ok(ring)
}

fn recipient(path: &Path) -> Result<Recipient, StartError> {
    use std::io::Read;
    let bad = |problem: String| StartError::Recipient {
        path: path.to_owned(),
        problem,
    };
    let file = std::fs::File::open(path).map_err(|e| bad(e.to_string()))?;
    let mut text = String::new();
    file.take(RECIPIENT_BYTES)
        .read_to_string(&mut text)
        .map_err(|e| bad(e.to_string()))?;
    Recipient::parse(&text).map_err(|e| bad(e.to_string()))
}

/// Wipes the cache in time, and goes on with a rewrap that was broken off. Ends with the service.
pub(super) fn keep(desk: &Arc<Desk>, stop: &CancellationToken) {
    let (ring, ended) = (Arc::clone(&desk.ring), stop.clone().cancelled_owned());
    tokio::spawn(async move {
        let sweep = async {
            loop {
                tokio::time::sleep(SWEEP).await;
                ring.sweep();
            }
        };
        tokio::select! {
            () = ended => {}
            () = sweep => {}
        }
        ring.forget();
    });
    let (desk, ended) = (Arc::clone(desk), stop.clone().cancelled_owned());
    tokio::spawn(async move {
        let go_on = async {
            match desk.ring.ring().await {
                Ok(ring) if ring.rewrap.is_some() => desk.rewrap().await,
                Ok(_) => {}
                Err(error) => report::emit(&Event::StoreFailed { error: &error }),
            }
        };
        tokio::select! {
            () = ended => {}
            () = go_on => {}
        }
    });
}
