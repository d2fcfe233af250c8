//! Flipped bits anywhere in a store: no wrong byte is ever given, and nothing is lost by one of them.

use crate::testing::{append_to, bodies, body, number, open, settings, world};
use crate::{FlushMode, GetStatus, ReadLimits, Settings};
use base::{PhyOffset, QueueId, QueueOffset};
use sim::{Crash, Host, Rng, World};

const COUNT: u64 = 500;

/// Messages of two queues, some blocks with many and some with one, closed in order.
fn closed(seed: u64) -> (World, Host, Vec<PhyOffset>) {
    let (world, host) = world(seed);
    let (store, _) = open(&host, small());
    let places = host.block_on(0, |_| async move {
        let mut places = Vec::new();
        for i in 0..COUNT {
            store.wait_room().await;
            let queue = QueueId((i % 5 == 0).into());
            let len = if i % 90 == 7 { 5_000 } else { 40 };
            let receipt = append_to(&store, "T", queue, 7, &body(i, len)).unwrap();
            places.push(receipt.phy_offset);
            if i % 20 == 0 {
                store.wait_acknowledged(receipt.end).await.unwrap();
            }
        }
        store.close().await.unwrap();
        places
    });
    host.crash(Crash::Power);
    (world, host, places)
}

fn small() -> Settings {
    Settings {
        checkpoint_bytes: 30 << 10,
        ..settings(FlushMode::Sync)
    }
}

/// Every message that the store gives, by queue and by its own place, each compared. Gives how many
/// there were of either, and how much damage was met.
fn read_all(host: &Host, places: &[PhyOffset], case: &str) -> (u64, u64, u64) {
    let (store, recovered) = open(host, small());
    let report = recovered.report;
    let (places, case) = (places.to_vec(), case.to_owned());
    let limits = ReadLimits {
        count_max: 32,
        bytes_max: 1 << 20,
        scan_max: 64,
    };
    host.block_on(0, move |_| async move {
        let (mut by_queue, mut by_place) = (0, 0);
        for id in [0, 1] {
            let queue = store.queue("T", QueueId(id)).expect("the queue is known");
            let mut next = QueueOffset(0);
            while next < store.max_offset(queue) {
                let mut out = Vec::new();
                let all = &mut |_: i64| true;
                let read = store.read(queue, next, limits, all, &mut out);
                let result = read.await.unwrap();
                assert!(result.next_offset > next, "{case}: it moves on");
                assert!(result.count > 0 || result.status == GetStatus::MessageWasRemoving);
                for given in bodies(&out) {
                    assert_eq!(given, body(number(&given), given.len()), "{case}");
                    by_queue += 1;
                }
                next = result.next_offset;
            }
        }
        for (i, place) in places.iter().enumerate() {
            if let Some(unit) = store.read_message(*place).await.unwrap() {
                let given = &bodies(&unit)[0];
                assert_eq!(number(given), i as u64, "{case}");
                assert_eq!(given, &body(i as u64, given.len()), "{case}");
                by_place += 1;
            }
        }
        let met = store.stats().damaged + report.repaired + report.quarantined.len() as u64;
        (by_queue, by_place, met)
    })
}

#[test]
fn one_flipped_bit_anywhere_loses_nothing_and_is_never_given_away() {
    let mut met_any = 0;
    for seed in 0..FLIPS {
        let (_world, host, places) = closed(seed);
        let mut rng = Rng::for_subject(seed, "flip");
        let case = flip_one(&host, &mut rng, seed);
        let (by_queue, by_place, met) = read_all(&host, &places, &case);
        assert_eq!((by_queue, by_place), (COUNT, COUNT), "{case}");
        met_any += u64::from(met > 0);
    }
    assert!(met_any > FLIPS / 10, "{met_any} of {FLIPS} were met");
}

/// Development builds of other crates make each store slow; the sweep of `simtest` goes on.
const FLIPS: u64 = 400;

fn flip_one(host: &Host, rng: &mut Rng, seed: u64) -> String {
    loop {
        let files = host.files();
        let (path, len, _) = rng.pick(&files);
        if *len == 0 {
            continue;
        }
        // Most of a segment is room that was zeroed ahead: half of the flips go to its beginning.
        let bound = if rng.coin() {
            (*len).min(24 << 10)
        } else {
            *len
        };
        let (at, bit) = (rng.below(bound), rng.below(8));
        if host.rot(path, at, 1 << bit) {
            return format!("seed {seed}: bit {bit} of byte {at} of {}", path.display());
        }
    }
}

#[test]
fn many_flipped_bits_cost_what_they_hit_and_no_body_is_wrong() {
    let mut lost = 0;
    for seed in 0..100 {
        let (_world, host, places) = closed(seed);
        let mut rng = Rng::for_subject(seed, "flips");
        for _ in 0..rng.between(2, 30) {
            let segments: Vec<_> = host.files();
            let (path, len, _) = rng.pick(&segments);
            let is_log = path.to_string_lossy().contains("commitlog");
            if is_log && *len > 0 {
                // In heaps, as a damaged sector is.
                let at = 512 + rng.below(*len - 520);
                for byte in 0..8 {
                    host.rot(path, at + byte, 0xA5);
                }
            }
        }
        let (by_queue, by_place, _) = read_all(&host, &places, &format!("seed {seed}"));
        assert!(by_queue <= COUNT && by_place <= COUNT);
        lost += COUNT - by_queue;
    }
    assert!(lost > 0, "the damage is real");
    assert!(lost < 100 * COUNT / 4, "{lost}: most of it stays readable");
}
