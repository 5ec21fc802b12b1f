//! Judging an SNP report: chain, signature, bindings, then time and revocation.
//!
//! The order is fixed so that a refusal tells how far trust reached: everything cryptographic comes first, and
//! [`SnpError::crypto`] is `Valid` for every reason found after it. What the owner wants of a genuine report is
//! for [`super::policy`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};
use rustls_pki_types::UnixTime;
use sha2::{Digest, Sha256};

use super::certs::Certificate;
use super::chain::{Chain, Collateral};
use super::claims::SnpClaims;
use super::crl;
use super::error::{Role, SnpError};
use super::policy::{PolicyError, SnpPolicy};
use super::product::Product;
use super::report::{Report, SigningKey, Tcbs};
use super::roots::Roots;
use crate::der::rfc3339;

/// Digits of a P-384 scalar, bytes.
const SCALAR_DIGITS: usize = 48;

/// A report whose signature, chain and bindings hold and whose certificates are in time and not revoked. It can
/// only be made by [`verify`].
#[derive(Clone, Debug)]
pub struct SnpVerified {
    report: Report,
    chain: Arc<Chain>,
    tcbs: Tcbs,
}

impl SnpVerified {
    /// The report.
    #[must_use]
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// The chain from root to endorsement key.
    #[must_use]
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The product line.
    #[must_use]
    pub fn product(&self) -> &Product {
        &self.chain.product
    }

    /// The report's TCB versions in the layout of the product.
    #[must_use]
    pub fn tcbs(&self) -> &Tcbs {
        &self.tcbs
    }

    /// Judges the report by what its owner wants.
    ///
    /// # Errors
    /// The first rule of the policy that the report does not meet.
    pub fn judge(&self, policy: &SnpPolicy) -> Result<(), PolicyError> {
        policy.judge(&SnpClaims::from(self))
    }
}

/// Whether a revocation list of the root must be at hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CrlRule {
    /// Refuse without one.
    #[default]
    Required,
    /// Check those that are given.
    IfPresent,
}

/// Verifies a report of 1184 bytes at time `now`.
///
/// `cache` keeps chains whose signatures held; dates and revocation are judged anew on every call.
///
/// # Errors
/// [`SnpError`], in the order of its variants.
pub fn verify(
    report: &[u8],
    collateral: &Collateral<'_>,
    roots: &Roots,
    crl_rule: CrlRule,
    now: UnixTime,
    cache: Option<&ChainCache>,
) -> Result<SnpVerified, SnpError> {
    let report = Report::parse(report)?;
    let chain = match cache {
        Some(cache) => cache.chain(collateral, roots, &report)?,
        None => Arc::new(Chain::verify(collateral, roots, Some(&report))?),
    };
    check_signature(&report, &chain)?;
    let tcbs = report.tcbs(chain.vek.layout());
    check_bindings(&report, &chain, &tcbs)?;
    if let Some(at) = report.nonzero_padding() {
        return Err(SnpError::NonzeroSignaturePadding { at });
    }
    check_times(&chain, now)?;
    crl::check(
        &chain,
        collateral.crls,
        roots,
        crl_rule == CrlRule::Required,
        now.as_secs(),
    )?;
    Ok(SnpVerified {
        report,
        chain,
        tcbs,
    })
}

/// Verifies an endorsement certificate and its chain without a report.
///
/// # Errors
/// As [`verify`], as far as no report is needed.
pub fn verify_chain(
    collateral: &Collateral<'_>,
    roots: &Roots,
    crl_rule: CrlRule,
    now: UnixTime,
) -> Result<Chain, SnpError> {
    let chain = Chain::verify(collateral, roots, None)?;
    check_times(&chain, now)?;
    crl::check(
        &chain,
        collateral.crls,
        roots,
        crl_rule == CrlRule::Required,
        now.as_secs(),
    )?;
    Ok(chain)
}

fn check_signature(report: &Report, chain: &Chain) -> Result<(), SnpError> {
    let signing_key = report.signing_key();
    let unsigned = report.mask_chip_key() || signing_key == SigningKey::None;
    if report.is_unsigned() && unsigned {
        return Err(SnpError::ReportNotSigned {
            mask_chip_key: report.mask_chip_key(),
            signing_key,
        });
    }
    if !signature_holds(chain.point(), report) {
        return Err(SnpError::ReportSignatureInvalid {
            key: chain.vek.kind.name(),
        });
    }
    if report.signature_algo != 1 {
        return Err(SnpError::UnsupportedSignatureAlgorithm {
            found: report.signature_algo,
        });
    }
    if unsigned {
        return Err(SnpError::ReportNotSigned {
            mask_chip_key: report.mask_chip_key(),
            signing_key,
        });
    }
    Ok(())
}

