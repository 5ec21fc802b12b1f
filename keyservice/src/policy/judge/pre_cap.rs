//! Registers that the agent caps once a volume is open must still be zero.

use super::{Bench, Trace, Verdict, deny};
use crate::policy::Register;
use dawnkey_attest::claims::TrustClass;
use dawnkey_proto::message::Reason;

impl Bench<'_> {
    /// A bare SNP guest has no such register; [`crate::release`] knows its launches instead.
    pub(super) fn pre_cap(&self, trace: &mut Trace) -> Result<(), Verdict> {
        if self.rules.trust_class != TrustClass::Tee {
            for pcr in &self.rules.pcrs_pre_cap {
                self.untouched("pcrs_pre_cap", Register::Pcr(*pcr), trace)?;
            }
        } else if self.claims.tdx.is_some() {
            for rtmr in self.rules.rtmrs_pre_cap.iter().flatten() {
                self.untouched("rtmrs_pre_cap", Register::Rtmr(*rtmr), trace)?;
            }
        }
        Ok(())
    }

    fn untouched(&self, field: &str, register: Register, trace: &mut Trace) -> Result<(), Verdict> {
        let key = self.key(field);
        let Some(found) = register.found(self.claims) else {
            return Err(absent(&key, register, trace));
        };
        let zero = found.iter().all(|byte| *byte == 0);
        let shown = hex::encode(&found);
        let finding = format!("{register} wants all zero, is {shown}");
        if trace.step(key, finding, zero) {
            return Ok(());
        }
        let wanted = hex::encode(vec![0; found.len()]);
        let detail =
            format!("{register} is {shown}, expected {wanted}: this boot has had its key already");
        let remedy = "a key is given once per boot: reboot the node";
        Err(deny(mismatch(register), detail, remedy))
    }
}

/// The reason for a register with a wrong value.
pub(super) fn mismatch(register: Register) -> Reason {
    match register {
        Register::Pcr(_) => Reason::PcrMismatch,
        _ => Reason::MeasurementMismatch,
    }
}

/// A refusal because the evidence does not show a register.
pub(super) fn absent(key: &str, register: Register, trace: &mut Trace) -> Verdict {
    trace.step(key, format!("{register} was not quoted"), false);
    match register {
        Register::Pcr(pcr) => deny(
            Reason::PcrSelection,
            format!("PCR {pcr} of the SHA-256 bank was not quoted, policy needs it"),
            "quote all 24 PCRs of the SHA-256 bank",
        ),
        other => deny(
            Reason::EvidenceKindNotAllowed,
            format!("the evidence does not show {other}, policy needs it"),
            "send the kind of evidence that the policy asks for",
        ),
    }
}
