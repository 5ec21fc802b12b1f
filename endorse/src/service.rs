//! Gives evidence what it needs to be judged: what it brought itself, what the store has, what the vendors have.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dawnkey_attest::evidence::Evidence;
use dawnkey_attest::tdx::GenuineQuote;
use dawnkey_attest::verify::Collateral;
use jiff::Timestamp;
use tokio::sync::Semaphore;

use crate::assemble::{self, Parts};
use crate::check::Trust;
use crate::counters::Counters;
use crate::flight::{Fetched, Flights};
use crate::http::{Base, BaseError, BundleError, Client, Dial, Network};
use crate::item::Item;
use crate::store::{Store, StoreError};
use crate::survey::Surveyed;
use crate::vendor::{AMD, FetchError, INTEL, INTEL_ROOT_CRL, Services};
use crate::wants::{TdxWants, Wants};

/// Longest time for one request to a vendor's service, connection and answer.
const EXCHANGE: Duration = Duration::from_secs(20);
/// How long a judgement waits for what is fetched.
const PATIENCE: Duration = Duration::from_secs(4);
/// Judgements that may wait at the same time; others take what is there.
const MAX_WAITING: usize = 32;

/// Tells the time; the system's clock, or a test's.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How endorsements are kept and had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The store's directory.
    pub path: PathBuf,
    /// Where vendors' services are; `None` where they are not asked.
    pub online: Option<OnlineSettings>,
    /// How often revocation lists, TCB info and QE identity are fetched again.
    pub refresh: Duration,
}

/// Where vendors' services are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OnlineSettings {
    /// AMD's key distribution service, or a mirror.
    pub amd_url: String,
    /// Intel's provisioning certification service, or a caching service.
    pub intel_url: String,
    /// The revocation list of Intel's root.
    pub intel_root_crl_url: String,
    /// CA certificates of their TLS servers, PEM.
    pub ca_bundle: PathBuf,
}

/// The system's CA certificates on Debian.
pub const CA_BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
/// How often dated items are fetched again.
pub const REFRESH: Duration = Duration::from_secs(12 * 3600);

impl Default for OnlineSettings {
    fn default() -> Self {
        Self {
            amd_url: AMD.to_owned(),
            intel_url: INTEL.to_owned(),
            intel_root_crl_url: INTEL_ROOT_CRL.to_owned(),
            ca_bundle: CA_BUNDLE.into(),
        }
    }
}

impl OnlineSettings {
    /// Reads the URLs.
    ///
    /// # Errors
    /// [`BaseError`] for the first that is not usable.
    pub fn services(&self) -> Result<Services, BaseError> {
        Ok(Services {
            amd: Base::parse(&self.amd_url)?,
            intel: Base::parse(&self.intel_url)?,
            intel_root_crl: Base::parse(&self.intel_root_crl_url)?,
        })
    }
}

