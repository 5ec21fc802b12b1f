//! Sessions with the TPM: salted with the endorsement key, parameters encrypted both ways (AES-128-CFB).
//!
//! The salt is encrypted to the endorsement key, so whoever only listens on the way to the TPM learns no session key.

use tss_esapi::{
    Context,
    attributes::SessionAttributesBuilder,
    constants::SessionType,
    handles::{AuthHandle, KeyHandle, SessionHandle},
    interface_types::{
        algorithm::HashingAlgorithm, session_handles::AuthSession, session_handles::PolicySession,
    },
    structures::SymmetricDefinition,
};

use super::error::{CollectError, Doing as _};

/// Whether a session encrypts the parameters of the commands it is used for. One session of a command does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Parameters {
    /// It does, both ways.
    Encrypted,
    /// It only authorises; another session of the same command encrypts.
    Plain,
}

/// Runs `f` with a salted, encrypting HMAC session, which is flushed afterwards.
pub(super) fn with_hmac<T>(
    context: &mut Context,
    salt_key: KeyHandle,
    f: impl FnOnce(&mut Context, AuthSession) -> Result<T, CollectError>,
) -> Result<T, CollectError> {
    with(
        context,
        salt_key,
        (SessionType::Hmac, HashingAlgorithm::Sha256),
        Parameters::Encrypted,
        f,
    )
}

/// Runs `f` with a salted HMAC session that only authorises.
pub(super) fn with_plain_hmac<T>(
    context: &mut Context,
    salt_key: KeyHandle,
    f: impl FnOnce(&mut Context, AuthSession) -> Result<T, CollectError>,
) -> Result<T, CollectError> {
    with(
        context,
        salt_key,
        (SessionType::Hmac, HashingAlgorithm::Sha256),
        Parameters::Plain,
        f,
    )
}

/// Runs `f` with a salted session that fulfils the endorsement key's policy: `PolicySecret` on the endorsement
/// hierarchy. `hash` is the key's Name algorithm.
pub(super) fn with_endorsement_policy<T>(
    context: &mut Context,
    ek: KeyHandle,
    hash: HashingAlgorithm,
    parameters: Parameters,
    f: impl FnOnce(&mut Context, AuthSession) -> Result<T, CollectError>,
) -> Result<T, CollectError> {
    with(
        context,
        ek,
        (SessionType::Policy, hash),
        parameters,
        |context, policy| {
            let session = PolicySession::try_from(policy).doing("use the policy session")?;
            with_hmac(context, ek, |context, hmac| {
                let secret = context.execute_with_session(Some(hmac), |context| {
                    context.policy_secret(
                        session,
                        AuthHandle::Endorsement,
                        Default::default(),
                        Default::default(),
                        Default::default(),
                        None,
                    )
                });
                secret
                    .map(drop)
                    .doing("authorise with the endorsement hierarchy")
            })?;
            f(context, policy)
        },
    )
}

fn with<T>(
    context: &mut Context,
    salt_key: KeyHandle,
    (kind, hash): (SessionType, HashingAlgorithm),
    parameters: Parameters,
    f: impl FnOnce(&mut Context, AuthSession) -> Result<T, CollectError>,
) -> Result<T, CollectError> {
    let doing = "start a salted session";
    let started = context.execute_without_session(|context| {
        context.start_auth_session(
            Some(salt_key),
            None,
            None,
            kind,
            SymmetricDefinition::AES_128_CFB,
            hash,
        )
    });
    let session = started.doing(doing)?.ok_or(CollectError::Answer {
        doing,
        problem: "no session",
    })?;
    let (attributes, mask) = SessionAttributesBuilder::new()
        .with_continue_session(true)
        .with_decrypt(parameters == Parameters::Encrypted)
        .with_encrypt(parameters == Parameters::Encrypted)
        .build();
    let result = context
        .tr_sess_set_attributes(session, attributes, mask)
        .doing("turn on parameter encryption")
        .and_then(|()| f(context, session));
    let flushed = context.flush_context(SessionHandle::from(session).into());
    let value = result?;
    flushed.doing("end a session")?;
    Ok(value)
}
