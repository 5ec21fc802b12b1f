//! The save area a virtual CPU starts from, as KVM fills it for each monitor.
//!
//! Registers of GCE: google/gce-tcb-verifier, `sev/ld_from_ovmf.go`. Offsets: AMD64 Architecture Programmer's Manual volume 2, table B-4 "VMSA layout".

use super::PAGE;

/// Where the first CPU starts.
pub(super) const BSP_EIP: u32 = 0xffff_fff0;

/// SEV features of a save area: bit 0 is SNP, bit 5 debug-register swapping, which KVM turns on since Linux 6.11.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestFeatures(pub u64);

/// Who starts the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vmm {
    /// QEMU with KVM.
    Qemu,
    /// Amazon EC2.
    Ec2,
    /// Google Compute Engine.
    Gce,
}

/// Type of the virtual CPUs: QEMU writes its CPUID signature into RDX.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VcpuType {
    /// `EPYC` and its versions.
    Epyc,
    /// `EPYC-Rome`.
    Rome,
    /// `EPYC-Milan`.
    Milan,
    /// `EPYC-Genoa`.
    Genoa,
    /// `EPYC-Turin`.
    Turin,
    /// By family, model and stepping, for `-cpu host` and types not listed.
    Signature {
        /// Combined family.
        family: u8,
        /// Combined model.
        model: u8,
        /// Stepping, 0 to 15.
        stepping: u8,
    },
}

impl VcpuType {
    /// The type by QEMU's name; a version such as `-v4` does not matter.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        let model = match name.rsplit_once("-v") {
            Some((model, version))
                if !version.is_empty() && version.bytes().all(|b| b.is_ascii_digit()) =>
            {
                model
            }
            _ => name.as_str(),
        };
        match model {
            "epyc" | "epyc-ibpb" => Some(Self::Epyc),
            "epyc-rome" => Some(Self::Rome),
            "epyc-milan" => Some(Self::Milan),
            "epyc-genoa" => Some(Self::Genoa),
            "epyc-turin" => Some(Self::Turin),
            _ => None,
        }
    }

    /// The type by EAX of CPUID leaf 1; `None` where bits are set that no processor of the family sets.
    #[must_use]
    pub fn from_signature(eax: u32) -> Option<Self> {
        let bits = |at: u32, mask: u32| u8::try_from((eax >> at) & mask).unwrap_or(0);
        let parsed = Self::Signature {
            family: bits(8, 0xf).checked_add(bits(20, 0xff))?,
            model: bits(16, 0xf) << 4 | bits(4, 0xf),
            stepping: bits(0, 0xf),
        };
        Some(parsed).filter(|parsed| parsed.signature() == eax)
    }

    /// CPUID leaf 1, EAX.
    #[must_use]
    pub fn signature(self) -> u32 {
        let (family, model, stepping) = match self {
            Self::Epyc => (23, 1, 2),
            Self::Rome => (23, 49, 0),
            Self::Milan => (25, 1, 1),
            Self::Genoa => (25, 17, 0),
            Self::Turin => (26, 0, 0),
            Self::Signature {
                family,
                model,
                stepping,
            } => (family, model, stepping),
        };
        let (base, extended) = if family > 15 {
            (15, family - 15)
        } else {
            (family, 0)
        };
        let model = u32::from(model);
        u32::from(extended) << 20
            | (model >> 4) << 16
            | u32::from(base) << 8
            | (model & 0xf) << 4
            | u32::from(stepping & 0xf)
    }
}

/// The page of a CPU that starts at `eip`.
pub(super) fn page(eip: u32, vcpu: VcpuType, vmm: Vmm, features: GuestFeatures) -> Vec<u8> {
    let mut page = Page(vec![0; PAGE]);
    let (cs, ss, tr) = match vmm {
        Vmm::Qemu | Vmm::Gce => (0x9b, 0x93, 0x8b),
        Vmm::Ec2 if eip == BSP_EIP => (0x9a, 0x92, 0x83),
        Vmm::Ec2 => (0x9b, 0x92, 0x83),
    };
    let segments = [
        (0x00, 0, 0x93, 0), // ES
        (0x10, 0xf000, cs, u64::from(eip & 0xffff_0000)),
        (0x20, 0, ss, 0),
        (0x30, 0, 0x93, 0), // DS
        (0x40, 0, 0x93, 0), // FS
        (0x50, 0, 0x93, 0), // GS
        (0x60, 0, 0, 0),    // GDTR
        (0x70, 0, 0x82, 0), // LDTR
        (0x80, 0, 0, 0),    // IDTR
        (0x90, 0, tr, 0),
    ];
    for (at, selector, attributes, base) in segments {
        page.segment(at, selector, attributes, base);
    }
    page.put(0xd0, 0x1000); // EFER: SVME
    page.put(0x148, 0x40); // CR4: MCE
    page.put(0x158, 0x10); // CR0: ET
    page.put(0x160, 0x400); // DR7
    page.put(0x168, 0xffff_0ff0); // DR6
    page.put(0x170, 0x2); // RFLAGS
    page.put(0x178, u64::from(eip & 0xffff)); // RIP
    let (pat, rdx) = match vmm {
        Vmm::Qemu => (0x0007_0406_0007_0406, u64::from(vcpu.signature())),
        Vmm::Ec2 => (0x0007_0406_0007_0406, 0),
        Vmm::Gce => (0x0007_0106, 0x600),
    };
    page.put(0x268, pat);
    page.put(0x310, rdx);
    page.put(0x3b0, features.0);
    page.put(0x3e8, 0x1); // XCR0
    if vmm == Vmm::Qemu {
        page.put(0x408, 0x1f80); // MXCSR
        page.write(0x410, &0x37fu16.to_le_bytes()); // x87 control word
    }
    page.0
}

struct Page(Vec<u8>);

impl Page {
    /// Writes at an offset of the layout, all of which are within the page.
    fn write(&mut self, at: usize, bytes: &[u8]) {
        for (slot, byte) in self.0.iter_mut().skip(at).zip(bytes) {
            *slot = *byte;
        }
    }

    fn put(&mut self, at: usize, value: u64) {
        self.write(at, &value.to_le_bytes());
    }

    fn segment(&mut self, at: usize, selector: u16, attributes: u16, base: u64) {
        self.write(at, &selector.to_le_bytes());
        self.write(at + 2, &attributes.to_le_bytes());
        self.write(at + 4, &0xffffu32.to_le_bytes());
        self.put(at + 8, base);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_give_cpuid_signatures() {
        for (name, signature) in [
            ("EPYC-v4", 0x0080_0f12),
            ("EPYC-Rome-v2", 0x0083_0f10),
            ("EPYC-Milan", 0x00a0_0f11),
            ("epyc-genoa-v1", 0x00a1_0f10),
            ("EPYC-Turin", 0x00b0_0f00),
        ] {
            assert_eq!(
                VcpuType::from_name(name).unwrap().signature(),
                signature,
                "{name}"
            );
        }
        for name in ["", "host", "EPYC-v", "EPYC-Naples", "Milan"] {
            assert_eq!(VcpuType::from_name(name), None, "{name}");
        }
    }
}
