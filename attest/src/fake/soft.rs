//! A TPM made of one software key: signs any structure, true or not. For tests of what the verifier refuses.

use std::collections::BTreeMap;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};

use crate::{
    evidence::{Exchange, PcrBank, PcrValue, VtpmEvidence},
    tpm::{PCR_COUNT, attest, hash::Hash, name, public::Public},
};

/// Attributes of a genuine attestation key.
pub const AK_ATTRIBUTES: u32 = 0x0005_0472;
/// Attributes of a genuine endorsement key.
pub const EK_ATTRIBUTES: u32 = 0x0003_00b2;

/// A software key pair in the shape of a TPM.
#[derive(Debug)]
pub struct SoftTpm {
    key: EcdsaKeyPair,
    /// `TPMT_PUBLIC` of the attestation key.
    pub ak_public: Vec<u8>,
    /// `TPMT_PUBLIC` of the endorsement key, whose private half nobody has.
    pub ek_public: Vec<u8>,
}

/// The fields of a quote, each free to be wrong.
#[derive(Debug, Clone)]
pub struct QuoteParts {
    /// Magic.
    pub magic: u32,
    /// Attestation type.
    pub kind: u16,
    /// Qualified Name of the signer.
    pub signer: Vec<u8>,
    /// Qualifying data.
    pub extra_data: Vec<u8>,
    /// Bank number and selected PCRs.
    pub selections: Vec<(u16, Vec<u8>)>,
    /// Digest over the values.
    pub pcr_digest: Vec<u8>,
}

impl Default for SoftTpm {
    fn default() -> Self {
        Self::new()
    }
}

impl SoftTpm {
    /// Fresh keys.
    pub fn new() -> Self {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let other = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let ak_public = public(AK_ATTRIBUTES, &[0x00, 0x10, 0x00, 0x18, 0x00, 0x0b], &key);
        let aes = [0x00, 0x06, 0x00, 0x80, 0x00, 0x43, 0x00, 0x10];
        let ek_public = public(EK_ATTRIBUTES, &aes, &other);
        Self {
            key,
            ak_public,
            ek_public,
        }
    }

    /// Gives the attestation key other attributes (and so another Name).
    pub fn with_ak_attributes(mut self, attributes: u32) -> Self {
        self.ak_public[4..8].copy_from_slice(&attributes.to_be_bytes());
        self
    }

    /// What an honest TPM would quote: all PCRs of the SHA-256 bank, absent ones zero.
    pub fn honest(&self, exchange: &Exchange, pcrs: &BTreeMap<u8, Vec<u8>>) -> QuoteParts {
        let (ak, ek) = (
            Public::parse(&self.ak_public).unwrap(),
            Public::parse(&self.ek_public).unwrap(),
        );
        let parent = name::qualified_under_endorsement(ek.name_alg, &ek.name());
        let values = all(pcrs);
        let parts: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        QuoteParts {
            magic: attest::GENERATED,
            kind: attest::ST_QUOTE,
            signer: name::qualified(ak.name_alg, &parent, &ak.name()),
            extra_data: exchange.qualifying_data().to_vec(),
            selections: vec![(Hash::Sha256.id(), (0..PCR_COUNT).collect())],
            pcr_digest: Hash::Sha256.digest(&parts),
        }
    }

    /// Evidence with a quote of `parts`, properly signed.
    pub fn evidence(
        &self,
        parts: &QuoteParts,
        pcrs: &BTreeMap<u8, Vec<u8>>,
        event_log: Vec<u8>,
    ) -> VtpmEvidence {
        let quote = marshal(parts);
        let values = (0..)
            .zip(all(pcrs))
            .map(|(index, digest)| PcrValue { index, digest });
        VtpmEvidence {
            ak_public: self.ak_public.clone(),
            signature: self.sign(&quote),
            quote,
            pcrs: vec![PcrBank {
                alg: Hash::Sha256.id().into(),
                values: values.collect(),
            }],
            event_log,
            ek_public: self.ek_public.clone(),
            ek_certificate: Vec::new(),
            ek_chain: Vec::new(),
            ak_certificate: Vec::new(),
            ak_chain: Vec::new(),
        }
    }

    /// `TPMT_SIGNATURE` (ECDSA, SHA-256) over `message`.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signature = self.key.sign(&SystemRandom::new(), message).unwrap();
        let (r, s) = signature.as_ref().split_at(32);
        [&[0x00, 0x18, 0x00, 0x0b, 0x00, 0x20], r, &[0x00, 0x20], s].concat()
    }
}

fn all(pcrs: &BTreeMap<u8, Vec<u8>>) -> Vec<Vec<u8>> {
    let value = |pcr| pcrs.get(&pcr).cloned().unwrap_or_else(|| vec![0; 32]);
    (0..PCR_COUNT).map(value).collect()
}

/// A P-256 `TPMT_PUBLIC`; `parameters` are symmetric algorithm and scheme.
fn public(attributes: u32, parameters: &[u8], key: &EcdsaKeyPair) -> Vec<u8> {
    let point = key.public_key().as_ref();
    let mut out = vec![0x00, 0x23, 0x00, 0x0b];
    out.extend_from_slice(&attributes.to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(parameters);
    out.extend_from_slice(&[0x00, 0x03, 0x00, 0x10]);
    for coordinate in [&point[1..33], &point[33..]] {
        out.extend_from_slice(&[0x00, 0x20]);
        out.extend_from_slice(coordinate);
    }
    out
}

fn marshal(parts: &QuoteParts) -> Vec<u8> {
    let mut out = parts.magic.to_be_bytes().to_vec();
    out.extend_from_slice(&parts.kind.to_be_bytes());
    for field in [&parts.signer, &parts.extra_data] {
        out.extend_from_slice(&(field.len() as u16).to_be_bytes());
        out.extend_from_slice(field);
    }
    out.extend_from_slice(&[0; 16]); // clock, reset and restart counts
    out.push(1);
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&(parts.selections.len() as u32).to_be_bytes());
    for (bank, pcrs) in &parts.selections {
        out.extend_from_slice(&bank.to_be_bytes());
        let mut bits = [0u8; 3];
        pcrs.iter()
            .for_each(|pcr| bits[usize::from(pcr / 8)] |= 1 << (pcr % 8));
        out.push(3);
        out.extend_from_slice(&bits);
    }
    out.extend_from_slice(&(parts.pcr_digest.len() as u16).to_be_bytes());
    out.extend_from_slice(&parts.pcr_digest);
    out
}
