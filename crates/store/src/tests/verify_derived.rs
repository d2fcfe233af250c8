//! The check of what stands beside the log: the tail ring and the key index.

use crate::testing::{append, append_keyed, append_waiting, body, open, settings, world};
use crate::verify::verify;
use crate::{FindingKind, FlushMode, VerifyReport};
use sim::{Crash, Host};
use std::path::Path;

const RING: &str = "/store/shard-000/tail-ring";

fn check(host: &Host) -> VerifyReport {
    let copy = super::verify::Copy::of(host);
    verify(&copy, Path::new("/store"), &mut |_| {}).unwrap()
}

fn kinds(report: &VerifyReport) -> Vec<FindingKind> {
    report.findings.iter().map(|finding| finding.kind).collect()
}

#[test]
fn what_only_the_ring_holds_is_counted_and_a_ring_that_is_damaged_then_is_a_loss() {
    let (_world, host) = world(1);
    let (store, _) = open(&host, settings(FlushMode::Async));
    for number in 0..5 {
        append(&store, "T", &body(number, 100)).unwrap();
    }
    drop(store);
    host.crash(Crash::Kill);
    let report = check(&host);
    assert!(report.is_sound(), "{:?}", report.findings);
    assert_eq!(report.shards[0].ring_records, 5);
    assert!(host.rot(Path::new(RING), 9, 1));
    let report = check(&host);
    assert_eq!(kinds(&report), [FindingKind::TailRing]);
    assert!(report.findings[0].kind.loses_messages());
}

#[test]
fn a_ring_of_a_store_that_was_closed_holds_nothing_that_counts() {
    let (_world, host) = world(2);
    let (store, _) = open(&host, settings(FlushMode::Async));
    host.block_on(0, |_| async move {
        append_waiting(&store, "T", &body(1, 100)).await;
        store.close().await.unwrap();
    });
    host.crash(Crash::Power);
    assert_eq!(check(&host).shards[0].ring_records, 0);
    assert!(host.rot(Path::new(RING), 9, 1));
    let report = check(&host);
    assert!(report.is_sound(), "{:?}", report.findings);
}

#[test]
fn every_page_of_the_key_index_is_checked() {
    let (_world, host) = world(3);
    let (store, _) = open(&host, settings(FlushMode::Sync));
    host.block_on(0, |_| async move {
        for number in 0..900_u64 {
            append_keyed(&store, number, 30).await;
        }
        store.close().await.unwrap();
    });
    host.crash(Crash::Power);
    let report = check(&host);
    assert!(report.is_sound(), "{:?}", report.findings);
    let pages = report.shards[0].key_pages;
    assert!(pages >= 6, "{pages}");
    let runs: Vec<_> = host
        .files()
        .into_iter()
        .filter(|file| file.0.to_string_lossy().contains("/keys/"))
        .collect();
    let mut checked = 0;
    for (path, len, ..) in runs {
        for page in 0..len / 4_096 {
            assert!(host.rot(&path, page * 4_096 + 60, 1));
            let report = check(&host);
            assert_eq!(kinds(&report), [FindingKind::KeyRun]);
            assert_eq!(report.findings[0].position, page * 4_096);
            assert!(!report.findings[0].kind.loses_messages());
            assert!(host.rot(&path, page * 4_096 + 60, 1));
            checked += 1;
        }
    }
    assert_eq!(checked, pages);
}
