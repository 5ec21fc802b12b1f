//! Writes crypto-agile event logs, and says which PCR values belong to them.

use std::collections::BTreeMap;

use crate::tpm::hash::Hash;

/// A crypto-agile log being written.
#[derive(Debug, Clone)]
pub struct LogBuilder {
    banks: Vec<Hash>,
    bytes: Vec<u8>,
    pcrs: BTreeMap<u8, Vec<u8>>,
}

impl LogBuilder {
    /// Starts a log with the Spec ID event of these banks; PCR values are kept for the first of them.
    pub fn new(banks: &[Hash]) -> Self {
        let mut spec = b"Spec ID Event03\0".to_vec();
        spec.extend_from_slice(&[0, 0, 0, 0, 0, 2, 0, 2]);
        spec.extend_from_slice(&(banks.len() as u32).to_le_bytes());
        for bank in banks {
            spec.extend_from_slice(&bank.id().to_le_bytes());
            spec.extend_from_slice(&(bank.size() as u16).to_le_bytes());
        }
        spec.push(0);
        let mut bytes = [0u32.to_le_bytes(), 3u32.to_le_bytes()].concat();
        bytes.extend_from_slice(&[0; 20]);
        bytes.extend_from_slice(&(spec.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&spec);
        Self {
            banks: banks.to_vec(),
            bytes,
            pcrs: BTreeMap::new(),
        }
    }

    /// Adds an event whose digest is the digest of its data.
    pub fn event(self, pcr: u8, kind: u32, data: &[u8]) -> Self {
        self.measured(pcr, kind, data, data)
    }

    /// Adds an event that measured `content` and carries `data`.
    pub fn measured(mut self, pcr: u8, kind: u32, content: &[u8], data: &[u8]) -> Self {
        let bank = self.banks[0];
        let digest = bank.digest(&[content]);
        if kind != crate::eventlog::kind::NO_ACTION {
            let value = self.pcrs.entry(pcr).or_insert_with(|| vec![0; bank.size()]);
            *value = bank.digest(&[value, &digest]);
        }
        self.bytes.extend_from_slice(&u32::from(pcr).to_le_bytes());
        self.bytes.extend_from_slice(&kind.to_le_bytes());
        self.bytes
            .extend_from_slice(&(self.banks.len() as u32).to_le_bytes());
        for bank in &self.banks {
            self.bytes.extend_from_slice(&bank.id().to_le_bytes());
            self.bytes.extend_from_slice(&bank.digest(&[content]));
        }
        self.bytes
            .extend_from_slice(&(data.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(data);
        self
    }

    /// Adds bytes as they are.
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// PCR values of the first bank after the events so far.
    pub fn pcrs(&self) -> &BTreeMap<u8, Vec<u8>> {
        &self.pcrs
    }

    /// The log.
    pub fn build(self) -> Vec<u8> {
        self.bytes
    }
}
