//! Collects evidence on a node, behind one trait.

mod ak;
pub mod ccel;
mod ek;
mod error;
mod ioctl;
mod pcr;
pub mod qgs;
mod session;
pub mod sev_guest;
pub mod tdx_guest;
pub mod tsm;
pub mod vtpm;

pub use error::CollectError;

use crate::evidence::{Evidence, Exchange};

/// A source of evidence.
pub trait Attester {
    /// Kind of evidence it gives, as on the wire.
    fn kind(&self) -> &'static str;

    /// Collects evidence bound to `exchange`.
    fn collect(&mut self, exchange: &Exchange) -> Result<Evidence, CollectError>;

    /// Answers an enrolment challenge: HMAC-SHA256 over `exchange`, keyed with the secret that only the holder of
    /// the endorsement key gets out of `id_object` and `encrypted_secret` (both without their TPM2B size field).
    fn activate(
        &mut self,
        id_object: &[u8],
        encrypted_secret: &[u8],
        exchange: &Exchange,
    ) -> Result<[u8; 32], CollectError>;

    /// Records `event` in the boot's last register and caps it, so that evidence of the running system differs
    /// from evidence of the boot. Refused if the register is not in its boot state.
    fn close_boot(&mut self, event: &[u8]) -> Result<(), CollectError>;
}
