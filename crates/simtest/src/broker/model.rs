//! The exact model at the wire: what clients were answered and what they saw.
//!
//! Owned by one run. A send that was answered `SUCCESS` is at its offset for ever; a send without
//! an answer may or may not have happened, once; a message that anybody pulled stays where it was
//! seen; what a recovery did not find never comes later. Under `ASYNC_FLUSH` a power cut may take the end
//! of a queue, no older than the flush interval. Invariant: an offset of a queue means one message in
//! every life.

use std::collections::BTreeMap;

/// A queue of a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) broker: usize,
    pub(crate) topic: Topic,
    pub(crate) queue: i32,
}

/// A topic, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Topic {
    /// One that producers send to.
    Plain(u64),
    /// The retry topic of a group.
    Retry(u64),
    /// The dead letters of a group.
    Dead(u64),
}

impl Topic {
    pub(crate) fn name(self) -> String {
        match self {
            Self::Plain(number) => format!("TopicOfSim{number}"),
            Self::Retry(group) => format!("%RETRY%{}", group_name(group)),
            Self::Dead(group) => format!("%DLQ%{}", group_name(group)),
        }
    }
}

pub(crate) fn group_name(group: u64) -> String {
    format!("GroupOfSim{group}")
}

/// How a send went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// No answer yet, or none that says.
    Open,
    /// Answered with success.
    Done,
    /// Answered with a code that promises that nothing happened.
    Refused,
    /// A recovery did not find it.
    GivenUp,
}

/// What is sent, and when.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begun {
    pub(crate) key: Key,
    pub(crate) producer: u64,
    /// The producer's connection.
    pub(crate) connection: u64,
    /// The life of the broker that it was sent to.
    pub(crate) life: u64,
    pub(crate) at_ms: u64,
    /// 0 for at once.
    pub(crate) delay_ms: u64,
    /// How its transaction ends, if it is one.
    pub(crate) ending: Ending,
}

/// How a producer ends a transaction, whenever and however often it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// There is none.
    Plain,
    Commit,
    Rollback,
    /// It does not know.
    Unknown,
}

impl Begun {
    /// Whether the message need not be seen once its send is answered.
    fn is_hidden(&self) -> bool {
        self.delay_ms > 0 || self.ending != Ending::Plain
    }
}

#[derive(Debug)]
struct Send {
    begun: Begun,
    fate: Fate,
    /// Where it is, once that is known; a delayed message may be there twice.
    places: Vec<i64>,
    /// How often it is among the transactions that the broker gave up.
    given_up: u64,
}

/// A message at an offset.
#[derive(Debug, Clone, Copy)]
struct Place {
    uid: u64,
    since_ms: u64,
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

/// Messages of a group that were sent back.
#[derive(Debug, Default, Clone)]
struct Back {
    tried: u64,
    done: u64,
    first_due_ms: u64,
    copies: u64,
}

/// What a recovery may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Loss {
    /// Nothing that was seen or acknowledged up to then.
    pub(crate) kept_until_ms: u64,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Model {
    sends: BTreeMap<u64, Send>,
    /// What was seen or acknowledged at each offset.
    places: BTreeMap<Key, BTreeMap<i64, Place>>,
    /// By group and queue. A group commits with one member, so its commits only grow.
    commits: BTreeMap<(u64, Key), Commits>,
    backs: BTreeMap<(u64, usize, u64), Back>,
    dead: BTreeMap<(u64, usize), Back>,
    /// What the recoveries that are being looked at may have lost. A recovered broker delivers
    /// delayed messages at once, in the places of those that are lost.
    losses: BTreeMap<usize, Loss>,
    /// Crashes and stops by broker: each may repeat one batch of delayed messages.
    repeats: BTreeMap<usize, u64>,
    /// Whether the disk keeps what it is given.
    is_honest: bool,
    /// Whether wall clocks run evenly.
    is_even: bool,
    next_uid: u64,
    /// Sends that were answered with success.
    pub(crate) acknowledged: u64,
    /// Messages that recoveries did not find.
    pub(crate) given_up: u64,
}

impl Model {
    pub(crate) fn new(is_honest: bool, is_even: bool) -> Self {
        Self {
            sends: BTreeMap::new(),
            places: BTreeMap::new(),
            commits: BTreeMap::new(),
            backs: BTreeMap::new(),
            dead: BTreeMap::new(),
            losses: BTreeMap::new(),
            repeats: BTreeMap::new(),
            is_honest,
            is_even,
            next_uid: 0,
            acknowledged: 0,
            given_up: 0,
        }
    }

    /// A send begins. Gives the number that goes into its body.
    pub(crate) fn begin_send(&mut self, begun: Begun) -> u64 {
        self.next_uid += 1;
        let send = Send {
            begun,
            fate: Fate::Open,
            places: Vec::new(),
            given_up: 0,
        };
        self.sends.insert(self.next_uid, send);
        self.next_uid
    }

