//! What every campaign needs: directory, name server, broker, history, Rust clients, the closing.
//!
//! A campaign decides what happens to the broker; producers and consumers go on through it. What
//! must always hold: a campaign ends with a drain, a dump and the checker's verdict, and the
//! directory of a failed run stays.

use crate::broker::{BROKER_NAME, BrokerOptions, BrokerProcess};
use crate::dump;
use crate::java::{JAVA_GROUP, JAVA_RECONSUME_TIMES_MAX, JavaClients};
use crate::journal::Journal;
use crate::receive::{Consumer, Group};
use crate::send::{Producer, Sums, Targets};
use anyhow::{Context, Result, anyhow, bail};
use harness::java::Java;
use harness::programs::Programs;
use harness::server::Server;
use harness::wire::Connection;
use rmq_check::check::Report;
use rmq_check::record::{Kind, Op, Setting};
use rmq_check::source::Files;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// flushConsumerOffsetInterval of the broker under test.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
/// What a commit may lag behind that interval.
const COMMIT_SLACK: Duration = Duration::from_millis(700);
/// How long the Java group may take to read what is left.
const JAVA_DRAIN_LIMIT: Duration = Duration::from_mins(2);
/// The Java group is done when nothing came for so long: longer than any delay of a retry.
const JAVA_QUIET: Duration = Duration::from_secs(7);
/// The topic of the probe that measures recovery.
const PROBE_TOPIC: &str = "Probe";
const PROBE_NUMBER: u16 = 1;
/// Producers of the load are numbered from here.
const LOAD_NUMBER: u16 = 10;
/// How much is going on.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    pub(crate) producers: u16,
    pub(crate) consumers: u64,
    pub(crate) targets: Targets,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            producers: 6,
            consumers: 2,
            targets: Targets {
                topics: vec!["TortureA".to_owned(), "TortureB".to_owned()],
                queues: 4,
            },
        }
    }
}

/// A system under test and its history.
pub(crate) struct World {
    pub(crate) broker: BrokerProcess,
    pub(crate) journal: Journal,
    pub(crate) probe: Producer,
    pub(crate) sums: Arc<Sums>,
    /// Histories of other processes, to be judged with ours.
    pub(crate) others: Vec<PathBuf>,
    java: Option<JavaClients>,
    namesrv: String,
    load: Load,
    probe_targets: Targets,
    group: Arc<Group>,
    stop: Arc<AtomicBool>,
    drain: Arc<AtomicBool>,
    producers: Vec<JoinHandle<Result<()>>>,
    consumers: Vec<JoinHandle<Result<()>>>,
    namesrv_process: Server,
}

impl World {
    /// Starts name server and broker and makes the topics. `config` are lines of broker.conf.
    pub(crate) fn new(
        programs: &Programs,
        name: &str,
        run: u64,
        config: &[String],
        load: &Load,
    ) -> Result<Self> {
        let dir = programs.fresh_dir(name)?;
        let store = dir.join("store");
        Self::with_store(programs, dir, store, run, config, load)
    }

    /// As [`World::new`], on a store directory of the campaign's choice.
    pub(crate) fn with_store(
        programs: &Programs,
        dir: PathBuf,
        store: PathBuf,
        run: u64,
        config: &[String],
        load: &Load,
    ) -> Result<Self> {
        let (namesrv_process, namesrv) = programs.namesrv("namesrv")?;
        let journal = Journal::create(&dir.join("rust.hist"), run)?;
        let mut lines = vec![format!(
            "flushConsumerOffsetInterval={}",
            COMMIT_INTERVAL.as_millis()
        )];
        lines.extend(config.iter().cloned());
        let options = BrokerOptions {
            binary: programs.binary().to_owned(),
            dir,
            namesrv: namesrv.clone(),
            store,
            shards: 2,
            config: lines,
        };
        let mut broker = BrokerProcess::new(options, &journal)?;
        let sums = Arc::new(Sums::default());
        let probe_targets = Targets {
            topics: vec![PROBE_TOPIC.to_owned()],
            queues: 1,
        };
        let probe = Producer::new(PROBE_NUMBER, &journal, &probe_targets, &sums)?;
        journal.event(Op::Setting, Kind::Ok, |record| {
            record.code = Setting::OffsetWindowNs as i32;
            record.aux = (COMMIT_INTERVAL + COMMIT_SLACK).as_nanos() as i64;
        })?;
        broker.start()?;
        make_topics(&mut broker, &[&load.targets, &probe_targets])?;
        let group = Group::new("CID_torture", &load.targets, load.consumers);
        Ok(Self {
            broker,
            journal,
            probe,
            sums,
            others: Vec::new(),
            java: None,
            namesrv,
            load: load.clone(),
            probe_targets,
            group: Arc::new(group),
            stop: Arc::default(),
            drain: Arc::default(),
            producers: Vec::new(),
            consumers: Vec::new(),
            namesrv_process,
        })
    }

