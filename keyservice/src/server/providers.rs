//! Opening the configured KEK providers, and what goes on with them while the service runs.

use super::service::StartError;
use crate::config::{KekConfig, ProviderSection};
use crate::desk::{Clock, Desk};
use crate::kek::doctor::{self, Examination};
use crate::kek::{KeyRing, Seat, Settings, Watch, Watched};
use crate::master::Masters;
use crate::records::Records;
use crate::report::{self, Event};
use dawnkey_kek::recovery::Recipient;
use dawnkey_kek::{Provider, WrappedSecret};
use dawnkey_secret::MasterSecret;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often DEKs whose time is over are wiped out of the cache.
const SWEEP: Duration = Duration::from_secs(5);
/// Longest file that is read for a public key or a wrapped master secret.
const PUBLIC_BYTES: u64 = 64 << 10;

/// Opens every provider, first those that need no other one; calls at them are told to `watch`.
async fn seats(
    config: &KekConfig,
    mut masters: Masters,
    watch: &Watch,
) -> Result<Vec<Seat>, StartError> {
    let watched = |section: &ProviderSection, provider| -> Arc<dyn Provider> {
        Arc::new(Watched::new(provider, section.deadline, watch.clone()))
    };
    let (wrapped, plain): (Vec<_>, Vec<_>) = config
        .providers
        .iter()
        .partition(|section| section.config.wrapped_master().is_some());
    let mut opened: Vec<(&ProviderSection, Arc<dyn Provider>)> = Vec::new();
    for section in plain {
        let master = masters.take(&section.name);
        let provider = section.config.open(&section.name, master).await?;
        opened.push((section, watched(section, provider)));
    }
    for section in wrapped {
        let master = unwrap_master(section, &opened).await?;
        let provider = section.config.open(&section.name, master).await?;
        opened.push((section, watched(section, provider)));
    }
    let mut seats = Vec::with_capacity(opened.len());
    for (section, provider) in opened {
        // The watch keeps the deadline and records it; this one is for what it cannot end.
        let deadline = section.deadline + Duration::from_secs(1);
        seats.push(Seat::new(provider, deadline, section.allow_without_aad)?);
    }
    Ok(seats)
}

/// Opens the master secret of a provider with the one that its configuration names.
pub(crate) async fn unwrap_master(
    section: &ProviderSection,
    opened: &[(&ProviderSection, Arc<dyn Provider>)],
) -> Result<Option<MasterSecret>, StartError> {
    let Some((file, by)) = section.config.wrapped_master() else {
        return Ok(None);
    };
    let failed = |problem: String| StartError::WrappedMaster {
        provider: section.name.clone(),
        path: file.to_owned(),
        problem,
    };
    let (opener, provider) = opened
        .iter()
        .find(|(other, _)| other.name == by)
        .ok_or_else(|| failed(format!("no provider `{by}`")))?;
    let text = read(file).map_err(|e| failed(e.to_string()))?;
    let wrapped = WrappedSecret::parse(&text).map_err(failed)?;
    let unwrapped = tokio::time::timeout(opener.deadline, wrapped.unwrap(&**provider)).await;
    let secret = unwrapped.map_err(|_| failed(format!("no answer of `{by}` in time")))??;
    Ok(Some(secret))
}

/// Wraps a master secret with a configured provider: the content of the file for `master_secret = "wrapped:…"`.
///
/// # Errors
/// [`StartError::WrappedMaster`] when there is no such provider; the provider's.
pub async fn wrap_master(
    config: &KekConfig,
    name: &str,
    secret: &MasterSecret,
) -> Result<String, StartError> {
    let section = config.providers.iter().find(|section| section.name == name);
    let section = section.ok_or_else(|| StartError::WrappedMaster {
        provider: name.to_owned(),
        path: PathBuf::new(),
        problem: "no [[kek.provider]] has this name".into(),
    })?;
    let provider = section.config.open(name, None).await?;
    Ok(WrappedSecret::wrap(&*provider, secret).await?.text())
}

