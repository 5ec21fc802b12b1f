//! The binder: what ties evidence to one connection, one key and one request.

use sha2::{Digest, Sha256, Sha512};

/// Which end of the connection gives the evidence. Different labels stop reflection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The node that asks for a key.
    Node,
    /// The key service that proves itself to the node.
    Service,
    /// The node that waits for an operator, over a connection in which it is the server.
    Recovery,
    /// The same without a connection: request and grant travel as text.
    RecoveryText,
}

impl Role {
    const fn byte(self) -> u8 {
        match self {
            Self::Node => 1,
            Self::Service => 2,
            Self::Recovery => 3,
            Self::RecoveryText => 4,
        }
    }

    /// TLS exporter label (RFC 8446 §7.5) under which the role's binder draws its 32 bytes, with no context.
    #[must_use]
    pub const fn exporter_label(self) -> &'static [u8] {
        match self {
            Self::Node => b"EXPORTER-dawnkey-v1-unlock-node-to-service",
            Self::Service => b"EXPORTER-dawnkey-v1-unlock-service-to-node",
            Self::Recovery => b"EXPORTER-dawnkey-v1-recovery-node-to-operator",
            // Never drawn: there is no connection.
            Self::RecoveryText => b"EXPORTER-dawnkey-v1-recovery-text",
        }
    }
}

/// Keying material of one TLS connection, drawn under [`Role::exporter_label`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Exporter(pub [u8; 32]);

impl std::fmt::Debug for Exporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Exporter(redacted)")
    }
}

/// SHA-256 of the service certificate's SubjectPublicKeyInfo in DER.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpkiDigest(pub [u8; 32]);

impl SpkiDigest {
    /// Digest of the SubjectPublicKeyInfo inside an X.509 certificate in DER; `None` when it does not parse.
    #[must_use]
    pub fn of_certificate(der: &[u8]) -> Option<Self> {
        let (rest, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
        rest.is_empty()
            .then(|| Self(Sha256::digest(certificate.tbs_certificate.subject_pki.raw).into()))
    }
}

/// Everything that a binder covers.
#[derive(Debug, Clone, Copy)]
pub struct Bound<'a> {
    /// Who gives the evidence.
    pub role: Role,
    /// The connection, by its exporter for that role; the boot nonce where there is none.
    pub exporter: &'a Exporter,
    /// The key of the connection's server: the service's, in recovery the node's. Zeros where there is no connection.
    pub service_spki: &'a SpkiDigest,
    /// The key to which the DEK will be sealed.
    pub hpke_public_key: &'a [u8],
    /// The serialised request body, byte for byte as sent.
    pub request: &'a [u8],
}

/// 64 bytes that evidence carries as report data, or hashed as a TPM quote's qualifying data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Binder(pub [u8; 64]);

/// Computes the binder (docs/protocol.md, "Binder").
///
/// `SHA-512("dawnkey/v1/unlock" ‖ role ‖ LP(exporter) ‖ LP(SPKI digest) ‖ LP(hpke_pk) ‖ LP(SHA-256(request)))`
/// where `LP(x)` is the length of `x` as 32-bit big-endian integer, then `x`, and `role` is one byte.
#[must_use]
pub fn binder(bound: &Bound<'_>) -> Binder {
    let mut hash = Sha512::new();
    hash.update(b"dawnkey/v1/unlock");
    hash.update([bound.role.byte()]);
    for field in [
        bound.exporter.0.as_slice(),
        bound.service_spki.0.as_slice(),
        bound.hpke_public_key,
        Sha256::digest(bound.request).as_slice(),
    ] {
        // A message is capped far below 4 GiB before it gets here.
        hash.update(u32::try_from(field.len()).unwrap_or(u32::MAX).to_be_bytes());
        hash.update(field);
    }
    Binder(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound<'a>(role: Role, request: &'a [u8], key: &'a [u8]) -> Binder {
        binder(&Bound {
            role,
            exporter: &Exporter([1; 32]),
            service_spki: &SpkiDigest([2; 32]),
            hpke_public_key: key,
            request,
        })
    }

    #[test]
    fn binder_matches_the_published_vector() {
        // Computed apart from this code: python3 hashlib over the concatenation in docs/protocol.md.
        let expected = include_str!("../tests/vectors/binder.hex");
        assert_eq!(
            hex::encode(bound(Role::Node, b"request", &[3; 32]).0),
            expected.trim()
        );
    }

    #[test]
    fn every_input_changes_the_binder() {
        let base = bound(Role::Node, b"request", &[3; 32]);
        for other in [Role::Service, Role::Recovery, Role::RecoveryText] {
            assert_ne!(base, bound(other, b"request", &[3; 32]));
        }
        assert_ne!(base, bound(Role::Node, b"requesu", &[3; 32]));
        assert_ne!(base, bound(Role::Node, b"request", &[3; 31]));
    }
}
