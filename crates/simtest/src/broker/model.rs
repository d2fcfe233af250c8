//! The exact model at the wire: what clients were answered and what they saw.
//!
//! Owned by one run. A send that was answered `SUCCESS` is at its offset for ever; a send without
//! an answer may or may not have happened, once; a message that anybody pulled stays where it was
//! seen. Invariant: an offset of a queue means one message in every life.

use std::collections::BTreeMap;

/// Topic and queue.
pub(crate) type Key = (String, i32);

/// How a send went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    /// No answer yet, or none that says.
    Open,
    /// Answered with this offset.
    Done(i64),
    /// Answered with a code that promises that nothing happened.
    Refused,
}

#[derive(Debug)]
struct Send {
    key: Key,
    producer: u64,
    sent: Sent,
}

/// A committed offset of a group.
#[derive(Debug, Default, Clone)]
struct Commits {
    /// The highest that was ever sent.
    sent: i64,
    /// Commits that were answered or found in this life: when, and what.
    answered: Vec<(u64, i64)>,
    /// What is found after every crash.
    sure: i64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Model {
    sends: BTreeMap<u64, Send>,
    /// What was seen or acknowledged at each offset.
    places: BTreeMap<Key, BTreeMap<i64, u64>>,
    /// By group and queue. A group has one member, so its commits only grow.
    commits: BTreeMap<(String, Key), Commits>,
    next_uid: u64,
    /// Sends that were answered with success.
    pub(crate) acknowledged: u64,
}

impl Model {
    /// A send begins. Gives the number that goes into its body.
    pub(crate) fn begin_send(&mut self, key: &Key, producer: u64) -> u64 {
        self.next_uid += 1;
        let send = Send {
            key: key.clone(),
            producer,
            sent: Sent::Open,
        };
        self.sends.insert(self.next_uid, send);
        self.next_uid
    }

    /// A send was answered with success.
    pub(crate) fn acknowledged(&mut self, uid: u64, queue: i32, offset: i64) {
        let send = self.sends.get_mut(&uid).expect("it began");
        assert_eq!(
            send.key.1, queue,
            "the answer names the queue that was asked for"
        );
        send.sent = Sent::Done(offset);
        let key = send.key.clone();
        self.acknowledged += 1;
        self.at(&key, offset, uid);
    }

    /// A send was shed before anything happened.
    pub(crate) fn refused(&mut self, uid: u64) {
        self.sends.get_mut(&uid).expect("it began").sent = Sent::Refused;
    }

    /// A message was pulled, or is in the final dump.
    pub(crate) fn seen(&mut self, key: &Key, offset: i64, uid: u64) {
        let Some(send) = self.sends.get(&uid) else {
            panic!("phantom: nobody sent {uid}, found in {key:?} at {offset}");
        };
        assert_eq!(send.key, *key, "message {uid} is in another queue");
        assert_ne!(
            send.sent,
            Sent::Refused,
            "message {uid} was refused and is there"
        );
        if let Sent::Done(acknowledged) = send.sent {
            assert_eq!(
                acknowledged, offset,
                "message {uid} is also at another offset"
            );
        }
        self.at(key, offset, uid);
    }

    fn at(&mut self, key: &Key, offset: i64, uid: u64) {
        let places = self.places.entry(key.clone()).or_default();
        let before = places.insert(offset, uid);
        assert!(
            before.is_none_or(|before| before == uid),
            "{key:?} at {offset}: first {before:?}, now {uid}"
        );
    }

    /// The message that was seen at an offset.
    pub(crate) fn uid_at(&self, key: &Key, offset: i64) -> u64 {
        self.places[key][&offset]
    }

    /// Checks what a queue holds in the end, offsets from `min` on.
    pub(crate) fn check_dump(&self, key: &Key, min: i64, uids: &[u64]) {
        let empty = BTreeMap::new();
        let places = self.places.get(key).unwrap_or(&empty);
        for (offset, uid) in places {
            let found = usize::try_from(offset - min)
                .ok()
                .and_then(|at| uids.get(at));
            assert_eq!(
                found,
                Some(uid),
                "{key:?} at {offset}: {uid} was acknowledged or seen, now {found:?}"
            );
        }
        let mut last_of: BTreeMap<u64, u64> = BTreeMap::new();
        for uid in uids {
            let producer = self.sends[uid].producer;
            let last = last_of.insert(producer, *uid).unwrap_or(0);
            assert!(
                last < *uid,
                "{key:?}: {uid} of one producer comes after {last}, twice or late"
            );
        }
    }

