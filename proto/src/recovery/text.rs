//! Requests and grants as text, for a console, paper or a QR code: short lines, each with its number and a checksum, so
//! that whoever mistypes learns in which line.
//!
//! | part of a line | |
//! |---|---|
//! | `g` or `r` | grant or request |
//! | number | from 1, decimal; `end` in the last line |
//! | groups | base 32 in Crockford's alphabet (no `i`, `l`, `o`, `u`), four characters each |
//! | checksum | four characters: 20 bits of `SHA-256("dawnkey/v1/text" ‖ letter ‖ number (32 bits) ‖ bytes)` |
//!
//! The last line has the number of lines before it and eight characters of the same over all bytes. Case does not matter;
//! `o` is read as `0`, `i` and `l` as `1`; dashes and spaces between characters are passed over.

use sha2::{Digest, Sha256};

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const LABEL: &[u8] = b"dawnkey/v1/text";
/// Most bytes of a message that is read from text.
pub const MAX_BYTES: usize = 256 << 10;
/// Most characters of one line.
const MAX_LINE: usize = 512;

/// What a text carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A node's request with its evidence.
    Request,
    /// A grant.
    Grant,
}

impl Kind {
    const fn letter(self) -> char {
        match self {
            Self::Request => 'r',
            Self::Grant => 'g',
        }
    }

    /// Bytes of a line: a grant's lines are to be typed, a request's to be copied.
    const fn line_bytes(self) -> usize {
        match self {
            Self::Request => 45,
            Self::Grant => 15,
        }
    }
}

/// A text is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// A line is not one of such a text.
    #[error("line {line}: {problem}")]
    Line {
        /// Its number, as it should be.
        line: usize,
        /// What is wrong.
        problem: &'static str,
    },
    /// The text ends too early.
    #[error(
        "the text ends after line {after}; the line that begins with `{letter} end` is missing"
    )]
    Unfinished {
        /// The last line that was read.
        after: usize,
        /// `g` or `r`.
        letter: char,
    },
    /// All lines are right and their order or number is not.
    #[error(
        "every line is right by itself, but the last line does not fit them: lines of two texts, or some are missing"
    )]
    Whole,
    /// More than a message has.
    #[error("more than {MAX_BYTES} bytes")]
    TooLong,
}

/// Writes a message as text, one line after the other.
#[must_use]
pub fn encode(kind: Kind, message: &[u8]) -> String {
    let letter = kind.letter();
    let mut text = String::new();
    let mut lines = 0;
    for (number, bytes) in (1_u32..).zip(message.chunks(kind.line_bytes())) {
        let check = checksum(kind, number, bytes);
        text.push_str(&format!(
            "{letter} {number:02} {} {}\n",
            grouped(&base32(bytes)),
            first(&check, 4)
        ));
        lines = number;
    }
    let check = checksum(kind, 0, message);
    text.push_str(&format!(
        "{letter} end {lines} {}\n",
        grouped(&first(&check, 8))
    ));
    text
}

/// Reads lines one after the other, so that each can be judged as soon as it is there.
#[derive(Debug)]
pub struct Reader {
    kind: Kind,
    message: Vec<u8>,
    lines: u32,
}

impl Reader {
    /// Nothing was read.
    #[must_use]
    pub const fn new(kind: Kind) -> Self {
        Self {
            kind,
            message: Vec::new(),
            lines: 0,
        }
    }

    /// The number of the next line.
    #[must_use]
    pub const fn next_line(&self) -> usize {
        self.lines as usize + 1
    }

