//! From a trusted root to an endorsement key: ARK → ASK or ASVK → VCEK or VLEK.
//!
//! Signatures are checked from the root down, and a certificate's content is used only after its own signature
//! held. Dates and revocation are not looked at here, so that a chain can be kept and judged again later.

use super::certs::{Certificate, PublicKey, common_name};
use super::error::{Role, SnpError};
use super::product::Product;
use super::pss::{self, Failure};
use super::report::Report;
use super::roots::Roots;
use super::vek::{Vek, VekKind};
use crate::der::Signed;

/// Certificates and CRLs that came with a report or from a store; none is trusted by itself. DER throughout.
#[derive(Clone, Copy, Debug, Default)]
pub struct Collateral<'a> {
    /// VCEK or VLEK.
    pub vek: Option<&'a [u8]>,
    /// ASK and ASVK. If any is given, only those given are used.
    pub intermediates: &'a [&'a [u8]],
    /// ARK. If any is given, one of them must be a trusted root.
    pub roots: &'a [&'a [u8]],
    /// Revocation lists.
    pub crls: &'a [&'a [u8]],
}

/// A chain whose signatures hold up to a trusted root.
#[derive(Clone, Debug)]
pub struct Chain {
    /// Root, ARK.
    pub root: Certificate,
    /// ASK or ASVK.
    pub intermediate: Certificate,
    /// VCEK or VLEK.
    pub certificate: Certificate,
    /// What the endorsement certificate says.
    pub vek: Vek,
    /// Product line that root, intermediate and endorsement certificate agree on.
    pub product: Product,
    point: Vec<u8>,
}

impl Chain {
    /// Checks the signatures of a chain. `report` only helps to name the reason when the endorsement
    /// certificate's signature does not hold.
    ///
    /// # Errors
    /// The variants of [`SnpError`] from `Certificate` to `VekSignatureInvalid`, and `ProductMismatch`.
    pub fn verify(
        collateral: &Collateral<'_>,
        roots: &Roots,
        report: Option<&Report>,
    ) -> Result<Self, SnpError> {
        let der = collateral.vek.ok_or(SnpError::NoEndorsementKey)?;
        let authorities = authorities(collateral, roots, der)?;
        let (root, intermediate) = find_issuer(der, &authorities, report)?;
        let certificate = parse(der, Role::Vek)?;
        if certificate.issuer != intermediate.subject {
            let issuer = name(&certificate.issuer);
            return Err(SnpError::VekNotSignedByAsk {
                issuer,
                ask: name(&intermediate.subject),
            });
        }
        let malformed = |source| SnpError::Certificate {
            role: Role::Vek,
            source,
        };
        let vek = Vek::parse(&certificate).map_err(malformed)?;
        let PublicKey::P384(point) = certificate.key().clone() else {
            return Err(malformed(super::certs::CertificateError(
                "key is not P-384",
            )));
        };
        let product = product(&vek, intermediate, root)?;
        Ok(Self {
            root: root.clone(),
            intermediate: intermediate.clone(),
            certificate,
            vek,
            product,
            point,
        })
    }

    /// The endorsed public key, an uncompressed point.
    pub(super) fn point(&self) -> &[u8] {
        &self.point
    }
}

/// Checks that a trusted root signed an ASK or ASVK, DER, as [`Chain::verify`] does. Dates are not looked at.
///
/// # Errors
/// `Certificate`, `RootNotTrusted`, `AskSignatureInvalid`, `AskNotSignedByArk`, `AskNotAuthority`.
pub fn verify_intermediate(der: &[u8], roots: &Roots) -> Result<Certificate, SnpError> {
    let ask = parse(der, Role::Ask)?;
    let trusted: Vec<_> = roots.roots().iter().collect();
    check_intermediate(&ask, &trusted, false)?;
    Ok(ask)
}

/// Intermediates that a trusted root signed, each with that root. Never empty.
fn authorities(
    collateral: &Collateral<'_>,
    roots: &Roots,
    vek: &[u8],
) -> Result<Vec<(Certificate, Certificate)>, SnpError> {
    let trusted = trusted_roots(collateral, roots)?;
    let wanted = Certificate::parse(vek).map(|vek| vek.issuer).ok();
    let mut candidates = Vec::new();
    for der in collateral.intermediates {
        candidates.push(parse(der, Role::Ask)?);
    }
    if candidates.is_empty() {
        let fitting = |ask: &&Certificate| wanted.as_ref() == Some(&ask.subject);
        candidates.extend(roots.intermediates().iter().filter(fitting).cloned());
    }
    // The one the endorsement certificate names comes first: in most evidence no other signature is checked.
    candidates.sort_by_key(|ask| wanted.as_ref() != Some(&ask.subject));
    let mut found = Vec::new();
    let mut failure = SnpError::NoIntermediate;
    for ask in candidates {
        if !found.is_empty() && wanted.as_ref() != Some(&ask.subject) {
            break;
        }
        match check_intermediate(&ask, &trusted, !collateral.roots.is_empty()) {
            Ok(root) => found.push((root.clone(), ask)),
            Err(error) => failure = error,
        }
    }
    if found.is_empty() {
        Err(failure)
    } else {
        Ok(found)
    }
}

