//! The unified kernel image: systemd-stub with our sections appended, byte for byte reproducible.
//!
//! systemd-stub finds `.linux`, `.initrd`, `.cmdline`, `.osrel` and `.uname` in its own image and
//! measures them into PCR 11 before it starts the kernel; the firmware measures the whole file into
//! PCR 4. So the file decides what a verifier will see.

use std::path::Path;

use crate::error::VmError;

/// Alignment of section addresses: a page, or more if the stub asks for it.
const PAGE: u32 = 4096;
const SECTION_HEADER: usize = 40;
/// `IMAGE_SCN_CNT_INITIALIZED_DATA | IMAGE_SCN_MEM_READ`
const DATA: u32 = 0x4000_0040;

/// The sections of one image, in the order in which they are appended.
#[derive(Debug, Clone, Copy)]
pub struct Sections<'a> {
    /// Contents of an os-release file.
    pub os_release: &'a str,
    /// The kernel's command line, the only one it will get.
    pub command_line: &'a str,
    /// The kernel's version.
    pub uname: &'a str,
    /// The compressed initramfs.
    pub initrd: &'a [u8],
    /// The kernel's PE image.
    pub linux: &'a [u8],
}

/// Appends the sections to the stub.
///
/// # Errors
/// [`VmError::Pe`] when the stub is no PE32+ file or has no room for five section headers.
pub fn build(stub_path: &Path, stub: &[u8], sections: Sections<'_>) -> Result<Vec<u8>, VmError> {
    append(
        stub,
        &[
            (".osrel", sections.os_release.as_bytes()),
            (".cmdline", sections.command_line.as_bytes()),
            (".uname", sections.uname.as_bytes()),
            (".initrd", sections.initrd),
            (".linux", sections.linux),
        ],
    )
    .map_err(|problem| VmError::Pe {
        file: stub_path.to_path_buf(),
        problem: problem.to_owned(),
    })
}

fn append(stub: &[u8], sections: &[(&str, &[u8])]) -> Result<Vec<u8>, &'static str> {
    let mut pe = stub.to_vec();
    let coff = 4 + get32(&pe, 0x3c)? as usize;
    if pe.get(coff - 4..coff) != Some(b"PE\0\0") {
        return Err("no PE signature");
    }
    let count = get16(&pe, coff + 2)?;
    let optional = coff + 20;
    if get16(&pe, optional)? != 0x20b {
        return Err("not PE32+");
    }
    let section_alignment = get32(&pe, optional + 32)?.max(PAGE);
    let file_alignment = get32(&pe, optional + 36)? as usize;
    if !file_alignment.is_power_of_two() || !section_alignment.is_power_of_two() {
        return Err("alignments are no powers of two");
    }
    let headers_end = get32(&pe, optional + 60)? as usize;
    let mut header =
        optional + usize::from(get16(&pe, coff + 16)?) + usize::from(count) * SECTION_HEADER;
    let first_data = first_section_data(&pe, header, count)?;
    if header + sections.len() * SECTION_HEADER > headers_end.min(first_data) {
        return Err("no room for more section headers");
    }
    // Certificates and symbols behind the sections would be taken for section data.
    let mut address = get32(&pe, optional + 56)?;
    let mut data_bytes = get32(&pe, optional + 8)?;
    for (name, content) in sections {
        pe.resize(pe.len().next_multiple_of(file_alignment), 0);
        let offset = u32::try_from(pe.len()).map_err(|_| "image over 4 GiB")?;
        let size = u32::try_from(content.len()).map_err(|_| "section over 4 GiB")?;
        pe.extend_from_slice(content);
        pe.resize(pe.len().next_multiple_of(file_alignment), 0);
        let raw = u32::try_from(pe.len()).map_err(|_| "image over 4 GiB")? - offset;
        address = address
            .checked_next_multiple_of(section_alignment)
            .ok_or("addresses over 4 GiB")?;
        let mut name_field = [0u8; 8];
        for (to, from) in name_field.iter_mut().zip(name.bytes()) {
            *to = from;
        }
        put(&mut pe, header, &name_field)?;
        for (at, value) in [
            (8, size),
            (12, address),
            (16, raw),
            (20, offset),
            (24, 0),
            (28, 0),
            (32, 0),
            (36, DATA),
        ] {
            put(&mut pe, header + at, &value.to_le_bytes())?;
        }
        header += SECTION_HEADER;
        address = address.checked_add(size).ok_or("addresses over 4 GiB")?;
        data_bytes = data_bytes.checked_add(raw).ok_or("sections over 4 GiB")?;
    }
    let total = u16::try_from(sections.len())
        .ok()
        .and_then(|more| count.checked_add(more))
        .ok_or("too many sections")?;
    let image_size = address
        .checked_next_multiple_of(section_alignment)
        .ok_or("addresses over 4 GiB")?;
    put(&mut pe, coff + 2, &total.to_le_bytes())?;
    put(&mut pe, optional + 8, &data_bytes.to_le_bytes())?;
    put(&mut pe, optional + 56, &image_size.to_le_bytes())?;
    // The checksum is optional for EFI; none is better than a wrong one.
    put(&mut pe, optional + 64, &0u32.to_le_bytes())?;
    Ok(pe)
}

