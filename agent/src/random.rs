//! Numbers that nobody should guess, from the TLS provider.

/// Two bytes of the TLS provider's random source. Without randomness it is always the same number: nodes wait in step
/// then, and DNS queries can be guessed, neither of which anything is trusted for.
pub(crate) fn number() -> u16 {
    let mut bytes = [0; 2];
    let random = rustls::crypto::aws_lc_rs::default_provider().secure_random;
    match random.fill(&mut bytes) {
        Ok(()) => u16::from_ne_bytes(bytes),
        Err(_) => u16::MAX,
    }
}
