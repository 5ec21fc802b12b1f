//! The vendors' services: where each item is asked for, and what their answers mean.
//!
//! AMD's key distribution service (57230 "VCEK Certificate and KDS Interface Specification") and Intel's provisioning
//! certification service, version 4. A caching service that speaks Intel's protocol (PCCS) does as well.

use std::time::Duration;

use dawnkey_attest::snp::tcb::{Tcb, TcbLayout};
use jiff::Timestamp;
use jiff::fmt::rfc2822;

use crate::answer::chain_of_header;
use crate::check::{CheckError, Checked, Helpers, Trust, check, documents};
use crate::http::{Base, Client, HttpError, Response};
use crate::item::Item;
use crate::pace::Use;

/// Largest answer about certificates, TCB or QE; the largest of Intel's has 40 KiB.
const MAX_ANSWER: usize = 1 << 20;
/// Largest revocation list.
const MAX_LIST: usize = 4 << 20;
/// Most bytes of an issuer chain in a header, percent-encoded.
const MAX_HEADER: usize = 32 << 10;

/// AMD's key distribution service.
pub const AMD: &str = "https://kdsintf.amd.com";
/// Intel's provisioning certification service.
pub const INTEL: &str = "https://api.trustedservices.intel.com";
/// Intel's server of the root's revocation list, the distribution point in its certificates.
pub const INTEL_ROOT_CRL: &str =
    "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der";

/// Where the services are.
#[derive(Clone, Debug)]
pub struct Services {
    /// AMD's, or a mirror.
    pub amd: Base,
    /// Intel's, or a caching service.
    pub intel: Base,
    /// The root's revocation list: the whole URL.
    pub intel_root_crl: Base,
}

/// Why an item could not be had from its vendor.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FetchError {
    /// The vendor does not hand it out to everybody.
    #[error("the {item} is not published; import it")]
    NotPublished {
        /// What was wanted.
        item: Item,
    },
    /// No service may be asked.
    #[error(
        "the {item} is not in the store, and services of vendors are not asked (online = false)"
    )]
    Offline {
        /// What was wanted.
        item: Item,
    },
    /// The connection.
    #[error("fetch the {item}: {source}")]
    Http {
        /// What was wanted.
        item: Item,
        /// What went wrong.
        source: HttpError,
    },
    /// The service refused for now.
    #[error("fetch the {item}: {host} answered {status}")]
    Busy {
        /// What was wanted.
        item: Item,
        /// Who was asked.
        host: String,
        /// Status code: 429 or 5xx.
        status: u16,
        /// What the service says about when to come back.
        retry_after: Option<Duration>,
    },
    /// The service does not have it.
    #[error("fetch the {item}: {host} answered {status}")]
    Refused {
        /// What was wanted.
        item: Item,
        /// Who was asked.
        host: String,
        /// Status code.
        status: u16,
    },
    /// The answer does not hold.
    #[error("the answer of {host} for the {item} is refused: {source}")]
    Answer {
        /// What was wanted.
        item: Item,
        /// Who was asked.
        host: String,
        /// Why.
        source: Box<CheckError>,
    },
    /// The answer is genuine, and about something else.
    #[error("the answer of {host} for the {item} is refused: it is the {found}")]
    Other {
        /// What was wanted.
        item: Item,
        /// Who was asked.
        host: String,
        /// What came.
        found: Box<Item>,
    },
    /// The host is not asked at the moment.
    #[error("the {item} is not fetched now: {host} is asked again in {} s", .wait.as_secs())]
    Paused {
        /// What was wanted.
        item: Item,
        /// Who was to be asked.
        host: String,
        /// For how long.
        wait: Duration,
    },
    /// The vendor's answer is older than what the store has.
    #[error("{0}")]
    Older(String),
    /// The store did not take it.
    #[error("{0}")]
    Store(String),
}

impl FetchError {
    /// A stable name for metrics.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NotPublished { .. } => "not-published",
            Self::Offline { .. } => "offline",
            Self::Http { .. } => "unreachable",
            Self::Busy { .. } => "busy",
            Self::Refused { .. } => "refused",
            Self::Answer { .. } | Self::Other { .. } => "invalid",
            Self::Paused { .. } => "paused",
            Self::Older(_) => "older",
            Self::Store(_) => "store",
        }
    }

    /// Whether the host is to be left alone for a while.
    #[must_use]
    pub const fn is_of_host(&self) -> bool {
        matches!(self, Self::Http { .. } | Self::Busy { .. })
    }

    /// What the service ordered about when to come back.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// A request for an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask<'a> {
    /// The service.
    pub base: &'a Base,
    /// Path and query.
    pub path: String,
    /// What it counts as.
    pub purpose: Use,
}

