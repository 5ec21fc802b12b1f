//! `dawnkey measure tdx`: measurement registers of a TD.

use super::{
    MAX_FIRMWARE, MAX_IMAGE, event_table, fragment, optional, secure_boot::SecureBootArgs,
    unmeasured,
};
use crate::files;
use crate::outcome::{Exit, Failure};
use crate::output::{Output, fields, note, table};
use clap::{Args, ValueEnum};
use dawnkey_attest::measure::{
    PredictedEvent,
    tdx::{
        Blobs, Boot, BootSeparator, BootSource, DISK_START, Machine, PageOrder, Platform, Td,
        TdError, TdMeasurements, Tdvf, td, td_hob,
    },
};
use dawnkey_attest::tdx::ccel::RtmrLog;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Largest blob or recorded log that is read, in bytes.
const MAX_BLOB: u64 = 1 << 20;

/// Predict the measurement registers of a TD
///
/// MRTD follows from the firmware alone, RTMR 1 and 2 from what is booted. RTMR 0 depends on the machine: it is predicted
/// from the blobs that firmware measures, or from the log of a TD on the same kind of machine, and never guessed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  dawnkey measure tdx OVMF.inteltdx.fd
  dawnkey measure tdx OVMF.inteltdx.fd --uki node.efi --disk node.raw --policy node-2026-11 >> policy.toml
  dawnkey measure tdx OVMF.inteltdx.fd --kernel vmlinuz --initrd initrd.img --cmdline 'console=hvc0' \\
      --memory 4096 --secure-boot unsupported --blob etc/table-loader=loader.bin \\
      --blob etc/acpi/rsdp=rsdp.bin --blob etc/acpi/tables=tables.bin --blob BootOrder=order.bin \\
      --blob Boot0000=boot0000.bin
  dawnkey measure tdx OVMF.inteltdx.fd --uki node.efi --by-qemu --recorded ccel.bin --json")]
pub(super) struct TdxArgs {
    /// The firmware: OVMF built for TDX, as QEMU loads it with -bios
    firmware: PathBuf,
    /// In which order the host adds and measures pages
    #[arg(long, value_name = "ORDER", default_value = "page-by-page")]
    page_order: Order,
    /// Register of the separator before the boot; where a recorded log shows it, that decides
    #[arg(long, value_name = "REGISTER")]
    boot_separator: Option<Separator>,
    /// Print the values as an `[[image]]` of a policy file, with this name
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    #[command(flatten)]
    boot: BootArgs,
    #[command(flatten)]
    machine: MachineArgs,
    #[command(flatten)]
    secure_boot: SecureBootArgs,
}

/// What is booted.
#[derive(Debug, Args)]
#[command(next_help_heading = "What is booted (RTMR 1 and 2)")]
struct BootArgs {
    /// Kernel that QEMU hands to the firmware (-kernel), as the firmware gets it
    #[arg(long, value_name = "FILE", conflicts_with = "uki")]
    kernel: Option<PathBuf>,
    /// Initrd for the kernel (-initrd)
    #[arg(long, value_name = "FILE", requires = "kernel")]
    initrd: Option<PathBuf>,
    /// Command line for the kernel (-append)
    #[arg(long, value_name = "TEXT", requires = "kernel")]
    cmdline: Option<String>,
    /// Unified kernel image
    #[arg(long, value_name = "FILE")]
    uki: Option<PathBuf>,
    /// The UKI is on this disk: a raw image, or its first MiB, with a GUID partition table
    #[arg(long, value_name = "FILE", requires = "uki", group = "source")]
    disk: Option<PathBuf>,
    /// The UKI is on no disk with a GUID partition table
    #[arg(long, requires = "uki", group = "source")]
    no_partitions: bool,
    /// QEMU hands the UKI to the firmware (-kernel)
    #[arg(long, requires = "uki", group = "source")]
    by_qemu: bool,
}

/// What RTMR 0 is made of.
#[derive(Debug, Args)]
#[command(next_help_heading = "The machine (RTMR 0)")]
struct MachineArgs {
    /// Event log of a TD on the same kind of machine with this firmware: /sys/firmware/acpi/tables/data/CCEL
    #[arg(long, value_name = "FILE", conflicts_with_all = ["secure_boot", "blob", "td_hob", "memory"])]
    recorded: Option<PathBuf>,
    /// The TD HOB that the host writes, without its closing element
    #[arg(
        long,
        value_name = "FILE",
        requires_all = ["secure_boot", "blob"],
        conflicts_with = "memory"
    )]
    td_hob: Option<PathBuf>,
    /// Memory of the machine in MiB, to make the TD HOB from
    #[arg(long, value_name = "MIB", requires_all = ["secure_boot", "blob"])]
    memory: Option<u64>,
    /// Who lays out that memory
    #[arg(
        long,
        value_name = "MONITOR",
        default_value = "qemu",
        requires = "memory"
    )]
    layout: Layout,
    /// What firmware measures after Secure Boot, in its order: ACPI tables, BootOrder, each boot option
    #[arg(long, value_name = "NAME=FILE", value_parser = named)]
    blob: Vec<(String, PathBuf)>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Order {
    /// Each page is added and measured before the next: Linux 6.16 and later, GCE
    PageByPage,
    /// All pages of a section are added, then all are measured: earlier hosts
    AddThenMeasure,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Separator {
    /// EDK2 up to 2023
    Rtmr0,
    /// EDK2 now
    Rtmr1,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Layout {
    /// QEMU's q35
    Qemu,
    /// Google Compute Engine, machine types with one NUMA node
    Gce,
}

fn named(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, path)) if !name.is_empty() && !path.is_empty() => {
            Ok((name.to_owned(), PathBuf::from(path)))
        }
        _ => Err("expected NAME=FILE".to_owned()),
    }
}

