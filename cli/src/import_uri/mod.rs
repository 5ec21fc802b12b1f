//! `dawnkey import-uri`: a Constellation URI of a KMS or a storage as a section of the key service's configuration.

mod section;
mod uri;

use crate::files;
use crate::outcome::{Exit, Failure};
use crate::output::Output;
use clap::Args;
use section::Section;
use serde::Serialize;
use std::io::Read;
use std::path::{Path, PathBuf};
use uri::{Uri, UriError};
use zeroize::Zeroizing;

/// Turn a Constellation URI (kms://… or storage://…) into a section of the key service's configuration
///
/// The URI comes from a file or standard input, since it may hold a secret that an argument would show to every user of
/// the host. A secret never stands in the section: it goes into the file that --credentials names (new, mode 0600), and the
/// section names that file.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dawnkey import-uri uri.txt --credentials /etc/dawnkey/aws.credential
  vault kv get -field=uri kms | dawnkey import-uri --credentials /etc/dawnkey/azure.credential
  dawnkey import-uri uri.txt --aws-key arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab")]
pub(crate) struct ImportUriArgs {
    /// File with the URI; standard input without it
    file: Option<PathBuf>,
    /// Where the URI's secret goes: an absolute path at which nothing is yet
    #[arg(long, value_name = "PATH")]
    credentials: Option<PathBuf>,
    /// ARN of the key, where the URI names it by an alias or id
    #[arg(long, value_name = "ARN")]
    aws_key: Option<String>,
}

#[derive(Serialize)]
struct Shown<'a> {
    section: &'a str,
    credentials: Option<&'a Path>,
}

impl ImportUriArgs {
    /// Runs the command.
    pub(crate) fn run(&self, output: Output) -> Result<Exit, Failure> {
        let text = self.read()?;
        let mut section = Uri::parse(text.trim())
            .and_then(|uri| Section::of(&uri, self.aws_key.as_deref()))
            .map_err(|e| self.refused(&e))?;
        self.keep_secret(&mut section)?;
        let toml = section.toml();
        let shown = Shown {
            section: &toml,
            credentials: section.secret.as_ref().and(self.credentials.as_deref()),
        };
        output.show(&shown, || toml.clone())?;
        Ok(Exit::Done)
    }

    fn place(&self) -> String {
        self.file
            .as_ref()
            .map_or("standard input".into(), |file| file.display().to_string())
    }

    fn refused(&self, error: &UriError) -> Failure {
        let right = "a URI as Constellation writes it, with percent-encoded parameters";
        Failure::local(format!("import a URI: {error}"), self.place(), right)
    }

    fn read(&self) -> Result<Zeroizing<String>, Failure> {
        let limit = uri::MAX as u64;
        let bytes = match &self.file {
            Some(file) => Zeroizing::new(files::read(file, "a URI", limit)?),
            None => {
                let mut bytes = Zeroizing::new(Vec::with_capacity(uri::MAX + 1));
                let read = std::io::stdin()
                    .lock()
                    .take(limit + 1)
                    .read_to_end(&mut bytes);
                read.map_err(|e| {
                    Failure::local(format!("read a URI: {e}"), self.place(), "a URI")
                })?;
                bytes
            }
        };
        match std::str::from_utf8(&bytes) {
            Ok(text) if bytes.len() <= uri::MAX => Ok(Zeroizing::new(text.to_owned())),
            _ => Err(Failure::local(
                "read a URI: too long, or not text",
                self.place(),
                format!("one line of at most {} bytes", uri::MAX),
            )),
        }
    }

    /// Writes the secret to the named file, and nothing when there is none.
    fn keep_secret(&self, section: &mut Section) -> Result<(), Failure> {
        let Some(secret) = &section.secret else {
            return Ok(());
        };
        let Some(path) = &self.credentials else {
            return Err(Failure::usage(
                "import a URI: it holds a secret, which no configuration may",
                self.place(),
                "--credentials PATH to write it there with mode 0600; or a URI without it, where the platform has an identity",
            ));
        };
        let Some(text) = path.to_str().filter(|_| path.is_absolute()) else {
            let right = "an absolute path in UTF-8";
            return Err(Failure::usage("write the secret", path.display(), right));
        };
        files::create(
            path,
            "the secret",
            files::PRIVATE,
            secret.content.as_bytes(),
        )?;
        section.written_to(text);
        Ok(())
    }
}
