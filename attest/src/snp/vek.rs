//! What AMD certifies about an endorsement key: chip or provider, product, and the TCB it was derived for.
//!
//! Source: AMD 57230 "Versioned Chip Endorsement Key (VCEK) Certificate and KDS Interface Specification", tables
//! 8 to 11. Identifiers are below 1.3.6.1.4.1.3704.1, AMD's arc.

use super::certs::{Certificate, CertificateError};
use super::product::Product;
use super::report::SigningKey;
use super::tcb::{Tcb, TcbLayout};
use crate::der::{Reader, single, tag, unsigned};

/// Which kind of endorsement key a certificate certifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "UPPERCASE")]
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

    /// What a report signed by such a key says of it.
    #[must_use]
    pub fn signing_key(self) -> SigningKey {
        match self {
            Self::Vcek => SigningKey::Vcek,
            Self::Vlek => SigningKey::Vlek,
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
        let struct_version = byte(&[1]).flatten().ok_or(CertificateError(
            "structure version (…1.1) is missing or malformed",
        ))?;
        let product_name = certificate.amd(&[2]).and_then(text);
        let product_name = product_name.ok_or(CertificateError(
            "product name (…1.2) is missing or malformed",
        ))?;
        let mut spl = [None; 10];
        for (arc, slot) in (0u8..).zip(&mut spl).skip(1) {
            *slot = match byte(&[3, arc]) {
                Some(None) => {
                    return Err(CertificateError(
                        "security version (…1.3.x) is not a number up to 255",
                    ));
                }
                Some(value) => value,
                None => None,
            };
        }
        let [_, Some(_), Some(_), Some(_), _, _, _, _, Some(_), _] = spl else {
            return Err(CertificateError(
                "security versions (…1.3.1, 2, 3 or 8) are incomplete",
            ));
        };
        let hwid = certificate.amd(&[4]).map(hardware_id);
        let csp_id = certificate.amd(&[5]).map(text);
        let (hwid, csp_id) = match (kind, hwid, csp_id) {
            (VekKind::Vcek, Some(Some(hwid)), None) => (Some(hwid), None),
            (VekKind::Vcek, ..) => {
                return Err(CertificateError(
                    "hardware id (…1.4) is missing or malformed",
                ));
            }
            (VekKind::Vlek, None, Some(Some(csp))) => (None, Some(csp)),
            (VekKind::Vlek, ..) => {
                return Err(CertificateError(
                    "provider id (…1.5) is missing or malformed",
                ));
            }
        };
        Ok(Self {
            kind,
            struct_version,
            product_name,
            spl,
            hwid,
            csp_id,
        })
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
        if fmc.is_some() {
            TcbLayout::Fmc
        } else {
            TcbLayout::Legacy
        }
    }

    /// Whether the certified TCB is `tcb`, component by component.
    #[must_use]
    pub fn certifies(&self, tcb: &Tcb) -> bool {
        let [_, boot_loader, tee, snp, _, _, _, _, microcode, fmc] = self.spl;
        [fmc, boot_loader, tee, snp, microcode]
            == [
                tcb.fmc,
                Some(tcb.boot_loader),
                Some(tcb.tee),
                Some(tcb.snp),
                Some(tcb.microcode),
            ]
    }

    /// Whether the chip id of a report is that of this certificate: the id, then zeros.
    #[must_use]
    pub fn names_chip(&self, chip_id: &[u8; 64]) -> bool {
        self.hwid.as_deref().is_some_and(|hwid| {
            chip_id
                .strip_prefix(hwid)
                .is_some_and(|rest| rest.iter().all(|b| *b == 0))
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
    let known = matches!(
        tlv.tag,
        tag::IA5_STRING | tag::UTF8_STRING | tag::PRINTABLE_STRING
    );
    let text = std::str::from_utf8(tlv.content).ok()?;
    (known && text.len() <= 256 && text.chars().all(|c| c.is_ascii_graphic() || c == ' '))
        .then(|| text.to_owned())
}

/// The chip id: bare octets as AMD writes them, or in the OCTET STRING the specification describes.
fn hardware_id(value: &[u8]) -> Option<Vec<u8>> {
    let id = match value.len() {
        8 | 64 => value,
        _ => single(value, tag::OCTET_STRING)?.content,
    };
    matches!(id.len(), 8 | 64).then(|| id.to_vec())
}
