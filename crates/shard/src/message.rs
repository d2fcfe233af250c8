//! What crosses the mesh: whole frames, their answers, and calls from one shard's code to
//! another's.
//!
//! A message is moved, never shared. Invariant: nothing in it has interior mutability, and every
//! request is answered by exactly one message on the reply lane.

use base::ShardId;
use std::any::Any;
use std::fmt;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;

/// A connection, as every shard names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    /// The shard that accepted it.
    pub shard: ShardId,
    /// Its place in that shard's connection table.
    pub slot: u32,
    /// Tells it from earlier connections in the same place.
    pub generation: u32,
}

/// Who sent a frame.
#[derive(Debug, Clone, Copy)]
pub struct Caller {
    /// The connection.
    pub conn: ConnId,
    /// The address of the client.
    pub peer: SocketAddr,
    /// Whether the client runs on this machine.
    pub is_local_host: bool,
}

/// Frames of one connection that belong to one other shard.
#[derive(Debug)]
pub struct RequestBatch {
    /// Who sent them.
    pub caller: Caller,
    /// Whole frames one after the other, each with its length word.
    pub frames: Vec<u8>,
}

/// Answers for one connection.
#[derive(Debug)]
pub struct ReplyBatch {
    /// The connection that asked.
    pub conn: ConnId,
    /// Whole frames one after the other.
    pub bytes: Vec<u8>,
    /// How much of the connection's reservation the answers give back, in bytes.
    pub released: u64,
}

/// Work that one shard asks of another. It runs there with that shard's services.
pub type Job = Box<dyn FnOnce(Rc<dyn Any>) -> JobFuture + Send>;

/// A running [`Job`].
pub type JobFuture = Pin<Box<dyn Future<Output = Box<dyn Any + Send>>>>;

/// One message of a lane.
pub enum ShardMessage {
    /// Frames to run (request lane).
    Requests(RequestBatch),
    /// Answers to [`ShardMessage::Requests`], or frames that the broker starts (reply lane).
    Replies(ReplyBatch),
    /// A call (request lane).
    Call {
        /// Names the call in its answer.
        id: u64,
        /// What to run.
        job: Job,
    },
    /// The answer to a call (reply lane).
    Return {
        /// The call.
        id: u64,
        /// What the job gave.
        value: Box<dyn Any + Send>,
    },
}

impl fmt::Debug for ShardMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requests(batch) => batch.fmt(f),
            Self::Replies(batch) => batch.fmt(f),
            Self::Call { id, .. } => write!(f, "Call({id})"),
            Self::Return { id, .. } => write!(f, "Return({id})"),
        }
    }
}