/// Whether the key at `point` signed the report. R and S are 576-bit little-endian numbers; one that does not
/// fit 384 bits is no scalar.
pub(super) fn signature_holds(point: &[u8], report: &Report) -> bool {
    let (r, s) = report.scalars();
    let mut signature = [0; 2 * SCALAR_DIGITS];
    let (r_out, s_out) = signature.split_at_mut(SCALAR_DIGITS);
    for (out, scalar) in [(r_out, r), (s_out, s)] {
        let Some((digits, beyond)) = scalar.split_first_chunk::<SCALAR_DIGITS>() else {
            return false;
        };
        if beyond.iter().any(|b| *b != 0) {
            return false;
        }
        out.copy_from_slice(digits);
        out.reverse();
    }
    UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point)
        .verify(report.signed(), &signature)
        .is_ok()
}

/// What ties the report to the certificate beside the key: kind, product, chip, TCB.
fn check_bindings(report: &Report, chain: &Chain, tcbs: &Tcbs) -> Result<(), SnpError> {
    if report.signing_key() != chain.vek.kind.signing_key() {
        return Err(SnpError::SigningKeyMismatch {
            report: report.signing_key(),
            certificate: chain.vek.kind,
        });
    }
    // A CPU of no known line is taken at its certificate's word: AMD signed the product's name.
    if let Some(product) = report.cpuid_product()
        && product != chain.product
    {
        let certificate = chain.vek.product_name.clone();
        return Err(SnpError::ProductMismatch {
            what: "CPU",
            found: product.to_string(),
            certificate,
        });
    }
    // A masked chip id is zero. The key itself still is the chip's own; policy decides whether that will do.
    if let Some(hwid) = &chain.vek.hwid
        && !report.chip_id_is_zero()
        && !chain.vek.names_chip(&report.chip_id)
    {
        let (report, certificate) = (hex::encode(report.chip_id), hex::encode(hwid));
        return Err(SnpError::ChipIdMismatch {
            report,
            certificate,
        });
    }
    if !chain.vek.certifies(&tcbs.reported) {
        return Err(SnpError::VekTcbMismatch {
            report: hex::encode(report.reported_tcb),
        });
    }
    Ok(())
}

fn check_times(chain: &Chain, now: UnixTime) -> Result<(), SnpError> {
    let levels: [(Role, &Certificate); 3] = [
        (Role::Vek, &chain.certificate),
        (Role::Ask, &chain.intermediate),
        (Role::Ark, &chain.root),
    ];
    for (role, certificate) in levels {
        if now.as_secs() > certificate.not_after {
            return Err(SnpError::Expired {
                role,
                not_after: rfc3339(certificate.not_after),
            });
        }
        if now.as_secs() < certificate.not_before {
            return Err(SnpError::NotYetValid {
                role,
                not_before: rfc3339(certificate.not_before),
            });
        }
    }
    Ok(())
}

/// Chains whose signatures held, by the hash of root set, certificates and nothing else. Holds at most
/// [`Self::CAPACITY`] chains; when full it starts over.
#[derive(Debug, Default)]
pub struct ChainCache {
    chains: Mutex<HashMap<[u8; 32], Arc<Chain>>>,
}

impl ChainCache {
    /// Most chains kept.
    pub const CAPACITY: usize = 4096;

    /// An empty cache.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn chain(
        &self,
        collateral: &Collateral<'_>,
        roots: &Roots,
        report: &Report,
    ) -> Result<Arc<Chain>, SnpError> {
        let key = key(collateral, roots);
        let known = self
            .chains
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            .cloned();
        if let Some(chain) = known {
            return Ok(chain);
        }
        let chain = Arc::new(Chain::verify(collateral, roots, Some(report))?);
        let mut chains = self.chains.lock().unwrap_or_else(PoisonError::into_inner);
        if chains.len() >= Self::CAPACITY {
            chains.clear();
        }
        chains.insert(key, chain.clone());
        Ok(chain)
    }
}

/// Hash of everything that decides about a chain, each part with its length, each list with its count.
fn key(collateral: &Collateral<'_>, roots: &Roots) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(collateral.vek.unwrap_or_default());
    for list in [collateral.intermediates, collateral.roots] {
        part(&list.len().to_le_bytes());
        list.iter().for_each(|der| part(der));
    }
    part(roots.fingerprint());
    hash.finalize().into()
}
