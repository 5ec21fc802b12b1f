//! The initramfs archive: cpio "newc", written in a fixed order with fixed times and owners.

use std::collections::BTreeMap;

/// Longest path that we put into an archive.
const MAX_PATH: usize = 4096;

/// One entry of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Entry {
    Directory,
    File { mode: u32, content: Vec<u8> },
    Link { target: String },
}

/// A tree of files that becomes an archive; paths are relative to the root, without a leading `/`.
#[derive(Debug, Clone, Default)]
pub struct Tree(BTreeMap<String, Entry>);

impl Tree {
    /// An empty tree.
    pub fn new() -> Self {
        Tree::default()
    }

    /// Adds a directory and its parents.
    pub fn directory(&mut self, path: &str) -> &mut Self {
        let path = path.trim_matches('/');
        if path.is_empty() {
            return self;
        }
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.directory(parent);
        }
        self.0.entry(path.to_owned()).or_insert(Entry::Directory);
        self
    }

    /// Adds or replaces a file; `mode` is its permission bits.
    pub fn file(&mut self, path: &str, mode: u32, content: impl Into<Vec<u8>>) -> &mut Self {
        self.insert(
            path,
            Entry::File {
                mode,
                content: content.into(),
            },
        )
    }

    /// Adds or replaces a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) -> &mut Self {
        self.insert(
            path,
            Entry::Link {
                target: target.to_owned(),
            },
        )
    }

    /// Bytes of all files, without the archive's own overhead.
    pub fn content_bytes(&self) -> u64 {
        self.0
            .values()
            .map(|entry| match entry {
                Entry::File { content, .. } => content.len() as u64,
                Entry::Directory | Entry::Link { .. } => 0,
            })
            .sum()
    }

    /// Whether a file, link or directory of that path is there.
    pub fn has(&self, path: &str) -> bool {
        self.0.contains_key(path.trim_matches('/'))
    }

    /// The archive. Parents sort before their children, so the kernel can unpack it in one pass.
    pub fn archive(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for (index, (path, entry)) in self.0.iter().enumerate() {
            let (mode, content): (u32, &[u8]) = match entry {
                Entry::Directory => (0o040_755, &[]),
                Entry::File { mode, content } => (0o100_000 | mode, content),
                Entry::Link { target } => (0o120_777, target.as_bytes()),
            };
            record(&mut out, index + 1, mode, path, content);
        }
        record(&mut out, 0, 0, "TRAILER!!!", &[]);
        out
    }

    fn insert(&mut self, path: &str, entry: Entry) -> &mut Self {
        let path = path.trim_matches('/');
        debug_assert!(path.len() < MAX_PATH, "path too long for an archive");
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.directory(parent);
        }
        self.0.insert(path.to_owned(), entry);
        self
    }
}

/// Header fields of newc, in order: ino, mode, uid, gid, nlink, mtime, filesize, devmajor, devminor,
/// rdevmajor, rdevminor, namesize, check.
fn record(out: &mut Vec<u8>, inode: usize, mode: u32, path: &str, content: &[u8]) {
    out.extend_from_slice(b"070701");
    for field in [
        inode,
        mode as usize,
        0,
        0,
        1,
        0,
        content.len(),
        0,
        0,
        0,
        0,
        path.len() + 1,
        0,
    ] {
        out.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    out.extend_from_slice(path.as_bytes());
    out.push(0);
    pad(out);
    out.extend_from_slice(content);
    pad(out);
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn tree() -> Tree {
        let mut tree = Tree::new();
        tree.file("/init", 0o755, "#!/bin/sh\n");
        tree.file("etc/dawnkey/agent.toml", 0o644, "x");
        tree.link("bin/sh", "busybox");
        tree
    }

    #[test]
    fn parents_come_before_children_and_the_trailer_last() {
        let archive = tree().archive();
        let text = String::from_utf8_lossy(&archive).into_owned();
        let at = |name: &str| text.find(name).unwrap();
        assert!(at("etc\0") < at("etc/dawnkey\0"));
        assert!(at("etc/dawnkey\0") < at("etc/dawnkey/agent.toml\0"));
        assert!(at("TRAILER!!!") > at("init\0"));
        assert_eq!(archive.len() % 4, 0);
    }

    #[test]
    fn order_of_insertion_does_not_change_the_bytes() {
        let mut other = Tree::new();
        other.link("bin/sh", "busybox");
        other.file("etc/dawnkey/agent.toml", 0o644, "x");
        other.file("init", 0o755, "#!/bin/sh\n");
        assert_eq!(other.archive(), tree().archive());
    }

    #[test]
    fn cpio_reads_the_archive_back() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.cpio");
        std::fs::write(&file, tree().archive()).unwrap();
        let list = crate::command::run(
            std::process::Command::new("cpio")
                .args(["-itv", "--quiet", "-F"])
                .arg(&file),
        )
        .unwrap();
        assert!(list.contains("-rwxr-xr-x"), "{list}");
        assert!(list.contains("bin/sh -> busybox"), "{list}");
        assert!(list.contains("etc/dawnkey/agent.toml"), "{list}");
    }
}
