//! The engine on real executors, disks and sockets: the conformance bodies that the simulation
//! answers to as well, and what only a real engine can do: start, place, stop, and fail in words.
//!
//! Ports 21000 to 21499 are used on loopback; directories are below the system's temporary one.

#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]
#![expect(
    clippy::disallowed_methods,
    reason = "these tests stand outside the shards: they are the clients and the clock"
)]

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
    let running = run(&Options::new(shards), |rt, mesh, ready, _stop| async move {
        ready.report();
        body(rt, mesh).await;
        Ok(())
    });
    running.unwrap().join().unwrap();
}

/// Starts shards that serve with `body` until they are stopped.
fn serve<F, Fut>(options: &Options, body: F) -> Running
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

#[test]
fn a_million_messages_cross_the_mesh_each_way() {
    let begin = Instant::now();
    on_shards::<u64, _, _>(2, |rt, mesh| async move {
        conformance::mesh_keeps_order(&rt, Rc::new(mesh), 500_000).await;
    });
    let took = begin.elapsed();
    assert!(took < Duration::from_mins(1), "took {took:?}");
}

#[test]
fn a_parked_shard_wakes_at_every_message() {
    on_shards::<u64, _, _>(2, |rt, mesh| async move {
        let other = ShardId::new(1 - rt.shard().as_u16());
        let (begin, mut slowest_us) = (rt.monotonic_us(), 0);
        for n in 0..1_000 {
            if rt.shard() == ShardId::CONTROL {
                rt.sleep(Duration::from_micros(n * 2)).await;
                let sent = rt.monotonic_us();
                mesh.send(Lane::Request, other, n).await.unwrap();
                assert_eq!(mesh.recv(Lane::Reply, other).await, Some(n));
                slowest_us = slowest_us.max(rt.monotonic_us() - sent);
            } else {
                assert_eq!(mesh.recv(Lane::Request, other).await, Some(n));
                mesh.send(Lane::Reply, other, n).await.unwrap();
            }
        }
        // A shard that missed its message would be woken by its ticker, but not 1,000 times over.
        let all_us = rt.monotonic_us() - begin;
        assert!(
            slowest_us < 5_000_000 && all_us < 30_000_000,
            "the slowest round took {slowest_us} us, all took {all_us} us"
        );
    });
}

#[test]
fn a_waiting_receive_may_be_dropped_and_polled_again_and_again() {
    on_shards::<u64, _, _>(2, |rt, mesh| async move {
        let other = ShardId::new(1 - rt.shard().as_u16());
        if rt.shard() == ShardId::CONTROL {
            for _ in 0..70_000 {
                let waiting = async { mesh.recv(Lane::Request, other).await.map(|_| ()) };
                let tired = async { Some(()) };
                futures_lite::future::or(waiting, tired).await;
            }
            mesh.send(Lane::Reply, other, 1).await.unwrap();
            assert_eq!(mesh.recv(Lane::Request, other).await, Some(5));
        } else {
            assert_eq!(mesh.recv(Lane::Reply, other).await, Some(1));
            rt.sleep(Duration::from_millis(20)).await;
            mesh.send(Lane::Request, other, 5).await.unwrap();
        }
    });
}

#[test]
fn a_full_lane_gives_the_message_back() {
    let mut options = Options::new(2);
    options.mesh_capacity = 4;
    let running = run(
        &options,
        |rt, mesh: GlommioMesh<u64>, ready, stop| async move {
            ready.report();
            let other = ShardId::new(1 - rt.shard().as_u16());
            if rt.shard() == ShardId::CONTROL {
                for n in 0..4 {
                    mesh.try_send(Lane::Request, other, n).unwrap();
                }
                assert_eq!(mesh.try_send(Lane::Request, other, 4), Err(4));
                mesh.try_send(Lane::Reply, other, 9).unwrap();
                assert_eq!(mesh.try_send(Lane::Request, rt.shard(), 4), Err(4));
                mesh.send(Lane::Request, other, 4).await.unwrap();
                stop.stopped().await;
            } else {
                assert_eq!(mesh.recv(Lane::Reply, other).await, Some(9));
                rt.sleep(Duration::from_millis(20)).await;
                for n in 0..5 {
                    assert_eq!(mesh.recv(Lane::Request, other).await, Some(n));
                }
                stop.stop_all();
                assert_eq!(
                    mesh.recv(Lane::Request, other).await,
                    None,
                    "the peer is gone"
                );
            }
            Ok(())
        },
    );
    running.unwrap().join().unwrap();
}

