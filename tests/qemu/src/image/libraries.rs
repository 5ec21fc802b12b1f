//! Programs and the shared libraries that the loader would give them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::command;
use crate::error::{IoContext, VmError};
use crate::image::cpio::Tree;

/// Adds a program under `target` with every shared library it is linked against.
///
/// Libraries keep the paths at which this machine's loader finds them.
///
/// # Errors
/// [`VmError::Missing`] when the loader does not find one of them.
pub fn add_program(tree: &mut Tree, source: &Path, target: &str) -> Result<(), VmError> {
    add_file(tree, source, target, 0o755)?;
    for library in linked(source)? {
        add_library(tree, &library)?;
    }
    Ok(())
}

/// Adds a library which a program opens by name at run time (`dlopen`), with what it needs.
///
/// # Errors
/// [`VmError::Missing`] when the loader's cache does not have it.
pub fn add_named_library(
    tree: &mut Tree,
    name: &str,
    package: &'static str,
) -> Result<(), VmError> {
    let ldconfig = command::find("ldconfig").unwrap_or_else(|| PathBuf::from("/sbin/ldconfig"));
    let cache = command::run(Command::new(ldconfig).arg("-p"))?;
    let path = in_cache(&cache, name).ok_or_else(|| VmError::Missing {
        what: name.to_owned(),
        looked: "the loader's cache".to_owned(),
        package,
    })?;
    for library in linked(&path)? {
        add_library(tree, &library)?;
    }
    add_library(tree, &path)
}

/// Adds one file of this machine.
///
/// # Errors
/// [`VmError::Io`] when it cannot be read.
pub fn add_file(tree: &mut Tree, source: &Path, target: &str, mode: u32) -> Result<(), VmError> {
    let content = fs::read(source).doing(|| format!("read {}", source.display()))?;
    tree.file(target, mode, content);
    Ok(())
}

fn add_library(tree: &mut Tree, path: &Path) -> Result<(), VmError> {
    let target = path.display().to_string();
    if tree.has(&target) {
        return Ok(());
    }
    add_file(tree, path, &target, 0o755)
}

fn linked(program: &Path) -> Result<Vec<PathBuf>, VmError> {
    // A static program makes ldd exit with 1 and say so.
    let output = Command::new("ldd")
        .arg(program)
        .env("LC_ALL", "C")
        .output()
        .doing(|| format!("ldd {}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    parse_ldd(&text).map_err(|library| VmError::Missing {
        what: library,
        looked: format!("the libraries of {}", program.display()),
        package: "the package that owns it",
    })
}

/// Paths in `ldd`'s output; the name of the first library that was not found otherwise.
fn parse_ldd(text: &str) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.ends_with("=> not found") {
            return Err(line.split_whitespace().next().unwrap_or(line).to_owned());
        }
        let place = line.split_once("=> ").map_or(line, |(_, place)| place);
        if let Some(path) = place
            .split_whitespace()
            .next()
            .filter(|path| path.starts_with('/'))
        {
            found.push(PathBuf::from(path));
        }
    }
    Ok(found)
}

/// A library's path in `ldconfig -p`, the x86-64 one.
fn in_cache(cache: &str, name: &str) -> Option<PathBuf> {
    cache
        .lines()
        .map(str::trim)
        .filter(|line| line.contains("x86-64"))
        .find(|line| line.split_whitespace().next() == Some(name))
        .and_then(|line| line.rsplit_once("=> "))
        .map(|(_, path)| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_linked_libraries_and_the_loader() {
        let text = "\tlinux-vdso.so.1 (0x7ffe)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x7f)\n\t/lib64/ld-linux-x86-64.so.2 (0x7f)\n";
        let paths = parse_ldd(text).unwrap();
        assert_eq!(
            paths,
            [
                "/lib/x86_64-linux-gnu/libc.so.6",
                "/lib64/ld-linux-x86-64.so.2"
            ]
            .map(PathBuf::from)
        );
        assert_eq!(
            parse_ldd("\tstatically linked\n").unwrap(),
            Vec::<PathBuf>::new()
        );
    }

    #[test]
    fn a_library_that_is_not_found_is_named() {
        assert_eq!(
            parse_ldd("\tlibx.so.1 => not found\n"),
            Err("libx.so.1".to_owned())
        );
    }

    #[test]
    fn picks_the_right_architecture_from_the_cache() {
        let cache = "\tliba.so.0 (libc6) => /lib32/liba.so.0\n\tliba.so.0 (libc6,x86-64) => /lib/liba.so.0\n";
        assert_eq!(
            in_cache(cache, "liba.so.0"),
            Some(PathBuf::from("/lib/liba.so.0"))
        );
        assert_eq!(in_cache(cache, "liba.so"), None);
    }
}