    /// A send was answered with success.
    pub(crate) fn acknowledged(&mut self, uid: u64, (queue, offset): (i32, i64), now_ms: u64) {
        let send = self.sends.get_mut(&uid).expect("it began");
        self.acknowledged += 1;
        assert_ne!(
            send.fate,
            Fate::GivenUp,
            "message {uid} was acknowledged and is lost"
        );
        send.fate = Fate::Done;
        if send.begun.is_hidden() {
            return; // the offset is that of the schedule queue, or of the half queue
        }
        assert_eq!(
            send.begun.key.queue, queue,
            "the answer names the queue that was asked for"
        );
        let key = send.begun.key;
        self.at(key, offset, uid, now_ms);
    }

    /// How the transaction of a message ends.
    pub(crate) fn ending(&self, uid: u64) -> Ending {
        let send = self.sends.get(&uid);
        send.unwrap_or_else(|| panic!("nobody sent {uid}, and its producer is asked"))
            .begun
            .ending
    }

    /// The broker gave up a transaction: its message lies where those go.
    pub(crate) fn gave_up(&mut self, uid: u64) {
        let send = self.sends.get_mut(&uid);
        let send = send.unwrap_or_else(|| panic!("nobody sent {uid}, and it was given up"));
        assert_ne!(send.begun.ending, Ending::Plain, "{uid} is no transaction");
        send.given_up += 1;
    }

    /// A send was refused before anything happened.
    pub(crate) fn refused(&mut self, uid: u64) {
        let send = self.sends.get_mut(&uid).expect("it began");
        assert!(
            send.places.is_empty(),
            "message {uid} was refused and is there"
        );
        send.fate = Fate::Refused;
    }

    /// A message was pulled.
    pub(crate) fn seen(&mut self, key: Key, offset: i64, uid: u64, now_ms: u64) {
        let Some(send) = self.sends.get(&uid) else {
            panic!("phantom: nobody sent {uid}, found in {key:?} at {offset}");
        };
        assert_ne!(
            send.fate,
            Fate::Refused,
            "{key:?} at {offset}: message {uid} was refused and is there"
        );
        assert!(
            matches!(send.begun.ending, Ending::Plain | Ending::Commit),
            "{key:?} at {offset}: message {uid} was never committed and is there"
        );
        // A copy that was sent back lies in another shard's log and may outlive the message.
        if self.is_honest && matches!(key.topic, Topic::Plain(_)) {
            assert_ne!(
                send.fate,
                Fate::GivenUp,
                "{key:?} at {offset}: message {uid} was gone and came back"
            );
        }
        assert_eq!(
            send.begun.key.broker, key.broker,
            "message {uid} is at another broker"
        );
        let is_new = self
            .places
            .get(&key)
            .is_none_or(|places| !places.contains_key(&offset));
        let due_ms = match key.topic {
            Topic::Plain(_) => {
                assert_eq!(send.begun.key, key, "message {uid} is in another queue");
                send.begun.at_ms + send.begun.delay_ms
            }
            Topic::Retry(group) | Topic::Dead(group) => {
                let back = self.backs.get_mut(&(group, key.broker, uid));
                let back = back.unwrap_or_else(|| panic!("{key:?}: nobody sent {uid} back"));
                back.copies += u64::from(is_new);
                back.first_due_ms
            }
        };
        if self.is_even {
            // The wall clock is read in whole milliseconds.
            assert!(
                due_ms <= now_ms + 1,
                "{key:?}: message {uid} is {} ms early",
                due_ms - now_ms
            );
        }
        self.at(key, offset, uid, now_ms);
    }

    fn at(&mut self, key: Key, offset: i64, uid: u64, now_ms: u64) {
        let there = self
            .places
            .get(&key)
            .and_then(|places| places.get(&offset))
            .copied();
        if let (Some(there), Some(loss)) = (there, self.losses.get(&key.broker))
            && there.uid != uid
            && there.since_ms > loss.kept_until_ms
        {
            self.places.entry(key).or_default().remove(&offset);
            self.lose(key, offset, there.uid);
        }
        let places = self.places.entry(key).or_default();
        let place = places.entry(offset).or_insert(Place {
            uid,
            since_ms: now_ms,
        });
        if !self.is_honest {
            *place = Place {
                uid,
                since_ms: now_ms,
            }; // what a disk lost, offsets are given anew
        }
        let there = place.uid;
        assert_eq!(there, uid, "{key:?} at {offset}: first {there}, now {uid}");
        let send = self.sends.get_mut(&uid).expect("it began");
        if send.begun.key == key && !send.places.contains(&offset) {
            send.places.push(offset);
            let may_repeat = send.begun.delay_ms > 0;
            assert!(
                may_repeat || send.places.len() == 1 || !self.is_honest,
                "message {uid} of {key:?} is at {:?}",
                send.places
            );
        }
    }

