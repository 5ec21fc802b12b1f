//! Wrapping and unwrapping with a key on a token.

use super::blob::{Blob, IV};
use super::config::{Iv, Mechanism as How};
use super::failure::Failure;
use super::token::{Key, Logged, Token};
use crate::envelope::{self, InnerKey};
use crate::{Aad, Cause, Operation};
use cryptoki::error::Error;
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use dawnkey_secret::Dek;
use zeroize::Zeroizing;

/// Bits of AES-GCM's tag.
const TAG_BITS: u64 = 128;

/// Wraps a DEK under the current key.
pub(super) fn wrap(
    logged: &Logged,
    token: &Token,
    dek: &Dek,
    aad: &Aad,
) -> Result<Vec<u8>, Failure> {
    let key = token.current(logged, Operation::Wrap)?;
    let config = &token.checked.config;
    let (head, sealed) = match config.mechanism {
        How::AesGcm => gcm_seal(logged, key.handle, config.iv, dek.expose(), &aad.bytes())?,
        How::AesKw => {
            let random = || Failure::new(Operation::Wrap, Cause::Unsupported, "no random bytes");
            let (inner, sealed) = envelope::seal(dek, aad).ok_or_else(random)?;
            (kw_wrap(logged, key.handle, &inner)?, sealed)
        }
    };
    let blob = Blob {
        key_id: key.id,
        mechanism: config.mechanism,
        head,
        sealed,
    };
    blob.encode().ok_or_else(|| {
        let detail = "the token's answer has another length than the mechanism gives";
        Failure::new(Operation::Wrap, Cause::Garbage, detail)
    })
}

/// Unwraps a DEK with the key that its blob names.
pub(super) fn unwrap(
    logged: &Logged,
    token: &Token,
    blob: &[u8],
    aad: &Aad,
) -> Result<Dek, Failure> {
    let refused = || Failure::new(Operation::Unwrap, Cause::NotAuthentic, "");
    let blob = Blob::decode(blob).ok_or_else(refused)?;
    let key = token.named(logged, &blob.key_id)?;
    let opened = match blob.mechanism {
        How::AesGcm => gcm_open(logged, key.handle, &blob, &aad.bytes()),
        How::AesKw => kw_unwrap(logged, key.handle, &blob.head),
    };
    let mut opened = opened.map_err(|failure| settle(logged, &key, blob.mechanism, failure))?;
    match blob.mechanism {
        How::AesGcm => Dek::take(&mut opened).map_err(|_| refused()),
        How::AesKw => InnerKey::take(&mut opened)
            .and_then(|inner| envelope::open(&inner, &blob.sealed, aad))
            .ok_or_else(refused),
    }
}

/// Some tokens answer a wrong tag as they answer their own breakdown. Whoever can still seal and open something else with
/// the same key is not broken.
fn settle(logged: &Logged, key: &Key, mechanism: How, failure: Failure) -> Failure {
    if !failure.ambiguous {
        return failure;
    }
    let works = match mechanism {
        How::AesGcm => gcm_seal(logged, key.handle, Iv::Service, &[0; 32], b"check").is_ok(),
        How::AesKw => logged.session.get_session_info().is_ok(),
    };
    if works {
        return failure;
    }
    Failure {
        cause: Cause::Unreachable,
        ..failure
    }
}

/// Initialisation vector, and ciphertext with tag.
fn gcm_seal(
    logged: &Logged,
    key: ObjectHandle,
    iv: Iv,
    plain: &[u8; 32],
    aad: &[u8],
) -> Result<(Vec<u8>, Vec<u8>), Failure> {
    let failed = |e: Error| Failure::of(Operation::Wrap, &e);
    let wrong = |what| Failure::new(Operation::Wrap, Cause::Unsupported, what);
    let mut vector = [0; IV];
    if iv == Iv::Service {
        aws_lc_rs::rand::fill(&mut vector).map_err(|_| wrong("no random bytes"))?;
    }
    let parameters = GcmParams::new(&mut vector, aad, TAG_BITS.into()).map_err(failed)?;
    let sealed = logged
        .session
        .encrypt(&Mechanism::AesGcm(parameters), key, plain)
        .map_err(failed)?;
    if vector == [0; IV] {
        return Err(wrong(
            "the token chose no initialisation vector of its own: set iv = \"service\"",
        ));
    }
    Ok((vector.to_vec(), sealed))
}

fn gcm_open(
    logged: &Logged,
    key: ObjectHandle,
    blob: &Blob,
    aad: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let failed = |e: Error| Failure::of(Operation::Unwrap, &e);
    let mut vector = blob.head.clone();
    let parameters = GcmParams::new(&mut vector, aad, TAG_BITS.into()).map_err(failed)?;
    let mechanism = Mechanism::AesGcm(parameters);
    let opened = logged.session.decrypt(&mechanism, key, &blob.sealed);
    opened.map(Zeroizing::new).map_err(failed)
}

/// The inner key is on the token as an object of the session while it is wrapped.
fn kw_wrap(logged: &Logged, key: ObjectHandle, inner: &InnerKey) -> Result<Vec<u8>, Failure> {
    let failed = |e: Error| Failure::of(Operation::Wrap, &e);
    let mut template = session_key();
    template.push(Attribute::Value(inner.expose().to_vec()));
    let made = logged.session.create_object(&template);
    wipe(template);
    let object = made.map_err(failed)?;
    let wrapped = logged.session.wrap_key(&Mechanism::AesKeyWrap, key, object);
    let removed = logged.session.destroy_object(object);
    let wrapped = wrapped.map_err(failed)?;
    removed.map_err(failed)?;
    Ok(wrapped)
}

fn kw_unwrap(
    logged: &Logged,
    key: ObjectHandle,
    wrapped: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let failed = |e: Error| Failure::of(Operation::Unwrap, &e);
    let object = logged
        .session
        .unwrap_key(&Mechanism::AesKeyWrap, key, wrapped, &session_key())
        .map_err(failed)?;
    let read = logged
        .session
        .get_attributes(object, &[AttributeType::Value]);
    let removed = logged.session.destroy_object(object);
    let value = read.map_err(failed)?.into_iter().find_map(|a| match a {
        Attribute::Value(value) => Some(Zeroizing::new(value)),
        _ => None,
    });
    removed.map_err(failed)?;
    value.ok_or_else(|| {
        let detail =
            "the token does not give the unwrapped key: it allows no extractable session keys";
        Failure::new(Operation::Unwrap, Cause::Unsupported, detail)
    })
}

/// An AES key that lives as long as the session and can be read.
fn session_key() -> Vec<Attribute> {
    vec![
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::Token(false),
        Attribute::Sensitive(false),
        Attribute::Extractable(true),
    ]
}

fn wipe(template: Vec<Attribute>) {
    for attribute in template {
        if let Attribute::Value(value) = attribute {
            drop(Zeroizing::new(value));
        }
    }
}
