//! `dawnkey init`: everything that a key service and its operator start from, in one directory.

mod pki;
mod templates;

use crate::files;
use crate::outcome::{Exit, Failure};
use crate::output::Output;
use crate::profile;
use clap::Args;
use dawnkey_kek::recovery::RecoveryKey;
use dawnkey_proto::recovery::GrantKey;
use pki::{Ca, Pair, Use};
use rustls_pki_types::ServerName;
use serde::Serialize;
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use templates::Names;
use zeroize::Zeroizing;

/// Certificates, keys and configuration for a new key service
///
/// Makes a CA and the service's certificate, an admin CA and an operator's certificate, the keys for recovery, and a
/// configuration and a first policy that fit them. Existing files are never overwritten. Files with keys can be read by their owner only.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dawnkey init /etc/dawnkey --name keyservice.example.org
  dawnkey init ./try --name localhost --name 127.0.0.1
  dawnkey init /etc/dawnkey --name ks.example.org --tpm-ek-root vendor-ca.pem
  dawnkey init /etc/dawnkey --name 10.0.2.100 --listen 10.0.2.100:8443")]
pub(crate) struct InitArgs {
    /// Directory to fill; made if it does not exist
    directory: PathBuf,
    /// DNS name or IP address in the service's certificate; the first goes into the clients' configuration
    #[arg(long = "name", value_name = "HOST", required = true, value_parser = host)]
    names: Vec<String>,
    /// Address for nodes
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8443")]
    listen: SocketAddr,
    /// Address for operators
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8444")]
    listen_admin: SocketAddr,
    /// Loopback address for health and metrics, plain HTTP
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:9464", value_parser = loopback)]
    listen_metrics: SocketAddr,
    /// PEM file with CAs of TPMs whose keys may enrol; copied into the directory
    #[arg(long = "tpm-ek-root", value_name = "FILE")]
    tpm_ek_roots: Vec<PathBuf>,
    /// Days for which the service's and the operator's certificates are valid
    #[arg(long, value_name = "N", default_value_t = 825, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
}

/// A name that clients can ask TLS for.
fn host(text: &str) -> Result<String, &'static str> {
    ServerName::try_from(text).map_err(|_| "neither a DNS name in ASCII nor an IP address")?;
    Ok(text.to_owned())
}

/// What speaks plain HTTP stays on this machine.
fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = text
        .parse()
        .map_err(|e: std::net::AddrParseError| e.to_string())?;
    if !address.ip().is_loopback() {
        return Err("not a loopback address; put a proxy in front to serve others".to_owned());
    }
    Ok(address)
}

/// Days for which the CAs are valid.
const CA_DAYS: u32 = 3_650;

/// Private half of the offline recovery key.
const RECOVERY_KEY: &str = "offline/recovery.key";
/// Private key that signs grants.
const GRANT_KEY: &str = "offline/grant.key";

/// One file of the set.
struct NewFile {
    name: &'static str,
    what: &'static str,
    mode: u32,
    content: Zeroizing<String>,
}

/// The result as `--json` shows it.
#[derive(Debug, Serialize)]
struct Made {
    directory: String,
    service_id: String,
    files: Vec<String>,
}

impl InitArgs {
    /// Makes all files or none.
    pub(crate) fn run(&self, output: Output) -> Result<Exit, Failure> {
        crate::volume::harden()?;
        let service_id = uuid::Uuid::new_v4();
        let files = self.files(service_id)?;
        for file in &files {
            files::must_be_absent(&self.directory.join(file.name), file.what)?;
        }
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(self.directory.join(templates::OFFLINE))
            .map_err(|e| {
                Failure::local(
                    format!("make the directory: {e}"),
                    self.directory.display(),
                    "a directory that you may write",
                )
            })?;
        write_all(&self.directory, &files)?;
        let made = Made {
            directory: self.directory.display().to_string(),
            service_id: service_id.to_string(),
            files: files.iter().map(|f| f.name.to_owned()).collect(),
        };
        output.show(&made, || self.report(&files))?;
        Ok(Exit::Done)
    }

