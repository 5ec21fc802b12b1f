//! Stock `cryptsetup`, started with what was checked here: a header in memory and a key in a pipe.
//!
//! The key stands in a pipe's buffer, which is kernel memory that is neither a file nor ever swapped. The header is a
//! copy in memory, so that what cryptsetup acts on is what was checked, whatever the disk answers a second time.

use crate::outcome::Failure;
use dawnkey_dm::geometry::DATA_OFFSET_BYTES;
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use std::fs::File;
use std::io::{PipeReader, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// The program.
const PROGRAM: &str = "cryptsetup";

/// How a volume is opened: what both the started and the printed command say.
#[derive(Debug, Clone)]
pub(super) struct Opening<'a> {
    /// Disk or image; cryptsetup makes the loop device of an image.
    pub(super) disk: &'a Path,
    /// Name of the mapping. `None` opens nothing and only tries the key.
    pub(super) name: Option<&'a str>,
    /// The volume takes no writes; an image's loop device neither.
    pub(super) read_only: bool,
}

/// A secret as cryptsetup takes it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Key<'a> {
    /// The volume key of a volume without keyslots.
    Volume(&'a [u8]),
    /// The passphrase of a keyslot.
    Passphrase(&'a [u8]),
}

impl<'a> Key<'a> {
    fn bytes(self) -> &'a [u8] {
        match self {
            Self::Volume(bytes) | Self::Passphrase(bytes) => bytes,
        }
    }

    /// Its length in bits, which cryptsetup has to be told of a volume key.
    pub(super) fn bits(self) -> usize {
        8 * self.bytes().len()
    }

    /// Options for a key in `file`.
    fn options(self, file: &str) -> Vec<String> {
        let words = match self {
            Self::Volume(_) => [
                "--volume-key-file".to_owned(),
                file.to_owned(),
                "--key-size".to_owned(),
                self.bits().to_string(),
            ],
            Self::Passphrase(bytes) => [
                "--key-file".to_owned(),
                file.to_owned(),
                "--keyfile-size".to_owned(),
                bytes.len().to_string(),
            ],
        };
        words.to_vec()
    }
}

impl Opening<'_> {
    /// The command line with the key in `key_file`, and the header in `header` if it is not the disk's own.
    pub(super) fn words(&self, key: Key<'_>, key_file: &str, header: Option<&str>) -> Vec<String> {
        let mut words = vec!["open".to_owned(), "--type".into(), "luks2".into()];
        if self.read_only {
            words.push("--readonly".into());
        }
        words.extend(key.options(key_file));
        if let Some(header) = header {
            words.extend(["--header".to_owned(), header.to_owned()]);
        }
        if self.name.is_none() {
            words.push("--test-passphrase".into());
        }
        words.push(self.disk.display().to_string());
        words.extend(self.name.map(str::to_owned));
        words
    }

    /// Runs it. `region` is the header that was checked.
    pub(super) fn run(&self, key: Key<'_>, region: &[u8]) -> Result<(), Failure> {
        let failed = |what: &str, e: std::io::Error| {
            Failure::local(format!("{what}: {e}"), PROGRAM, "a Linux with free memory")
        };
        let header = in_memory(region).map_err(|e| failed("copy the header into memory", e))?;
        let pipe = in_a_pipe(key.bytes()).map_err(|e| failed("put the key into a pipe", e))?;
        let words = self.words(key, &path_of(&pipe), Some(&path_of(&header)));
        let child = Command::new(PROGRAM)
            .args(&words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        let mut child = child.map_err(|e| {
            Failure::local(
                format!("run {PROGRAM}: {e}"),
                PROGRAM,
                "cryptsetup 2.4 or later on the PATH",
            )
        })?;
        let status = child.wait().map_err(|e| failed("wait for cryptsetup", e))?;
        if status.success() {
            return Ok(());
        }
        Err(Failure::local(
            format!("cryptsetup did not open the volume ({status}); it said why above"),
            self.disk.display(),
            "root, the modules dm-crypt and dm-integrity, and a disk that nothing else maps",
        ))
    }
}

/// The path by which a child opens a descriptor that it inherits.
fn path_of(fd: &impl AsRawFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

/// A file in memory with the header at its begin, as long as a header area is.
fn in_memory(region: &[u8]) -> std::io::Result<File> {
    let file = File::from(memfd_create(c"dawnkey-header", MFdFlags::empty())?);
    file.write_all_at(region, 0)?;
    let area = u64::try_from(region.len()).unwrap_or(u64::MAX);
    file.set_len(area.max(DATA_OFFSET_BYTES))?;
    Ok(file)
}

/// A pipe that holds `key` and nothing else. A pipe takes at least a page without a reader.
fn in_a_pipe(key: &[u8]) -> std::io::Result<PipeReader> {
    let (reader, mut writer) = std::io::pipe()?;
    writer.write_all(key)?;
    fcntl(reader.as_fd(), FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(reader)
}

/// A command line that a shell reads back as these words.
pub(super) fn quoted(words: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    let quote = |word: &String| {
        if !word.is_empty() && word.chars().all(plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    };
    let words: Vec<String> = words.iter().map(quote).collect();
    format!("{PROGRAM} {}", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn the_command_line_is_pinned_and_holds_no_key() {
        let mut opening = Opening {
            disk: Path::new("/dev/vdb"),
            name: Some("state"),
            read_only: true,
        };
        let words = opening.words(Key::Volume(&[0x41; 96]), "KEY", None);
        assert_eq!(
            quoted(&words),
            "cryptsetup open --type luks2 --readonly --volume-key-file KEY --key-size 768 /dev/vdb state"
        );
        opening.name = None;
        opening.read_only = false;
        let words = opening.words(Key::Passphrase(&[0x41; 32]), "KEY", Some("H"));
        assert_eq!(
            quoted(&words),
            "cryptsetup open --type luks2 --key-file KEY --keyfile-size 32 --header H --test-passphrase /dev/vdb"
        );
    }

    #[test]
    fn a_shell_reads_every_word_back() {
        let words = ["a b", "it's", "", "$(x)"].map(str::to_owned);
        assert_eq!(quoted(&words), r"cryptsetup 'a b' 'it'\''s' '' '$(x)'");
    }

    #[test]
    fn a_pipe_gives_the_key_once_and_then_ends() {
        let mut read = Vec::new();
        in_a_pipe(&[7; 96]).unwrap().read_to_end(&mut read).unwrap();
        assert_eq!(read, [7; 96]);
    }
}
