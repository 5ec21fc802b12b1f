//! Which packages a program's libraries are in.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use dawnkey_qemu_tests::command;

use crate::error::XtaskError;

/// `Depends` of a program, sorted: the packages of the libraries it names itself, libc6 with the version whose
/// symbols it uses.
pub(super) fn of(program: &Path) -> Result<Vec<String>, XtaskError> {
    let dynamic = command::run(Command::new("readelf").args(["-d", "-W"]).arg(program))?;
    let linked = command::run(Command::new("ldd").arg(program).env("LC_ALL", "C"))?;
    let mut packages = BTreeSet::new();
    for library in needed(&dynamic) {
        let path = place(&linked, library).ok_or_else(|| {
            XtaskError::Package(format!("{}: no place of {library}", program.display()))
        })?;
        packages.insert(owner(path)?);
    }
    let versions = command::run(Command::new("readelf").args(["-V", "-W"]).arg(program))?;
    if let (true, Some(version)) = (packages.remove("libc6"), newest_glibc(&versions)) {
        packages.insert(format!("libc6 (>= {}.{})", version.0, version.1));
    }
    Ok(packages.into_iter().collect())
}

/// Names in `(NEEDED) Shared library: [NAME]`.
fn needed(dynamic: &str) -> impl Iterator<Item = &str> {
    dynamic
        .lines()
        .filter(|line| line.contains("(NEEDED)"))
        .filter_map(|line| line.split_once('[')?.1.split_once(']'))
        .map(|(name, _)| name)
}

/// Where the loader finds it: `NAME => PATH (ADDRESS)`, or for the loader itself `PATH (ADDRESS)`.
fn place<'a>(linked: &'a str, library: &str) -> Option<&'a str> {
    linked.lines().map(str::trim).find_map(|line| {
        let (name, path) = line.split_once(" => ").unwrap_or((line, line));
        let path = path.split_whitespace().next()?;
        let same = name == library || path.rsplit('/').next() == Some(library);
        (same && path.starts_with('/')).then_some(path)
    })
}

/// The package that installed a file, which dpkg may know with or without `/usr`.
fn owner(path: &str) -> Result<String, XtaskError> {
    let other = path
        .strip_prefix("/usr")
        .map_or_else(|| format!("/usr{path}"), str::to_owned);
    let mut said = Err(XtaskError::Package(format!("no package has {path}")));
    for candidate in [path, &other] {
        let mut query = Command::new("dpkg-query");
        if let Ok(line) = command::run(query.args(["-S", candidate])) {
            let package = line.split([':', ',']).next().unwrap_or_default();
            said = Ok(package.to_owned());
        }
    }
    said
}

/// The newest of the `GLIBC_MAJOR.MINOR` that are asked for.
fn newest_glibc(versions: &str) -> Option<(u32, u32)> {
    versions
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("GLIBC_")?.split_once('.'))
        .filter_map(|(major, minor)| {
            let minor = minor.split('.').next()?;
            Some((major.parse().ok()?, minor.parse().ok()?))
        })
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_places_of_libraries_are_read() {
        let dynamic =
            " 0x01 (NEEDED)  Shared library: [libc.so.6]\n 0x0e (SONAME) Library soname: [x]\n";
        assert_eq!(needed(dynamic).collect::<Vec<_>>(), ["libc.so.6"]);
        let linked = "\tlibc.so.6 => /lib/libc.so.6 (0x7f)\n\t/lib64/ld-linux-x86-64.so.2 (0x7f)\n";
        assert_eq!(place(linked, "libc.so.6"), Some("/lib/libc.so.6"));
        assert_eq!(
            place(linked, "ld-linux-x86-64.so.2"),
            Some("/lib64/ld-linux-x86-64.so.2")
        );
        assert_eq!(place(linked, "libx.so.1"), None);
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        let versions = "Name: GLIBC_2.9 Flags\n 0x Name: GLIBC_2.34\n GLIBC_2.2.5 GLIBC_PRIVATE";
        assert_eq!(newest_glibc(versions), Some((2, 34)));
        assert_eq!(newest_glibc("GLIBC_PRIVATE"), None);
    }
}
