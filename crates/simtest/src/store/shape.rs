//! What one seed looks like: settings, sizes, rates, crashes and faults, all drawn.
//!
//! Swarm testing: instead of one average workload, each seed leaves most things out and overdoes
//! others, so that rare coincidences are common somewhere. Invariant: a shape is a function of
//! the seed.

use crate::cuts::{Cuts, Part};
use base::ShardId;
use sim::{Crash, DiskOp, Fault, Rng, Rule};
use std::path::PathBuf;
use store::{FlushMode, Retention, Settings};

/// What goes wrong besides crashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nothing.
    None,
    /// Writes or syncs fail: the shard is fenced.
    Eio,
    /// The file system is full for a while.
    Full,
    /// Stored bytes change while nobody looks.
    Rot,
    /// The disk loses writes, or puts them elsewhere, and says they are done.
    Lying,
}

/// See the module.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) settings: Settings,
    pub(crate) trouble: Trouble,
    /// Lives of the host, each ended by a crash or a close.
    pub(crate) lives: u64,
    pub(crate) queues: Vec<(String, u32)>,
    pub(crate) producers: u64,
    /// Messages of one producer in one life.
    pub(crate) messages: u64,
    pub(crate) body_len_max: u64,
    /// How many messages a producer leaves unacknowledged.
    pub(crate) window: u64,
    /// Longest pause of a producer between two messages, in microseconds.
    pub(crate) pause_us_max: u64,
    pub(crate) readers: u64,
    /// One message in so many has keys; 0 for none.
    pub(crate) keyed_one_in: u64,
    /// One life in so many begins without some file of the key index; 0 for none.
    pub(crate) lose_keys_one_in: u64,
    /// Metadata records of one life.
    pub(crate) metas: u64,
    /// One message in so many is followed by the deletion of a queue; 0 for none.
    pub(crate) delete_one_in: u64,
    /// Task polls until a crash, at most.
    pub(crate) polls_max: u64,
    /// One life in so many ends without a crash, by closing; 0 for none.
    pub(crate) close_one_in: u64,
    /// One recovery in so many is crashed too; 0 for none.
    pub(crate) crash_recovery_one_in: u64,
    pub(crate) power_cuts_only: bool,
}

impl Shape {
    /// Three of four seeds live shortly and often: small blocks, many on their way at once, so
    /// that what one life leaves behind meets the next.
    pub(crate) fn draw(rng: &mut Rng, cuts: &Cuts) -> Self {
        let settings = draw_settings(rng);
        let trouble = *rng.pick(&[
            Trouble::None,
            Trouble::None,
            Trouble::None,
            Trouble::None,
            Trouble::Eio,
            Trouble::Eio,
            Trouble::Full,
            Trouble::Rot,
            Trouble::Rot,
            Trouble::Lying,
        ]);
        let may_delete = !matches!(trouble, Trouble::Rot | Trouble::Lying);
        let short = !rng.one_in(4);
        let mut settings = settings;
        if short {
            settings.block_bytes = settings.block_align * rng.between(1, 2) as usize;
            settings.writes_max = rng.between(2, 8) as usize;
        }
        if rng.coin() {
            settings.retention = draw_retention(rng);
        }
        let room = settings.record_len_max as u64 - 200;
        let mut shape = Self {
            trouble,
            lives: if short {
                rng.between(6, 24)
            } else {
                rng.between(2, 8)
            },
            queues: draw_queues(rng),
            producers: rng.between(1, 4),
            messages: rng.skewed(4, 1_000),
            body_len_max: if short {
                rng.skewed(1, 400)
            } else {
                rng.skewed(1, room)
            },
            window: rng.skewed(1, 64),
            pause_us_max: *rng.pick(&[0, 0, 10, 1_000, 100_000]),
            readers: rng.below(3),
            keyed_one_in: *rng.pick(&[0, 1, 1, 3]),
            lose_keys_one_in: *rng.pick(&[0, 0, 3]),
            metas: *rng.pick(&[0, 5, 200]),
            delete_one_in: if may_delete {
                *rng.pick(&[0, 0, 30])
            } else {
                0
            },
            polls_max: if short {
                rng.skewed(10, 600)
            } else {
                rng.skewed(20, 60_000)
            },
            close_one_in: *rng.pick(&[0, 3, 10]),
            crash_recovery_one_in: *rng.pick(&[0, 2, 4]),
            power_cuts_only: rng.coin(),
            settings,
        };
        shape.cut(cuts);
        shape
    }

