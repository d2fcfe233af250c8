//! The sweep over a whole broker: shards, mesh, store and protocol, with clients on the network.
//!
//! A run is one broker host of one to three shards that lives several times, and some client
//! hosts that survive it. Properties, as clients can see them: an acknowledged message is at its
//! offset in every later life, with its body; nobody finds a message that nobody sent, or one
//! twice; offsets are dense; one producer's messages are in order; commits go back by no more
//! than their interval; while the broker runs every request is answered.

mod client;
mod model;
mod tasks;

use crate::Summary;
use broker::{BrokerSettings, run_shard};
use model::Model;
use rt::{Class, Rt};
use sim::{Crash, Host, Rng, World};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use store::{FlushMode, Settings, prepare_root_on};
use tasks::{Shared, consume, dump, produce};

/// What one seed looks like.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    shards: u16,
    lives: u64,
    pub(crate) producers: u64,
    consumers: u64,
    pub(crate) topics: u64,
    pub(crate) queues: i32,
    pub(crate) body_len_max: u64,
    pub(crate) pause_us_max: u64,
    life_ms: u64,
    commit_interval_ms: u64,
    lane_len: usize,
}

/// Extra time that a commit may take from its answer to the disk, in milliseconds.
const COMMIT_SLACK_MS: u64 = 2_000;
/// Longest time until a broker serves, in virtual time.
const START_MAX: Duration = Duration::from_mins(2);

/// What a seed looks like, for people.
pub(crate) fn describe(seed: u64) -> String {
    let mut rng = Rng::for_subject(seed, "broker workload");
    format!("{:#?}", Shape::draw(&mut rng))
}

/// Runs one seed. Panics with a sentence at the first violation.
pub(crate) fn run(seed: u64) -> Summary {
    let mut rng = Rng::for_subject(seed, "broker workload");
    let shape = Shape::draw(&mut rng);
    let world = World::new(seed);
    let server = world.host(shape.shards);
    let settings = Arc::new(shape.settings(&server, &mut rng));
    let mut run = Run {
        clients: world.host(1),
        world,
        server,
        settings,
        shared: Rc::new(Shared::new(shape)),
        rng,
        summary: Summary::default(),
    };
    run.play();
    run.summary.trace_hash = run.world.trace_hash();
    run.summary.virtual_ms = run.world.now().as_millis() as u64;
    run.summary.records = run.shared.model.borrow().acknowledged;
    run.summary
}

struct Run {
    world: World,
    server: Host,
    clients: Host,
    settings: Arc<BrokerSettings>,
    shared: Rc<Shared>,
    rng: Rng,
    summary: Summary,
}

impl Shape {
    fn draw(rng: &mut Rng) -> Self {
        Self {
            shards: rng.between(1, 3) as u16,
            lives: rng.between(1, 4),
            producers: rng.between(1, 4),
            consumers: rng.between(1, 2),
            topics: rng.between(1, 2),
            queues: rng.between(1, 4) as i32,
            body_len_max: rng.skewed(8, 20_000),
            pause_us_max: *rng.pick(&[0, 1_000, 20_000]),
            life_ms: rng.skewed(20, 3_000),
            commit_interval_ms: rng.skewed(50, 1_000),
            lane_len: rng.skewed(4, 256) as usize,
        }
    }

    fn settings(&self, server: &Host, rng: &mut Rng) -> BrokerSettings {
        let dir = PathBuf::from("/data/store");
        let mut settings = BrokerSettings::new(dir.clone(), self.shards, server.ip());
        settings.listen_port = PORT;
        settings.default_queue_count = self.queues;
        settings.flush_consumer_offset_interval_ms = self.commit_interval_ms;
        settings.body_len_max = 24 << 10;
        let mut store = Settings::small(dir, base::ShardId::CONTROL, self.shards);
        store.flush = FlushMode::Sync;
        store.block_bytes = *rng.pick(&[4 << 10, 16 << 10]);
        store.checkpoint_bytes = rng.skewed(16 << 10, 512 << 10);
        store.writes_max = rng.between(1, 4) as usize;
        settings.store = store;
        settings
    }
}

