//! The attestation key of a piece, in whichever forms it came.

use super::{claims::AkClaims, error::PartError};
use crate::{
    bytes::Hex,
    part::{PublicKey, QuotePart},
    tpm::{
        public::{Attributes, Key, Public},
        signature::Signature,
    },
    verify::{certificate::key_of_spki, chain::Leaf},
};

/// The key, and its public area where one of the forms has it.
pub(super) struct AttestationKey {
    pub key: Key,
    pub public: Option<Public>,
}

impl AttestationKey {
    /// The key that every form, and the certificate where there is no other, agrees on.
    pub fn of(part: &QuotePart) -> Result<Self, PartError> {
        let mut found: Option<Self> = None;
        for form in &part.keys {
            let next = parse(form)?;
            match &mut found {
                None => found = Some(next),
                Some(first) if first.key == next.key => {
                    first.public = first.public.take().or(next.public);
                }
                Some(_) => return Err(PartError::KeysDiffer),
            }
        }
        if let Some(found) = found {
            return Ok(found);
        }
        if part.ak_certificate.is_empty() {
            return Err(PartError::NoKey);
        }
        let leaf = Leaf::read(&part.ak_certificate).map_err(PartError::AkCertificate)?;
        Ok(Self {
            key: leaf.key,
            public: None,
        })
    }

    /// Refuses a key that could sign something a TPM did not make. A bare key cannot be asked.
    pub fn check_attributes(&self) -> Result<(), PartError> {
        match &self.public {
            Some(public) if !public.attributes.is_attestation_key() => {
                Err(PartError::KeyAttributes {
                    found: public.attributes.0,
                })
            }
            _ => Ok(()),
        }
    }

    /// Refuses a signature by another scheme than the key is bound to.
    pub fn check_scheme(&self, number: usize, signature: &Signature) -> Result<(), PartError> {
        let found = (signature.value.scheme(), signature.hash);
        match self.public.as_ref().and_then(|public| public.scheme) {
            Some(bound) if (bound.scheme, bound.hash) != found => Err(PartError::Scheme {
                number,
                found: found.0,
                found_hash: found.1,
                bound: bound.scheme,
                bound_hash: bound.hash,
            }),
            _ => Ok(()),
        }
    }

    pub fn claims(&self) -> Option<AkClaims> {
        self.public.as_ref().map(|public| AkClaims {
            name: hex::encode(public.name()),
            attributes: Hex(public.attributes.0),
            restricted: public.attributes.has(Attributes::RESTRICTED),
        })
    }
}

fn parse(form: &PublicKey) -> Result<AttestationKey, PartError> {
    let refuse = |problem: &dyn ToString| PartError::MalformedKey {
        problem: problem.to_string(),
    };
    let public = match form {
        PublicKey::Tpmt(bytes) => Public::parse(bytes),
        PublicKey::Tpm2b(bytes) => Public::parse_sized(bytes),
        PublicKey::Spki(der) => {
            let key = key_of_spki(der).map_err(|problem| refuse(&problem))?;
            return Ok(AttestationKey { key, public: None });
        }
    };
    let public = public.map_err(|error| refuse(&error))?;
    Ok(AttestationKey {
        key: public.key.clone(),
        public: Some(public),
    })
}
