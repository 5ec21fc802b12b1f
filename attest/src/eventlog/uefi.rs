//! Structures of UEFI inside events: variables, loaded images, device paths. Read for reports, within bounds.

/// `UEFI_VARIABLE_DATA`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variable<'a> {
    /// Vendor GUID, as stored.
    pub guid: [u8; 16],
    /// Name, what is not UTF-16 replaced.
    pub name: String,
    /// Value.
    pub value: &'a [u8],
}

/// Most UTF-16 units of a name that are read.
const MAX_NAME: usize = 256;
/// Most nodes of a device path that are read.
const MAX_NODES: usize = 64;

impl<'a> Variable<'a> {
    /// Reads GUID, lengths (64 bits each, little-endian), name and value.
    pub fn read(data: &'a [u8]) -> Option<Self> {
        let (guid, rest) = data.split_first_chunk::<16>()?;
        let (units, rest) = number(rest)?;
        let (length, rest) = number(rest)?;
        let (name, rest) = rest.split_at_checked(units.checked_mul(2)?)?;
        let name = name.get(..2 * units.min(MAX_NAME))?;
        Some(Self {
            guid: *guid,
            name: utf16(name),
            value: rest.get(..length)?,
        })
    }
}

/// The file names in the device path of an `UEFI_IMAGE_LOAD_EVENT`, and GUIDs of firmware files.
pub fn image_path(data: &[u8]) -> Option<String> {
    let length = data.get(24..32)?;
    let (length, _) = number(length)?;
    device_path(data.get(32..)?.get(..length)?)
}

fn device_path(mut nodes: &[u8]) -> Option<String> {
    let mut text = String::new();
    for _ in 0..MAX_NODES {
        let Some((&[kind, subtype, low, high], _)) = nodes.split_first_chunk::<4>() else {
            break;
        };
        let length = usize::from(u16::from_le_bytes([low, high]));
        let body = nodes.get(4..length)?;
        match (kind, subtype) {
            (0x7f, _) => break,
            (4, 4) => text.push_str(&utf16(body.get(..2 * MAX_NAME).unwrap_or(body))),
            (4, 6 | 7) => {
                let guid = guid(body.first_chunk::<16>()?);
                text.push_str(&format!(
                    "/{}({guid})",
                    if subtype == 6 { "FvFile" } else { "Fv" }
                ));
            }
            _ => {}
        }
        nodes = nodes.get(length..)?;
    }
    (!text.is_empty()).then_some(text)
}

/// A GUID as text.
pub fn guid(bytes: &[u8; 16]) -> String {
    let [a, b, c, d, e, f, g, h, rest @ ..] = bytes;
    let (first, last) = rest.split_first_chunk::<2>().unwrap_or((&[0; 2], &[]));
    format!(
        "{:08x}-{:04x}-{:04x}-{}-{}",
        u32::from_le_bytes([*a, *b, *c, *d]),
        u16::from_le_bytes([*e, *f]),
        u16::from_le_bytes([*g, *h]),
        hex::encode(first),
        hex::encode(last)
    )
}

fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<8>()?;
    Some((usize::try_from(u64::from_le_bytes(*number)).ok()?, rest))
}

fn utf16(bytes: &[u8]) -> String {
    let (pairs, _) = bytes.as_chunks::<2>();
    let units = pairs.iter().map(|pair| u16::from_le_bytes(*pair));
    char::decode_utf16(units.take_while(|unit| *unit != 0))
        .map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()
}
