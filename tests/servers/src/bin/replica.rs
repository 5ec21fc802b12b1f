//! The key service as a process whose clock is so many seconds ahead (or behind):
//! `dawnkey-test-replica SECONDS --config FILE --master-secret-fd N`.
#![allow(clippy::unwrap_used, clippy::panic)] // a test tool: what fails shall end it with its reason

use dawnkey_keyservice::config::{Config, Start};
use dawnkey_keyservice::master::Masters;
use dawnkey_keyservice::server::Service;
use jiff::{SignedDuration, Timestamp};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, ahead, _, config, _, fd] = arguments.as_slice() else {
        panic!("usage: dawnkey-test-replica SECONDS --config FILE --master-secret-fd N");
    };
    let ahead = SignedDuration::from_secs(ahead.parse().unwrap());
    let config = Config::load(Path::new(config)).unwrap();
    let masters = Masters::read(&config.kek, Some(fd.parse().unwrap()), None).unwrap();
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    let clock = Arc::new(move || Timestamp::now() + ahead);
    let running = Service::start_at(Start { config, masters }, clock).await;
    let running = running.unwrap();
    terminate.recv().await;
    match running.shutdown().await {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
