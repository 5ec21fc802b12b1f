//! One boot of one machine: QEMU with OVMF, a TPM, the image's disk, data disks, and a network in
//! which only the key service exists.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::command::{self, Guard};
use crate::disk::Disk;
use crate::error::{IoContext, VmError};
use crate::image::Image;
use crate::nbd::Backend;
use crate::net::{Network, Sockets};
use crate::results::Results;
use crate::running::{Files, Running};
use crate::swtpm::{RunningTpm, Tpm};
use crate::turn::Turn;

/// Address and port at which a guest sees the key service.
pub const SERVICE_IN_GUEST: &str = "10.0.2.100:8443";
/// Longest time from power-on to power-off. Emulated machines on busy hosts are slow.
const LIMIT: Duration = Duration::from_secs(180);
const OVMF: &str = "/usr/share/OVMF";

/// A disk as the guest sees it: what follows `file=`, and more of QEMU's options.
#[derive(Debug, Clone)]
struct Attached {
    file: String,
    options: &'static str,
}

/// A kernel with an initramfs that QEMU starts itself: no firmware, nothing is measured, and the boot takes a
/// third of the time.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Direct {
    /// The kernel.
    pub kernel: PathBuf,
    /// The compressed initramfs.
    pub initrd: PathBuf,
    /// Kernel arguments.
    pub command_line: String,
}

/// What a machine starts.
#[derive(Debug, Clone)]
enum Start<'a> {
    /// The image's disk by OVMF, measured into a TPM.
    Measured(&'a Image, &'a Tpm),
    /// A kernel, on a machine without a TPM.
    Direct(&'a Direct),
}

/// A machine before power-on.
#[derive(Debug, Clone)]
pub struct Machine<'a> {
    dir: PathBuf,
    start: Start<'a>,
    files: Vec<(String, PathBuf)>,
    disks: Vec<Attached>,
    forwards: Vec<Forward>,
    network: Option<Sockets>,
    clock: Option<String>,
    script: Option<String>,
    memory: u32,
    limit: Duration,
    /// More of QEMU's arguments, and more of its network's.
    pub(crate) options: Vec<String>,
    pub(crate) inward: String,
}

/// An address of the guest's network behind which something on the host answers.
#[derive(Debug, Clone)]
struct Forward {
    guest: String,
    host: SocketAddr,
    busybox: PathBuf,
}

/// What a boot left behind.
#[derive(Debug, Clone)]
pub struct Boot {
    /// The steps that the guest reported.
    pub results: Results,
    /// Power-on to power-off on the host.
    pub elapsed: Duration,
    /// The serial console.
    pub serial: String,
}

impl<'a> Machine<'a> {
    /// A machine whose files of this boot lie in `dir`.
    pub fn new(dir: &Path, image: &'a Image, tpm: &'a Tpm) -> Self {
        Self::starting(dir, Start::Measured(image, tpm))
    }

    /// A machine without firmware and TPM.
    pub fn direct(dir: &Path, direct: &'a Direct) -> Self {
        Self::starting(dir, Start::Direct(direct))
    }

    fn starting(dir: &Path, start: Start<'a>) -> Self {
        Machine {
            dir: dir.to_path_buf(),
            start,
            files: Vec::new(),
            disks: Vec::new(),
            forwards: Vec::new(),
            network: None,
            clock: None,
            script: None,
            memory: 512,
            limit: LIMIT,
            options: Vec::new(),
            inward: String::new(),
        }
    }

    /// Attaches a data disk: the first is `/dev/vdb`, since the image's own disk is `/dev/vda`, and `/dev/vda`
    /// on a machine that boots from none.
    #[must_use]
    pub fn disk(self, disk: &Disk) -> Self {
        self.attach(disk.path().display().to_string(), "")
    }

    /// Attaches a data disk that takes no writes.
    #[must_use]
    pub fn read_only_disk(self, disk: &Disk) -> Self {
        self.attach(disk.path().display().to_string(), ",readonly=on")
    }

    /// Attaches a hostile disk.
    #[must_use]
    pub fn backend(self, backend: &Backend) -> Self {
        let socket = backend.socket().display();
        self.attach(format!("nbd+unix:///?socket={socket}"), "")
    }

