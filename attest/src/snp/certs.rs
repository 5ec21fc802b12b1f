//! Certificates of AMD's hierarchy: ARK, ASK and ASVK (RSA), VCEK and VLEK (P-384 with AMD's extensions).
//!
//! [`Certificate`] is an outline read without trust, good for names, dates and keys. What AMD's extensions say is
//! read from it by [`Vek::parse`](super::vek::Vek::parse).

use crate::der::{Reader, Signed, Tlv, bit_string, single, tag, time, unsigned};

/// Largest certificate read, bytes. AMD's have less than 2 KiB.
pub const MAX_CERTIFICATE: usize = 16 << 10;

/// Object identifiers, content octets.
mod oid {
    pub const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
    pub const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
    pub const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
    /// rsaEncryption with its NULL parameters, as an AlgorithmIdentifier's content.
    pub const RSA: &[u8] = &[
        0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00,
    ];
    /// id-ecPublicKey on secp384r1, as an AlgorithmIdentifier's content.
    pub const P384: &[u8] = &[
        0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00,
        0x22,
    ];
    /// 1.3.6.1.4.1.3704.1, AMD's arc.
    pub const AMD: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x9c, 0x78, 0x01];
}

/// The part of a certificate that could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the certificate's {0}")]
pub struct CertificateError(pub &'static str);

/// Outline of a certificate; nothing in it is verified.
#[derive(Clone, Debug)]
pub struct Certificate {
    der: Vec<u8>,
    /// Serial number, big-endian digits.
    pub serial: Vec<u8>,
    /// Issuer name, DER.
    pub issuer: Vec<u8>,
    /// Subject name, DER.
    pub subject: Vec<u8>,
    /// First second of validity, since 1970.
    pub not_before: u64,
    /// Last second of validity, since 1970.
    pub not_after: u64,
    key: PublicKey,
    extensions: Vec<Extension>,
}

/// A certificate's public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PublicKey {
    /// RSAPublicKey, DER.
    Rsa(Vec<u8>),
    /// Uncompressed point.
    P384(Vec<u8>),
}

#[derive(Clone, Debug)]
struct Extension {
    oid: Vec<u8>,
    critical: bool,
    value: Vec<u8>,
}

impl Certificate {
    /// Reads a certificate of at most [`MAX_CERTIFICATE`] bytes.
    ///
    /// # Errors
    /// [`CertificateError`] naming the part that is malformed or of a kind AMD does not use.
    pub fn parse(der: &[u8]) -> Result<Self, CertificateError> {
        if der.len() > MAX_CERTIFICATE {
            return Err(CertificateError("length is over 16 KiB"));
        }
        let malformed = |part: &'static str| move || CertificateError(part);
        let signed = Signed::parse(der).ok_or_else(malformed("outer structure is malformed"))?;
        let mut tbs = Reader::new(signed.tbs.content);
        let version = tbs
            .expect(tag::CONTEXT_0)
            .filter(|v| v.content == [2, 1, 2]);
        version.ok_or_else(malformed("version is not 3"))?;
        let serial = tbs
            .expect(tag::INTEGER)
            .as_ref()
            .and_then(unsigned)
            .map(<[u8]>::to_vec);
        let serial = serial.ok_or_else(malformed("serial number is malformed"))?;
        let inner = tbs
            .expect(tag::SEQUENCE)
            .filter(|inner| inner.whole == signed.algorithm);
        inner.ok_or_else(malformed("inner and outer signature algorithm differ"))?;
        let issuer = tbs
            .expect(tag::SEQUENCE)
            .ok_or_else(malformed("issuer is malformed"))?
            .whole
            .to_vec();
        let (not_before, not_after) = tbs
            .expect(tag::SEQUENCE)
            .and_then(|v| validity(&v))
            .ok_or_else(malformed("validity is malformed"))?;
        let subject = tbs
            .expect(tag::SEQUENCE)
            .ok_or_else(malformed("subject is malformed"))?
            .whole
            .to_vec();
        let key = tbs.expect(tag::SEQUENCE).and_then(|spki| public_key(&spki));
        let key = key.ok_or_else(malformed("key is neither RSA nor P-384"))?;
        let extensions = match tbs.optional(tag::CONTEXT_3) {
            Some(list) => extensions(&list).ok_or_else(malformed("extensions are malformed"))?,
            None => Vec::new(),
        };
        if !tbs.is_empty() {
            return Err(CertificateError("content has trailing fields"));
        }
        Ok(Self {
            der: der.to_vec(),
            serial,
            issuer,
            subject,
            not_before,
            not_after,
            key,
            extensions,
        })
    }

    /// The certificate as read.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Common name of the subject.
    #[must_use]
    pub fn common_name(&self) -> Option<&str> {
        common_name(&self.subject)
    }

    pub(super) fn key(&self) -> &PublicKey {
        &self.key
    }

