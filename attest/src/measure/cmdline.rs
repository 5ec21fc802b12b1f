//! The kernel command line as systemd-stub hands it to the kernel.
//!
//! Both known stubs turn control characters into spaces and cut white space at the end; 257 cuts it at the beginning
//! too.

use super::stub::Stub;

/// The load options the kernel sees and measures: UTF-16, terminated. `None` where the line is not plain ASCII.
pub(super) fn load_options(section: &[u8], stub: &Stub) -> Option<Vec<u8>> {
    let line = section.split(|byte| *byte == 0).next().unwrap_or_default();
    if !line.is_ascii() {
        return None;
    }
    let spaced: String = line
        .iter()
        .map(|byte| {
            if byte.is_ascii_control() {
                ' '
            } else {
                char::from(*byte)
            }
        })
        .collect();
    let chosen = match stub.major {
        Stub::DEBIAN_12 => spaced.trim_end_matches(' '),
        _ => spaced.trim_matches(' '),
    };
    let units = chosen.encode_utf16().chain([0]);
    Some(units.flat_map(u16::to_le_bytes).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(section: &str, major: u32) -> Option<String> {
        let text = String::new();
        let bytes = load_options(section.as_bytes(), &Stub { text, major })?;
        Some(
            bytes
                .iter()
                .step_by(2)
                .map(|byte| char::from(*byte))
                .collect(),
        )
    }

    #[test]
    fn cuts_white_space_as_each_stub_does() {
        assert_eq!(text("  a\tb \n\n", 252).as_deref(), Some("  a b\0"));
        assert_eq!(text("  a\tb \n\n", 257).as_deref(), Some("a b\0"));
        assert_eq!(text("a\0b", 257).as_deref(), Some("a\0"));
        assert_eq!(text("ä", 257), None);
    }
}
