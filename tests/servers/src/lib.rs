//! What the suites against real servers share: toolchains, caches of built servers, processes, a front that misbehaves,
//! and the conformance suite that every KEK provider passes.
//!
//! `cargo xtask test --servers` runs all suites. One alone: `cargo test -p dawnkey-server-tests --features cluster --test
//! servers cluster::`. Built servers are kept in `$DAWNKEY_SERVERS`, by default `dawnkey/servers` of the cache directory, under a
//! name that contains the digest of what they were made from.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test tool: what fails shall end the test with its reason

pub mod cache;
pub mod conformance;
pub mod front;
pub mod go;
pub mod maven;
pub mod npm;
pub mod ports;
pub mod process;
pub mod python;
pub mod servers;
pub mod toolchain;