impl Services {
    /// The request for an item; `None` if its vendor does not publish it.
    #[must_use]
    pub fn ask(&self, item: &Item) -> Option<Ask<'_>> {
        let (base, path) = match item {
            Item::Ark(product) | Item::Ask(product) => {
                (&self.amd, format!("/vcek/v1/{product}/cert_chain"))
            }
            Item::Asvk(product) => (&self.amd, format!("/vlek/v1/{product}/cert_chain")),
            Item::VcekCrl(product) => (&self.amd, format!("/vcek/v1/{product}/crl")),
            Item::VlekCrl(product) => (&self.amd, format!("/vlek/v1/{product}/crl")),
            Item::Vcek { product, chip, tcb } => {
                let tcb = Tcb::decode(*tcb, TcbLayout::of(product));
                let fmc = tcb
                    .fmc
                    .map(|fmc| format!("fmcSPL={fmc}&"))
                    .unwrap_or_default();
                let path = format!(
                    "/vcek/v1/{product}/{}?{fmc}blSPL={}&teeSPL={}&snpSPL={}&ucodeSPL={}",
                    hex::encode(chip),
                    tcb.boot_loader,
                    tcb.tee,
                    tcb.snp,
                    tcb.microcode,
                );
                (&self.amd, path)
            }
            Item::TcbInfo(fmspc) => (
                &self.intel,
                format!("/tdx/certification/v4/tcb?fmspc={fmspc}"),
            ),
            Item::QeIdentity => (&self.intel, "/tdx/certification/v4/qe/identity".to_owned()),
            Item::PckCrl(ca) => {
                let path = format!("/sgx/certification/v4/pckcrl?ca={}&encoding=der", ca.name());
                (&self.intel, path)
            }
            Item::RootCrl => (&self.intel_root_crl, String::new()),
            Item::Vlek { .. } | Item::TpmIntermediate(_) => return None,
        };
        let purpose = match item {
            Item::Vcek { .. } => Use::Chip,
            _ => Use::Shared,
        };
        Some(Ask {
            base,
            path,
            purpose,
        })
    }
}

/// Makes a request and checks its answer: the item that was asked for, and what came along with it.
///
/// # Errors
/// [`FetchError`]; nothing that fails its check is returned.
pub async fn fetch(
    client: &Client,
    ask: &Ask<'_>,
    item: &Item,
    trust: &Trust,
    mut helpers: Helpers,
    now: Timestamp,
) -> Result<Vec<Checked>, FetchError> {
    let most = if item.class().name().ends_with("-crl") {
        MAX_LIST
    } else {
        MAX_ANSWER
    };
    let response = client.get(ask.base, &ask.path, most).await;
    let response = response.map_err(|source| FetchError::Http {
        item: item.clone(),
        source,
    })?;
    let host = ask.base.host().to_owned();
    judge_status(&response, item, &host, now)?;
    let refused = |source| FetchError::Answer {
        item: item.clone(),
        host: host.clone(),
        source: Box::new(source),
    };
    if let Some(chain) = issuer_chain(&response) {
        // The chain that came with the answer goes first.
        helpers.chains.insert(0, chain);
    }
    let body = match item {
        Item::RootCrl | Item::PckCrl(_) => binary(response.body),
        _ => response.body,
    };
    let vlek = matches!(item, Item::VlekCrl(_));
    let seconds = u64::try_from(now.as_second()).unwrap_or_default();
    let mut found = Vec::new();
    for document in documents(&body).map_err(refused)?.iter().take(8) {
        found.push(check(document, vlek, trust, &helpers, seconds).map_err(refused)?);
    }
    if !found.iter().any(|checked| checked.item == *item) {
        let empty = || refused(CheckError::Unknown("it is empty"));
        return Err(found.pop().map_or_else(empty, |other| FetchError::Other {
            item: item.clone(),
            host: host.clone(),
            found: Box::new(other.item),
        }));
    }
    Ok(found)
}

fn judge_status(
    response: &Response,
    item: &Item,
    host: &str,
    now: Timestamp,
) -> Result<(), FetchError> {
    let (item, host, status) = (item.clone(), host.to_owned(), response.status);
    match status {
        200 => Ok(()),
        408 | 425 | 429 | 500.. => Err(FetchError::Busy {
            item,
            host,
            status,
            retry_after: response
                .headers
                .get("retry-after")
                .and_then(|value| value.to_str().ok())
                .and_then(|text| retry_after(text, now)),
        }),
        _ => Err(FetchError::Refused { item, host, status }),
    }
}

