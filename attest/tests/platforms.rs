//! Collection on cloud platforms: software TPMs provisioned as Azure and Google do, and a metadata service of ours; what
//! is collected passes the verifier.
#![cfg(all(feature = "collect", feature = "verify"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod azure_common;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;
use std::time::Duration;

use azure_common::{Ca, EXCHANGE};
use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use dawnkey_attest::{
    azure::{
        HclError,
        fake::{HclSpec, hcl_snp, hcl_tdx},
    },
    claims::{Claims, TrustClass},
    collect::{
        Attester as _, Closing, CollectError, Register,
        azure::{AK_CERTIFICATE, AK_HANDLE, Azure, AzureConfig},
        detect::{HCL_REPORT, Kind, Machine, Probe as _},
        gce,
        imds::{Imds, ImdsError},
        vtpm::{KeySource, Vtpm, VtpmConfig},
    },
    evidence::{Evidence, KIND_AZURE},
    fake::{EkKind, LogBuilder, Provisioner, Swtpm, SwtpmCa},
    snp::{
        fake::{Authority, MockAmd, ReportSpec, VekSpec},
        product::Product,
        roots::Roots as SnpRoots,
        vek::VekKind,
        verify::CrlRule,
    },
    tdx::fake::{MockIntel, Spec},
    tpm::{hash::Hash, public::Public},
    verify::{Collateral, Roots, UnixTime, verify},
};
use tempfile::TempDir;

/// A virtual machine: its TPM and its event log.
struct Vm {
    tpm: Swtpm,
    dir: TempDir,
}

impl Vm {
    fn new() -> Self {
        let tpm = Swtpm::start(&SwtpmCa::new(), EkKind::Rsa);
        let dir = tempfile::tempdir().unwrap();
        let log = LogBuilder::new(&[Hash::Sha256]).build();
        std::fs::write(dir.path().join("log"), log).unwrap();
        Self { tpm, dir }
    }

    fn write_nv(&self, index: u32, content: &[u8]) {
        Provisioner::connect(&self.tpm).write_nv(index, content);
    }

    /// With the key that a paravisor keeps, and its certificate as NV has it, padded.
    fn with_azure_key(&self, ca: &Ca) -> Public {
        let key = Provisioner::connect(&self.tpm).persist(EkKind::Rsa, AK_HANDLE);
        let mut certificate = ca.issue(&key.key, |_| ());
        certificate.resize(certificate.len() + 32, 0);
        self.write_nv(AK_CERTIFICATE, &certificate);
        key
    }

    fn azure(&self, imds: SocketAddr) -> Result<Azure, CollectError> {
        Azure::open(AzureConfig {
            tcti: self.tpm.tcti(),
            event_log: self.dir.path().join("log"),
            imds: Imds {
                address: imds,
                budget: Duration::from_secs(20),
            },
        })
    }

    fn gce(&self) -> Result<Vtpm, CollectError> {
        Vtpm::open(VtpmConfig {
            tcti: self.tpm.tcti(),
            bank: Hash::Sha256,
            event_log: self.dir.path().join("log"),
            key: KeySource::Gce,
        })
    }
}

/// The largest NV index of a software TPM; a paravisor's has 2600 bytes.
const NV_MOST: usize = 2048;

/// What makes an HCL report for a key, small enough for a software TPM.
fn hcl_of(key: &Public) -> HclSpec {
    let mut spec = HclSpec::for_key(&key.key);
    spec.padded_to = NV_MOST;
    // The endorsement key, which nothing here is about.
    spec.claims["keys"].as_array_mut().unwrap().truncate(1);
    spec
}

/// Answers one request with JSON.
fn imds(body: String) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut byte = [0; 1];
        while !request.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        let length = body.len();
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"
        )
        .unwrap();
        // The rest of the request; the client closes when it has its answer.
        let _ = stream.read_to_end(&mut request);
    });
    (address, served)
}

/// An address at which nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

