//! Keeping the store fresh, and saying in time what will end.

use super::*;

fn lines(endorsements: &Endorsements, start: &str) -> Vec<String> {
    let text = endorsements.metrics();
    let lines = text.lines().filter(|line| line.starts_with(start));
    lines.map(str::to_owned).collect()
}

#[tokio::test(start_paused = true)]
async fn an_end_is_told_ahead_of_time() {
    let world = World::new();
    let e = &world.endorsements;
    e.collateral_for(&snp(false)).await;
    e.collateral_for(&tdx(None)).await;
    e.survey().await;
    assert_eq!(e.warnings(), Vec::<String>::new());
    let crl = "dawnkey_endorsement_expiry_seconds{class=\"amd-crl\"}";
    assert_eq!(lines(e, crl), [format!("{crl} {}", 30 * DAY)]);

    world.pass(25 * DAY);
    assert_eq!(lines(e, crl), [format!("{crl} {}", 5 * DAY)]);
    let warnings = e.warnings();
    assert!(
        warnings
            .iter()
            .any(|text| text.contains("VCEK revocation list of Milan ends")
                && text.contains("in 5 days")),
        "{warnings:?}"
    );
    world.pass(6 * DAY);
    assert_eq!(lines(e, crl), [format!("{crl} -{DAY}")]);
    let expired = "dawnkey_endorsements{class=\"intel-tcb-info\",state=\"expired\"}";
    assert_eq!(lines(e, expired), [format!("{expired} 1")]);
    assert!(
        e.warnings()
            .iter()
            .any(|text| text.contains("TCB info of FMSPC") && text.contains("ended"))
    );
}

#[tokio::test(start_paused = true)]
async fn an_expired_list_is_fetched_before_the_judgement_and_serves_none_if_it_cannot_be() {
    let world = World::new();
    let e = &world.endorsements;
    e.collateral_for(&snp(false)).await;
    world.vendor.forget();
    world.pass(31 * DAY);
    world.vendor.set_down(true);
    let evidence = snp(false);
    let collateral = e.collateral_for(&evidence).await;
    let later = UnixTime::since_unix_epoch(Duration::from_secs(now() + 31 * DAY));
    let binder = Binder::Exchange(Exchange(REPORT_DATA));
    let refused = verify(&evidence, &binder, &roots(), &collateral, later).unwrap_err();
    assert_eq!(refused.reason_class(), "crl_expired");

    world.vendor.set_down(false);
    let list = amd_crl(now() + 30 * DAY, now() + 60 * DAY);
    world.vendor.answer(AMD_CRL_PATH, Canned::ok(list));
    tokio::time::advance(Duration::from_secs(60)).await;
    let collateral = e.collateral_for(&evidence).await;
    let verified = verify(&evidence, &binder, &roots(), &collateral, later);
    assert!(verified.is_ok(), "{:?}", verified.err());
}

#[tokio::test(start_paused = true)]
async fn dated_items_are_fetched_again_long_before_they_end() {
    let world = World::new();
    world.endorsements.collateral_for(&tdx(None)).await;
    let keeping = tokio::spawn(Arc::clone(&world.endorsements).keep_fresh());
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let newer = Spec {
        evaluation_number: 22,
        ..Spec::default()
    };
    world.publish(&newer);
    world.vendor.forget();
    tokio::time::sleep(Duration::from_secs(24 * 3600)).await;
    let kept = world
        .endorsements
        .store()
        .get(&fmspc(), now())
        .unwrap()
        .unwrap();
    assert_eq!(kept.number, 22);
    let asked = world.vendor.asked().len();
    assert!(
        (4..=16).contains(&asked),
        "four items, each twice or so: {asked}"
    );
    keeping.abort();
}

#[tokio::test(start_paused = true)]
async fn a_vendor_that_is_down_is_tried_ever_more_rarely_and_then_caught_up_with() {
    let world = World::new();
    world.endorsements.collateral_for(&tdx(None)).await;
    world.vendor.set_down(true);
    let keeping = tokio::spawn(Arc::clone(&world.endorsements).keep_fresh());
    tokio::time::sleep(Duration::from_secs(6 * 3600)).await;
    let text = world.endorsements.metrics();
    let tried: u64 = text
        .lines()
        .filter(|line| line.contains("outcome=\"unreachable\""))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum();
    // Two hosts, at most one attempt in five minutes each once the pause is at its longest.
    assert!((10..=200).contains(&tried), "{tried}");
    world.vendor.set_down(false);
    world.publish(&Spec {
        evaluation_number: 22,
        ..Spec::default()
    });
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let kept = world
        .endorsements
        .store()
        .get(&fmspc(), now())
        .unwrap()
        .unwrap();
    assert_eq!(kept.number, 22);
    keeping.abort();
}
