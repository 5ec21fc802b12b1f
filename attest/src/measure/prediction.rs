//! Events being collected, with the register values they give.

use std::collections::BTreeMap;

use super::PredictedEvent;
use crate::tpm::hash::Hash;

/// Something firmware, boot loader or kernel measures: an event type, the bytes whose digest is extended, and what
/// they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Measured {
    /// Event type, as in [`crate::eventlog::kind`].
    pub kind: u32,
    /// What is digested.
    pub content: Content,
    /// What it is, for people.
    pub description: String,
}

/// Bytes to digest, or a digest that is known already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// Bytes.
    Bytes(Vec<u8>),
    /// A digest of the bank's size.
    Digest(Vec<u8>),
}

impl Measured {
    /// An event whose digest is that of `bytes`.
    pub(super) fn bytes(
        kind: u32,
        bytes: impl Into<Vec<u8>>,
        description: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            content: Content::Bytes(bytes.into()),
            description: description.into(),
        }
    }

    /// An event with a digest.
    pub(super) fn digest(kind: u32, digest: Vec<u8>, description: impl Into<String>) -> Self {
        Self {
            kind,
            content: Content::Digest(digest),
            description: description.into(),
        }
    }
}

/// Registers of one bank: PCRs, or a TD's measurement registers.
#[derive(Debug)]
pub(super) struct Prediction {
    hash: Hash,
    registers: BTreeMap<u8, Vec<u8>>,
    events: Vec<PredictedEvent>,
}

impl Prediction {
    /// No register yet.
    pub(super) fn new(hash: Hash) -> Self {
        Self {
            hash,
            registers: BTreeMap::new(),
            events: Vec::new(),
        }
    }

    /// A register that stays at its start value unless something is added.
    pub(super) fn start(&mut self, register: u8) {
        let size = self.hash.size();
        self.registers
            .entry(register)
            .or_insert_with(|| vec![0; size]);
    }

    /// Adds an event.
    pub(super) fn add(&mut self, register: u8, event: Measured) {
        let digest = match event.content {
            Content::Bytes(bytes) => self.hash.digest(&[&bytes]),
            Content::Digest(digest) => digest,
        };
        self.start(register);
        if let Some(value) = self.registers.get_mut(&register) {
            *value = self.hash.digest(&[value, &digest]);
        }
        self.events.push(PredictedEvent {
            pcr: register,
            event_type: crate::eventlog::kind::name(event.kind),
            digest: hex::encode(digest),
            description: event.description,
        });
    }

    /// Adds an event that measures the given bytes.
    pub(super) fn measure(&mut self, register: u8, kind: u32, content: &[u8], description: &str) {
        self.add(register, Measured::bytes(kind, content, description));
    }

    /// Registers as hex, and the events in their order.
    pub(super) fn finish(self) -> (BTreeMap<u8, String>, Vec<PredictedEvent>) {
        let registers = self.registers.into_iter();
        let registers = registers.map(|(register, value)| (register, hex::encode(value)));
        (registers.collect(), self.events)
    }
}
