//! The sweep over one shard's store: a seeded workload, crashes at any await, faults of the disk,
//! and after each recovery the exact model.
//!
//! A run is one host with one store that lives several times. Properties: what was durable or,
//! under `SYNC_FLUSH`, acknowledged is kept with the same bytes at the same offsets; what was
//! given up never comes back; what was acknowledged under `ASYNC_FLUSH` is kept when
//! the process is killed; offsets are dense and in order; damage is reported or skipped, never
//! handed out; metadata is what the kept log says.

mod keys;
mod life;
mod message;
mod model;
mod shape;
mod verify;

use crate::Summary;
use crate::cuts::{Cuts, Part};
use life::Life;
use model::Model;
use shape::{Shape, Trouble};
use sim::{Crash, Host, Rng, Sim, Stop, World};
use std::cell::RefCell;
use std::rc::Rc;
use store::{FlushMode, Recovered, ShardStore};

/// One run.
struct Run {
    world: World,
    host: Host,
    shape: Rc<Shape>,
    model: Rc<RefCell<Model>>,
    rng: Rng,
    summary: Summary,
    /// Bytes that were damaged so far.
    rots: u64,
    /// What was acknowledged under `ASYNC_FLUSH` when the process was killed, until a power cut.
    killed_at: Option<u64>,
}

/// A store in its present life.
struct Opened {
    sim: Sim,
    store: ShardStore<Sim>,
    recovered: Recovered,
}

/// What a seed looks like, for people.
pub(crate) fn describe(seed: u64, cuts: &Cuts) -> String {
    let mut rng = Rng::for_subject(seed, "store workload");
    format!("{:#?}", Shape::draw(&mut rng, cuts))
}

/// What a minimiser may make smaller of a seed.
pub(crate) fn parts(seed: u64, cuts: &Cuts) -> Vec<Part> {
    let mut rng = Rng::for_subject(seed, "store workload");
    Shape::draw(&mut rng, cuts).parts()
}

/// Runs one seed. Panics with a sentence at the first violation.
pub(crate) fn run(seed: u64, cuts: &Cuts) -> Summary {
    let mut rng = Rng::for_subject(seed, "store workload");
    let shape = Rc::new(Shape::draw(&mut rng, cuts));
    let world = World::new(seed);
    let host = world.host(shape.settings.shard_count);
    if shape.settings.block_align == 4_096 && rng.coin() {
        host.shape_disk(|disk| disk.alignment = 4_096);
    }
    let mut run = Run {
        world,
        host,
        shape,
        model: Rc::default(),
        rng,
        summary: Summary::default(),
        rots: 0,
        killed_at: None,
    };
    for _ in 0..run.shape.lives {
        if !run.live() {
            break;
        }
    }
    run.summary.trace_hash = run.world.trace_hash();
    run.summary.virtual_ms = run.world.now().as_millis() as u64;
    run.summary
}

impl Run {
    /// One life, from recovery to its end. False when the store cannot live any more.
    fn live(&mut self) -> bool {
        let lied = self.shape.trouble == Trouble::Lying && self.host.faults_struck() > 0;
        self.lose_keys();
        let Some(opened) = self.recover(lied) else {
            return false;
        };
        if lied {
            // What a lying disk lost is nobody's promise; wrong bytes are.
            self.verify(&opened);
            return false;
        }
        if let Some(acknowledged) = self.killed_at.take() {
            self.model.borrow_mut().must_keep(acknowledged);
        }
        self.check_recovered(&opened);
        self.verify(&opened);
        let recovered_end = opened.store.durable().0;
        for rule in self.shape.draw_rules(&mut self.rng) {
            self.host.add_fault(rule);
        }
        self.fill_disk();
        let crash = self.shape.draw_crash(&mut self.rng);
        let closes = self.rng.one_in(self.shape.close_one_in);
        if !closes {
            let polls = self.rng.below(self.shape.polls_max);
            self.host.crash_after(polls, crash);
        }
        let ended = self.work(&opened);
        self.host.spare();
        self.summary.lives += 1;
        let closed = ended.is_ok() && closes && self.close(&opened);
        self.note_promises(&opened, if closes { Crash::Power } else { crash });
        let durable = opened.store.durable().0;
        drop(opened);
        if ended.is_ok() {
            self.host.crash(if closes { Crash::Power } else { crash });
        }
        self.host.clear_faults();
        self.host.shape_disk(|disk| disk.capacity = 1 << 40);
        if self.shape.trouble == Trouble::Rot {
            // Damage can be told from a torn tail only where something says that it was durable.
            let told = if closed { durable } else { recovered_end };
            if durable > recovered_end || closed {
                self.damage(told);
            }
        }
        true
    }

    fn work(&mut self, opened: &Opened) -> Result<(), Stop> {
        let life = Life::new(
            opened.sim.clone(),
            opened.store.clone(),
            Rc::clone(&self.model),
            Rc::clone(&self.shape),
            Rng::new(self.rng.next_u64()),
        );
        let shard = self.shape.settings.shard.as_u16();
        let ended = self.host.try_block_on(shard, move |_| life.run());
        assert!(
            ended != Err(Stop::Deadlock) && ended != Err(Stop::TimeUp),
            "the store stands still: {ended:?}\n  {:?}",
            opened.store.stats()
        );
        ended
    }

    /// Closes; whether everything is on disk then.
    fn close(&mut self, opened: &Opened) -> bool {
        let store = opened.store.clone();
        let shard = self.shape.settings.shard.as_u16();
        let closed = self
            .host
            .block_on(shard, move |_| async move { store.close().await });
        let end = self.model.borrow().end();
        match closed {
            Ok(()) => {
                assert!(opened.store.durable().0 >= end, "closed and not durable");
                true
            }
            Err(error) => {
                let may_fail = matches!(self.shape.trouble, Trouble::Eio | Trouble::Lying);
                assert!(may_fail, "close failed: {error}");
                false
            }
        }
    }

    /// What the store promised in the life that `crash` ends.
    fn note_promises(&mut self, opened: &Opened, crash: Crash) {
        let mut model = self.model.borrow_mut();
        model.must_keep(opened.store.durable().0);
        if self.shape.settings.flush == FlushMode::Sync {
            model.must_keep(opened.store.acknowledged().0);
        } else if crash == Crash::Kill {
            self.killed_at = Some(opened.store.acknowledged().0);
        }
        self.summary.records = model.appended_count();
    }
}
