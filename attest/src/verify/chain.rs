//! X.509 paths of endorsement certificates.
//!
//! EK certificates are unlike those of the web: empty subjects, critical alternative names of TPM attributes,
//! purposes no TLS library knows, padding from NV. So paths are validated here, by the rules of RFC 5280 that matter:
//!
//! - each certificate's issuer is byte for byte the subject of the next, whose key verifies its signature;
//! - every certificate, the root included, is valid at `now`;
//! - every issuer is a CA (basicConstraints), may sign certificates (keyUsage, where present), and its path length
//!   constraint holds; a path has at most [`MAX_PATH`] certificates;
//! - critical extensions are refused, except basicConstraints, keyUsage and extKeyUsage (checked), subjectAltName,
//!   certificatePolicies and subjectDirectoryAttributes (identification only);
//! - signatures are RSA PKCS#1 v1.5 (2048 bits and up) or ECDSA P-256/P-384, with SHA-256 or wider.
//!
//! Signatures are looked at before dates: a path that is closed by dates only is refused as such.
//!
//! Tolerated: bytes 0x00 or 0xff behind the leaf's DER (as read from NV), names whose SET order is not DER (Nuvoton
//! roots; names are compared as bytes, never re-encoded). Not done: revocation (no TPM vendor list is reliably
//! published), name constraints (a critical one is refused), policy mapping.

use rustls_pki_types::UnixTime;
use x509_parser::{
    certificate::X509Certificate,
    extensions::{ParsedExtension, X509Extension},
    oid_registry::{self as oid, Oid, asn1_rs::oid as make_oid},
};

use super::{
    Crypto,
    certificate::verify_signature,
    leaf::{parse_first, parse_padded},
    names,
};

pub use super::leaf::Leaf;

/// Most certificates of a path, leaf and root included.
pub const MAX_PATH: usize = 5;
/// Most signature checks spent on one path search.
const BUDGET: usize = 32;
/// `tcg-kp-EKCertificate`.
const EK_PURPOSE: Oid<'static> = make_oid!(2.23.133.8.1);
/// `tcg-kp-AIKCertificate`.
const AK_PURPOSE: Oid<'static> = make_oid!(2.23.133.8.3);
/// `subjectDirectoryAttributes`, which carries the TPM's specification version.
const SUBJECT_DIRECTORY_ATTRIBUTES: Oid<'static> = make_oid!(2.5.29.9);

/// Why no path is accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// There is no certificate.
    #[error("the TPM has no endorsement key certificate")]
    Missing,
    /// Not an X.509 certificate.
    #[error("certificate {what} is malformed: {problem}")]
    Malformed {
        /// Which certificate.
        what: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// Outside its validity.
    #[error("certificate {subject:?} is valid from {not_before} to {not_after}, not at {now}")]
    NotValidNow {
        /// Subject.
        subject: String,
        /// First second, since 1970.
        not_before: i64,
        /// Last second, since 1970.
        not_after: i64,
        /// Time of the check, since 1970.
        now: i64,
    },
    /// A critical extension nobody here understands.
    #[error("certificate {subject:?} has the unknown critical extension {oid}")]
    UnknownCriticalExtension {
        /// Subject.
        subject: String,
        /// The extension.
        oid: String,
    },
    /// A leaf made for another purpose.
    #[error("certificate {subject:?} is for another purpose: {problem}")]
    Purpose {
        /// Subject.
        subject: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// The leaf's key type or algorithm is not supported.
    #[error("certificate {subject:?} has an unsupported key: {problem}")]
    Key {
        /// Subject.
        subject: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// No path leads to a configured root.
    #[error("certificate of issuer {issuer:?} does not chain to a configured root{}", hint(.nearest))]
    NoTrustedPath {
        /// Issuer of the leaf.
        issuer: String,
        /// Why the most promising issuer was not accepted.
        nearest: Option<String>,
    },
    /// The certificate is for another key.
    #[error("the endorsement certificate is for another key than the evidence's endorsement key")]
    OtherKey,
    /// The certificate of the attestation key is for another key.
    #[error("the attestation key's certificate is for another key than the evidence's")]
    OtherAttestationKey,
}

impl ChainError {
    /// A short stable name of the cause.
    #[must_use]
    pub fn reason_class(&self) -> &'static str {
        match self {
            Self::Missing => "no_certificate",
            Self::Malformed { .. } => "malformed",
            Self::NotValidNow {
                not_before, now, ..
            } if now < not_before => "certificate_not_yet_valid",
            Self::NotValidNow { .. } => "certificate_expired",
            Self::UnknownCriticalExtension { .. } => "unknown_critical_extension",
            Self::Purpose { .. } => "certificate_purpose",
            Self::Key { .. } => "unsupported_key",
            Self::NoTrustedPath { .. } => "chain_invalid",
            Self::OtherKey | Self::OtherAttestationKey => "certificate_key_mismatch",
        }
    }

    /// Whether signatures hold, as far as this error tells.
    #[must_use]
    pub fn crypto(&self) -> Crypto {
        match self {
            Self::Malformed { .. } => Crypto::NotApplicable,
            Self::Missing | Self::UnknownCriticalExtension { .. } | Self::Key { .. } => {
                Crypto::Unknown
            }
            Self::NotValidNow { .. } | Self::Purpose { .. } => Crypto::Valid,
            Self::NoTrustedPath { .. } | Self::OtherKey | Self::OtherAttestationKey => {
                Crypto::Invalid
            }
        }
    }
}

fn hint(nearest: &Option<String>) -> String {
    nearest
        .as_ref()
        .map_or_else(String::new, |why| format!(": {why}"))
}

/// What the leaf must be for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// An endorsement key: not a CA; an extended key usage, where present, names EK certificates.
    EndorsementKey,
    /// An attestation key: not a CA; key usage, where present, is to sign; an extended key usage, where present,
    /// names attestation keys or, as Google's older ones do, endorsement keys.
    AttestationKey,
    /// Any end entity.
    Any,
}

