//! The lease token: what the holder of a volume in the running system renews its lease with.

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use dawnkey_secret::{ConfirmToken, LeaseToken};
use std::convert::Infallible;

/// HKDF `info` of a lease token.
const INFO: &[u8] = b"dawnkey/v1/lease";

/// The lease token of a release: HKDF-SHA256 (RFC 5869) with the confirm token as input keying material, no salt,
/// info `dawnkey/v1/lease`, 32 bytes. Both sides derive it; it never travels before the first renewal.
#[must_use]
pub fn token(confirm: &ConfirmToken) -> LeaseToken {
    // Extract and the one block of expand, spelled out: a library's expand can fail, for lengths that this one is not.
    let key = sign(&Key::new(HMAC_SHA256, &[0; 32]), confirm.expose());
    let block = sign(&Key::new(HMAC_SHA256, key.as_ref()), &[INFO, &[1]].concat());
    let Ok(token) = LeaseToken::fill(|token| {
        token.copy_from_slice(block.as_ref());
        Ok::<_, Infallible>(())
    });
    token
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lease_token_matches_the_published_vector() {
        // Computed apart from this code: python3 hmac, extract and expand as in docs/protocol.md.
        let expected = include_str!("../tests/vectors/lease-token.hex");
        let confirm = ConfirmToken::take(&mut [6; 32]).unwrap();
        assert_eq!(hex::encode(token(&confirm).expose()), expected.trim());
    }

    #[test]
    fn another_confirm_token_gives_another_lease_token() {
        let [one, other] = [6, 7].map(|byte| ConfirmToken::take(&mut [byte; 32]).unwrap());
        assert_ne!(token(&one), token(&other));
    }
}