/// `Retry-After`: a number of seconds or a date (RFC 9110 §10.2.3).
fn retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<u32>() {
        return Some(Duration::from_secs(seconds.into()));
    }
    let until = rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Duration::try_from(until.duration_since(now)).ok()
}

/// The issuer chain among the headers, whichever name this answer has for it.
fn issuer_chain(response: &Response) -> Option<Vec<u8>> {
    let mut headers = response.headers.iter();
    headers.find_map(|(name, value)| {
        let value = value.as_bytes();
        (name.as_str().ends_with("issuer-chain") && value.len() <= MAX_HEADER)
            .then(|| chain_of_header(value))
            .flatten()
    })
}

/// A list as bytes: caching services give it in hex.
fn binary(body: Vec<u8>) -> Vec<u8> {
    let text = body.trim_ascii();
    match text.first() {
        Some(b'3') => hex::decode(text).unwrap_or(body),
        _ => body,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use dawnkey_attest::snp::product::Product;
    use dawnkey_attest::tdx::{Bytes, PckCa};

    fn services() -> Services {
        Services {
            amd: Base::parse(AMD).unwrap(),
            intel: Base::parse(INTEL).unwrap(),
            intel_root_crl: Base::parse(INTEL_ROOT_CRL).unwrap(),
        }
    }

    #[test]
    fn asks_as_the_vendors_specify() {
        let services = services();
        let url = |item: &Item| {
            let ask = services.ask(item).unwrap();
            format!("{}{}", ask.base, ask.path)
        };
        let amd = "https://kdsintf.amd.com:443";
        let intel = "https://api.trustedservices.intel.com:443";
        let milan = Item::Vcek {
            product: Product::Milan,
            chip: vec![0xab; 64],
            tcb: [4, 1, 0, 0, 0, 0, 24, 219],
        };
        assert_eq!(
            url(&milan),
            format!(
                "{amd}/vcek/v1/Milan/{}?blSPL=4&teeSPL=1&snpSPL=24&ucodeSPL=219",
                "ab".repeat(64)
            )
        );
        let turin = Item::Vcek {
            product: Product::Turin,
            chip: vec![0xab; 8],
            tcb: [1, 2, 3, 4, 0, 0, 0, 81],
        };
        assert_eq!(
            url(&turin),
            format!(
                "{amd}/vcek/v1/Turin/abababababababab?fmcSPL=1&blSPL=2&teeSPL=3&snpSPL=4&ucodeSPL=81"
            )
        );
        assert_eq!(
            url(&Item::Asvk(Product::Genoa)),
            format!("{amd}/vlek/v1/Genoa/cert_chain")
        );
        assert_eq!(
            url(&Item::VcekCrl(Product::Milan)),
            format!("{amd}/vcek/v1/Milan/crl")
        );
        let fmspc = Bytes([0, 0x80, 0x6f, 5, 0, 0]);
        assert_eq!(
            url(&Item::TcbInfo(fmspc)),
            format!("{intel}/tdx/certification/v4/tcb?fmspc=00806f050000")
        );
        assert_eq!(
            url(&Item::PckCrl(PckCa::Processor)),
            format!("{intel}/sgx/certification/v4/pckcrl?ca=processor&encoding=der")
        );
        assert_eq!(
            url(&Item::RootCrl),
            "https://certificates.trustedservices.intel.com:443/IntelSGXRootCA.der"
        );
        let vlek = Item::Vlek {
            product: Product::Milan,
            provider: "x".into(),
            tcb: [0; 8],
        };
        assert_eq!(services.ask(&vlek), None);
    }

    #[test]
    fn reads_both_forms_of_retry_after() {
        let now: Timestamp = "2026-11-01T00:00:00Z".parse().unwrap();
        assert_eq!(retry_after("120", now), Some(Duration::from_secs(120)));
        assert_eq!(
            retry_after("Sun, 01 Nov 2026 00:01:00 GMT", now),
            Some(Duration::from_secs(60))
        );
        assert_eq!(retry_after("Sun, 01 Nov 2020 00:01:00 GMT", now), None);
        assert_eq!(retry_after("soon", now), None);
    }

    #[test]
    fn reads_lists_in_hex_as_caching_services_give_them() {
        assert_eq!(binary(b"3003020101\n".to_vec()), [0x30, 3, 2, 1, 1]);
        assert_eq!(binary(vec![0x30, 3, 2, 1, 1]), [0x30, 3, 2, 1, 1]);
    }
}
