//! A node: a software TPM, an event log that fits its PCRs, and a disk file.

use super::keyring::Keyring;
use super::{VOLUME, World};
use dawnkey_agent::client::Client;
use dawnkey_agent::config::{ServiceConfig, VolumeConfig};
use dawnkey_agent::error::{AskError, Stopped, UnlockError};
use dawnkey_agent::measure_log::MeasureLog;
use dawnkey_agent::report::Event;
use dawnkey_agent::run::{Finished, Job, Ports, reopen, run};
use dawnkey_agent::unlock::Done;
use dawnkey_attest::cel::{self, Record};
use dawnkey_attest::collect::Attester as _;
use dawnkey_attest::collect::vtpm::{KeySource, Vtpm, VtpmConfig};
use dawnkey_attest::evidence::{Evidence, Exchange};
use dawnkey_attest::fake::{EkKind, LogBuilder, Swtpm, SwtpmCa};
use dawnkey_attest::tpm::hash::Hash;
use dawnkey_dm::fake::FakeMapper;
use dawnkey_dm::{Integrity, MappedName, Wanted};
use dawnkey_proto::closing::Opened;
use dawnkey_proto::message::Refusal;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;
use tss_esapi::handles::PcrHandle;
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{Digest, DigestValues};
use tss_esapi::{Context, TctiNameConf};
use uuid::Uuid;

/// Endorsement keys of all tests.
pub const KIND: EkKind = EkKind::Rsa;
/// `EV_IPL`, with which systemd-stub measures sections.
const EV_IPL: u32 = 0x0d;

/// PCRs after an image with this kernel command line has booted.
pub fn image(command_line: &str) -> BTreeMap<u8, Vec<u8>> {
    log(command_line).pcrs().clone()
}

fn log(command_line: &str) -> LogBuilder {
    LogBuilder::new(&[Hash::Sha256])
        .event(4, EV_IPL, b"stub")
        .event(11, EV_IPL, command_line.as_bytes())
}

/// A machine with its TPM and disks.
pub struct Node {
    tpm: Swtpm,
    /// The disk of its first volume.
    pub disk: PathBuf,
    others: Vec<PathBuf>,
    dir: tempfile::TempDir,
    /// What this boot's unlock has left for a holder.
    pub keyring: Keyring,
    /// Events of the last run.
    pub events: Vec<Event>,
}

