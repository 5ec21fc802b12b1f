//! Results on standard output: aligned text for people, one JSON document for machines.

use crate::outcome::Failure;
use serde::Serialize;
use std::io::{ErrorKind, Write};

/// Where results go and in which form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    /// Text, or JSON with `--json`.
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether machines read it.
    pub(crate) const fn is_json(self) -> bool {
        self.json
    }

    /// Prints one result: `value` as JSON, or the text made for people.
    pub(crate) fn show<T: Serialize>(
        self,
        value: &T,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        let mut out = if self.json {
            let text = serde_json::to_string_pretty(value);
            escaped(&text.map_err(|e| broken(&std::io::Error::other(e)))?)
        } else {
            printable(&text())
        };
        if !out.ends_with('\n') {
            out.push('\n');
        }
        raw(out.as_bytes())
    }
}

/// Whether a terminal may obey a character, or show others elsewhere because of it.
pub(crate) fn is_unsafe(c: char) -> bool {
    let turns = matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns
}

/// Text without such characters, whoever sent it; its lines and columns are ours.
pub(crate) fn printable(text: &str) -> String {
    text.replace(|c| c != '\n' && c != '\t' && is_unsafe(c), "\u{fffd}")
}

/// JSON whose strings hold no such character: the writer escapes those below U+0020 only.
fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            c if c != '\n' && is_unsafe(c) => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

/// Prints bytes as they are. A reader that has gone away (`| head`) is no failure.
pub(crate) fn raw(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => Err(broken(&e)),
        _ => Ok(()),
    }
}

fn broken(error: &std::io::Error) -> Failure {
    Failure::local(
        format!("print the result: {error}"),
        "standard output",
        "an open file or terminal with space left",
    )
}

/// Says something beside the result, on standard error, so that `--json` stays one document.
pub(crate) fn note(text: &str) {
    // A closed standard error takes no notes and stops nothing.
    let _ = writeln!(std::io::stderr(), "{}", printable(text));
}

/// Columns under headings, two spaces apart, no space at line ends.
pub(crate) fn table<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let mut widths = head.map(|h| h.chars().count());
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = line(widths, head.iter().copied());
    for row in rows {
        out.push_str(&line(widths, row.iter().map(String::as_str)));
    }
    out
}

fn line<'a, const N: usize>(widths: [usize; N], cells: impl Iterator<Item = &'a str>) -> String {
    let mut out = String::new();
    for (width, cell) in widths.into_iter().zip(cells) {
        out.push_str(&format!("{cell:width$}  "));
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

/// Names and values, one pair per line, values aligned; pairs without a value show `-`.
pub(crate) fn fields(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    pairs
        .iter()
        .map(|(name, value)| {
            let value = if value.is_empty() { "-" } else { value };
            format!("{name:width$}  {value}\n")
        })
        .collect()
}

/// A cell for a value that may be absent.
pub(crate) fn dash(value: &str) -> String {
    if value.is_empty() { "-" } else { value }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned_and_has_no_trailing_space() {
        let rows = [
            ["a".to_owned(), "long cell".to_owned()],
            ["bbb".to_owned(), String::new()],
        ];
        assert_eq!(
            table(["ID", "STATE"], &rows),
            "ID   STATE\na    long cell\nbbb\n"
        );
    }

    #[test]
    fn json_keeps_its_strings_and_holds_nothing_that_a_terminal_obeys() {
        let hostile = "a\u{1b}[2J\u{9b}31m\u{202e}\u{7f}\nz";
        let text = escaped(&serde_json::to_string_pretty(&[hostile]).unwrap());
        assert!(text.chars().all(|c| c == '\n' || !is_unsafe(c)), "{text:?}");
        let back: Vec<String> = serde_json::from_str(&text).unwrap();
        assert_eq!(back, [hostile]);
    }

    #[test]
    fn text_for_people_holds_nothing_that_a_terminal_obeys_and_keeps_its_shape() {
        let hostile = "a\u{1b}[2J\t\u{61c}b\u{202e}\r\nz\u{2067}";
        assert_eq!(
            printable(hostile),
            "a\u{fffd}[2J\t\u{fffd}b\u{fffd}\u{fffd}\nz\u{fffd}"
        );
    }

    #[test]
    fn fields_are_aligned_and_absent_values_show_a_dash() {
        let text = fields(&[("id", "7".to_owned()), ("label", String::new())]);
        assert_eq!(text, "id     7\nlabel  -\n");
    }
}