fn pem(der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).collect();
    let lines = lines
        .iter()
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect::<Vec<_>>()
        .join("\\n");
    format!("-----BEGIN CERTIFICATE-----\\n{lines}\\n-----END CERTIFICATE-----\\n")
}

/// The verdict on evidence that came over the wire, at the time of the mocks.
fn judge(evidence: &Evidence, roots: &Roots, collateral: &Collateral) -> Claims {
    let evidence = Evidence::decode(evidence.kind(), &evidence.encode()).unwrap();
    let now = u64::try_from(Spec::default().now.as_second()).unwrap();
    let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
    let verdict = verify(&evidence, &EXCHANGE.into(), roots, collateral, now);
    verdict.unwrap().claims().clone()
}

#[test]
fn an_azure_snp_vm_collects_evidence_that_passes_and_closes_its_boot() {
    let (vm, ca) = (Vm::new(), Ca::new());
    let key = vm.with_azure_key(&ca);
    let amd = MockAmd::new(Product::Milan);
    let vek = amd.issue(&VekSpec::new(VekKind::Vcek, amd.product()));
    let report = ReportSpec::new(amd.product(), VekKind::Vcek);
    vm.write_nv(HCL_REPORT, &hcl_snp(&hcl_of(&key), &vek, report));
    let (vcek, ask) = (pem(&vek.der), pem(amd.der(Authority::Ask)));
    let ark = pem(amd.der(Authority::Ark));
    let body = format!("{{\"vcekCert\":\"{vcek}\",\"certificateChain\":\"{ask}{ark}\"}}");
    let (address, served) = imds(body);
    let mut azure = vm.azure(address).unwrap();
    assert_eq!(azure.kind(), KIND_AZURE);
    let evidence = azure.collect(&EXCHANGE).unwrap();
    served.join().unwrap();
    assert_eq!(azure.shortfall(), None);
    let roots = Roots {
        snp: SnpRoots::new([amd.der(Authority::Ark)]).unwrap(),
        snp_crl: CrlRule::IfPresent,
        tpm_ak: vec![ca.root()],
        ..Roots::default()
    };
    let claims = judge(&evidence, &roots, &Collateral::default());
    assert_eq!(claims.trust_class, Some(TrustClass::TeeVtpm));
    assert!(claims.snp.is_some());
    let closed = azure.close_boot(&[b"event".to_vec()]).unwrap();
    assert_eq!(closed, Closing::Register(Register::Pcr15));
}

#[test]
fn an_azure_snp_vm_without_the_metadata_service_says_what_it_lacks() {
    let vm = Vm::new();
    let key = vm.with_azure_key(&Ca::new());
    let amd = MockAmd::new(Product::Milan);
    let vek = amd.issue(&VekSpec::new(VekKind::Vcek, amd.product()));
    let report = ReportSpec::new(amd.product(), VekKind::Vcek);
    vm.write_nv(HCL_REPORT, &hcl_snp(&hcl_of(&key), &vek, report));
    let mut azure = vm.azure(nobody()).unwrap();
    let Evidence::Azure(evidence) = azure.collect(&EXCHANGE).unwrap() else {
        panic!("evidence of another kind")
    };
    assert!(evidence.certificates.is_empty());
    let shortfall = azure.shortfall().unwrap();
    assert!(
        shortfall.contains("connect to the metadata service"),
        "{shortfall}"
    );
}

#[test]
fn an_azure_tdx_vm_collects_evidence_that_passes() {
    let vm = Vm::new();
    let key = vm.with_azure_key(&Ca::new());
    let (intel, td) = (MockIntel::new(), Spec::default());
    let (hcl, quote) = hcl_tdx(&hcl_of(&key), &intel, &td);
    vm.write_nv(HCL_REPORT, &hcl);
    let quote = BASE64_URL_SAFE_NO_PAD.encode(quote);
    let (address, served) = imds(format!("{{\"quote\":\"{quote}\"}}"));
    let mut azure = vm.azure(address).unwrap();
    let evidence = azure.collect(&EXCHANGE).unwrap();
    served.join().unwrap();
    let roots = Roots {
        tdx: intel.roots(),
        ..Roots::default()
    };
    let collateral = Collateral {
        tdx: vec![intel.collateral(&td)],
        ..Collateral::default()
    };
    let claims = judge(&evidence, &roots, &collateral);
    assert_eq!(claims.trust_class, Some(TrustClass::TeeVtpm));
    assert!(claims.tdx.is_some());
}