fn trusted_roots<'r>(
    collateral: &Collateral<'_>,
    roots: &'r Roots,
) -> Result<Vec<&'r Certificate>, SnpError> {
    let Some(first) = collateral.roots.first() else {
        return Ok(roots.roots().iter().collect());
    };
    let trusted: Vec<_> = collateral
        .roots
        .iter()
        .filter_map(|der| roots.exactly(der))
        .collect();
    if trusted.is_empty() {
        let subject = parse(first, Role::Ark)?
            .common_name()
            .unwrap_or("unnamed")
            .to_owned();
        return Err(SnpError::RootNotTrusted { subject });
    }
    Ok(trusted)
}

fn check_intermediate<'r>(
    ask: &Certificate,
    trusted: &[&'r Certificate],
    explicit: bool,
) -> Result<&'r Certificate, SnpError> {
    let subject = name(&ask.subject);
    // Where evidence names its root, that one is tried whatever issuer the intermediate names.
    let named = trusted.iter().find(|root| root.subject == ask.issuer);
    let Some(root) = named.or(trusted.first().filter(|_| explicit)) else {
        return Err(SnpError::RootNotTrusted {
            subject: name(&ask.issuer),
        });
    };
    if let Err(failure) = check_signature(ask.der(), root) {
        return Err(match failure {
            Failure::ContentChanged => SnpError::AskSignatureInvalid { subject },
            Failure::NotSignedByKey => SnpError::AskNotSignedByArk {
                subject,
                root: name(&root.subject),
            },
        });
    }
    if !ask.may_sign_certificates() || root.subject != ask.issuer {
        return Err(SnpError::AskNotAuthority { subject });
    }
    Ok(root)
}

/// The authority that signed the endorsement certificate, or why none did.
///
/// A certificate that AMD issued and someone changed is told from one that AMD never issued: its signature opens
/// under the ASK (content changed), or it names the ASK and its key did sign the report (signature changed).
fn find_issuer<'c>(
    der: &[u8],
    authorities: &'c [(Certificate, Certificate)],
    report: Option<&Report>,
) -> Result<(&'c Certificate, &'c Certificate), SnpError> {
    let mut changed = None;
    for (root, ask) in authorities {
        match check_signature(der, ask) {
            Ok(()) => return Ok((root, ask)),
            Err(Failure::ContentChanged) => changed = Some(ask),
            Err(Failure::NotSignedByKey) => {}
        }
    }
    let claimed = parse(der, Role::Vek);
    if let (None, Ok(claimed)) = (changed, &claimed) {
        let named = authorities
            .iter()
            .map(|(_, ask)| ask)
            .find(|ask| ask.subject == claimed.issuer);
        let signed_report = match (claimed.key(), report) {
            (PublicKey::P384(point), Some(report)) => super::verify::signature_holds(point, report),
            _ => false,
        };
        changed = named.filter(|_| signed_report);
    }
    if let Some(ask) = changed {
        return Err(SnpError::VekSignatureInvalid {
            ask: name(&ask.subject),
        });
    }
    let ask = authorities
        .first()
        .map(|(_, ask)| name(&ask.subject))
        .unwrap_or_default();
    Err(SnpError::VekNotSignedByAsk {
        issuer: name(&claimed?.issuer),
        ask,
    })
}

/// Checks that `issuer` signed `der`, with AMD's algorithm and nothing else.
fn check_signature(der: &[u8], issuer: &Certificate) -> Result<(), Failure> {
    let signed = Signed::parse(der).filter(|signed| pss::is_amd_algorithm(signed.algorithm));
    match (signed, issuer.rsa_key()) {
        (Some(signed), Some(key)) => pss::verify(key, signed.tbs.whole, signed.signature),
        _ => Err(Failure::NotSignedByKey),
    }
}

/// The product line, which must be that of the endorsement certificate, of the intermediate's name
/// (`SEV-<line>` for VCEKs, `SEV-VLEK-<line>` for VLEKs) and of the root's (`ARK-<line>`).
fn product(vek: &Vek, intermediate: &Certificate, root: &Certificate) -> Result<Product, SnpError> {
    let mismatch = |what, found: &str| SnpError::ProductMismatch {
        what,
        found: found.to_owned(),
        certificate: vek.product_name.clone(),
    };
    let product = vek
        .product()
        .ok_or_else(|| mismatch("product name", &vek.product_name))?;
    let prefix = match vek.kind {
        VekKind::Vcek => "SEV-",
        VekKind::Vlek => "SEV-VLEK-",
    };
    let ask = intermediate.common_name().unwrap_or_default();
    if ask.strip_prefix(prefix) != Some(product.name()) {
        return Err(mismatch("intermediate certificate", ask));
    }
    let ark = root.common_name().unwrap_or_default();
    if ark.strip_prefix("ARK-") != Some(product.name()) {
        return Err(mismatch("root certificate", ark));
    }
    Ok(product)
}

fn parse(der: &[u8], role: Role) -> Result<Certificate, SnpError> {
    Certificate::parse(der).map_err(|source| SnpError::Certificate { role, source })
}

/// Common name of a DER name, for messages.
pub(super) fn name(der: &[u8]) -> String {
    common_name(der)
        .unwrap_or("unnamed")
        .chars()
        .filter(|c| !c.is_control())
        .take(64)
        .collect()
}