/// The broker's port.
pub(crate) const PORT: u16 = 10_911;

impl Run {
    fn play(&mut self) {
        let address = SocketAddr::new(self.server.ip(), PORT);
        self.start();
        let client = self.clients.sim(0);
        for producer in 0..self.shared.shape.producers {
            let rng = Rng::new(self.rng.next_u64());
            let task = produce(
                client.clone(),
                address,
                Rc::clone(&self.shared),
                producer,
                rng,
            );
            client.spawn(Class::Request, task);
        }
        for number in 0..self.shared.shape.consumers {
            let rng = Rng::new(self.rng.next_u64());
            let task = consume(
                client.clone(),
                address,
                Rc::clone(&self.shared),
                number,
                rng,
            );
            client.spawn(Class::Request, task);
        }
        for _ in 1..self.shared.shape.lives {
            let ms = self.rng.below(self.shared.shape.life_ms);
            let us = self.rng.below(1_000);
            self.world
                .run_for(Duration::from_millis(ms) + Duration::from_micros(us));
            self.crash();
            self.start();
        }
        self.world
            .run_for(Duration::from_millis(self.shared.shape.life_ms));
        self.shared.stop.set(true);
        let shared = Rc::clone(&self.shared);
        self.world
            .block_on(async move { shared.working.empty().await });
        if self.rng.coin() {
            self.crash();
            self.start();
        }
        let shared = Rc::clone(&self.shared);
        let dumped = self
            .clients
            .block_on(0, move |sim| dump(sim, address, shared));
        self.summary.verified += dumped;
    }

    fn crash(&mut self) {
        let crash = if self.rng.coin() {
            Crash::Power
        } else {
            Crash::Kill
        };
        let now_ms = self.world.now().as_millis() as u64;
        let before_ms =
            now_ms.saturating_sub(self.shared.shape.commit_interval_ms + COMMIT_SLACK_MS);
        self.shared.model.borrow_mut().crashed(before_ms);
        self.shared.crashes.set(self.shared.crashes.get() + 1);
        self.server.crash(crash);
        self.summary.lives += 1;
    }

    /// Starts all shards and waits until they serve.
    fn start(&mut self) {
        let store = self.settings.store.clone();
        let shards = self.shared.shape.shards;
        self.server.block_on(0, move |sim| async move {
            prepare_root_on(sim.disk(), &store.dir, shards, store.block_align)
                .await
                .expect("the disk does not fail");
        });
        let count = self.server.sims().len();
        let serving = Rc::new(Cell::new(0));
        let failed: Rc<RefCell<Option<String>>> = Rc::default();
        let meshes = self.server.mesh(self.shared.shape.lane_len);
        for (sim, mesh) in self.server.sims().into_iter().zip(meshes) {
            let settings = Arc::clone(&self.settings);
            let (serving, failed) = (Rc::clone(&serving), Rc::clone(&failed));
            let rt = sim.clone();
            sim.spawn(Class::Request, async move {
                let ready = |result: Result<broker::BootReport, String>| match result {
                    Ok(_) => serving.set(serving.get() + 1),
                    Err(reason) => drop(failed.replace(Some(reason))),
                };
                let stop = std::future::pending();
                let ended = run_shard(rt, mesh, settings, ready, stop).await;
                panic!("a shard ended by itself: {ended:?}");
            });
        }
        let end = self.world.now() + START_MAX;
        let world = &self.world;
        let all_serve = world.run_until(|| {
            assert_eq!(*failed.borrow(), None, "the broker does not start");
            assert!(world.now() < end, "the broker never serves");
            serving.get() == count
        });
        assert!(all_serve, "the broker never serves");
    }
}

impl Shared {
    fn new(shape: Shape) -> Self {
        Self {
            shape,
            model: RefCell::new(Model::default()),
            stop: Cell::new(false),
            crashes: Cell::new(0),
            working: Rc::default(),
            last_empty: RefCell::default(),
        }
    }
}
