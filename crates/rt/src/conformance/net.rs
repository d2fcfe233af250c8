//! What every network must do alike: streams in order, half-closed ends, aborts, closed listeners.
//!
//! Owned by the caller, who gives an address. Invariant: both ends of each connection are on the
//! shard that runs the body.

use super::{fill, kind, ok};
use crate::{Class, Listener, Net, ReadHalf, Rt, Stream, WriteHalf, sync};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

/// Runs every network body; listens on `address`, whose port must be free (0 picks one).
pub async fn net<R: Rt>(rt: &R, address: SocketAddr) {
    a_peer_that_ended_its_side_still_gets_answers(rt, address).await;
    an_aborted_stream_ends_a_stuck_write(rt, address).await;
    a_closed_listener_refuses(rt, address).await;
}

/// Bytes come back in order; ending one direction leaves the other open.
pub async fn a_peer_that_ended_its_side_still_gets_answers<R: Rt>(rt: &R, address: SocketAddr) {
    let listener = ok(rt.net().listen(address).await, "listen");
    let address = ok(listener.local_addr(), "local_addr");
    rt.spawn(Class::Request, async move {
        let stream = ok(listener.accept().await, "accept");
        let (mut read, mut write) = stream.split();
        let mut all = Vec::new();
        let mut buf = vec![0; 65_536];
        loop {
            let n = ok(read.read(&mut buf).await, "read");
            if n == 0 {
                break;
            }
            all.extend_from_slice(&buf[..n]);
        }
        ok(write.write_all(&all).await, "write");
    });
    let stream = ok(rt.net().connect(address).await, "connect");
    assert_eq!(stream.peer_addr(), address);
    assert_ne!(stream.local_addr().port(), 0);
    let (mut read, mut write) = stream.split();
    let mut sent = vec![0; 100_000];
    fill(&mut sent, 9);
    ok(write.write_all(&sent).await, "write");
    drop(write); // ends the sending direction: the echo starts only after that
    let mut got = Vec::new();
    let mut buf = vec![0; 65_536];
    loop {
        let n = ok(read.read(&mut buf).await, "read");
        if n == 0 {
            break;
        }
        got.extend_from_slice(&buf[..n]);
    }
    assert_eq!(got, sent);
}

/// A write to a peer that never reads ends when the stream is aborted, and so does the read.
pub async fn an_aborted_stream_ends_a_stuck_write<R: Rt>(rt: &R, address: SocketAddr) {
    let listener = ok(rt.net().listen(address).await, "listen");
    let address = ok(listener.local_addr(), "local_addr");
    let peer = ok(rt.net().connect(address).await, "connect");
    let stream = ok(listener.accept().await, "accept");
    let (mut read, mut write) = stream.split();
    let abort = write.aborter();
    let (written, write_ended) = sync::oneshot();
    rt.spawn(Class::Request, async move {
        let chunk = vec![7; 1 << 20];
        let mut total = 0u64;
        while write.write_all(&chunk).await.is_ok() {
            total += chunk.len() as u64;
            assert!(total < 1 << 30, "nobody reads, yet every write completes");
        }
        written.give(());
    });
    let (ended, read_ended) = sync::oneshot();
    rt.spawn(Class::Request, async move {
        let mut buf = [0; 16];
        let end = read.read(&mut buf).await;
        assert!(matches!(end, Ok(0) | Err(_)), "read {end:?}");
        ended.give(());
    });
    rt.sleep(Duration::from_millis(200)).await;
    abort();
    abort();
    assert_eq!(write_ended.take().await, Some(()));
    assert_eq!(read_ended.take().await, Some(()));
    abort();
    drop(peer);
}

/// Once a listener is dropped nobody answers there any more.
pub async fn a_closed_listener_refuses<R: Rt>(rt: &R, address: SocketAddr) {
    let listener = ok(rt.net().listen(address).await, "listen");
    let address = ok(listener.local_addr(), "local_addr");
    drop(listener);
    rt.sleep(Duration::from_millis(50)).await;
    let refused = rt.net().connect(address).await;
    assert_eq!(kind(refused.map(|_| ())), ErrorKind::ConnectionRefused);
}
