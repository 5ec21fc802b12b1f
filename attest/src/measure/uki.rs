//! A unified kernel image, booted by UEFI firmware through systemd-stub.
//!
//! | PCR | what, in order |
//! |---|---|
//! | 4 | "Calling EFI Application from Boot Option", separator, the image, its inner kernel |
//! | 9 | load options of the kernel (its EFI stub measures them), the initrd it is handed |
//! | 11 | sections, each by name and content |
//! | 12 | nothing: load options, add-ons and credentials would go here |
//! | 13 | nothing: system extensions would go here |

use super::{
    MeasureError, Prediction, UkiMeasurements, cmdline, cpio,
    pe::{Pe, Section},
    stub::Stub,
};
use crate::eventlog::kind;

/// Action firmware logs before it starts a boot option.
const CALLING: &[u8] = b"Calling EFI Application from Boot Option";
/// Data of a separator event.
const SEPARATOR: [u8; 4] = [0; 4];

/// Predicts PCRs 4, 9, 11, 12 and 13 of a UKI from its file.
pub fn uki(image: &[u8]) -> Result<UkiMeasurements, MeasureError> {
    let pe = Pe::parse("the image", image)?;
    let sections = Sections(pe.sections()?);
    sections.refuse_doubles()?;
    let stub = Stub::parse(sections.find(".sdmagic").ok_or(MeasureError::NoStub)?)?;
    let linux = sections
        .find(".linux")
        .ok_or(MeasureError::MissingSection { section: ".linux" })?;
    let mut prediction = Prediction::default();
    let mut notes = Vec::new();

    prediction.measure(
        4,
        kind::EFI_ACTION,
        CALLING,
        "firmware starts a boot option",
    );
    prediction.measure(4, kind::SEPARATOR, &SEPARATOR, "separator");
    let whole = pe.authenticode()?;
    prediction.extend(4, kind::EFI_BOOT_SERVICES_APPLICATION, whole, "the image");
    for name in stub.measured() {
        if let Some(content) = sections.find(name) {
            let terminated = [name.as_bytes(), &[0]].concat();
            prediction.measure(11, kind::IPL, &terminated, &format!("name of {name}"));
            prediction.measure(11, kind::IPL, content, &format!("content of {name}"));
        }
    }
    let inner = Pe::parse("the kernel in .linux", linux)?.authenticode()?;
    prediction.extend(
        4,
        kind::EFI_BOOT_SERVICES_APPLICATION,
        inner,
        "the kernel in .linux",
    );
    if let Err(note) = kernel_stub(&mut prediction, &sections, &stub) {
        notes.push(note);
    }
    prediction.start(12);
    prediction.start(13);
    Ok(UkiMeasurements {
        stub: stub.text,
        sha256: prediction
            .pcrs
            .iter()
            .map(|(pcr, value)| (*pcr, hex::encode(value)))
            .collect(),
        events: prediction.events,
        notes,
    })
}

/// What the kernel's own EFI stub (Linux 6.1 and later) measures into PCR 9; a note where that is not certain.
fn kernel_stub(
    prediction: &mut Prediction,
    sections: &Sections<'_>,
    stub: &Stub,
) -> Result<(), String> {
    let line = sections.find(".cmdline");
    let line = line
        .ok_or("PCR 9 is not predicted: without .cmdline the firmware decides the load options")?;
    let options = cmdline::load_options(line, stub).ok_or_else(|| {
        format!(
            "PCR 9 is not predicted: how systemd-stub {} hands over this command line is not certain \
             (it is not plain ASCII)",
            stub.text
        )
    })?;
    prediction.measure(9, kind::EVENT_TAG, &options, "load options of the kernel");
    if let Some(initrd) = sections.combined_initrd(stub) {
        prediction.measure(9, kind::EVENT_TAG, &initrd, "initrd");
    }
    Ok(())
}

struct Sections<'a>(Vec<Section<'a>>);

impl Sections<'_> {
    /// Content of a section; the stub ignores empty ones, and so does this.
    fn find(&self, name: &str) -> Option<&[u8]> {
        let found = self.0.iter().find(|section| section.name == name)?;
        Some(found.memory.as_ref()).filter(|memory| !memory.is_empty())
    }

    fn refuse_doubles(&self) -> Result<(), MeasureError> {
        for (index, section) in self.0.iter().enumerate() {
            let mut before = self.0.iter().take(index);
            if before.any(|other| other.name == section.name) {
                return Err(MeasureError::DoubleSection {
                    section: section.name.clone(),
                });
            }
        }
        Ok(())
    }

    /// What the stub hands to the kernel: a single initrd as it is, several joined, each padded to four bytes.
    fn combined_initrd(&self, stub: &Stub) -> Option<Vec<u8>> {
        let ucode = self
            .find(".ucode")
            .filter(|_| stub.major != Stub::DEBIAN_12);
        let mut parts: Vec<Vec<u8>> = [ucode, self.find(".initrd")]
            .into_iter()
            .flatten()
            .map(<[u8]>::to_vec)
            .collect();
        for (section, file) in stub.appended() {
            if let Some(content) = self.find(section) {
                parts.push(cpio::extra(file, content));
            }
        }
        if parts.len() < 2 {
            return parts.pop();
        }
        let mut joined = Vec::new();
        for part in parts {
            joined.extend_from_slice(&part);
            cpio::pad4(&mut joined);
        }
        Some(joined)
    }
}
