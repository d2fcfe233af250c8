//! The generator against the server that does nothing, with and without faults.
use super::*;
use crate::machine::Cpus;
use std::path::PathBuf;

fn places(name: &str) -> Places {
    let work = std::env::temp_dir().join(format!("ringmq-bench-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&work).unwrap();
    Places {
        root: PathBuf::from("."),
        work,
        // Not pinned: tests run beside each other.
        cpus: Cpus {
            broker: Vec::new(),
            generator: Vec::new(),
        },
        config: Vec::new(),
        java_heap: String::new(),
    }
}

fn load(name: &str, faults: Faults, settings: &str) -> CellResult {
    let places = places(name);
    let sink = Sink::start(None, false, faults).unwrap();
    let around = "counter-seconds=0 warm-up=0 warm-up-max=0 seconds=1 connections=2 poll=block";
    let lines = format!("{around} {settings}").replace(' ', "\n");
    let scenario = Scenario::parse("X", &lines, false, &[]).unwrap();
    let kind = Kind::Running(sink.address.to_string(), None);
    let mut target = Target::start(&kind, &places, &scenario.params).unwrap();
    let ground = Ground {
        scenario: &scenario,
        cpus: &places.cpus,
        work: &places.work,
        serial: 0,
    };
    let planned = scenario.params.cells()[0];
    let rate = cell::rate_of(planned.rate, None).unwrap();
    let result = cell::run(ground, &mut target, planned, rate, "test").unwrap();
    std::fs::remove_dir_all(&places.work).unwrap();
    result
}

#[test]
fn a_closed_loop_counts_every_answer_and_the_offsets_are_whole() {
    let result = load("closed", Faults::default(), "in-flight=8 size=64");
    assert_eq!(result.failure, None);
    assert!(result.messages > 0 && result.messages <= result.verified.acknowledged);
    assert_eq!(result.response.unwrap().count, result.messages);
    assert_eq!(
        (result.verified.lost, result.verified.offsets_told_twice),
        (0, 0)
    );
    assert_eq!(result.verified.stored, Some(0), "the server keeps nothing");
}

#[test]
fn an_open_loop_sends_what_is_due_whatever_the_form() {
    for settings in [
        "mode=constant rate=500",
        "mode=poisson rate=500 codec=json",
        "mode=constant rate=640 batch=32",
    ] {
        let result = load("open", Faults::default(), settings);
        assert_eq!(result.failure, None, "{settings}");
        let due = result.offered.unwrap() * result.seconds;
        // A slow machine sends late, never less in the end: the count of all is checked.
        assert!(
            result.verified.acknowledged as f64 > 0.5 * due,
            "{settings}: {result:?}"
        );
        assert!(result.lag.is_some());
    }
}

#[test]
fn a_refusal_is_an_error_by_its_code_and_remark() {
    let faults = Faults {
        refuses: Some((4, 2)),
        ..Faults::default()
    };
    let result = load("refuses", faults, "in-flight=4");
    let error = &result.errors[0];
    assert_eq!(
        (error.code, error.remark.as_str()),
        (2, "refused by the test")
    );
    assert!(error.count > 0);
    assert!(result.messages > 0);
    assert_eq!(result.failure, None, "refused is not lost");
}

#[test]
fn a_broker_that_dies_in_the_middle_leaves_what_was_measured_and_a_sentence() {
    let faults = Faults {
        ends_after: Some(3_000),
        ..Faults::default()
    };
    let result = load("dies", faults, "mode=constant rate=1000 seconds=60");
    let failure = result.failure.unwrap();
    assert!(
        failure.contains("ended a producer's connection in the middle"),
        "{failure}"
    );
    assert!(result.messages > 0, "what was measured stays");
    assert!(result.verified.acknowledged >= 2_900);
    let lost = result.errors.iter().find(|error| error.code == -2);
    assert!(lost.is_none_or(|lost| lost.remark == "the connection ended"));
}
