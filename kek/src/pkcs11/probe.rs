//! What the token says of the key and of the token.

use super::config::Mechanism as How;
use super::failure::Failure;
use super::token::{Key, Logged, Token};
use crate::{Finding, Operation};
use cryptoki::mechanism::MechanismType;
use cryptoki::object::{Attribute, AttributeType};

/// Looks at the current key.
pub(super) fn look(logged: &Logged, token: &Token) -> Result<Vec<Finding>, Failure> {
    let key = token.current(logged, Operation::Inspect)?;
    let mut findings = protection(logged, &key)?;
    findings.push(use_of(logged, token, &key)?);
    findings.push(state(logged, token)?);
    Ok(findings)
}

/// Whether the key can leave the token: what its attributes say, and an attempt to read it.
fn protection(logged: &Logged, key: &Key) -> Result<Vec<Finding>, Failure> {
    let extractable = flag(logged, key, AttributeType::Extractable)?;
    let sensitive = flag(logged, key, AttributeType::Sensitive)?;
    let never = flag(logged, key, AttributeType::NeverExtractable)?;
    let always = flag(logged, key, AttributeType::AlwaysSensitive)?;
    let read = value(logged, key);
    let shown = |attribute: Option<bool>| match attribute {
        Some(true) => "true",
        Some(false) => "false",
        None => "not said",
    };
    let good = extractable == Some(false) && sensitive == Some(true) && !read;
    let attributes = Finding {
        subject: "key cannot be read".into(),
        good,
        detail: format!(
            "CKA_EXTRACTABLE {}, CKA_SENSITIVE {}, reading CKA_VALUE {}{}",
            shown(extractable),
            shown(sensitive),
            if read { "gives the key" } else { "is refused" },
            if good {
                ""
            } else {
                ": make a key with CKA_EXTRACTABLE false and CKA_SENSITIVE true and re-wrap to it"
            },
        ),
    };
    // A key that was brought to the token is known outside of it; that is how keys come to a second token.
    let history = Finding {
        subject: "key never left".into(),
        good: true,
        detail: format!(
            "CKA_NEVER_EXTRACTABLE {}, CKA_ALWAYS_SENSITIVE {}",
            shown(never),
            shown(always)
        ),
    };
    Ok(vec![attributes, history])
}

fn use_of(logged: &Logged, token: &Token, key: &Key) -> Result<Finding, Failure> {
    let (wraps, unwraps, mechanism, names) = match token.checked.config.mechanism {
        How::AesGcm => (
            AttributeType::Encrypt,
            AttributeType::Decrypt,
            MechanismType::AES_GCM,
            ["CKA_ENCRYPT", "CKA_DECRYPT", "CKM_AES_GCM"],
        ),
        How::AesKw => (
            AttributeType::Wrap,
            AttributeType::Unwrap,
            MechanismType::AES_KEY_WRAP,
            ["CKA_WRAP", "CKA_UNWRAP", "CKM_AES_KEY_WRAP"],
        ),
    };
    let known = logged
        .module
        .get_mechanism_list(logged.slot)
        .map_err(|e| Failure::of(Operation::Inspect, &e))?;
    let there = [
        flag(logged, key, wraps)? == Some(true),
        flag(logged, key, unwraps)? == Some(true),
        known.contains(&mechanism),
    ];
    let missing: Vec<&str> = names
        .into_iter()
        .zip(there)
        .filter_map(|(name, there)| (!there).then_some(name))
        .collect();
    let detail = if missing.is_empty() {
        format!("{} are there", names.join(", "))
    } else {
        format!("missing: {}", missing.join(", "))
    };
    Ok(Finding {
        subject: "key may wrap and unwrap".into(),
        good: missing.is_empty(),
        detail,
    })
}

/// Whether the token's PIN is about to lock.
fn state(logged: &Logged, token: &Token) -> Result<Finding, Failure> {
    let info = logged
        .module
        .get_token_info(logged.slot)
        .map_err(|e| Failure::of(Operation::Inspect, &e))?;
    let pin = token.checked.config.pin.is_some();
    let problem = if info.user_pin_locked() {
        Some("the user PIN is locked")
    } else if info.user_pin_final_try() {
        Some("one more wrong user PIN locks the token")
    } else if info.login_required() && !pin && !info.protected_authentication_path() {
        Some("the token wants a login, and no `pin` is configured")
    } else {
        None
    };
    Ok(Finding {
        subject: "token".into(),
        good: problem.is_none(),
        detail: format!(
            "{} {}, serial {}{}{}",
            info.manufacturer_id().trim_end(),
            info.model().trim_end(),
            info.serial_number().trim_end(),
            if problem.is_some() { ": " } else { "" },
            problem.unwrap_or_default(),
        ),
    })
}

/// Whether the token gives the key's value. A refusal is what is expected; whatever else goes wrong is none.
fn value(logged: &Logged, key: &Key) -> bool {
    let read = logged
        .session
        .get_attributes(key.handle, &[AttributeType::Value]);
    read.unwrap_or_default().into_iter().any(|a| match a {
        Attribute::Value(value) => !zeroize::Zeroizing::new(value).is_empty(),
        _ => false,
    })
}

fn flag(logged: &Logged, key: &Key, what: AttributeType) -> Result<Option<bool>, Failure> {
    let read = logged
        .session
        .get_attributes(key.handle, &[what])
        .map_err(|e| Failure::of(Operation::Inspect, &e))?;
    Ok(read.into_iter().find_map(|attribute| match attribute {
        Attribute::Extractable(flag)
        | Attribute::Sensitive(flag)
        | Attribute::NeverExtractable(flag)
        | Attribute::AlwaysSensitive(flag)
        | Attribute::Encrypt(flag)
        | Attribute::Decrypt(flag)
        | Attribute::Wrap(flag)
        | Attribute::Unwrap(flag) => Some(flag),
        _ => None,
    }))
}
