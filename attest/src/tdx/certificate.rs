//! Certificates of Intel's provisioning PKI: one root, CAs for PCK certificates, a signer for collateral.
//!
//! Paths are built by webpki at a time when all their certificates are valid, so that a broken signature and a
//! passed date are told apart; dates are judged afterwards by [`Certificate::check_dates`]. The PKI uses ECDSA over
//! P-256 with SHA-256 only (Intel SGX PCK Certificate and CRL Specification), and so does this module.

use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime, pem::PemObject as _};
use webpki::{EndEntityCert, KeyUsage};
use x509_parser::{
    certificate::X509Certificate,
    oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY},
    prelude::FromDer as _,
    x509::SubjectPublicKeyInfo,
};

use super::error::{Chain, TdxError};
use crate::der::Signed;

/// `AlgorithmIdentifier` of ECDSA with SHA-256, the one algorithm of Intel's PKI.
const ECDSA_SHA256: &[u8] = &[
    0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02,
];

/// Most bytes of a PEM chain: three certificates of this PKI have less than 4 KiB.
const MAX_CHAIN_LEN: usize = 32 << 10;
/// Most certificates in a chain.
const MAX_CHAIN_CERTS: usize = 4;

/// An uncompressed point on P-256.
pub(super) type PublicKey = [u8; 65];

/// The fields of a certificate that are judged or reported.
#[derive(Debug, Clone)]
pub(super) struct Certificate {
    pub der: CertificateDer<'static>,
    pub subject: String,
    pub subject_der: Vec<u8>,
    pub issuer: String,
    pub issuer_der: Vec<u8>,
    pub serial: Vec<u8>,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    pub public_key: PublicKey,
    pub is_ca: bool,
}

impl Certificate {
    pub fn parse(der: &CertificateDer<'_>) -> Result<Self, &'static str> {
        let (rest, cert) =
            X509Certificate::from_der(der).map_err(|_| "it is not an X.509 certificate in DER")?;
        if !rest.is_empty() {
            return Err("bytes follow after the certificate");
        }
        let dates = (
            cert.validity.not_before.timestamp(),
            cert.validity.not_after.timestamp(),
        );
        let (Ok(not_before), Ok(not_after)) = (
            Timestamp::from_second(dates.0),
            Timestamp::from_second(dates.1),
        ) else {
            return Err("a date of the certificate is out of range");
        };
        Ok(Self {
            der: der.clone().into_owned(),
            subject: common_name(&cert.subject),
            subject_der: cert.subject.as_raw().to_vec(),
            issuer: common_name(&cert.issuer),
            issuer_der: cert.issuer.as_raw().to_vec(),
            serial: serial(cert.raw_serial()),
            not_before,
            not_after,
            public_key: public_key(&cert.tbs_certificate.subject_pki)?,
            is_ca: cert.is_ca(),
        })
    }

    fn self_issued(&self) -> bool {
        self.subject_der == self.issuer_der
    }

    /// Whether `issuer` signed this certificate, by name and signature.
    pub fn signed_by(&self, issuer: &Self) -> bool {
        let holds = |(tbs, signature)| verify_der(&issuer.public_key, tbs, signature);
        self.issuer_der == issuer.subject_der && signed_parts(&self.der).is_some_and(holds)
    }

    /// Judges the validity at `now`.
    pub fn check_dates(&self, chain: Chain, now: Timestamp) -> Result<(), TdxError> {
        let subject = || self.subject.clone();
        if now < self.not_before {
            let from = self.not_before;
            return Err(TdxError::CertificateNotYetValid {
                chain,
                subject: subject(),
                from,
                now,
            });
        }
        if now > self.not_after {
            let until = self.not_after;
            return Err(TdxError::CertificateExpired {
                chain,
                subject: subject(),
                until,
                now,
            });
        }
        Ok(())
    }
}

/// A serial number without leading zeros.
pub(super) fn serial(raw: &[u8]) -> Vec<u8> {
    raw.iter().copied().skip_while(|byte| *byte == 0).collect()
}

/// The common name of a name, or the whole name where it has none.
pub(super) fn common_name(name: &x509_parser::x509::X509Name<'_>) -> String {
    match name
        .iter_common_name()
        .next()
        .and_then(|cn| cn.as_str().ok())
    {
        Some(cn) => cn.chars().take(128).collect(),
        None => name.to_string().chars().take(256).collect(),
    }
}

fn public_key(spki: &SubjectPublicKeyInfo<'_>) -> Result<PublicKey, &'static str> {
    let curve = spki
        .algorithm
        .parameters
        .as_ref()
        .and_then(|any| any.as_oid().ok());
    if spki.algorithm.algorithm != OID_KEY_TYPE_EC_PUBLIC_KEY || curve != Some(OID_EC_P256) {
        return Err("its key is not an ECDSA P-256 key");
    }
    match (
        PublicKey::try_from(&*spki.subject_public_key.data),
        spki.subject_public_key.unused_bits,
    ) {
        (Ok(key), 0) if key[0] == 4 => Ok(key),
        _ => Err("its key is not an uncompressed P-256 point"),
    }
}

/// Verifies an ECDSA signature in DER.
pub(super) fn verify_der(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key)
        .verify(message, signature)
        .is_ok()
}

/// Verifies an ECDSA signature of two 32-byte big-endian numbers r, s.
pub(super) fn verify_fixed(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key)
        .verify(message, signature)
        .is_ok()
}

