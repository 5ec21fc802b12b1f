//! Predicts from files alone what booting them will be measured as: PCRs of a unified kernel image ([`uki()`]), and
//! the registers of a TD ([`tdx`]). The launch digest of an SNP guest is in [`crate::snp::launch`].
//!
//! What is predicted assumes what a measured image promises: UEFI firmware that measures as the TCG's PC Client
//! profile says, boots the image as its first boot option, passes no load options, and finds no add-on, credential
//! or extension file next to the image. Where one of these does not hold, PCR 4, 12 or 13 differ, and policy sees it.

mod authenticode;
mod cmdline;
mod cpio;
mod error;
pub mod guid;
mod pe;
mod prediction;
#[cfg(test)]
mod recorded;
mod secure_boot;
pub mod signature_list;
mod stub;
pub mod tdx;
mod uki;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use error::MeasureError;
pub use secure_boot::{SecureBoot, SecureBootMode};
pub use uki::uki;

/// An event that booting will log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PredictedEvent {
    /// PCR it goes into.
    pub pcr: u8,
    /// Event type, as in the TCG's tables.
    pub event_type: String,
    /// Hex SHA-256 digest that is extended.
    pub digest: String,
    /// What it measures.
    pub description: String,
}

/// PCR values a unified kernel image will produce.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UkiMeasurements {
    /// Version text of the systemd-stub in the image.
    pub stub: String,
    /// Values of the SHA-256 bank, hex. A PCR that cannot be predicted exactly is absent.
    pub sha256: BTreeMap<u8, String>,
    /// The events behind them, in the order they are extended.
    pub events: Vec<PredictedEvent>,
    /// Why a PCR is absent.
    pub notes: Vec<String>,
}
