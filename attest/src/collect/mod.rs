//! Collects evidence on a node, behind one trait.
//!
//! | attester | report from | boot closed in |
//! |---|---|---|
//! | [`snp::Snp`] | configfs-tsm ([`tsm`]), or `/dev/sev-guest` ([`sev_guest`]) | nothing: there is no register |
//! | [`tdx::Tdx`] | configfs-tsm, or `/dev/tdx_guest` and the host's service ([`tdx_guest`], [`qgs`]) | RTMR 3 |
//! | [`vtpm::Vtpm`] | a TPM, with a key of its own or Google's ([`gce`]) | PCR 15 |
//! | [`azure::Azure`] | Azure's vTPM, and the metadata service ([`imds`]) | PCR 15 |
//!
//! [`detect::detect`] says which of them a machine is.
//!
//! A device is taken instead of configfs-tsm only where the kernel has no configfs-tsm, never because that failed.

mod ak;
pub mod azure;
pub mod ccel;
pub mod detect;
mod ek;
mod error;
pub mod gce;
pub mod imds;
mod ioctl;
mod nv;
mod pcr;
pub mod qgs;
mod quoter;
mod register;
mod rtmr;
mod session;
pub mod sev_guest;
pub mod snp;
pub mod tdx;
pub mod tdx_guest;
pub mod tsm;
pub mod vtpm;

pub use error::CollectError;
pub use register::{Closing, Extended, Register, RegisterLog};

use crate::azure::hcl::HardwareKind;
use crate::evidence::{Evidence, Exchange};

/// A source of evidence.
pub trait Attester {
    /// Kind of evidence it gives, as on the wire.
    fn kind(&self) -> &'static str;

    /// Collects evidence bound to `exchange`.
    fn collect(&mut self, exchange: &Exchange) -> Result<Evidence, CollectError>;

    /// Collects evidence bound to the SHA-384 of something that another protocol than ours has: as the beginning of the
    /// report data, the rest zero; or as far as a TPM's quote has room for it.
    fn collect_over(&mut self, digest: &[u8; 48]) -> Result<Evidence, CollectError> {
        let mut report_data = [0; 64];
        let (begin, _) = report_data.split_at_mut(digest.len());
        begin.copy_from_slice(digest);
        self.collect(&Exchange(report_data))
    }

    /// The TEE below, where the kind alone does not say it.
    fn hardware(&mut self) -> Result<Option<HardwareKind>, CollectError> {
        Ok(None)
    }

    /// What the last evidence had to go without, for people; `None` if nothing.
    fn shortfall(&self) -> Option<&str> {
        None
    }

    /// Answers an enrolment challenge: HMAC-SHA256 over `exchange`, keyed with the secret that only the holder of
    /// the endorsement key gets out of `id_object` and `encrypted_secret` (both without their TPM2B size field).
    /// Kinds without a key to enrol refuse with [`CollectError::NoEnrolment`].
    fn activate(
        &mut self,
        id_object: &[u8],
        encrypted_secret: &[u8],
        exchange: &Exchange,
    ) -> Result<[u8; 32], CollectError> {
        let _ = (id_object, encrypted_secret, exchange);
        Err(CollectError::NoEnrolment { kind: self.kind() })
    }

    /// Records `events`, one for each open volume, in the boot's last register and caps it, so that evidence of the
    /// running system differs from evidence of the boot. Refused if the register is not in its boot state.
    fn close_boot(&mut self, events: &[Vec<u8>]) -> Result<Closing, CollectError>;

    /// Has what the register is extended with taken down from now on; an attester without a register has no use for it.
    fn log_to(&mut self, log: Box<dyn RegisterLog>) {
        drop(log);
    }
}

impl<A: Attester + ?Sized> Attester for Box<A> {
    fn kind(&self) -> &'static str {
        (**self).kind()
    }

    fn collect(&mut self, exchange: &Exchange) -> Result<Evidence, CollectError> {
        (**self).collect(exchange)
    }

    fn collect_over(&mut self, digest: &[u8; 48]) -> Result<Evidence, CollectError> {
        (**self).collect_over(digest)
    }

    fn hardware(&mut self) -> Result<Option<HardwareKind>, CollectError> {
        (**self).hardware()
    }

    fn shortfall(&self) -> Option<&str> {
        (**self).shortfall()
    }

    fn activate(
        &mut self,
        id_object: &[u8],
        encrypted_secret: &[u8],
        exchange: &Exchange,
    ) -> Result<[u8; 32], CollectError> {
        (**self).activate(id_object, encrypted_secret, exchange)
    }

    fn close_boot(&mut self, events: &[Vec<u8>]) -> Result<Closing, CollectError> {
        (**self).close_boot(events)
    }

    fn log_to(&mut self, log: Box<dyn RegisterLog>) {
        (**self).log_to(log);
    }
}