/// Whether `issuer` signed `child`, whatever their dates and purposes say.
#[cfg(feature = "measure")]
pub(crate) fn signed_by(child: &X509Certificate<'_>, issuer: &X509Certificate<'_>) -> bool {
    child.issuer().as_raw() == issuer.subject().as_raw() && verify_signature(issuer, child).is_ok()
}

/// Validates `leaf` (DER, may be padded) through `intermediates` to one of `roots` (DER) at `now`.
pub fn validate(
    leaf: &[u8],
    intermediates: &[&[u8]],
    roots: &[Vec<u8>],
    now: UnixTime,
    purpose: Purpose,
) -> Result<Leaf, ChainError> {
    if leaf.is_empty() {
        return Err(ChainError::Missing);
    }
    let (certificate, trailing_bytes) = parse_padded(leaf)?;
    let leaf = Leaf::of(&certificate, trailing_bytes)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    // An unreadable helper certificate is no reason to refuse a path that does without it.
    let helpers: Vec<_> = intermediates
        .iter()
        .filter_map(|der| parse(der, "helper").ok())
        .collect();
    let anchors: Vec<_> = roots
        .iter()
        .filter_map(|der| parse(der, "root").ok())
        .collect();
    let dates = check_dates(&certificate, now);
    let mut search = Search {
        helpers,
        anchors,
        now: Some(now),
        budget: BUDGET,
        nearest: None,
        undated: None,
    };
    if !search.leads_to_root(&certificate, 1) {
        // A path that only dates close is named by its dates.
        search.budget = BUDGET;
        search.now = None;
        return match search.undated.take() {
            Some(issuer) if search.leads_to_root(&certificate, 1) => {
                Err(dates.err().unwrap_or(issuer))
            }
            _ => Err(ChainError::NoTrustedPath {
                issuer: leaf.issuer,
                nearest: search.nearest,
            }),
        };
    }
    check_purpose(&certificate, purpose)?;
    check_extensions(&certificate)?;
    dates?;
    Ok(leaf)
}

struct Search<'a> {
    helpers: Vec<X509Certificate<'a>>,
    anchors: Vec<X509Certificate<'a>>,
    /// Time of the check; `None` to look for a path whatever its dates.
    now: Option<i64>,
    budget: usize,
    nearest: Option<String>,
    /// The first issuer that only its dates closed.
    undated: Option<ChainError>,
}

impl Search<'_> {
    /// Whether a path goes on from `child`, the `length`th certificate. Depth is bounded by [`MAX_PATH`].
    fn leads_to_root(&mut self, child: &X509Certificate<'_>, length: usize) -> bool {
        if length >= MAX_PATH {
            return false;
        }
        let anchors = std::mem::take(&mut self.anchors);
        let found = anchors.iter().any(|root| self.issued(root, child, length));
        self.anchors = anchors;
        if found {
            return true;
        }
        let candidates: Vec<_> = self.helpers.clone();
        candidates.iter().any(|helper| {
            self.issued(helper, child, length) && self.leads_to_root(helper, length + 1)
        })
    }

    fn issued(
        &mut self,
        issuer: &X509Certificate<'_>,
        child: &X509Certificate<'_>,
        length: usize,
    ) -> bool {
        if issuer.subject().as_raw() != child.issuer().as_raw() || self.budget == 0 {
            return false;
        }
        self.budget -= 1;
        if let Err(why) = check_issuer(issuer, child, length) {
            self.nearest.get_or_insert(why);
            return false;
        }
        let Some(Err(dates)) = self.now.map(|now| check_dates(issuer, now)) else {
            return true;
        };
        self.nearest.get_or_insert_with(|| dates.to_string());
        self.undated.get_or_insert(dates);
        false
    }
}

