//! An Azure confidential VM as attester: its vTPM's quote, and the hardware report that vouches for the vTPM's key.
//!
//! | what | where |
//! |---|---|
//! | hardware report and runtime claims | NV index 0x01400001 |
//! | attestation key | persistent handle [`AK_HANDLE`], certificate in NV index [`AK_CERTIFICATE`] |
//! | quote | as of a plain TPM: all 24 PCRs of SHA-256, qualifying data SHA-256(exchange) |
//! | TDX: quote over the hardware report | metadata service; without it there is no evidence |
//! | SNP: the chip's certificates | metadata service; without it the key service takes them from its own store |
//! | boot's last register | PCR 15 |

use std::path::PathBuf;

use tss_esapi::handles::KeyHandle;

use super::{
    Attester,
    detect::HCL_REPORT,
    ek,
    error::CollectError,
    imds::Imds,
    nv,
    quoter::Quoter,
    register::{self, Closing, RegisterLog},
};
use crate::{
    azure::{HclReport, hcl::HardwareKind},
    evidence::{AzureEvidence, Evidence, Exchange, KIND_AZURE},
    tpm::hash::Hash,
};

/// Persistent handle of the attestation key.
pub const AK_HANDLE: u32 = 0x8100_0003;
/// NV index of its certificate.
pub const AK_CERTIFICATE: u32 = 0x01c1_01d0;

/// How to reach the vTPM, the log and the metadata service.
#[derive(Debug, Clone)]
pub struct AzureConfig {
    /// TCTI, `device:/dev/tpmrm0` on a node.
    pub tcti: String,
    /// The kernel's copy of the firmware's log.
    pub event_log: PathBuf,
    /// The metadata service.
    pub imds: Imds,
}

/// An Azure confidential VM.
pub struct Azure {
    quoter: Quoter,
    ak: KeyHandle,
    ak_certificate: Vec<u8>,
    imds: Imds,
    shortfall: Option<String>,
    log: Box<dyn RegisterLog>,
}

impl std::fmt::Debug for Azure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Azure")
            .field("imds", &self.imds)
            .finish_non_exhaustive()
    }
}

impl Azure {
    /// Connects to the vTPM and opens its attestation key.
    ///
    /// # Errors
    /// [`CollectError::NvAbsent`] or [`CollectError::KeyAbsent`] if this is no Azure confidential VM.
    pub fn open(config: AzureConfig) -> Result<Self, CollectError> {
        let mut quoter = Quoter::open(&config.tcti, Hash::Sha256, config.event_log)?;
        let context = &mut quoter.context;
        if !nv::exists(context, HCL_REPORT)? {
            return Err(CollectError::NvAbsent {
                what: "HCL report of an Azure confidential VM",
                index: HCL_REPORT,
            });
        }
        let ak = ek::persistent(context, AK_HANDLE)?;
        let ak = ak.ok_or(CollectError::KeyAbsent { handle: AK_HANDLE })?;
        let mut ak_certificate = Vec::new();
        if nv::exists(context, AK_CERTIFICATE)? {
            let doing = "read the attestation key's certificate";
            ak_certificate = nv::read(context, quoter.ek.handle, AK_CERTIFICATE, doing)?;
        }
        Ok(Self {
            quoter,
            ak,
            ak_certificate,
            imds: config.imds,
            shortfall: None,
            log: Box::new(()),
        })
    }
}

impl Azure {
    fn hcl_report(&mut self) -> Result<Vec<u8>, CollectError> {
        let salt_key = self.quoter.ek.handle;
        let doing = "read the HCL report";
        nv::read(&mut self.quoter.context, salt_key, HCL_REPORT, doing)
    }

    /// Evidence whose quote carries `data`.
    fn over(&mut self, data: &[u8]) -> Result<Evidence, CollectError> {
        let hcl_report = self.hcl_report()?;
        let parsed = HclReport::parse(&hcl_report)?;
        let (mut certificates, mut td_quote) = (Vec::new(), Vec::new());
        self.shortfall = None;
        match parsed.kind {
            HardwareKind::Tdx => td_quote = self.imds.td_quote(parsed.hardware)?,
            HardwareKind::Snp => match self.imds.snp_certificates() {
                Ok(table) => certificates = table,
                Err(error) => {
                    self.shortfall = Some(format!("no certificates of the chip: {error}"))
                }
            },
        }
        let quoted = self.quoter.quote(self.ak, data)?;
        Ok(Evidence::Azure(Box::new(AzureEvidence {
            hcl_report,
            quote: quoted.quote,
            signature: quoted.signature,
            pcrs: quoted.pcrs,
            event_log: quoted.event_log,
            certificates,
            td_quote,
            td_collateral: None,
            ak_certificate: self.ak_certificate.clone(),
            ak_chain: Vec::new(),
        })))
    }
}

impl Attester for Azure {
    fn kind(&self) -> &'static str {
        KIND_AZURE
    }

    fn collect(&mut self, exchange: &Exchange) -> Result<Evidence, CollectError> {
        self.over(&exchange.qualifying_data())
    }

    /// All of it: Azure's vTPM has room.
    fn collect_over(&mut self, digest: &[u8; 48]) -> Result<Evidence, CollectError> {
        self.over(digest)
    }

    fn hardware(&mut self) -> Result<Option<HardwareKind>, CollectError> {
        let hcl_report = self.hcl_report()?;
        Ok(Some(HclReport::parse(&hcl_report)?.kind))
    }

    fn shortfall(&self) -> Option<&str> {
        self.shortfall.as_deref()
    }

    fn close_boot(&mut self, events: &[Vec<u8>]) -> Result<Closing, CollectError> {
        register::close(&mut self.quoter, events, &mut *self.log)
    }

    fn log_to(&mut self, log: Box<dyn RegisterLog>) {
        self.log = log;
    }
}
