//! An SNP guest's whole way over TLS to a real key service, under a policy for TEEs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

use dawnkey_agent::unlock::Outcome;
use dawnkey_host_tests::storm;
use dawnkey_host_tests::world::World;
use dawnkey_host_tests::world::guest::{Guest, Host};
use dawnkey_proto::message::Reason;

async fn scene() -> (World, Guest) {
    let host = Host::new();
    let world =
        World::with_policy(&storm::policy(), &[("amd.pem", host.roots().into_bytes())]).await;
    (world, Guest::new(host))
}

#[tokio::test(flavor = "multi_thread")]
async fn snp_guest_provisions_unlocks_at_each_launch_and_gets_no_second_key_in_one() {
    let (world, mut guest) = scene().await;
    let done = guest.unlock(&world).await.unwrap();
    assert_eq!(done.outcome, Outcome::Provisioned);
    let refusal = guest.refused(&world).await;
    assert_eq!(refusal.reason, Reason::BootClosed);
    for generation in 2..4 {
        guest.launch();
        let done = guest.unlock(&world).await.unwrap();
        assert_eq!(done.outcome, Outcome::Unlocked);
        assert_eq!(done.mapping.seen.generation, generation);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refuses_debug_guests_other_images_and_older_firmware() {
    let (world, mut guest) = scene().await;
    guest.unlock(&world).await.unwrap();
    guest.launch();
    guest.bend = |report| report.policy |= 1 << 19;
    assert_eq!(guest.refused(&world).await.reason, Reason::GuestNotAllowed);
    guest.bend = |report| report.measurement[0] ^= 1;
    assert_eq!(guest.refused(&world).await.reason, Reason::ImageUnknown);
    guest.bend = |report| report.launch_tcb[6] = 23;
    assert_eq!(guest.refused(&world).await.reason, Reason::TcbTooOld);
    guest.bend = |report| report.report_data[0] ^= 1;
    assert_eq!(guest.refused(&world).await.reason, Reason::BinderMismatch);
    guest.bend = |_| ();
    guest.unlock(&world).await.unwrap();
}
