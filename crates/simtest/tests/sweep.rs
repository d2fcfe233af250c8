//! A short sweep with every test run, and that a seed is a whole description of its run.

use simtest::{Cuts, Failure, Scene, describe, minimise, run_scene, sweep};

#[test]
fn the_first_seeds_hold() {
    let report = sweep(0, 24, 2, 1, &Cuts::default());
    assert_eq!(report.failures, []);
    assert_eq!(report.held, 24);
    assert!(report.total.verified > 1_000 && report.total.given_up > 10);
}

/// Seeds of whole brokers that found something, as small as they were made, and what they found.
const FOUND: [(u64, &str, &str); 9] = [
    (
        250,
        "",
        "a power cut took a young topic and kept its messages",
    ),
    (
        307,
        "",
        "a full log took a young topic and kept its messages",
    ),
    (
        192,
        "body=1258,messages=84,name-servers=1,producers=1,storm=78,plan=3",
        "the model objected to a copy that outlived the message that was sent back",
    ),
    (
        650,
        "batches=0,body=8,messages=1,storm=9,plan=2+3",
        "a connection that a new life of a broker took was counted as one of the life before",
    ),
    (
        912,
        "body=8,messages=7,name-servers=0,queues=1,storm=119,plan=0+1+2+3+5",
        "a message was sent back to a retry topic whose record a fenced shard 0 had lost",
    ),
    (
        1056,
        "batches=0,body=8,consumers=1,messages=2,name-servers=0,queues=1,storm=4,topics=1,plan=0",
        "the model objected to an unanswered message that came after one of the next connection",
    ),
    (
        965,
        "delays=0,messages=14,name-servers=0,shards=2,plan=9",
        "a message was gone and came back",
    ),
    (
        1007,
        "body=19,consumers=2,messages=6,queues=1,storm=17,plan=6",
        "a message was gone and came back",
    ),
    (
        125,
        "backs=0,body=8,messages=2,storm=1,plan=",
        "a half message that could not be seen yet was taken for lost",
    ),
];

#[test]
fn seeds_that_found_something_hold() {
    for (seed, cuts, found) in FOUND {
        let cuts: Cuts = cuts
            .parse()
            .expect("cuts are written as the minimiser does");
        let held = run_scene(seed, Scene::Broker, &cuts);
        assert!(held.is_ok(), "seed {seed}, {found}: {held:?}");
    }
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
