//! What an initramfs holds.

use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::error::{XtaskError, io};

/// Bytes and files of an initramfs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Size {
    /// Compressed.
    pub packed: u64,
    /// Contents of regular files.
    pub unpacked: u64,
    /// Regular files and links.
    pub files: u64,
}

impl Size {
    /// Of `NAME.initrd` with its list `NAME.list` in a directory.
    ///
    /// # Errors
    /// [`XtaskError::Io`] when one of them cannot be read.
    pub fn read(dir: &Path, name: &str) -> Result<Self, XtaskError> {
        let initrd = dir.join(format!("{name}.initrd"));
        let list = dir.join(format!("{name}.list"));
        let packed = fs::metadata(&initrd).map_err(io(format!("size of {}", initrd.display())))?;
        let text = fs::read_to_string(&list).map_err(io(format!("read {}", list.display())))?;
        let (unpacked, files) = listed(&text);
        Ok(Size {
            packed: packed.len(),
            unpacked,
            files,
        })
    }

    /// What it has more than another; nothing where it has less.
    pub fn beyond(self, base: Self) -> Self {
        Size {
            packed: self.packed.saturating_sub(base.packed),
            unpacked: self.unpacked.saturating_sub(base.unpacked),
            files: self.files.saturating_sub(base.files),
        }
    }
}

/// Bytes and number of what lines like those of `ls -l` name; a file with several names counts once in the bytes that
/// are listed for it.
fn listed(text: &str) -> (u64, u64) {
    let mut sum = (0, 0);
    for line in text.lines() {
        let bytes = line.split_whitespace().nth(4);
        match line.chars().next() {
            Some('-') => {
                sum.0 += bytes
                    .and_then(|b| b.parse::<u64>().ok())
                    .unwrap_or_default();
                sum.1 += 1;
            }
            Some('l') => sum.1 += 1,
            _ => {}
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_files_and_links_but_only_the_bytes_of_files() {
        let text = "drwxr-xr-x   2 root     root            0 Jan  1  1970 bin\n\
                    -rwxr-xr-x   1 root     root       125640 Jan  1  1970 bin/dash\n\
                    lrwxrwxrwx   1 root     root            4 Jan  1  1970 bin/sh -> dash\n\
                    crw-r--r--   1 root     root       1,   3 Jan  1  1970 dev/null\n";
        assert_eq!(listed(text), (125_640, 2));
    }

    #[test]
    fn what_is_smaller_adds_nothing() {
        let size = |packed| Size {
            packed,
            unpacked: 7,
            files: 2,
        };
        assert_eq!(size(5).beyond(size(3)).packed, 2);
        assert_eq!(size(3).beyond(size(5)).packed, 0);
    }
}
