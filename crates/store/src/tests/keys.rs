//! The key index against an exact model: in every life it finds the visible messages that have a
//! key, the newest first, and nothing else; it survives the loss and the damage of its own files.

use crate::testing::{Store, message_len, message_with, open, settings, world};
use crate::{AppendError, FlushMode, KeyAnswer, KeyKind, KeyQuery, Retention, Settings};
use base::QueueId;
use rt::Rt;
use sim::{Crash, Host, Sim};
use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

/// A message as the model knows it.
#[derive(Debug, Clone)]
struct Sent {
    topic: &'static str,
    queue: u32,
    unique: String,
    words: Vec<String>,
    position: u64,
    time: i64,
}

type Model = Rc<RefCell<Vec<Sent>>>;

impl Sent {
    fn has(&self, query: &KeyQuery<'_>) -> bool {
        let unique = query.kind != KeyKind::Keys && self.unique == query.key;
        let words = query.kind != KeyKind::Unique && self.words.iter().any(|w| w == query.key);
        let (least, greatest) = query.times_ms;
        self.topic == query.topic && (unique || words) && (least..=greatest).contains(&self.time)
    }
}

fn query<'a>(topic: &'a str, key: &'a str) -> KeyQuery<'a> {
    KeyQuery {
        topic,
        key,
        kind: KeyKind::Any,
        count_max: 64,
        bytes_max: 1 << 20,
        times_ms: (i64::MIN, i64::MAX),
    }
}

