//! Registers that the agent caps once its volumes are open must still be zero; or show those volumes and the cap, when one
//! of them is to be reopened.

use super::{Bench, Moment, Trace, Verdict, deny};
use crate::policy::Register;
use crate::release::ClosedBoot;
use dawnkey_attest::claims::TrustClass;
use dawnkey_proto::message::Reason;

/// The PCR that the agent closes a boot in.
const LAST_PCR: Register = Register::Pcr(15);
/// The RTMR that the agent closes a boot in.
const LAST_RTMR: Register = Register::Rtmr(3);

impl Bench<'_> {
    /// A bare SNP guest has no such register; [`crate::release`] knows its launches instead.
    pub(super) fn pre_cap(&self, trace: &mut Trace) -> Result<(), Verdict> {
        if self.rules.trust_class != TrustClass::Tee {
            let wanted = self.rules.pcrs_pre_cap.iter().copied();
            self.before_cap("pcrs_pre_cap", wanted.map(Register::Pcr), LAST_PCR, trace)
        } else if self.claims.tdx.is_some() {
            let wanted = self.rules.rtmrs_pre_cap.iter().flatten().copied();
            self.before_cap(
                "rtmrs_pre_cap",
                wanted.map(Register::Rtmr),
                LAST_RTMR,
                trace,
            )
        } else {
            Ok(())
        }
    }

    fn before_cap(
        &self,
        field: &str,
        zero: impl Iterator<Item = Register>,
        last: Register,
        trace: &mut Trace,
    ) -> Result<(), Verdict> {
        let mut zero: Vec<Register> = zero.collect();
        if let Moment::Closed(boot) = self.moment {
            // Without that register policy knows that the hardware of its nodes has none.
            if last == LAST_PCR || zero.contains(&last) {
                self.closed(last, boot, trace)?;
            }
            zero.retain(|register| *register != last);
        }
        zero.into_iter()
            .try_for_each(|register| self.untouched(field, register, trace))
    }

    /// The boot's last register shows exactly the volumes that it was closed with, and the cap.
    fn closed(&self, last: Register, boot: &ClosedBoot, trace: &mut Trace) -> Result<(), Verdict> {
        let key = self.key("reopen");
        let Some(found) = last.found(self.claims) else {
            return Err(absent(&key, last, trace));
        };
        let wanted = match last {
            Register::Rtmr(_) => boot.rtmr.as_slice(),
            _ => boot.pcr.as_slice(),
        };
        let [shown, wants] = [found.as_slice(), wanted].map(hex::encode);
        let finding = format!("{last} wants {wants}, is {shown}");
        if trace.step(key, finding, found == wanted) {
            return Ok(());
        }
        let detail = format!(
            "{last} is {shown}, expected {wants}: the boot was not closed with the volumes that the request names, or something extended the register since"
        );
        Err(deny(Reason::ReopenMismatch, detail, "reboot the node"))
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
