//! Evidence of confidential VMs and TPMs: collecting it on a node, judging it at the key service, and
//! predicting its reference values from an image.
//!
//! The crate knows no message, disk, key or policy. It has three sides, each behind a feature:
//!
//! | side | feature | entry |
//! |---|---|---|
//! | collect | `collect` | `collect::Attester`, implemented by `collect::vtpm::Vtpm` |
//! | verify | `verify` | `verify::verify`, which returns [`Verified`](claims::Verified) claims or a named refusal |
//! | measure | `measure` | `measure::uki`, the PCR values a unified kernel image will produce |
//!
//! A fourth feature, `trustee`, shows collected evidence to a key service that is not Dawnkey's.
//!
//! What all sides share is always compiled and does no I/O: the wire form of evidence ([`evidence`]) and total,
//! bounded parsers of hostile bytes ([`tpm`], [`eventlog`], [`snp`], [`tdx`]). What verified evidence says is one
//! structure for all kinds, [`claims::Claims`].

pub mod azure;
pub mod bytes;
#[cfg(any(feature = "collect", feature = "verify"))]
pub mod cel;
#[cfg(feature = "verify")]
pub mod claims;
#[cfg(feature = "verify")]
mod der;
pub mod enrolment;
pub mod eventlog;
pub mod evidence;
pub mod ima;
pub mod part;
pub mod reader;
pub mod snp;
pub mod tdx;
pub mod tpm;
#[cfg(feature = "trustee")]
pub mod trustee;

#[cfg(feature = "verify")]
pub mod verify;

#[cfg(feature = "collect")]
pub mod collect;
#[cfg(any(test, feature = "fake"))]
pub mod fake;
#[cfg(feature = "measure")]
pub mod measure;
