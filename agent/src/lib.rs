//! One unlock in the initramfs, then exit.

pub mod client;
pub mod config;
pub mod connect;
pub mod error;
pub mod one_shot;
pub mod report;
pub mod retry;
pub mod run;
pub mod service;
pub mod unlock;