/// The result as `--json` shows it.
#[derive(Debug, Serialize)]
struct Measured {
    firmware: String,
    covers: String,
    /// MRTD and RTMRs under the names they have in a policy.
    tdx: BTreeMap<&'static str, String>,
    events: Vec<Event>,
    /// Why a register is absent.
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Event {
    rtmr: u8,
    event_type: String,
    digest: String,
    description: String,
}

/// Files of a boot, read.
struct BootFiles {
    image: Vec<u8>,
    initrd: Option<Vec<u8>>,
    disk: Option<Vec<u8>>,
}

impl TdxArgs {
    /// Runs the command.
    pub(super) fn run(&self, output: Output) -> Result<Exit, Failure> {
        let firmware = files::read(&self.firmware, "the firmware", MAX_FIRMWARE)?;
        let tdvf = Tdvf::parse(&firmware).map_err(|error| self.refused(&error.into()))?;
        let files = self.boot.read()?;
        let recorded = self.machine.recorded()?;
        let blobs = self.machine.blobs()?;
        let platform = match &recorded {
            Some(log) => Some(Platform::Recorded(log)),
            None => self.platform(&tdvf, &blobs)?,
        };
        let boot = files
            .as_ref()
            .map(|files| self.boot.boot(files))
            .transpose()?;
        let found = td(&Td {
            firmware: &tdvf,
            order: match self.page_order {
                Order::PageByPage => PageOrder::PageByPage,
                Order::AddThenMeasure => PageOrder::AddThenMeasure,
            },
            separator: self.boot_separator.map(|separator| match separator {
                Separator::Rtmr0 => BootSeparator::Rtmr0,
                Separator::Rtmr1 => BootSeparator::Rtmr1,
            }),
            platform,
            boot,
        })
        .map_err(|error| self.refused(&error))?;
        self.show(output, &found)
    }

    fn show(&self, output: Output, found: &TdMeasurements) -> Result<Exit, Failure> {
        for text in &found.notes {
            note(&format!("note: {text}"));
        }
        let measured = Measured::new(&self.firmware, found);
        output.show(&measured, || match &self.policy {
            Some(name) => fragment::image(name, "tdx", &measured.tdx),
            None => measured.text(&found.events),
        })?;
        Ok(Exit::Done)
    }

    /// RTMR 0 from blobs, where any is given.
    fn platform<'a>(
        &self,
        tdvf: &Tdvf<'_>,
        blobs: &'a [(String, Vec<u8>)],
    ) -> Result<Option<Platform<'a>>, Failure> {
        let hob = match (&self.machine.td_hob, self.machine.memory) {
            (Some(path), _) => files::read(path, "the TD HOB", MAX_BLOB)?,
            (None, Some(mib)) => {
                let machine = match self.machine.layout {
                    Layout::Qemu => Machine::Qemu,
                    Layout::Gce => Machine::Gce,
                };
                td_hob(tdvf, machine, mib).map_err(|error| self.refused(&error))?
            }
            (None, None) if blobs.is_empty() => return Ok(None),
            (None, None) => {
                return Err(Failure::usage(
                    "predict RTMR 0: blobs are given, but not the TD HOB that is measured before them",
                    "--blob",
                    "--td-hob or --memory with them",
                ));
            }
        };
        let secure_boot = self.secure_boot.read()?;
        let others = blobs
            .iter()
            .map(|(name, bytes)| (name.clone(), bytes.as_slice()));
        Ok(secure_boot.map(|secure_boot| {
            Platform::Blobs(Blobs {
                td_hob: hob,
                secure_boot,
                others: others.collect(),
            })
        }))
    }

    fn refused(&self, error: &TdError) -> Failure {
        let given = |path: Option<&PathBuf>, option: &str| {
            path.map_or_else(|| option.to_owned(), |path| path.display().to_string())
        };
        let (place, right) = match error {
            TdError::Firmware(_) => (
                self.firmware.display().to_string(),
                "OVMF built for TDX, code and variables in one file",
            ),
            TdError::Image(error) => {
                let path = self.boot.uki.as_ref().or(self.boot.kernel.as_ref());
                let path = path.map_or(Path::new("--uki"), PathBuf::as_path);
                return unmeasured(path, error);
            }
            TdError::Log(_) | TdError::OtherFirmware { .. } | TdError::NotFirmwareLog { .. } => (
                given(self.machine.recorded.as_ref(), "--recorded"),
                "the CCEL of a TD that was started with this firmware",
            ),
            TdError::Disk { .. } => (
                given(self.boot.disk.as_ref(), "--disk"),
                "a raw image of a disk with a GUID partition table, or --no-partitions",
            ),
            TdError::Memory { .. } => (
                "--memory".to_owned(),
                "the machine's memory in MiB, or its TD HOB by --td-hob",
            ),
        };
        Failure::local(format!("measure the TD: {error}"), place, right)
    }
}

