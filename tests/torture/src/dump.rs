//! The closing dump: every queue from its first to its last message, the ground truth of a run.
//!
//! Invariant: a queue that cannot be read to its end is an error, never a shorter dump.

use crate::journal::Journal;
use crate::receive::found;
use crate::send::Targets;
use anyhow::{Result, ensure};
use harness::wire::{Connection, SUCCESS};
use rmq_check::record::{Kind, Op};

/// Reads every queue of the targets; how many messages there were.
pub(crate) fn dump(journal: &Journal, address: &str, targets: &Targets) -> Result<u64> {
    let mut connection = Connection::open(address)?;
    let proc = journal.proc();
    let mut count = 0;
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
                count += pulled.units.len() as u64;
                let run = journal.run();
                journal.batch(
                    Op::LogDump,
                    Kind::Ok,
                    pulled.units.len(),
                    |index, record| {
                        found(&pulled.units[index], run).fill(record);
                        record.proc = proc;
                        record.topic = topic_id;
                        record.queue = queue;
                        record.aux = i64::from(pulled.units[index].reconsume_times);
                    },
                )?;
            }
        }
    }
    Ok(count)
}
