//! `cargo xtask deb`: Debian packages of the agent, the key service and the operator's tool.
//!
//! The same programs and the same tree give the same bytes: names are sorted, everything belongs to root, times are
//! `SOURCE_DATE_EPOCH`'s or, without it, those of the last commit.

mod contents;
mod needs;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use dawnkey_qemu_tests::command;
use dawnkey_qemu_tests::operator::Binaries;

use crate::build;
use crate::deps::{self, Purpose};
use crate::error::{XtaskError, io};
use crate::lab::empty;
use crate::progress::Progress;
use crate::workspace::Workspace;
use contents::{Package, Source};

const VERSION: &str = env!("CARGO_PKG_VERSION");
const MAINTAINER: &str = "Dawnkey <dawnkey@dawnkey.example>";
const HOMEPAGE: &str = "https://dawnkey.example/source";

/// `cargo xtask deb`.
///
/// # Errors
/// [`XtaskError::Vm`] with the failing tool's words.
pub fn run(
    workspace: &Workspace,
    out: Option<&Path>,
    progress: &Progress,
) -> Result<(), XtaskError> {
    deps::install(Purpose::Build, progress)?;
    let binaries = progress.step("build release binaries", || build::release(workspace))?;
    let out = out.map_or_else(|| workspace.scratch("deb"), Path::to_path_buf);
    let made = progress.step("pack", || {
        empty(&out)?;
        build(workspace, &binaries, &out)
    })?;
    for file in made {
        progress.say(&file.display().to_string());
    }
    Ok(())
}

/// Makes all packages from finished programs and gives their files.
///
/// # Errors
/// [`XtaskError::Vm`] with dpkg-deb's words, [`XtaskError::Io`] for a file that is not in the tree.
pub fn build(
    workspace: &Workspace,
    binaries: &Binaries,
    out: &Path,
) -> Result<Vec<PathBuf>, XtaskError> {
    contents::PACKAGES
        .iter()
        .map(|package| pack(workspace, package, binaries, out))
        .collect()
}

/// The package that nodes get, alone.
///
/// # Errors
/// As [`build()`].
pub fn agent(
    workspace: &Workspace,
    binaries: &Binaries,
    out: &Path,
) -> Result<PathBuf, XtaskError> {
    pack(workspace, &contents::AGENT, binaries, out)
}

fn pack(
    workspace: &Workspace,
    package: &Package,
    binaries: &Binaries,
    out: &Path,
) -> Result<PathBuf, XtaskError> {
    let tree = empty(&out.join(format!("{}.tree", package.name)))?;
    let program = (package.program)(binaries);
    let epoch = epoch(workspace)?;
    for item in package.items {
        let target = tree.join(item.target);
        match item.source {
            Source::Program => place(&target, &read(program)?, 0o755)?,
            Source::Tree(path) => place(&target, &read(&workspace.root.join(path))?, item.mode)?,
            Source::Folder(path, extension) => {
                folder(&workspace.root.join(path), extension, &target)?;
            }
            Source::Said(arguments) => {
                let said = command::run(Command::new(program).args(arguments))?;
                place(&target, said.as_bytes(), item.mode)?;
            }
            Source::Manuals => {
                fs::create_dir_all(&target).map_err(io(format!("create {}", target.display())))?;
                command::run(Command::new(program).arg("man").arg(&target))?;
            }
        }
    }
    let documents = tree.join("usr/share/doc").join(package.name);
    let license = read(&workspace.root.join("LICENSE"))?;
    place(&documents.join("copyright"), &license, 0o644)?;
    let changes = read(&workspace.root.join("CHANGELOG.md"))?;
    place(&documents.join("changelog.md"), &changes, 0o644)?;
    control(workspace, package, program, &tree)?;
    let architecture = architecture()?;
    let file = out.join(format!("{}_{VERSION}_{architecture}.deb", package.name));
    let mut dpkg = Command::new("dpkg-deb");
    dpkg.args(["--root-owner-group", "-Zxz", "--threads-max=1", "--build"]);
    dpkg.arg(&tree).arg(&file);
    command::run(dpkg.env("SOURCE_DATE_EPOCH", epoch))?;
    fs::remove_dir_all(&tree).map_err(io(format!("remove {}", tree.display())))?;
    Ok(file)
}

