//! An SEV-SNP guest as attester: configfs-tsm, or `/dev/sev-guest` on a kernel that has no configfs-tsm.
//!
//! The report data is the exchange. A bare SNP guest has no register that it can extend at run time, so that its boot
//! is not closed in hardware; the key service holds against that what reports it has seen.

use std::path::PathBuf;

use super::{
    Attester,
    error::CollectError,
    register::Closing,
    sev_guest::{self, KernelSevGuest, SnpReport},
    tsm::{self, KernelFs, Provider, TsmError, TsmFs},
};
use crate::evidence::{Evidence, Exchange, KIND_SNP, SnpEvidence};

/// Where the report data lies in a report.
const REPORT_DATA: std::ops::Range<usize> = 0x50..0x90;

/// How to reach the firmware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnpConfig {
    /// The device, for kernels without configfs-tsm.
    pub device: PathBuf,
    /// VMPL of the report; without it the lowest that this guest can have.
    pub privlevel: Option<u8>,
}

impl Default for SnpConfig {
    fn default() -> Self {
        Self {
            device: sev_guest::DEVICE.into(),
            privlevel: None,
        }
    }
}

/// An SEV-SNP guest.
#[derive(Debug)]
pub struct Snp {
    config: SnpConfig,
}

impl Snp {
    /// Sees that there is a way to a report.
    ///
    /// # Errors
    /// Whatever the first report would fail with, as far as it can be known before.
    pub fn open(config: SnpConfig) -> Result<Self, CollectError> {
        match tsm::expect_provider(&mut KernelFs::default(), Provider::SevGuest) {
            Err(TsmError::Absent) => drop(KernelSevGuest::open(&config.device)?),
            other => other?,
        }
        Ok(Self { config })
    }
}

/// A report over `data` from configfs-tsm, or from the device if this kernel has no configfs-tsm.
fn report(
    fs: &mut impl TsmFs,
    data: &[u8; 64],
    privlevel: Option<u8>,
    device: impl FnOnce() -> Result<SnpReport, CollectError>,
) -> Result<SnpEvidence, CollectError> {
    let evidence = match tsm::report(fs, Provider::SevGuest, data, privlevel) {
        Ok(report) => SnpEvidence {
            report: report.outblob,
            certificates: report.auxblob,
        },
        Err(TsmError::Absent) => {
            let report = device()?;
            SnpEvidence {
                report: report.report,
                certificates: report.certificates,
            }
        }
        Err(error) => return Err(error.into()),
    };
    if evidence.report.get(REPORT_DATA) != Some(data.as_slice()) {
        return Err(CollectError::NotBound {
            what: "attestation report",
        });
    }
    Ok(evidence)
}

impl Attester for Snp {
    fn kind(&self) -> &'static str {
        KIND_SNP
    }

    fn collect(&mut self, exchange: &Exchange) -> Result<Evidence, CollectError> {
        let SnpConfig { device, privlevel } = &self.config;
        let evidence = report(&mut KernelFs::default(), &exchange.0, *privlevel, || {
            let mut device = KernelSevGuest::open(device)?;
            let vmpl = privlevel.unwrap_or(0).into();
            Ok(sev_guest::report(&mut device, &exchange.0, vmpl)?)
        })?;
        Ok(Evidence::Snp(Box::new(evidence)))
    }

    fn close_boot(&mut self, _: &[Vec<u8>]) -> Result<Closing, CollectError> {
        Ok(Closing::Absent {
            why: "an SNP guest has no register to extend",
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::collect::tsm::fake::FakeFs;

    const DATA: [u8; 64] = [0x5a; 64];

    fn over(data: &[u8; 64]) -> Vec<u8> {
        let mut report = vec![0; 0x4a0];
        report.splice(REPORT_DATA, data.iter().copied());
        report
    }

    fn from_device() -> Result<SnpReport, CollectError> {
        Ok(SnpReport {
            report: over(&DATA),
            certificates: b"device".to_vec(),
        })
    }

    #[test]
    fn takes_configfs_where_the_kernel_has_it() {
        let mut fs = FakeFs::giving(over(&DATA));
        let got = report(&mut fs, &DATA, None, from_device).unwrap();
        assert_eq!(got.certificates, b"certificates");
    }

    #[test]
    fn takes_the_device_only_where_configfs_is_absent() {
        let mut fs = FakeFs::giving(over(&DATA));
        fs.twist.absent = true;
        let got = report(&mut fs, &DATA, None, from_device).unwrap();
        assert_eq!(got.certificates, b"device");
        let mut fs = FakeFs::giving(over(&DATA));
        fs.provider = "tdx_guest\n";
        let error = report(&mut fs, &DATA, None, from_device);
        assert!(matches!(
            error,
            Err(CollectError::Tsm(TsmError::Provider { .. }))
        ));
    }

    #[test]
    fn refuses_a_report_over_other_data() {
        for bytes in [over(&[0; 64]), b"short".to_vec()] {
            let error = report(&mut FakeFs::giving(bytes), &DATA, None, from_device);
            assert!(matches!(error, Err(CollectError::NotBound { .. })));
        }
    }

    #[test]
    fn says_that_the_boot_is_not_closed_in_hardware() {
        let mut snp = Snp {
            config: SnpConfig::default(),
        };
        assert!(matches!(
            snp.close_boot(&[b"event".to_vec()]).unwrap(),
            Closing::Absent { .. }
        ));
    }

    #[test]
    fn has_no_key_to_enrol() {
        let mut snp = Snp {
            config: SnpConfig::default(),
        };
        let error = snp.activate(&[], &[], &Exchange(DATA));
        assert!(matches!(
            error,
            Err(CollectError::NoEnrolment { kind: KIND_SNP })
        ));
    }
}
