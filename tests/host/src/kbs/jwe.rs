//! Seals a resource to the key of an attempt, as Trustee does.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrap};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// A flattened JWE for the holder of this JWK.
pub(super) fn seal(recipient: &Value, resource: &[u8]) -> Vec<u8> {
    assert_eq!(recipient["alg"], "ECDH-ES+A256KW");
    let ephemeral = PrivateKey::generate(&ECDH_P256).unwrap();
    let header = json!({"alg": "ECDH-ES+A256KW", "enc": "A256GCM", "epk": jwk(&ephemeral)});
    let protected = URL_SAFE_NO_PAD.encode(header.to_string());
    let peer = UnparsedPublicKey::new(&ECDH_P256, point(recipient));
    let kek = agree(&ephemeral, peer, "a point of the curve", |shared| {
        let mut hashed = vec![0, 0, 0, 1];
        hashed.extend(shared);
        hashed.extend([0, 0, 0, 14]);
        hashed.extend(b"ECDH-ES+A256KW");
        hashed.extend([0; 8]);
        hashed.extend([0, 0, 1, 0]);
        Ok(digest(&SHA256, &hashed).as_ref().to_vec())
    })
    .unwrap();
    let content_key = [0x6b; 32];
    let mut wrapped = [0; 40];
    let kek = AesKek::new(&AES_256, &kek).unwrap();
    kek.wrap(&content_key, &mut wrapped).unwrap();
    let mut content = resource.to_vec();
    let tag = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &content_key).unwrap())
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key([1; 12]),
            Aad::from(protected.as_bytes()),
            &mut content,
        )
        .unwrap();
    json!({
        "protected": protected,
        "encrypted_key": URL_SAFE_NO_PAD.encode(wrapped),
        "iv": URL_SAFE_NO_PAD.encode([1; 12]),
        "ciphertext": URL_SAFE_NO_PAD.encode(content),
        "tag": URL_SAFE_NO_PAD.encode(tag.as_ref()),
    })
    .to_string()
    .into_bytes()
}

/// A JWK that nobody at the other end has.
pub(super) fn other_key() -> Value {
    let mut key = jwk(&PrivateKey::generate(&ECDH_P256).unwrap());
    key["alg"] = "ECDH-ES+A256KW".into();
    key
}

fn jwk(key: &PrivateKey) -> Value {
    let public = key.compute_public_key().unwrap();
    let coordinate = |range| URL_SAFE_NO_PAD.encode(&public.as_ref()[range]);
    json!({"kty": "EC", "crv": "P-256", "x": coordinate(1..33), "y": coordinate(33..65)})
}

fn point(jwk: &Value) -> Vec<u8> {
    let coordinate = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
    [vec![4], coordinate("x"), coordinate("y")].concat()
}
