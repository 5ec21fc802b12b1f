//! A text of a recovery as QR codes (ISO/IEC 18004) for a screen of characters: each code holds whole lines of it, so that what a
//! scanner reads, code after code, is the text.
//!
//! Two modules stand above one another in a character. Light ones are drawn, for a console is dark. Capital letters, digits and
//! blanks take less room than others, so that lines are written in capitals, which the reader takes as well.

use qrcodegen::{QrCode, QrCodeEcc, QrSegment, Version};

/// Most codes of one text: a request with a TPM's event log would fill the screen for minutes.
pub const MAX_CODES: usize = 16;
/// Largest version: 97 modules a side, 105 columns with the quiet zone, 53 lines.
const LARGEST: u8 = 20;
/// Light modules around a code.
const QUIET: i32 = 4;

/// Bits of data in the largest version at the lowest level of correction: 861 codewords.
const MOST_BITS: usize = 861 * 8;

/// The codes, one drawing each; `None` for a text that takes more than [`MAX_CODES`] or has a line that fits in none.
#[must_use]
pub fn codes(text: &str) -> Option<Vec<String>> {
    let (mut codes, mut lines, mut filled) = (Vec::new(), Vec::new(), 0);
    for line in text.lines() {
        let more = bits(line);
        if filled + more > MOST_BITS {
            codes.push(draw(&encode(&lines)?));
            lines.clear();
            filled = 0;
        }
        if codes.len() == MAX_CODES {
            return None;
        }
        lines.push(line);
        filled += more;
    }
    codes.push(draw(&encode(&lines)?));
    Some(codes)
}

/// Bits that a line and its end take in a version from 10 to 26: mode, count and 11 bits for two characters; mode, count, a byte.
const fn bits(line: &str) -> usize {
    (4 + 11 + line.len() / 2 * 11 + line.len() % 2 * 6) + (4 + 16 + 8)
}

/// One code with these lines, if they fit.
fn encode(lines: &[&str]) -> Option<QrCode> {
    let mut segments = Vec::new();
    for line in lines {
        let capitals = line.to_ascii_uppercase();
        if !QrSegment::is_alphanumeric(&capitals) {
            return None;
        }
        segments.push(QrSegment::make_alphanumeric(&capitals));
        segments.push(QrSegment::make_bytes(b"\n"));
    }
    let (least, most) = (Version::new(10), Version::new(LARGEST));
    QrCode::encode_segments_advanced(&segments, QrCodeEcc::Low, least, most, None, false).ok()
}

/// Two rows of modules in each line of characters.
fn draw(code: &QrCode) -> String {
    let end = code.size() + QUIET;
    let light = |x, y| y < end && !code.get_module(x, y);
    let mut drawing = String::new();
    for y in (-QUIET..end).step_by(2) {
        for x in -QUIET..end {
            drawing.push(match (light(x, y), light(x, y + 1)) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        drawing.push('\n');
    }
    drawing
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use crate::recovery::GRANT_BYTES;
    use crate::recovery::text::{self, Kind};

    /// What a scanner reads of a drawing, each module three pixels wide.
    fn scan(drawing: &str) -> String {
        const SCALE: usize = 3;
        let rows: Vec<Vec<char>> = drawing.lines().map(|row| row.chars().collect()).collect();
        let (width, height) = (rows[0].len(), rows.len() * 2);
        let light = |x: usize, y: usize| match (rows[y / 2][x], y % 2) {
            ('█', _) | ('▀', 0) | ('▄', 1) => 255,
            _ => 0,
        };
        let mut image =
            rqrr::PreparedImage::prepare_from_greyscale(width * SCALE, height * SCALE, |x, y| {
                light(x / SCALE, y / SCALE)
            });
        let grids = image.detect_grids();
        assert_eq!(grids.len(), 1);
        grids[0].decode().unwrap().1
    }

    #[test]
    fn a_grant_is_one_code_that_is_read_back() {
        let grant: Vec<u8> = (0..GRANT_BYTES).map(|at| (at * 7 % 256) as u8).collect();
        let codes = codes(&text::encode(Kind::Grant, &grant)).unwrap();
        assert_eq!(codes.len(), 1);
        let widest = codes[0].lines().map(|row| row.chars().count()).max();
        assert!(widest <= Some(105), "{widest:?}");
        assert_eq!(text::decode(Kind::Grant, &scan(&codes[0])).unwrap(), grant);
    }

    #[test]
    fn a_request_is_several_codes_that_make_it_again() {
        let request: Vec<u8> = (0..1_200_u32).map(|at| (at * 31 % 256) as u8).collect();
        let codes = codes(&text::encode(Kind::Request, &request)).unwrap();
        assert!((2..=MAX_CODES).contains(&codes.len()), "{}", codes.len());
        let scanned: String = codes.iter().map(|code| scan(code)).collect();
        assert_eq!(text::decode(Kind::Request, &scanned).unwrap(), request);
    }

    #[test]
    fn what_would_fill_the_screen_for_minutes_is_not_drawn() {
        let long = text::encode(Kind::Request, &vec![7; 40_000]);
        assert_eq!(codes(&long), None);
        assert_eq!(codes("no, this is none of it\n"), None);
    }
}
