//! A name server on the simulated network: the real state machine behind a simulated listener.
//!
//! Owned by its host; a restart forgets everything, as a real one does.

use super::shape::NAME_SERVER_PORT;
use namesrv::Machine;
use remoting::command::decode;
use remoting::frame::{FRAME_LEN_MAX, FrameBuffer};
use rt::{Class, Listener, Net, ReadHalf, Rt, Stream, WriteHalf};
use sim::{Host, Sim, SimStream};
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// Starts a name server on `host`.
pub(crate) fn start(host: &Host) {
    let machine = Rc::new(Machine::new().expect("it has no file to read"));
    let (sim, address) = (host.sim(0), SocketAddr::new(host.ip(), NAME_SERVER_PORT));
    let (scanner, rt) = (Rc::clone(&machine), sim.clone());
    sim.spawn(Class::Housekeeping, async move {
        loop {
            rt.sleep(Duration::from_secs(5)).await;
            scanner.expire(now_ms(&rt));
        }
    });
    let rt = sim.clone();
    sim.spawn(Class::Request, async move {
        let listener = rt.net().listen(address).await.expect("the port is free");
        let next = Cell::new(1);
        while let Ok(stream) = listener.accept().await {
            let number = next.replace(next.get() + 1);
            let (machine, own) = (Rc::clone(&machine), rt.clone());
            rt.spawn(Class::Request, async move {
                serve(&own, &machine, number, stream).await;
                machine.connection_closed(number);
            });
        }
    });
}

async fn serve(rt: &Sim, machine: &Machine, connection: u64, stream: SimStream) {
    let (mut read, mut write) = stream.split();
    let mut frames = FrameBuffer::new(FRAME_LEN_MAX);
    loop {
        let count = read.read(frames.spare_mut(4_096)).await.unwrap_or(0);
        if count == 0 {
            return;
        }
        frames.filled(count);
        let mut out = Vec::new();
        while let Some(place) = frames.next_frame().expect("brokers frame well") {
            let request = decode(frames.bytes(place)).expect("brokers write whole commands");
            machine.answer(connection, &request, now_ms(rt), &mut out);
        }
        frames.compact();
        if write.write_all(&out).await.is_err() {
            return;
        }
    }
}

fn now_ms(rt: &Sim) -> u64 {
    rt.monotonic_us() / 1_000
}
