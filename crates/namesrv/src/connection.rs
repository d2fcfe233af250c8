//! One connection: frames in, answers out.
//!
//! Owned by one task. Whole frames are answered in the order they came, and their answers leave in
//! few writes. What must always hold: an idle connection keeps no buffer; an unfinished frame, a
//! silent peer and a peer that does not read each meet a deadline and a byte budget, and cost only
//! this connection. When it ends, for whatever reason, the brokers registered over it are removed.

use crate::budget::{Budget, Charge};
use crate::requests;
use crate::route_table::ConnectionId;
use crate::server::NameServer;
use crate::settings::Limits;
use remoting::command::{self, DecodeError};
use remoting::frame::{FrameBuffer, FrameError};
use std::io;
use std::sync::Arc;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

/// How much is read at a time, in bytes.
const READ_LEN: usize = 16 * 1_024;

/// Answers leave when they have grown to this, in bytes, or when no whole frame is left.
const REPLY_BATCH_LEN: usize = 256 * 1_024;

/// Byte budgets that all connections share.
#[derive(Debug, Clone)]
pub(crate) struct Budgets {
    /// Unfinished frames.
    pub(crate) receive: Arc<Budget>,
    /// Answers that were not yet accepted.
    pub(crate) reply: Arc<Budget>,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    /// The peer closed it.
    #[error("closed by the peer")]
    PeerClosed,
    /// Nothing came for too long.
    #[error("idle for {0} s")]
    Idle(u64),
    /// A frame was begun and not finished in time.
    #[error("a frame took longer than {0} s")]
    HalfFrame(u64),
    /// Answers were not read in time.
    #[error("answers were not read for {0} s")]
    NotReading(u64),
    /// All connections together hold too much of unfinished frames.
    #[error("unfinished frames of all connections exceed {0} bytes")]
    ReceiveBudget(usize),
    /// All connections together hold too many answers.
    #[error("unread answers of all connections exceed {0} bytes")]
    ReplyBudget(usize),
    /// What came is no frame.
    #[error("bad frame: {0}")]
    Frame(#[from] FrameError),
    /// What came is no command.
    #[error("bad command: {0}")]
    Decode(#[from] DecodeError),
    /// The network failed.
    #[error("connection failed: {0}")]
    Io(#[from] io::Error),
}

impl End {
    /// Whether the peer did what peers do, so that nobody needs to know.
    pub(crate) fn is_ordinary(&self) -> bool {
        matches!(self, Self::PeerClosed | Self::Idle(_) | Self::Io(_))
    }
}

/// See the module comment.
#[derive(Debug)]
pub(crate) struct Connection {
    id: ConnectionId,
    server: Arc<NameServer>,
    stream: TcpStream,
    frames: FrameBuffer,
    /// Bytes received that belong to no whole frame yet.
    pending: usize,
    /// When the first of the pending bytes came.
    pending_since: Option<Instant>,
    last_frame: Instant,
    received: Charge,
    replies: Charge,
    out: Vec<u8>,
}

impl Connection {
    /// Takes over an accepted stream.
    pub(crate) fn new(
        id: ConnectionId,
        server: Arc<NameServer>,
        stream: TcpStream,
        budgets: &Budgets,
    ) -> Self {
        let frames = FrameBuffer::new(server.limits().frame_len_max);
        Self {
            id,
            server,
            stream,
            frames,
            pending: 0,
            pending_since: None,
            last_frame: Instant::now(),
            received: budgets.receive.charge(),
            replies: budgets.reply.charge(),
            out: Vec::new(),
        }
    }

    /// Serves until the connection ends.
    pub(crate) async fn serve(mut self) -> End {
        loop {
            if let Err(end) = self.turn().await {
                return end;
            }
        }
    }

    /// One wait, one read, all whole frames in it.
    async fn turn(&mut self) -> Result<(), End> {
        let (deadline, late) = self.deadline();
        match timeout_at(deadline, self.stream.readable()).await {
            Err(_elapsed) => return Err(late),
            Ok(ready) => ready?,
        }
        let spare = self.frames.spare_mut(READ_LEN);
        match self.stream.try_read(spare) {
            Ok(0) => return Err(End::PeerClosed),
            Ok(count) => {
                self.frames.filled(count);
                self.pending += count;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let frames = self.answer_whole_frames().await?;
        self.settle(frames)
    }

    fn limits(&self) -> &Limits {
        self.server.limits()
    }

    fn deadline(&self) -> (Instant, End) {
        let limits = self.limits();
        match self.pending_since {
            Some(since) => (since + limits.frame, End::HalfFrame(limits.frame.as_secs())),
            None => (
                self.last_frame + limits.idle,
                End::Idle(limits.idle.as_secs()),
            ),
        }
    }

    /// Answers every whole frame; returns how many there were.
    async fn answer_whole_frames(&mut self) -> Result<usize, End> {
        let mut frames = 0;
        while let Some(range) = self.frames.next_frame()? {
            frames += 1;
            self.pending -= LENGTH_WORD_LEN + range.len();
            {
                let command = command::decode(self.frames.bytes(range))?;
                if command.is_response() {
                    continue;
                }
                let reply_to = command.reply_to();
                let answer = requests::answer(&self.server, self.id, &command).await;
                if !reply_to.oneway {
                    answer.write(&mut self.out, reply_to);
                }
            }
            if self.out.len() >= REPLY_BATCH_LEN {
                self.flush().await?;
                tokio::task::yield_now().await;
            }
        }
        self.flush().await?;
        Ok(frames)
    }

    async fn flush(&mut self) -> Result<(), End> {
        if self.out.is_empty() {
            return Ok(());
        }
        let (write, budget) = (self.limits().write, self.limits().reply_bytes_max);
        if !self.replies.hold(self.out.len()) {
            return Err(End::ReplyBudget(budget));
        }
        match timeout(write, self.stream.write_all(&self.out)).await {
            Err(_elapsed) => return Err(End::NotReading(write.as_secs())),
            Ok(written) => written?,
        }
        self.replies.hold(0);
        self.out = Vec::new();
        Ok(())
    }

    /// Accounts for what is left of a read, after `frames` whole frames.
    fn settle(&mut self, frames: usize) -> Result<(), End> {
        if !self.received.hold(self.pending) {
            return Err(End::ReceiveBudget(self.limits().receive_bytes_max));
        }
        let now = Instant::now();
        if frames > 0 {
            self.last_frame = now;
            self.pending_since = None;
        }
        if self.pending == 0 {
            self.frames = FrameBuffer::new(self.limits().frame_len_max);
        } else {
            self.pending_since.get_or_insert(now);
            self.frames.compact();
        }
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.server.connection_closed(self.id);
    }
}

/// The length word in front of each frame.
const LENGTH_WORD_LEN: usize = 4;
