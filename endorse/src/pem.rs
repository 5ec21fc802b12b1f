//! Writes certificates as PEM, for people and their tools.

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// A certificate as PEM text (RFC 7468).
#[must_use]
pub fn certificate(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut out = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (row, tail) = rest.split_at_checked(64).unwrap_or((rest, ""));
        out.push_str(row);
        out.push('\n');
        rest = tail;
    }
    out.push_str("-----END CERTIFICATE-----\n");
    out
}