/// Why endorsements cannot be kept or had.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A URL.
    #[error(transparent)]
    Url(#[from] BaseError),
    /// The CA bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

pub(crate) struct Online {
    pub services: Services,
    pub client: Client,
}

/// Endorsements: a store, and the services it is filled from.
pub struct Endorsements {
    pub(crate) store: Store,
    pub(crate) online: Option<Online>,
    pub(crate) flights: Flights,
    pub(crate) counters: Counters,
    pub(crate) surveyed: Surveyed,
    pub(crate) clock: Clock,
    pub(crate) refresh: Duration,
    waiting: Semaphore,
}

impl Endorsements {
    /// Opens the store, with connections over the network.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn open(settings: &Settings, trust: Trust, clock: Clock) -> Result<Arc<Self>, SetupError> {
        let dial: Option<Arc<dyn Dial>> = match &settings.online {
            Some(online) => Some(Arc::new(Network::new(&online.ca_bundle)?)),
            None => None,
        };
        Self::open_with(settings, trust, clock, dial)
    }

    /// Opens the store, with connections that `dial` makes.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn open_with(
        settings: &Settings,
        trust: Trust,
        clock: Clock,
        dial: Option<Arc<dyn Dial>>,
    ) -> Result<Arc<Self>, SetupError> {
        let online = match (&settings.online, dial) {
            (Some(online), Some(dial)) => Some(Online {
                services: online.services()?,
                client: Client::new(dial, EXCHANGE),
            }),
            _ => None,
        };
        let store = Store::open(&settings.path, Arc::new(trust))?;
        if online.is_some() {
            store.check_writable()?;
        }
        Ok(Arc::new(Self {
            store,
            online,
            flights: Flights::default(),
            counters: Counters::default(),
            surveyed: Surveyed::default(),
            clock,
            refresh: settings.refresh,
            waiting: Semaphore::new(MAX_WAITING),
        }))
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Puts other roots in force.
    pub fn set_trust(&self, trust: Trust) {
        self.store.set_trust(Arc::new(trust));
    }

    /// The time, seconds since 1970.
    #[must_use]
    pub fn now(&self) -> u64 {
        u64::try_from((self.clock)().as_second()).unwrap_or_default()
    }

    /// What is at hand to judge evidence with. Looks into the evidence, then into the store, then asks the vendors
    /// and waits for them for at most four seconds. Never fails: what cannot be had is left out, and verification
    /// says what is missing.
    pub async fn collateral_for(self: &Arc<Self>, evidence: &Evidence) -> Collateral {
        let wants = Wants::of(evidence);
        let mut parts = assemble::parts(&self.store, &wants, self.now());
        let missing = self.missing(&wants, &parts);
        if !missing.is_empty() {
            self.wait_for(&missing).await;
            parts = assemble::parts(&self.store, &wants, self.now());
        }
        for item in parts.absent(self.now()) {
            self.counters.missed(item.class());
        }
        parts.into_collateral()
    }

    /// Items to wait for, from a vendor that may have them.
    fn missing(self: &Arc<Self>, wants: &Wants, parts: &Parts) -> Vec<Item> {
        let Some(online) = &self.online else {
            return Vec::new();
        };
        let now = self.now();
        let mut missing = parts.absent(now);
        // What only the node brought is good for now; the next judgement is to have it from the vendor.
        let background = parts.only_brought(now);
        missing.retain(|item| online.services.ask(item).is_some());
        let asks_intel = !missing.is_empty() || !background.is_empty();
        if let Some(tdx) = wants.tdx.as_ref().filter(|_| asks_intel)
            && !self.is_genuine(tdx)
        {
            // A quote that nobody's platform made does not send this service to Intel.
            return Vec::new();
        }
        for item in background {
            drop(self.begin(&item));
        }
        missing
    }

    fn is_genuine(&self, tdx: &TdxWants) -> bool {
        GenuineQuote::check(&tdx.quote, &self.store.trust().tdx).is_ok()
    }

    async fn wait_for(self: &Arc<Self>, items: &[Item]) {
        let flights: Vec<_> = items.iter().map(|item| self.begin(item)).collect();
        let Ok(_place) = self.waiting.try_acquire() else {
            return;
        };
        let landed = async {
            for flight in flights {
                // Why it failed is counted; what is missing, verification says.
                let _ = flight.landed().await;
            }
        };
        let _ = tokio::time::timeout(PATIENCE, landed).await;
    }

    /// Fetches one item now, and waits through pauses of its host until `deadline`.
    ///
    /// # Errors
    /// [`FetchError`], the last one if there was more than one attempt.
    pub async fn fetch(self: &Arc<Self>, item: &Item, deadline: tokio::time::Instant) -> Fetched {
        loop {
            let outcome = self.begin(item).landed().await;
            let wait = match &outcome {
                Err(FetchError::Paused { wait, .. }) => *wait,
                // The host has been given a pause; the next attempt learns how long.
                Err(error) if error.is_of_host() => Duration::ZERO,
                _ => return outcome,
            };
            let again = tokio::time::Instant::now() + wait;
            if again >= deadline {
                return outcome;
            }
            tokio::time::sleep_until(again).await;
        }
    }

    /// The items that evidence needs, whether the store has them or not.
    #[must_use]
    pub fn items_for(&self, evidence: &Evidence) -> Vec<Item> {
        let wants = Wants::of(evidence);
        let mut items = Vec::new();
        if let Some(snp) = &wants.snp {
            for product in &snp.products {
                items.extend([Item::Ask(product.clone()), snp.crl(product)]);
                items.extend(snp.vcek(product));
            }
        }
        if let Some(tdx) = &wants.tdx {
            items.extend(tdx.items());
        }
        items
    }
}

/// Whether a directory can be a store; for checks before a start.
///
/// # Errors
/// [`SetupError`] names what is not usable.
pub fn check_settings(settings: &Settings) -> Result<(), SetupError> {
    if let Some(online) = &settings.online {
        online.services()?;
        Network::new(&online.ca_bundle)?;
    }
    if Path::new(&settings.path).is_file() {
        return Err(SetupError::Store(StoreError::Foreign {
            path: settings.path.clone(),
        }));
    }
    Ok(())
}
