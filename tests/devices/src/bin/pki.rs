//! `dawnkey-test-pki`: mock manufacturers, on the host.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use dawnkey_test_devices::DeviceError;
use dawnkey_test_devices::pki::{self, Given};

/// Makes keys and certificates of mock manufacturers for test guests, and verifies what the guests collected.
#[derive(Debug, Parser)]
#[command(name = "dawnkey-test-pki")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Fills a directory with roots, collateral and one file per platform
    Make {
        /// The directory
        dir: PathBuf,
    },
    /// Makes a software TPM that of an Azure confidential VM: attestation key and hardware report
    ProvisionAzure {
        /// File of an SNP platform made by `make`
        platform: PathBuf,
        /// The TPM, `swtpm:path=SOCKET`
        tcti: String,
    },
    /// Verifies an SNP report with the production verifier and prints its claims
    VerifySnp {
        /// Directory made by `make`
        dir: PathBuf,
        /// The report
        report: PathBuf,
        /// The certificate table beside it
        certificates: PathBuf,
        /// The report data that was asked for, hex
        data: String,
    },
    /// Verifies a TD quote
    VerifyTdx {
        /// Directory made by `make`
        dir: PathBuf,
        /// The quote
        quote: PathBuf,
        /// The report data that was asked for, hex
        data: String,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "dawnkey-test-pki: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<(), DeviceError> {
    let (dir, given, data) = match task {
        Task::Make { dir } => return pki::make(&dir),
        Task::ProvisionAzure { platform, tcti } => return pki::provision(&platform, &tcti),
        Task::VerifySnp {
            dir,
            report,
            certificates,
            data,
        } => (dir, Given::Snp(read(&report)?, read(&certificates)?), data),
        Task::VerifyTdx { dir, quote, data } => (dir, Given::Tdx(read(&quote)?), data),
    };
    let data = hex::decode(&data).map_err(|e| DeviceError::Pki(format!("report data: {e}")))?;
    let claims = pki::verify(&dir, given, &data)?;
    let text = serde_json::to_string(&claims).map_err(|e| DeviceError::Pki(e.to_string()))?;
    writeln!(std::io::stdout(), "{text}").map_err(|source| DeviceError::Io {
        what: "print the claims".to_owned(),
        source,
    })
}

fn read(path: &Path) -> Result<Vec<u8>, DeviceError> {
    std::fs::read(path).map_err(|source| DeviceError::Io {
        what: format!("read {}", path.display()),
        source,
    })
}
