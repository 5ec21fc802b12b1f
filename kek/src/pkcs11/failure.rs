//! What a token's return values mean.

use crate::{Cause, Operation};
use cryptoki::context::Function;
use cryptoki::error::{Error, RvError};

/// `CKR_AEAD_DECRYPT_FAILED` of PKCS#11 3.0.
const AEAD_DECRYPT_FAILED: u64 = 0x42;

/// A call to the token that failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub operation: Operation,
    pub cause: Cause,
    pub detail: String,
    /// The session or a handle is no longer good: a new session may help.
    pub stale: bool,
    /// The token may have meant [`Cause::NotAuthentic`], or that it does not work.
    pub ambiguous: bool,
}

impl Failure {
    /// One that no session helps against.
    pub(super) fn new(operation: Operation, cause: Cause, detail: impl Into<String>) -> Self {
        Self {
            operation,
            cause,
            detail: detail.into(),
            stale: false,
            ambiguous: false,
        }
    }

    /// What a call's error means when it was made for `operation`.
    pub(super) fn of(operation: Operation, error: &Error) -> Self {
        let (value, function) = match error {
            Error::Pkcs11(value, function) => (*value, *function),
            Error::LibraryLoading(_) | Error::MissingSymbol(_) => {
                return Self::new(operation, Cause::Misconfigured, error.to_string());
            }
            Error::NullFunctionPointer | Error::NotSupported => {
                return Self::new(operation, Cause::Unsupported, error.to_string());
            }
            _ => return Self::new(operation, Cause::Garbage, error.to_string()),
        };
        let opening = matches!(function, Function::Decrypt | Function::UnwrapKey);
        let mut failure = Self::new(
            operation,
            cause(operation, value, opening),
            format!("C_{function:?}: {value:?}"),
        );
        failure.stale = matches!(
            value,
            RvError::SessionHandleInvalid
                | RvError::SessionClosed
                | RvError::UserNotLoggedIn
                | RvError::KeyHandleInvalid
                | RvError::ObjectHandleInvalid
                | RvError::WrappingKeyHandleInvalid
                | RvError::UnwrappingKeyHandleInvalid
        );
        failure.ambiguous =
            opening && matches!(value, RvError::GeneralError | RvError::FunctionFailed);
        failure
    }
}

fn cause(operation: Operation, value: RvError, opening: bool) -> Cause {
    match value {
        // SoftHSM 2.6 answers a wrong tag of AES-GCM, or wrong associated data, with CKR_GENERAL_ERROR.
        RvError::GeneralError | RvError::FunctionFailed if opening => Cause::NotAuthentic,
        RvError::EncryptedDataInvalid
        | RvError::EncryptedDataLenRange
        | RvError::WrappedKeyInvalid
        | RvError::WrappedKeyLenRange
        | RvError::UnknownErrorCode(AEAD_DECRYPT_FAILED) => Cause::NotAuthentic,
        RvError::PinIncorrect
        | RvError::PinInvalid
        | RvError::PinLenRange
        | RvError::PinExpired
        | RvError::PinLocked
        | RvError::UserPinNotInitialized
        | RvError::UserNotLoggedIn => Cause::Credentials,
        RvError::KeyFunctionNotPermitted => Cause::Denied {
            permission: Some(permission(operation).to_owned()),
        },
        RvError::ActionProhibited | RvError::FunctionRejected => Cause::Denied { permission: None },
        RvError::KeyHandleInvalid
        | RvError::ObjectHandleInvalid
        | RvError::WrappingKeyHandleInvalid
        | RvError::UnwrappingKeyHandleInvalid => Cause::NoSuchKey,
        RvError::MechanismInvalid
        | RvError::MechanismParamInvalid
        | RvError::KeyTypeInconsistent
        | RvError::KeySizeRange
        | RvError::WrappingKeyTypeInconsistent
        | RvError::WrappingKeySizeRange
        | RvError::UnwrappingKeyTypeInconsistent
        | RvError::UnwrappingKeySizeRange
        | RvError::FunctionNotSupported
        | RvError::TemplateInconsistent => Cause::Unsupported,
        RvError::SessionCount => Cause::Throttled { after: None },
        _ => Cause::Unreachable,
    }
}

/// The attribute that lets the key do it.
fn permission(operation: Operation) -> &'static str {
    match operation {
        Operation::Wrap => "CKA_ENCRYPT (CKA_WRAP for aes-kw)",
        _ => "CKA_DECRYPT (CKA_UNWRAP for aes-kw)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: RvError, function: Function) -> Failure {
        Failure::of(Operation::Unwrap, &Error::Pkcs11(value, function))
    }

    #[test]
    fn general_error_means_not_authentic_only_where_a_wrapped_dek_was_opened() {
        let opening = of(RvError::GeneralError, Function::Decrypt);
        assert_eq!(opening.cause, Cause::NotAuthentic);
        assert!(opening.ambiguous);
        for function in [
            Function::DecryptInit,
            Function::Encrypt,
            Function::OpenSession,
        ] {
            let failed = of(RvError::GeneralError, function);
            assert_eq!(failed.cause, Cause::Unreachable);
            assert!(!failed.ambiguous);
        }
    }

    #[test]
    fn locked_pin_removed_token_and_lost_session_are_told_apart() {
        let locked = of(RvError::PinLocked, Function::Login);
        assert_eq!(locked.cause, Cause::Credentials);
        assert_eq!(locked.detail, "C_Login: PinLocked");
        let removed = of(RvError::DeviceRemoved, Function::Decrypt);
        assert_eq!((removed.cause, removed.stale), (Cause::Unreachable, false));
        assert!(of(RvError::SessionHandleInvalid, Function::DecryptInit).stale);
    }
}