/// The roots that verification trusts: Intel's, or a test platform's. The default trusts nobody.
#[derive(Debug, Clone, Default)]
pub struct TdxRoots {
    roots: Vec<(Certificate, TrustAnchor<'static>)>,
}

/// Intel's "Intel SGX Root CA", the root of every production platform; SHA-256
/// 44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3.
pub const INTEL_ROOT: &[u8] = include_bytes!("../../roots/intel/sgx_root_ca.der");

impl TdxRoots {
    /// Trusts these root certificates (DER) and no others.
    pub fn new<'a>(ders: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, TdxError> {
        let mut roots = Vec::new();
        for (number, der) in ders.into_iter().enumerate() {
            let refuse = |why| TdxError::Root { number, why };
            let der = CertificateDer::from(der);
            let cert = Certificate::parse(&der).map_err(refuse)?;
            if !cert.is_ca || !cert.signed_by(&cert) {
                return Err(refuse("it is not a self-signed CA certificate"));
            }
            let anchor = webpki::anchor_from_trusted_cert(&der)
                .map_err(|_| refuse("it cannot be a trust anchor"))?;
            roots.push((cert, anchor.to_owned()));
        }
        if roots.is_empty() {
            let why = "none was given";
            return Err(TdxError::Root { number: 0, why });
        }
        Ok(Self { roots })
    }

    /// Trusts Intel's production root.
    pub fn intel() -> Result<Self, TdxError> {
        Self::new([INTEL_ROOT])
    }

    /// Whether nobody is trusted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    /// The trusted root certificates with that name, DER.
    pub(super) fn of_name<'a>(
        &'a self,
        subject: &'a [u8],
    ) -> impl Iterator<Item = &'a Certificate> {
        self.named(subject).map(|(root, _)| root)
    }

    /// The trusted roots with that name.
    fn named<'a>(
        &'a self,
        subject: &'a [u8],
    ) -> impl Iterator<Item = &'a (Certificate, TrustAnchor<'static>)> {
        self.roots
            .iter()
            .filter(move |(root, _)| root.subject_der == subject)
    }
}

/// A chain whose signatures hold: leaf, then CAs, then the trusted root.
#[derive(Debug, Clone)]
pub(super) struct VerifiedChain {
    pub leaf: Certificate,
    pub intermediate: Option<Certificate>,
    pub root: Certificate,
}

impl VerifiedChain {
    /// Certificate that issued the leaf.
    pub fn issuer(&self) -> &Certificate {
        self.intermediate.as_ref().unwrap_or(&self.root)
    }

    /// Judges every certificate's validity at `now`.
    pub fn check_dates(&self, chain: Chain, now: Timestamp) -> Result<(), TdxError> {
        self.leaf.check_dates(chain, now)?;
        if let Some(intermediate) = &self.intermediate {
            intermediate.check_dates(chain, now)?;
        }
        self.root.check_dates(chain, now)
    }
}

