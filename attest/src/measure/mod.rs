//! Predicts from an image file alone the PCR values that booting it will produce.
//!
//! What is predicted assumes what a measured image promises: UEFI firmware that measures as the TCG's PC Client
//! profile says, boots the image as its first boot option, passes no load options, and finds no add-on, credential
//! or extension file next to the image. Where one of these does not hold, PCR 4, 12 or 13 differ, and policy sees it.

mod cmdline;
mod cpio;
mod error;
mod pe;
mod stub;
mod uki;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use error::MeasureError;
pub use uki::uki;

use crate::tpm::hash::Hash;

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

/// Events being collected, with the PCR values they give.
#[derive(Debug, Default)]
struct Prediction {
    pcrs: BTreeMap<u8, Vec<u8>>,
    events: Vec<PredictedEvent>,
}

impl Prediction {
    /// A PCR that stays at its start value unless something is added.
    fn start(&mut self, pcr: u8) {
        self.pcrs.entry(pcr).or_insert_with(|| vec![0; 32]);
    }

    /// Adds an event that measures the given bytes.
    fn measure(&mut self, pcr: u8, kind: u32, content: &[u8], description: &str) {
        self.extend(pcr, kind, Hash::Sha256.digest(&[content]), description);
    }

    /// Adds an event with a digest.
    fn extend(&mut self, pcr: u8, kind: u32, digest: Vec<u8>, description: &str) {
        self.start(pcr);
        if let Some(value) = self.pcrs.get_mut(&pcr) {
            *value = Hash::Sha256.digest(&[value, &digest]);
        }
        self.events.push(PredictedEvent {
            pcr,
            event_type: crate::eventlog::kind::name(kind),
            digest: hex::encode(digest),
            description: description.to_owned(),
        });
    }
}
