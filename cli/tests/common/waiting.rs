//! Nodes that wait for an operator: real agents on a mock of AMD's chips, disk files, and a service that they cannot reach.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::common::scene::{Scene, VOLUME};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use dawnkey_agent::client::Client;
use dawnkey_agent::config::{Config, Outside};
use dawnkey_agent::lease::{Held, LeaseError, Leases};
use dawnkey_agent::recovery::Recovery;
use dawnkey_agent::report::Event;
use dawnkey_agent::run::{Finished, Job, Ports, run_or_recover};
use dawnkey_attest::collect::{Attester, Closing, CollectError};
use dawnkey_attest::evidence::{Evidence, Exchange, SnpEvidence};
use dawnkey_attest::snp::auxblob::CertificateTable;
use dawnkey_attest::snp::fake::{Authority, MockAmd, MockVek, ReportSpec, VekSpec};
use dawnkey_attest::snp::product::Product;
use dawnkey_attest::snp::vek::VekKind;
use dawnkey_dm::fake::FakeMapper;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};
use uuid::Uuid;

/// One chip of AMD's, as a mock, and what its firmware hands out.
pub struct Chip {
    amd: Arc<MockAmd>,
    vek: MockVek,
    certificates: Vec<u8>,
}

impl Chip {
    pub fn new() -> Arc<Self> {
        let amd = Arc::new(MockAmd::new(Product::Milan));
        let vek = amd.issue(&VekSpec::new(VekKind::Vcek, amd.product()));
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.unwrap().as_secs();
        let dates = (now - 3600, now + 86_400);
        let certificates = CertificateTable {
            vcek: Some(vek.der.clone()),
            crl: Some(amd.crl(Authority::Ark, &[], dates)),
            ..CertificateTable::default()
        }
        .encode();
        Arc::new(Self {
            amd,
            vek,
            certificates,
        })
    }

    /// Writes the policy that accepts guests of this chip, over the one that `init` made.
    pub fn write_policy(&self, dir: &Path) {
        let roots: String = [Authority::Ark, Authority::Ask]
            .map(|which| {
                let text = BASE64_STANDARD.encode(self.amd.der(which));
                format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
            })
            .concat();
        std::fs::write(dir.join("amd.pem"), roots).unwrap();
        let policy = format!(
            "version = 1\n[roots]\namd = [\"amd.pem\"]\n[platform.milan.snp]\nproducts = [\"Milan\"]\n\
             [platform.milan.snp.tcb.Milan]\nreported = {{ snp = 24 }}\nlaunch = {{ snp = 24 }}\n\
             [[image]]\nname = \"node\"\n[image.snp]\nmeasurement = \"{}\"\n\
             [volume-policy.state]\ntrust_class = \"tee\"\nimages = [\"node\"]\nplatforms = [\"milan\"]\nrollback = \"refuse\"\n",
            "3d".repeat(48)
        );
        std::fs::write(dir.join("policy.toml"), policy).unwrap();
    }
}

/// A guest on the chip with a disk of its own.
pub struct Guest {
    chip: Arc<Chip>,
    launches: u8,
    pub volume: Uuid,
    disk: PathBuf,
    _dir: tempfile::TempDir,
    /// Bends every report before it is signed.
    pub bend: fn(&mut ReportSpec),
}

struct Reports(Arc<Chip>, u8, fn(&mut ReportSpec));

impl Attester for Reports {
    fn kind(&self) -> &'static str {
        "snp"
    }

    fn collect(&mut self, exchange: &Exchange) -> Result<Evidence, CollectError> {
        let mut spec = ReportSpec::new(self.0.amd.product(), VekKind::Vcek);
        spec.report_data = exchange.0;
        spec.bent.push((0x140, self.1));
        (self.2)(&mut spec);
        Ok(Evidence::Snp(Box::new(SnpEvidence {
            report: spec.sign(&self.0.vek),
            certificates: self.0.certificates.clone(),
        })))
    }

    fn close_boot(&mut self, _: &[Vec<u8>]) -> Result<Closing, CollectError> {
        let why = "an SNP guest has no register";
        Ok(Closing::Absent { why })
    }
}

struct NoLeases;

impl Leases for NoLeases {
    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn leave(&mut self, _: &Held) -> Result<(), LeaseError> {
        Ok(())
    }

    fn find(&mut self, _: Uuid) -> Result<Option<Held>, LeaseError> {
        Ok(None)
    }

    fn forget(&mut self, _: Uuid) -> Result<(), LeaseError> {
        Ok(())
    }
}

