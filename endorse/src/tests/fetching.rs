//! Evidence, then store, then vendor.

use super::*;
use crate::vendor::FetchError;
use tokio::time::Instant;

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

#[tokio::test(start_paused = true)]
async fn evidence_goes_before_the_store_and_the_store_before_the_vendor() {
    let world = World::new();
    let brought = snp(true);
    let collateral = world.endorsements.collateral_for(&brought).await;
    assert_eq!(judge(&brought, &collateral), Ok(()));
    assert_eq!(
        world.vendor.asked(),
        [AMD_CRL_PATH],
        "the certificate was there"
    );

    let bare = snp(false);
    let collateral = world.endorsements.collateral_for(&bare).await;
    assert_eq!(judge(&bare, &collateral), Ok(()));
    assert_eq!(
        world.vendor.asked()[1..],
        [vcek_path()],
        "the list was in the store"
    );

    world.vendor.forget();
    let collateral = world.restarted().collateral_for(&bare).await;
    assert_eq!(judge(&bare, &collateral), Ok(()));
    assert!(world.vendor.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_td_quote_gets_all_four_statements() {
    let world = World::new();
    let evidence = tdx(None);
    let collateral = world.endorsements.collateral_for(&evidence).await;
    assert_eq!(judge(&evidence, &collateral), Ok(()));
    let mut asked = world.vendor.asked();
    asked.sort();
    assert_eq!(
        asked,
        [ROOT_CRL_PATH, PCK_CRL_PATH, QE_PATH, tcb_path().as_str()]
    );
    world.vendor.set_down(true);
    let collateral = world.restarted().collateral_for(&evidence).await;
    assert_eq!(judge(&evidence, &collateral), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn what_a_node_brought_serves_while_the_vendor_is_down_and_never_enters_the_store() {
    let world = World::new();
    world.vendor.set_down(true);
    let evidence = tdx(Some(INTEL.collateral(&Spec::default())));
    let collateral = world.endorsements.collateral_for(&evidence).await;
    assert_eq!(collateral.tdx.len(), 1);
    assert_eq!(judge(&evidence, &collateral), Ok(()));
    assert!(!world.has(&fmspc()));
}

#[tokio::test(start_paused = true)]
async fn of_a_node_and_the_store_the_newer_statement_counts() {
    let world = World::new();
    let older = Spec::default();
    let newer = Spec {
        evaluation_number: older.evaluation_number + 1,
        ..Spec::default()
    };
    let own = checked_tcb(&newer);
    world.endorsements.store().put(&own, now()).unwrap();
    let evidence = tdx(Some(INTEL.collateral(&older)));
    let stale = world.endorsements.collateral_for(&evidence).await;
    let text = answer::parse(&own.document)
        .unwrap()
        .text
        .as_bytes()
        .to_vec();
    assert_eq!(stale.tdx[0].tcb_info, text, "a node cannot go back");

    let newest = Spec {
        evaluation_number: older.evaluation_number + 2,
        ..Spec::default()
    };
    let brought = INTEL.collateral(&newest);
    let fresh = world
        .endorsements
        .collateral_for(&tdx(Some(brought.clone())))
        .await;
    assert_eq!(fresh.tdx[0].tcb_info, brought.tcb_info);
}

#[tokio::test(start_paused = true)]
async fn a_forged_quote_sends_nobody_to_the_vendor() {
    let world = World::new();
    let Evidence::Tdx(mut tdx) = tdx(None) else {
        unreachable!()
    };
    tdx.quote[600] ^= 1;
    let collateral = world.endorsements.collateral_for(&Evidence::Tdx(tdx)).await;
    assert!(collateral.tdx.is_empty());
    assert!(world.vendor.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn many_who_need_the_same_make_one_fetch() {
    let world = World::new();
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let endorsements = Arc::clone(&world.endorsements);
            tokio::spawn(async move {
                let evidence = snp(false);
                judge(&evidence, &endorsements.collateral_for(&evidence).await)
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap(), Ok(()));
    }
    assert_eq!(world.vendor.asked().len(), 2, "{:?}", world.vendor.asked());
}

#[tokio::test(start_paused = true)]
async fn a_vendor_that_says_when_to_come_back_is_left_alone_until_then() {
    let world = World::new();
    let busy = Canned::status(429, "slow down").with("retry-after", "120");
    world.vendor.answer(AMD_CRL_PATH, busy);
    let item = Item::VcekCrl(Product::Milan);
    let begun = Instant::now();
    let refused = world.endorsements.fetch(&item, begun).await;
    assert!(
        matches!(refused, Err(FetchError::Busy { status: 429, .. })),
        "{refused:?}"
    );
    let paused = world.endorsements.fetch(&vcek_item(), begun).await;
    assert!(
        matches!(paused, Err(FetchError::Paused { wait, .. }) if wait.as_secs() >= 119),
        "the host, not only the item: {paused:?}"
    );
    assert_eq!(world.vendor.asked().len(), 1);
    assert!(
        world
            .endorsements
            .metrics()
            .contains("pause_seconds{host=\"kdsintf.amd.com\"} 1")
    );
    world.publish(&Spec::default());
    let fetched = world
        .endorsements
        .fetch(&item, begun + Duration::from_secs(300))
        .await;
    assert!(fetched.is_ok(), "{fetched:?}");
    assert!(
        begun.elapsed() >= Duration::from_secs(120),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(world.vendor.asked().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_silent_vendor_holds_no_judgement_up() {
    let world = World::new();
    world.vendor.set_silent(true);
    let begun = Instant::now();
    let evidence = snp(true);
    let collateral = world.endorsements.collateral_for(&evidence).await;
    assert!(collateral.snp_crls.is_empty());
    assert!(
        begun.elapsed() <= Duration::from_secs(5),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_was_tampered_with_is_refused_and_not_kept() {
    let world = World::new();
    let mut der = VCEK.der.clone();
    *der.last_mut().unwrap() ^= 1;
    world.vendor.answer(vcek_path(), Canned::ok(der));
    let refused = world.endorsements.fetch(&vcek_item(), soon()).await;
    assert!(
        matches!(refused, Err(FetchError::Answer { .. })),
        "{refused:?}"
    );

    let collateral = INTEL.collateral(&Spec::default());
    let text = String::from_utf8(tcb_answer(&collateral)).unwrap();
    let text = text.replace("UpToDate", "Revoked ");
    let chain = header_of_chain(&collateral.tcb_info_issuer_chain);
    let canned = Canned::ok(text).with("tcb-info-issuer-chain", chain);
    world.vendor.answer(tcb_path(), canned);
    let refused = world.endorsements.fetch(&fmspc(), soon()).await;
    assert!(
        matches!(refused, Err(FetchError::Answer { .. })),
        "{refused:?}"
    );

    let other = MockIntel::new().collateral(&Spec::default());
    world
        .vendor
        .answer(ROOT_CRL_PATH, Canned::ok(other.root_ca_crl));
    let refused = world.endorsements.fetch(&Item::RootCrl, soon()).await;
    assert!(
        matches!(refused, Err(FetchError::Answer { .. })),
        "{refused:?}"
    );
    assert!(world.endorsements.store().files(now()).unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_genuine_answer_about_something_else_is_refused() {
    let world = World::new();
    let mut spec = vek_spec();
    spec.hwid[0] ^= 1;
    let other = AMD.issue(&spec);
    world.vendor.answer(vcek_path(), Canned::ok(other.der));
    let refused = world.endorsements.fetch(&vcek_item(), soon()).await;
    assert!(
        matches!(refused, Err(FetchError::Other { .. })),
        "{refused:?}"
    );
    assert!(world.endorsements.store().files(now()).unwrap().is_empty());
    world.publish(&Spec::default());
    let again = world.endorsements.fetch(&vcek_item(), Instant::now()).await;
    assert!(matches!(again, Err(FetchError::Paused { .. })), "{again:?}");
}

#[tokio::test(start_paused = true)]
async fn an_oversized_answer_is_refused() {
    let world = World::new();
    world
        .vendor
        .answer(vcek_path(), Canned::ok(vec![0x30; (1 << 20) + 1]));
    let refused = world.endorsements.fetch(&vcek_item(), Instant::now()).await;
    let Err(FetchError::Http { source, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert!(
        matches!(source, crate::http::HttpError::TooLarge { .. }),
        "{source:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_older_answer_does_not_replace_what_the_store_has() {
    let world = World::new();
    let newer = Spec {
        evaluation_number: 21,
        ..Spec::default()
    };
    world
        .endorsements
        .store()
        .put(&checked_tcb(&newer), now())
        .unwrap();
    let refused = world.endorsements.fetch(&fmspc(), soon()).await;
    assert!(matches!(refused, Err(FetchError::Older(_))), "{refused:?}");
    let kept = world
        .endorsements
        .store()
        .get(&fmspc(), now())
        .unwrap()
        .unwrap();
    assert_eq!(kept.number, 21);
}

#[tokio::test(start_paused = true)]
async fn offline_nobody_is_asked() {
    let directory = tempfile::tempdir().unwrap();
    let settings = Settings {
        path: directory.path().to_owned(),
        online: None,
        refresh: Duration::from_secs(3600),
    };
    let clock: Clock = Arc::new(|| Spec::default().now);
    let endorsements = Endorsements::open(&settings, trust(), clock).unwrap();
    let evidence = snp(false);
    let collateral = endorsements.collateral_for(&evidence).await;
    assert!(collateral.snp_certificates.is_empty());
    let refused = endorsements.fetch(&vcek_item(), soon()).await;
    assert!(
        matches!(refused, Err(FetchError::Offline { .. })),
        "{refused:?}"
    );
    let missing = "dawnkey_endorsements_missing_total{class=\"amd-vcek\"} 1";
    assert!(
        endorsements.metrics().contains(missing),
        "{}",
        endorsements.metrics()
    );
}

#[tokio::test(start_paused = true)]
async fn a_report_that_names_no_product_line_is_looked_up_in_each_that_it_may_be_of() {
    let world = World::new();
    let mut report = ReportSpec::new(&Product::Milan, VekKind::Vcek);
    report.version = 2;
    report.report_data = REPORT_DATA;
    let evidence = Evidence::Snp(Box::new(SnpEvidence {
        report: report.sign(&VCEK),
        certificates: Vec::new(),
    }));
    let collateral = world.endorsements.collateral_for(&evidence).await;
    assert_eq!(judge(&evidence, &collateral), Ok(()));
    let genoa = world
        .vendor
        .asked()
        .into_iter()
        .filter(|path| path.contains("Genoa"));
    assert_eq!(genoa.count(), 2, "{:?}", world.vendor.asked());
    world.vendor.forget();
    let again = world.restarted().collateral_for(&evidence).await;
    assert_eq!(judge(&evidence, &again), Ok(()));
    assert!(
        world.vendor.asked().is_empty(),
        "the certificate tells the line"
    );
}
