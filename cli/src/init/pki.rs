//! Two small PKIs: one CA for the service's certificate, one for operators' certificates.
//!
//! They are apart because they answer different questions: a node asks "is this my key service", the service asks
//! "is this an operator". All keys are ECDSA P-256.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use std::time::{Duration, SystemTime};
use zeroize::Zeroizing;

/// Certificates are valid from one hour before they were made, for clocks that lag.
const BACKDATE: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);

/// A certificate and its key, both in PEM.
pub(super) struct Pair {
    /// The certificate.
    pub(super) certificate: String,
    /// The key, wiped when dropped.
    pub(super) key: Zeroizing<String>,
}

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// The key service's end of TLS.
    Server,
    /// An operator's end of TLS.
    Client,
}

/// A CA that signs what this run makes.
pub(super) struct Ca {
    /// Its certificate and key.
    pub(super) pair: Pair,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    /// Makes a CA that may sign end-entity certificates only.
    pub(super) fn new(common_name: &str, days: u32) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = base(common_name, days)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?.pem();
        let pair = Pair {
            certificate,
            key: Zeroizing::new(key.serialize_pem()),
        };
        let issuer = Issuer::new(params, key);
        Ok(Self { pair, issuer })
    }

    /// Issues a certificate. `names` become subject alternative names: IP addresses where they parse as such, else DNS.
    pub(super) fn issue(
        &self,
        common_name: &str,
        names: &[String],
        purpose: Use,
        days: u32,
    ) -> Result<Pair, rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = base(common_name, days)?;
        params.subject_alt_names = CertificateParams::new(names)?.subject_alt_names;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match purpose {
            Use::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Use::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Pair {
            certificate,
            key: Zeroizing::new(key.serialize_pem()),
        })
    }
}

fn base(common_name: &str, days: u32) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    params.distinguished_name = name;
    let start = SystemTime::now() - BACKDATE;
    params.not_before = start.into();
    params.not_after = (start + DAY * days).into();
    Ok(params)
}
