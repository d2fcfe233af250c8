//! Checkpoints while queues go on: taken in pieces, each queue as it was at one instant.

use crate::testing::{Store, append_to, body, open, settings, world};
use crate::{FlushMode, ScanStart, Settings};
use base::{QueueId, QueueOffset};
use sim::{Crash, DiskOp, Fault, Rng, Rule};
use std::collections::BTreeMap;

const QUEUES: u32 = 150;

fn small() -> Settings {
    Settings {
        checkpoint_bytes: 64 << 10,
        unsynced_bytes_max: 1 << 20,
        unflushed_bytes_max: 256 << 10,
        ..settings(FlushMode::Async)
    }
}

type Model = BTreeMap<(u32, u64), i64>;

/// Queue `queue` of its present life has `next` messages.
async fn go_on(store: &Store, rng: &mut Rng, model: &mut Model, count: usize) {
    for _ in 0..count {
        // Some queues fill pages meanwhile.
        let queue = if rng.coin() {
            rng.below(6) as u32
        } else {
            rng.below(u64::from(QUEUES)) as u32
        };
        if rng.one_in(150) {
            store.wait_room().await;
            if let Ok(Some(_)) = store.delete_queue("T", QueueId(queue)) {
                model.retain(|(other, _), _| *other != queue);
            }
            continue;
        }
        let next = model.keys().filter(|(other, _)| *other == queue).count() as u64;
        store.wait_room().await;
        let number = rng.below(1 << 40);
        let receipt = append_to(store, "T", QueueId(queue), 7, &body(number, 60)).unwrap();
        assert_eq!(receipt.queue_offset.0 as u64, next);
        model.insert((queue, next), number as i64);
    }
}

#[test]
fn a_kill_at_any_moment_of_a_checkpoint_leaves_every_queue_as_it_was() {
    let mut from_checkpoint = 0;
    for seed in 0..4 {
        let (world, host) = world(seed);
        // Each piece takes a while, so that the queues move on between two of them.
        host.add_fault(Rule::always(DiskOp::Write, "checkpoint", Fault::StallMs(3)));
        let mut rng = Rng::for_subject(seed, "checkpoints");
        let mut model = Model::new();
        for _ in 0..3 {
            let (store, recovered) = open(&host, small());
            from_checkpoint += usize::from(recovered.report.start == ScanStart::Checkpoint);
            assert_eq!(
                (
                    recovered.report.lost_messages,
                    recovered.report.restarted_queues
                ),
                (0, 0)
            );
            let expected = model.clone();
            let (numbers, mut left) = host.block_on(0, |_| {
                let mut rng = Rng::for_subject(rng.below(1 << 40), "life");
                async move {
                    let mut numbers = Model::new();
                    for queue in 0..QUEUES {
                        let Some(reference) = store.queue("T", QueueId(queue)) else {
                            continue;
                        };
                        let next = store.max_offset(reference).0;
                        for offset in 0..next {
                            let mut out = Vec::new();
                            let limits = crate::testing::LIMITS;
                            let at = QueueOffset(offset);
                            let read = store
                                .read(reference, at, limits, &mut |_| true, &mut out)
                                .await;
                            assert!(read.unwrap().count > 0);
                            let first = &crate::testing::bodies(&out)[0];
                            let number = crate::testing::number(first) as i64;
                            numbers.insert((queue, offset as u64), number);
                        }
                    }
                    let mut model = expected;
                    go_on(&store, &mut rng, &mut model, 900).await;
                    (numbers, model)
                }
            });
            assert_eq!(numbers, model, "seed {seed}");
            std::mem::swap(&mut model, &mut left);
            world.run_for(std::time::Duration::from_micros(rng.below(20_000)));
            host.crash(Crash::Kill);
        }
    }
    assert!(from_checkpoint > 4, "{from_checkpoint} of 8");
}
