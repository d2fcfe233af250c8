//! The closing dump: every queue from its first to its last message, the ground truth of a run.
//!
//! Invariant: a queue that cannot be read to its end is an error, never a shorter dump.

use crate::journal::Journal;
use crate::receive::found;
use crate::send::Targets;
use anyhow::{Result, ensure};
use harness::client::{Unit, units};
use harness::wire::{Connection, QUERY_MESSAGE, SUCCESS, VIEW_MESSAGE_BY_ID};
use rmq_check::record::{Kind, Op};

/// One message of so many is also looked up by its id and its key.
const LOOK_UP_ONE_IN: u64 = 97;
const NOT_SUPPORTED: i32 = 3;
const LOOK_UP_TIMEOUT_MS: i64 = 5_000;

/// Reads every queue of the targets; how many messages there were.
pub(crate) fn dump(journal: &Journal, address: &str, targets: &Targets) -> Result<u64> {
    let mut connection = Connection::open(address)?;
    let proc = journal.proc();
    let mut count = 0_u64;
    for topic in &targets.topics {
        let topic_id = journal.string(topic)?;
        for queue in 0..targets.queues {
            let min = connection.min_offset(topic, i32::from(queue))?;
            let max = connection.max_offset(topic, i32::from(queue))?;
            journal.event(Op::DumpBegin, Kind::Ok, |record| {
                record.proc = proc;
                record.topic = topic_id;
                record.queue = queue;
                record.offset = min;
                record.aux = max;
            })?;
            let mut next = min;
            while next < max {
                let pulled = connection.pull(topic, i32::from(queue), next)?;
                ensure!(
                    pulled.code == SUCCESS && pulled.next_offset > next,
                    "the dump of {topic}/{queue} stands still at {next} of {max}: code {}",
                    pulled.code
                );
                next = pulled.next_offset;
                let run = journal.run();
                let seen = &pulled.units;
                journal.batch(Op::LogDump, Kind::Ok, seen.len(), |index, record| {
                    found(&seen[index], run).fill(record);
                    record.proc = proc;
                    record.topic = topic_id;
                    record.queue = queue;
                    record.aux = i64::from(seen[index].reconsume_times);
                })?;
                for unit in seen {
                    count += 1;
                    if count.is_multiple_of(LOOK_UP_ONE_IN) && unit.reconsume_times == 0 {
                        look_up(journal, &mut connection, proc, unit)?;
                    }
                }
            }
        }
    }
    Ok(count)
}

/// Asks for a message by its message id and by its key.
fn look_up(journal: &Journal, connection: &mut Connection, proc: u16, unit: &Unit) -> Result<()> {
    let offset = unit.phy_offset.to_string();
    let key = unit.property("KEYS").unwrap_or_default();
    let by_id = [("topic", unit.topic.as_str()), ("offset", &offset)];
    let by_key = [
        ("topic", unit.topic.as_str()),
        ("key", key),
        ("maxNum", "64"),
        ("beginTimestamp", "0"),
        ("endTimestamp", "9223372036854775807"),
    ];
    let wanted = found(unit, journal.run());
    let topic_id = journal.string(&unit.topic)?;
    for (op, code, fields) in [
        (Op::View, VIEW_MESSAGE_BY_ID, &by_id[..]),
        (Op::QueryKey, QUERY_MESSAGE, &by_key[..]),
    ] {
        journal.event(op, Kind::Invoke, |record| {
            wanted.fill(record);
            record.proc = proc;
            record.topic = topic_id;
            record.aux = LOOK_UP_TIMEOUT_MS;
        })?;
        let answer = connection.call(code, fields, &[])?;
        // Several copies and a shared hash may answer to one key: the message is to be among them.
        let seen: Vec<_> = units(&answer.body)?
            .iter()
            .map(|unit| found(unit, journal.run()))
            .collect();
        let same = seen.iter().find(|one| one.is_of(&wanted));
        let kind = match answer.code {
            SUCCESS if !seen.is_empty() => Kind::Ok,
            // A broker that keeps no keys says nothing about this message.
            NOT_SUPPORTED => Kind::Info,
            _ => Kind::Fail,
        };
        let shown = same.or(seen.first()).unwrap_or(&wanted);
        journal.event(op, kind, |record| {
            shown.fill(record);
            wanted.fill_uid(record);
            record.proc = proc;
            record.topic = topic_id;
            record.code = answer.code;
        })?;
    }
    Ok(())
}
