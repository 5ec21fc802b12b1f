//! Endorsements: what vendors say about platforms, beside what the platforms say themselves.
//!
//! Certificates, revocation lists and TCB statements come with the evidence, from a local store, or from the
//! vendors' services, in that order ([`Endorsements::collateral_for`]). Nothing is trusted for where it lies or came
//! from: [`check`](mod@check) holds each document against the roots before it enters the store, and again whenever it is loaded.
//! An older statement never replaces a newer one.
//!
//! | part | module |
//! |---|---|
//! | what there is, and where it lies | [`item`] |
//! | signatures | [`check`](mod@check), [`answer`] |
//! | the directory | [`store`], [`exchange`] |
//! | vendors' services | [`vendor`], [`http`], [`pace`], `flight` |
//! | bringing it together | [`service`], `wants`, `assemble`, `survey`, `counters` |
//!
//! `docs/endorsements.md` is for operators.

pub mod answer;
mod assemble;
pub mod check;
mod counters;
pub mod exchange;
mod flight;
pub mod http;
pub mod item;
pub mod pace;
mod pem;
pub mod service;
pub mod store;
mod survey;
pub mod vendor;
mod wants;

#[cfg(test)]
mod tests;

#[cfg(any(test, feature = "fake"))]
pub mod fake;

pub use check::Trust;
pub use service::{Endorsements, OnlineSettings, Settings, SetupError};
