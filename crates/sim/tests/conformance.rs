//! The simulation passes the bodies that the real engine passes.

use rt::{Rt, conformance};
use sim::World;
use std::net::SocketAddr;
use std::path::Path;
use std::rc::Rc;

const SEEDS: u64 = 50;

#[test]
fn the_simulated_disk_passes_the_disk_bodies() {
    for seed in 0..SEEDS {
        let world = World::new(seed);
        let host = world.host(1);
        host.block_on(0, |sim| async move {
            conformance::disk(&sim, Path::new("/data/conformance")).await;
        });
    }
}

#[test]
fn the_simulated_clock_and_tasks_pass_the_task_bodies() {
    for seed in 0..SEEDS {
        let world = World::new(seed);
        let host = world.host(1);
        host.block_on(0, |sim| async move { conformance::tasks(&sim).await });
    }
}

#[test]
fn the_simulated_network_passes_the_network_bodies() {
    for seed in 0..SEEDS {
        let world = World::new(seed);
        let host = world.host(1);
        let address: SocketAddr = "127.0.0.1:0".parse().unwrap();
        host.block_on(0, move |sim| async move {
            conformance::net(&sim, address).await;
        });
    }
}

#[test]
fn the_simulated_mesh_passes_the_mesh_body() {
    for seed in 0..SEEDS {
        let world = World::new(seed);
        let host = world.host(3);
        let meshes = host.mesh::<u64>(4);
        let gate = Rc::new(rt::sync::Gate::default());
        for (sim, mesh) in host.sims().into_iter().zip(meshes) {
            let pass = gate.enter();
            let task_sim = sim.clone();
            sim.spawn(rt::Class::Request, async move {
                conformance::mesh_keeps_order(&task_sim, Rc::new(mesh), 300).await;
                drop(pass);
            });
        }
        world.block_on(async move { gate.empty().await });
    }
}
