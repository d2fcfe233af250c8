//! A short sweep with every test run, and that a seed is a whole description of its run.

use simtest::{Cuts, Failure, Scene, describe, minimise, run_scene, sweep};

#[test]
fn the_first_seeds_hold() {
    let report = sweep(0, 24, 2, 1, &Cuts::default());
    assert_eq!(report.failures, []);
    assert_eq!(report.held, 24);
    assert!(report.total.verified > 1_000 && report.total.given_up > 10);
}

#[test]
fn a_seed_gives_the_same_run_every_time() {
    for seed in 100..104 {
        for scene in [Scene::Store, Scene::Broker] {
            let first = run_scene(seed, scene, &Cuts::default()).expect("it holds");
            let again = run_scene(seed, scene, &Cuts::default());
            assert_eq!(again, Ok(first), "seed {seed} {scene:?}");
            assert_ne!(first.trace_hash, 0);
        }
    }
}

#[test]
fn a_seed_replays_a_hundred_times_with_one_trace() {
    let cuts = Cuts::default().with("storm", 30);
    let play = || {
        run_scene(7, Scene::Broker, &cuts)
            .expect("it holds")
            .trace_hash
    };
    let first = play();
    assert!((0..100).all(|_| play() == first));
}

#[test]
fn cuts_make_a_run_smaller_and_leave_the_rest_of_its_shape() {
    let whole = describe(11, &Cuts::default().only("broker"));
    let cut = describe(11, &Cuts::default().only("broker").with("body", 8));
    let differs = whole
        .lines()
        .zip(cut.lines())
        .filter(|(one, other)| one != other);
    assert_eq!(differs.count(), 1, "{whole}\n{cut}");
}

/// A failure that does not happen cannot be made smaller: what is given back is the whole seed.
#[test]
fn a_minimiser_leaves_out_nothing_that_a_failure_needs() {
    let failure = Failure {
        seed: 3,
        scene: Scene::Store,
        sentence: "not one that happens".to_owned(),
    };
    let smaller = minimise(&failure, &Cuts::default(), 12);
    assert_eq!(smaller.cuts, Cuts::default().only("store"));
    assert_eq!(smaller.failure, failure);
    assert!(smaller.runs <= 12);
}