    /// The message that was seen at an offset.
    pub(crate) fn uid_at(&self, key: Key, offset: i64) -> Option<u64> {
        self.places.get(&key)?.get(&offset).map(|place| place.uid)
    }

    /// The first offset of a queue of which nothing is known, or of which a recovery may have taken
    /// what was known.
    pub(crate) fn first_unknown(&self, key: Key) -> i64 {
        let Some(places) = self.places.get(&key) else {
            return 0;
        };
        let kept_until_ms = self.losses.get(&key.broker).map(|loss| loss.kept_until_ms);
        let is_sure = |place: &Place| kept_until_ms.is_none_or(|until| place.since_ms <= until);
        let mut next = 0;
        for (offset, place) in places {
            if *offset != next || !is_sure(place) {
                break;
            }
            next += 1;
        }
        next
    }

    /// A recovered broker has `max` messages in a queue, all of them seen by now.
    pub(crate) fn recovered(&mut self, key: Key, max: i64) {
        if !self.is_honest {
            return;
        }
        let loss = self.losses.get(&key.broker).copied();
        let Some(places) = self.places.get_mut(&key) else {
            return;
        };
        for (offset, place) in places.split_off(&max) {
            let may_be_lost = loss.is_some_and(|loss| place.since_ms > loss.kept_until_ms);
            assert!(
                may_be_lost,
                "{key:?} at {offset}: {} was acknowledged or seen {} ms, and is lost",
                place.uid, place.since_ms
            );
            self.lose(key, offset, place.uid);
        }
    }

    fn lose(&mut self, key: Key, offset: i64, uid: u64) {
        let send = self.sends.get_mut(&uid).expect("it began");
        if send.begun.key != key {
            return;
        }
        send.places.retain(|other| *other != offset);
        if send.places.is_empty() && !send.begun.is_hidden() {
            send.fate = Fate::GivenUp;
            self.given_up += 1;
        }
    }

    /// A broker has recovered, and what it has is looked at from now on.
    pub(crate) fn begin_recovery(&mut self, broker: usize, loss: Option<Loss>) {
        self.losses.remove(&broker);
        self.losses.extend(loss.map(|loss| (broker, loss)));
    }

    /// Everything that a broker's recovery found was seen: what was sent to earlier lives and is
    /// not there never comes. Delayed messages stay out of sight.
    pub(crate) fn settle(&mut self, broker: usize, life: u64) {
        let may_lose = self.losses.remove(&broker).is_some();
        if !self.is_honest {
            return;
        }
        for (uid, send) in &mut self.sends {
            let is_old = send.begun.key.broker == broker && send.begun.life < life;
            let is_out = send.places.is_empty() && !send.begun.is_hidden();
            if is_old && is_out && send.fate != Fate::Refused && send.fate != Fate::GivenUp {
                assert!(
                    send.fate == Fate::Open || may_lose,
                    "message {uid} was acknowledged and is lost"
                );
                send.fate = Fate::GivenUp;
                self.given_up += 1;
            }
            if is_old && send.begun.is_hidden() && may_lose && send.fate == Fate::Done {
                send.fate = Fate::Open;
            }
        }
        if may_lose {
            for ((_, at, _), back) in &mut self.backs {
                back.done *= u64::from(*at != broker);
            }
            for ((_, at), back) in &mut self.dead {
                back.done *= u64::from(*at != broker);
            }
        }
    }

    /// Checks what a queue holds in the end, all of it seen. One connection's messages are in order,
    /// and one that was answered is before all that its producer sent later; one whose connection
    /// ended before its answer may come after what was sent over the next.
    pub(crate) fn check_dump(&self, key: Key, max: i64) {
        if !self.is_honest {
            return;
        }
        let mut last_of: BTreeMap<(u64, u64), u64> = BTreeMap::new();
        let mut highest_of: BTreeMap<u64, u64> = BTreeMap::new();
        for offset in 0..max {
            let uid = self.uid_at(key, offset);
            let uid = uid.unwrap_or_else(|| panic!("{key:?}: a hole at {offset}"));
            let Send { begun, fate, .. } = &self.sends[&uid];
            if !begun.is_hidden() && matches!(key.topic, Topic::Plain(_)) {
                let (producer, connection) = (begun.producer, begun.connection);
                let last = last_of.insert((producer, connection), uid).unwrap_or(0);
                let highest = highest_of.entry(producer).or_default();
                assert!(
                    last < uid && (*fate != Fate::Done || *highest < uid),
                    "{key:?}: {uid} of one producer comes after {last} and {highest}"
                );
                *highest = uid.max(*highest);
            }
        }
        let last = self
            .places
            .get(&key)
            .and_then(|places| places.keys().next_back());
        assert!(
            last.is_none_or(|last| *last < max),
            "{key:?}: {last:?} was there, now {max} are"
        );
    }

