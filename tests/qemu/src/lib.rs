//! Builds the measured image and boots it in a virtual machine with a TPM.
//!
//! This crate knows no internals of the others: it takes finished binaries, runs them the way a
//! platform engineer and an operator would, and reads what they print. It needs no root, no KVM
//! and no device-mapper on the machine it runs on.
//!
//! | module | subject |
//! |---|---|
//! | [`image`] | initramfs, unified kernel image, EFI system partition: same inputs, same bytes |
//! | [`swtpm`] | a software TPM per machine, with EK certificates of a local authority |
//! | [`machine`] | QEMU with OVMF, one boot from power-on to power-off |
//! | [`host`] | what a host does to its machine: keys at the console, disks that come and go, strings in its tables |
//! | [`running`] | a machine while it runs: go on, stop, dump its memory, cut its power |
//! | [`memory`] | secrets in a dump of a guest's memory |
//! | [`nbd`] | a hostile disk: lies, fails, vanishes, stops at one request |
//! | [`net`] | a hostile network: delays, loses, drops, refuses and forges packets |
//! | [`results`] | what the guest reported over its virtio-serial port |
//! | [`operator`] | the operator's side: `dawnkey init`, the key service, admin commands |
//! | [`lab`] | the prepared images and binaries that the VM tests use |
//! | [`layout`] | where blocks and tags lie on a disk |
//! | [`disk`] | disk images: sparse, copied, digested |
//!
//! The tests in `tests/` are behind the feature `vm`; `cargo xtask test` prepares the lab, names it
//! in `DAWNKEY_VM_DIR` and turns the feature on.

pub mod command;
pub mod disk;
pub mod error;
pub mod host;
pub mod image;
pub mod lab;
pub mod layout;
pub mod machine;
pub mod memory;
pub mod nbd;
pub mod net;
pub mod operator;
mod ports;
mod qmp;
pub mod results;
pub mod running;
pub mod swtpm;
mod turn;

pub use error::VmError;
