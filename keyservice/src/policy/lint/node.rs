//! Nodes.

use super::{Findings, Severity};
use crate::policy::Policy;

pub(super) fn check(policy: &Policy, all: &mut Findings) {
    for (name, node) in &policy.nodes {
        let mut wanted = policy
            .volume_policies
            .values()
            .flat_map(|rules| &rules.nodes);
        if node.volumes.is_empty() && !wanted.any(|wanted| wanted.names(node)) {
            all.add(
                Severity::Note,
                format!("node.{name}"),
                "no volume policy names it or one of its labels, and it lists no volumes: it has no effect",
                "name it in `nodes` of a volume policy, or remove it",
            );
        }
        if !node.subjects.is_empty() {
            all.add(
                Severity::Note,
                format!("node.{name}.ek_subject"),
                "a subject is what the TPM's maker wrote; makers may give several TPMs the same",
                "ek_sha256, which names one TPM",
            );
        }
    }
}
