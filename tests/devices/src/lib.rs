//! Stand-ins for the devices of confidential VMs, for machines that have none: test guests only.
//!
//! The kernel interfaces are real, what lies behind them is not. On the host, [`pki`] makes the keys and
//! certificates of mock manufacturers and writes one [`material::Material`] for each platform that a test
//! wants. In the guest, a [`signer::Signer`] makes reports from it, asked through the kernel's own paths:
//!
//! | asked through | served by |
//! |---|---|
//! | `/dev/sev-guest` (`SNP_GET_REPORT`, `SNP_GET_EXT_REPORT`) | [`sev_guest`] over [`cuse`] |
//! | `/dev/tdx_guest` (`TDX_CMD_GET_REPORT0`) | [`tdx_guest`] over [`cuse`] |
//! | vsock port 4050 (`GET_QUOTE`) | [`quote_service`] |
//! | `/sys/kernel/config/tsm/report` | [`tsm`], behind the kernel module in `tsm/` |
//! | `http://169.254.169.254/metadata/THIM/amd/certification` | [`imds`] |
//!
//! Nothing made here is trusted by anything unless a test names the mock's root. No release build has it.

pub mod cuse;
pub mod error;
pub mod imds;
pub mod material;
pub mod pki;
pub mod quote_service;
pub mod sev_guest;
pub mod signer;
pub mod tdx_guest;
pub mod tsm;

pub use error::DeviceError;
