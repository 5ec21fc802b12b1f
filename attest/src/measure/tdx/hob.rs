//! The TD HOB: the list in which a host tells the firmware what memory there is, and which firmware measures first.
//!
//! Sources: TDX Virtual Firmware Design Guide 1.01, 7 "TDVF UEFI memory map"; QEMU `hw/i386/tdvf-hob.c` (memory in
//! order of addresses, split where firmware's sections lie); google/gce-tcb-verifier (sections in the metadata's
//! order, then the rest). Firmware measures the list without its last, closing element.

use super::{
    TdError,
    tdvf::{Tdvf, TdvfSection, TdvfSectionKind},
};

const GIB: u64 = 1 << 30;
const MIB: u64 = 1 << 20;
/// Most memory taken, MiB: 64 TiB.
const MAX_MIB: u64 = 64 << 20;
/// Resources that are present, initialised and tested.
const TESTED: u32 = 7;
/// GCE asks the firmware to accept all memory at once.
const EARLY_ACCEPT: u32 = 0x1000_0000;
/// `EFI_RESOURCE_SYSTEM_MEMORY`
const SYSTEM: u32 = 0;
/// `EFI_RESOURCE_MEMORY_UNACCEPTED`
const UNACCEPTED: u32 = 7;

/// Who lays out the memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Machine {
    /// QEMU's `q35`.
    Qemu,
    /// Google Compute Engine, machine types with one NUMA node.
    Gce,
}

/// A piece of memory.
#[derive(Debug, Clone, Copy)]
struct Resource {
    kind: u32,
    attributes: u32,
    start: u64,
    end: u64,
}

/// The TD HOB of a machine with `mib` MiB of memory, as firmware measures it.
///
/// # Errors
/// [`TdError::Memory`] when that machine has no such amount of memory, or a layout that is not known here.
pub fn td_hob(firmware: &Tdvf<'_>, machine: Machine, mib: u64) -> Result<Vec<u8>, TdError> {
    let wrong = |problem| TdError::Memory { mib, problem };
    if !(64..=MAX_MIB).contains(&mib) {
        return Err(wrong("64 MiB to 64 TiB are possible"));
    }
    let resources = match machine {
        Machine::Qemu => qemu(firmware.sections(), mib * MIB),
        // Larger machine types have several NUMA nodes.
        Machine::Gce if (4 * 1024..=176 * 1024).contains(&mib) => {
            gce(firmware.sections(), mib * MIB)
        }
        Machine::Gce => {
            return Err(wrong(
                "on GCE 4 to 176 GiB are known, give the TD HOB of other machines as a file",
            ));
        }
    };
    let sections = firmware.sections().iter();
    let mut places = sections.filter(|section| section.kind == TdvfSectionKind::TdHob);
    let place = places
        .next()
        .ok_or_else(|| wrong("the firmware has no place for it"))?;
    let list = encode(place.address, machine, &resources);
    if list.len() as u64 + 8 > place.size {
        return Err(wrong("the firmware's place for the TD HOB is too small"));
    }
    Ok(list)
}

/// Memory below 4 GiB up to the machine's split, the rest above; what lies in firmware's memory is accepted already.
fn qemu(sections: &[TdvfSection<'_>], memory: u64) -> Vec<Resource> {
    // `pc_q35_init`: with 2.75 GiB or more, only 2 GiB stay below 4 GiB.
    let split = if memory >= 0xb000_0000 {
        2 * GIB
    } else {
        memory
    };
    let mut banks = vec![(0, split)];
    if memory > split {
        banks.push((4 * GIB, 4 * GIB + memory - split));
    }
    let mut accepted: Vec<(u64, u64)> = sections
        .iter()
        .filter(|section| {
            matches!(
                section.kind,
                TdvfSectionKind::TdHob | TdvfSectionKind::TempMem
            )
        })
        .map(|section| (section.address, section.address + section.size))
        .collect();
    accepted.sort_unstable();
    let mut resources = Vec::new();
    for (start, end) in banks {
        let within = accepted
            .iter()
            .filter(|(from, to)| *from >= start && *to <= end);
        let mut at = start;
        for (from, to) in within {
            push(&mut resources, UNACCEPTED, TESTED, at, *from);
            push(&mut resources, SYSTEM, TESTED, *from, *to);
            at = *to;
        }
        push(&mut resources, UNACCEPTED, TESTED, at, end);
    }
    resources
}

/// All sections as accepted memory, then what is left of three banks.
fn gce(sections: &[TdvfSection<'_>], memory: u64) -> Vec<Resource> {
    let mut resources = Vec::new();
    let mut accepted = Vec::new();
    for section in sections {
        let end = section.address + section.size;
        push(&mut resources, SYSTEM, TESTED, section.address, end);
        accepted.push((section.address, end));
    }
    accepted.sort_unstable();
    let banks = [
        (0, 3 * GIB),
        (4 * GIB - 2 * MIB, 4 * GIB),
        (4 * GIB, GIB + memory),
    ];
    let attributes = TESTED | EARLY_ACCEPT;
    for (start, end) in banks {
        let within = accepted
            .iter()
            .filter(|(from, to)| *from < end && *to > start);
        let mut at = start;
        for (from, to) in within {
            push(&mut resources, UNACCEPTED, attributes, at, *from);
            at = at.max(*to);
        }
        push(&mut resources, UNACCEPTED, attributes, at, end);
    }
    resources
}

fn push(resources: &mut Vec<Resource>, kind: u32, attributes: u32, start: u64, end: u64) {
    if start < end {
        resources.push(Resource {
            kind,
            attributes,
            start,
            end,
        });
    }
}

/// Handoff table and one resource descriptor for each piece. The table says where the list ends: QEMU counts the
/// closing element, GCE does not.
fn encode(address: u64, machine: Machine, resources: &[Resource]) -> Vec<u8> {
    let closing = match machine {
        Machine::Qemu => 8,
        Machine::Gce => 0,
    };
    let length = 56 + 48 * resources.len() as u64 + closing;
    let mut list = header(1, 56);
    list.extend_from_slice(&9u32.to_le_bytes());
    // Boot mode, memory top and bottom, free memory top and bottom: all zero.
    list.extend_from_slice(&[0; 36]);
    list.extend_from_slice(&(address + length).to_le_bytes());
    for resource in resources {
        list.extend(header(3, 48));
        list.extend_from_slice(&[0; 16]);
        list.extend_from_slice(&resource.kind.to_le_bytes());
        list.extend_from_slice(&resource.attributes.to_le_bytes());
        list.extend_from_slice(&resource.start.to_le_bytes());
        list.extend_from_slice(&(resource.end - resource.start).to_le_bytes());
    }
    list
}

fn header(kind: u16, length: u16) -> Vec<u8> {
    let [kind, length] = [kind, length].map(u16::to_le_bytes);
    [kind.as_slice(), &length, &[0; 4]].concat()
}