    fn cut(&mut self, cuts: &Cuts) {
        for (name, number) in [
            ("lives", &mut self.lives),
            ("producers", &mut self.producers),
            ("messages", &mut self.messages),
            ("body", &mut self.body_len_max),
            ("window", &mut self.window),
            ("readers", &mut self.readers),
            ("metas", &mut self.metas),
            ("polls", &mut self.polls_max),
        ] {
            *number = cuts.cap(name, *number);
        }
        let queues = cuts.cap("queues", self.queues.len() as u64);
        self.queues.truncate(queues as usize);
        for (name, one_in) in [
            ("deletes", &mut self.delete_one_in),
            ("recovery-crashes", &mut self.crash_recovery_one_in),
        ] {
            if cuts.cap(name, 1) == 0 {
                *one_in = 0;
            }
        }
        if cuts.cap("trouble", 1) == 0 {
            self.trouble = Trouble::None;
        }
    }

    /// What a minimiser may make smaller.
    pub(crate) fn parts(&self) -> Vec<Part> {
        let switch = |name, is_on: bool| Part::new(name, u64::from(is_on), 0);
        vec![
            switch("trouble", self.trouble != Trouble::None),
            switch("deletes", self.delete_one_in > 0),
            switch("recovery-crashes", self.crash_recovery_one_in > 0),
            Part::new("lives", self.lives, 1),
            Part::new("readers", self.readers, 0),
            Part::new("metas", self.metas, 0),
            Part::new("producers", self.producers, 1),
            Part::new("queues", self.queues.len() as u64, 1),
            Part::new("messages", self.messages, 1),
            Part::new("window", self.window, 1),
            Part::new("body", self.body_len_max, 1),
        ]
    }

    pub(crate) fn draw_crash(&self, rng: &mut Rng) -> Crash {
        if self.power_cuts_only || rng.coin() {
            Crash::Power
        } else {
            Crash::Kill
        }
    }

    /// The scripted disk faults of one life.
    pub(crate) fn draw_rules(&self, rng: &mut Rng) -> Vec<Rule> {
        let place = *rng.pick(&[
            "commitlog",
            "commitlog",
            "commitlog",
            "index",
            "checkpoint",
            "keys",
            "",
        ]);
        match self.trouble {
            Trouble::None | Trouble::Full | Trouble::Rot => Vec::new(),
            Trouble::Eio => {
                let op = *rng.pick(&[DiskOp::Write, DiskOp::Sync, DiskOp::Sync, DiskOp::Meta]);
                let fault = if op == DiskOp::Write {
                    *rng.pick(&[Fault::Eio, Fault::Short])
                } else {
                    Fault::Eio
                };
                let stall = Fault::StallMs(rng.skewed(1, 2_000));
                let stalled = *rng.pick(&[DiskOp::Write, DiskOp::Sync]);
                vec![
                    Rule::nth(stalled, "commitlog", rng.skewed(1, 50), stall),
                    Rule::nth(op, place, rng.skewed(1, 60), fault),
                ]
            }
            Trouble::Lying => {
                let units = rng.between(1, 40) as i64 - 20;
                let fault = *rng.pick(&[Fault::Lost, Fault::Misdirected(units)]);
                vec![Rule::nth(DiskOp::Write, place, rng.skewed(1, 60), fault)]
            }
        }
    }
}