    fn attach(mut self, file: String, options: &'static str) -> Self {
        self.disks.push(Attached { file, options });
        self
    }

    /// Megabytes of memory instead of the usual.
    #[must_use]
    pub fn memory(mut self, megabytes: u32) -> Self {
        self.memory = megabytes;
        self
    }

    /// Seconds from power-on to power-off instead of the usual limit.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Makes the key service reachable; without it the network is empty. `busybox` carries the bytes.
    #[must_use]
    pub fn service(self, address: SocketAddr, busybox: &Path) -> Self {
        self.reaches(SERVICE_IN_GUEST, address, busybox)
    }

    /// Makes something on the host answer at an address of 10.0.2.0/24.
    #[must_use]
    pub fn reaches(mut self, guest: &str, host: SocketAddr, busybox: &Path) -> Self {
        self.forwards.push(Forward {
            guest: guest.to_owned(),
            host,
            busybox: busybox.to_path_buf(),
        });
        self
    }

    /// Leads every frame through a hostile network.
    #[must_use]
    pub fn network(mut self, network: &Network) -> Self {
        self.network = Some(network.sockets());
        self
    }

    /// What the machine's clock shows at power-on, `YYYY-MM-DDTHH:MM:SS`, instead of the host's time.
    #[must_use]
    pub fn clock(mut self, time: &str) -> Self {
        self.clock = Some(time.to_owned());
        self
    }

    /// The script for an image built with `Scenario::FromHost`.
    #[must_use]
    pub fn script(mut self, script: &str) -> Self {
        self.script = Some(script.to_owned());
        self
    }

    /// Hands a file to the guest: `/sys/firmware/qemu_fw_cfg/by_name/opt/dawnkey/NAME/raw`.
    #[must_use]
    pub fn file(mut self, name: &str, path: &Path) -> Self {
        self.files.push((name.to_owned(), path.to_path_buf()));
        self
    }

    /// Boots, waits for the power-off and reads the report.
    ///
    /// # Errors
    /// [`VmError::Timeout`] or [`VmError::NotDone`] with the end of the serial log.
    pub fn boot(self) -> Result<Boot, VmError> {
        self.start()?.finish()
    }

