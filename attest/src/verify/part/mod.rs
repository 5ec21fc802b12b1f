//! Judges pieces of evidence that come alone, see [`Part`].
//!
//! [`read`] says what a piece says, [`super::verify`] whether it holds. What a piece lacks is not held against it: a log
//! without PCR values proves nothing and is accepted as a log; its claims say what it was compared with.

mod amd;
mod certificate;
pub mod claims;
mod error;
mod ima;
mod key;
mod log;
mod quote;
mod rtmr;

pub use claims::PartClaims;
pub use error::PartError;

use rustls_pki_types::UnixTime;

use super::{Collateral, Roots};
use crate::{
    claims::Claims,
    evidence::{Binder, KIND_PART},
    part::Part,
};

/// Verifies a piece.
///
/// Only a quote carries what an exchange or a nonce can be compared with; with another piece a binder is refused, so
/// that nobody takes it for fresh.
pub(super) fn verify(
    part: &Part,
    binder: &Binder,
    roots: &Roots,
    collateral: &Collateral,
    now: UnixTime,
) -> Result<Claims, PartError> {
    if !matches!(part, Part::Quote(_)) && *binder != Binder::Unknown {
        return Err(PartError::NothingToBind { part: part.name() });
    }
    let (found, source) = match part {
        Part::Quote(part) => (
            PartClaims::Quote(quote::verify(part, binder, roots, collateral, now)?),
            "quotes, signed by the attestation key",
        ),
        Part::EventLog(part) => (
            PartClaims::EventLog(log::verify(part)?),
            "the event log; nothing signed vouches for it",
        ),
        Part::RtmrLog(part) => (
            PartClaims::RtmrLog(rtmr::verify(part, roots, collateral, now)?),
            "the event log; as far as there is a quote, digests replay to its RTMRs",
        ),
        Part::Ima(part) => (
            PartClaims::Ima(ima::verify(part)?),
            "the measurement list; nothing signed vouches for it",
        ),
        Part::Certificate(part) => (
            PartClaims::Certificate(certificate::verify(part, roots, collateral, now)?),
            "the certificate; as far as a path was asked for, signed by its issuers",
        ),
        Part::AmdCertificate(part) => (
            PartClaims::AmdCertificate(amd::certificate(part, roots, collateral, now)?),
            "the certificate, signed by AMD",
        ),
        Part::AmdCrl(part) => (
            PartClaims::AmdCrl(amd::crl(part, roots, now)?),
            "the revocation list, signed by AMD",
        ),
    };
    let mut claims = Claims::new(KIND_PART, None, binder);
    claims.part = Some(found);
    claims.source("part", source);
    Ok(claims)
}

/// What a piece says, as far as it can be read. Nothing is verified, except that AMD's revocation lists are not read
/// before their signature held under the ARK beside them.
///
/// # Errors
/// [`PartError`] where the piece is malformed.
pub fn read(part: &Part) -> Result<PartClaims, PartError> {
    Ok(match part {
        Part::Quote(part) => PartClaims::Quote(quote::read(part)?),
        Part::EventLog(part) => PartClaims::EventLog(log::read(part)?),
        Part::RtmrLog(part) => PartClaims::RtmrLog(rtmr::read(part)?),
        Part::Ima(part) => PartClaims::Ima(ima::read(part)?),
        Part::Certificate(part) => PartClaims::Certificate(certificate::read(part)?),
        Part::AmdCertificate(part) => PartClaims::AmdCertificate(amd::read_certificate(part)?),
        Part::AmdCrl(part) => PartClaims::AmdCrl(amd::read_crl(part)?),
    })
}