/// Reads a PEM chain, leaf first.
pub(super) fn read_chain(pem: &[u8], chain: Chain) -> Result<Vec<Certificate>, TdxError> {
    let refuse = |why: String| TdxError::Certificate { chain, why };
    if pem.len() > MAX_CHAIN_LEN {
        return Err(refuse(format!(
            "{} bytes of PEM, at most {MAX_CHAIN_LEN} are accepted",
            pem.len()
        )));
    }
    let mut certs = Vec::new();
    for (number, der) in CertificateDer::pem_slice_iter(pem).enumerate() {
        if number == MAX_CHAIN_CERTS {
            return Err(refuse(format!("more than {MAX_CHAIN_CERTS} certificates")));
        }
        let der = der.map_err(|error| refuse(format!("the PEM is malformed: {error}")))?;
        certs.push(
            Certificate::parse(&der)
                .map_err(|why| refuse(format!("certificate {number}: {why}")))?,
        );
    }
    if certs.is_empty() {
        return Err(refuse("no certificate in PEM".into()));
    }
    Ok(certs)
}

/// Refuses a chain that brings its own root with another name or key than the trusted ones.
///
/// Another certificate for a trusted root's key (Intel reissued its root with a later end) passes if that key
/// signed it.
pub(super) fn check_own_root(
    certs: &[Certificate],
    chain: Chain,
    roots: &TdxRoots,
) -> Result<(), TdxError> {
    for own in certs.iter().filter(|cert| cert.self_issued()) {
        let mut named = roots.named(&own.subject_der);
        let Some((root, _)) = named.find(|(root, _)| root.public_key == own.public_key) else {
            let root = own.subject.clone();
            return Err(TdxError::RootNotTrusted { chain, root });
        };
        if root.der != own.der && !own.signed_by(root) {
            let why = "the root certificate it brings was changed".into();
            return Err(TdxError::ChainInvalid { chain, why });
        }
    }
    Ok(())
}

/// Verifies names, constraints and signatures from the first certificate to a trusted root, at a time when all of
/// them are valid. Exactly `cas` certificates must stand between leaf and root.
pub(super) fn verify_chain(
    certs: Vec<Certificate>,
    cas: usize,
    chain: Chain,
    roots: &TdxRoots,
) -> Result<VerifiedChain, TdxError> {
    check_own_root(&certs, chain, roots)?;
    let invalid = |why: String| TdxError::ChainInvalid { chain, why };
    let mut certs: Vec<_> = certs
        .into_iter()
        .filter(|cert| !cert.self_issued())
        .collect();
    if certs.len() != cas + 1 {
        let found = certs.len();
        return Err(invalid(format!(
            "{found} certificates below the root, expected {}",
            cas + 1
        )));
    }
    let last = certs
        .last()
        .ok_or_else(|| invalid("no certificate".into()))?;
    let mut failure = None;
    let mut found = None;
    for (root, anchor) in roots.named(&last.issuer_der) {
        match webpki_path(&certs, anchor) {
            Ok(()) => found = Some(root.clone()),
            Err(error) => failure = Some(invalid(error.to_string())),
        }
    }
    let Some(root) = found else {
        let root = last.issuer.clone();
        return Err(failure.unwrap_or(TdxError::RootNotTrusted { chain, root }));
    };
    let intermediate = if cas == 1 { certs.pop() } else { None };
    match certs.pop() {
        Some(leaf) if certs.is_empty() => Ok(VerifiedChain {
            leaf,
            intermediate,
            root,
        }),
        _ => Err(invalid("more than one CA below the root".into())),
    }
}

fn webpki_path(certs: &[Certificate], anchor: &TrustAnchor<'static>) -> Result<(), webpki::Error> {
    let (leaf, above) = certs.split_first().ok_or(webpki::Error::UnknownIssuer)?;
    let latest = certs
        .iter()
        .map(|cert| cert.not_before)
        .max()
        .unwrap_or_default();
    let time = u64::try_from(latest.as_second()).unwrap_or_default();
    let intermediates: Vec<_> = above.iter().map(|cert| cert.der.clone()).collect();
    EndEntityCert::try_from(&leaf.der)?.verify_for_usage(
        &[webpki::aws_lc_rs::ECDSA_P256_SHA256],
        std::slice::from_ref(anchor),
        &intermediates,
        UnixTime::since_unix_epoch(Duration::from_secs(time)),
        KeyUsage::server_auth(),
        None,
        None,
    )?;
    Ok(())
}

/// The signed bytes of a certificate or CRL and the ECDSA-SHA256 signature over them. Everything around them is
/// fixed: no bit of it can change without being noticed.
pub(super) fn signed_parts(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let signed = Signed::parse(der)?;
    (signed.algorithm == ECDSA_SHA256).then_some((signed.tbs.whole, signed.signature))
}
