//! Queries by key, held to the model: while messages come, and after each recovery.
//!
//! A query may say that it is not complete, while the index is being made again; then it is asked
//! again until it is. Invariant checked: found is exactly what is visible and has the key, the last
//! of the log first; where the log itself was damaged, nothing else than that.

use super::life::Life;
use super::model::{Model, Stored};
use super::shape::Trouble;
use super::{Opened, Run};
use rt::{Disk, Rt};
use sim::Rng;
use std::rc::Rc;
use std::time::Duration;
use store::{KeyAnswer, KeyKind, KeyQuery};

/// Keys that one verification asks for.
const ASKED: usize = 6;
/// How often an answer may be incomplete, and the pause after each.
const PATIENCE: (u32, Duration) = (20_000, Duration::from_millis(100));

/// A key that some message may have.
pub(super) fn draw(rng: &mut Rng, model: &Model) -> String {
    if rng.coin() {
        format!("w{}", rng.below(8))
    } else {
        format!("u{}", 1 + rng.below(model.appended_count() + 1))
    }
}

fn query<'a>(topic: &'a str, key: &'a str, count_max: usize) -> KeyQuery<'a> {
    KeyQuery {
        topic,
        key,
        kind: KeyKind::Any,
        count_max,
        bytes_max: usize::MAX,
        times_ms: (i64::MIN, i64::MAX),
    }
}

/// Asks while other tasks append.
pub(super) async fn ask(life: &Life, topic: &str, key: &str, count_max: usize) {
    let acknowledged = life.store.acknowledged().0;
    let mut before = life.model.borrow().with_key(topic, key);
    before.retain(|stored| stored.end <= acknowledged);
    let found = life.store.query_keys(&query(topic, key, count_max)).await;
    let troubled = matches!(life.shape.trouble, Trouble::Rot | Trouble::Lying);
    let answer = match found {
        Ok(answer) => answer,
        Err(_) if life.shape.trouble == Trouble::Eio => return,
        Err(error) => panic!("query by key: {error}"),
    };
    let model = life.model.borrow();
    let now = model.with_key(topic, key);
    let acknowledged = life.store.acknowledged().0;
    check_order(&answer);
    assert!(answer.messages.len() <= count_max);
    for message in &answer.messages {
        let position = message.phy_offset.position().0;
        let known = now.iter().find(|stored| stored.phy_position == position);
        // A queue may be deleted after its message was looked at.
        let gone = life.shape.delete_one_in > 0;
        assert!(
            known.is_some() || gone,
            "{topic} {key}: phantom at {position}"
        );
        if let Some(stored) = known {
            assert_eq!(stored.unit, message.unit, "{topic} {key}: wrong bytes");
            assert!(
                stored.end <= acknowledged,
                "found before it was acknowledged"
            );
        }
    }
    if troubled || !answer.is_complete || answer.messages.len() == count_max {
        return;
    }
    // What went with old segments meanwhile need not be found.
    let start = life.store.stats().start;
    before.retain(|stored| stored.phy_position >= start);
    for stored in before {
        let is_there = now.iter().any(|other| Rc::ptr_eq(other, &stored));
        let found = answer.messages.iter();
        let found = found
            .clone()
            .any(|m| m.phy_offset.position().0 == stored.phy_position);
        assert!(
            found || !is_there,
            "{topic} {key}: {} is not found",
            stored.phy_position
        );
    }
}

fn check_order(answer: &KeyAnswer) {
    let places: Vec<_> = answer
        .messages
        .iter()
        .map(|message| message.phy_offset)
        .collect();
    assert!(
        places.is_sorted_by(|a, b| a > b),
        "the last of the log comes first"
    );
}

impl Run {
    /// Removes a file of the key index between two lives, now and then.
    pub(super) fn lose_keys(&mut self) {
        if !self.rng.one_in(self.shape.lose_keys_one_in) {
            return;
        }
        let mine = format!("shard-{:03}/keys/", self.shape.settings.shard.as_u16());
        let mut files = self.host.files();
        files.retain(|(path, ..)| path.to_string_lossy().contains(&mine));
        if files.is_empty() {
            return;
        }
        let path = self.rng.pick(&files).0.clone();
        let shard = self.shape.settings.shard.as_u16();
        let removed =
            self.host.block_on(
                shard,
                move |sim| async move { sim.disk().remove(&path).await },
            );
        assert!(removed.is_ok(), "{removed:?}");
    }

    /// A few keys of each topic.
    pub(super) fn look_up_keys(&mut self, opened: &Opened) {
        if self.shape.keyed_one_in == 0 || !self.shape.settings.key_index {
            return;
        }
        for _ in 0..ASKED {
            let topic = self.rng.pick(&self.shape.queues).0.clone();
            let key = draw(&mut self.rng, &self.model.borrow());
            let count_max = self.rng.skewed(1, 64) as usize;
            self.look_up_key(opened, &topic, &key, count_max);
        }
    }

    fn look_up_key(&mut self, opened: &Opened, topic: &str, key: &str, count_max: usize) {
        let (store, sim) = (opened.store.clone(), opened.sim.clone());
        let asked = (topic.to_owned(), key.to_owned());
        let shard = self.shape.settings.shard.as_u16();
        let (answer, start) = self.host.block_on(shard, move |_| async move {
            for _ in 0..PATIENCE.0 {
                let found = store
                    .query_keys(&query(&asked.0, &asked.1, count_max))
                    .await;
                let answer = found.unwrap_or_else(|error| panic!("query by key: {error}"));
                if answer.is_complete {
                    return (answer, store.stats().start);
                }
                sim.sleep(PATIENCE.1).await;
            }
            panic!("the key index is never whole again: {:?}", store.stats());
        });
        check_order(&answer);
        let model = self.model.borrow();
        // Old segments go at any time: what lies before the log's start counts on neither side.
        let mut wanted = model.with_key(topic, key);
        wanted.retain(|stored| stored.phy_position >= start);
        let units: Vec<_> = answer
            .messages
            .iter()
            .filter(|message| message.phy_offset.position().0 >= start)
            .map(|message| &message.unit)
            .collect();
        let lied = self.shape.trouble == Trouble::Lying && self.host.faults_struck() > 0;
        if model.is_undamaged() && !lied {
            let wanted: Vec<_> = wanted
                .iter()
                .take(count_max)
                .map(|stored| &stored.unit)
                .collect();
            assert_eq!(units, wanted, "{topic} {key}: not exactly what is there");
            return;
        }
        let is_known = |unit: &&Vec<u8>| {
            wanted
                .iter()
                .any(|stored: &Rc<Stored>| stored.unit == **unit)
        };
        assert!(units.iter().all(is_known), "{topic} {key}: phantom");
    }
}
