//! `dawnkey-test-pki`: mock manufacturers, on the host.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use aws_lc_rs::hkdf::{HKDF_SHA256, Salt};
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
    /// Derives a volume's first DEK, in hex, from the master secret and the salt, one line of hex each on standard
    /// input
    Dek {
        /// The volume's id, lower case
        volume: String,
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
        Task::Dek { volume } => return print(&hex::encode(dek(&volume)?)),
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
    print(&text)
}

fn print(text: &str) -> Result<(), DeviceError> {
    writeln!(std::io::stdout(), "{text}").map_err(|source| DeviceError::Io {
        what: "print the answer".to_owned(),
        source,
    })
}

/// HKDF-SHA256 as docs/protocol.md writes it down, apart from the key service's own code.
fn dek(volume: &str) -> Result<[u8; 32], DeviceError> {
    let input = std::io::read_to_string(std::io::stdin()).map_err(|source| DeviceError::Io {
        what: "read the master secret".to_owned(),
        source,
    })?;
    let mut lines = input.lines();
    let mut line = |what: &str| {
        hex::decode(lines.next().unwrap_or_default().trim())
            .map_err(|e| DeviceError::Pki(format!("{what}: {e}")))
    };
    let (master, salt) = (line("master secret")?, line("salt")?);
    let info = format!("key-{volume}");
    let mut dek = [0; 32];
    Salt::new(HKDF_SHA256, &salt)
        .extract(&master)
        .expand(&[info.as_bytes()], HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut dek))
        .map_err(|_| DeviceError::Pki("derive a DEK".to_owned()))?;
    Ok(dek)
}

fn read(path: &Path) -> Result<Vec<u8>, DeviceError> {
    std::fs::read(path).map_err(|source| DeviceError::Io {
        what: format!("read {}", path.display()),
        source,
    })
}
