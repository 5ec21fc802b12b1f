//! Certificates and CRLs of the mock PKI.

use std::time::Duration;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CustomExtension,
    DistinguishedName, DnType, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, RevokedCertParams, SerialNumber,
};

use super::{MockCertificate, Spec};

/// A key that signs messages as r, s.
pub struct Signer {
    pkcs8: Vec<u8>,
    key: EcdsaKeyPair,
}

impl Signer {
    pub fn new() -> Self {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        let pkcs8 = pair.serialize_der();
        let key =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8).expect("a key");
        Self { pkcs8, key }
    }

    /// Signature r, s: 64 bytes.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.key
            .sign(&SystemRandom::new(), message)
            .expect("a signature")
            .as_ref()
            .to_vec()
    }

    /// Public point x, y: 64 bytes.
    pub fn public(&self) -> &[u8] {
        &self.key.public_key().as_ref()[1..]
    }

    /// Private key, PKCS#8.
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    fn pair(&self) -> KeyPair {
        KeyPair::try_from(self.pkcs8.as_slice()).expect("a key")
    }
}

/// A CA that issues certificates and a CRL.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    der: Vec<u8>,
}

impl Ca {
    /// A self-signed root.
    pub fn root(name: &str) -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        let params = ca_params(name, 1, BasicConstraints::Constrained(1));
        let der = params
            .self_signed(&key)
            .expect("a certificate")
            .der()
            .to_vec();
        Self {
            issuer: Issuer::new(params, key),
            der,
        }
    }

    /// The CA of PCK certificates.
    pub fn pck(spec: &Spec, key: &Signer, root: &Self) -> Self {
        let kind = MockCertificate::PckCa;
        let mut params = ca_params(
            "Mock SGX PCK Platform CA",
            serial(kind),
            BasicConstraints::Constrained(0),
        );
        dates(&mut params, spec, kind);
        let der = params
            .signed_by(&key.pair(), &root.issuer)
            .expect("a certificate")
            .der()
            .to_vec();
        Self {
            issuer: Issuer::new(params, key.pair()),
            der,
        }
    }

    pub fn der(&self) -> &[u8] {
        &self.der
    }
}

/// A leaf: the PCK certificate or the TCB signer.
pub fn certificate(spec: &Spec, kind: MockCertificate, key: &Signer, ca: &Ca) -> Vec<u8> {
    let name = match kind {
        MockCertificate::Pck => "Mock SGX PCK Certificate",
        _ => "Mock SGX TCB Signing",
    };
    let mut params = params(name, serial(kind));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.is_ca = IsCa::ExplicitNoCa;
    dates(&mut params, spec, kind);
    if kind == MockCertificate::Pck {
        let oid = [1, 2, 840, 113741, 1, 13, 1];
        params
            .custom_extensions
            .push(CustomExtension::from_oid_content(&oid, sgx_extension(spec)));
    }
    params
        .signed_by(&key.pair(), &ca.issuer)
        .expect("a certificate")
        .der()
        .to_vec()
}

/// The CRL of a CA, with those of its certificates that `spec` revokes.
pub fn crl(spec: &Spec, ca: &Ca, issued: &[MockCertificate]) -> Vec<u8> {
    let revoked = issued
        .iter()
        .filter(|kind| spec.revoked.contains(kind))
        .map(|kind| RevokedCertParams {
            serial_number: SerialNumber::from(serial(*kind)),
            revocation_time: rcgen::date_time_ymd(1970, 1, 1)
                + since_epoch(spec.now, SignedDuration::from_hours(-48)),
            reason_code: None,
            invalidity_date: None,
        });
    CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(1970, 1, 1)
            + since_epoch(spec.now, SignedDuration::from_hours(-24)),
        next_update: rcgen::date_time_ymd(1970, 1, 1) + since_epoch(spec.now, spec.crl_left),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    }
    .signed_by(&ca.issuer)
    .expect("a CRL")
    .der()
    .to_vec()
}

/// PEM of a chain.
pub fn pem(ders: &[Vec<u8>]) -> Vec<u8> {
    let mut out = String::new();
    for der in ders {
        let text = base64(der);
        out.push_str("-----BEGIN CERTIFICATE-----\n");
        for line in text.as_bytes().chunks(64) {
            out.push_str(std::str::from_utf8(line).expect("ASCII"));
            out.push('\n');
        }
        out.push_str("-----END CERTIFICATE-----\n");
    }
    out.into_bytes()
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word = chunk
            .iter()
            .fold(0u32, |word, byte| word << 8 | u32::from(*byte))
            << (8 * (3 - chunk.len()));
        for place in 0..4usize {
            let digit = ALPHABET[(word >> (18 - 6 * place) & 63) as usize];
            out.push(if place <= chunk.len() {
                char::from(digit)
            } else {
                '='
            });
        }
    }
    out
}

fn serial(kind: MockCertificate) -> u64 {
    match kind {
        MockCertificate::PckCa => 0x1000_0001,
        MockCertificate::TcbSigner => 0x1000_0002,
        // The first byte makes the encoding need a sign byte.
        MockCertificate::Pck => 0x9000_0003,
    }
}

fn params(name: &str, serial: u64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from(serial));
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2049, 12, 31);
    params
}

fn ca_params(name: &str, serial: u64, constraint: BasicConstraints) -> CertificateParams {
    let mut params = params(name, serial);
    params.is_ca = IsCa::Ca(constraint);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn dates(params: &mut CertificateParams, spec: &Spec, kind: MockCertificate) {
    if spec.expired == Some(kind) {
        params.not_after = rcgen::date_time_ymd(1970, 1, 1)
            + since_epoch(spec.now, SignedDuration::from_hours(-1));
    }
}

/// Time from 1970 to `now` and a span; rcgen does not name its date type, so dates are made where they are used.
fn since_epoch(now: Timestamp, span: SignedDuration) -> Duration {
    let seconds = now.checked_add(span).expect("a date").as_second();
    Duration::from_secs(u64::try_from(seconds).expect("after 1970"))
}

fn tlv(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let mut out = vec![tag];
    match length {
        0..=0x7f => out.push(length as u8),
        _ => out.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    out.extend_from_slice(content);
    out
}

/// A pair of OID 1.2.840.113741.1.13.1 + suffix and value.
fn pair(suffix: &[u8], value: Vec<u8>) -> Vec<u8> {
    let oid = [
        &[0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01],
        suffix,
    ]
    .concat();
    tlv(0x30, &[tlv(0x06, &oid), value].concat())
}

fn sgx_extension(spec: &Spec) -> Vec<u8> {
    let mut tcb = Vec::new();
    for component in 1..=16 {
        tcb.extend(pair(&[2, component], tlv(0x02, &[spec.component_svn])));
    }
    tcb.extend(pair(&[2, 17], tlv(0x02, &[11])));
    tcb.extend(pair(&[2, 18], tlv(0x04, &[spec.component_svn; 16])));
    let fields = [
        pair(&[1], tlv(0x04, &[0x77; 16])),
        pair(&[2], tlv(0x30, &tcb)),
        pair(&[3], tlv(0x04, &[0, 0])),
        pair(&[4], tlv(0x04, &spec.fmspc)),
        pair(&[5], tlv(0x0a, &[1])),
    ];
    tlv(0x30, &fields.concat())
}
