//! Revocation lists of AMD's key distribution: signed by an ARK (or, should AMD ever publish such, an ASK).
//!
//! VCEKs all carry serial number 0, so a list of the ARK says nothing about them; it names ASKs and ASVKs.

use super::certs::Certificate;
use super::chain::{Chain, name};
use super::error::{Role, SnpError};
use super::pss;
use super::roots::Roots;
use crate::der::{Reader, Signed, Tlv, rfc3339, tag, time, unsigned};

/// Largest revocation list read, bytes.
pub const MAX_CRL: usize = 1 << 20;

/// A revocation list whose signature holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crl {
    /// Issuer name, DER.
    pub issuer: Vec<u8>,
    /// When it was made, seconds since 1970.
    pub this_update: u64,
    /// When it is to be replaced, seconds since 1970.
    pub next_update: u64,
    /// Revoked serial numbers, big-endian digits.
    pub revoked: Vec<Vec<u8>>,
}

impl Crl {
    /// Checks the signature of a list, then reads it.
    ///
    /// # Errors
    /// `CrlMalformed`, `CrlSignatureInvalid`, `CrlIssuerMismatch`.
    pub fn verify(der: &[u8], issuer: &Certificate) -> Result<Self, SnpError> {
        if der.len() > MAX_CRL {
            return Err(SnpError::CrlMalformed("length is over 1 MiB"));
        }
        let signed =
            Signed::parse(der).ok_or(SnpError::CrlMalformed("outer structure is malformed"))?;
        let held = match issuer.rsa_key() {
            Some(key) if pss::is_amd_algorithm(signed.algorithm) => {
                pss::verify(key, signed.tbs.whole, signed.signature).is_ok()
            }
            _ => false,
        };
        if !held {
            return Err(SnpError::CrlSignatureInvalid {
                issuer: name(&issuer.subject),
            });
        }
        let crl = read(&signed)?;
        if crl.issuer != issuer.subject {
            return Err(SnpError::CrlIssuerMismatch {
                issuer: name(&crl.issuer),
                signer: name(&issuer.subject),
            });
        }
        Ok(crl)
    }

    /// Checks that the list is current at `now`, seconds since 1970.
    ///
    /// # Errors
    /// `CrlExpired`, `CrlNotYetValid`.
    pub fn current_at(&self, now: u64) -> Result<(), SnpError> {
        let issuer = name(&self.issuer);
        if now < self.this_update {
            return Err(SnpError::CrlNotYetValid {
                issuer,
                this_update: rfc3339(self.this_update),
            });
        }
        if now > self.next_update {
            return Err(SnpError::CrlExpired {
                issuer,
                next_update: rfc3339(self.next_update),
            });
        }
        Ok(())
    }

    /// Common name of the issuer.
    #[must_use]
    pub fn issuer_name(&self) -> String {
        name(&self.issuer)
    }

    /// Whether the list revokes `certificate`: same issuer, listed serial.
    #[must_use]
    pub fn revokes(&self, certificate: &Certificate) -> bool {
        certificate.issuer == self.issuer && self.revoked.contains(&certificate.serial)
    }
}

/// Judges a chain by the lists at hand. Lists of other trusted roots are passed over; a list that is of nobody
/// known, or not what it claims, is refused. With `required`, a list of the chain's root must be there.
pub(super) fn check(
    chain: &Chain,
    crls: &[&[u8]],
    roots: &Roots,
    required: bool,
    now: u64,
) -> Result<(), SnpError> {
    let mut by_root = false;
    for der in crls {
        let Some(issuer) = issuer_of(der) else {
            return Err(SnpError::CrlMalformed("outer structure is malformed"));
        };
        let signer = [&chain.root, &chain.intermediate]
            .into_iter()
            .find(|c| c.subject == issuer);
        let Some(signer) = signer else {
            if roots.roots().iter().any(|root| root.subject == issuer) {
                continue;
            }
            return Err(SnpError::CrlSignatureInvalid {
                issuer: name(&issuer),
            });
        };
        let crl = Crl::verify(der, signer)?;
        crl.current_at(now)?;
        by_root |= signer.der() == chain.root.der();
        let levels = [
            (Role::Ark, &chain.root),
            (Role::Ask, &chain.intermediate),
            (Role::Vek, &chain.certificate),
        ];
        for (role, certificate) in levels {
            if crl.revokes(certificate) {
                return Err(SnpError::Revoked {
                    role,
                    serial: hex::encode(&certificate.serial),
                });
            }
        }
    }
    if required && !by_root {
        return Err(SnpError::CrlMissing {
            issuer: name(&chain.root.subject),
        });
    }
    Ok(())
}