    /// Reads one line. The message is there with the last one; a line that was refused can be given again. Empty lines
    /// are passed over.
    pub fn line(&mut self, text: &str) -> Result<Option<Vec<u8>>, TextError> {
        let line = self.next_line();
        let wrong = |problem| TextError::Line { line, problem };
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        if text.len() > MAX_LINE {
            return Err(wrong("it is longer than any"));
        }
        let rest = text
            .strip_prefix(self.kind.letter())
            .or_else(|| text.strip_prefix(self.kind.letter().to_ascii_uppercase()))
            .ok_or(wrong("it begins with another letter"))?
            .trim_start();
        let (number, rest) = rest
            .split_once(char::is_whitespace)
            .ok_or(wrong("it has no number, or nothing behind it"))?;
        if number.eq_ignore_ascii_case("end") {
            return self.end(rest).map(Some);
        }
        if number.parse() != Ok(line) {
            return Err(wrong(
                "another number than the next; it was left out or is there twice",
            ));
        }
        let symbols = symbols(rest).ok_or(wrong("a character that no line has"))?;
        let at = symbols.len().saturating_sub(4);
        let (data, check) = symbols.split_at_checked(at).unwrap_or_default();
        let bytes = bytes(data).ok_or(wrong("characters are missing, or there are too many"))?;
        let number = self.lines + 1;
        if bytes.is_empty() || symbols_of(&checksum(self.kind, number, &bytes), 4) != check {
            return Err(wrong(
                "its checksum does not fit; look for a typing error in it",
            ));
        }
        if self.message.len() + bytes.len() > MAX_BYTES {
            return Err(TextError::TooLong);
        }
        self.message.extend(bytes);
        self.lines = number;
        Ok(None)
    }

    fn end(&mut self, rest: &str) -> Result<Vec<u8>, TextError> {
        let (count, check) = rest
            .trim()
            .split_once(char::is_whitespace)
            .ok_or(TextError::Whole)?;
        let expected = symbols_of(&checksum(self.kind, 0, &self.message), 8);
        if count.parse() != Ok(self.lines) || symbols(check) != Some(expected) {
            return Err(TextError::Whole);
        }
        self.lines = 0;
        Ok(std::mem::take(&mut self.message))
    }
}

/// Reads a whole text. Lines before its first one and after its last one are passed over, and so is what a journal puts
/// before each line on a console (`[   12.345678] NAME[ID]: `).
pub fn decode(kind: Kind, text: &str) -> Result<Vec<u8>, TextError> {
    let mut reader = Reader::new(kind);
    let first = |line: &&str| {
        let mut words = line.split_whitespace();
        let letter = words
            .next()
            .is_some_and(|w| w.eq_ignore_ascii_case(&kind.letter().to_string()));
        letter && words.next().is_some_and(|w| w.parse() == Ok(1_u32))
    };
    let lines = text.lines().map(without_prefix);
    for line in lines.skip_while(|line| !first(line)) {
        if let Some(message) = reader.line(line)? {
            return Ok(message);
        }
    }
    Err(TextError::Unfinished {
        after: reader.next_line() - 1,
        letter: kind.letter(),
    })
}

fn without_prefix(line: &str) -> &str {
    line.rsplit_once("]: ").map_or(line, |(_, rest)| rest)
}

fn checksum(kind: Kind, number: u32, bytes: &[u8]) -> [u8; 32] {
    let letter = [u8::try_from(kind.letter()).unwrap_or_default()];
    Sha256::new()
        .chain_update(LABEL)
        .chain_update(letter)
        .chain_update(number.to_be_bytes())
        .chain_update(bytes)
        .finalize()
        .into()
}

fn symbols_of(bytes: &[u8], count: usize) -> Vec<u8> {
    let mut symbols = Vec::new();
    let (mut held, mut bits) = (0_u32, 0_u32);
    for byte in bytes {
        held = (held << 8) | u32::from(*byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            symbols.push(u8::try_from((held >> bits) & 31).unwrap_or_default());
        }
        held &= (1 << bits) - 1;
    }
    if bits > 0 {
        symbols.push(u8::try_from((held << (5 - bits)) & 31).unwrap_or_default());
    }
    symbols.truncate(count);
    symbols
}

fn written(symbols: &[u8]) -> String {
    let letters = symbols
        .iter()
        .filter_map(|symbol| ALPHABET.get(usize::from(*symbol)));
    letters.map(|letter| char::from(*letter)).collect()
}

fn base32(bytes: &[u8]) -> String {
    written(&symbols_of(bytes, usize::MAX))
}

fn first(bytes: &[u8], count: usize) -> String {
    written(&symbols_of(bytes, count))
}

