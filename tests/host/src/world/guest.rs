//! SNP guests on a mock of AMD's chips: real reports, real agent, real service.

use super::keyring::Keyring;
use super::node::state_volume;
use super::{VOLUME, World};
use dawnkey_agent::client::Client;
use dawnkey_agent::error::{AskError, UnlockError};
use dawnkey_agent::report::Event;
use dawnkey_agent::run::{Job, Ports, run};
use dawnkey_agent::unlock::Done;
use dawnkey_attest::collect::{Attester, Closing, CollectError};
use dawnkey_attest::evidence::{Evidence, Exchange, SnpEvidence};
use dawnkey_attest::snp::auxblob::CertificateTable;
use dawnkey_attest::snp::fake::{Authority, MockAmd, MockVek, ReportSpec, VekSpec};
use dawnkey_attest::snp::product::Product;
use dawnkey_attest::snp::vek::VekKind;
use dawnkey_dm::fake::FakeMapper;
use dawnkey_proto::message::Refusal;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A host with one chip.
pub struct Host {
    amd: Arc<MockAmd>,
    /// In what its chip's id differs from the first one's.
    chip: u8,
    vek: MockVek,
    launches: u8,
    /// As the firmware hands them out.
    certificates: Vec<u8>,
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

impl Host {
    /// A host of a new AMD.
    pub fn new() -> Self {
        Self::with_chip(Arc::new(MockAmd::new(Product::Milan)), 0)
    }

    /// Another host, whose chip is of the same AMD.
    pub fn beside(&self) -> Self {
        Self::with_chip(Arc::clone(&self.amd), self.chip + 1)
    }

    fn with_chip(amd: Arc<MockAmd>, chip: u8) -> Self {
        let mut spec = VekSpec::new(VekKind::Vcek, amd.product());
        spec.hwid[63] ^= chip;
        let vek = amd.issue(&spec);
        let certificates = table(&amd, &vek);
        Self {
            amd,
            chip,
            vek,
            launches: 0,
            certificates,
        }
    }

    /// ARK and ASK as a policy's file.
    pub fn roots(&self) -> String {
        let both = [Authority::Ark, Authority::Ask];
        both.map(|which| pem(self.amd.der(which))).concat()
    }

    /// The evidence of a guest with this report id.
    pub fn report(&self, exchange: &Exchange, report_id: &[u8; 32]) -> Evidence {
        let mut spec = ReportSpec::new(self.amd.product(), VekKind::Vcek);
        spec.report_data = exchange.0;
        spec.chip_id[63] ^= self.chip;
        let bytes = report_id.iter().enumerate();
        spec.bent.extend(bytes.map(|(n, byte)| (0x140 + n, *byte)));
        Evidence::Snp(Box::new(SnpEvidence {
            report: spec.sign(&self.vek),
            certificates: self.certificates.clone(),
        }))
    }
}

fn table(amd: &MockAmd, vek: &MockVek) -> Vec<u8> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.unwrap().as_secs();
    let dates = (now - 3600, now + 86_400);
    CertificateTable {
        vcek: Some(vek.der.clone()),
        crl: Some(amd.crl(Authority::Ark, &[], dates)),
        ..CertificateTable::default()
    }
    .encode()
}

fn pem(der: &[u8]) -> String {
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    let text = BASE64_STANDARD.encode(der);
    format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
}

/// A guest that is running, and its disk.
pub struct Guest {
    host: Host,
    /// Its disk.
    pub disk: PathBuf,
    _dir: tempfile::TempDir,
    /// Bends every report before it is signed.
    pub bend: fn(&mut ReportSpec),
}

impl Guest {
    /// A guest with a blank disk.
    pub fn new(host: Host) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = dir.path().join("disk");
        let file = std::fs::File::create(&disk).unwrap();
        file.set_len(64 << 20).unwrap();
        Self {
            host,
            disk,
            _dir: dir,
            bend: |_| (),
        }
    }

    /// Stops the guest and launches it anew: the firmware gives it another report id.
    pub fn launch(&mut self) {
        self.host.launches += 1;
    }

    /// Runs the agent against the service.
    pub async fn unlock(&mut self, world: &World) -> Result<Done, UnlockError> {
        let service = world.service_at(world.address());
        let mut mapper = FakeMapper::new(vec![self.disk.clone()]);
        let volumes = [state_volume(VOLUME, &self.disk)];
        let mut service_client = Client::new(&service).unwrap();
        let job = Job {
            volumes: &volumes,
            node_name: "guest-1",
            pace: dawnkey_agent::config::Pace {
                budget: Duration::from_secs(30),
                attempt: Duration::from_secs(20),
            },
            holder: true,
        };
        let ended = run(
            &job,
            &mut Ports {
                service: &mut service_client,
                attester: self,
                mapper: &mut mapper,
                leases: &mut Keyring::new(),
                jitter: &mut || 0,
                report: &mut |_: &Event| (),
            },
        )
        .await;
        ended
            .map(|mut finished| finished.done.remove(0))
            .map_err(|stopped| stopped.error)
    }

    /// Runs the agent, which must be refused; the store must stay as it is.
    pub async fn refused(&mut self, world: &World) -> Refusal {
        let store = world.store();
        let error = self
            .unlock(world)
            .await
            .expect_err("the service must refuse");
        assert!(world.store() == store, "the store has changed");
        match error {
            UnlockError::Ask { error, .. } => match *error {
                AskError::Refused(refusal) => refusal,
                other => panic!("expected a refusal, got {other}"),
            },
            other => panic!("expected a refusal, got {other}"),
        }
    }
}

impl Attester for Guest {
    fn kind(&self) -> &'static str {
        "snp"
    }

    fn collect(&mut self, exchange: &Exchange) -> Result<Evidence, CollectError> {
        let mut spec = ReportSpec::new(self.host.amd.product(), VekKind::Vcek);
        spec.report_data = exchange.0;
        spec.bent.push((0x140, self.host.launches));
        (self.bend)(&mut spec);
        Ok(Evidence::Snp(Box::new(SnpEvidence {
            report: spec.sign(&self.host.vek),
            certificates: self.host.certificates.clone(),
        })))
    }

    fn close_boot(&mut self, _events: &[Vec<u8>]) -> Result<Closing, CollectError> {
        Ok(Closing::Absent {
            why: "an SNP guest has no register",
        })
    }
}