    fn files(&self, service_id: uuid::Uuid) -> Result<Vec<NewFile>, Failure> {
        let mut salt = [0_u8; 32];
        aws_lc_rs::rand::fill(&mut salt).map_err(|_| {
            Failure::local(
                "make a salt: the random source failed",
                "the kernel's random generator",
                "a seeded random generator",
            )
        })?;
        let keys = self.keys().map_err(|e| {
            Failure::usage(
                format!("make the certificates: {e}"),
                format!("--name {}", self.names.join(" --name ")),
                "DNS names or IP addresses",
            )
        })?;
        let recovery = RecoveryKeys::generate()?;
        let names = Names {
            service_id,
            name: self.names.first().map_or("", String::as_str),
            unlock: self.listen,
            admin: self.listen_admin,
            metrics: self.listen_metrics,
            salt,
            roots: !self.tpm_ek_roots.is_empty(),
            grant_key: recovery.grant_public,
        };
        let mut files = Vec::new();
        let mut pair = |pair: Pair, certificate, key, what| {
            files.push(NewFile {
                name: certificate,
                what,
                mode: files::PUBLIC,
                content: Zeroizing::new(pair.certificate),
            });
            files.push(NewFile {
                name: key,
                what,
                mode: files::PRIVATE,
                content: pair.key,
            });
        };
        pair(keys.ca, "ca.pem", "ca.key", "the service's CA");
        pair(
            keys.server,
            "server.pem",
            "server.key",
            "the service's certificate",
        );
        pair(
            keys.admin_ca,
            "admin-ca.pem",
            "admin-ca.key",
            "the operators' CA",
        );
        pair(
            keys.admin,
            "admin.pem",
            "admin.key",
            "the operator's certificate",
        );
        for (name, mode, what, content) in [
            (
                templates::RECIPIENT,
                files::PUBLIC,
                "whom DEKs are sealed to",
                Zeroizing::new(recovery.recipient),
            ),
            (
                RECOVERY_KEY,
                files::PRIVATE,
                "opens them without a KMS",
                recovery.key,
            ),
            (
                GRANT_KEY,
                files::PRIVATE,
                "signs grants for waiting nodes",
                recovery.grant,
            ),
        ] {
            files.push(NewFile {
                name,
                what,
                mode,
                content,
            });
        }
        if names.roots {
            files.push(NewFile {
                name: templates::ROOTS,
                what: "the TPMs' CAs",
                mode: files::PUBLIC,
                content: Zeroizing::new(self.roots()?),
            });
        }
        for (name, what, content) in [
            (
                "keyservice.toml",
                "the service's configuration",
                names.keyservice(),
            ),
            ("policy.toml", "the policy", names.policy()),
            ("admin.toml", "the admin profile", names.admin()),
            (
                "agent.toml.example",
                "the agent's configuration",
                names.agent(),
            ),
        ] {
            files.push(NewFile {
                name,
                what,
                mode: files::PUBLIC,
                content: Zeroizing::new(content),
            });
        }
        Ok(files)
    }

    /// The certificates of all `--tpm-ek-root` files, in PEM.
    fn roots(&self) -> Result<String, Failure> {
        let mut all = String::new();
        for path in &self.tpm_ek_roots {
            profile::certificates(path, "the TPMs' CAs")?;
            all.push_str(&files::read_text(path, "the TPMs' CAs")?);
            if !all.ends_with('\n') {
                all.push('\n');
            }
        }
        Ok(all)
    }

    fn keys(&self) -> Result<Keys, rcgen::Error> {
        let first = self.names.first().map_or("", String::as_str);
        let ca = Ca::new("Dawnkey key service CA", CA_DAYS)?;
        let server = ca.issue(first, &self.names, Use::Server, self.days)?;
        let admin_ca = Ca::new("Dawnkey admin CA", CA_DAYS)?;
        let admin = admin_ca.issue("dawnkey admin", &[], Use::Client, self.days)?;
        Ok(Keys {
            ca: ca.pair,
            server,
            admin_ca: admin_ca.pair,
            admin,
        })
    }

    fn report(&self, files: &[NewFile]) -> String {
        let dir = self.directory.display();
        let mut text = format!("made in {dir}:\n");
        for file in files {
            text.push_str(&format!(
                "  {:<20} {:04o}  {}\n",
                file.name, file.mode, file.what
            ));
        }
        text.push_str(&templates::next_steps(
            &self.directory,
            !self.tpm_ek_roots.is_empty(),
        ));
        text
    }
}

/// For the days on which the service, or its KMS, is gone.
struct RecoveryKeys {
    recipient: String,
    key: Zeroizing<String>,
    grant: Zeroizing<String>,
    grant_public: String,
}

impl RecoveryKeys {
    fn generate() -> Result<Self, Failure> {
        let failed = |e: &dyn std::fmt::Display| {
            Failure::local(
                format!("make the recovery keys: {e}"),
                "this machine",
                "a working random generator",
            )
        };
        let key = RecoveryKey::generate().map_err(|e| failed(&e))?;
        let recipient = key.recipient().map_err(|e| failed(&e))?;
        let grant = GrantKey::generate().map_err(|e| failed(&e))?;
        let public = grant.public().map_err(|e| failed(&e))?;
        let line = |mut text: Zeroizing<String>| {
            text.push('\n');
            text
        };
        Ok(Self {
            recipient: format!("{}\n", recipient.text()),
            key: line(key.text().map_err(|e| failed(&e))?),
            grant: line(grant.text().map_err(|e| failed(&e))?),
            grant_public: public.text(),
        })
    }
}

struct Keys {
    ca: Pair,
    server: Pair,
    admin_ca: Pair,
    admin: Pair,
}

/// Writes every file, or removes those it wrote.
fn write_all(directory: &Path, files: &[NewFile]) -> Result<(), Failure> {
    for (count, file) in files.iter().enumerate() {
        let path = directory.join(file.name);
        if let Err(failure) = files::create(&path, file.what, file.mode, file.content.as_bytes()) {
            for written in files.iter().take(count) {
                let _ = std::fs::remove_file(directory.join(written.name));
            }
            return Err(failure);
        }
    }
    Ok(())
}