/// The issuer a list claims, without any check.
fn issuer_of(der: &[u8]) -> Option<Vec<u8>> {
    let signed = Signed::parse(der).filter(|_| der.len() <= MAX_CRL)?;
    let mut tbs = Reader::new(signed.tbs.content);
    tbs.optional(tag::INTEGER);
    tbs.expect(tag::SEQUENCE)?;
    Some(tbs.expect(tag::SEQUENCE)?.whole.to_vec())
}

fn read(signed: &Signed<'_>) -> Result<Crl, SnpError> {
    let malformed = |part| move || SnpError::CrlMalformed(part);
    let mut tbs = Reader::new(signed.tbs.content);
    if tbs
        .optional(tag::INTEGER)
        .is_some_and(|version| version.content != [1])
    {
        return Err(SnpError::CrlMalformed("version is not 2"));
    }
    let inner = tbs
        .expect(tag::SEQUENCE)
        .filter(|inner| inner.whole == signed.algorithm);
    inner.ok_or_else(malformed("inner and outer signature algorithm differ"))?;
    let issuer = tbs
        .expect(tag::SEQUENCE)
        .ok_or_else(malformed("issuer is malformed"))?
        .whole
        .to_vec();
    let mut date = || tbs.any().as_ref().and_then(time);
    let this_update = date().ok_or_else(malformed("this update is malformed"))?;
    let next_update = date().ok_or_else(malformed("next update is missing or malformed"))?;
    let revoked = match tbs.optional(tag::SEQUENCE) {
        Some(list) => {
            serials(&list).ok_or_else(malformed("list of serial numbers is malformed"))?
        }
        None => Vec::new(),
    };
    // Extensions: only ones that do not narrow the list's scope may be left unread.
    let critical = tbs
        .optional(tag::CONTEXT_0)
        .map_or(Some(false), |extensions| has_critical(&extensions));
    if critical.ok_or_else(malformed("extensions are malformed"))? {
        return Err(SnpError::CrlMalformed(
            "extensions hold a critical one that is not known",
        ));
    }
    if !tbs.is_empty() {
        return Err(SnpError::CrlMalformed("content has trailing fields"));
    }
    Ok(Crl {
        issuer,
        this_update,
        next_update,
        revoked,
    })
}

fn serials(list: &Tlv<'_>) -> Option<Vec<Vec<u8>>> {
    let mut entries = Reader::new(list.content);
    let mut serials = Vec::new();
    while !entries.is_empty() {
        let mut entry = Reader::new(entries.expect(tag::SEQUENCE)?.content);
        serials.push(unsigned(&entry.expect(tag::INTEGER)?)?.to_vec());
        time(&entry.any()?)?;
        entry.optional(tag::SEQUENCE);
        if !entry.is_empty() {
            return None;
        }
    }
    Some(serials)
}

fn has_critical(extensions: &Tlv<'_>) -> Option<bool> {
    let mut list = Reader::new(crate::der::single(extensions.content, tag::SEQUENCE)?.content);
    let mut critical = false;
    while !list.is_empty() {
        let mut fields = Reader::new(list.expect(tag::SEQUENCE)?.content);
        fields.expect(tag::OID)?;
        critical |= fields
            .optional(tag::BOOLEAN)
            .is_some_and(|flag| flag.content != [0]);
        fields.expect(tag::OCTET_STRING)?;
    }
    Some(critical)
}
