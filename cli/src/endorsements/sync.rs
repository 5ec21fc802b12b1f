//! `dawnkey endorsements sync`.

use super::{StoreArgs, transfer};
use crate::files;
use crate::outcome::{Exit, Failure};
use crate::output::Output;
use clap::Args;
use dawnkey_attest::bytes::Bytes;
use dawnkey_attest::evidence::{Evidence, file};
use dawnkey_attest::snp::product::Product;
use dawnkey_attest::snp::tcb::TcbLayout;
use dawnkey_attest::tdx::PckCa;
use dawnkey_endorse::item::{Item, product};
use dawnkey_endorse::service::REFRESH;
use dawnkey_endorse::{Endorsements, OnlineSettings, Settings};
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Arguments of `dawnkey endorsements sync`.
#[derive(Debug, Args)]
#[group(id = "what", required = true, multiple = true, args = ["evidence", "product", "fmspc"])]
pub(super) struct SyncArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// Fetch what this evidence needs, as `dawnkey evidence save` writes it; may be given several times
    #[arg(long = "for", value_name = "EVIDENCE")]
    evidence: Vec<PathBuf>,
    /// Fetch authorities and revocation lists of a product line of AMD: milan, genoa, turin; may be given several times
    #[arg(long, value_name = "LINE", value_parser = line)]
    product: Vec<Product>,
    /// Fetch the certificate of this chip, 64 bytes in hex (8 from Turin on); needs one --product and --tcb
    #[arg(long, value_name = "HEX", requires_all = ["product", "tcb"])]
    chip: Vec<String>,
    /// TCB of the chips as a report has it, 8 bytes in hex
    #[arg(long, value_name = "HEX", requires = "chip")]
    tcb: Option<String>,
    /// Fetch what quotes of this platform model need, 6 bytes in hex; may be given several times
    #[arg(long, value_name = "HEX", value_parser = fmspc)]
    fmspc: Vec<Bytes<6>>,
    /// AMD's key distribution service, or a mirror
    #[arg(long, value_name = "URL")]
    amd_url: Option<String>,
    /// Intel's provisioning certification service, or a caching service (PCCS)
    #[arg(long, value_name = "URL")]
    intel_url: Option<String>,
    /// The revocation list of Intel's root: its whole URL
    #[arg(long, value_name = "URL")]
    intel_root_crl_url: Option<String>,
    /// CA certificates of these services' TLS servers, PEM
    #[arg(long, value_name = "FILE")]
    ca_bundle: Option<PathBuf>,
    /// Longest time to wait for each item, through pauses that a service orders
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    patience: u32,
}

fn line(text: &str) -> Result<Product, String> {
    product(text).ok_or_else(|| "expected milan, genoa or turin".to_owned())
}

fn fmspc(text: &str) -> Result<Bytes<6>, String> {
    Bytes::from_hex(text).ok_or_else(|| "expected 6 bytes in hex".to_owned())
}

impl SyncArgs {
    /// Fetches.
    pub(super) fn run(&self, output: Output) -> Result<Exit, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| Failure::local(e, "this process", "a machine with resources left"))?;
        runtime.block_on(self.fetch(output))
    }

    async fn fetch(&self, output: Output) -> Result<Exit, Failure> {
        let clock = Arc::new(Timestamp::now);
        let endorsements = Endorsements::open(&self.settings(), self.store.trust()?, clock);
        let endorsements = endorsements.map_err(|e| {
            Failure::local(
                e,
                self.store.store.display(),
                "a usable store, URLs and CA bundle",
            )
        })?;
        let mut items = self.named()?;
        for path in &self.evidence {
            items.extend(endorsements.items_for(&read(path)?));
        }
        items.sort();
        items.dedup();
        let mut rows = Vec::new();
        for item in items {
            let deadline = Instant::now() + Duration::from_secs(self.patience.into());
            let fetched = endorsements.fetch(&item, deadline).await;
            rows.push(transfer::Row {
                from: item.path().display().to_string(),
                outcome: fetched
                    .as_ref()
                    .map_or("refused", |put| transfer::name(*put)),
                problem: fetched.err().map(|error| error.to_string()),
                item: Some(item.to_string()),
            });
        }
        transfer::show(&rows, output)
    }

    fn settings(&self) -> Settings {
        let usual = OnlineSettings::default();
        let or = |given: &Option<String>, usual| given.clone().unwrap_or(usual);
        Settings {
            path: self.store.store.clone(),
            online: Some(OnlineSettings {
                amd_url: or(&self.amd_url, usual.amd_url),
                intel_url: or(&self.intel_url, usual.intel_url),
                intel_root_crl_url: or(&self.intel_root_crl_url, usual.intel_root_crl_url),
                ca_bundle: self.ca_bundle.clone().unwrap_or(usual.ca_bundle),
            }),
            refresh: REFRESH,
        }
    }

    /// What the options name.
    fn named(&self) -> Result<Vec<Item>, Failure> {
        let mut items = Vec::new();
        for product in &self.product {
            let of = || product.clone();
            items.extend([Item::Ask(of()), Item::Asvk(of())]);
            items.extend([Item::VcekCrl(of()), Item::VlekCrl(of())]);
        }
        for chip in &self.chip {
            items.push(self.vcek(chip)?);
        }
        for fmspc in &self.fmspc {
            items.extend([Item::TcbInfo(*fmspc), Item::QeIdentity, Item::RootCrl]);
            // A model alone does not tell which CA certifies a platform.
            items.extend([PckCa::Platform, PckCa::Processor].map(Item::PckCrl));
        }
        Ok(items)
    }

    fn vcek(&self, chip: &str) -> Result<Item, Failure> {
        let usage = |right: &str| Failure::usage("name a chip", format!("--chip {chip}"), right);
        let [product] = self.product.as_slice() else {
            return Err(usage("one --product, the chip's"));
        };
        let length = match TcbLayout::of(product) {
            TcbLayout::Legacy => 64,
            TcbLayout::Fmc => 8,
        };
        let mut tcb = [0; 8];
        hex::decode_to_slice(self.tcb.as_deref().unwrap_or_default(), &mut tcb)
            .map_err(|_| usage("--tcb with 8 bytes in hex, as a report has it"))?;
        match hex::decode(chip) {
            Ok(chip) if chip.len() == length => Ok(Item::Vcek {
                product: product.clone(),
                chip,
                tcb,
            }),
            _ => Err(usage(&format!("{length} bytes in hex"))),
        }
    }
}

fn read(path: &Path) -> Result<Evidence, Failure> {
    let limit = u64::try_from(file::MAX_FILE).unwrap_or(u64::MAX);
    let bytes = files::read(path, "the evidence", limit)?;
    file::read(&bytes).map_err(|e| {
        let right = "a file of `dawnkey evidence save`";
        Failure::local(e, path.display(), right)
    })
}
