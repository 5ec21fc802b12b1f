//! Data keys.

use super::{Findings, Severity};
use crate::policy::Policy;

pub(super) fn check(policy: &Policy, all: &mut Findings) {
    for (n, line) in policy.data_keys.iter().enumerate() {
        if line.prefix.is_empty() {
            all.add(
                Severity::Warning,
                format!("data_key.{n}.prefix"),
                format!("{} may have every data key of every caller", line.caller),
                "a prefix of its own",
            );
        }
        if line.caller.starts_with("cn:") {
            all.add(
                Severity::Note,
                format!("data_key.{n}.caller"),
                "a common name is not checked by most CAs as names of other kinds are",
                "a certificate with a `spiffe://` or DNS name",
            );
        }
    }
}
