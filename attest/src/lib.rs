//! dawnkey-attest
