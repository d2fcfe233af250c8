//! The sweep over whole brokers: shards, mesh, store and protocol, with clients and name servers on
//! the network.
//!
//! A run is one or two broker hosts that live several times, up to two name servers, and clients
//! on two hosts that survive everything. First the storm: the plan of the seed happens. Then the
//! calm: nothing fails any more and everything must converge. Properties: `model`, `consume`, `calm`.

mod calm;
mod client;
mod consume;
mod history;
mod inspect;
mod life;
mod model;
mod name_server;
mod plan;
mod produce;
mod shape;
mod shared;
mod storm;
mod transact;

use crate::Summary;
use crate::cuts::{Cuts, Part};
use history::History;
use life::Broker;
use model::Model;
use plan::Happening;
use rt::{Class, Rt};
use shape::{PORT, Shape};
use shared::{BrokerState, Shared};
use sim::{Crash, Host, Rng, Sim, World};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// What a seed looks like, for people.
pub(crate) fn describe(seed: u64, cuts: &Cuts) -> String {
    format!("{:#?}", Shape::draw(seed, cuts))
}

/// What a minimiser may make smaller of a seed, and the entries of its plan.
pub(crate) fn parts(seed: u64, cuts: &Cuts) -> (Vec<Part>, Vec<usize>) {
    let shape = Shape::draw(seed, cuts);
    let plan = shape.plan.iter().map(|planned| planned.number);
    (shape.parts(), plan.collect())
}

/// Runs one seed. Panics with a sentence at the first violation.
pub(crate) fn run(seed: u64, cuts: &Cuts) -> Summary {
    play(seed, Shape::draw(seed, cuts))
}

fn play(seed: u64, shape: Shape) -> Summary {
    let mut run = Run::new(seed, shape);
    run.storm();
    if !run.is_over {
        run.calm();
    }
    let model = run.shared.model.borrow();
    Summary {
        trace_hash: run.world.trace_hash(),
        virtual_ms: run.world.now().as_millis() as u64,
        records: model.acknowledged,
        given_up: model.given_up,
        ..run.summary
    }
}

struct Run {
    world: World,
    brokers: Vec<Broker>,
    name_servers: Vec<Host>,
    clients: Vec<Host>,
    /// A host whose network never fails.
    inspector: Host,
    shared: Rc<Shared>,
    rng: Rng,
    summary: Summary,
    /// Whether a broker cannot start any more, for what its disk did.
    is_over: bool,
}

/// How long clients may take to end once nothing fails any more.
const END_MAX: Duration = Duration::from_mins(2);

impl Run {
    fn new(seed: u64, shape: Shape) -> Self {
        let world = World::new(seed);
        let mut rng = Rng::for_subject(seed, "broker run");
        let hosts: Vec<Host> = (0..shape.brokers)
            .map(|_| world.host(shape.shards))
            .collect();
        let name_servers: Vec<Host> = (0..shape.name_servers).map(|_| world.host(1)).collect();
        let clients = (0..2).map(|_| world.host(1)).collect();
        let inspector = world.host(1);
        let address = |host: &Host| SocketAddr::new(host.ip(), PORT);
        let states = hosts
            .iter()
            .map(|host| BrokerState::new(host.clone(), address(host)));
        let is_even = !shape
            .plan
            .iter()
            .any(|planned| matches!(planned.what, Happening::Clock { .. }));
        let window_ms = shape.commit_interval_ms + life::COMMIT_SLACK_MS;
        let shared = Rc::new(Shared {
            history: RefCell::new(History::new(&shape, is_even, window_ms)),
            model: RefCell::new(Model::new(shape.trouble.is_honest(), is_even)),
            brokers: states.collect(),
            stop: Cell::new(false),
            working: Rc::default(),
            locks: RefCell::default(),
            shape,
        });
        let mut brokers = Vec::new();
        for (number, host) in hosts.into_iter().enumerate() {
            let settings = shared
                .shape
                .settings(&host, number, &name_servers, &mut rng);
            brokers.push(Broker::new(host, settings));
        }
        Self {
            world,
            brokers,
            name_servers,
            clients,
            inspector,
            shared,
            rng,
            summary: Summary::default(),
            is_over: false,
        }
    }

