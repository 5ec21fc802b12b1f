//! The proof a node gives back after activating a credential: it holds the endorsement key, and it answers for
//! this exchange.

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use crate::evidence::Exchange;

/// HMAC-SHA256 over the exchange, keyed with the activated secret.
///
/// The node computes it from what its TPM released, the verifier from the secret it made; a proof of one
/// connection is worth nothing on another.
pub fn proof(secret: &[u8], exchange: &Exchange) -> [u8; 32] {
    // HMAC takes keys of any length, so the error case does not exist; an empty tag matches nothing either way.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else {
        return [0; 32];
    };
    mac.update(&exchange.0);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proof_depends_on_secret_and_binder() {
        let one = proof(&[1; 32], &Exchange([1; 64]));
        assert_ne!(one, proof(&[2; 32], &Exchange([1; 64])));
        assert_ne!(one, proof(&[1; 32], &Exchange([2; 64])));
    }
}