#[test]
fn an_azure_tdx_vm_without_the_metadata_service_has_no_evidence() {
    let vm = Vm::new();
    let key = vm.with_azure_key(&Ca::new());
    let (hcl, _) = hcl_tdx(&hcl_of(&key), &MockIntel::new(), &Spec::default());
    vm.write_nv(HCL_REPORT, &hcl);
    let error = vm.azure(nobody()).unwrap().collect(&EXCHANGE);
    assert!(matches!(
        error,
        Err(CollectError::Imds(ImdsError::Connect { .. }))
    ));
}

#[test]
fn a_tpm_that_is_not_azures_is_refused_by_what_it_lacks() {
    let vm = Vm::new();
    let tcti = vm.tpm.tcti();
    assert!(!Machine { tcti: &tcti }.hcl_report().unwrap());
    assert!(matches!(
        vm.azure(nobody()),
        Err(CollectError::NvAbsent {
            index: HCL_REPORT,
            ..
        })
    ));
    vm.write_nv(HCL_REPORT, &[0; NV_MOST]);
    assert!(Machine { tcti: &tcti }.hcl_report().unwrap());
    assert!(matches!(
        vm.azure(nobody()),
        Err(CollectError::KeyAbsent { handle: AK_HANDLE })
    ));
    vm.with_azure_key(&Ca::new());
    let error = vm.azure(nobody()).unwrap().collect(&EXCHANGE);
    assert!(matches!(
        error,
        Err(CollectError::Hcl(HclError::Magic { .. }))
    ));
}

#[test]
fn a_machine_without_a_tpm_device_shows_no_sign_of_azure() {
    let tcti = "device:/dev/no-such-tpm";
    assert!(!Machine { tcti }.hcl_report().unwrap());
    assert_eq!(Kind::named("azure"), Some(Kind::Azure));
}

#[test]
fn googles_keys_are_made_from_their_templates_and_pass_by_their_certificates() {
    for (at, kind) in [EkKind::Rsa, EkKind::Ecc].into_iter().enumerate() {
        let (vm, ca) = (Vm::new(), Ca::new());
        let key = Provisioner::connect(&vm.tpm).public_of(kind);
        let (certificate, template) = gce::INDICES[at];
        vm.write_nv(template, &Provisioner::template(kind));
        vm.write_nv(certificate, &ca.issue(&key.key, |_| ()));
        let mut vtpm = vm.gce().unwrap();
        let evidence = vtpm.collect(&EXCHANGE).unwrap();
        let roots = Roots {
            tpm_ak: vec![ca.root()],
            ..Roots::default()
        };
        let claims = judge(&evidence, &roots, &Collateral::default());
        assert_eq!(claims.trust_class, Some(TrustClass::Hypervisor));
        let Evidence::Vtpm(evidence) = evidence else {
            panic!("evidence of another kind")
        };
        assert_eq!(evidence.ak_public, key.bytes());
        assert!(evidence.ek_public.is_empty());
    }
}

#[test]
fn a_certificate_without_its_template_is_no_key_of_googles() {
    let vm = Vm::new();
    let (certificate, template) = gce::INDICES[0];
    vm.write_nv(certificate, b"certificate");
    assert!(matches!(vm.gce(), Err(CollectError::NvAbsent { .. })));
    vm.write_nv(template, b"no template");
    assert!(matches!(
        vm.gce(),
        Err(CollectError::Tpm {
            doing: "read the attestation key's template",
            ..
        })
    ));
}
