//! What every mesh must do alike: order per lane and pair, room that is waited for, closing.
//!
//! Run on every shard at once. Invariant: no lane is ever held up by another.

use crate::{Class, Lane, Mesh, Rt, sync};
use base::ShardId;
use std::rc::Rc;

/// Every shard runs this at once: each sends `count` numbers to each other on both lanes and
/// receives as many, in order; then closes, and sees every peer close.
pub async fn mesh_keeps_order<R: Rt>(rt: &R, mesh: Rc<R::Mesh<u64>>, count: u64) {
    let peers: Vec<ShardId> = (0..rt.shard_count())
        .map(ShardId::new)
        .filter(|peer| *peer != rt.shard())
        .collect();
    let gate = Rc::new(sync::Gate::default());
    for peer in peers.iter().copied() {
        for lane in [Lane::Request, Lane::Reply] {
            let (pass, out, rt2) = (gate.enter(), Rc::clone(&mesh), rt.clone());
            rt.spawn(Class::Request, async move {
                for n in 0..count {
                    let sent = out.send(lane, peer, n).await;
                    assert!(sent.is_ok(), "the peer is there");
                    if n % 1_000 == 999 {
                        rt2.yield_now().await;
                    }
                }
                drop(pass);
            });
            let (pass, into) = (gate.enter(), Rc::clone(&mesh));
            rt.spawn(Class::Request, async move {
                for n in 0..count {
                    assert_eq!(into.recv(lane, peer).await, Some(n));
                }
                drop(pass);
            });
        }
    }
    gate.empty().await;
    mesh.close();
    for peer in peers {
        assert_eq!(mesh.recv(Lane::Request, peer).await, None);
        assert_eq!(mesh.recv(Lane::Reply, peer).await, None);
        assert_eq!(mesh.try_send(Lane::Request, peer, 1), Err(1));
    }
}