impl Node {
    /// A node with a blank disk and a TPM of `ca`, booted from the good image.
    pub fn new(ca: &SwtpmCa) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("disk");
        let file = std::fs::File::create(&disk).unwrap();
        file.set_len(64 << 20).unwrap();
        let mut node = Self {
            tpm: Swtpm::start(ca, KIND),
            disk,
            others: Vec::new(),
            dir,
            keyring: Keyring::new(),
            events: Vec::new(),
        };
        node.boot("quiet");
        node
    }

    /// Turns the machine off and on and measures an image with this command line.
    pub fn boot(&mut self, command_line: &str) {
        self.tpm.reboot();
        self.keyring = Keyring::new();
        let log = log(command_line);
        let tcti = TctiNameConf::from_str(&self.tpm.tcti()).unwrap();
        let mut context = Context::new(tcti).unwrap();
        for (pcr, data) in [
            (PcrHandle::Pcr4, b"stub".as_slice()),
            (PcrHandle::Pcr11, command_line.as_bytes()),
        ] {
            let mut values = DigestValues::new();
            let digest = Digest::try_from(Hash::Sha256.digest(&[data])).unwrap();
            values.set(HashingAlgorithm::Sha256, digest);
            let extend = |context: &mut Context| context.pcr_extend(pcr, values);
            context
                .execute_with_session(Some(AuthSession::Password), extend)
                .unwrap();
        }
        std::fs::write(self.log(), log.build()).unwrap();
        let _ = std::fs::remove_file(self.measure_log());
    }

    /// Where systemd would take down what this boot measures.
    fn measure_log(&self) -> PathBuf {
        self.dir.path().join("tpm2-measure.log")
    }

    /// What this boot's log of measurements says, and PCR 15 as a quote shows it.
    pub fn measured(&self) -> (Vec<Record>, Vec<u8>) {
        let log = std::fs::read(self.measure_log()).unwrap();
        let Evidence::Vtpm(evidence) = self.attester().collect(&Exchange([1; 64])).unwrap() else {
            unreachable!("a TPM gives evidence of a TPM");
        };
        let quoted = evidence.pcrs[0].values[15].digest.clone();
        (cel::parse(&log).unwrap(), quoted)
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// The disk's first 17 MiB: both headers and what follows.
    pub fn disk_bytes(&self) -> Vec<u8> {
        let mut bytes = std::fs::read(&self.disk).unwrap();
        bytes.truncate(17 << 20);
        bytes
    }

    /// Puts bytes at the disk's begin.
    pub fn write_disk(&self, bytes: &[u8]) {
        use std::os::unix::fs::FileExt;
        let file = std::fs::File::options().write(true).open(&self.disk);
        file.unwrap().write_all_at(bytes, 0).unwrap();
    }

    /// Its TPM, as the agent opens it.
    pub fn attester(&self) -> Vtpm {
        self.attester_with(KeySource::Own)
    }

    /// The same, quoting with this key.
    pub fn attester_with(&self, key: KeySource) -> Vtpm {
        let mut vtpm = Vtpm::open(VtpmConfig {
            tcti: self.tpm.tcti(),
            bank: Hash::Sha256,
            event_log: self.log(),
            key,
        })
        .unwrap();
        let rtmr = self.dir.path().join("rtmr-measure.log");
        let log = MeasureLog::at(self.measure_log(), rtmr, |event| panic!("{event}"));
        vtpm.log_to(Box::new(log));
        vtpm
    }

    /// Its disks.
    pub fn mapper(&self) -> FakeMapper {
        let mut disks = vec![self.disk.clone()];
        disks.extend(self.others.clone());
        FakeMapper::new(disks)
    }

    /// A volume on its first disk, as the agent's configuration says it.
    pub fn volume(&self, volume: Uuid) -> VolumeConfig {
        state_volume(volume, &self.disk)
    }

    /// Runs the agent against the service.
    pub async fn unlock(&mut self, world: &World) -> Result<Done, UnlockError> {
        self.unlock_at(&world.service_at(world.address()), VOLUME)
            .await
    }

    /// Runs the agent against a service somewhere.
    pub async fn unlock_at(
        &mut self,
        service: &ServiceConfig,
        volume: Uuid,
    ) -> Result<Done, UnlockError> {
        let volumes = [self.volume(volume)];
        let ended = self.unlock_all(service, &volumes).await;
        ended
            .map(|mut finished| finished.done.remove(0))
            .map_err(|stopped| stopped.error)
    }

    /// Another blank disk of the machine.
    pub fn add_disk(&mut self, volume: Uuid, name: &str) -> VolumeConfig {
        let disk = self.dir.path().join(name);
        let file = std::fs::File::create(&disk).unwrap();
        file.set_len(64 << 20).unwrap();
        self.others.push(disk.clone());
        let mut config = self.volume(volume);
        config.wanted.name = MappedName::new(name).unwrap();
        config.wanted.device = Some(disk);
        config
    }

    /// Runs the agent for these volumes.
    pub async fn unlock_all(
        &mut self,
        service: &ServiceConfig,
        volumes: &[VolumeConfig],
    ) -> Result<Finished, Box<Stopped>> {
        let mut events = Vec::new();
        let mut mapper = self.mapper();
        let mut attester = self.attester();
        let ended = run(
            &Job {
                volumes,
                node_name: "node-1",
                pace: service.pace,
                holder: true,
            },
            &mut Ports {
                service: &mut Client::new(service).unwrap(),
                attester: &mut attester,
                mapper: &mut mapper,
                leases: &mut self.keyring,
                jitter: &mut || 0,
                report: &mut |event: &Event| events.push(event.clone()),
            },
        )
        .await;
        self.events = events;
        let open = ended.as_ref().map_or(0, |finished| finished.done.len());
        assert_eq!(mapper.mapped().count(), open);
        ended
    }

    /// Opens the volume again in the running system.
    pub async fn reopen(
        &mut self,
        world: &World,
        closed_with: &[Opened],
    ) -> Result<Done, UnlockError> {
        let service = world.service_at(world.address());
        let volume = self.volume(VOLUME);
        let volumes = [volume];
        let (mut mapper, mut attester) = (self.mapper(), self.attester());
        let job = Job {
            volumes: &volumes,
            node_name: "node-1",
            pace: service.pace,
            holder: true,
        };
        let mut ports = Ports {
            service: &mut Client::new(&service).unwrap(),
            attester: &mut attester,
            mapper: &mut mapper,
            leases: &mut self.keyring,
            jitter: &mut || 0,
            report: &mut |_: &Event| {},
        };
        let ended = reopen(&job, &volumes[0], closed_with, &mut ports).await;
        ended.map_err(|stopped| stopped.error)
    }

    /// Runs the agent, which must be refused, and nothing may change on the disk or in the store.
    pub async fn refused(&mut self, world: &World) -> Refusal {
        let service = world.service_at(world.address());
        self.refused_at(world, &service, VOLUME).await
    }

    /// The same against a service somewhere.
    pub async fn refused_at(
        &mut self,
        world: &World,
        service: &ServiceConfig,
        volume: Uuid,
    ) -> Refusal {
        let (disk, store) = (self.disk_bytes(), world.store());
        let ended = self.unlock_at(service, volume).await;
        assert!(self.disk_bytes() == disk, "the disk has changed");
        assert!(world.store() == store, "the store has changed");
        let error = ended.expect_err("the service must refuse");
        assert_eq!(error.exit_code(), 21, "{error}");
        match error {
            UnlockError::Ask { error, .. } => match *error {
                AskError::Refused(refusal) => refusal,
                other => panic!("expected a refusal, got {other}"),
            },
            other => panic!("expected a refusal, got {other}"),
        }
    }

    /// Whether the last run had to prove its TPM's key.
    pub fn was_challenged(&self) -> bool {
        self.events.contains(&Event::Challenged)
    }
}

/// The volume `state` on a disk that may be formatted, without a filesystem.
pub fn state_volume(volume: Uuid, disk: &Path) -> VolumeConfig {
    VolumeConfig {
        wanted: Wanted {
            volume,
            name: MappedName::new("state").unwrap(),
            device: Some(disk.to_owned()),
            integrity: Integrity::HmacSha256,
            journal_mac: false,
            filesystem: None,
            wipe: dawnkey_dm::Wipe::UpFront,
            grow: false,
            opener: dawnkey_dm::Opener::Ours,
        },
        required: true,
        adopted: false,
        wait: Duration::ZERO,
    }
}