/// `length` is the number of certificates below `issuer`, the leaf included.
fn check_issuer(
    issuer: &X509Certificate<'_>,
    child: &X509Certificate<'_>,
    length: usize,
) -> Result<(), String> {
    check_extensions(issuer).map_err(|error| error.to_string())?;
    let name = names::text(issuer.subject());
    let constraints = issuer
        .basic_constraints()
        .map_err(|error| error.to_string())?;
    let constraints = constraints.filter(|constraints| constraints.value.ca);
    let constraints = constraints.ok_or_else(|| format!("issuer {name} is not a CA"))?;
    let below = u32::try_from(length - 1).unwrap_or(u32::MAX);
    if constraints
        .value
        .path_len_constraint
        .is_some_and(|most| below > most)
    {
        return Err(format!("issuer {name} allows no path that long"));
    }
    let usage = issuer.key_usage().map_err(|error| error.to_string())?;
    if usage.is_some_and(|usage| !usage.value.key_cert_sign()) {
        return Err(format!("issuer {name} may not sign certificates"));
    }
    verify_signature(issuer, child).map_err(|problem| format!("by {name}: {problem}"))
}

fn check_dates(certificate: &X509Certificate<'_>, now: i64) -> Result<(), ChainError> {
    let validity = certificate.validity();
    let (not_before, not_after) = (
        validity.not_before.timestamp(),
        validity.not_after.timestamp(),
    );
    if (not_before..=not_after).contains(&now) {
        return Ok(());
    }
    Err(ChainError::NotValidNow {
        subject: names::text(certificate.subject()),
        not_before,
        not_after,
        now,
    })
}

fn check_extensions(certificate: &X509Certificate<'_>) -> Result<(), ChainError> {
    let unknown = certificate
        .extensions()
        .iter()
        .find(|ext| ext.critical && !is_understood(ext));
    match unknown {
        None => Ok(()),
        Some(extension) => Err(ChainError::UnknownCriticalExtension {
            subject: names::text(certificate.subject()),
            oid: extension.oid.to_id_string(),
        }),
    }
}

/// Critical extensions that are checked, or that say nothing this path needs.
fn is_understood(extension: &X509Extension<'_>) -> bool {
    let checked = matches!(
        extension.parsed_extension(),
        ParsedExtension::BasicConstraints(_)
            | ParsedExtension::KeyUsage(_)
            | ParsedExtension::ExtendedKeyUsage(_)
    );
    // Identification only: TPM model and vendor, specification level, certificate policies (none is demanded).
    let harmless = extension.oid == oid::OID_X509_EXT_SUBJECT_ALT_NAME
        || extension.oid == oid::OID_X509_EXT_CERTIFICATE_POLICIES
        || extension.oid == SUBJECT_DIRECTORY_ATTRIBUTES;
    checked || harmless
}

fn check_purpose(certificate: &X509Certificate<'_>, purpose: Purpose) -> Result<(), ChainError> {
    let refuse = |problem| {
        Err(ChainError::Purpose {
            subject: names::text(certificate.subject()),
            problem,
        })
    };
    if certificate.is_ca() {
        return refuse("it is a CA");
    }
    let (wanted, lacks): (&[Oid<'_>], _) = match purpose {
        Purpose::Any => return Ok(()),
        Purpose::EndorsementKey => (&[EK_PURPOSE], "its extended key usage lacks 2.23.133.8.1"),
        Purpose::AttestationKey => (
            &[AK_PURPOSE, EK_PURPOSE],
            "its extended key usage lacks 2.23.133.8.3",
        ),
    };
    if purpose == Purpose::AttestationKey {
        match certificate.key_usage() {
            Err(_) => return refuse("its key usage is malformed or twice there"),
            Ok(Some(usage)) if !usage.value.digital_signature() => {
                return refuse("its key usage is not to sign");
            }
            Ok(_) => {}
        }
    }
    match certificate.extended_key_usage() {
        Err(_) => refuse("its extended key usage is malformed or twice there"),
        Ok(None) => Ok(()),
        Ok(Some(usage)) if usage.value.other.iter().any(|one| wanted.contains(one)) => Ok(()),
        Ok(Some(_)) => refuse(lacks),
    }
}

fn parse<'a>(der: &'a [u8], what: &'static str) -> Result<X509Certificate<'a>, ChainError> {
    let (rest, certificate) = parse_first(der, what)?;
    if rest.is_empty() {
        return Ok(certificate);
    }
    Err(ChainError::Malformed {
        what,
        problem: format!("{} bytes follow", rest.len()),
    })
}
