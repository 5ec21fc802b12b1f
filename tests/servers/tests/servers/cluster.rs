//! The `cluster` provider: no server, the same suite.

use dawnkey_kek::cluster::Cluster;
use dawnkey_secret::MasterSecret;
use dawnkey_server_tests::conformance::{self, Case, Fixture, Later, Situation};
use std::sync::Arc;

struct InMemory;

fn provider(byte: u8) -> Case {
    let master = MasterSecret::take(&mut [byte; 32]).unwrap();
    Case::Provider(Arc::new(Cluster::new("cluster", master, [7; 32])))
}

impl Fixture for InMemory {
    fn name(&self) -> String {
        "cluster, in memory".into()
    }

    fn situation(&mut self, situation: Situation) -> Later<'_, Case> {
        Box::pin(async move {
            match situation {
                Situation::Plain => provider(1),
                Situation::OtherKey => provider(2),
                _ => Case::NotApplicable("there is no server"),
            }
        })
    }
}

#[tokio::test]
async fn keeps_the_contract_of_providers() {
    conformance::run(&mut InMemory).await;
}