/// An agent that runs in a thread of its own, and what it says.
pub struct Boot {
    thread: JoinHandle<Result<Finished, String>>,
    events: Receiver<Event>,
    /// Lines that are typed at its console.
    pub typing: tokio::sync::mpsc::Sender<String>,
}

impl Boot {
    /// The address that it listens on, as soon as it does.
    pub fn address(&self) -> String {
        loop {
            let event = self.events.recv_timeout(Duration::from_secs(60)).unwrap();
            if let Event::RecoveryWaiting {
                listen: Some(listen),
                ..
            } = event
            {
                return listen.to_string();
            }
        }
    }

    /// The request that it shows on its console, as soon as it does.
    pub fn text(&self) -> String {
        loop {
            let event = self.events.recv_timeout(Duration::from_secs(60)).unwrap();
            if let Event::RecoveryText { text } = event {
                return text;
            }
        }
    }

    /// Waits for the agent's end.
    pub fn ended(self) -> Result<Finished, String> {
        self.thread.join().unwrap()
    }
}

impl Guest {
    /// A guest with a blank disk.
    pub fn new(chip: &Arc<Chip>, volume: Uuid) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("disk");
        let file = std::fs::File::create(&disk).unwrap();
        file.set_len(64 << 20).unwrap();
        Self {
            chip: Arc::clone(chip),
            launches: 0,
            volume,
            disk,
            _dir: dir,
            bend: |_| (),
        }
    }

    pub fn disk_bytes(&self) -> Vec<u8> {
        let mut bytes = std::fs::read(&self.disk).unwrap();
        bytes.truncate(1 << 20);
        bytes
    }

    pub fn whole_disk(&self) -> Vec<u8> {
        std::fs::read(&self.disk).unwrap()
    }

    pub fn put_back(&self, disk: &[u8]) {
        std::fs::write(&self.disk, disk).unwrap();
    }

    /// Launches the guest with its service at `service`, and these lines of `[recovery]`, if any.
    pub fn launch(&mut self, ca: &Path, service: &str, recovery: Option<&str>) -> Boot {
        self.launches += 1;
        let recovery = recovery.map_or_else(String::new, |lines| {
            format!("[recovery]\n{lines}after_seconds = 1\ngive_up_seconds = 100\n")
        });
        let text = format!(
            "node_name = \"guest-1\"\n[service]\nendpoints = [\"{service}\"]\nname = \"localhost\"\nca_file = \"{}\"\n\
             [attestation]\nkind = \"snp\"\n[[volume]]\nid = \"{}\"\nname = \"state\"\ndevice = \"{}\"\n{recovery}",
            ca.display(),
            self.volume,
            self.disk.display()
        );
        let config = Config::parse(&text, Path::new("/agent.toml"), &Outside::default()).unwrap();
        let reports = Reports(Arc::clone(&self.chip), self.launches, self.bend);
        let disk = self.disk.clone();
        let (said, events) = channel();
        let (typing, lines) = tokio::sync::mpsc::channel(64);
        let thread = std::thread::spawn(move || agent(&config, reports, disk, said, lines));
        Boot {
            thread,
            events,
            typing,
        }
    }

    /// Unlocks with the service, as at every other boot.
    pub fn unlock(&mut self, scene: &Scene) {
        let (ca, address) = (
            scene.dir.path().join("ca.pem"),
            scene.service.addresses.unlock,
        );
        let boot = self.launch(&ca, &address.to_string(), None);
        boot.ended().unwrap();
    }
}

fn agent(
    config: &Config,
    mut reports: Reports,
    disk: PathBuf,
    said: Sender<Event>,
    lines: tokio::sync::mpsc::Receiver<String>,
) -> Result<Finished, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let recovery = config.recovery.clone().map(|it| Recovery::new(it).unwrap());
    let mut recovery = recovery.map(|recovery| recovery.with_console(|| lines));
    let mut ports = Ports {
        service: &mut Client::new(&config.service).unwrap(),
        attester: &mut reports,
        mapper: &mut FakeMapper::new(vec![disk]),
        leases: &mut NoLeases,
        jitter: &mut || 0,
        report: &mut |event: &Event| {
            let _ = said.send(event.clone());
        },
    };
    let job = Job {
        volumes: &config.volumes,
        node_name: &config.node_name,
        pace: config.service.pace,
        holder: true,
    };
    let running = run_or_recover(&job, &mut ports, recovery.as_mut());
    runtime
        .block_on(running)
        .map_err(|stopped| stopped.to_string())
}

/// Volumes of a fleet; the first is the one of all tests.
pub fn volumes(count: u128) -> Vec<Uuid> {
    let first = VOLUME.as_u128();
    (0..count).map(|n| Uuid::from_u128(first + n)).collect()
}
