//! What evidence needs to be judged, beside what it brings.

use super::Desk;
use crate::evidence::Presented;
use dawnkey_attest::verify::Collateral;
use std::sync::Arc;

impl Desk {
    /// What is at hand to judge evidence with; takes a few seconds at most.
    pub(super) async fn collateral(&self, presented: &Presented) -> Collateral {
        let mut collateral = match (&self.endorsements, presented.evidence()) {
            (Some(endorsements), Some(evidence)) => endorsements.collateral_for(evidence).await,
            _ => Collateral::default(),
        };
        collateral.cache = Arc::clone(&self.verified);
        collateral
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::super::testing::{Node, World, now};
    use super::*;
    use crate::policy::testing::mock::amd;
    use crate::policy::testing::tee_file;
    use dawnkey_attest::evidence::{Evidence, SnpEvidence};
    use dawnkey_attest::snp::fake::{Authority, MockVek, ReportSpec, VekSpec};
    use dawnkey_attest::snp::vek::VekKind;
    use dawnkey_endorse::exchange::import;
    use dawnkey_endorse::{Endorsements, Settings, Trust};
    use dawnkey_proto::message::{Answer, Ask};
    use std::path::PathBuf;
    use std::time::Duration;

    /// A guest whose host hands out no certificates.
    fn bare(vcek: &Arc<MockVek>) -> Node {
        let (mut node, vcek) = (Node::new(1), Arc::clone(vcek));
        node.attester = Some(Box::new(move |exchange| {
            let mut report = ReportSpec::new(amd().product(), VekKind::Vcek);
            report.report_data = *exchange;
            Evidence::Snp(Box::new(SnpEvidence {
                report: report.sign(&vcek),
                certificates: Vec::new(),
            }))
        }));
        node
    }

    #[tokio::test]
    async fn a_report_without_certificates_is_judged_with_those_of_the_store() {
        let vcek = Arc::new(amd().issue(&VekSpec::new(VekKind::Vcek, amd().product())));
        let issued = u64::try_from(now().as_second()).unwrap() - 3600;
        let list = amd().crl(Authority::Ark, &[], (issued, issued + 86_400));
        let world = World::new(&tee_file()).await;
        let Answer::Refuse(refusal) = bare(&vcek).ask(&world, Ask::Provision).await else {
            panic!("judged without a certificate");
        };
        assert!(
            refusal.detail.contains("no endorsement"),
            "{}",
            refusal.detail
        );

        let scratch = tempfile::tempdir().unwrap();
        let settings = Settings {
            path: scratch.path().to_owned(),
            online: None,
            refresh: Duration::from_secs(3600),
        };
        let trust = Trust::from(&world.desk.policy().roots);
        let endorsements = Endorsements::open(&settings, trust, Arc::new(now)).unwrap();
        let files: Vec<_> = [vcek.der.clone(), list]
            .into_iter()
            .map(|bytes| (PathBuf::from("file"), bytes))
            .collect();
        let imported = import(endorsements.store(), &files, endorsements.now()).unwrap();
        assert!(
            imported.iter().all(|one| one.outcome.is_ok()),
            "{imported:?}"
        );
        let world = world.with_endorsements(endorsements);
        let answer = bare(&vcek).ask(&world, Ask::Provision).await;
        assert!(matches!(answer, Answer::Provision(_)), "{answer:?}");
    }
}
