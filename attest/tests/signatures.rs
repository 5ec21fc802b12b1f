//! Every accepted pair of key and scheme, and the refusal of weak and mixed ones.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{KeySize, PublicKeyComponents},
    signature::{
        self as lc, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, KeyPair as _, RsaEncoding, RsaKeyPair,
    },
};
use dawnkey_attest::{
    tpm::{
        hash::Hash,
        public::{Curve, Key},
        signature::{Signature, Value},
    },
    verify::signature::{SignatureError, check},
};

const MESSAGE: &[u8] = b"message";

fn rsa() -> (RsaKeyPair, Key) {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let public: PublicKeyComponents<Vec<u8>> = pair.public_key().into();
    let key = Key::Rsa {
        modulus: public.n,
        exponent: 65_537,
    };
    (pair, key)
}

fn rsa_value(pair: &RsaKeyPair, encoding: &'static dyn RsaEncoding) -> Vec<u8> {
    let mut value = vec![0; pair.public_modulus_len()];
    pair.sign(encoding, &SystemRandom::new(), MESSAGE, &mut value)
        .unwrap();
    value
}

fn signed(hash: Hash, value: Value) -> Signature {
    Signature {
        hash: hash.id(),
        value,
    }
}

#[test]
fn accepts_rsassa_and_rsapss_of_each_digest() {
    let (pair, key) = rsa();
    let schemes: [(Hash, &'static dyn RsaEncoding, &'static dyn RsaEncoding); 3] = [
        (Hash::Sha256, &lc::RSA_PKCS1_SHA256, &lc::RSA_PSS_SHA256),
        (Hash::Sha384, &lc::RSA_PKCS1_SHA384, &lc::RSA_PSS_SHA384),
        (Hash::Sha512, &lc::RSA_PKCS1_SHA512, &lc::RSA_PSS_SHA512),
    ];
    for (hash, pkcs1, pss) in schemes {
        let (pkcs1, pss) = (rsa_value(&pair, pkcs1), rsa_value(&pair, pss));
        assert_eq!(
            check(&key, MESSAGE, &signed(hash, Value::RsaSsa(pkcs1.clone()))),
            Ok(hash)
        );
        assert_eq!(
            check(&key, MESSAGE, &signed(hash, Value::RsaPss(pss.clone()))),
            Ok(hash)
        );
        let mixed = check(&key, MESSAGE, &signed(hash, Value::RsaPss(pkcs1)));
        assert_eq!(mixed, Err(SignatureError::Invalid));
        let other = check(&key, b"massage", &signed(hash, Value::RsaSsa(pss)));
        assert_eq!(other, Err(SignatureError::Invalid));
    }
}

fn ecdsa(curve: Curve, algorithm: &'static EcdsaSigningAlgorithm) -> (Key, Value) {
    let pair = EcdsaKeyPair::generate(algorithm).unwrap();
    let point = &pair.public_key().as_ref()[1..];
    let (x, y) = point.split_at(curve.size());
    let value = pair.sign(&SystemRandom::new(), MESSAGE).unwrap();
    let (r, s) = value.as_ref().split_at(curve.size());
    let key = Key::Ecc {
        curve,
        x: x.to_vec(),
        y: y.to_vec(),
    };
    let value = Value::Ecdsa {
        r: r.to_vec(),
        s: s.to_vec(),
    };
    (key, value)
}

#[test]
fn accepts_ecdsa_of_both_curves() {
    let (key, value) = ecdsa(Curve::P256, &ECDSA_P256_SHA256_FIXED_SIGNING);
    assert_eq!(
        check(&key, MESSAGE, &signed(Hash::Sha256, value.clone())),
        Ok(Hash::Sha256)
    );
    assert_eq!(
        check(&key, MESSAGE, &signed(Hash::Sha384, value)),
        Err(SignatureError::Invalid)
    );
    let (key, value) = ecdsa(Curve::P384, &ECDSA_P384_SHA384_FIXED_SIGNING);
    assert_eq!(
        check(&key, MESSAGE, &signed(Hash::Sha384, value)),
        Ok(Hash::Sha384)
    );
}

#[test]
fn refuses_weak_and_unknown_digests() {
    let (key, value) = ecdsa(Curve::P256, &ECDSA_P256_SHA256_FIXED_SIGNING);
    for found in [0x0004, 0x0012, 0x0027, 0x0010] {
        let signature = Signature {
            hash: found,
            value: value.clone(),
        };
        assert_eq!(
            check(&key, MESSAGE, &signature),
            Err(SignatureError::WeakHash { found })
        );
    }
}

#[test]
fn refuses_a_scheme_of_another_kind_of_key() {
    let (_, key) = rsa();
    let (point, value) = ecdsa(Curve::P256, &ECDSA_P256_SHA256_FIXED_SIGNING);
    let found = check(&key, MESSAGE, &signed(Hash::Sha256, value));
    assert_eq!(found, Err(SignatureError::WrongScheme { scheme: 0x18 }));
    let found = check(
        &point,
        MESSAGE,
        &signed(Hash::Sha256, Value::RsaSsa(vec![0; 256])),
    );
    assert_eq!(found, Err(SignatureError::WrongScheme { scheme: 0x14 }));
}

#[test]
fn refuses_zero_numbers_and_points_off_the_curve() {
    let (key, _) = ecdsa(Curve::P256, &ECDSA_P256_SHA256_FIXED_SIGNING);
    let zero = Value::Ecdsa {
        r: vec![0; 32],
        s: vec![0; 32],
    };
    assert_eq!(
        check(&key, MESSAGE, &signed(Hash::Sha256, zero.clone())),
        Err(SignatureError::Invalid)
    );
    let nowhere = Key::Ecc {
        curve: Curve::P256,
        x: vec![1; 32],
        y: vec![1; 32],
    };
    assert_eq!(
        check(&nowhere, MESSAGE, &signed(Hash::Sha256, zero)),
        Err(SignatureError::Invalid)
    );
}
