//! A page for people: sections of names and values, with nothing in it that a terminal obeys.

use crate::output::{fields, is_unsafe};
use jiff::Timestamp;

/// A name and what is said of it.
pub(super) type Row = (&'static str, String);

/// Sections under a heading.
#[derive(Default)]
pub(super) struct Page {
    text: String,
}

impl Page {
    /// A page that begins with these lines.
    pub(super) fn new(heading: &[String]) -> Self {
        let mut page = Self::default();
        for line in heading {
            page.line(line);
        }
        page
    }

    /// One line, made printable.
    pub(super) fn line(&mut self, text: &str) {
        self.text.push_str(&safe(text));
        self.text.push('\n');
    }

    /// A section with where its values come from. Rows without a value are left out.
    pub(super) fn section(&mut self, title: &str, source: Option<&str>, rows: Vec<Row>) {
        let named = rows.into_iter().filter(|(_, value)| !value.is_empty());
        let rows = named.map(|(name, value)| (name.to_owned(), value));
        self.table(title, source, rows.collect());
    }

    /// As [`Page::section`], with names that are found out.
    pub(super) fn table(&mut self, title: &str, source: Option<&str>, rows: Vec<(String, String)>) {
        if rows.is_empty() {
            return;
        }
        self.text.push('\n');
        self.line(title);
        if let Some(source) = source {
            self.line(&format!("  from: {source}"));
        }
        let pairs: Vec<(&str, String)> = rows
            .iter()
            .map(|(name, value)| (name.as_str(), safe(value)))
            .collect();
        for line in fields(&pairs).lines() {
            self.text.push_str("  ");
            self.text.push_str(line);
            self.text.push('\n');
        }
    }

    /// The whole text.
    pub(super) fn into_text(self) -> String {
        self.text
    }
}

/// Longest line, characters: an event's text can be long.
const MAX_LINE: usize = 512;

/// Text with nothing in it that a terminal obeys, cut to a line's length.
fn safe(text: &str) -> String {
    let shown = text.chars().map(|c| if is_unsafe(c) { ' ' } else { c });
    shown.take(MAX_LINE).collect()
}

/// A span of validity with the days that are left of it.
pub(super) fn validity(from: &str, until: &str, now: Timestamp) -> String {
    let left = match until.parse::<Timestamp>() {
        Ok(end) if end < now => format!("ENDED {} days ago", days(now, end)),
        Ok(end) => format!("{} days left", days(end, now)),
        Err(_) => "date not readable".to_owned(),
    };
    let early = from.parse::<Timestamp>().is_ok_and(|begin| now < begin);
    let early = if early { ", NOT YET VALID" } else { "" };
    format!("{from} to {until} ({left}{early})")
}

fn days(later: Timestamp, earlier: Timestamp) -> i64 {
    later.duration_since(earlier).as_hours() / 24
}

/// Bytes in hex, or nothing where all are zero.
pub(super) fn unless_zero(hex: &str) -> String {
    if hex.bytes().all(|digit| digit == b'0') {
        String::new()
    } else {
        hex.to_owned()
    }
}

/// Names of what is set, or `none`.
pub(super) fn set(flags: &[(bool, &str)]) -> String {
    let names: Vec<&str> = flags
        .iter()
        .filter(|(on, _)| *on)
        .map(|(_, name)| *name)
        .collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_obeys_reaches_a_page() {
        let mut page = Page::new(&["head\u{1b}[2J".to_owned()]);
        page.section(
            "a\u{7}b",
            Some("c\rd"),
            vec![("name", "v\u{9b}31m\n\u{202e}x".to_owned())],
        );
        let text = page.into_text();
        assert!(text.chars().all(|c| c == '\n' || !is_unsafe(c)), "{text:?}");
        assert_eq!(text.lines().count(), 5, "{text}");
    }

    #[test]
    fn validity_tells_days_left_ended_and_not_yet() {
        let now = "2026-11-22T00:00:00Z".parse().unwrap();
        let span = |from: &str, until: &str| validity(from, until, now);
        let (old, soon) = ("2026-11-01T00:00:00Z", "2026-12-02T00:00:00Z");
        assert!(span(old, soon).ends_with("(10 days left)"));
        assert!(span(old, "2026-11-12T00:00:00Z").ends_with("(ENDED 10 days ago)"));
        assert!(span(soon, "2026-12-22T00:00:00Z").ends_with("(30 days left, NOT YET VALID)"));
    }
}
