//! A small client of the broker over the simulated network: one connection, one call at a time.
//!
//! Owned by one task. A call ends with an answer, or with the connection: a lost connection and a
//! deadline leave it open whether the request had an effect. Invariant: an answer belongs to the
//! request that was asked last, or the client panics.

use remoting::SerializeType;
use remoting::command::{self, write_request};
use remoting::frame::{FRAME_LEN_MAX, FrameBuffer};
use remoting::header::EncodeHeader;
use rt::{Net, ReadHalf, Rt, Stream, WriteHalf};
use sim::{Sim, SimRead, SimWrite};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// Time after which a broker that runs must have answered.
const DEADLINE: Duration = Duration::from_mins(1);

/// A connection to the broker.
pub(crate) struct Client {
    sim: Sim,
    read: SimRead,
    write: SimWrite,
    frames: FrameBuffer,
    serialize: SerializeType,
    next_opaque: i32,
}

/// Why a call has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// The connection ended.
    Lost,
    /// Nothing came.
    Late,
}

impl Client {
    pub(crate) async fn connect(
        sim: &Sim,
        address: SocketAddr,
        serialize: SerializeType,
    ) -> Option<Self> {
        let stream = sim.net().connect(address).await.ok()?;
        let (read, write) = stream.split();
        Some(Self {
            sim: sim.clone(),
            read,
            write,
            frames: FrameBuffer::new(FRAME_LEN_MAX),
            serialize,
            next_opaque: 1,
        })
    }

    /// Sends a request and gives `view` its answer.
    pub(crate) async fn call<H: EncodeHeader, T>(
        &mut self,
        code: remoting::RequestCode,
        header: &H,
        body: &[u8],
        view: impl FnOnce(&remoting::Command<'_>) -> T,
    ) -> Result<T, NoAnswer> {
        let opaque = self.next_opaque;
        self.next_opaque += 1;
        let mut out = Vec::new();
        write_request(
            &mut out,
            self.serialize,
            code as i32,
            opaque,
            false,
            header,
            body,
        );
        let deadline = self.sim.sleep(DEADLINE);
        let exchange = self.exchange(&out, opaque);
        let frame = first_of(exchange, deadline).await.ok_or(NoAnswer::Late)?;
        let frame = frame.ok_or(NoAnswer::Lost)?;
        let answer = command::decode(&frame).expect("the broker writes whole commands");
        Ok(view(&answer))
    }

    async fn exchange(&mut self, out: &[u8], opaque: i32) -> Option<Vec<u8>> {
        self.write.write_all(out).await.ok()?;
        loop {
            while let Some(place) = self.frames.next_frame().expect("the broker frames well") {
                let frame = self.frames.bytes(place).to_vec();
                let answers = {
                    let answer = command::decode(&frame).expect("the broker writes whole commands");
                    answer.is_response().then_some(answer.opaque)
                };
                if let Some(answers) = answers {
                    assert_eq!(answers, opaque, "an answer belongs to its request");
                    return Some(frame);
                }
            }
            self.frames.compact();
            let read = self.read.read(self.frames.spare_mut(16 << 10)).await;
            match read {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.frames.filled(count),
            }
        }
    }
}

/// What `work` gives, unless `deadline` comes first.
async fn first_of<T>(
    work: impl Future<Output = T>,
    deadline: impl Future<Output = ()>,
) -> Option<T> {
    let (mut work, mut deadline) = (pin!(work), pin!(deadline));
    poll_fn(|context| {
        if let Poll::Ready(value) = work.as_mut().poll(context) {
            return Poll::Ready(Some(value));
        }
        deadline.as_mut().poll(context).map(|()| None)
    })
    .await
}
