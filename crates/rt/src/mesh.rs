//! Mesh: bounded one-way lanes between every two shards.
//!
//! Each ordered pair of shards has two lanes. Invariant (no deadlock): nobody who holds up the
//! reply lane ever waits for room on a request lane; requests are shed when their lane is full.

use base::ShardId;

/// Which of the two lanes between two shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Requests and calls. Shed when full.
    Request,
    /// Answers. Its receiver always drains it.
    Reply,
}

/// One shard's ends of all lanes.
pub trait Mesh<M: Send + 'static>: 'static {
    /// Puts a message on a lane to `to`, in order, without waiting.
    ///
    /// # Errors
    /// Gives the message back when the lane is full or the peer is gone.
    fn try_send(&self, lane: Lane, to: ShardId, message: M) -> Result<(), M>;

    /// Waits for room, then sends.
    ///
    /// # Errors
    /// Gives the message back when the peer is gone.
    async fn send(&self, lane: Lane, to: ShardId, message: M) -> Result<(), M>;

    /// The next message on a lane from `from`; `None` when that shard has stopped. One task at
    /// a time may wait per lane and peer.
    async fn recv(&self, lane: Lane, from: ShardId) -> Option<M>;

    /// Closes this shard's sending ends; peers see `None` after what was sent.
    fn close(&self);
}