    /// Queues that must not be empty.
    pub(crate) fn keys(&self) -> Vec<Key> {
        self.places.keys().cloned().collect()
    }

    pub(crate) fn begin_commit(&mut self, group: &str, key: &Key, offset: i64) {
        let commits = self.commits.entry((group.to_owned(), key.clone()));
        let commits = commits.or_default();
        commits.sent = commits.sent.max(offset);
    }

    /// A commit was answered.
    pub(crate) fn committed(&mut self, group: &str, key: &Key, at_ms: u64, offset: i64) {
        let commits = self.commits.entry((group.to_owned(), key.clone()));
        commits.or_default().answered.push((at_ms, offset));
    }

    /// The broker crashed: commits that were answered before `at_ms` must be found.
    pub(crate) fn crashed(&mut self, at_ms: u64) {
        for commits in self.commits.values_mut() {
            let sure = commits.answered.iter().filter(|(time, _)| *time <= at_ms);
            let highest = sure.map(|(_, offset)| *offset).max().unwrap_or(0);
            commits.sure = commits.sure.max(highest);
            commits.answered.clear();
        }
    }

    /// The broker says what a group has committed; `None` when it knows nothing.
    pub(crate) fn check_commit(&mut self, group: &str, key: &Key, at_ms: u64, found: Option<i64>) {
        let commits = self.commits.entry((group.to_owned(), key.clone()));
        let commits = commits.or_default();
        let offset = found.unwrap_or(0);
        let in_this_life = commits.answered.iter().map(|(_, offset)| *offset);
        let least = in_this_life.max().unwrap_or(0).max(commits.sure);
        assert!(
            least <= offset && offset <= commits.sent,
            "{group} {key:?}: committed {offset}, at least {least} was sure, at most {} was sent",
            commits.sent
        );
        commits.answered.push((at_ms, offset));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        ("T".to_owned(), 2)
    }

    /// Whether the model objects to what `history` tells it.
    fn objects(history: impl FnOnce(&mut Model)) -> bool {
        let mut model = Model::default();
        let told = std::panic::AssertUnwindSafe(|| history(&mut model));
        std::panic::catch_unwind(told).is_err()
    }

    #[test]
    fn a_history_without_a_fault_is_accepted() {
        assert!(!objects(|model| {
            let (one, two) = (model.begin_send(&key(), 1), model.begin_send(&key(), 1));
            model.acknowledged(one, 2, 0);
            model.seen(&key(), 1, two); // sent, never answered
            model.check_dump(&key(), 0, &[one, two]);
        }));
    }

    #[test]
    fn a_lost_a_moved_a_doubled_and_an_unknown_message_are_noticed() {
        assert!(objects(|model| {
            let one = model.begin_send(&key(), 1);
            model.acknowledged(one, 2, 0);
            model.check_dump(&key(), 0, &[]);
        }));
        assert!(objects(|model| {
            let one = model.begin_send(&key(), 1);
            model.acknowledged(one, 2, 0);
            model.seen(&key(), 1, one);
        }));
        assert!(objects(|model| {
            let one = model.begin_send(&key(), 1);
            model.check_dump(&key(), 0, &[one, one]);
        }));
        assert!(objects(|model| model.seen(&key(), 0, 7)));
        assert!(objects(|model| {
            let one = model.begin_send(&key(), 1);
            model.refused(one);
            model.seen(&key(), 0, one);
        }));
    }

    #[test]
    fn messages_of_one_producer_out_of_order_are_noticed() {
        assert!(objects(|model| {
            let (one, two) = (model.begin_send(&key(), 1), model.begin_send(&key(), 1));
            model.check_dump(&key(), 0, &[two, one]);
        }));
    }

    #[test]
    fn a_commit_that_goes_back_beyond_its_interval_is_noticed() {
        let history = |found| {
            objects(|model| {
                model.begin_commit("G", &key(), 9);
                model.committed("G", &key(), 100, 5);
                model.committed("G", &key(), 900, 9);
                model.crashed(500);
                model.check_commit("G", &key(), 1_000, Some(found));
            })
        };
        assert_eq!([4, 5, 9, 10].map(history), [true, false, false, true]);
    }
}
