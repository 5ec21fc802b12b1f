#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use super::*;
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;

fn vector() -> Value {
    serde_json::from_str(include_str!("../../tests/vectors/trustee.json")).unwrap()
}

fn text<'v>(vector: &'v Value, member: &str) -> &'v str {
    vector[member].as_str().unwrap()
}

fn key(vector: &Value) -> TeeKey {
    let private = hex::decode(text(vector, "node_private")).unwrap();
    TeeKey::of(PrivateKey::from_private_key(&ECDH_P256, &private).unwrap()).unwrap()
}

fn nonce(vector: &Value) -> Nonce {
    let answer = json!({"nonce": text(vector, "nonce"), "extra-params": ""});
    Nonce::parse(answer.to_string().as_bytes()).unwrap()
}

/// The vector's resource with one member changed.
fn changed(member: &str, value: Value) -> Vec<u8> {
    let mut resource = vector()["resource"].clone();
    resource[member] = value;
    resource.to_string().into_bytes()
}

/// The vector's resource with one member of its protected header changed.
fn header(member: &str, value: Value) -> Vec<u8> {
    let vector = vector();
    let text = vector["resource"]["protected"].as_str().unwrap();
    let mut header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).unwrap()).unwrap();
    header[member] = value;
    changed(
        "protected",
        URL_SAFE_NO_PAD.encode(header.to_string()).into(),
    )
}

#[test]
fn the_canonical_form_and_its_digest_match_the_published_vector() {
    let vector = vector();
    let (nonce, key) = (nonce(&vector), key(&vector));
    assert_eq!(canonical(&nonce, &key), text(&vector, "canonical"));
    let digest = hex::encode(runtime_digest(&nonce, &key));
    assert_eq!(digest, text(&vector, "digest"));
}

#[test]
fn requests_are_these_bytes() {
    let auth = r#"{"version":"0.4.0","tee":"az-snp-vtpm","extra-params":{}}"#;
    assert_eq!(auth_body(Tee::AzureSnp), auth.as_bytes());
    let vector = vector();
    let body = attest_body(&nonce(&vector), &key(&vector), &json!({"quote": "AA=="}));
    let expected = concat!(
        r#"{"init-data":null,"runtime-data":{"nonce":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=","#,
        r#""tee-pubkey":{"kty":"EC","crv":"P-256","alg":"ECDH-ES+A256KW","#,
        r#""x":"UVw9brnjlrkE0_7Kf1T9zQzB6Ze_N13KUVrQpsO0A18","y":"RTa-OlDzGPv5pUdZAqIhUCvvDVfgjFOyzApW8X2fk1Q"}},"#,
        r#""tee-evidence":{"primary_evidence":{"quote":"AA=="},"additional_evidence":""}}"#
    );
    assert_eq!(String::from_utf8(body).unwrap(), expected);
}

#[test]
fn opens_the_resource_of_the_published_vector() {
    let vector = vector();
    let dek = key(&vector)
        .open(vector["resource"].to_string().as_bytes())
        .unwrap();
    assert_eq!(hex::encode(dek.expose()), text(&vector, "dek"));
    let with_null = key(&vector).open(&changed("aad", Value::Null));
    assert_eq!(with_null, Ok(dek));
}

#[test]
fn refuses_a_resource_sealed_to_another_key() {
    let resource = vector()["resource"].to_string();
    let other = TeeKey::generate().unwrap();
    assert_eq!(other.open(resource.as_bytes()), Err(JweError::Open));
}

#[test]
fn refuses_a_resource_with_any_member_changed() {
    let vector = vector();
    for member in ["encrypted_key", "iv", "ciphertext", "tag"] {
        let text = vector["resource"][member].as_str().unwrap();
        let mut bytes = URL_SAFE_NO_PAD.decode(text).unwrap();
        bytes[0] ^= 1;
        let resource = changed(member, URL_SAFE_NO_PAD.encode(&bytes).into());
        assert_eq!(key(&vector).open(&resource), Err(JweError::Open));
        bytes.pop();
        let resource = changed(member, URL_SAFE_NO_PAD.encode(&bytes).into());
        assert!(key(&vector).open(&resource).is_err(), "{member}");
    }
    // The additional data is the header as it was received: the same header written otherwise is another.
    let opened = key(&vector).open(&header("kid", "x".into()));
    assert_eq!(opened, Err(JweError::Open));
}

