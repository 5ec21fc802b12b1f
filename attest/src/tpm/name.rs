//! Names of TPM objects: `nameAlg ‖ H(…)` (Part 1, clause 16).

use super::hash::Hash;

/// Handle of the endorsement hierarchy, which is its own Name and Qualified Name.
pub const RH_ENDORSEMENT: u32 = 0x4000_000b;

/// Name of an object: algorithm number, then the digest of its marshalled `TPMT_PUBLIC`.
pub fn of_public(name_alg: Hash, public: &[u8]) -> Vec<u8> {
    prefixed(name_alg, &[public])
}

/// Qualified Name of a primary key of the endorsement hierarchy.
pub fn qualified_under_endorsement(name_alg: Hash, name: &[u8]) -> Vec<u8> {
    qualified(name_alg, &RH_ENDORSEMENT.to_be_bytes(), name)
}

/// Qualified Name of a child: digest of the parent's Qualified Name and the child's Name, by the child's algorithm.
pub fn qualified(name_alg: Hash, parent: &[u8], name: &[u8]) -> Vec<u8> {
    prefixed(name_alg, &[parent, name])
}

fn prefixed(alg: Hash, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = alg.id().to_be_bytes().to_vec();
    out.extend_from_slice(&alg.digest(parts));
    out
}