#[test]
fn a_peer_that_never_pauses_leaves_room_for_other_tasks() {
    on_shards::<u64, _, _>(2, |rt, mesh| async move {
        let other = ShardId::new(1 - rt.shard().as_u16());
        if rt.shard() == ShardId::CONTROL {
            let mut sent = 0;
            while mesh.send(Lane::Request, other, sent).await.is_ok() {
                sent += 1;
            }
            assert!(sent > 10_000, "only {sent} sent");
        } else {
            let ended = Rc::new(std::cell::Cell::new(false));
            let (rt2, ended2) = (rt.clone(), Rc::clone(&ended));
            rt.spawn(rt::Class::Housekeeping, async move {
                for _ in 0..20 {
                    rt2.sleep(Duration::from_millis(5)).await;
                }
                ended2.set(true);
            });
            let begin = rt.monotonic_us();
            while !ended.get() {
                assert!(mesh.recv(Lane::Request, other).await.is_some());
            }
            let took_us = rt.monotonic_us() - begin;
            assert!(took_us < 3_000_000, "twenty timers took {took_us} us");
        }
    });
}

/// Echoes until each peer ends.
async fn echo(rt: Glommio, address: SocketAddr) {
    let listener = rt.net().listen(address).await.unwrap();
    let rt2 = rt.clone();
    rt.spawn(rt::Class::Request, async move {
        while let Ok(stream) = listener.accept().await {
            let (mut read, mut write) = stream.split();
            rt2.spawn(rt::Class::Request, async move {
                let mut buf = vec![0; 262_144];
                while let Ok(n @ 1..) = read.read(&mut buf).await {
                    if write.write_all(&buf[..n]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
}

#[test]
fn two_hundred_connections_are_served_at_once() {
    let address = local(21_010);
    let mut options = Options::new(3);
    options.listen.push(address);
    let running = serve(&options, move |rt| echo(rt, address));
    let clients: Vec<_> = (0..200u32)
        .map(|n| {
            thread::Builder::new()
                .stack_size(65_536)
                .spawn(move || {
                    let mut stream = TcpStream::connect(address).unwrap();
                    let sent: Vec<u8> = (0..50_000).map(|i| (i * 7 + n) as u8).collect();
                    let mut out = stream.try_clone().unwrap();
                    let bytes = sent.clone();
                    let writer = thread::spawn(move || {
                        out.write_all(&bytes).unwrap();
                        out.shutdown(Shutdown::Write).unwrap();
                    });
                    let mut got = Vec::new();
                    stream.read_to_end(&mut got).unwrap();
                    writer.join().unwrap();
                    assert!(got == sent, "connection {n} got other bytes back");
                })
                .unwrap()
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    running.stop();
    running.join().unwrap();
}

#[test]
fn more_shards_than_cpus_go_round_the_allowed_ones() {
    let allowed = allowed_cpus().unwrap();
    let running = serve(&Options::new(5), |_| async {});
    let expected: Vec<_> = allowed.iter().copied().cycle().take(5).collect();
    assert_eq!(running.cpus(), expected);
    running.stop();
    running.join().unwrap();

    let mut options = Options::new(2);
    options.cpus = Some(vec![allowed[0]]);
    let running = serve(&options, |_| async {});
    assert_eq!(running.cpus(), [allowed[0]; 2]);
    running.stop();
    running.join().unwrap();
}

#[test]
fn shards_stop_and_join_within_a_second() {
    let running = serve(&Options::new(2), |_| async {});
    thread::sleep(Duration::from_millis(300));
    let begin = Instant::now();
    let handle = running.stop_handle();
    thread::spawn(move || handle.stop());
    running.join().unwrap();
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(1), "took {took:?}");
}

#[test]
fn a_shard_that_cannot_start_gives_its_reason_and_stops_the_others() {
    let begin = Instant::now();
    let outcome = run(
        &Options::new(3),
        |rt, _mesh: GlommioMesh<()>, ready, stop| async move {
            if rt.shard() == ShardId::new(1) {
                rt.sleep(Duration::from_millis(20)).await;
                return Err("no log to be found".to_owned());
            }
            ready.report();
            stop.stopped().await;
            Ok(())
        },
    );
    let error = outcome.unwrap_err();
    assert_eq!(error.to_string(), "shard 1: no log to be found");
    assert!(begin.elapsed() < Duration::from_secs(4));
}

#[test]
fn a_shard_that_fails_later_stops_the_others_too() {
    let running = run(
        &Options::new(2),
        |rt, _mesh: GlommioMesh<()>, ready, stop| async move {
            ready.report();
            if rt.shard() == ShardId::new(1) {
                rt.sleep(Duration::from_millis(20)).await;
                return Err("fenced".to_owned());
            }
            stop.stopped().await;
            Ok(())
        },
    );
    let error = running.unwrap().join().unwrap_err();
    assert_eq!(error.to_string(), "shard 1: fenced");
}

#[test]
fn a_port_in_use_is_refused_before_any_shard_starts() {
    let address = local(21_020);
    let _held = TcpListener::bind(address).unwrap();
    let mut options = Options::new(1);
    options.listen.push(address);
    let outcome = run(&options, |_, _: GlommioMesh<()>, _, _| async {
        panic!("no shard may start")
    });
    let error = outcome.unwrap_err();
    assert!(matches!(error, StartError::PortInUse { .. }));
    let expected = format!(
        "127.0.0.1:21020 is in use by process {}",
        std::process::id()
    );
    assert!(error.to_string().starts_with(&expected), "{error}");
}

#[test]
fn listening_twice_in_another_process_names_the_owner() {
    let address = local(21_021);
    let _held = TcpListener::bind(address).unwrap();
    on_shards::<(), _, _>(1, move |rt, _| async move {
        let error = rt.net().listen(address).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
        let pid = std::process::id().to_string();
        assert!(error.to_string().contains(&pid), "{error}");
    });
}

#[test]
fn a_server_restarts_although_its_connections_linger() {
    let address = local(21_022);
    for _ in 0..3 {
        let mut options = Options::new(2);
        options.listen.push(address);
        let begin = Instant::now();
        let running = serve(&options, move |rt| async move {
            let listener = rt.net().listen(address).await.unwrap();
            rt.clone().spawn(rt::Class::Request, async move {
                // The server ends each connection first: its side lingers in TIME_WAIT.
                while let Ok(stream) = listener.accept().await {
                    drop(stream);
                }
            });
        });
        for _ in 0..20 {
            let mut stream = TcpStream::connect(address).unwrap();
            let mut end = Vec::new();
            stream.read_to_end(&mut end).unwrap();
        }
        running.stop();
        running.join().unwrap();
        assert!(begin.elapsed() < Duration::from_secs(2), "tasks linger");
    }
}

#[test]
fn a_read_only_directory_is_refused_in_words() {
    let mut options = Options::new(1);
    options.data_dir = Some(PathBuf::from("/proc/self/no-such-store"));
    let outcome = run(&options, |_, _: GlommioMesh<()>, _, _| async { Ok(()) });
    let error = outcome.unwrap_err();
    assert!(
        matches!(error, StartError::DirNotWritable { .. }),
        "{error}"
    );
}

#[test]
fn a_task_that_ends_gives_its_memory_back() {
    on_shards::<(), _, _>(1, |rt, _| async move {
        let before = resident_kib();
        for round in 0..200_000u32 {
            let rt2 = rt.clone();
            rt.spawn(rt::Class::Request, async move {
                let held = [round as u8; 512];
                rt2.yield_now().await;
                assert_eq!(held[511], round as u8);
            });
            if round % 256 == 0 {
                rt.yield_now().await;
            }
        }
        rt.sleep(Duration::from_millis(10)).await;
        let grown = resident_kib().saturating_sub(before);
        assert!(grown < 20_000, "grew by {grown} KiB");
    });
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_ascii_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn four_thousand_idle_connections_wake_together() {
    const COUNT: usize = 4_000;
    let address = local(21_030);
    let mut options = Options::new(2);
    options.listen.push(address);
    let running = serve(&options, move |rt| echo_small(rt, address));
    let before = resident_kib();
    let mut clients: Vec<_> = (0..COUNT)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    for round in 0..3u8 {
        for client in &mut clients {
            client.write_all(&[round; 8]).unwrap();
        }
        for (n, client) in clients.iter_mut().enumerate() {
            let mut got = [0xFF; 8];
            client
                .set_read_timeout(Some(Duration::from_secs(20)))
                .unwrap();
            client.read_exact(&mut got).unwrap();
            assert_eq!(got, [round; 8], "connection {n}");
        }
    }
    let each = resident_kib().saturating_sub(before) * 1_024 / COUNT as u64;
    assert!(each < 8_192, "{each} bytes per idle connection");
    drop(clients);
    running.stop();
    running.join().unwrap();
}

/// Like [`echo`], with 16 bytes of buffer for each connection.
async fn echo_small(rt: Glommio, address: SocketAddr) {
    let listener = rt.net().listen(address).await.unwrap();
    let rt2 = rt.clone();
    rt.spawn(rt::Class::Request, async move {
        while let Ok(stream) = listener.accept().await {
            let (mut read, mut write) = stream.split();
            rt2.spawn(rt::Class::Request, async move {
                let mut buf = [0; 16];
                while let Ok(n @ 1..) = read.read(&mut buf).await {
                    if write.write_all(&buf[..n]).await.is_err() {
                        break;
                    }
                }
            });
        }
    });
}