/// Lowest file offset of any section's data: headers must end before it.
fn first_section_data(pe: &[u8], headers_end: usize, count: u16) -> Result<usize, &'static str> {
    let start = headers_end - usize::from(count) * SECTION_HEADER;
    (0..usize::from(count))
        .map(|index| get32(pe, start + index * SECTION_HEADER + 20).map(|offset| offset as usize))
        .filter(|offset| offset != &Ok(0))
        .try_fold(usize::MAX, |least, offset| {
            offset.map(|offset| least.min(offset))
        })
}

fn get16(pe: &[u8], at: usize) -> Result<u16, &'static str> {
    let bytes = pe
        .get(at..at + 2)
        .and_then(|b| b.try_into().ok())
        .ok_or("cut short")?;
    Ok(u16::from_le_bytes(bytes))
}

fn get32(pe: &[u8], at: usize) -> Result<u32, &'static str> {
    let bytes = pe
        .get(at..at + 4)
        .and_then(|b| b.try_into().ok())
        .ok_or("cut short")?;
    Ok(u32::from_le_bytes(bytes))
}

fn put(pe: &mut [u8], at: usize, bytes: &[u8]) -> Result<(), &'static str> {
    pe.get_mut(at..at + bytes.len())
        .ok_or("cut short")?
        .copy_from_slice(bytes);
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    /// A PE32+ file with one section of 512 bytes and headers of 1024.
    fn stub() -> Vec<u8> {
        let mut pe = vec![0u8; 0x600];
        put(&mut pe, 0x3c, &0x40u32.to_le_bytes()).unwrap();
        put(&mut pe, 0x40, b"PE\0\0").unwrap();
        put(&mut pe, 0x44 + 2, &1u16.to_le_bytes()).unwrap();
        put(&mut pe, 0x44 + 16, &240u16.to_le_bytes()).unwrap();
        let optional = 0x58;
        put(&mut pe, optional, &0x20bu16.to_le_bytes()).unwrap();
        put(&mut pe, optional + 32, &0x200u32.to_le_bytes()).unwrap();
        put(&mut pe, optional + 36, &0x200u32.to_le_bytes()).unwrap();
        put(&mut pe, optional + 56, &0x4200u32.to_le_bytes()).unwrap();
        put(&mut pe, optional + 60, &0x400u32.to_le_bytes()).unwrap();
        let header = optional + 240;
        put(&mut pe, header, b".text").unwrap();
        put(&mut pe, header + 20, &0x400u32.to_le_bytes()).unwrap();
        pe
    }

    #[test]
    fn appended_sections_are_where_their_headers_say() {
        let pe = append(&stub(), &[(".cmdline", b"quiet"), (".linux", &[7; 600])]).unwrap();
        assert_eq!(get16(&pe, 0x46).unwrap(), 3);
        let header = 0x58 + 240 + 40;
        assert_eq!(&pe[header..header + 8], b".cmdline");
        let second = header + 40;
        assert_eq!(&pe[second..second + 6], b".linux");
        assert_eq!(get32(&pe, second + 8).unwrap(), 600);
        let address = get32(&pe, second + 12).unwrap();
        assert_eq!(address % PAGE, 0);
        let offset = get32(&pe, second + 20).unwrap() as usize;
        assert_eq!(&pe[offset..offset + 600], &[7; 600]);
        assert!(get32(&pe, 0x58 + 56).unwrap() >= address + 600);
    }

    #[test]
    fn same_inputs_give_the_same_bytes() {
        let once = append(&stub(), &[(".cmdline", b"quiet")]).unwrap();
        assert_eq!(append(&stub(), &[(".cmdline", b"quiet")]).unwrap(), once);
    }

    #[test]
    fn refuses_what_is_no_stub() {
        assert_eq!(append(b"MZ", &[]), Err("cut short"));
        let mut pe = stub();
        pe[0x40] = b'X';
        assert_eq!(append(&pe, &[]), Err("no PE signature"));
        let mut pe = stub();
        pe[0x58] = 0;
        assert_eq!(append(&pe, &[]), Err("not PE32+"));
    }

    #[test]
    fn refuses_a_stub_without_room_for_headers() {
        let many: Vec<(&str, &[u8])> = vec![(".x", b"y".as_slice()); 17];
        assert_eq!(
            append(&stub(), &many),
            Err("no room for more section headers")
        );
    }
}
