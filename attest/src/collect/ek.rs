//! The endorsement key: the one the vendor certified, persistent or made anew from its template.
//!
//! Source: TCG EK Credential Profile for TPM 2.0, version 2.5, clauses 2.2.1 (NV indices) and B (templates).

use tss_esapi::{
    Context,
    abstraction::{AsymmetricAlgorithmSelection, ek},
    constants::CapabilityType,
    handles::{KeyHandle, PersistentTpmHandle, TpmHandle},
    interface_types::{ecc::EccCurve, key_bits::RsaKeyBits, resource_handles::Hierarchy},
    structures::CapabilityData,
    traits::Marshall as _,
};

use super::{
    error::{CollectError, Doing as _},
    nv,
    pcr::tss_hash,
    session::{self, Parameters},
};
use crate::tpm::public::{Attributes, Curve, Key, Public};

/// First NV index of a certificate chain the vendor may have stored.
const CHAIN_FIRST: u32 = 0x01c0_0100;
/// Last NV index of it.
const CHAIN_LAST: u32 = 0x01c0_01ff;
/// Certificates taken from the chain, and bytes it may have altogether.
const CHAIN_MOST: (usize, usize) = (4, 32 * 1024);

const READ_CERTIFICATE: &str = "read the endorsement certificate";

/// An endorsement key a vendor may have provisioned.
struct Candidate {
    certificate: u32,
    persistent: u32,
    template: AsymmetricAlgorithmSelection,
}

/// Candidates in order of preference.
const CANDIDATES: [Candidate; 4] = [
    Candidate {
        certificate: 0x01c0_0002,
        persistent: 0x8101_0001,
        template: AsymmetricAlgorithmSelection::Rsa(RsaKeyBits::Rsa2048),
    },
    Candidate {
        certificate: 0x01c0_000a,
        persistent: 0x8101_0002,
        template: AsymmetricAlgorithmSelection::Ecc(EccCurve::NistP256),
    },
    Candidate {
        certificate: 0x01c0_0016,
        persistent: 0x8101_0016,
        template: AsymmetricAlgorithmSelection::Ecc(EccCurve::NistP384),
    },
    Candidate {
        certificate: 0x01c0_001c,
        persistent: 0x8101_001c,
        template: AsymmetricAlgorithmSelection::Rsa(RsaKeyBits::Rsa3072),
    },
];

/// A loaded endorsement key.
pub(super) struct EndorsementKey {
    /// Handle in the TSS.
    pub handle: KeyHandle,
    /// Its public area.
    pub public: Public,
    /// Its certificate as stored, possibly padded; empty if there is none.
    pub certificate: Vec<u8>,
    /// Intermediate certificates the vendor stored.
    pub chain: Vec<Vec<u8>>,
}

impl EndorsementKey {
    /// Opens the first key that has a certificate, or the RSA-2048 key without one.
    pub(super) fn open(context: &mut Context) -> Result<Self, CollectError> {
        let indices = handles(context, 0x0100_0000, 254)?;
        let certified = CANDIDATES
            .iter()
            .find(|one| indices.contains(&one.certificate));
        let [default, ..] = &CANDIDATES;
        let chosen = certified.unwrap_or(default);
        let (handle, public) = load(context, chosen)?;
        let mut key = Self {
            handle,
            public,
            certificate: Vec::new(),
            chain: Vec::new(),
        };
        if certified.is_some() {
            key.certificate = nv::read(context, handle, chosen.certificate, READ_CERTIFICATE)?;
            key.chain = chain(context, handle, &indices)?;
        }
        Ok(key)
    }

    /// Runs `f` with a session that authorises use of the key: its policy, or its (empty) authorisation value where
    /// the template allows that.
    pub(super) fn with_use<T>(
        &self,
        context: &mut Context,
        parameters: Parameters,
        f: impl FnOnce(
            &mut Context,
            tss_esapi::interface_types::session_handles::AuthSession,
        ) -> Result<T, CollectError>,
    ) -> Result<T, CollectError> {
        if self.public.attributes.has(Attributes::USER_WITH_AUTH) {
            return match parameters {
                Parameters::Encrypted => session::with_hmac(context, self.handle, f),
                Parameters::Plain => session::with_plain_hmac(context, self.handle, f),
            };
        }
        let hash = tss_hash(self.public.name_alg);
        session::with_endorsement_policy(context, self.handle, hash, parameters, f)
    }
}

