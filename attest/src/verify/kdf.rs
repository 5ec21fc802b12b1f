//! Key derivation of TPM 2.0 (Part 1, clause 11.4.10): KDFa and KDFe.

use hmac::{Hmac, Mac};
use sha2::{Sha256, Sha384, Sha512};
use zeroize::Zeroizing;

use crate::tpm::hash::Hash;

/// The digest has no HMAC here (SHA-1 endorsement keys are not supported).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unsupported;

/// HMAC over the parts.
pub(super) fn hmac(hash: Hash, key: &[u8], parts: &[&[u8]]) -> Result<Vec<u8>, Unsupported> {
    match hash {
        Hash::Sha256 => mac::<Hmac<Sha256>>(key, parts),
        Hash::Sha384 => mac::<Hmac<Sha384>>(key, parts),
        Hash::Sha512 => mac::<Hmac<Sha512>>(key, parts),
        Hash::Sha1 => Err(Unsupported),
    }
}

fn mac<M: Mac + hmac::digest::KeyInit>(
    key: &[u8],
    parts: &[&[u8]],
) -> Result<Vec<u8>, Unsupported> {
    let mut mac = <M as Mac>::new_from_slice(key).map_err(|_| Unsupported)?;
    for part in parts {
        mac.update(part);
    }
    Ok(mac.finalize().into_bytes().to_vec())
}

/// KDFa: HMAC in counter mode. `bits` is a multiple of 8; `label` comes without its terminating NUL.
pub(super) fn kdfa(
    hash: Hash,
    key: &[u8],
    label: &[u8],
    context_u: &[u8],
    context_v: &[u8],
    bits: u16,
) -> Result<Zeroizing<Vec<u8>>, Unsupported> {
    expand(hash, bits, |counter| {
        let parts: [&[u8]; 6] = [
            &counter.to_be_bytes(),
            label,
            &[0],
            context_u,
            context_v,
            &u32::from(bits).to_be_bytes(),
        ];
        hmac(hash, key, &parts)
    })
}

/// KDFe: digest in counter mode over the shared secret `z` of an ECDH exchange.
pub(super) fn kdfe(
    hash: Hash,
    z: &[u8],
    label: &[u8],
    party_u: &[u8],
    party_v: &[u8],
    bits: u16,
) -> Result<Zeroizing<Vec<u8>>, Unsupported> {
    expand(hash, bits, |counter| {
        let parts: [&[u8]; 6] = [&counter.to_be_bytes(), z, label, &[0], party_u, party_v];
        Ok(hash.digest(&parts))
    })
}

fn expand(
    hash: Hash,
    bits: u16,
    mut block: impl FnMut(u32) -> Result<Vec<u8>, Unsupported>,
) -> Result<Zeroizing<Vec<u8>>, Unsupported> {
    let wanted = usize::from(bits / 8);
    let mut out = Zeroizing::new(Vec::with_capacity(wanted + hash.size()));
    let mut counter = 1u32;
    while out.len() < wanted {
        out.extend_from_slice(&Zeroizing::new(block(counter)?));
        counter += 1;
    }
    out.truncate(wanted);
    Ok(out)
}
