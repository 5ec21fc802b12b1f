//! TCG event logs: what firmware, boot loader and kernel say they measured.
//!
//! A log proves nothing by itself: anyone may have written it. It becomes evidence when replaying it gives the
//! PCR values a genuine quote vouches for ([`replay`]); even then only an event's digest is proven, its text only as far
//! as the digest is the digest of that text ([`proof`]).
//!
//! Sources: TCG PC Client Platform Firmware Profile 1.06 (crypto-agile log, clause 10), TCG EFI Platform
//! Specification for TPM 1.2 (the older, SHA-1 only log).

pub mod describe;
pub mod kind;
pub mod parse;
pub mod proof;
pub mod replay;
pub mod uefi;

pub use parse::{Bank, Digest, Event, EventLog, Limits, LogError, Padding};
pub use replay::{Replay, ReplayError};
