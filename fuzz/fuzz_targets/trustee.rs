//! What a Key Broker Service answers: reading it is total, what is said of it can be shown, and no stranger's resource opens.
#![no_main]

use std::sync::LazyLock;

use dawnkey_proto::trustee::{Nonce, Problem, TeeKey, accepted};
use libfuzzer_sys::fuzz_target;

static KEY: LazyLock<TeeKey> = LazyLock::new(|| TeeKey::generate().unwrap());

/// A sender's key that is on the curve: the generator of P-256.
const SENDER: &str = r#""epk":{"kty":"EC","crv":"P-256","x":"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY","y":"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU"}"#;

fuzz_target!(|bytes: &[u8]| {
    let _ = accepted(bytes);
    if let Ok(nonce) = Nonce::parse(bytes) {
        assert!((1..=256).contains(&nonce.as_str().len()));
    }
    let problem = Problem::parse(bytes);
    for said in [&problem.kind, &problem.detail] {
        assert!(!said.contains(char::is_control));
    }
    assert!(KEY.open(bytes).is_err());
    // The bytes behind a header that is taken, and as that header's other members.
    let (header, rest) = bytes.split_at(bytes.len() / 2);
    let header = String::from_utf8_lossy(header);
    for header in [
        format!(r#"{{"alg":"ECDH-ES+A256KW","enc":"A256GCM",{SENDER}}}"#),
        format!(r#"{{"alg":"ECDH-ES+A256KW","enc":"A256GCM",{SENDER},{header}}}"#),
    ] {
        let resource = format!(
            r#"{{"protected":"{}","encrypted_key":"{}","iv":"AAAAAAAAAAAAAAAA","ciphertext":"{}","tag":"AAAAAAAAAAAAAAAAAAAAAA"}}"#,
            base64(header.as_bytes()),
            base64(&[rest, &[0; 40]].concat()[..40]),
            base64(rest),
        );
        assert!(KEY.open(resource.as_bytes()).is_err());
    }
});

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}
