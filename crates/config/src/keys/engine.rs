//! Keys of the process: shards, CPUs, watchdog, log file. None of them is in Java.
//!
//! Owned by the program, which starts the shards.

use crate::spec::config;
use crate::value::{CpuList, ShardChoice};

config! {
    /// Keys of the process.
    pub struct EngineConfig {
        /// How many shards the broker has: one core and one log each. `auto`: one per CPU that the
        /// process may use. Without the key or the option `--shards`: 1 in `standalone`, else `auto`.
        /// A data directory keeps the number that it was made with.
        "shards" [Restart important] shards: ShardChoice = ShardChoice::Auto;
        /// The CPUs to run shards on, such as `0-3,8`; they go round when there are more shards.
        /// Empty: every CPU that the process may use.
        "cpus" [Restart] cpus: CpuList = CpuList::default();
        /// Room on each lane between two shards, in batches of requests.
        "meshLaneCapacity" [Restart] mesh_lane_capacity: usize = 1_024, in 2..=65_536;
        /// After how long without a sign of life from a shard the process aborts, in seconds. 0: never.
        "watchdogSeconds" [Restart] watchdog_seconds: u64 = 10, in 0..=3_600;
        /// The file that log lines are appended to, besides standard error. Empty: none.
        "logFile" [Restart] log_file: Option<String> = None;
    }
}
