//! `dawnkey-test-tee`: the stand-ins, in the guest.
//!
//! | command | does |
//! |---|---|
//! | `start KIND FILE` | starts one in the background and prints its process id when it is there |
//! | `serve KIND FILE` | serves one and prints `ready` when it is there |

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use dawnkey_test_devices::sev_guest::SevGuest;
use dawnkey_test_devices::signer::Signer;
use dawnkey_test_devices::tdx_guest::TdxGuest;
use dawnkey_test_devices::{DeviceError, cuse, imds, quote_service, tsm};

const USAGE: &str =
    "usage: dawnkey-test-tee start|serve sev-guest|tdx-guest|quote-service|tsm|imds FILE";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["start", kind, file] => start(kind, file),
        ["serve", kind, file] => serve(kind, Path::new(file)),
        _ => Err(DeviceError::Pki(USAGE.to_owned())),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "dawnkey-test-tee: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(kind: &str, file: &Path) -> Result<(), DeviceError> {
    let signer = Signer::new(file);
    match kind {
        "sev-guest" => cuse::serve(SevGuest::new(signer), ready),
        "tdx-guest" => cuse::serve(TdxGuest::new(signer), ready),
        "quote-service" => quote_service::serve(&signer, ready),
        "tsm" => tsm::serve(&signer, ready),
        "imds" => imds::serve(file, ready),
        _ => Err(DeviceError::Pki(USAGE.to_owned())),
    }
}

fn ready() -> Result<(), DeviceError> {
    say("ready")
}

/// The child outlives this process; nothing waits for it.
fn start(kind: &str, file: &str) -> Result<(), DeviceError> {
    let failed = |what: &str, source| DeviceError::Io {
        what: format!("{what} the stand-in {kind}"),
        source,
    };
    let program = std::env::current_exe().map_err(|e| failed("find", e))?;
    let mut child = Command::new(program)
        .args(["serve", kind, file])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| failed("start", e))?;
    let mut line = String::new();
    if let Some(output) = child.stdout.take() {
        BufReader::new(output)
            .read_line(&mut line)
            .map_err(|e| failed("hear from", e))?;
    }
    if line.trim() != "ready" {
        let ended = child.wait().map_err(|e| failed("wait for", e))?;
        return Err(DeviceError::Pki(format!(
            "the stand-in {kind} ended before it was ready: {ended}"
        )));
    }
    say(&child.id().to_string())
}

fn say(line: &str) -> Result<(), DeviceError> {
    writeln!(std::io::stdout(), "{line}").map_err(|source| DeviceError::Io {
        what: "print a line".to_owned(),
        source,
    })
}
