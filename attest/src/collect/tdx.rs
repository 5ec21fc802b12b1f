//! A TD as attester: a quote from configfs-tsm, or on a kernel without it a TDREPORT from `/dev/tdx_guest` that the
//! host's quote generation service signs.
//!
//! The report data is the exchange; the event log is the CCEL area. The boot's last register is RTMR 3, where the kernel
//! lets user space extend it.

use std::path::PathBuf;
use std::time::Duration;

use super::{
    Attester,
    ccel::{self, CcelPaths},
    error::CollectError,
    qgs,
    register::{self, Closing, RegisterLog},
    rtmr::{self, Rtmr3},
    tdx_guest::{self, KernelTdxGuest},
    tsm::{self, KernelFs, Provider, TsmError, TsmFs},
};
use crate::evidence::{Evidence, Exchange, KIND_TDX, TdxEvidence};
use crate::tdx::quote::Quote;

/// How long the quote generation service may take to answer.
const QGS_TIMEOUT: Duration = Duration::from_secs(30);

/// What to do where the kernel lets user space extend no RTMR.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithoutRegister {
    /// Nothing is asked for: whoever runs later could ask again with the same evidence.
    Refuse,
    /// The boot stays open, and the report says so.
    Report,
}

/// How to reach the TDX module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdxConfig {
    /// The device, for kernels without configfs-tsm.
    pub device: PathBuf,
    /// Context id and port of the quote generation service, for kernels without configfs-tsm.
    pub quote_service: (u32, u32),
    /// The event log.
    pub ccel: CcelPaths,
    /// RTMR 3 in sysfs.
    pub rtmr3: PathBuf,
    /// What to do where that is absent.
    pub without_register: WithoutRegister,
}

impl Default for TdxConfig {
    fn default() -> Self {
        Self {
            device: tdx_guest::DEVICE.into(),
            quote_service: (qgs::HOST, qgs::PORT),
            ccel: CcelPaths::default(),
            rtmr3: rtmr::RTMR3.into(),
            without_register: WithoutRegister::Refuse,
        }
    }
}

/// A TD.
pub struct Tdx {
    config: TdxConfig,
    register: Option<Rtmr3>,
    log: Box<dyn RegisterLog>,
}

impl std::fmt::Debug for Tdx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tdx")
            .field("config", &self.config)
            .field("register", &self.register)
            .finish_non_exhaustive()
    }
}

impl Tdx {
    /// Sees that there is a way to a quote, and a register to close the boot in.
    ///
    /// # Errors
    /// [`CollectError::RegisterAbsent`] if there is none and that is not accepted; else whatever the first quote would
    /// fail with, as far as it can be known before.
    pub fn open(config: TdxConfig) -> Result<Self, CollectError> {
        match tsm::expect_provider(&mut KernelFs::default(), Provider::TdxGuest) {
            Err(TsmError::Absent) => drop(KernelTdxGuest::open(&config.device)?),
            other => other?,
        }
        Self::with_register(config)
    }

    fn with_register(config: TdxConfig) -> Result<Self, CollectError> {
        let register = Rtmr3::find(&config.rtmr3)?;
        if register.is_none() && config.without_register == WithoutRegister::Refuse {
            return Err(CollectError::RegisterAbsent {
                path: config.rtmr3.clone(),
            });
        }
        let log = Box::new(());
        Ok(Self {
            config,
            register,
            log,
        })
    }

    /// A quote without configfs-tsm.
    fn quote_by_service(&self, data: &[u8; 64]) -> Result<Vec<u8>, CollectError> {
        let mut device = KernelTdxGuest::open(&self.config.device)?;
        let report = tdx_guest::td_report(&mut device, data)?;
        let (cid, port) = self.config.quote_service;
        let mut stream = qgs::connect(cid, port, QGS_TIMEOUT)?;
        Ok(qgs::quote(&mut stream, &report)?)
    }
}

/// A quote over `data` from configfs-tsm, or from the service if this kernel has no configfs-tsm.
fn quote(
    fs: &mut impl TsmFs,
    data: &[u8; 64],
    service: impl FnOnce() -> Result<Vec<u8>, CollectError>,
) -> Result<Vec<u8>, CollectError> {
    let quote = match tsm::report(fs, Provider::TdxGuest, data, None) {
        Ok(report) => report.outblob,
        Err(TsmError::Absent) => service()?,
        Err(error) => return Err(error.into()),
    };
    let bound = match Quote::parse(&quote) {
        Ok(parsed) => parsed.report.report_data.0 == *data,
        Err(_) => false,
    };
    if !bound {
        return Err(CollectError::NotBound { what: "TD quote" });
    }
    Ok(quote)
}

impl Attester for Tdx {
    fn kind(&self) -> &'static str {
        KIND_TDX
    }

    fn collect(&mut self, exchange: &Exchange) -> Result<Evidence, CollectError> {
        let event_log = ccel::read(&self.config.ccel)?;
        let quote = quote(&mut KernelFs::default(), &exchange.0, || {
            self.quote_by_service(&exchange.0)
        })?;
        Ok(Evidence::Tdx(Box::new(TdxEvidence {
            quote,
            event_log,
            collateral: None,
        })))
    }

    fn close_boot(&mut self, events: &[Vec<u8>]) -> Result<Closing, CollectError> {
        match &mut self.register {
            Some(register) => register::close(register, events, &mut *self.log),
            None => Ok(Closing::Absent {
                why: "this kernel lets user space extend no RTMR",
            }),
        }
    }

    fn log_to(&mut self, log: Box<dyn RegisterLog>) {
        self.log = log;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::collect::tsm::fake::FakeFs;

    fn config(without_register: WithoutRegister) -> TdxConfig {
        TdxConfig {
            rtmr3: "/nowhere/rtmr3".into(),
            without_register,
            ..TdxConfig::default()
        }
    }

    #[test]
    fn refuses_a_kernel_without_the_register_before_anything_is_asked() {
        let error = Tdx::with_register(config(WithoutRegister::Refuse));
        assert!(matches!(error, Err(CollectError::RegisterAbsent { .. })));
    }

    #[test]
    fn reports_a_boot_that_stays_open_where_that_is_accepted() {
        let mut tdx = Tdx::with_register(config(WithoutRegister::Report)).unwrap();
        assert!(matches!(
            tdx.close_boot(&[b"event".to_vec()]).unwrap(),
            Closing::Absent { .. }
        ));
    }

    #[test]
    fn asks_the_service_only_where_configfs_is_absent() {
        let data = [7; 64];
        let unreachable = || Err(CollectError::NoEnrolment { kind: "asked" });
        let mut fs = FakeFs::giving(b"no quote".to_vec());
        fs.provider = "tdx_guest\n";
        let error = quote(&mut fs, &data, unreachable);
        assert!(matches!(error, Err(CollectError::NotBound { .. })));
        fs.twist.absent = true;
        let error = quote(&mut fs, &data, unreachable);
        assert!(matches!(
            error,
            Err(CollectError::NoEnrolment { kind: "asked" })
        ));
    }
}
