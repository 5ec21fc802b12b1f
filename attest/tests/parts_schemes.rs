//! Quotes judged alone, by every accepted scheme, curve and bank.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod parts_common;

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{KeySize, PublicKeyComponents},
    signature::{
        self as lc, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
        ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _,
        RsaEncoding, RsaKeyPair,
    },
};
use dawnkey_attest::{
    claims::Binding,
    part::{PublicKey, QuoteSignature},
    tpm::{
        hash::Hash,
        public::{Curve, Key},
    },
    verify::part::PartClaims,
};
use parts_common::{judge, part, quote};

fn rsa() -> (RsaKeyPair, Key) {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let public: PublicKeyComponents<Vec<u8>> = pair.public_key().into();
    let key = Key::Rsa {
        modulus: public.n,
        exponent: 65_537,
    };
    (pair, key)
}

fn rsa_sign(pair: &RsaKeyPair, encoding: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
    let mut value = vec![0; pair.public_modulus_len()];
    pair.sign(encoding, &SystemRandom::new(), message, &mut value)
        .unwrap();
    value
}

/// `TPMT_SIGNATURE` of one number or two.
fn tpmt(scheme: u16, hash: Hash, numbers: &[&[u8]]) -> QuoteSignature {
    let mut out = [scheme.to_be_bytes(), hash.id().to_be_bytes()].concat();
    for number in numbers {
        out.extend((number.len() as u16).to_be_bytes());
        out.extend(*number);
    }
    QuoteSignature::Tpmt(out)
}

#[test]
fn accepts_rsassa_rsapss_and_bare_signatures_under_a_key_in_x509_form() {
    let (pair, key) = rsa();
    let spki = PublicKey::Spki(key.spki());
    let schemes: [(Hash, &'static dyn RsaEncoding, &'static dyn RsaEncoding); 3] = [
        (Hash::Sha256, &lc::RSA_PKCS1_SHA256, &lc::RSA_PSS_SHA256),
        (Hash::Sha384, &lc::RSA_PKCS1_SHA384, &lc::RSA_PSS_SHA384),
        (Hash::Sha512, &lc::RSA_PKCS1_SHA512, &lc::RSA_PSS_SHA512),
    ];
    for (hash, pkcs1, pss) in schemes {
        for bank in [Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512] {
            let message = quote(bank, hash);
            let value = rsa_sign(&pair, pkcs1, &message);
            let pss = rsa_sign(&pair, pss, &message);
            for signature in [
                tpmt(0x0014, hash, &[&value]),
                tpmt(0x0016, hash, &[&pss]),
                QuoteSignature::Bare(value.clone()),
            ] {
                let claims = judge(part(spki.clone(), message.clone(), signature, bank)).unwrap();
                assert_eq!(
                    (claims.trust_class, claims.binding),
                    (None, Binding::Unknown)
                );
                let Some(PartClaims::Quote(found)) = claims.part else {
                    panic!("no quote")
                };
                assert_eq!(found.quotes[0].signature_hash.as_deref(), Some(hash.name()));
                assert_eq!(found.quotes[0].pcr_select[0].bank, bank.name());
                assert!(found.quotes[0].is_at_least(hash.min(bank)));
                assert_eq!(
                    found.quotes[0].is_at_least(Hash::Sha256),
                    bank != Hash::Sha1
                );
            }
        }
    }
}

#[test]
fn accepts_ecdsa_on_every_curve() {
    let curves: [(Curve, Hash, &EcdsaSigningAlgorithm); 3] = [
        (Curve::P256, Hash::Sha256, &ECDSA_P256_SHA256_FIXED_SIGNING),
        (Curve::P384, Hash::Sha384, &ECDSA_P384_SHA384_FIXED_SIGNING),
        (Curve::P521, Hash::Sha512, &ECDSA_P521_SHA512_FIXED_SIGNING),
    ];
    for (curve, hash, algorithm) in curves {
        let pair = EcdsaKeyPair::generate(algorithm).unwrap();
        let (x, y) = pair.public_key().as_ref()[1..].split_at(curve.size());
        let key = Key::Ecc {
            curve,
            x: x.to_vec(),
            y: y.to_vec(),
        };
        let message = quote(Hash::Sha256, hash);
        let value = pair.sign(&SystemRandom::new(), &message).unwrap();
        let (r, s) = value.as_ref().split_at(curve.size());
        for signature in [
            tpmt(0x0018, hash, &[r, s]),
            QuoteSignature::Bare(value.as_ref().to_vec()),
        ] {
            let part = part(
                PublicKey::Spki(key.spki()),
                message.clone(),
                signature,
                Hash::Sha256,
            );
            judge(part).unwrap();
        }
    }
}
