//! Certificates of AMD's hierarchy: ARK, ASK and ASVK (RSA), VCEK and VLEK (P-384 with AMD's extensions).
//!
//! [`Certificate`] is an outline read without trust, good for names, dates and keys. [`Vek`] holds what AMD
//! certifies about a chip or provider. Source of the extensions: AMD 57230 "Versioned Chip Endorsement Key (VCEK)
//! Certificate and KDS Interface Specification", tables 8 to 11.

use super::der::{Reader, Signed, Tlv, bit_string, single, tag, time, unsigned};
use super::product::Product;
use super::tcb::{Tcb, TcbLayout};

/// Largest certificate read, bytes. AMD's have less than 2 KiB.
pub const MAX_CERTIFICATE: usize = 16 << 10;

/// Object identifiers, content octets.
mod oid {
    pub const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
    pub const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
    pub const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
    /// rsaEncryption with its NULL parameters, as an AlgorithmIdentifier's content.
    pub const RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
    /// id-ecPublicKey on secp384r1, as an AlgorithmIdentifier's content.
    pub const P384: &[u8] =
        &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
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
        let version = tbs.expect(tag::CONTEXT_0).filter(|v| v.content == [2, 1, 2]);
        version.ok_or_else(malformed("version is not 3"))?;
        let serial = tbs.expect(tag::INTEGER).as_ref().and_then(unsigned).map(<[u8]>::to_vec);
        let serial = serial.ok_or_else(malformed("serial number is malformed"))?;
        let inner = tbs.expect(tag::SEQUENCE).filter(|inner| inner.whole == signed.algorithm);
        inner.ok_or_else(malformed("inner and outer signature algorithm differ"))?;
        let issuer = tbs.expect(tag::SEQUENCE).ok_or_else(malformed("issuer is malformed"))?.whole.to_vec();
        let (not_before, not_after) =
            tbs.expect(tag::SEQUENCE).and_then(|v| validity(&v)).ok_or_else(malformed("validity is malformed"))?;
        let subject = tbs.expect(tag::SEQUENCE).ok_or_else(malformed("subject is malformed"))?.whole.to_vec();
        let key = tbs.expect(tag::SEQUENCE).and_then(|spki| public_key(&spki));
        let key = key.ok_or_else(malformed("key is neither RSA nor P-384"))?;
        let extensions = match tbs.optional(tag::CONTEXT_3) {
            Some(list) => extensions(&list).ok_or_else(malformed("extensions are malformed"))?,
            None => Vec::new(),
        };
        if !tbs.is_empty() {
            return Err(CertificateError("content has trailing fields"));
        }
        Ok(Self { der: der.to_vec(), serial, issuer, subject, not_before, not_after, key, extensions })
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
            fields.optional(tag::BOOLEAN).map(|flag| flag.content == [0xff])
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
        self.extensions.iter().any(|e| e.critical && !known.contains(&e.oid.as_slice()))
    }

    fn extension(&self, oid: &[u8]) -> Option<&[u8]> {
        self.extensions.iter().find(|e| e.oid == oid).map(|e| e.value.as_slice())
    }

    /// Value of an extension in AMD's arc.
    fn amd(&self, suffix: &[u8]) -> Option<&[u8]> {
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
        (oid::P384, true) if bits.len() == 97 && bits.first() == Some(&4) => Some(PublicKey::P384(bits)),
        _ => None,
    }
}

fn extensions(list: &Tlv<'_>) -> Option<Vec<Extension>> {
    let mut reader = Reader::new(single(list.content, tag::SEQUENCE)?.content);
    let mut found: Vec<Extension> = Vec::new();
    while !reader.is_empty() {
        let mut fields = Reader::new(reader.expect(tag::SEQUENCE)?.content);
        let oid = fields.expect(tag::OID)?.content.to_vec();
        let critical = fields.optional(tag::BOOLEAN).is_some_and(|flag| flag.content != [0]);
        let value = fields.expect(tag::OCTET_STRING)?.content.to_vec();
        if !fields.is_empty() || found.iter().any(|e| e.oid == oid) {
            return None;
        }
        found.push(Extension { oid, critical, value });
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

/// Which kind of endorsement key a certificate certifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VekKind {
    /// Versioned chip endorsement key: one chip at one TCB.
    Vcek,
    /// Versioned loaded endorsement key: one provider at one TCB.
    Vlek,
}

impl VekKind {
    /// `VCEK` or `VLEK`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Vcek => "VCEK",
            Self::Vlek => "VLEK",
        }
    }
}

/// What a VCEK or VLEK certificate says, from its extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vek {
    /// VCEK or VLEK, by subject.
    pub kind: VekKind,
    /// Structure version: 0 up to Genoa, 1 from Turin on.
    pub struct_version: u8,
    /// Product name as written, `Milan-B0`.
    pub product_name: String,
    /// Security versions by the last arc of their identifier: 1 boot loader, 2 TEE, 3 SNP, 4 to 7 reserved,
    /// 8 microcode, 9 FMC.
    pub spl: [Option<u8>; 10],
    /// Chip id, 64 or 8 bytes; VCEK only.
    pub hwid: Option<Vec<u8>>,
    /// Provider the key was issued to; VLEK only.
    pub csp_id: Option<String>,
}

