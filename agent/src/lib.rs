//! One unlock in the initramfs, then exit.

pub mod client;
pub mod config;
pub mod connect;
pub mod one_shot;
pub mod service;
