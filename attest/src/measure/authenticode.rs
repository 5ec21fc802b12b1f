//! The signature of a PE image, as far as it decides which entry of db lets the image run.
//!
//! Source: Microsoft, Windows Authenticode Portable Executable Signature Format: a PKCS#7 `SignedData` (RFC 2315)
//! over the image's digest, with the signer's certificate and those between it and its root.

use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use crate::{
    der::{self, Reader, tag},
    verify::chain::signed_by,
};

/// 1.2.840.113549.1.7.2, `signedData`
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];
/// 1.3.6.1.4.1.311.2.1.4, `SPC_INDIRECT_DATA_OBJID`
const INDIRECT_DATA: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x82, 0x37, 0x02, 0x01, 0x04];
/// Most certificates of a signature that are looked at.
const MAX_CERTIFICATES: usize = 16;
/// Most certificates from the signer to an entry of db.
const MAX_PATH: usize = 6;

/// A signature of an image.
pub(super) struct Signature<'a> {
    /// Digest of the image that was signed.
    pub digest: &'a [u8],
    /// From the signer's certificate upwards, each signed by the next.
    path: Vec<X509Certificate<'a>>,
}

impl<'a> Signature<'a> {
    /// Reads a signature; says what is wrong with it otherwise.
    pub(super) fn parse(pkcs7: &'a [u8]) -> Result<Self, &'static str> {
        let parts = Parts::read(pkcs7).ok_or("it is no PKCS#7 signature of an image")?;
        let mut certificates = Vec::new();
        let mut list = Reader::new(parts.certificates);
        while let Some(one) = list.any() {
            if certificates.len() == MAX_CERTIFICATES {
                return Err("it has more than 16 certificates");
            }
            // Anything but an X.509 certificate takes part in no path.
            if let Ok((_, certificate)) = X509Certificate::from_der(one.whole) {
                certificates.push(certificate);
            }
        }
        let signer = certificates
            .iter()
            .find(|one| one.issuer().as_raw() == parts.issuer && one.raw_serial() == parts.serial);
        let signer = signer.ok_or("it does not hold its signer's certificate")?;
        let mut path = vec![signer.clone()];
        while let Some(last) = path.last().filter(|_| path.len() < MAX_PATH) {
            let above = certificates
                .iter()
                .find(|one| one.as_raw() != last.as_raw() && signed_by(last, one));
            match above.filter(|one| path.iter().all(|seen| seen.as_raw() != one.as_raw())) {
                Some(above) => path.push(above.clone()),
                None => break,
            }
        }
        Ok(Self {
            digest: parts.digest,
            path,
        })
    }

    /// Whether a certificate of db lets this signature pass: it is in the path, or it signed one that is.
    pub(super) fn is_trusted_by(&self, der: &[u8]) -> bool {
        let Ok((_, trusted)) = X509Certificate::from_der(der) else {
            return false;
        };
        self.path
            .iter()
            .any(|one| one.as_raw() == trusted.as_raw() || signed_by(one, &trusted))
    }

    /// Subject of the signer, for messages.
    pub(super) fn signer(&self) -> String {
        self.path
            .first()
            .map_or_else(String::new, |one| one.subject().to_string())
    }
}

/// What is needed of a `SignedData`.
struct Parts<'a> {
    digest: &'a [u8],
    certificates: &'a [u8],
    issuer: &'a [u8],
    serial: &'a [u8],
}

impl<'a> Parts<'a> {
    fn read(pkcs7: &'a [u8]) -> Option<Self> {
        // Bytes behind it pad the table's entry.
        let mut content = Reader::new(Reader::new(pkcs7).expect(tag::SEQUENCE)?.content);
        content
            .expect(tag::OID)
            .filter(|oid| oid.content == SIGNED_DATA)?;
        let explicit = content.expect(tag::CONTEXT_0)?;
        let mut signed = Reader::new(der::single(explicit.content, tag::SEQUENCE)?.content);
        signed.expect(tag::INTEGER)?;
        signed.expect(tag::SET)?;
        let digest = indirect_digest(signed.expect(tag::SEQUENCE)?.content)?;
        let certificates = signed.expect(tag::CONTEXT_0)?.content;
        signed.optional(CRLS);
        let mut signers = Reader::new(signed.expect(tag::SET)?.content);
        let mut signer = Reader::new(signers.expect(tag::SEQUENCE)?.content);
        if !signers.is_empty() {
            return None;
        }
        signer.expect(tag::INTEGER)?;
        let mut names = Reader::new(signer.expect(tag::SEQUENCE)?.content);
        Some(Self {
            digest,
            certificates,
            issuer: names.expect(tag::SEQUENCE)?.whole,
            serial: names.expect(tag::INTEGER)?.content,
        })
    }
}

/// `[1] IMPLICIT`
const CRLS: u8 = 0xa1;

/// The `messageDigest` of an `SpcIndirectDataContent`.
fn indirect_digest(content_info: &[u8]) -> Option<&[u8]> {
    let mut content = Reader::new(content_info);
    content
        .expect(tag::OID)
        .filter(|oid| oid.content == INDIRECT_DATA)?;
    let explicit = content.expect(tag::CONTEXT_0)?;
    let mut indirect = Reader::new(der::single(explicit.content, tag::SEQUENCE)?.content);
    indirect.expect(tag::SEQUENCE)?;
    let mut digest = Reader::new(indirect.expect(tag::SEQUENCE)?.content);
    digest.expect(tag::SEQUENCE)?;
    Some(digest.expect(tag::OCTET_STRING)?.content)
}