/// The persistent key if it is of the candidate's kind, else a key made from the template.
fn load(context: &mut Context, chosen: &Candidate) -> Result<(KeyHandle, Public), CollectError> {
    if let Some(handle) = persistent(context, chosen.persistent)? {
        let public = read_public(context, handle)?.0;
        if is_of_kind(&public, chosen.template) {
            return Ok((handle, public));
        }
    }
    let template = ek::create_ek_public_from_default_template_2(chosen.template, None)
        .doing("build the endorsement key's template")?;
    let made = context.execute_with_nullauth_session(|context| {
        context.create_primary(Hierarchy::Endorsement, template, None, None, None, None)
    });
    let made = made.doing("make the endorsement key from its template")?;
    let public = read_public(context, made.key_handle)?.0;
    Ok((made.key_handle, public))
}

fn is_of_kind(public: &Public, template: AsymmetricAlgorithmSelection) -> bool {
    let kind = match (&public.key, template) {
        (Key::Rsa { modulus, .. }, AsymmetricAlgorithmSelection::Rsa(bits)) => {
            modulus.len() * 8 == usize::from(u16::from(bits))
        }
        (
            Key::Ecc {
                curve: Curve::P256, ..
            },
            AsymmetricAlgorithmSelection::Ecc(curve),
        ) => curve == EccCurve::NistP256,
        (
            Key::Ecc {
                curve: Curve::P384, ..
            },
            AsymmetricAlgorithmSelection::Ecc(curve),
        ) => curve == EccCurve::NistP384,
        _ => false,
    };
    kind && public.attributes.is_endorsement_key()
}

/// The key at a persistent handle, if there is one.
pub(super) fn persistent(
    context: &mut Context,
    handle: u32,
) -> Result<Option<KeyHandle>, CollectError> {
    if !handles(context, handle, 1)?.contains(&handle) {
        return Ok(None);
    }
    let doing = "open a persistent key";
    let handle = PersistentTpmHandle::new(handle).doing(doing)?;
    let object = context.execute_without_session(|context| {
        context.tr_from_tpm_public(TpmHandle::Persistent(handle))
    });
    Ok(Some(object.doing(doing)?.into()))
}

/// Public area and Qualified Name of a key; the Name the TPM gives must be the one computed from the area.
pub(super) fn read_public(
    context: &mut Context,
    handle: KeyHandle,
) -> Result<(Public, Vec<u8>), CollectError> {
    let doing = "read a key's public area";
    let read = context.execute_without_session(|context| context.read_public(handle));
    let (public, name, qualified) = read.doing(doing)?;
    let bytes = public.marshall().doing(doing)?;
    let public = Public::parse(&bytes).map_err(|source| CollectError::Structure {
        what: "TPMT_PUBLIC",
        source,
    })?;
    if public.name() != name.value() {
        return Err(CollectError::Answer {
            doing,
            problem: "the Name is not the digest of the public area",
        });
    }
    Ok((public, qualified.value().to_vec()))
}

/// Handles the TPM has, from `first` on, at most `most`.
pub(super) fn handles(
    context: &mut Context,
    first: u32,
    most: u32,
) -> Result<Vec<u32>, CollectError> {
    let doing = "list its handles";
    let listed = context.execute_without_session(|context| {
        context.get_capability(CapabilityType::Handles, first, most)
    });
    match listed.doing(doing)? {
        (CapabilityData::Handles(list), _) => Ok(list.iter().map(|one| u32::from(*one)).collect()),
        _ => Err(CollectError::Answer {
            doing,
            problem: "another capability",
        }),
    }
}

/// The vendor's chain: one stream of DER certificates over consecutive NV indices.
fn chain(
    context: &mut Context,
    salt_key: KeyHandle,
    indices: &[u32],
) -> Result<Vec<Vec<u8>>, CollectError> {
    let mut stream = Vec::new();
    for index in indices
        .iter()
        .filter(|index| (CHAIN_FIRST..=CHAIN_LAST).contains(*index))
    {
        stream.extend_from_slice(&nv::read(context, salt_key, *index, READ_CERTIFICATE)?);
        if stream.len() > CHAIN_MOST.1 {
            break;
        }
    }
    Ok(split_der(&stream))
}

/// Cuts a stream of DER SEQUENCEs; whatever is no SEQUENCE ends it.
fn split_der(mut stream: &[u8]) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    while let [0x30, 0x82, high, low, ..] = stream {
        let length = 4 + usize::from(u16::from_be_bytes([*high, *low]));
        let Some((one, rest)) = stream.split_at_checked(length) else {
            break;
        };
        if out.len() == CHAIN_MOST.0 {
            break;
        }
        out.push(one.to_vec());
        stream = rest;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_a_chain_and_stops_at_padding() {
        let one = [&[0x30, 0x82, 0, 1][..], &[7]].concat();
        let stream = [one.as_slice(), &one, &[0, 0, 0]].concat();
        assert_eq!(split_der(&stream), vec![one.clone(), one]);
        assert!(split_der(&[0x30, 0x82, 0xff, 0xff, 1]).is_empty());
    }
}