    /// Switches the machine on, once it is its turn among those of other threads.
    ///
    /// # Errors
    /// [`VmError::Io`] when QEMU cannot be started.
    pub fn start(self) -> Result<Running, VmError> {
        fs::create_dir_all(&self.dir).doing(|| format!("create {}", self.dir.display()))?;
        let turn = Turn::wait();
        let files = Files::of(&self.dir);
        let tpm = match self.start {
            Start::Measured(_, tpm) => Some(tpm.start()?),
            Start::Direct(_) => None,
        };
        let mut qemu = self.command(&files, tpm.as_ref().map(RunningTpm::socket))?;
        let errors = fs::File::create(&files.errors)
            .doing(|| format!("create {}", files.errors.display()))?;
        let child = qemu
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors)
            .spawn()
            .doing(|| command::line(&qemu))?;
        Ok(Running::new(
            Guard::new(child),
            files,
            turn,
            tpm,
            self.limit,
        ))
    }

    fn command(&self, files: &Files, tpm: Option<&Path>) -> Result<Command, VmError> {
        // Emulation unless asked otherwise: /dev/kvm may be there and still not work.
        let accelerator = std::env::var("DAWNKEY_VM_ACCEL").unwrap_or_else(|_| "tcg".to_owned());
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args([
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-M",
            "q35",
            "-cpu",
            "max",
            "-no-reboot",
        ]);
        qemu.arg("-m").arg(self.memory.to_string());
        qemu.args(["-accel", &accelerator]);
        // Nobody has to listen; what the machine says is in the file whether anybody does or not.
        qemu.arg("-chardev").arg(format!(
            "socket,id=serial,path={},server=on,wait=off,logfile={}",
            files.console.display(),
            files.serial.display()
        ));
        qemu.args(["-serial", "chardev:serial"]);
        qemu.arg("-qmp")
            .arg(format!("unix:{},server=on,wait=off", files.qmp.display()));
        match &self.start {
            Start::Measured(image, _) => self.firmware(&mut qemu, image)?,
            Start::Direct(direct) => {
                qemu.arg("-kernel").arg(&direct.kernel);
                qemu.arg("-initrd").arg(&direct.initrd);
                qemu.args(["-append", &direct.command_line]);
            }
        }
        if let Some(tpm) = tpm {
            qemu.arg("-chardev")
                .arg(format!("socket,id=tpm,path={}", tpm.display()));
            qemu.args([
                "-tpmdev",
                "emulator,id=tpm,chardev=tpm",
                "-device",
                "tpm-crb,tpmdev=tpm",
            ]);
        }
        qemu.arg("-chardev")
            .arg(format!("file,id=results,path={}", files.report.display()));
        qemu.arg("-chardev").arg(format!(
            "socket,id=control,path={},server=on,wait=off",
            files.control.display()
        ));
        qemu.args([
            "-device",
            "virtio-serial-pci",
            "-device",
            "virtserialport,chardev=results,name=dawnkey.results",
            "-device",
            "virtserialport,chardev=control,name=dawnkey.control",
        ]);
        self.disks(&mut qemu);
        qemu.arg("-netdev").arg(self.netdev());
        qemu.args(["-device", "virtio-net-pci,netdev=net,romfile="]);
        if let Some(network) = &self.network {
            qemu.args(network.options());
        }
        if let Some(clock) = &self.clock {
            qemu.arg("-rtc").arg(format!("base={clock}"));
        }
        qemu.args(&self.options);
        let mut files = self.files.clone();
        if let Some(script) = &self.script {
            let path = self.dir.join("scenario.sh");
            fs::write(&path, script).doing(|| format!("write {}", path.display()))?;
            files.push(("scenario".to_owned(), path));
        }
        for (name, path) in files {
            qemu.arg("-fw_cfg")
                .arg(format!("name=opt/dawnkey/{name},file={}", path.display()));
        }
        Ok(qemu)
    }

    /// OVMF with new variables, and the disk it boots from.
    fn firmware(&self, qemu: &mut Command, image: &Image) -> Result<(), VmError> {
        let vars = self.dir.join("vars.fd");
        let template = Path::new(OVMF).join("OVMF_VARS_4M.fd");
        fs::copy(&template, &vars).map_err(|_| VmError::Missing {
            what: "UEFI firmware".to_owned(),
            looked: template.display().to_string(),
            package: "ovmf",
        })?;
        qemu.arg("-drive").arg(format!(
            "if=pflash,format=raw,unit=0,readonly=on,file={OVMF}/OVMF_CODE_4M.fd"
        ));
        qemu.arg("-drive").arg(format!(
            "if=pflash,format=raw,unit=1,file={}",
            vars.display()
        ));
        qemu.arg("-drive").arg(format!(
            "if=none,id=boot,format=raw,snapshot=on,file={}",
            image.disk.display()
        ));
        qemu.args(["-device", "virtio-blk-pci,drive=boot,bootindex=1"]);
        Ok(())
    }

    fn disks(&self, qemu: &mut Command) {
        for (index, attached) in self.disks.iter().enumerate() {
            qemu.arg("-drive").arg(format!(
                "if=none,id=d{index},format=raw{},file={}",
                attached.options, attached.file
            ));
            qemu.arg("-device")
                .arg(format!("virtio-blk-pci,drive=d{index}"));
        }
    }

    /// `restrict=on`: the guest reaches nothing but the forwarded addresses. Each of its connections
    /// starts one `nc`, because a character device of QEMU carries a single connection.
    fn netdev(&self) -> String {
        let mut options = "user,id=net,restrict=on".to_owned();
        for Forward {
            guest,
            host,
            busybox,
        } in &self.forwards
        {
            let (busybox, ip, port) = (busybox.display(), host.ip(), host.port());
            options += &format!(",guestfwd=tcp:{guest}-cmd:{busybox} nc {ip} {port}");
        }
        options + &self.inward
    }
}