    pub(super) fn rsa_key(&self) -> Option<&[u8]> {
        match &self.key {
            PublicKey::Rsa(key) => Some(key),
            PublicKey::P384(_) => None,
        }
    }

    /// Whether the certificate may sign others: a CA with keyCertSign and no critical extension unknown here.
    #[must_use]
    pub fn may_sign_certificates(&self) -> bool {
        let ca = self.extension(oid::BASIC_CONSTRAINTS).and_then(|value| {
            let mut fields = Reader::new(single(value, tag::SEQUENCE)?.content);
            fields
                .optional(tag::BOOLEAN)
                .map(|flag| flag.content == [0xff])
        });
        // KeyUsage: bit 5, counted from the left, is keyCertSign.
        let usage = self.extension(oid::KEY_USAGE).and_then(|value| {
            let bits = single(value, tag::BIT_STRING)?.content.get(1)?;
            Some(bits & 0x04 != 0)
        });
        ca == Some(true) && usage == Some(true) && !self.has_unknown_critical()
    }

    fn has_unknown_critical(&self) -> bool {
        let known = [oid::BASIC_CONSTRAINTS, oid::KEY_USAGE];
        self.extensions
            .iter()
            .any(|e| e.critical && !known.contains(&e.oid.as_slice()))
    }

    fn extension(&self, oid: &[u8]) -> Option<&[u8]> {
        self.extensions
            .iter()
            .find(|e| e.oid == oid)
            .map(|e| e.value.as_slice())
    }

    /// Value of an extension in AMD's arc.
    pub(super) fn amd(&self, suffix: &[u8]) -> Option<&[u8]> {
        self.extensions
            .iter()
            .find(|e| e.oid.strip_prefix(oid::AMD) == Some(suffix))
            .map(|e| e.value.as_slice())
    }
}

fn validity(tlv: &Tlv<'_>) -> Option<(u64, u64)> {
    let mut fields = Reader::new(tlv.content);
    let (from, to) = (time(&fields.any()?)?, time(&fields.any()?)?);
    fields.is_empty().then_some((from, to))
}

fn public_key(spki: &Tlv<'_>) -> Option<PublicKey> {
    let mut fields = Reader::new(spki.content);
    let algorithm = fields.expect(tag::SEQUENCE)?.content;
    let bits = bit_string(&fields.expect(tag::BIT_STRING)?)?.to_vec();
    match (algorithm, fields.is_empty()) {
        (oid::RSA, true) => Some(PublicKey::Rsa(bits)),
        (oid::P384, true) if bits.len() == 97 && bits.first() == Some(&4) => {
            Some(PublicKey::P384(bits))
        }
        _ => None,
    }
}

fn extensions(list: &Tlv<'_>) -> Option<Vec<Extension>> {
    let mut reader = Reader::new(single(list.content, tag::SEQUENCE)?.content);
    let mut found: Vec<Extension> = Vec::new();
    while !reader.is_empty() {
        let mut fields = Reader::new(reader.expect(tag::SEQUENCE)?.content);
        let oid = fields.expect(tag::OID)?.content.to_vec();
        let critical = fields
            .optional(tag::BOOLEAN)
            .is_some_and(|flag| flag.content != [0]);
        let value = fields.expect(tag::OCTET_STRING)?.content.to_vec();
        if !fields.is_empty() || found.iter().any(|e| e.oid == oid) {
            return None;
        }
        found.push(Extension {
            oid,
            critical,
            value,
        });
    }
    Some(found)
}

/// The last common name of a DER name.
pub(super) fn common_name(name: &[u8]) -> Option<&str> {
    let mut sets = Reader::new(single(name, tag::SEQUENCE)?.content);
    let mut found = None;
    while let Some(set) = sets.expect(tag::SET) {
        let mut pair = Reader::new(single(set.content, tag::SEQUENCE)?.content);
        if pair.expect(tag::OID)?.content == oid::COMMON_NAME {
            found = std::str::from_utf8(pair.any()?.content).ok();
        }
    }
    found
}

/// The DER documents in a file: every PEM block of a text, or the bytes themselves if they are no PEM.
///
/// # Errors
/// [`CertificateError`] if a PEM block is damaged.
pub fn documents(file: &[u8]) -> Result<Vec<Vec<u8>>, CertificateError> {
    if !file.windows(11).any(|window| window == b"-----BEGIN ") {
        return Ok(vec![file.to_vec()]);
    }
    x509_parser::pem::Pem::iter_from_buffer(file)
        .map(|pem| {
            pem.map(|pem| pem.contents)
                .map_err(|_| CertificateError("PEM form is damaged"))
        })
        .collect()
}

/// `2023-04-03T19:23:43Z` for seconds since 1970, as times of certificates and lists are printed.
#[must_use]
pub fn rfc3339(unix: u64) -> String {
    crate::der::rfc3339(unix)
}
