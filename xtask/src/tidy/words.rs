//! Traces of one machine, and work that was left lying.

use super::Source;

/// Beginnings of absolute paths that exist on somebody's machine only. Written in two parts, so that
/// this file does not find itself.
const PLACES: &[(&str, &str)] = &[
    ("/ho", "me/"),
    ("/ro", "ot/"),
    ("/wo", "rk/"),
    ("/tm", "p/w/"),
    ("/Us", "ers/"),
];
/// Marks of unfinished work.
const LEFTOVERS: &[(&str, &str)] = &[
    ("TO", "DO"),
    ("FIX", "ME"),
    ("XX", "X:"),
    ("todo", "!("),
    ("unimplemented", "!("),
];

/// Findings for lines with such a word.
pub fn check(sources: &[Source]) -> Vec<String> {
    let words = |list: &[(&str, &str)]| {
        list.iter()
            .map(|(a, b)| format!("{a}{b}"))
            .collect::<Vec<_>>()
    };
    let (places, leftovers) = (words(PLACES), words(LEFTOVERS));
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.path != "Cargo.lock") {
        for (index, line) in source.text.lines().enumerate() {
            let place = format!("{}:{}", source.path, index + 1);
            if let Some(word) = places.iter().find(|word| starts_a_path(line, word)) {
                findings.push(format!("{place}: `{word}` is a place on one machine"));
            }
            if let Some(word) = leftovers.iter().find(|word| line.contains(word.as_str())) {
                findings.push(format!(
                    "{place}: `{word}` marks unfinished work: finish it or describe the limit"
                ));
            }
        }
    }
    findings
}

/// Whether the word begins a path there, not in the middle of a longer one.
fn starts_a_path(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line.get(..at).and_then(|before| before.chars().next_back());
        !before.is_some_and(|c| c.is_alphanumeric() || "._-/}$~".contains(c))
    })
}

#[cfg(test)]
mod tests {
    use super::super::source;
    use super::*;

    #[test]
    fn refuses_a_path_of_one_machine() {
        let found = check(&[source("a.rs", &format!("read(\"/ho{}x\")", "me/"))]);
        assert_eq!(found.len(), 1);
        assert_eq!(
            check(&[source("a.rs", "read(\"$XDG/work/home/x\")")]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn refuses_unfinished_work() {
        let found = check(&[source("a.rs", &format!("// TO{} later", "DO"))]);
        assert_eq!(found.len(), 1);
    }
}