impl Vek {
    /// Reads the extensions of an endorsement certificate.
    ///
    /// # Errors
    /// [`CertificateError`] naming the extension that is missing, malformed or does not belong.
    pub fn parse(certificate: &Certificate) -> Result<Self, CertificateError> {
        let kind = match certificate.common_name() {
            Some("SEV-VCEK") => VekKind::Vcek,
            Some("SEV-VLEK") => VekKind::Vlek,
            _ => return Err(CertificateError("subject is neither SEV-VCEK nor SEV-VLEK")),
        };
        let byte = |suffix: &[u8]| certificate.amd(suffix).map(small_integer);
        let struct_version =
            byte(&[1]).flatten().ok_or(CertificateError("structure version (…1.1) is missing or malformed"))?;
        let product_name = certificate.amd(&[2]).and_then(text);
        let product_name = product_name.ok_or(CertificateError("product name (…1.2) is missing or malformed"))?;
        let mut spl = [None; 10];
        for (arc, slot) in (0u8..).zip(&mut spl).skip(1) {
            *slot = match byte(&[3, arc]) {
                Some(None) => return Err(CertificateError("security version (…1.3.x) is not a number up to 255")),
                Some(value) => value,
                None => None,
            };
        }
        let [_, Some(_), Some(_), Some(_), _, _, _, _, Some(_), _] = spl else {
            return Err(CertificateError("security versions (…1.3.1, 2, 3 or 8) are incomplete"));
        };
        let hwid = certificate.amd(&[4]).map(hardware_id);
        let csp_id = certificate.amd(&[5]).map(text);
        let (hwid, csp_id) = match (kind, hwid, csp_id) {
            (VekKind::Vcek, Some(Some(hwid)), None) => (Some(hwid), None),
            (VekKind::Vcek, ..) => return Err(CertificateError("hardware id (…1.4) is missing or malformed")),
            (VekKind::Vlek, None, Some(Some(csp))) => (None, Some(csp)),
            (VekKind::Vlek, ..) => return Err(CertificateError("provider id (…1.5) is missing or malformed")),
        };
        Ok(Self { kind, struct_version, product_name, spl, hwid, csp_id })
    }

    /// The product line, `None` if the name is none.
    #[must_use]
    pub fn product(&self) -> Option<Product> {
        Product::from_certificate_name(&self.product_name)
    }

    /// The TCB layout this certificate was made for: with a first mutable code or without.
    #[must_use]
    pub fn layout(&self) -> TcbLayout {
        let [_, _, _, _, _, _, _, _, _, fmc] = self.spl;
        if fmc.is_some() { TcbLayout::Fmc } else { TcbLayout::Legacy }
    }

    /// Whether the certified TCB is `tcb`, component by component.
    #[must_use]
    pub fn certifies(&self, tcb: &Tcb) -> bool {
        let [_, boot_loader, tee, snp, _, _, _, _, microcode, fmc] = self.spl;
        [fmc, boot_loader, tee, snp, microcode]
            == [tcb.fmc, Some(tcb.boot_loader), Some(tcb.tee), Some(tcb.snp), Some(tcb.microcode)]
    }

    /// Whether the chip id of a report is that of this certificate: the id, then zeros.
    #[must_use]
    pub fn names_chip(&self, chip_id: &[u8; 64]) -> bool {
        self.hwid.as_deref().is_some_and(|hwid| {
            chip_id.strip_prefix(hwid).is_some_and(|rest| rest.iter().all(|b| *b == 0))
        })
    }
}

/// An INTEGER from 0 to 255.
fn small_integer(value: &[u8]) -> Option<u8> {
    match unsigned(&single(value, tag::INTEGER)?)? {
        [byte] => Some(*byte),
        _ => None,
    }
}

/// Text of one string element. AMD writes IA5String, which the specification asks for; others were seen.
fn text(value: &[u8]) -> Option<String> {
    let mut reader = Reader::new(value);
    let tlv = reader.any().filter(|_| reader.is_empty())?;
    let known = matches!(tlv.tag, tag::IA5_STRING | tag::UTF8_STRING | tag::PRINTABLE_STRING);
    let text = std::str::from_utf8(tlv.content).ok()?;
    (known && text.len() <= 256 && text.chars().all(|c| c.is_ascii_graphic() || c == ' ')).then(|| text.to_owned())
}

/// The chip id: bare octets as AMD writes them, or in the OCTET STRING the specification describes.
fn hardware_id(value: &[u8]) -> Option<Vec<u8>> {
    let id = match value.len() {
        8 | 64 => value,
        _ => single(value, tag::OCTET_STRING)?.content,
    };
    matches!(id.len(), 8 | 64).then(|| id.to_vec())
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
        .map(|pem| pem.map(|pem| pem.contents).map_err(|_| CertificateError("PEM form is damaged")))
        .collect()
}
