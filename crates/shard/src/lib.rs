//! The core of one shard: its log, its view of topics and groups, its consumer offsets, its
//! parked pulls, and the lanes to the other shards.
//!
//! A shard is a data directory with one `CommitLog`, owned by one executor. Invariant: state here
//! is touched by tasks of that executor only; others see it by a call or a published snapshot.
//! Nothing here knows a request code.

mod arrivals;
mod consumer_offsets;
mod control;
mod core;
mod half_messages;
mod lanes;
mod message;
mod modes;
pub mod pops;
mod records;
mod table;
mod wait;

pub use arrivals::Arrivals;
pub use consumer_offsets::{ConsumerOffsets, OffsetRecordError};
pub use control::{Control, ControlError};
pub use core::{DelayProgress, Limits, Shard};
pub use half_messages::{HalfMessage, HalfMessages};
pub use lanes::{CallError, Lanes, Receiver};
pub use message::{Caller, ConnId, Job, JobFuture, ReplyBatch, RequestBatch, ShardMessage};
pub use modes::Modes;
pub use records::{ReplayError, kinds};
pub use table::{ConfigTable, GroupTable, TopicTable};
pub use wait::first_of;
