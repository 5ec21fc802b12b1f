//! Puts together what evidence brought and what the store has: of each statement the newest.

use std::sync::Arc;

use dawnkey_attest::evidence::TdxCollateral;
use dawnkey_attest::verify::Collateral;

use crate::answer::{self, Kind};
use crate::check::{Checked, Helpers, check, documents};
use crate::item::Item;
use crate::store::Store;
use crate::wants::{KeyName, SnpWants, TdxWants, Wants};

/// Where a statement was found.
struct Found {
    item: Item,
    stored: Option<Arc<Checked>>,
    brought: Option<Checked>,
}

impl Found {
    /// The newest of what was found.
    fn newest(&self) -> Option<&Checked> {
        match (&self.stored, &self.brought) {
            (Some(stored), Some(brought)) if stored.is_older_than(brought) => Some(brought),
            (Some(stored), _) => Some(stored),
            (None, brought) => brought.as_ref(),
        }
    }
}

/// What was found for one piece of evidence.
#[derive(Default)]
pub(crate) struct Parts {
    /// Endorsement keys: any one of the items will do.
    keys: Vec<Found>,
    /// The evidence has a certificate that holds.
    key_brought: bool,
    /// Revocation lists of AMD, of each product line that the report may be of.
    lists: Vec<Found>,
    /// Whole collateral of Intel, or what there is of it.
    intel: Vec<Found>,
    tpm: Vec<Arc<Checked>>,
}

/// Looks into evidence and store.
pub(crate) fn parts(store: &Store, wants: &Wants, now: u64) -> Parts {
    let mut parts = Parts::default();
    if let Some(snp) = &wants.snp {
        amd(store, snp, now, &mut parts);
    }
    if let Some(tdx) = &wants.tdx {
        intel(store, tdx, now, &mut parts);
    }
    if wants.tpm {
        parts.tpm = store.tpm(now);
    }
    parts
}

fn stored(store: &Store, item: &Item, now: u64) -> Option<Arc<Checked>> {
    // A file that is refused counts as absent; the survey tells the operator.
    store.get(item, now).ok().flatten()
}

fn amd(store: &Store, wants: &SnpWants, now: u64, parts: &mut Parts) {
    let trust = store.trust();
    let mut helpers = Helpers {
        authorities: wants.table.intermediates.clone(),
        ..Helpers::default()
    };
    for product in &wants.products {
        helpers.authorities.extend(store.authorities(product));
    }
    let checked = |file: &Option<Vec<u8>>| -> Option<Checked> {
        let document = documents(file.as_ref()?).ok()?.pop()?;
        let vlek = wants.key == KeyName::Provider;
        check(&document, vlek, &trust, &helpers, now).ok()
    };
    let key = match wants.key {
        KeyName::Provider => checked(&wants.table.vlek),
        _ => checked(&wants.table.vcek),
    };
    let list = checked(&wants.table.crl);
    let mut known = None;
    for product in &wants.products {
        let candidates = match wants.key {
            KeyName::Provider => store.vleks(product, wants.tcb),
            _ => wants.vcek(product).into_iter().collect(),
        };
        let brought = key.as_ref().is_some_and(|key| match &key.item {
            Item::Vlek {
                product: of, tcb, ..
            } => of == product && *tcb == wants.tcb,
            item => candidates.contains(item),
        });
        parts.key_brought |= brought;
        parts.keys.extend(candidates.into_iter().map(|item| Found {
            stored: stored(store, &item, now),
            brought: None,
            item,
        }));
        if brought || parts.keys.last().is_some_and(|key| key.stored.is_some()) {
            known = Some(product);
        }
    }
    for product in wants
        .products
        .iter()
        .filter(|of| known.is_none_or(|it| it == *of))
    {
        let item = wants.crl(product);
        parts.lists.push(Found {
            stored: stored(store, &item, now),
            brought: list.clone().filter(|list| list.item == item),
            item,
        });
    }
}

