//! Every dependency says in the root manifest what it is for.

/// Findings for lines of `[workspace.dependencies]` without a reason. Our own crates need none.
pub fn check(manifest: &str) -> Vec<String> {
    let mut inside = false;
    let mut findings = Vec::new();
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') && line.ends_with(']') {
            inside = line == "[workspace.dependencies]";
            continue;
        }
        let Some((name, rest)) = line.split_once('=') else {
            continue;
        };
        if !inside || line.starts_with('#') || rest.contains("path =") {
            continue;
        }
        let reason = rest
            .rsplit_once('#')
            .map_or("", |(_, reason)| reason.trim());
        if reason.len() < 5 {
            findings.push(format!(
                "Cargo.toml: dependency {} has no reason: end its line with `# why`",
                name.trim()
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_dependency_without_a_reason() {
        let manifest = "[workspace.dependencies]\nours = { path = \"x\" }\n# group\nserde = \"1\" # typed files\nhex = \"0.4\"\n\n[profile.dev]\ndebug = 1\n";
        assert_eq!(
            check(manifest),
            ["Cargo.toml: dependency hex has no reason: end its line with `# why`"]
        );
    }
}