    fn start_all(&mut self) {
        for host in &self.name_servers {
            name_server::start(host);
        }
        for number in 0..self.brokers.len() {
            self.start(number);
            if self.is_over {
                return;
            }
        }
        let shape = &self.shared.shape;
        for producer in 0..shape.producers {
            let sim = self.clients[(producer % 2) as usize].sim(0);
            let rng = Rng::new(self.rng.next_u64());
            let shared = Rc::clone(&self.shared);
            sim.clone()
                .spawn(Class::Request, produce::produce(sim, shared, producer, rng));
        }
        for number in 0..shape.consumers {
            let sim = self.clients[(number % 2) as usize].sim(0);
            let rng = Rng::new(self.rng.next_u64());
            let shared = Rc::clone(&self.shared);
            sim.clone()
                .spawn(Class::Request, consume::consume(sim, shared, number, rng));
        }
    }

    /// Nothing fails any more: everything must come right in time.
    fn calm(&mut self) {
        self.heal();
        self.shared.stop.set(true);
        if self.is_over {
            return;
        }
        let gate = Rc::clone(&self.shared.working);
        self.finish("the clients end", async move { gate.empty().await });
        for broker in 0..self.brokers.len() {
            let (shared, rng) = (Rc::clone(&self.shared), Rng::new(self.rng.next_u64()));
            self.inspect_with(move |sim| calm::try_every_queue(sim, shared, broker, rng));
            let (shared, rng) = (Rc::clone(&self.shared), Rng::new(broker as u64));
            self.inspect_with(move |sim| transact::decide_all(sim, shared, broker, rng));
            let shared = Rc::clone(&self.shared);
            self.inspect_with(move |sim| transact::read_given_up(sim, shared, broker));
        }
        let longest_ms = self.shared.shape.delay_levels_ms.iter().max();
        let due = Duration::from_millis(longest_ms.copied().unwrap_or(0) + DELAY_SLACK_MS);
        self.world.run_for(due);
        self.check_everything();
        for broker in 0..self.brokers.len() {
            let (shared, rng) = (Rc::clone(&self.shared), Rng::new(self.rng.next_u64()));
            self.inspect_with(move |sim| calm::drain(sim, shared, broker, rng));
        }
        for name_server in self.name_servers.clone() {
            let (shared, ip) = (Rc::clone(&self.shared), name_server.ip());
            self.inspect_with(move |sim| calm::check_routes(sim, shared, ip));
        }
        self.shared.model.borrow().check_all_came();
        self.last_crash();
    }

    /// What was promised in the calm is there after one more crash.
    fn last_crash(&mut self) {
        let ms = self.shared.shape.commit_interval_ms + life::COMMIT_SLACK_MS + 1_000;
        self.world.run_for(Duration::from_millis(ms));
        for broker in 0..self.brokers.len() {
            let crash = if self.rng.coin() {
                Crash::Power
            } else {
                Crash::Kill
            };
            self.crash(broker, crash);
            self.start(broker);
            if self.is_over {
                return;
            }
            let shared = Rc::clone(&self.shared);
            self.inspect_with(move |sim| transact::check_decided(sim, shared, broker));
            let (shared, rng) = (Rc::clone(&self.shared), Rng::new(self.rng.next_u64()));
            self.inspect_with(move |sim| calm::drain(sim, shared, broker, rng));
        }
        self.check_everything();
        self.judge_history();
    }

    fn check_everything(&mut self) {
        for broker in 0..self.brokers.len() {
            let shared = Rc::clone(&self.shared);
            let check = move |sim| inspect::check_all(sim, shared, broker);
            self.summary.verified += self.inspect_with(check);
        }
    }

    /// Runs a task of the inspecting host to its end.
    fn inspect_with<T: 'static, F: Future<Output = T> + 'static>(
        &mut self,
        task: impl FnOnce(Sim) -> F,
    ) -> T {
        let task = task(self.inspector.sim(0));
        self.finish("it ends", task)
    }

    fn finish<T: 'static>(&mut self, what: &str, task: impl Future<Output = T> + 'static) -> T {
        let done = Rc::new(RefCell::new(None));
        let slot = Rc::clone(&done);
        self.world.spawn(async move {
            let value = task.await;
            slot.replace(Some(value));
        });
        let end = self.world.now() + END_MAX;
        let world = &self.world;
        world.run_until(|| {
            assert!(world.now() < end, "{what}: not within {END_MAX:?} of calm");
            done.borrow().is_some()
        });
        done.take().unwrap_or_else(|| panic!("{what}: never"))
    }
}

/// A delayed message may come so much later than it is due, in milliseconds.
const DELAY_SLACK_MS: u64 = 11_000;
