//! `dawnkey recovery-key`: the keys that sign grants for nodes which no service answers.

use crate::files;
use crate::outcome::{Exit, Failure};
use crate::output::{Output, fields};
use clap::{Args, Subcommand};
use dawnkey_proto::recovery::{GrantKey, KeyError};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// Arguments of `dawnkey recovery-key`.
#[derive(Debug, Args)]
pub(crate) struct RecoveryKeyArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    New(NewArgs),
}

/// Make a key that signs recovery grants: two new files
///
/// The public line goes into `recovery.keys` of the nodes' measured configuration. The private file stays with the operators
/// who may recover: alone it opens nothing, since a grant also needs a volume's key, from the key service or from the
/// offline recovery key.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dawnkey recovery-key new --key /media/safe/grant.key --public grant.pub")]
struct NewArgs {
    /// File to create for the private key; it must not exist
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// File to create for the public key; it must not exist
    #[arg(long, value_name = "FILE")]
    public: PathBuf,
}

#[derive(Debug, Serialize)]
struct Made {
    /// Names the key in grants and logs.
    name: String,
    public: String,
    key_file: String,
    public_file: String,
}

fn failed(error: KeyError) -> Failure {
    Failure::local(error, "this machine", "a working random generator")
}

impl RecoveryKeyArgs {
    /// Runs the command.
    pub(crate) fn run(&self, output: Output) -> Result<Exit, Failure> {
        match &self.command {
            Command::New(args) => args.run(output),
        }
    }
}

impl NewArgs {
    fn run(&self, output: Output) -> Result<Exit, Failure> {
        files::must_be_absent(&self.key, "the private key")?;
        files::must_be_absent(&self.public, "the public key")?;
        crate::volume::harden()?;
        let key = GrantKey::generate().map_err(failed)?;
        let public = key.public().map_err(failed)?;
        let mut text = key.text().map_err(failed)?;
        text.push('\n');
        let private = files::PRIVATE;
        files::create(&self.key, "the private key", private, text.as_bytes())?;
        let line = format!("{}\n", public.text());
        let open = files::PUBLIC;
        files::create(&self.public, "the public key", open, line.as_bytes())?;
        let made = Made {
            name: public.id().to_string(),
            public: public.text(),
            key_file: self.key.display().to_string(),
            public_file: self.public.display().to_string(),
        };
        output.show(&made, || {
            fields(&[
                ("name", made.name.clone()),
                ("public", made.public.clone()),
                ("private key", made.key_file.clone()),
                ("public key", made.public_file.clone()),
            ])
        })?;
        Ok(Exit::Done)
    }
}

/// Reads the private key's file.
pub(crate) fn read(path: &Path) -> Result<GrantKey, Failure> {
    let bytes = files::read_private(path, "the grant key")?;
    let text = std::str::from_utf8(&bytes).map_err(|_| KeyError::NotAPrivateKey);
    let key = text.and_then(GrantKey::parse);
    key.map_err(|e| Failure::local(e, path.display(), "the file that `recovery-key new` wrote"))
}
