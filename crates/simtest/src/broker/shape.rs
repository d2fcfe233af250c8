//! What one broker seed looks like: workload, settings, and a plan of everything that goes wrong.
//!
//! Drawn whole before the run, and then cut: a minimiser switches parts off without moving the
//! draws of the others. Invariant: a shape is a function of seed and cuts.

use super::plan::{Planned, Trouble, draw_plan};
use crate::cuts::{Cuts, Part};
use broker::BrokerSettings;
use sim::{Host, Rng};
use std::net::SocketAddr;
use std::path::PathBuf;
use store::{FlushMode, Settings};

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) brokers: u64,
    pub(crate) shards: u16,
    pub(crate) name_servers: u64,
    pub(crate) producers: u64,
    pub(crate) consumers: u64,
    pub(crate) topics: u64,
    pub(crate) queues: i32,
    pub(crate) body_len_max: u64,
    pub(crate) pause_us_max: u64,
    /// One send in so many is a batch; 0 for none.
    pub(crate) batch_one_in: u64,
    /// One send in so many is delayed; 0 for none.
    pub(crate) delay_one_in: u64,
    /// One send in so many is a transaction; 0 for none.
    pub(crate) transaction_one_in: u64,
    /// Pause between two rounds of asking producers, in milliseconds.
    pub(crate) check_interval_ms: u64,
    /// One message read in so many is sent back; 0 for none.
    pub(crate) back_one_in: u64,
    pub(crate) delay_levels_ms: Vec<u64>,
    /// Sends of one producer: a long start of one broker must not let another's log grow for ever.
    pub(crate) messages_max: u64,
    /// How long things go wrong, in milliseconds.
    pub(crate) storm_ms: u64,
    pub(crate) commit_interval_ms: u64,
    pub(crate) register_interval_ms: u64,
    pub(crate) lane_len: usize,
    pub(crate) is_sync: bool,
    /// One start in so many is crashed too; 0 for none.
    pub(crate) crash_start_one_in: u64,
    pub(crate) trouble: Trouble,
    pub(crate) plan: Vec<Planned>,
}

/// The brokers' port.
pub(crate) const PORT: u16 = 10_911;
/// The name servers' port.
pub(crate) const NAME_SERVER_PORT: u16 = 9_876;

impl Shape {
    /// Nine of ten seeds are short.
    pub(crate) fn draw(seed: u64, cuts: &Cuts) -> Self {
        let rng = &mut Rng::for_subject(seed, "broker workload");
        let is_long = rng.one_in(10);
        let storm_ms = rng.skewed(20, if is_long { 8_000 } else { 600 });
        let trouble = Trouble::draw(rng);
        let brokers = if rng.one_in(4) { 2 } else { 1 };
        let name_servers = rng.below(3);
        let transaction_rng = &mut Rng::for_subject(seed, "broker transactions");
        let mut shape = Self {
            transaction_one_in: *transaction_rng.pick(&[0, 0, 2, 6]),
            check_interval_ms: transaction_rng.skewed(10, 1_000),
            brokers,
            shards: rng.between(1, 3) as u16,
            name_servers,
            producers: rng.between(1, 4),
            consumers: rng.between(1, 3),
            topics: rng.between(1, 2),
            queues: rng.between(1, 4) as i32,
            body_len_max: rng.skewed(8, if is_long { 20_000 } else { 4_000 }),
            pause_us_max: *rng.pick(&[2_000, 20_000, 20_000, 100_000]),
            batch_one_in: *rng.pick(&[0, 2, 10]),
            delay_one_in: *rng.pick(&[0, 0, 3, 20]),
            back_one_in: *rng.pick(&[0, 0, 3, 20]),
            delay_levels_ms: vec![rng.skewed(1, 50), rng.skewed(20, 300), 2_000],
            messages_max: if is_long { 1_000 } else { 100 },
            storm_ms,
            commit_interval_ms: rng.skewed(50, 1_000),
            register_interval_ms: rng.skewed(1_000, 30_000),
            lane_len: rng.skewed(4, 256) as usize,
            is_sync: !rng.one_in(3),
            crash_start_one_in: *rng.pick(&[0, 0, 3]),
            trouble,
            plan: Vec::new(),
        };
        let plan_rng = &mut Rng::for_subject(seed, "broker plan");
        shape.plan = draw_plan(plan_rng, &shape);
        shape.cut(cuts);
        shape
    }