fn intel(store: &Store, wants: &TdxWants, now: u64, parts: &mut Parts) {
    let mut brought = match &wants.brought {
        Some(collateral) => taken_apart(store, collateral, now),
        None => Vec::new(),
    };
    for item in wants.items() {
        let place = brought.iter().position(|checked| checked.item == item);
        parts.intel.push(Found {
            stored: stored(store, &item, now),
            brought: place.map(|place| brought.swap_remove(place)),
            item,
        });
    }
}

/// The statements in a node's collateral that hold.
fn taken_apart(store: &Store, collateral: &TdxCollateral, now: u64) -> Vec<Checked> {
    let c = collateral;
    let documents = [
        (
            answer::write(Kind::TcbInfo, &c.tcb_info, &c.tcb_info_signature),
            &c.tcb_info_issuer_chain,
        ),
        (
            answer::write(Kind::QeIdentity, &c.qe_identity, &c.qe_identity_signature),
            &c.qe_identity_issuer_chain,
        ),
        (c.pck_crl.clone(), &c.pck_crl_issuer_chain),
        (c.root_ca_crl.clone(), &c.pck_crl_issuer_chain),
    ];
    let trust = store.trust();
    documents
        .iter()
        .filter_map(|(document, chain)| {
            let helpers = Helpers {
                chains: vec![(*chain).clone()],
                ..Helpers::default()
            };
            check(document, false, &trust, &helpers, now).ok()
        })
        .collect()
}

impl Parts {
    /// Items that neither evidence nor store has, or only expired.
    pub fn absent(&self, now: u64) -> Vec<Item> {
        let has = |found: &Found| found.newest().is_some_and(|checked| checked.until >= now);
        let name = |found: &Found| found.item.clone();
        let mut absent = Vec::new();
        if !self.key_brought && !self.keys.iter().any(has) {
            absent.extend(self.keys.iter().map(name));
        }
        let dated = self.lists.iter().chain(&self.intel);
        absent.extend(dated.filter(|found| !has(found)).map(name));
        absent
    }

    /// Dated items that the evidence brought and the store has not, or has expired.
    pub fn only_brought(&self, now: u64) -> Vec<Item> {
        let dated = self.lists.iter().chain(&self.intel);
        dated
            .filter(|found| found.brought.is_some())
            .filter(|found| {
                found
                    .stored
                    .as_ref()
                    .is_none_or(|stored| stored.until < now)
            })
            .map(|found| found.item.clone())
            .collect()
    }

    /// In the form that verification takes.
    pub fn into_collateral(self) -> Collateral {
        let own = |found: &Found| {
            // What the evidence brought, verification finds in the evidence. An older one beside it could only harm.
            let newest = found.newest()?;
            let stored = found.stored.as_deref()?;
            (newest == stored).then(|| stored.document.clone())
        };
        Collateral {
            tpm_intermediates: self.tpm.iter().map(|ca| ca.document.clone()).collect(),
            snp_certificates: self.keys.iter().filter_map(own).collect(),
            snp_crls: self.lists.iter().filter_map(own).collect(),
            tdx: whole(&self.intel).into_iter().collect(),
            ..Collateral::default()
        }
    }
}

/// Intel's collateral, if there is all of it.
fn whole(parts: &[Found]) -> Option<TdxCollateral> {
    let mut whole = TdxCollateral::default();
    let mut count = 0;
    for checked in parts.iter().filter_map(Found::newest) {
        let chain = checked.chain.clone().unwrap_or_default();
        let signed = answer::parse(&checked.document)
            .map(|answer| (answer.text.as_bytes().to_vec(), answer.signature));
        match &checked.item {
            Item::RootCrl => whole.root_ca_crl = checked.document.clone(),
            Item::PckCrl(_) => {
                whole.pck_crl = checked.document.clone();
                whole.pck_crl_issuer_chain = chain;
            }
            Item::TcbInfo(_) => {
                (whole.tcb_info, whole.tcb_info_signature) = signed?;
                whole.tcb_info_issuer_chain = chain;
            }
            Item::QeIdentity => {
                (whole.qe_identity, whole.qe_identity_signature) = signed?;
                whole.qe_identity_issuer_chain = chain;
            }
            _ => return None,
        }
        count += 1;
    }
    (count == 4).then_some(whole)
}
