//! How groups get the messages of topics, where somebody has said so.
//!
//! Owned by shard 0; others ask it. Each row is a record of shard 0's log. Invariant: a row exists
//! only while its topic and its group do. Java: `MessageRequestModeManager`.

use remoting::body::pop::SetMessageRequestModeRequestBody as Row;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// The rows by topic and group.
#[derive(Debug, Default)]
pub struct Modes(RefCell<BTreeMap<(String, String), Row>>);

impl Modes {
    /// What was said of a group and a topic.
    pub fn find(&self, topic: &str, group: &str) -> Option<Row> {
        let key = (topic.to_owned(), group.to_owned());
        self.0.borrow().get(&key).cloned()
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The rows whose topic and group match.
    pub(crate) fn matching(&self, matches: impl Fn(&str, &str) -> bool) -> Vec<Row> {
        let rows = self.0.borrow();
        let rows = rows.values();
        let rows = rows.filter(|row| matches(&row.topic, &row.consumer_group));
        rows.cloned().collect()
    }

    /// Takes a record in: a row, and whether it is there from now on.
    pub(crate) fn apply(&self, row: Row, is_there: bool) {
        let key = (row.topic.clone(), row.consumer_group.clone());
        if is_there {
            self.0.borrow_mut().insert(key, row);
        } else {
            self.0.borrow_mut().remove(&key);
        }
    }

    /// A row as a record.
    pub(crate) fn record(row: &Row, is_there: bool) -> Vec<u8> {
        serde_json::to_vec(&(row, is_there)).expect("rows are plain data")
    }

    /// All rows as records.
    pub(crate) fn records(&self) -> Vec<Vec<u8>> {
        let rows = self.0.borrow();
        rows.values().map(|row| Self::record(row, true)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_of_the_records_gives_the_same_rows() {
        let (written, read) = (Modes::default(), Modes::default());
        let row = |group: &str| Row {
            topic: "T".to_owned(),
            consumer_group: group.to_owned(),
            pop_share_queue_num: 3,
            ..Row::default()
        };
        written.apply(row("a"), true);
        written.apply(row("b"), true);
        written.apply(row("a"), false);
        for record in written.records() {
            let (row, is_there) = serde_json::from_slice::<(Row, bool)>(&record).unwrap();
            read.apply(row, is_there);
        }
        assert_eq!(read.find("T", "b"), Some(row("b")));
        assert_eq!((read.find("T", "a"), read.len()), (None, 1));
        assert_eq!(written.matching(|_, group| group == "b").len(), 1);
    }
}