/// Proves every configured provider live, without a running service.
pub async fn examine(config: &KekConfig, masters: Masters) -> Result<Vec<Examination>, StartError> {
    let mut all = Vec::new();
    for seat in seats(config, masters, &Watch::none()).await? {
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
    watch: &Watch,
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
    let seats = seats(config, masters, watch).await?;
    let ring = KeyRing::new(seats, settings, records.clone(), Arc::clone(clock));
    ring.join().await?;
    for provider in ring.waiting() {
        let provider = provider.as_str();
        report::emit(&Event::MasterAwaited { provider });
    }
    Ok(ring)
}

/// Reads a file of public content, up to a limit.
pub(crate) fn read(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    file.take(PUBLIC_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

fn recipient(path: &Path) -> Result<Recipient, StartError> {
    let bad = |problem: String| StartError::Recipient {
        path: path.to_owned(),
        problem,
    };
    let text = read(path).map_err(|e| bad(e.to_string()))?;
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
                // Where a master secret is missing, it goes on when that is given.
                Ok(ring) if ring.rewrap.is_some() && desk.ring.waiting().is_empty() => {
                    desk.rewrap().await;
                }
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
#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use dawnkey_kek::cluster::Cluster;

    fn secret(byte: u8) -> MasterSecret {
        MasterSecret::take(&mut [byte; 32]).unwrap()
    }

    /// `inner`, whose secret is in a file that `outer` opens.
    fn config(file: &Path) -> KekConfig {
        let salt = "00".repeat(32);
        KekConfig::for_test(&format!(
            "active = \"inner\"\n\
             [[provider]]\nname = \"inner\"\nkind = \"cluster\"\nsalt = \"{salt}\"\n\
             master_secret = \"wrapped:{}\"\nunwrap_with = \"outer\"\n\
             [[provider]]\nname = \"outer\"\nkind = \"cluster\"\nsalt = \"{salt}\"\nmaster_secret = \"fd\"\n",
            file.display()
        ))
    }

    #[tokio::test]
    async fn opens_a_wrapped_master_secret_with_the_provider_that_is_named() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("master.json");
        let outer = Cluster::new("outer", secret(1), [0; 32]);
        let wrapped = WrappedSecret::wrap(&outer, &secret(0xa7)).await.unwrap();
        std::fs::write(&file, wrapped.text()).unwrap();
        let config = config(&file);
        let section = config.providers.first().unwrap();
        let named = config.providers.last().unwrap();
        let opened: Vec<(&ProviderSection, Arc<dyn Provider>)> = vec![(named, Arc::new(outer))];
        let master = unwrap_master(section, &opened).await.unwrap();
        assert_eq!(master.unwrap().expose(), secret(0xa7).expose());
        let masters = Masters::one("outer", secret(1));
        assert_eq!(
            seats(&config, masters, &Watch::none()).await.unwrap().len(),
            2
        );

        let text = std::fs::read(&file).unwrap();
        let clear = [
            vec![0xa7; 8],
            "a7".repeat(8).into_bytes(),
            b"p6enp6en".to_vec(),
        ];
        for clear in clear {
            assert!(!text.windows(clear.len()).any(|window| window == clear));
        }
    }

    #[tokio::test]
    async fn refuses_a_file_of_another_provider_or_none() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("master.json");
        let config = config(&file);
        let refused = seats(&config, Masters::one("outer", secret(1)), &Watch::none()).await;
        assert!(matches!(refused, Err(StartError::WrappedMaster { .. })));
        let other = Cluster::new("outer", secret(2), [0; 32]);
        let wrapped = WrappedSecret::wrap(&other, &secret(3)).await.unwrap();
        std::fs::write(&file, wrapped.text()).unwrap();
        let refused = seats(&config, Masters::one("outer", secret(1)), &Watch::none()).await;
        assert!(matches!(refused, Err(StartError::Kek(_))));
    }
}