    /// Starts producers and consumers, which go on until [`World::close`].
    pub(crate) fn start_load(&mut self) -> Result<()> {
        let address = self.broker.address();
        let group_id = self.journal.string(&self.group.name)?;
        for topic in &self.load.targets.topics {
            let topic_id = self.journal.string(topic)?;
            self.journal.event(Op::Subscribe, Kind::Ok, |record| {
                record.group = group_id;
                record.topic = topic_id;
            })?;
        }
        for number in LOAD_NUMBER..LOAD_NUMBER + self.load.producers {
            let mut producer =
                Producer::new(number, &self.journal, &self.load.targets, &self.sums)?;
            let (address, stop) = (address.clone(), Arc::clone(&self.stop));
            self.producers
                .push(std::thread::spawn(move || producer.run(&address, &stop)));
        }
        for member in 0..self.load.consumers {
            let (group, journal) = (Arc::clone(&self.group), self.journal.clone());
            let (address, drain) = (address.clone(), Arc::clone(&self.drain));
            self.consumers.push(std::thread::spawn(move || {
                Consumer::new(&group, member, &journal)?.run(&address, &drain)
            }));
        }
        Ok(())
    }

    /// Adds the official client to the load; to be called once the broker serves.
    pub(crate) fn start_java(&mut self, java: &Java) -> Result<()> {
        let group_id = self.journal.string(JAVA_GROUP)?;
        self.journal.event(Op::Setting, Kind::Ok, |record| {
            record.code = Setting::MaxReconsumeTimes as i32;
            record.group = group_id;
            record.aux = JAVA_RECONSUME_TIMES_MAX;
        })?;
        self.java = Some(JavaClients::start(
            java,
            self.broker.dir(),
            (&self.namesrv, BROKER_NAME),
            self.journal.run(),
            &self.load.targets,
        )?);
        Ok(())
    }

    /// Lets the queues of the Rust group change hands.
    pub(crate) fn rebalance(&self) {
        self.group.epoch.fetch_add(1, Ordering::Relaxed);
    }

    /// An error when a client ended, which none does before the closing.
    pub(crate) fn require_clients(&mut self) -> Result<()> {
        self.namesrv_process.require_running()?;
        for threads in [&mut self.producers, &mut self.consumers] {
            if let Some(index) = threads.iter().position(JoinHandle::is_finished) {
                join(threads.swap_remove(index))?;
                bail!("a client ended too early");
            }
        }
        Ok(())
    }

    /// Ends the producers; the broker must be serving.
    pub(crate) fn stop_producers(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(java) = &mut self.java {
            let acknowledged = java.stop()?;
            self.sums
                .acknowledged
                .fetch_add(acknowledged, Ordering::Relaxed);
        }
        self.producers.drain(..).try_for_each(join)
    }

    /// Drains, dumps every queue of the load and of `further` targets, stops the broker and judges.
    pub(crate) fn close(&mut self, further: &[Targets]) -> Result<Report> {
        self.stop_producers()?;
        self.drain.store(true, Ordering::Relaxed);
        self.consumers.drain(..).try_for_each(join)?;
        let address = self.broker.address();
        let mut targets = vec![self.load.targets.clone(), self.probe_targets.clone()];
        targets.extend(further.iter().cloned());
        if self.java.is_some() {
            targets.push(self.drain_java()?);
        }
        for targets in &targets {
            dump::dump(&self.journal, &address, targets)?;
        }
        self.broker.stop()?;
        self.verdict()
    }