    /// Everything that was due has come, once.
    pub(crate) fn check_all_came(&self) {
        if !self.is_honest {
            return;
        }
        let repeats = |broker: usize| self.repeats.get(&broker).copied().unwrap_or(0);
        for (uid, send) in &self.sends {
            let copies = send.places.len() as u64;
            let ends = copies + send.given_up;
            let is_right = match (send.begun.ending, send.fate) {
                (Ending::Plain, _) => true,
                (Ending::Rollback, _) | (_, Fate::Open) => ends <= 1,
                (Ending::Commit | Ending::Unknown, Fate::Done) => ends == 1,
                (_, Fate::Refused | Fate::GivenUp) => ends == 0,
            };
            assert!(
                is_right,
                "the transaction of message {uid} ended {copies} times with the message and {} \
                 times given up: {:?}",
                send.given_up, send.begun
            );
            if send.begun.delay_ms > 0 {
                assert!(
                    send.fate != Fate::Done || copies > 0,
                    "delayed message {uid} never came: {:?}",
                    send.begun
                );
                assert!(
                    copies <= 1 + repeats(send.begun.key.broker),
                    "delayed message {uid} came {copies} times"
                );
            }
        }
        for ((group, broker, uid), back) in &self.backs {
            let most = back.tried * (1 + repeats(*broker));
            assert!(
                back.done <= back.copies && back.copies <= most,
                "group {group}: message {uid} was sent back {} to {} times and came {} times",
                back.done,
                back.tried,
                back.copies
            );
        }
    }

    /// A message of a group is about to be sent back, to come after `delay_ms`.
    pub(crate) fn begin_back(&mut self, group: u64, key: Key, uid: u64, due_ms: u64) {
        let back = self.backs.entry((group, key.broker, uid)).or_default();
        back.first_due_ms = if back.tried == 0 {
            due_ms
        } else {
            back.first_due_ms.min(due_ms)
        };
        back.tried += 1;
    }

    /// It was taken back.
    pub(crate) fn done_back(&mut self, group: u64, key: Key, uid: u64) {
        self.backs.entry((group, key.broker, uid)).or_default().done += 1;
    }

    /// A message is about to become a dead letter.
    pub(crate) fn begin_dead(&mut self, group: u64, broker: usize) {
        self.dead.entry((group, broker)).or_default().tried += 1;
    }

    /// It became one.
    pub(crate) fn done_dead(&mut self, group: u64, broker: usize) {
        self.dead.entry((group, broker)).or_default().done += 1;
    }

    /// A group has `count` dead letters at a broker.
    pub(crate) fn check_dead(&self, group: u64, broker: usize, count: u64) {
        let dead = self.dead.get(&(group, broker)).cloned().unwrap_or_default();
        let least = if self.is_honest { dead.done } else { 0 };
        assert!(
            least <= count && count <= dead.tried,
            "group {group}: {count} dead letters, {least} to {} were made",
            dead.tried
        );
    }

    pub(crate) fn begin_commit(&mut self, group: u64, key: Key, offset: i64) {
        let commits = self.commits.entry((group, key)).or_default();
        commits.sent = commits.sent.max(offset);
    }

    /// A commit was answered.
    pub(crate) fn committed(&mut self, group: u64, key: Key, at_ms: u64, offset: i64) {
        let commits = self.commits.entry((group, key)).or_default();
        commits.answered.push((at_ms, offset));
    }

    /// The broker crashed: commits that were answered up to `at_ms` must be found.
    pub(crate) fn crashed(&mut self, broker: usize, at_ms: u64) {
        *self.repeats.entry(broker).or_default() += 1;
        for ((_, key), commits) in &mut self.commits {
            if key.broker == broker {
                let sure = commits.answered.iter().filter(|(time, _)| *time <= at_ms);
                let highest = sure.map(|(_, offset)| *offset).max().unwrap_or(0);
                commits.sure = commits.sure.max(highest);
                commits.answered.clear();
            }
        }
    }

    /// The broker says what a group has committed; `None` when it knows nothing.
    pub(crate) fn check_commit(&mut self, group: u64, key: Key, at_ms: u64, found: Option<i64>) {
        let commits = self.commits.entry((group, key)).or_default();
        let offset = found.unwrap_or(0);
        let in_this_life = commits.answered.iter().map(|(_, offset)| *offset);
        let least = in_this_life.max().unwrap_or(0).max(commits.sure);
        let least = if self.is_honest { least } else { 0 };
        assert!(
            least <= offset && offset <= commits.sent,
            "group {group} {key:?}: committed {offset}, at least {least} was sure, at most {} was sent",
            commits.sent
        );
        commits.answered.push((at_ms, offset));
    }
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