#[test]
fn refuses_what_was_not_offered() {
    let key = key(&vector());
    for (member, value) in [("alg", "ECDH-ES"), ("alg", "dir"), ("enc", "A128GCM")] {
        let error = key.open(&header(member, value.into())).unwrap_err();
        assert!(matches!(error, JweError::Algorithm { .. }), "{error}");
    }
    for (member, value) in [
        ("crit", json!(["b64"])),
        ("zip", "DEF".into()),
        ("apu", "QQ".into()),
        ("apv", "QQ".into()),
        (
            "epk",
            json!({"kty": "OKP", "crv": "X25519", "x": "AA", "y": "AA"}),
        ),
        (
            "epk",
            json!({"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}),
        ),
    ] {
        let error = key.open(&header(member, value)).unwrap_err();
        assert!(matches!(error, JweError::Form(_)), "{member}: {error}");
    }
    // No point of the curve.
    let zeros = URL_SAFE_NO_PAD.encode([0; 32]);
    let epk = json!({"kty": "EC", "crv": "P-256", "x": zeros, "y": zeros});
    assert_eq!(key.open(&header("epk", epk)), Err(JweError::Open));
    for resource in [changed("aad", "QQ".into()), changed("header", json!({}))] {
        assert!(matches!(key.open(&resource), Err(JweError::Form(_))));
    }
}

#[test]
fn refuses_a_challenge_that_could_not_stand_in_the_canonical_form() {
    for (nonce, good) in [
        ("AA==", true),
        ("a_-b", true),
        ("", false),
        ("a\"b", false),
        ("a=b", false),
        ("ä", false),
    ] {
        let answer = json!({"nonce": nonce, "extra-params": ""}).to_string();
        assert_eq!(Nonce::parse(answer.as_bytes()).is_ok(), good, "{nonce}");
    }
    let long = json!({"nonce": "A".repeat(257)}).to_string();
    assert_eq!(Nonce::parse(long.as_bytes()), Err(AnswerError::Nonce));
    let digest = json!({"nonce": "AA==", "extra-params": {"selected-hash-algorithm": "sha512"}});
    let error = Nonce::parse(digest.to_string().as_bytes()).unwrap_err();
    assert!(matches!(error, AnswerError::Digest { .. }));
    let same = json!({"nonce": "AA==", "extra-params": {"selected-hash-algorithm": "SHA384"}});
    assert!(Nonce::parse(same.to_string().as_bytes()).is_ok());
}

#[test]
fn an_error_is_named_by_the_end_of_its_type_and_has_no_control_characters() {
    let error = br#"{"type":"https://github.com/confidential-containers/kbs/errors/PolicyDeny","detail":"no\u001b[2J"}"#;
    let problem = Problem::parse(error);
    assert_eq!(problem.kind, "PolicyDeny");
    assert_eq!(problem.detail, "no [2J");
    assert_eq!(Problem::parse(b"<html>").kind, "unknown");
}

#[test]
fn an_acceptance_has_a_token() {
    assert_eq!(accepted(br#"{"token":"a.b.c"}"#), Ok(()));
    for other in [&b"{}"[..], br#"{"token":""}"#, b"null", b""] {
        let error = accepted(other);
        assert_eq!(error, Err(AnswerError::Json { request: "attest" }));
    }
}

#[test]
fn a_collection_is_a_repository_and_a_type() {
    let volume = uuid::Uuid::from_u128(0x5b1d_1f0e);
    let collection = Collection::parse("default/dawnkey").unwrap();
    assert_eq!(
        collection.path(volume),
        "/kbs/v0/resource/default/dawnkey/00000000-0000-0000-0000-00005b1d1f0e"
    );
    for bad in [
        "", "a", "a/", "/b", "a/b/c", "../b", "a/..", "a b/c", "a/%2e",
    ] {
        assert_eq!(Collection::parse(bad), None, "{bad}");
    }
}

proptest! {
    #[test]
    fn answers_are_total(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let key = key(&vector());
        let _ = (Nonce::parse(&bytes), accepted(&bytes), Problem::parse(&bytes), key.open(&bytes));
    }

    #[test]
    fn resources_with_any_texts_are_total(
        member in proptest::sample::select(vec!["protected", "encrypted_key", "iv", "ciphertext", "tag"]),
        text in "[A-Za-z0-9_=-]{0,60}",
    ) {
        prop_assert!(key(&vector()).open(&changed(member, text.into())).is_err());
    }
}
