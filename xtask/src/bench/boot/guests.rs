//! Prepares what is booted: one Debian system, an initramfs per contestant, and the servers that they ask.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dawnkey_qemu_tests::command;
use dawnkey_qemu_tests::image::{COMMAND_LINE, Image};
use dawnkey_qemu_tests::machine::Machine;
use dawnkey_qemu_tests::operator::{Binaries, Operator, Service, VOLUME, VOLUME_POLICY};
use dawnkey_qemu_tests::swtpm::{Tpm, TpmMaker};

use super::contestant::{ALL, Contestant, DAWNKEY};
use super::counted::{Counted, Server};
use super::sizes::Size;
use crate::error::{XtaskError, io};
use crate::workspace::Workspace;
use crate::{build, deb, debian, deps, lab, packages};

/// Where guests find tang.
const TANG_IN_GUEST: &str = "10.0.2.101:80";
/// The same, as clevis wants it.
pub const TANG_URL: &str = "http://10.0.2.101";
/// The journal goes to the kernel's log too, so that a system without a journal can tell all times; and emulated machines on a
/// busy host find their disks late.
const TOLD: &str = "systemd.journald.forward_to_kmsg=1 systemd.journald.max_level_kmsg=info printk.devkmsg=on \
    log_buf_len=4M systemd.default_device_timeout_sec=600";

/// What the system is made of, with what needs it. clevis' dracut module and initramfs-tools exclude one another.
const PACKAGES: &[(&str, &str)] = &[
    ("systemd", "first process, and its own way to volumes"),
    ("systemd-sysv", "poweroff"),
    ("udev", "names disks"),
    ("dbus", "dracut's module for systemd-networkd wants it"),
    ("dracut-core", "makes each initramfs"),
    ("dracut-network", "its modules for the network"),
    ("zstd", "compresses them"),
    ("kmod", "loads modules"),
    ("iproute2", "dracut's module for the network wants it"),
    ("procps", "dracut's module for the network wants it"),
    ("cpio", "lists an initramfs"),
    ("e2fsprogs", "the root file system's"),
    ("netbase", "clevis' dracut module wants /etc/services"),
    ("busybox-static", "the small root file system"),
    ("clevis-dracut", "clevis in an initramfs"),
    ("clevis-systemd", "its answers to systemd's questions"),
    ("clevis-tpm2", "its pin for TPMs"),
    ("curl", "its pin for tang"),
    ("tang", "the server, which runs outside the guest"),
    ("cryptsetup-bin", "makes the others' volumes"),
    ("tpm2-tools", "clevis' pin for TPMs"),
    ("dmsetup", "the agent's package depends on it"),
    (
        "libtss2-esys-3.0.2-0",
        "the agent's package and systemd want it",
    ),
    ("libtss2-rc0", "systemd wants it"),
    ("libtss2-tctildr0", "the agent's package depends on it"),
    ("libtss2-tcti-device0", "the agent's package depends on it"),
];

/// Everything that boots need.
pub struct Guests {
    /// The system with all tools, and its initramfs with the agent.
    pub setup: Image,
    /// That system's disk.
    pub system: PathBuf,
    /// Contestants with their images.
    pub images: Vec<(Contestant, Image)>,
    /// What each initramfs holds, in the same order.
    pub sizes: Vec<Size>,
    /// The machine's TPM.
    pub tpm: Tpm,
    /// Leads to the key service.
    pub service: Counted,
    /// Leads to tang.
    pub tang: Counted,
    busybox: PathBuf,
    // Serves as long as this value lives.
    _keyservice: Service,
    _operator: Operator,
}

impl Guests {
    /// A machine whose network leads to both servers.
    pub fn machine<'a>(&'a self, dir: &Path, image: &'a Image) -> Machine<'a> {
        Machine::new(dir, image, &self.tpm)
            .service(self.service.address(), &self.busybox)
            .reaches(TANG_IN_GUEST, self.tang.address(), &self.busybox)
            .memory(1024)
    }
}

