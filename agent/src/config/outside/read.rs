//! The kernel command line and the system credentials as texts. Reading is bounded and never fails.

use std::ffi::OsStr;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Most bytes of the command line, and of a credential.
const MAX_TEXT: u64 = 64 << 10;
/// Most credentials that are looked at.
const MAX_CREDENTIALS: usize = 256;
/// What the names of our credentials begin with.
const PREFIX: &str = "dawnkey.";

/// What a machine was told, as it was told.
#[derive(Debug, Clone, Default)]
pub struct Texts {
    /// The kernel command line.
    pub command_line: String,
    /// Our credentials, without the `dawnkey.` before their names, by name.
    pub credentials: Vec<(String, String)>,
}

impl Texts {
    /// Those of this machine: `/proc/cmdline`, and the directory that systemd names to its services.
    #[must_use]
    pub fn here() -> Self {
        let directory = std::env::var_os("CREDENTIALS_DIRECTORY");
        Self {
            command_line: text(Path::new("/proc/cmdline")).unwrap_or_default(),
            credentials: directory.map_or_else(Vec::new, |path| credentials(&PathBuf::from(path))),
        }
    }

    /// The words of the command line, each with what stands behind its first `=`; quotes are taken off as the kernel does.
    pub(super) fn words(&self) -> Vec<(String, String)> {
        let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
        for c in self.command_line.chars().chain([' ']) {
            match c {
                '"' => quoted = !quoted,
                c if c.is_whitespace() && !quoted => {
                    if let Some((name, value)) = word.split_once('=') {
                        words.push((name.replace('-', "_"), value.to_owned()));
                    }
                    word.clear();
                }
                c => word.push(c),
            }
        }
        words
    }

    /// The file that the command line asks for, if it names one.
    #[must_use]
    pub fn file(&self) -> Option<PathBuf> {
        let mut words = self.words().into_iter().rev();
        let (_, name) = words.find(|(name, _)| name == "rd.dawnkey.config")?;
        is_file(&name).then(|| Path::new("/etc/dawnkey").join(name + ".toml"))
    }
}

/// Whether this may be a file's name, without its `.toml`.
pub(super) fn is_file(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    (1..=64).contains(&name.len()) && name.chars().all(good)
}

fn credentials(directory: &Path) -> Vec<(String, String)> {
    let Ok(entries) = std::fs::read_dir(directory) else {
        return Vec::new();
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    let ours = names.take(MAX_CREDENTIALS).filter_map(|name| {
        let short = OsStr::to_str(&name)?.strip_prefix(PREFIX)?.to_owned();
        let value = text(&directory.join(&name)).unwrap_or_default();
        Some((short, value.trim_end().to_owned()))
    });
    let mut ours: Vec<_> = ours.collect();
    ours.sort();
    ours
}

/// As much of a file as is text.
fn text(file: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(file).ok()?;
    file.take(MAX_TEXT).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn texts(command_line: &str) -> Texts {
        Texts {
            command_line: command_line.into(),
            credentials: Vec::new(),
        }
    }

    #[test]
    fn words_are_parted_and_unquoted_as_the_kernel_does() {
        let line = "quiet rd.dawnkey.endpoint=a:1 \"rd.dawnkey.node-name=node 1\" x=\"b c\"=d\n";
        let words = texts(line).words();
        let expected = [
            ("rd.dawnkey.endpoint", "a:1"),
            ("rd.dawnkey.node_name", "node 1"),
            ("x", "b c=d"),
        ];
        assert_eq!(words, expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
        assert!(texts(&"\"".repeat(99)).words().is_empty());
    }

    #[test]
    fn a_file_is_one_of_the_images_directory_or_none() {
        let file = |name: &str| texts(&format!("rd.dawnkey.config={name}")).file();
        assert_eq!(file("blue").unwrap(), Path::new("/etc/dawnkey/blue.toml"));
        for bad in ["", "../x", "/run/x", "a.b", &"a".repeat(65)] {
            assert_eq!(file(bad), None, "{bad}");
        }
    }

    #[test]
    fn credentials_are_read_by_name_and_in_order() {
        let scratch = tempfile::tempdir().unwrap();
        for (name, text) in [("dawnkey.b", "2\n"), ("other", "x"), ("dawnkey.a", "1")] {
            std::fs::write(scratch.path().join(name), text).unwrap();
        }
        let expected = [("a", "1"), ("b", "2")];
        assert_eq!(
            credentials(scratch.path()),
            expected.map(|(n, v)| (n.to_owned(), v.to_owned()))
        );
    }
}
