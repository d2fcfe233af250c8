//! kill -9 between half message, commit and answer, again and again: each transaction ends as its
//! producer decided, and a committed one is there once.
//!
//! Producers keep a decision and tell it until it is answered, also to the next process; some tell
//! it twice, some tell another one afterwards. What must always hold: the messages of the topic are
//! those that were committed, each once.

use crate::report::Report;
use anyhow::{Context, Result, ensure};
use harness::client::send_fields;
use harness::programs::{Programs, STOP_LIMIT, Standalone, StandaloneOptions};
use harness::server::pause;
use harness::wire::{Connection, END_TRANSACTION, Frame, SEND_MESSAGE_V2, SUCCESS};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const SUITE: &str = "transactions";
const TOPIC: &str = "Transacted";
const GROUP: &str = "PID_transactions";
const QUEUES: i32 = 4;
const PRODUCERS: u64 = 4;
const LOAD_MS: u64 = 600;
const COMMIT: &str = "8";
const ROLLBACK: &str = "12";

pub(crate) fn run(report: &mut Report, programs: &Programs, kills: u32) {
    if !report.wants(SUITE) {
        return;
    }
    for flush in ["SYNC_FLUSH", "ASYNC_FLUSH"] {
        let config = [
            format!("flushDiskType={flush}"),
            "mappedFileSizeCommitLog=67108864".to_owned(),
        ];
        let config: Vec<&str> = config.iter().map(String::as_str).collect();
        let name = format!("transactions_end_once_through_{kills}_kills_under_{flush}");
        report.check(SUITE, &name, || {
            let options = programs.options(&format!("tx-{flush}"), &config)?;
            World::new(programs, options)?.play(programs, kills)
        });
    }
}

/// A transaction whose half message was acknowledged.
#[derive(Debug, Clone)]
struct Transaction {
    is_committed: bool,
    phy_offset: String,
    queue_offset: String,
    /// Whether the broker answered that it is decided.
    is_answered: bool,
}

/// By body.
type Transactions = BTreeMap<String, Transaction>;

struct World {
    options: StandaloneOptions,
    system: Option<Standalone>,
    transactions: Transactions,
}

impl World {
    fn new(programs: &Programs, options: StandaloneOptions) -> Result<Self> {
        let system = programs.standalone(&options)?;
        Connection::open(&system.broker)?.create_topic(TOPIC, QUEUES as u32)?;
        Ok(Self {
            options,
            system: Some(system),
            transactions: Transactions::new(),
        })
    }

    fn play(mut self, programs: &Programs, kills: u32) -> Result<()> {
        for round in 1..=kills {
            self.round(programs, round)?;
        }
        let committed = self.transactions.values().filter(|t| t.is_committed);
        println!(
            "    {} transactions, {} of them committed",
            self.transactions.len(),
            committed.count()
        );
        let system = self.system.take().context("no broker")?;
        system.server.terminate(STOP_LIMIT)
    }

    /// Load, kill, restart, tell what was not answered, verify.
    fn round(&mut self, programs: &Programs, round: u32) -> Result<()> {
        let system = self.system.take().context("no broker")?;
        let stop = Arc::new(AtomicBool::new(false));
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|producer| {
                let (broker, stop) = (system.broker.clone(), Arc::clone(&stop));
                std::thread::spawn(move || transact_until_cut(&broker, producer, round, &stop))
            })
            .collect();
        pause(LOAD_MS + u64::from(round * 137 % 300));
        system.server.kill()?;
        stop.store(true, Ordering::Relaxed);
        for producer in producers {
            let made = producer.join();
            let made = made.map_err(|_| anyhow::anyhow!("a producer panicked"))?;
            self.transactions.extend(made);
        }
        let system = programs.standalone(&self.options)?;
        let mut connection = Connection::open(&system.broker)?;
        self.system = Some(system);
        for (body, transaction) in &mut self.transactions {
            if !transaction.is_answered {
                let code = end(&mut connection, transaction, transaction.is_committed)?;
                ensure!(code == SUCCESS, "{body}: its end is answered with {code}");
                transaction.is_answered = true;
            }
        }
        self.verify(&mut connection)
    }

    fn verify(&self, connection: &mut Connection) -> Result<()> {
        let mut found = BTreeSet::new();
        for queue in 0..QUEUES {
            for unit in connection.pull_all(TOPIC, queue, 0)? {
                let body = String::from_utf8(unit.body)?;
                let transaction = self.transactions.get(&body);
                // A half message whose answer was lost was never committed either.
                let transaction = transaction.with_context(|| format!("{body}: a phantom"))?;
                ensure!(transaction.is_committed, "{body}: rolled back, and there");
                ensure!(found.insert(body.clone()), "{body}: there twice");
            }
        }
        for (body, transaction) in &self.transactions {
            let is_there = found.contains(body);
            ensure!(
                !transaction.is_committed || is_there,
                "{body}: committed, and not there"
            );
        }
        ensure!(!found.is_empty(), "nothing was committed");
        Ok(())
    }
}

/// Ends a transaction; the code of the answer.
fn end(connection: &mut Connection, transaction: &Transaction, commits: bool) -> Result<i32> {
    let fields = [
        ("producerGroup", GROUP),
        ("tranStateTableOffset", &*transaction.queue_offset),
        ("commitLogOffset", &*transaction.phy_offset),
        ("commitOrRollback", if commits { COMMIT } else { ROLLBACK }),
        ("fromTransactionCheck", "false"),
        ("msgId", "any"),
    ];
    let answer = connection.call(END_TRANSACTION, &fields, &[])?;
    Ok(answer.code)
}

/// Makes transactions on one connection until it breaks.
fn transact_until_cut(broker: &str, producer: u64, round: u32, stop: &AtomicBool) -> Transactions {
    let mut made = Transactions::new();
    let Ok(mut connection) = Connection::open(broker) else {
        return made;
    };
    let properties = format!("TRAN_MSG\u{1}true\u{2}PGROUP\u{1}{GROUP}\u{2}");
    for sequence in 0_u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let body = format!("{round}/{producer}/{sequence}");
        let queue = (sequence % QUEUES as u64).to_string();
        let mut fields = send_fields(TOPIC, &queue).to_vec();
        fields.retain(|(name, _)| *name != "i");
        fields.push(("i", &properties));
        let Ok(answer) = connection.call(SEND_MESSAGE_V2, &fields, body.as_bytes()) else {
            break;
        };
        let Some(mut transaction) = taken(&answer, sequence % 3 != 2) else {
            continue;
        };
        // One in eight stays open until the next process is there.
        if sequence % 8 != 7 {
            let ended = end(&mut connection, &transaction, transaction.is_committed);
            transaction.is_answered = matches!(ended, Ok(SUCCESS));
        }
        if transaction.is_answered && sequence % 5 == 0 {
            // Too late, whatever it says.
            let other = sequence % 2 == 0;
            let _the_first_decision_counts = end(&mut connection, &transaction, other);
        }
        made.insert(body, transaction);
    }
    made
}

/// The transaction of a half message that was acknowledged.
fn taken(answer: &Frame, is_committed: bool) -> Option<Transaction> {
    let id = answer
        .fields
        .get("msgId")
        .filter(|_| answer.code == SUCCESS)?;
    // Address and port, then the physical offset.
    let offset = i64::from_str_radix(id.get(16..)?, 16).ok()?;
    Some(Transaction {
        is_committed,
        phy_offset: offset.to_string(),
        queue_offset: answer.fields.get("queueOffset")?.clone(),
        is_answered: false,
    })
}