/// `DEBIAN/`: control, conffiles, digests, and the maintainer's scripts of `packaging/deb/NAME`.
fn control(
    workspace: &Workspace,
    package: &Package,
    program: &Path,
    tree: &Path,
) -> Result<(), XtaskError> {
    let files = walk(tree)?;
    let kilobytes = files
        .iter()
        .filter_map(|file| fs::metadata(tree.join(file)).ok())
        .map(|metadata| metadata.len().div_ceil(1024))
        .sum::<u64>();
    let needs = needs::of(program)?;
    let depends: Vec<String> = needs
        .into_iter()
        .chain(package.depends.iter().map(|name| (*name).to_owned()))
        .collect();
    let mut text = format!(
        "Package: {}\nVersion: {VERSION}\nArchitecture: {}\nMaintainer: {MAINTAINER}\nInstalled-Size: {kilobytes}\nDepends: {}\n",
        package.name,
        architecture()?,
        depends.join(", "),
    );
    if !package.recommends.is_empty() {
        text += &format!("Recommends: {}\n", package.recommends.join(", "));
    }
    text += &format!(
        "Section: admin\nPriority: optional\nHomepage: {HOMEPAGE}\nDescription: {}\n",
        package.description
    );
    place(&tree.join("DEBIAN/control"), text.as_bytes(), 0o644)?;
    let configuration: String = files
        .iter()
        .filter(|file| file.starts_with("etc/"))
        .map(|file| format!("/{file}\n"))
        .collect();
    if !configuration.is_empty() {
        place(
            &tree.join("DEBIAN/conffiles"),
            configuration.as_bytes(),
            0o644,
        )?;
    }
    let digests = command::run(
        Command::new("md5sum")
            .args(files.iter().filter(|file| !file.starts_with("etc/")))
            .current_dir(tree),
    )?;
    place(&tree.join("DEBIAN/md5sums"), digests.as_bytes(), 0o644)?;
    for script in ["postinst", "prerm", "postrm"] {
        let source = workspace
            .root
            .join("packaging/deb")
            .join(package.name)
            .join(script);
        if source.exists() {
            place(&tree.join("DEBIAN").join(script), &read(&source)?, 0o755)?;
        }
    }
    Ok(())
}

/// All files below a directory, sorted, relative to it.
fn walk(root: &Path) -> Result<Vec<String>, XtaskError> {
    let found = command::run(
        Command::new("find")
            .args([".", "-type", "f", "-printf", "%P\\n"])
            .current_dir(root),
    )?;
    let mut files: Vec<String> = found.lines().map(str::to_owned).collect();
    files.sort();
    Ok(files)
}

fn folder(source: &Path, extension: &str, target: &Path) -> Result<(), XtaskError> {
    let entries = fs::read_dir(source).map_err(io(format!("list {}", source.display())))?;
    for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default();
        if path.extension().is_some_and(|found| found == extension) {
            place(&target.join(name), &read(&path)?, 0o644)?;
        }
    }
    Ok(())
}

fn place(target: &Path, bytes: &[u8], mode: u32) -> Result<(), XtaskError> {
    let what = || format!("write {}", target.display());
    let mut dir = target.parent();
    // Also where the caller's umask is a narrow one.
    let mut made = Vec::new();
    while let Some(parent) = dir.filter(|parent| !parent.exists()) {
        made.push(parent.to_path_buf());
        dir = parent.parent();
    }
    for parent in made.iter().rev() {
        fs::create_dir(parent).map_err(io(what()))?;
        fs::set_permissions(parent, fs::Permissions::from_mode(0o755)).map_err(io(what()))?;
    }
    fs::write(target, bytes).map_err(io(what()))?;
    fs::set_permissions(target, fs::Permissions::from_mode(mode)).map_err(io(what()))
}

fn read(path: &Path) -> Result<Vec<u8>, XtaskError> {
    fs::read(path).map_err(io(format!("read {}", path.display())))
}

fn architecture() -> Result<String, XtaskError> {
    let said = command::run(Command::new("dpkg").arg("--print-architecture"))?;
    Ok(said.trim().to_owned())
}

/// Seconds since 1970 that stand for the time of building.
fn epoch(workspace: &Workspace) -> Result<String, XtaskError> {
    if let Ok(given) = std::env::var("SOURCE_DATE_EPOCH") {
        return Ok(given);
    }
    let mut git = Command::new("git");
    git.args(["log", "-1", "--format=%ct"]);
    // A source tree without history has no time of its own.
    let said = command::run(git.current_dir(&workspace.root)).unwrap_or_default();
    let said = said.trim();
    Ok(if said.is_empty() { "0" } else { said }.to_owned())
}

#[cfg(test)]
mod tests;