fn grouped(text: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let groups: Vec<String> = letters
        .chunks(4)
        .map(|group| group.iter().collect())
        .collect();
    groups.join("-")
}

fn symbols(text: &str) -> Option<Vec<u8>> {
    let letters = text.chars().filter(|c| !c.is_whitespace() && *c != '-');
    letters
        .map(|c| {
            let c = match c.to_ascii_lowercase() {
                'o' => '0',
                'i' | 'l' => '1',
                c => c,
            };
            let at = ALPHABET.iter().position(|known| char::from(*known) == c)?;
            u8::try_from(at).ok()
        })
        .collect()
}

/// The bytes of whole symbols; `None` if the last symbol has bits that no byte has, or is one too many.
fn bytes(symbols: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut held, mut bits) = (0_u32, 0_u32);
    for symbol in symbols {
        held = (held << 5) | u32::from(*symbol);
        bits += 5;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from((held >> bits) & 255).ok()?);
            held &= (1 << bits) - 1;
        }
    }
    (held == 0 && bits < 5).then_some(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn message(length: u8) -> Vec<u8> {
        (0..length).map(|n| n.wrapping_mul(37)).collect()
    }

    #[test]
    fn every_length_reads_back_in_both_cases_and_without_dashes() {
        for length in 0..=241 {
            for kind in [Kind::Request, Kind::Grant] {
                let text = encode(kind, &message(length));
                if length == 0 {
                    continue;
                }
                assert_eq!(decode(kind, &text).unwrap(), message(length));
                let shouted = text.to_ascii_uppercase().replace('-', "");
                assert_eq!(decode(kind, &shouted).unwrap(), message(length));
                let framed = format!("On the console:\n\n{text}\nrest");
                assert_eq!(decode(kind, &framed).unwrap(), message(length));
                let lines = text.lines();
                let logged: String = lines
                    .map(|line| format!("[   12.345678] dawnkey-agent[210]: {line}\r\n"))
                    .collect();
                assert_eq!(decode(kind, &logged).unwrap(), message(length));
            }
        }
    }

    #[test]
    fn a_typing_error_is_found_in_its_line() {
        let text = encode(Kind::Grant, &message(237));
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in (1..).zip(&lines[..lines.len() - 1]) {
            for at in 5..line.len() {
                let old = line.as_bytes()[at];
                if old == b'-' || old == b' ' {
                    continue;
                }
                let new = if old == b'7' { '8' } else { '7' };
                let mut bent: Vec<String> = lines.iter().map(|l| (*l).to_owned()).collect();
                bent[number - 1].replace_range(at..=at, &new.to_string());
                let refused = decode(Kind::Grant, &bent.join("\n")).unwrap_err();
                assert!(
                    matches!(refused, TextError::Line { line, .. } if line == number),
                    "{refused}"
                );
            }
        }
    }

    #[test]
    fn refuses_lines_left_out_swapped_of_another_text_or_kind() {
        let text = encode(Kind::Grant, &message(60));
        let lines: Vec<&str> = text.lines().collect();
        let order = |order: &[usize]| {
            let picked: Vec<&str> = order.iter().map(|n| lines[*n]).collect();
            decode(Kind::Grant, &picked.join("\n"))
        };
        assert!(matches!(
            order(&[0, 2, 3, 4]),
            Err(TextError::Line { line: 2, .. })
        ));
        assert!(matches!(
            order(&[0, 1, 1]),
            Err(TextError::Line { line: 3, .. })
        ));
        assert_eq!(order(&[0, 1, 4]), Err(TextError::Whole));
        assert_eq!(
            order(&[0, 1]),
            Err(TextError::Unfinished {
                after: 2,
                letter: 'g'
            })
        );
        let other = encode(Kind::Grant, &message(61));
        let mixed = [
            lines[0],
            lines[1],
            lines[2],
            lines[3],
            other.lines().last().unwrap(),
        ];
        assert_eq!(
            decode(Kind::Grant, &mixed.join("\n")),
            Err(TextError::Whole)
        );
        assert!(decode(Kind::Request, &text).is_err());
    }
}
