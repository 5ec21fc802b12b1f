//! Files in and out: directories and tar archives.
//!
//! An archive is read entry by entry into memory, never unpacked: names in it are labels, and what becomes of an entry
//! its content decides.

use crate::outcome::Failure;
use dawnkey_endorse::check::MAX_DOCUMENT;
use dawnkey_endorse::exchange::SourceFile;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Most files of an import.
const MAX_FILES: usize = 100_000;
/// Most bytes of an import.
const MAX_TOTAL: u64 = 1 << 30;

fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::local(
        format!("read what is to be imported: {error}"),
        path.display(),
        "files, directories or tar archives that you may read",
    )
}

/// Reads everything at a path: a file, a directory with all below it, or a tar archive.
pub(super) fn read(path: &Path, files: &mut Vec<SourceFile>) -> Result<(), Failure> {
    let fail = |e: io::Error| unreadable(path, &e);
    let meta = fs::metadata(path).map_err(fail)?;
    if !meta.is_dir() {
        let mut file = File::open(path).map_err(fail)?;
        let bytes = capped(&mut file, if is_tar(path) { MAX_TOTAL } else { limit() });
        let bytes = bytes.map_err(fail)?;
        if is_tar(path) {
            return entries(path, &bytes, files).map_err(fail);
        }
        return add(path.to_owned(), bytes, files).map_err(fail);
    }
    for entry in fs::read_dir(path).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let kind = entry.file_type().map_err(fail)?;
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        // The lock of a store is empty and no endorsement.
        if !hidden && (kind.is_dir() || (kind.is_file() && entry.file_name() != "lock")) {
            read(&entry.path(), files)?;
        }
    }
    Ok(())
}

fn is_tar(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "tar")
}

fn limit() -> u64 {
    u64::try_from(MAX_DOCUMENT).unwrap_or(u64::MAX)
}

fn capped(from: &mut impl Read, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!("more than {most} bytes")));
    }
    Ok(bytes)
}

fn add(path: PathBuf, bytes: Vec<u8>, files: &mut Vec<SourceFile>) -> io::Result<()> {
    if files.len() >= MAX_FILES {
        return Err(io::Error::other(format!("more than {MAX_FILES} files")));
    }
    files.push((path, bytes));
    Ok(())
}

fn entries(path: &Path, bytes: &[u8], files: &mut Vec<SourceFile>) -> io::Result<()> {
    for entry in tar::Archive::new(bytes).entries()? {
        let mut entry = entry?;
        if entry.header().entry_type().is_file() {
            let name = path.join(entry.path()?);
            let bytes = capped(&mut entry, limit())?;
            add(name, bytes, files)?;
        }
    }
    Ok(())
}

/// Writes files to a new directory, or to a new tar archive if the name ends so.
pub(super) fn write(to: &Path, files: &[SourceFile]) -> Result<(), Failure> {
    let done = if is_tar(to) {
        write_tar(to, files)
    } else {
        write_directory(to, files)
    };
    done.map_err(|e| {
        Failure::local(
            format!("write the export: {e}"),
            to.display(),
            "a path that does not exist yet, in a directory that you may write",
        )
    })
}

fn write_tar(to: &Path, files: &[SourceFile]) -> io::Result<()> {
    let mut archive = tar::Builder::new(File::create_new(to)?);
    for (path, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        // The same store gives the same archive.
        header.set_mtime(0);
        archive.append_data(&mut header, path, bytes.as_slice())?;
    }
    archive.into_inner()?.sync_all()
}

fn write_directory(to: &Path, files: &[SourceFile]) -> io::Result<()> {
    fs::create_dir(to)?;
    for (path, bytes) in files {
        let path = to.join(path);
        fs::create_dir_all(path.parent().unwrap_or(to))?;
        let mut file = File::create_new(&path)?;
        file.write_all(bytes)?;
        file.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::Exit;

    fn files() -> Vec<SourceFile> {
        let long = format!("amd/genoa/vcek/{}/0400000000001800.der", "ab".repeat(64));
        vec![
            (PathBuf::from("intel/qe-identity.json"), b"{}".to_vec()),
            (PathBuf::from(long), vec![0x30; 1500]),
        ]
    }

    #[test]
    fn a_directory_and_an_archive_hold_the_same_files() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["all.tar", "all"] {
            let to = dir.path().join(name);
            write(&to, &files()).unwrap();
            let mut back = Vec::new();
            read(&to, &mut back).unwrap();
            let mut back: Vec<_> = back
                .into_iter()
                .map(|(path, bytes)| (path.strip_prefix(&to).unwrap().to_owned(), bytes))
                .collect();
            back.sort_by_key(|(path, _)| std::cmp::Reverse(path.clone()));
            assert_eq!(back, files(), "{name}");
            let refused = write(&to, &files()).unwrap_err();
            assert_eq!(refused.exit, Exit::Local, "never overwritten");
        }
    }

    #[test]
    fn an_entry_that_leads_out_of_the_archive_is_only_a_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("evil.tar");
        let mut header = tar::Header::new_ustar();
        header.set_size(4);
        header.as_ustar_mut().unwrap().name[..12].copy_from_slice(b"../../escape");
        header.set_cksum();
        let mut archive = tar::Builder::new(File::create(&path).unwrap());
        archive.append(&header, &b"text"[..]).unwrap();
        archive.into_inner().unwrap();
        let mut found = Vec::new();
        read(&path, &mut found).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_above_the_limit_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("big.der");
        let file = File::create(&path).unwrap();
        file.set_len(limit() + 1).unwrap();
        assert!(read(&path, &mut Vec::new()).is_err());
    }
}
