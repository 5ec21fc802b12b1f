//! The TDREPORT inside an HCL report, next to the signed quote that was made of it.
//!
//! A TDREPORT carries a MAC that only its own machine can check. Nothing here believes it: it is compared with the
//! quote, field by field, so that the two are of one TD.
//!
//! Layout: Intel TDX module ABI, `TDREPORT_STRUCT`: REPORTMACSTRUCT (256 bytes, report data at 128), TEE_TCB_INFO
//! (239) and 17 reserved, TDINFO (512).

use crate::{
    reader::{ReadError, Reader},
    tdx::quote::Quote,
};

/// Report type of a TD.
const TYPE_TDX: u8 = 0x81;

/// A TDREPORT, as far as a quote repeats it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TdReportBytes<'a> {
    /// What the TD asked to have reported.
    pub report_data: &'a [u8],
    tee_tcb_svn: &'a [u8],
    mr_seam: &'a [u8],
    mr_signer_seam: &'a [u8],
    seam_attributes: &'a [u8],
    td_attributes: &'a [u8],
    xfam: &'a [u8],
    mr_td: &'a [u8],
    mr_config_id: &'a [u8],
    mr_owner: &'a [u8],
    mr_owner_config: &'a [u8],
    rtmr: [&'a [u8]; 4],
}

impl<'a> TdReportBytes<'a> {
    /// Reads a TDREPORT of 1024 bytes.
    ///
    /// # Errors
    /// [`ReadError`] for other lengths and for reports that are not of a TD.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ReadError> {
        let mut reader = Reader::new(bytes);
        let kind = reader.u8("TDREPORT type")?;
        if kind != TYPE_TDX {
            return Err(ReadError::Value {
                what: "TDREPORT type",
                at: 0,
                found: kind.into(),
                wanted: "0x81 (TDX)",
            });
        }
        // Subtype, version, reserved; CPUSVN; hashes of the two structures that follow.
        reader.take("TDREPORT MAC header", 3 + 12 + 16 + 48 + 48)?;
        let report_data = reader.take("report_data", 64)?;
        reader.take("TDREPORT MAC", 32 + 32)?;
        reader.take("TEE_TCB_INFO valid", 8)?;
        let tee_tcb_svn = reader.take("tee_tcb_svn", 16)?;
        let mr_seam = reader.take("mr_seam", 48)?;
        let mr_signer_seam = reader.take("mr_signer_seam", 48)?;
        let seam_attributes = reader.take("seam_attributes", 8)?;
        reader.take("TEE_TCB_INFO rest", 111 + 17)?;
        let report = Self {
            report_data,
            tee_tcb_svn,
            mr_seam,
            mr_signer_seam,
            seam_attributes,
            td_attributes: reader.take("td_attributes", 8)?,
            xfam: reader.take("xfam", 8)?,
            mr_td: reader.take("mr_td", 48)?,
            mr_config_id: reader.take("mr_config_id", 48)?,
            mr_owner: reader.take("mr_owner", 48)?,
            mr_owner_config: reader.take("mr_owner_config", 48)?,
            rtmr: [
                reader.take("rtmr0", 48)?,
                reader.take("rtmr1", 48)?,
                reader.take("rtmr2", 48)?,
                reader.take("rtmr3", 48)?,
            ],
        };
        reader.take("TDINFO rest", 112)?;
        reader.finish("TDREPORT")?;
        Ok(report)
    }

    /// The first field in which the quote says something else, if there is one.
    pub fn differs_from(&self, quote: &Quote<'_>) -> Option<&'static str> {
        let td = &quote.report;
        let [rtmr0, rtmr1, rtmr2, rtmr3] = self.rtmr;
        let [quoted0, quoted1, quoted2, quoted3] = &td.rtmr;
        let pairs: [(&'static str, &[u8], &[u8]); 15] = [
            ("report_data", self.report_data, &td.report_data.0),
            ("tee_tcb_svn", self.tee_tcb_svn, &td.tee_tcb_svn.0),
            ("mr_seam", self.mr_seam, &td.mr_seam.0),
            ("mr_signer_seam", self.mr_signer_seam, &td.mr_signer_seam.0),
            (
                "seam_attributes",
                self.seam_attributes,
                &td.seam_attributes.0,
            ),
            ("td_attributes", self.td_attributes, &td.td_attributes.0.0),
            ("xfam", self.xfam, &td.xfam.0),
            ("mr_td", self.mr_td, &td.mr_td.0),
            ("mr_config_id", self.mr_config_id, &td.mr_config_id.0),
            ("mr_owner", self.mr_owner, &td.mr_owner.0),
            (
                "mr_owner_config",
                self.mr_owner_config,
                &td.mr_owner_config.0,
            ),
            ("rtmr0", rtmr0, &quoted0.0),
            ("rtmr1", rtmr1, &quoted1.0),
            ("rtmr2", rtmr2, &quoted2.0),
            ("rtmr3", rtmr3, &quoted3.0),
        ];
        let differing = pairs.into_iter().find(|(_, ours, quoted)| ours != quoted);
        differing.map(|(field, ..)| field)
    }
}