fn draw_queues(rng: &mut Rng) -> Vec<(String, u32)> {
    let topics = rng.between(1, 3);
    let queues = rng.between(1, 4);
    let all = (0..topics)
        .flat_map(|topic| (0..queues).map(move |queue| (format!("Topic{topic}"), queue as u32)));
    all.collect()
}

/// Segments go within the life of a run, by age or because the log is long.
fn draw_retention(rng: &mut Rng) -> Retention {
    Retention {
        reserved_ms: rng.skewed(1, 5_000) as i64,
        delete_hours: (1 << 24) - 1,
        store_bytes_max: *rng.pick(&[u64::MAX, 64 << 10, 512 << 10]),
        free_bytes_min: *rng.pick(&[0, 0, 64 << 10]),
        check_interval_ms: rng.skewed(1, 500),
        delete_interval_ms: rng.below(20),
        batch_max: rng.between(1, 10) as usize,
        cut_bytes: rng.skewed(512, 128 << 10),
        ..Retention::default()
    }
}

fn draw_settings(rng: &mut Rng) -> Settings {
    let shard_count = rng.between(1, 4) as u16;
    let shard = ShardId::new(rng.below(u64::from(shard_count)) as u16);
    loop {
        let align = *rng.pick(&[512_usize, 512, 4_096]);
        let mut settings = Settings::small(PathBuf::from("/data/store"), shard, shard_count);
        let step = align as u64;
        settings.block_align = align;
        settings.segment_bytes = rng.skewed(16 << 10, 256 << 10).next_multiple_of(step);
        settings.block_bytes = (rng.skewed(512, 16 << 10) as usize).next_multiple_of(align);
        settings.record_len_max = rng.skewed(1 << 10, 32 << 10) as usize;
        settings.flush = if rng.one_in(3) {
            FlushMode::Async
        } else {
            FlushMode::Sync
        };
        settings.unflushed_bytes_max = rng.skewed(8 << 10, 256 << 10) as usize;
        settings.tail_ring_bytes = rng.skewed(8 << 10, 512 << 10) as usize;
        settings.unsynced_bytes_max = rng.skewed(8 << 10, 512 << 10);
        settings.tail_cache_bytes = rng.skewed(1 << 10, 64 << 10) as usize;
        settings.cold_cache_bytes = rng.skewed(4 << 10, 64 << 10) as usize;
        settings.index_cache_bytes = rng.skewed(4 << 10, 64 << 10) as usize;
        settings.key_index = !rng.one_in(8);
        settings.key_index_bytes = rng.skewed(64, 16 << 10) as usize;
        settings.key_rebuild_rate = rng.skewed(64 << 10, 64 << 20);
        settings.writes_max = rng.between(1, 5) as usize;
        settings.segments_ahead = rng.between(1, 4) as usize;
        settings.zero_ahead_bytes = rng.skewed(32 << 10, 256 << 10).next_multiple_of(step);
        settings.zero_step_bytes = rng.skewed(8 << 10, 64 << 10).next_multiple_of(step);
        settings.checkpoint_bytes = rng.skewed(4 << 10, 256 << 10);
        settings.async_flush_interval_ms = rng.skewed(1, 200);
        settings.async_flush_bytes = rng.skewed(4 << 10, 128 << 10);
        settings.async_gather_us = *rng.pick(&[0, 100, 1_000]);
        settings.index_file_pages = rng.between(1, 16) as u32;
        if rng.coin() {
            settings.scrub_bytes_per_second = rng.skewed(16 << 10, 16 << 20);
            settings.scrub_first_rest_ms = rng.skewed(1, 1_000);
            settings.scrub_rest_ms = rng.skewed(1, 1_000);
        }
        let holds = settings.unflushed_bytes_max >= settings.record_len_max
            && settings.zero_ahead_bytes >= 2 * settings.record_len_max as u64 + 2 * step;
        if holds && settings.check().is_ok() {
            return settings;
        }
    }
}
