//! One unlock in the initramfs, then exit.
//!
//! [`unlock`] is the flow of one volume, one type whose states are its steps; [`run`] drives it for every volume and is
//! where anything is tried again. The flow is given three ports and knows nothing behind them: [`service::KeyService`] (beside it
//! [`source::Source`], the real one), `dawnkey_attest::collect::Attester` and `dawnkey_dm::Mapper`.
//!
//! | module | |
//! |---|---|
//! | [`attester`] | which evidence: chosen by name, or by the machine's signs |
//! | [`command`] | what the program can be told to do |
//! | [`config`] | the measured file: pins, budgets, the volumes |
//! | [`source`] | where keys come from: Dawnkey's own service, or a Key Broker Service (feature `trustee`) |
//! | [`discover`] | where the service may be: addresses from anywhere, never a pin |
//! | [`connect`], [`client`] | one TCP connection, one TLS 1.3 handshake, gRPC over it, never again |
//! | [`crypttab`] | volumes that systemd-cryptsetup opens: a validated header and a key socket |
//! | [`recovery`] | what is done when no service answers: an operator's grant |
//! | [`diagnose`] | why the service cannot be had, for people |
//! | [`retry`] | budget, deadlines, back-off |
//! | [`error`] | one error per step, its exit code, whether waiting can mend it |
//! | [`boot`] | what a closed boot leaves for opening a volume again |
//! | [`measure_log`] | what the boot's last register was extended with, beside systemd's measurements |
//! | [`lease`], [`hold`] | the lease of a volume in use, and its holder |
//! | [`notify`] | what systemd is told |
//! | [`report`] | the closed list of what may be said, and the only place that prints |
//!
//! The crate knows no policy and no reference value: it cannot tell whether its own evidence is good.
//! `docs/agent.md` is its manual.

pub mod attester;
pub mod boot;
pub mod client;
pub mod command;
pub mod config;
pub mod connect;
pub mod crypttab;
pub mod diagnose;
pub mod discover;
pub mod error;
pub mod hold;
pub mod lease;
pub mod measure_log;
pub mod notify;
mod random;
pub mod recovery;
pub mod report;
pub mod retry;
pub mod run;
pub mod secret;
pub mod service;
pub mod source;
#[cfg(feature = "trustee")]
pub mod trustee;
pub mod unlock;
