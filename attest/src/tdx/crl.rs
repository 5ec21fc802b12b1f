//! Revocation lists of the provisioning PKI.
//!
//! One list per CA, complete and direct (RFC 5280; Intel SGX PCK Certificate and CRL Specification). A list with a
//! critical extension is refused: it might not be what it looks like.

use std::collections::BTreeSet;

use jiff::Timestamp;
use x509_parser::{
    extensions::X509Extension, prelude::FromDer as _, revocation_list::CertificateRevocationList,
};

use super::{
    certificate::{Certificate, common_name, serial, signed_parts, verify_der},
    error::{Chain, Part, TdxError},
};

/// Most bytes of a CRL: Intel's have a few KiB.
const MAX_CRL_LEN: usize = 4 << 20;

/// A list whose signature was verified with its issuer's key.
#[derive(Debug, Clone)]
pub(super) struct Crl {
    part: Part,
    issuer: String,
    issuer_der: Vec<u8>,
    issuer_key: [u8; 65],
    serials: BTreeSet<Vec<u8>>,
    /// When the list was made.
    pub this_update: Timestamp,
    /// When the next one is due.
    pub next_update: Timestamp,
}

impl Crl {
    /// Reads a list and verifies that `issuer` signed it.
    pub fn check(part: Part, der: &[u8], issuer: &Certificate) -> Result<Self, TdxError> {
        let refuse = |why: &str| TdxError::Collateral {
            part,
            why: why.into(),
        };
        if der.len() > MAX_CRL_LEN {
            return Err(refuse("it is larger than any CRL of this PKI"));
        }
        let (rest, crl) = CertificateRevocationList::from_der(der)
            .map_err(|_| refuse("it is not a CRL in DER"))?;
        if !rest.is_empty() {
            return Err(refuse("bytes follow after the CRL"));
        }
        if crl.issuer().as_raw() != issuer.subject_der {
            let (found, wanted) = (common_name(crl.issuer()), issuer.subject.clone());
            return Err(TdxError::CrlIssuer {
                part,
                found,
                wanted,
            });
        }
        let holds = |(tbs, signature)| verify_der(&issuer.public_key, tbs, signature);
        if !signed_parts(der).is_some_and(holds) {
            return Err(TdxError::CrlSignature { part });
        }
        let critical =
            |entries: &[X509Extension<'_>]| entries.iter().any(|extension| extension.critical);
        if critical(crl.extensions())
            || crl
                .iter_revoked_certificates()
                .any(|entry| critical(entry.extensions()))
        {
            return Err(refuse(
                "it has a critical extension; only complete, direct CRLs are known",
            ));
        }
        let next = crl
            .next_update()
            .ok_or_else(|| refuse("it has no next update"))?;
        let date =
            |seconds| Timestamp::from_second(seconds).map_err(|_| refuse("a date is out of range"));
        Ok(Self {
            part,
            issuer: issuer.subject.clone(),
            issuer_der: issuer.subject_der.clone(),
            issuer_key: issuer.public_key,
            serials: crl
                .iter_revoked_certificates()
                .map(|entry| serial(entry.raw_serial()))
                .collect(),
            this_update: date(crl.last_update().timestamp())?,
            next_update: date(next.timestamp())?,
        })
    }

    /// Judges the list's own dates.
    pub fn check_dates(&self, now: Timestamp) -> Result<(), TdxError> {
        let part = self.part;
        if now < self.this_update {
            let from = self.this_update;
            return Err(TdxError::CrlNotYetValid { part, from, now });
        }
        if now > self.next_update {
            let until = self.next_update;
            return Err(TdxError::CrlExpired { part, until, now });
        }
        Ok(())
    }

    /// Refuses unless the list is of the CA `issuer`: the one that issued the certificates to be looked up.
    pub fn check_issuer(&self, issuer: &Certificate) -> Result<(), TdxError> {
        if self.issuer_der == issuer.subject_der && self.issuer_key == issuer.public_key {
            return Ok(());
        }
        Err(TdxError::CrlIssuer {
            part: self.part,
            found: self.issuer.clone(),
            wanted: issuer.subject.clone(),
        })
    }

    /// Refuses a certificate that is on the list.
    pub fn check_revoked(&self, chain: Chain, cert: &Certificate) -> Result<(), TdxError> {
        if !self.serials.contains(&cert.serial) {
            return Ok(());
        }
        Err(TdxError::Revoked {
            chain,
            subject: cert.subject.clone(),
            serial: hex::encode(&cert.serial),
        })
    }
}