impl BootArgs {
    fn read(&self) -> Result<Option<BootFiles>, Failure> {
        let Some(path) = self.kernel.as_ref().or(self.uki.as_ref()) else {
            return Ok(None);
        };
        Ok(Some(BootFiles {
            image: files::read(path, "the image", MAX_IMAGE)?,
            initrd: optional(self.initrd.as_ref(), "the initrd", MAX_IMAGE)?,
            disk: self.disk.as_deref().map(disk_start).transpose()?,
        }))
    }

    fn boot<'a>(&'a self, files: &'a BootFiles) -> Result<Boot<'a>, Failure> {
        if self.kernel.is_some() {
            return Ok(Boot::Kernel {
                kernel: &files.image,
                initrd: files.initrd.as_deref(),
                cmdline: self.cmdline.as_deref().unwrap_or_default(),
            });
        }
        let source = match &files.disk {
            Some(start) => BootSource::Disk(start),
            None if self.by_qemu => BootSource::Qemu,
            None if self.no_partitions => BootSource::Unpartitioned,
            None => {
                return Err(Failure::usage(
                    "predict RTMR 1: firmware measures the partition table of the disk the image is on",
                    "--uki",
                    "one of --disk, --no-partitions and --by-qemu with it",
                ));
            }
        };
        Ok(Boot::Uki {
            image: &files.image,
            source,
        })
    }
}

impl MachineArgs {
    fn recorded(&self) -> Result<Option<RtmrLog>, Failure> {
        let Some(path) = &self.recorded else {
            return Ok(None);
        };
        let bytes = files::read(path, "the recorded log", MAX_BLOB)?;
        RtmrLog::parse(&bytes).map(Some).map_err(|error| {
            Failure::local(
                format!("read the recorded log: {error}"),
                path.display(),
                "a CCEL, or the JSON event list of dstack",
            )
        })
    }

    fn blobs(&self) -> Result<Vec<(String, Vec<u8>)>, Failure> {
        let read = |(name, path): &(String, PathBuf)| {
            Ok((
                name.clone(),
                files::read(path, "a measured blob", MAX_BLOB)?,
            ))
        };
        self.blob.iter().map(read).collect()
    }
}

/// The part of a disk that holds its partition table.
fn disk_start(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut start = Vec::new();
    let read = std::fs::File::open(path)
        .and_then(|file| file.take(DISK_START as u64).read_to_end(&mut start));
    match read {
        Ok(_) => Ok(start),
        Err(error) => Err(Failure::local(
            format!("read the disk: {error}"),
            path.display(),
            "a readable file",
        )),
    }
}

impl Measured {
    fn new(firmware: &Path, found: &TdMeasurements) -> Self {
        let mut tdx = BTreeMap::from([("mr_td", found.mr_td.clone())]);
        let names = [(0, "rtmr0"), (1, "rtmr1"), (2, "rtmr2"), (3, "rtmr3")];
        for (number, name) in names {
            if let Some(value) = found.rtmr.get(&number) {
                tdx.insert(name, value.clone());
            }
        }
        let covers = match (found.rtmr.contains_key(&1), found.rtmr.contains_key(&2)) {
            (true, true) => "firmware, the image, its command line and initrd",
            (true, false) => "firmware and the image; not its command line and initrd",
            (false, _) => "firmware only: whatever it boots has the same MRTD",
        };
        let event = |event: &PredictedEvent| Event {
            rtmr: event.pcr,
            event_type: event.event_type.clone(),
            digest: event.digest.clone(),
            description: event.description.clone(),
        };
        Self {
            firmware: firmware.display().to_string(),
            covers: covers.to_owned(),
            tdx,
            events: found.events.iter().map(event).collect(),
            notes: found.notes.clone(),
        }
    }

    fn text(&self, events: &[PredictedEvent]) -> String {
        let head = fields(&[
            ("firmware", self.firmware.clone()),
            ("covers", self.covers.clone()),
        ]);
        let values: Vec<[String; 2]> = self
            .tdx
            .iter()
            .map(|(name, value)| [(*name).to_owned(), value.clone()])
            .collect();
        let mut text = format!("{head}\n{}", table(["REGISTER", "SHA-384"], &values));
        if !events.is_empty() {
            text.push('\n');
            text.push_str(&event_table("RTMR", events));
        }
        text
    }
}
