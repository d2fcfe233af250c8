//! Measures the engine on this machine: what idling costs, what a yield costs, and how fast
//! messages cross the mesh, one by one from a parked shard and in a stream.
//! `cargo run --release -p rt-glommio --example measure`

#![expect(clippy::print_stdout, reason = "printing figures is all it does")]

use base::ShardId;
use rt::sync::Gate;
use rt::{Class, Disk, File, Lane, Mesh, OpenMode, Rt};
use rt_glommio::{Glommio, GlommioMesh, Options, run};
use std::rc::Rc;
use std::time::Duration;

const STREAM: u64 = 1_000_000;
const PINGS: u64 = 1_000;

fn main() {
    let running = run(&Options::new(2), |rt, mesh, ready, stop| async move {
        let mesh = Rc::new(mesh);
        let other = ShardId::new(1 - rt.shard().as_u16());
        let gate = Rc::new(Gate::default());
        for lane in [Lane::Request, Lane::Reply] {
            let (pass, mesh) = (gate.enter(), Rc::clone(&mesh));
            rt.spawn(Class::Request, async move {
                assert_eq!(mesh.recv(lane, other).await, Some(0), "waits while idle");
                drop(pass);
            });
        }
        ready.report();
        stop.stopped().await;
        for lane in [Lane::Request, Lane::Reply] {
            assert!(mesh.send(lane, other, 0).await.is_ok());
        }
        gate.empty().await;
        figures(&rt, mesh).await;
        Ok(())
    });
    let running = running.expect("the shards start");
    println!("shards on CPUs {:?}", running.cpus());
    let before = cpu_ns();
    let seconds = 30;
    std::thread::sleep(Duration::from_secs(seconds));
    let used_us = (cpu_ns() - before) / 1_000;
    println!(
        "idle: {used_us} us of CPU in {seconds} s = {:.3} % of one CPU for both shards; {}",
        used_us as f64 / (seconds * 10_000) as f64,
        resident(),
    );
    running.stop();
    running.join().expect("the shards end");
}

async fn figures(rt: &Glommio, mesh: Rc<GlommioMesh<u64>>) {
    let other = ShardId::new(1 - rt.shard().as_u16());
    let first = rt.shard() == ShardId::CONTROL;
    if first {
        let begin = rt.monotonic_us();
        for _ in 0..100_000 {
            rt.yield_now().await;
        }
        let us = rt.monotonic_us() - begin;
        println!(
            "yield: {} ns each, alone on the shard",
            us * 10_000 / 1_000_000
        );
    }
    if first {
        disk(rt).await.expect("the disk works");
    }
    ping(rt, &mesh, other, first, Duration::ZERO).await;
    ping(rt, &mesh, other, first, Duration::from_millis(1)).await;
    let begin = rt.monotonic_us();
    let gate = Rc::new(Gate::default());
    let (pass, out, rt2) = (gate.enter(), Rc::clone(&mesh), rt.clone());
    rt.spawn(Class::Request, async move {
        for n in 0..STREAM {
            assert!(out.send(Lane::Request, other, n).await.is_ok());
            if n % 256 == 255 {
                rt2.yield_now().await;
            }
        }
        drop(pass);
    });
    for n in 0..STREAM {
        assert_eq!(mesh.recv(Lane::Request, other).await, Some(n));
    }
    let us = rt.monotonic_us() - begin;
    println!(
        "shard {}: received {STREAM} messages in {us} us = {:.2} M/s while sending as many",
        rt.shard(),
        STREAM as f64 / us as f64,
    );
    gate.empty().await;
}

/// One durable write after the other, then reads of 4 KiB, in a file that was written before.
async fn disk(rt: &Glommio) -> std::io::Result<()> {
    const BLOCKS: u64 = 1_000;
    const LEN: usize = 4_096;
    let dir = std::env::temp_dir().join(format!("measure-{}", std::process::id()));
    rt.disk().create_dir_all(&dir).await?;
    let path = dir.join("log");
    let file = rt.disk().open(&path, OpenMode::CreateNew).await?;
    let zeros = Rc::new(rt.disk().alloc(LEN * BLOCKS as usize));
    file.write_at(zeros, 0).await?;
    file.datasync().await?;
    let block = Rc::new(rt.disk().alloc(LEN));
    let begin = rt.monotonic_us();
    for n in 0..BLOCKS {
        file.write_at(Rc::clone(&block), n * LEN as u64).await?;
        file.datasync().await?;
    }
    let written_us = (rt.monotonic_us() - begin) / BLOCKS;
    let begin = rt.monotonic_us();
    for n in 0..BLOCKS {
        file.read_at(n * 7 % BLOCKS * LEN as u64, LEN).await?;
    }
    let read_us = (rt.monotonic_us() - begin) / BLOCKS;
    println!(
        "disk: {written_us} us per write of 4 KiB and its sync, {read_us} us per read, alignment {}",
        file.alignment(),
    );
    file.close().await?;
    rt.disk().remove(&path).await?;
    std::fs::remove_dir(&dir)
}

async fn ping(rt: &Glommio, mesh: &GlommioMesh<u64>, other: ShardId, first: bool, pause: Duration) {
    let mut busy_us = 0;
    for n in 0..PINGS {
        if first {
            if !pause.is_zero() {
                rt.sleep(pause).await;
            }
            let begin = rt.monotonic_us();
            assert!(mesh.send(Lane::Request, other, n).await.is_ok());
            assert_eq!(mesh.recv(Lane::Reply, other).await, Some(n));
            busy_us += rt.monotonic_us() - begin;
        } else {
            assert_eq!(mesh.recv(Lane::Request, other).await, Some(n));
            assert!(mesh.send(Lane::Reply, other, n).await.is_ok());
        }
    }
    if first {
        println!(
            "ping-pong with {pause:?} between: {:.1} us there and back",
            busy_us as f64 / PINGS as f64,
        );
    }
}

/// Time that the threads of this process have spent on a CPU, in nanoseconds.
fn cpu_ns() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").expect("/proc is mounted");
    let first_field = |path| {
        let text = std::fs::read_to_string(path).ok()?;
        text.split_ascii_whitespace().next()?.parse::<u64>().ok()
    };
    tasks
        .flatten()
        .filter_map(|task| first_field(task.path().join("schedstat")))
        .sum()
}

fn resident() -> String {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc is mounted");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.unwrap_or("VmRSS: unknown").replace('\t', " ")
}