    /// Waits until the Java group has read everything, retries too; the topics of its failures.
    fn drain_java(&mut self) -> Result<Targets> {
        let mut java = self.java.take().context("no Java clients")?;
        let mut connection = Connection::open(&self.broker.address())?;
        let own = Targets {
            topics: vec![format!("%RETRY%{JAVA_GROUP}"), format!("%DLQ%{JAVA_GROUP}")],
            queues: 1,
        };
        let end = Instant::now() + JAVA_DRAIN_LIMIT;
        let mut quiet = (Instant::now(), 0);
        while quiet.0.elapsed() < JAVA_QUIET {
            let delivered = java.delivered()?;
            let behind = behind(&mut connection, &self.load.targets)?
                + behind_in(&mut connection, &own.topics[0], 0)?;
            if delivered != quiet.1 || behind > 0 {
                quiet = (Instant::now(), delivered);
            }
            if Instant::now() > end {
                bail!(
                    "the Java group is still {behind} messages behind after {JAVA_DRAIN_LIMIT:?}"
                );
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        self.others.push(java.close()?);
        let group_id = self.journal.string(JAVA_GROUP)?;
        for topic in &self.load.targets.topics {
            let topic_id = self.journal.string(topic)?;
            for queue in 0..self.load.targets.queues {
                let max = connection.max_offset(topic, i32::from(queue))?;
                self.journal.event(Op::Drained, Kind::Ok, |record| {
                    record.group = group_id;
                    record.topic = topic_id;
                    record.queue = queue;
                    record.offset = max;
                })?;
            }
        }
        Ok(own)
    }

    /// What the checker says of all histories.
    pub(crate) fn verdict(&self) -> Result<Report> {
        self.journal.flush()?;
        let files = Files::open(&self.histories())?;
        Ok(rmq_check::check::check(&files)?)
    }

    /// The files that the verdict is of.
    pub(crate) fn histories(&self) -> Vec<PathBuf> {
        let own = std::iter::once(self.journal.path().to_owned());
        own.chain(self.others.iter().cloned()).collect()
    }

    /// How to look at a run that failed.
    pub(crate) fn how_to_look(&self) -> String {
        let files: Vec<_> = self
            .histories()
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        format!(
            "the run is kept in {}\nlook: cargo run -p rmq-check -- check {}",
            self.broker.dir().display(),
            files.join(" ")
        )
    }
}

/// How many messages the Java group has yet to commit.
fn behind(connection: &mut Connection, targets: &Targets) -> Result<i64> {
    let mut sum = 0;
    for topic in &targets.topics {
        for queue in 0..targets.queues {
            sum += behind_in(connection, topic, queue)?;
        }
    }
    Ok(sum)
}

fn behind_in(connection: &mut Connection, topic: &str, queue: u16) -> Result<i64> {
    let queue = i32::from(queue);
    let max = connection.max_offset(topic, queue)?;
    // A group without an offset has read nothing.
    let committed = connection
        .committed(JAVA_GROUP, topic, queue)
        .unwrap_or_default();
    Ok(max - committed)
}

fn make_topics(broker: &mut BrokerProcess, targets: &[&Targets]) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(30);
    let mut connection = loop {
        broker.require_running()?;
        if let Ok(connection) = Connection::open(&broker.address()) {
            break connection;
        }
        if Instant::now() > end {
            bail!("the broker does not listen after 30 s");
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    for targets in targets {
        for topic in &targets.topics {
            connection
                .create_topic(topic, u32::from(targets.queues))
                .with_context(|| format!("topic {topic}"))?;
        }
    }
    Ok(())
}

fn join(thread: JoinHandle<Result<()>>) -> Result<()> {
    thread
        .join()
        .map_err(|_| anyhow!("a client panicked"))?
        .context("a client")
}
