//! A unified kernel image, booted by UEFI firmware through systemd-stub.
//!
//! | PCR | what, in order |
//! |---|---|
//! | 4 | "Calling EFI Application from Boot Option", separator, the image, with Secure Boot off its inner kernel too |
//! | 7 | Secure Boot's variables, separator, with Secure Boot on the entry of db that lets the image run |
//! | 9 | load options of the kernel (its EFI stub measures them), the initrd it is handed |
//! | 11 | sections, each by name and content |
//! | 12 | nothing: load options, add-ons and credentials would go here |
//! | 13 | nothing: system extensions would go here |

use super::{
    MeasureError, SecureBoot, UkiMeasurements, cmdline, cpio,
    pe::{Pe, Section},
    prediction::{Measured, Prediction},
    secure_boot::SEPARATOR,
    stub::Stub,
};
use crate::{eventlog::kind, tpm::hash::Hash};

/// Action firmware logs before it starts a boot option.
pub(super) const CALLING: &[u8] = b"Calling EFI Application from Boot Option";

/// Predicts PCRs 4, 9, 11, 12 and 13 of a UKI from its file, and PCR 7 where Secure Boot's state is given.
///
/// Without it, Secure Boot is taken to be off: with Secure Boot on, systemd-stub keeps firmware from judging the inner
/// kernel, and so from measuring it.
pub fn uki(
    image: &[u8],
    secure_boot: Option<&SecureBoot>,
) -> Result<UkiMeasurements, MeasureError> {
    let image = Image::parse(image)?;
    let mut prediction = Prediction::new(Hash::Sha256);
    let mut notes = Vec::new();
    let mut authority = None;
    if let Some(secure_boot) = secure_boot {
        secure_boot.check()?;
        authority = secure_boot.authority(&image.pe)?;
        for event in secure_boot.before_boot() {
            prediction.add(7, event);
        }
    } else {
        notes.push(
            "PCR 7 is not predicted: it needs the state of Secure Boot and its keys".to_owned(),
        );
    }
    prediction.measure(
        4,
        kind::EFI_ACTION,
        CALLING,
        "firmware starts a boot option",
    );
    prediction.measure(4, kind::SEPARATOR, &SEPARATOR, "separator");
    if let Some(event) = authority {
        prediction.add(7, event);
    }
    let inner = secure_boot.is_none_or(|secure_boot| !secure_boot.is_on());
    let (whole, kernel) = image.loaded(Hash::Sha256)?;
    prediction.add(4, whole);
    for event in image.stub_sections() {
        prediction.add(11, event);
    }
    if inner {
        prediction.add(4, kernel);
    }
    match image.kernel_stub() {
        Ok(events) => events
            .into_iter()
            .for_each(|event| prediction.add(9, event)),
        Err(why) => notes.push(format!("PCR 9 is not predicted: {why}")),
    }
    prediction.start(12);
    prediction.start(13);
    let (sha256, events) = prediction.finish();
    Ok(UkiMeasurements {
        stub: image.stub.text,
        sha256,
        events,
        notes,
    })
}

/// A unified kernel image, with all that is measured of it.
pub(super) struct Image<'a> {
    /// The whole file.
    pub pe: Pe<'a>,
    /// The stub in it.
    pub stub: Stub,
    sections: Sections<'a>,
}

impl<'a> Image<'a> {
    /// Reads an image; refuses one whose measurements would not be certain.
    pub(super) fn parse(image: &'a [u8]) -> Result<Self, MeasureError> {
        let pe = Pe::parse("the image", image)?;
        let sections = Sections(pe.sections()?);
        sections.refuse_doubles()?;
        let stub = Stub::parse(sections.find(".sdmagic").ok_or(MeasureError::NoStub)?)?;
        Ok(Self { pe, stub, sections })
    }

    /// The kernel in it.
    pub(super) fn linux(&self) -> Result<&[u8], MeasureError> {
        self.sections
            .find(".linux")
            .ok_or(MeasureError::MissingSection { section: ".linux" })
    }

    /// What firmware measures when it loads the image, and when it loads the kernel in it.
    pub(super) fn loaded(&self, hash: Hash) -> Result<(Measured, Measured), MeasureError> {
        let application = |digest, what: &str| {
            Measured::digest(kind::EFI_BOOT_SERVICES_APPLICATION, digest, what)
        };
        let kernel = Pe::parse("the kernel in .linux", self.linux()?)?.authenticode(hash)?;
        Ok((
            application(self.pe.authenticode(hash)?, "the image"),
            application(kernel, "the kernel in .linux"),
        ))
    }

    /// What systemd-stub measures of its sections: name and content of each.
    pub(super) fn stub_sections(&self) -> Vec<Measured> {
        let mut events = Vec::new();
        for name in self.stub.measured() {
            if let Some(content) = self.sections.find(name) {
                let terminated = [name.as_bytes(), &[0]].concat();
                events.push(Measured::bytes(
                    kind::IPL,
                    terminated,
                    format!("name of {name}"),
                ));
                events.push(Measured::bytes(
                    kind::IPL,
                    content,
                    format!("content of {name}"),
                ));
            }
        }
        events
    }

    /// What the kernel's own EFI stub measures; why not, where that is not certain.
    pub(super) fn kernel_stub(&self) -> Result<Vec<Measured>, String> {
        let line = self.sections.find(".cmdline");
        let line = line.ok_or("without .cmdline the firmware decides the load options")?;
        let options = cmdline::load_options(line, &self.stub).ok_or_else(|| {
            format!(
                "how systemd-stub {} hands over this command line is not certain (it is not plain ASCII)",
                self.stub.text
            )
        })?;
        let mut events = vec![load_options(options)];
        events.extend(self.sections.combined_initrd(&self.stub).map(initrd));
        Ok(events)
    }
}

/// The event of the kernel's EFI stub for its load options.
pub(super) fn load_options(options: Vec<u8>) -> Measured {
    Measured::bytes(kind::EVENT_TAG, options, "load options of the kernel")
}

/// The event of the kernel's EFI stub for its initrd.
pub(super) fn initrd(initrd: Vec<u8>) -> Measured {
    Measured::bytes(kind::EVENT_TAG, initrd, "initrd")
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
