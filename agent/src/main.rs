//! `dawnkey-agent`
fn main() {}
