//! A small client of the broker over the simulated network: one connection, one call at a time.
//!
//! Owned by one task. A call ends with an answer, or with the connection: a lost connection and a
//! deadline leave it open whether the request had an effect. Invariant: an answer belongs to the
//! request that was asked last, or the client panics.

use super::shared::Shared;
use remoting::SerializeType;
use remoting::command::{self, write_request};
use remoting::frame::{FRAME_LEN_MAX, FrameBuffer};
use remoting::header::EncodeHeader;
use rt::{Net, ReadHalf, Rt, Stream, WriteHalf};
use sim::{Rng, Sim, SimRead, SimWrite};
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// Time after which a broker that runs must have answered.
const DEADLINE: Duration = Duration::from_secs(30);

/// The number of a request that there is not.
const NOTHING_ASKED: i32 = -1;

/// A connection to a broker, or to a name server.
pub(crate) struct Client {
    sim: Sim,
    read: SimRead,
    write: SimWrite,
    frames: FrameBuffer,
    serialize: SerializeType,
    next_opaque: i32,
    /// Requests of the broker, whole frames in the order they came.
    asked: Vec<Vec<u8>>,
    /// When it was made, in milliseconds of the world.
    pub(crate) since_ms: u64,
    /// The same in microseconds: the number of the connection among those of its task.
    pub(crate) since_us: u64,
    /// The broker's life at that time.
    pub(crate) life: u64,
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
    /// A connection to broker `number` once it lets clients in.
    pub(crate) async fn to_broker(
        sim: &Sim,
        shared: &Shared,
        number: usize,
        rng: &mut Rng,
    ) -> Option<Self> {
        let broker = &shared.brokers[number];
        if !broker.is_open.get() {
            sim.sleep(Duration::from_millis(5)).await;
            return None;
        }
        let life = broker.life();
        let form = *rng.pick(&[SerializeType::Json, SerializeType::RocketMq]);
        let client = Self::connect(sim, broker.address, form, life).await;
        // While the connection was made the broker may have died, come back and let it in.
        let is_known = broker.life() == life && broker.is_open.get();
        let client = client.filter(|_| is_known);
        if client.is_none() {
            sim.sleep(Duration::from_millis(5)).await;
        }
        client
    }

    pub(crate) async fn connect(
        sim: &Sim,
        address: SocketAddr,
        serialize: SerializeType,
        life: u64,
    ) -> Option<Self> {
        let since_us = sim.monotonic_us();
        let stream = sim.net().connect(address).await.ok()?;
        let (read, write) = stream.split();
        Some(Self {
            sim: sim.clone(),
            read,
            write,
            frames: FrameBuffer::new(FRAME_LEN_MAX),
            serialize,
            next_opaque: 1,
            asked: Vec::new(),
            since_ms: since_us / 1_000,
            since_us,
            life,
        })
    }

    /// The world's time, in milliseconds.
    pub(crate) fn now_ms(&self) -> u64 {
        self.sim.monotonic_us() / 1_000
    }

    pub(crate) fn clock(&self) -> Sim {
        self.sim.clone()
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
        let (mut out, form) = (Vec::new(), self.serialize);
        write_request(&mut out, form, code as i32, opaque, false, header, body);
        let deadline = self.sim.sleep(DEADLINE);
        let exchange = self.exchange(&out, opaque);
        let frame = first_of(exchange, deadline).await.ok_or(NoAnswer::Late)?;
        let frame = frame.ok_or(NoAnswer::Lost)?;
        let answer = command::decode(&frame).expect("the broker writes whole commands");
        Ok(view(&answer))
    }

    /// What the broker has asked since the last call.
    pub(crate) fn take_asked(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.asked)
    }

    /// Takes what the broker asks for a while.
    pub(crate) async fn listen(&mut self, limit: Duration) -> Result<(), NoAnswer> {
        let deadline = self.sim.sleep(limit);
        let lost = first_of(self.exchange(&[], NOTHING_ASKED), deadline).await;
        lost.map_or(Ok(()), |_| Err(NoAnswer::Lost))
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
                self.asked.push(frame);
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
