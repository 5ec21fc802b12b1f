//! MRTD: SHA-384 over what the host adds to a TD before it runs.
//!
//! Source: Intel TDX Module Base Architecture Specification, "TDH.MEM.PAGE.ADD" and "TDH.MR.EXTEND": each page's
//! address in a buffer of 128 bytes; of measured pages also each 256 bytes, behind a buffer with their address.

use sha2::{Digest as _, Sha384};

use super::tdvf::{PAGE, Tdvf, TdvfSection};

/// Bytes measured by one TDH.MR.EXTEND.
const CHUNK: usize = 256;

/// In which order a host adds and measures the pages of a section. Both are in use and give different values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageOrder {
    /// Each page is added and measured before the next: KVM in Linux 6.16 and later, and GCE.
    PageByPage,
    /// All pages of a section are added, then all are measured: earlier KVM patches.
    AddThenMeasure,
}

impl Tdvf<'_> {
    /// MRTD of a TD that is started with this firmware.
    #[must_use]
    pub fn mr_td(&self, order: PageOrder) -> [u8; 48] {
        let mut digest = Sha384::new();
        for section in self.sections() {
            let pages = || (0..section.size).step_by(PAGE as usize);
            match order {
                PageOrder::PageByPage => {
                    for at in pages() {
                        add(&mut digest, section, at);
                        measure(&mut digest, section, at);
                    }
                }
                PageOrder::AddThenMeasure => {
                    pages().for_each(|at| add(&mut digest, section, at));
                    pages().for_each(|at| measure(&mut digest, section, at));
                }
            }
        }
        digest.finalize().into()
    }
}

fn add(digest: &mut Sha384, section: &TdvfSection<'_>, at: u64) {
    if !section.augment {
        digest.update(buffer(b"MEM.PAGE.ADD", section.address + at));
    }
}

fn measure(digest: &mut Sha384, section: &TdvfSection<'_>, at: u64) {
    if !section.extend {
        return;
    }
    for at in (at..at + PAGE).step_by(CHUNK) {
        digest.update(buffer(b"MR.EXTEND", section.address + at));
        // Memory behind the data of the file is zero.
        let start = usize::try_from(at)
            .unwrap_or(usize::MAX)
            .min(section.data.len());
        let end = start.saturating_add(CHUNK).min(section.data.len());
        let data = section.data.get(start..end).unwrap_or_default();
        digest.update(data);
        digest.update([0; CHUNK].get(data.len()..).unwrap_or_default());
    }
}

/// Name of the function, zeros up to byte 16, the address, zeros up to byte 128.
fn buffer(name: &[u8], gpa: u64) -> [u8; 128] {
    let mut buffer = [0; 128];
    let fields = [(0, name), (16, &gpa.to_le_bytes())];
    for (at, field) in fields {
        for (slot, byte) in buffer.iter_mut().skip(at).zip(field) {
            *slot = *byte;
        }
    }
    buffer
}
