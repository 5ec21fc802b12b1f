//! What a TPM's answers mean.

use crate::{Cause, KekError, Operation};
use tss_esapi::Error;
use tss_esapi::constants::response_code::Tss2ResponseCodeKind as Code;

/// A command that failed.
#[derive(Debug)]
pub(super) struct Failure {
    pub operation: Operation,
    pub cause: Cause,
    pub detail: String,
    /// The connection may be at fault: it is made anew for the next call.
    pub broken: bool,
}

/// What a command is for, which decides what its refusal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Making the primary key with the owner's password.
    Primary,
    /// Taking a wrapped DEK in or opening it.
    Open,
    /// Anything else.
    Other,
}

impl Failure {
    pub(super) fn new(operation: Operation, cause: Cause, detail: impl Into<String>) -> Self {
        Self {
            operation,
            cause,
            detail: detail.into(),
            broken: false,
        }
    }

    /// Naming the attempt, in a map_err.
    pub(super) fn of(
        operation: Operation,
        step: Step,
        doing: &'static str,
    ) -> impl Fn(Error) -> Self {
        move |error| {
            let detail = format!("{doing}: {error}");
            let code = match error {
                Error::Tss2Error(code) => code.kind(),
                Error::WrapperError(_) if step == Step::Open => {
                    return Self::new(operation, Cause::NotAuthentic, detail);
                }
                Error::WrapperError(_) => return Self::new(operation, Cause::Garbage, detail),
            };
            let cause = code.map_or(Cause::Unreachable, |code| cause(step, code));
            let broken = matches!(cause, Cause::Unreachable | Cause::Garbage);
            Self {
                broken,
                ..Self::new(operation, cause, detail)
            }
        }
    }

    /// A credential that cannot be read.
    pub(super) fn credential(error: &crate::CredentialError) -> Self {
        let KekError {
            operation,
            cause,
            detail,
            ..
        } = KekError::credential("", error);
        Self::new(operation, cause, detail)
    }
}

fn cause(step: Step, code: Code) -> Cause {
    match (step, code) {
        (_, Code::Lockout | Code::AuthUnavailable) => Cause::Credentials,
        (Step::Primary, Code::AuthFail | Code::BadAuth) => Cause::Credentials,
        (Step::Open, Code::PolicyFail) => Cause::Denied {
            permission: Some("the PCR values at wrapping".into()),
        },
        // A wrong authorisation value is a wrong volume or epoch; the rest are parts that the TPM does not take.
        (
            Step::Open,
            Code::AuthFail
            | Code::BadAuth
            | Code::Integrity
            | Code::Attributes
            | Code::Hash
            | Code::Value
            | Code::Kdf
            | Code::Scheme
            | Code::Size
            | Code::Symmetric
            | Code::Selector
            | Code::Insufficient
            | Code::Type
            | Code::Key
            | Code::Binding
            | Code::ReservedBits
            | Code::Sensitive
            | Code::Tag,
        ) => Cause::NotAuthentic,
        (_, Code::Hierarchy) => Cause::Disabled,
        (
            _,
            Code::Retry
            | Code::Yielded
            | Code::Testing
            | Code::NvRate
            | Code::ObjectMemory
            | Code::SessionMemory
            | Code::SessionHandles
            | Code::ObjectHandles,
        ) => Cause::Throttled { after: None },
        (_, Code::CommandCode | Code::Curve | Code::Symmetric | Code::Asymmetric) => {
            Cause::Unsupported
        }
        _ => Cause::Unreachable,
    }
}