/// Prepares all of it in `dir`.
///
/// # Errors
/// [`XtaskError::Vm`] with the failing tool's words.
pub fn prepare(
    workspace: &Workspace,
    binaries: &Binaries,
    dir: &Path,
) -> Result<Guests, XtaskError> {
    let packages = packages::guest()?;
    let stand_ins = build::stand_ins(workspace)?;
    let base = debian::system(&workspace.root.join("tests/qemu/debian"), PACKAGES)?;
    let operator = Operator::init(binaries, &dir.join("service"))?;
    let maker = TpmMaker::new(&dir.join("tpm-maker"))?;
    let tpm = maker.make(&dir.join("tpm"))?;
    operator.trust_tpm_maker(&maker.root())?;
    let out = dir.join("images");
    initramfs(
        workspace,
        binaries,
        &packages,
        &operator,
        &base,
        &stand_ins.io,
        &out,
    )?;
    let builder = lab::builder(workspace, &packages)?;
    let image = |name: &str, initrd: &str, arguments: &str| -> Result<Image, XtaskError> {
        let path = out.join(format!("{initrd}.initrd"));
        let bytes = fs::read(&path).map_err(io(format!("read {}", path.display())))?;
        let line = format!("{COMMAND_LINE} {TOLD} {arguments}");
        Ok(builder.write(&out, name, &bytes, &line)?)
    };
    let setup = image("setup", DAWNKEY.name, "root=LABEL=source rw")?;
    let (mut images, mut sizes) = (Vec::new(), Vec::new());
    for contestant in ALL {
        let image = image(contestant.name, contestant.name, &contestant.arguments())?;
        if contestant == DAWNKEY {
            operator.allow_image("bench-dawnkey", &image.uki)?;
        }
        images.push((contestant, image));
        sizes.push(Size::read(&out, contestant.name)?);
    }
    operator.allow_image("bench-setup", &setup.uki)?;
    allow_reopening(&operator)?;
    let keyservice = operator.start()?;
    operator.create_volume(VOLUME)?;
    let counted = |server| Counted::start(server).map_err(io("listen on loopback"));
    Ok(Guests {
        setup,
        system: out.join("system.disk"),
        images,
        sizes,
        tpm,
        service: counted(Server::At(keyservice.address()))?,
        tang: counted(tang(&base, &dir.join("tang"))?)?,
        busybox: packages.busybox,
        _keyservice: keyservice,
        _operator: operator,
    })
}

/// The system, and each contestant's initramfs from it.
fn initramfs(
    workspace: &Workspace,
    binaries: &Binaries,
    packages: &packages::GuestPackages,
    operator: &Operator,
    base: &Path,
    test_io: &Path,
    out: &Path,
) -> Result<(), XtaskError> {
    let (etc, guest) = (out.join("etc"), out.join("guest"));
    fs::create_dir_all(&etc).map_err(io(format!("create {}", etc.display())))?;
    let write = |name: &str, text: String| {
        let path = etc.join(name);
        fs::write(&path, text).map_err(io(format!("write {}", path.display())))
    };
    let root = "name = \"root\"\ndevice = \"/dev/vdb\"\nfilesystem = \"ext4\"\nwipe = \"up-front\"";
    let failure = "[failure]\naction = \"power-off\"";
    write(
        "agent.toml",
        Operator::agent_config(&format!("{root}\n{failure}")),
    )?;
    write("ca.pem", operator.service_ca()?)?;
    let sources = workspace.root.join("tests/qemu/debian");
    command::run(
        Command::new("cp")
            .arg("-r")
            .arg(sources.join("guest"))
            .arg(&guest),
    )?;
    let mut more = Command::new("cp");
    more.arg(workspace.root.join("initramfs/results.sh"));
    command::run(more.arg(sources.join("bench/root-init")).arg(&guest))?;
    let package = deb::agent(workspace, binaries, out)?;
    let mut make = deps::as_root("sh")?;
    make.arg(sources.join("bench.sh")).arg(base);
    make.arg(&packages.kernel).arg(package).arg(etc).arg(guest);
    command::run(make.arg(test_io).arg(out))?;
    Ok(())
}

/// So that the volume can be opened many times in one boot; the linter warns of it, and it is right.
fn allow_reopening(operator: &Operator) -> Result<(), XtaskError> {
    let policy = operator.policy();
    let text = fs::read_to_string(&policy).map_err(io(format!("read {}", policy.display())))?;
    let section = format!("[volume-policy.{VOLUME_POLICY}]\n");
    let edited = text.replacen(&section, &format!("{section}reopen = \"allow\"\n"), 1);
    fs::write(&policy, edited).map_err(io(format!("write {}", policy.display())))
}

/// tang out of the Debian system, with new keys: a process for each connection, as its socket unit starts it.
fn tang(base: &Path, keys: &Path) -> Result<Server, XtaskError> {
    fs::create_dir_all(keys).map_err(io(format!("create {}", keys.display())))?;
    let libraries = base.join("usr/lib/x86_64-linux-gnu").display().to_string();
    let path = std::env::var("PATH").unwrap_or_default();
    let programs = base.join("usr/libexec");
    let mut generate = Command::new(programs.join("tangd-keygen"));
    generate.arg(keys).env("LD_LIBRARY_PATH", &libraries);
    generate.env("PATH", format!("{path}:{}", base.join("usr/bin").display()));
    command::run(&mut generate)?;
    let words = [programs.join("tangd"), keys.to_path_buf()];
    let words = words.map(|word| word.display().to_string());
    let environment = vec![("LD_LIBRARY_PATH".to_owned(), libraries)];
    Ok(Server::Program(words.to_vec(), environment))
}
