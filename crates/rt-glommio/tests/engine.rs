//! The engine on real executors, disks and sockets: the conformance bodies that the simulation
//! answers to as well, and what only a real engine can do: start, place, stop, and fail in words.

use base::ShardId;
use rt::{Lane, Listener, Mesh, Net, ReadHalf, Rt, Stream, WriteHalf, conformance};
use rt_glommio::{Glommio, GlommioMesh, Options, Running, StartError, allowed_cpus, run};
use std::future::Future;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

fn dir(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("engine-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Runs `body` on every shard to its end.
fn on_shards<M, F, Fut>(shards: u16, body: F)
where
    M: Send + 'static,
    F: FnOnce(Glommio, GlommioMesh<M>) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + 'static,
{
    let running = run(Options::new(shards), |rt, mesh, ready, _stop| async move {
        ready.report();
        body(rt, mesh).await;
        Ok(())
    });
    running.unwrap().join().unwrap();
}

/// Starts shards that serve with `body` until they are stopped.
fn serve<F, Fut>(options: Options, body: F) -> Running
where
    F: FnOnce(Glommio) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + 'static,
{
    run(
        options,
        |rt, _mesh: GlommioMesh<()>, ready, stop| async move {
            body(rt).await;
            ready.report();
            stop.stopped().await;
            Ok(())
        },
    )
    .unwrap()
}

#[test]
fn the_disk_behaves_as_the_seam_says() {
    let dir = dir("disk");
    let path = dir.clone();
    on_shards::<(), _, _>(
        1,
        |rt, _| async move { conformance::disk(&rt, &path).await },
    );
    std::fs::remove_dir_all(dir).unwrap();
}

#[test]
fn tasks_and_timers_behave_as_the_seam_says() {
    on_shards::<(), _, _>(1, |rt, _| async move { conformance::tasks(&rt).await });
}

#[test]
fn the_network_behaves_as_the_seam_says() {
    on_shards::<(), _, _>(1, |rt, _| async move {
        conformance::net(&rt, local(21_000)).await;
    });
}

#[test]
fn the_mesh_behaves_as_the_seam_says() {
    on_shards::<u64, _, _>(3, |rt, mesh| async move {
        conformance::mesh_keeps_order(&rt, Rc::new(mesh), 20_000).await;
    });
}