/// Sends message `number`, whose keys follow from its number.
async fn send(store: &Store, model: &Model, number: u64) {
    let topic = if number.is_multiple_of(3) {
        "Orders"
    } else {
        "Bills"
    };
    let (queue, unique) = ((number % 4) as u32, format!("U{number:08}"));
    let words: Vec<_> = match number % 5 {
        0 => Vec::new(),
        1 => vec![
            format!("k{}", number / 10),
            "all".to_owned(),
            "all".to_owned(),
        ],
        _ => vec![format!("k{}", number / 10)],
    };
    let properties = format!(
        "UNIQ_KEY\u{1}{unique}\u{2}KEYS\u{1}{}\u{2}TAGS\u{1}a\u{2}",
        words.join(" ")
    );
    let body = vec![number as u8; (number * 37 % 700) as usize];
    let len = message_len(topic, &body) + properties.len();
    let reference = store.queue_or_create(topic, QueueId(queue));
    let receipt = loop {
        store.wait_room().await;
        let appended = store.append_with(reference, len, 7, |out, place| {
            out.copy_from_slice(&message_with(
                place,
                topic,
                QueueId(queue),
                &body,
                &properties,
            ));
        });
        match appended {
            Ok(receipt) => break receipt,
            Err(AppendError::Busy { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    };
    store.wait_acknowledged(receipt.end).await.unwrap();
    model.borrow_mut().push(Sent {
        topic,
        queue,
        unique,
        words,
        position: receipt.phy_offset.position().0,
        time: receipt.store_timestamp_ms,
    });
}

/// Asks once and holds the answer to the model.
async fn check(store: &Store, model: &Model, query: KeyQuery<'_>) -> KeyAnswer {
    let answer = store.query_keys(&query).await.unwrap();
    let found: Vec<_> = answer
        .messages
        .iter()
        .map(|message| message.phy_offset.position().0)
        .collect();
    let model = model.borrow();
    let wanted = model.iter().rev().filter(|sent| sent.has(&query));
    let wanted: Vec<_> = wanted
        .map(|sent| sent.position)
        .take(query.count_max)
        .collect();
    if answer.is_complete {
        assert_eq!(found, wanted, "{query:?}");
    } else {
        let all: Vec<_> = model.iter().filter(|sent| sent.has(&query)).collect();
        assert!(
            found
                .iter()
                .all(|at| all.iter().any(|sent| sent.position == *at)),
            "{query:?}"
        );
    }
    answer
}

/// Every key that was ever used, and some that were not.
async fn check_all(store: &Store, model: &Model) {
    let all: Vec<Sent> = model.borrow().clone();
    for (i, sent) in all.iter().enumerate() {
        if i % 7 == 0 {
            let kind = [KeyKind::Any, KeyKind::Unique][i % 2];
            check(
                store,
                model,
                KeyQuery {
                    kind,
                    ..query(sent.topic, &sent.unique)
                },
            )
            .await;
        }
        if let (0, Some(word)) = (i % 11, sent.words.first()) {
            check(store, model, query(sent.topic, word)).await;
            let between = KeyQuery {
                times_ms: (sent.time, all[all.len() / 2].time),
                count_max: 1 + i % 9,
                ..query(sent.topic, word)
            };
            check(store, model, between).await;
        }
    }
    for topic in ["Orders", "Bills", "Unknown"] {
        for key in ["all", "none", "", "k1"] {
            check(store, model, query(topic, key)).await;
        }
    }
}

async fn wait_whole(sim: &Sim, store: &Store) {
    for _ in 0..10_000 {
        if store
            .query_keys(&query("T", "none"))
            .await
            .unwrap()
            .is_complete
        {
            return;
        }
        sim.sleep(Duration::from_millis(20)).await;
    }
    panic!("the index is never whole again");
}

fn small(flush: FlushMode) -> Settings {
    Settings {
        key_index_bytes: 4 << 10, // 64 entries a batch
        ..settings(flush)
    }
}

/// A store with messages in several lives' worth of log, closed or killed.
fn filled(host: &Host, settings: &Settings, count: u64, end: Option<Crash>) -> Model {
    let model = Model::default();
    let (store, _) = open(host, settings.clone());
    let shared = Rc::clone(&model);
    host.block_on(0, move |_| async move {
        for number in 0..count {
            send(&store, &shared, number).await;
        }
        if end.is_none() {
            store.close().await.unwrap();
        }
    });
    host.crash(end.unwrap_or(Crash::Power));
    model
}

fn runs(host: &Host) -> Vec<(PathBuf, u64, u64)> {
    let mut files = host.files();
    files.retain(|(path, ..)| path.starts_with("/store/shard-000/keys"));
    files
}

#[test]
fn a_message_is_found_by_its_keys_as_soon_as_it_is_acknowledged() {
    for flush in [FlushMode::Sync, FlushMode::Async] {
        let (_world, host) = world(1);
        let (store, _) = open(&host, small(flush));
        let model = Model::default();
        host.block_on(0, move |_| async move {
            for number in 0..300 {
                send(&store, &model, number).await;
                let last = model.borrow().last().unwrap().clone();
                let answer = check(&store, &model, query(last.topic, &last.unique)).await;
                assert!(answer.is_complete);
                assert_eq!(answer.messages.len(), 1);
                let (time, place) = answer.last.unwrap();
                assert_eq!((time, place.position().0), (last.time, last.position));
            }
            check_all(&store, &model).await;
        });
    }
}

#[test]
fn keys_are_found_in_many_runs_and_after_every_kind_of_end() {
    for (seed, flush) in [(1, FlushMode::Sync), (2, FlushMode::Async)] {
        for end in [None, Some(Crash::Power), Some(Crash::Kill)] {
            if flush == FlushMode::Async && end == Some(Crash::Power) {
                continue; // what a power cut may take is the sweep's business
            }
            let (_world, host) = world(seed);
            let model = filled(&host, &small(flush), 1_500, end);
            assert!(!runs(&host).is_empty());
            let (store, _) = open(&host, small(flush));
            let keyed = store.stats().keys;
            assert_eq!(keyed, 0, "a start reads nothing before it serves");
            host.block_on(0, move |sim| async move {
                let visible: i64 = store.queues_present().iter().map(|row| row.3.0).sum();
                model.borrow_mut().truncate(visible as usize);
                wait_whole(&sim, &store).await;
                check_all(&store, &model).await;
                for number in 2_000..2_100 {
                    send(&store, &model, number).await;
                }
                check_all(&store, &model).await;
                assert!(store.stats().key_runs <= 64, "{:?}", store.stats());
            });
        }
    }
}

#[test]
fn a_closed_store_reads_no_log_again_for_its_keys() {
    let (_world, host) = world(3);
    let model = filled(&host, &small(FlushMode::Async), 800, None);
    let (store, _) = open(&host, small(FlushMode::Async));
    host.block_on(0, move |sim| async move {
        check_all(&store, &model).await;
        sim.sleep(Duration::from_secs(5)).await;
        assert_eq!(store.stats().keys, 0);
    });
}

#[test]
fn lost_runs_are_made_again_from_the_log() {
    for lost in 0..4 {
        let (_world, host) = world(4);
        let model = filled(&host, &small(FlushMode::Sync), 1_200, None);
        let files = runs(&host);
        let (store, _) = open_without(&host, &files, lost);
        host.block_on(0, move |sim| async move {
            let first = store.query_keys(&query("T", "none")).await.unwrap();
            assert_eq!(first.is_complete, lost == 3, "the end is followed at once");
            check_all(&store, &model).await;
            wait_whole(&sim, &store).await;
            assert!(store.stats().keys > 0);
            check_all(&store, &model).await;
        });
    }
}

/// Removes all runs, or every second, or the first or the last, and opens the store.
fn open_without(
    host: &Host,
    files: &[(PathBuf, u64, u64)],
    lost: usize,
) -> (Store, crate::Recovered) {
    let last = files.len() - 1;
    let gone = files.iter().enumerate().filter(|(i, _)| match lost {
        0 => true,
        1 => i % 2 == 0,
        2 => *i == 0,
        _ => *i == last,
    });
    let gone: Vec<_> = gone.map(|(_, file)| file.0.clone()).collect();
    host.block_on(0, move |sim| async move {
        for path in gone {
            rt::Disk::remove(sim.disk(), &path).await.unwrap();
        }
    });
    let distant = Settings {
        checkpoint_bytes: 1 << 10, // nothing is near enough to be followed at once
        key_rebuild_rate: 256 << 10,
        ..small(FlushMode::Sync)
    };
    open(host, distant)
}

#[test]
fn a_damaged_byte_anywhere_in_a_run_loses_nothing_and_invents_nothing() {
    for seed in 0..40 {
        let (_world, host) = world(seed);
        let model = filled(&host, &small(FlushMode::Sync), 600, None);
        let files = runs(&host);
        let mut rng = sim::Rng::new(seed);
        let (path, len, _) = rng.pick(&files).clone();
        assert!(host.rot(&path, rng.below(len), 1 << rng.below(8)));
        let (store, _) = open(&host, small(FlushMode::Sync));
        host.block_on(0, move |sim| async move {
            for _ in 0..3 {
                check_all(&store, &model).await;
                wait_whole(&sim, &store).await;
            }
            check_all(&store, &model).await;
        });
    }
}

#[test]
fn messages_of_a_deleted_queue_are_not_found_and_those_of_its_successor_are() {
    let (_world, host) = world(6);
    let (store, _) = open(&host, small(FlushMode::Sync));
    let model = Model::default();
    host.block_on(0, move |_| async move {
        for number in 0..400 {
            send(&store, &model, number).await;
        }
        for queue in 0..4 {
            store
                .delete_queue("Orders", QueueId(queue))
                .unwrap()
                .unwrap();
            let gone = |sent: &Sent| sent.topic == "Orders" && sent.queue == queue;
            model.borrow_mut().retain(|sent| !gone(sent));
            check_all(&store, &model).await;
        }
        for number in 0..90 {
            send(&store, &model, number).await;
        }
        check_all(&store, &model).await;
    });
}

#[test]
fn an_answer_is_no_longer_than_asked_and_gives_one_message_at_least() {
    let (_world, host) = world(7);
    let (store, _) = open(&host, small(FlushMode::Sync));
    let model = Model::default();
    host.block_on(0, move |_| async move {
        for number in 0..200 {
            send(&store, &model, number).await;
        }
        for bytes_max in [0, 1, 500, 2_000, 10_000] {
            let answer = store
                .query_keys(&KeyQuery {
                    bytes_max,
                    ..query("Bills", "all")
                })
                .await
                .unwrap();
            let bytes: usize = answer
                .messages
                .iter()
                .map(|message| message.unit.len())
                .sum();
            assert!(bytes <= bytes_max || answer.messages.len() == 1);
            assert!(!answer.messages.is_empty());
        }
    });
}

#[test]
fn without_the_index_nothing_is_found_and_with_it_again_everything_is() {
    let (_world, host) = world(8);
    let off = Settings {
        key_index: false,
        ..small(FlushMode::Sync)
    };
    let model = filled(&host, &off, 300, None);
    assert_eq!(runs(&host).len(), 0);
    let (store, _) = open(&host, off);
    host.block_on(0, move |_| async move {
        let answer = store.query_keys(&query("Bills", "all")).await.unwrap();
        assert!(answer.messages.is_empty() && !answer.is_complete);
        store.close().await.unwrap();
    });
    let (store, _) = open(&host, small(FlushMode::Sync));
    host.block_on(0, move |sim| async move {
        wait_whole(&sim, &store).await;
        check_all(&store, &model).await;
    });
}

#[test]
fn a_failing_disk_of_the_index_fences_nothing_and_is_made_up_for() {
    use sim::{DiskOp, Fault, Rule};
    for (seed, op) in [DiskOp::Write, DiskOp::Sync, DiskOp::Meta, DiskOp::Read]
        .into_iter()
        .enumerate()
    {
        let (_world, host) = world(seed as u64);
        let (store, _) = open(&host, small(FlushMode::Sync));
        host.add_fault(Rule::nth(op, "keys", 3, Fault::Eio));
        let model = Model::default();
        host.block_on(0, move |sim| async move {
            for number in 0..900 {
                send(&store, &model, number).await;
            }
            assert_eq!(store.fenced(), None);
            check_all(&store, &model).await;
            wait_whole(&sim, &store).await;
            check_all(&store, &model).await;
        });
    }
}

#[test]
fn an_index_that_stood_still_while_the_log_was_cut_goes_on_where_the_log_starts() {
    use sim::{DiskOp, Fault, Rule};
    let (world, host) = world(11);
    let mut settings = small(FlushMode::Sync);
    settings.retention = Retention {
        reserved_ms: i64::from(u32::MAX),
        delete_hours: (1 << 24) - 1,
        delete_interval_ms: 1,
        check_interval_ms: 1_000,
        store_bytes_max: 200 << 10,
        ..Retention::default()
    };
    let (store, _) = open(&host, settings);
    host.add_fault(Rule::always(DiskOp::Write, "keys", Fault::Enospc));
    let model = Model::default();
    let (sent, sender) = (Rc::clone(&model), store.clone());
    host.block_on(0, move |sim| async move {
        for number in 0..2_000 {
            send(&sender, &sent, number).await;
            if number % 100 == 0 {
                sim.sleep(Duration::from_secs(5)).await;
            }
        }
    });
    world.run_for(Duration::from_secs(10));
    let start = store.stats().start;
    assert!(start > 512 << 10, "the log was cut: {:?}", store.stats());
    host.clear_faults();
    world.run_for(Duration::from_secs(2));
    let before = world.polls();
    world.run_for(Duration::from_secs(1));
    let polls = world.polls() - before;
    assert!(polls < 1_000, "an idle store: {polls} polls in a second");
    model.borrow_mut().retain(|sent| sent.position >= start);
    host.block_on(0, move |sim| async move {
        wait_whole(&sim, &store).await;
        check_all(&store, &model).await;
    });
}