    fn cut(&mut self, cuts: &Cuts) {
        self.brokers = cuts.cap("brokers", self.brokers);
        self.name_servers = cuts.cap("name-servers", self.name_servers);
        self.shards = cuts.cap("shards", u64::from(self.shards)) as u16;
        self.producers = cuts.cap("producers", self.producers);
        self.consumers = cuts.cap("consumers", self.consumers);
        self.topics = cuts.cap("topics", self.topics);
        self.queues = cuts.cap("queues", self.queues as u64) as i32;
        self.body_len_max = cuts.cap("body", self.body_len_max);
        self.storm_ms = cuts.cap("storm", self.storm_ms);
        self.messages_max = cuts.cap("messages", self.messages_max);
        for (name, one_in) in [
            ("batches", &mut self.batch_one_in),
            ("delays", &mut self.delay_one_in),
            ("backs", &mut self.back_one_in),
            ("transactions", &mut self.transaction_one_in),
            ("start-crashes", &mut self.crash_start_one_in),
        ] {
            if cuts.cap(name, 1) == 0 {
                *one_in = 0;
            }
        }
        let brokers = self.brokers as usize;
        let storm_ms = self.storm_ms;
        self.plan.retain(|planned| {
            let is_there = planned.what.broker() < brokers && planned.at_ms < storm_ms;
            is_there && cuts.keeps(planned.number)
        });
    }

    /// What a minimiser may make smaller.
    pub(crate) fn parts(&self) -> Vec<Part> {
        let switch = |name, one_in: u64| Part::new(name, u64::from(one_in > 0), 0);
        vec![
            Part::new("brokers", self.brokers, 1),
            Part::new("name-servers", self.name_servers, 0),
            Part::new("storm", self.storm_ms, 1),
            switch("batches", self.batch_one_in),
            switch("delays", self.delay_one_in),
            switch("backs", self.back_one_in),
            switch("transactions", self.transaction_one_in),
            switch("start-crashes", self.crash_start_one_in),
            Part::new("consumers", self.consumers, 0),
            Part::new("producers", self.producers, 1),
            Part::new("shards", u64::from(self.shards), 1),
            Part::new("topics", self.topics, 1),
            Part::new("queues", self.queues as u64, 1),
            Part::new("messages", self.messages_max, 1),
            Part::new("body", self.body_len_max, 8),
        ]
    }

    /// Settings of one broker.
    pub(crate) fn settings(
        &self,
        server: &Host,
        number: usize,
        name_servers: &[Host],
        rng: &mut Rng,
    ) -> BrokerSettings {
        let dir = PathBuf::from(STORE_DIR);
        let mut settings = BrokerSettings::new(dir.clone(), self.shards, server.ip());
        settings.name = broker_name(number);
        settings.listen_port = PORT;
        settings.default_queue_count = self.queues;
        settings.flush_consumer_offset_interval_ms = self.commit_interval_ms;
        settings.register_interval_ms = self.register_interval_ms;
        settings.body_len_max = 24 << 10;
        settings.delay_levels_ms.clone_from(&self.delay_levels_ms);
        settings.transactions.check_interval_ms = self.check_interval_ms;
        settings.transactions.timeout_ms = 1;
        settings.transactions.check_max = CHECK_MAX;
        let address = |host: &Host| SocketAddr::new(host.ip(), NAME_SERVER_PORT);
        settings.name_servers = name_servers.iter().map(address).collect();
        // The shorter of them are passed by a slow disk.
        settings.sync_flush_timeout_ms = rng.skewed(20, 5_000);
        let mut store = Settings::small(dir, base::ShardId::CONTROL, self.shards);
        store.flush = if self.is_sync {
            FlushMode::Sync
        } else {
            FlushMode::Async
        };
        store.block_bytes = *rng.pick(&[4 << 10, 16 << 10]);
        store.checkpoint_bytes = rng.skewed(16 << 10, 512 << 10);
        store.writes_max = rng.between(1, 4) as usize;
        if rng.coin() {
            store.scrub_bytes_per_second = rng.skewed(16 << 10, 16 << 20);
            store.scrub_first_rest_ms = rng.skewed(1, 1_000);
            store.scrub_rest_ms = rng.skewed(1_000, 10_000);
        }
        settings.store = store;
        settings
    }
}

/// How often a producer is asked about a transaction.
const CHECK_MAX: u32 = 3;
/// Where a broker's store lies.
pub(crate) const STORE_DIR: &str = "/data/store";

pub(crate) fn broker_name(number: usize) -> String {
    format!("broker-{number}")
}
