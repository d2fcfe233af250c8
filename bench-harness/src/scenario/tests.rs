//! Reading scenarios: lists become cells, errors become sentences, files and program agree.
use super::*;

fn parse(text: &str, short: bool, changes: &[(&str, &str)]) -> Result<Scenario> {
    let changes: Vec<_> = changes
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    Scenario::parse("X1-test", text, short, &changes)
}

#[test]
fn the_command_line_goes_before_short_and_short_before_the_file() {
    let text = "seconds = 30 # half a minute\nqueues = 4\nshort.seconds = 3\n";
    let seconds = |short, changes: &[_]| parse(text, short, changes).unwrap().params.seconds;
    assert_eq!(seconds(false, &[]), 30);
    assert_eq!(seconds(true, &[]), 3);
    assert_eq!(seconds(true, &[("seconds", "7")]), 7);
}

#[test]
fn lists_give_a_cell_for_each_combination_that_the_mode_looks_at() {
    let text = "mode = constant\nconnections = 1,8\nrate = 500,5000\nin-flight = 1,16";
    let cells = parse(text, false, &[]).unwrap().params.cells();
    let seen: Vec<_> = cells.iter().map(Cell::label).collect();
    let expected = [
        "500/s, 1 connections",
        "5000/s, 1 connections",
        "500/s, 8 connections",
        "5000/s, 8 connections",
    ];
    assert_eq!(seen, expected);
    let closed = parse("in-flight = 1,16\nconnections = 4", false, &[]).unwrap();
    let seen: Vec<_> = closed.params.cells().iter().map(Cell::label).collect();
    assert_eq!(
        seen,
        ["1 in flight, 1 connections", "16 in flight, 4 connections"]
    );
}

#[test]
fn a_wrong_line_is_told_with_its_place_and_what_is_wanted() {
    for (text, part) in [
        ("sizee = 3", "did you mean size"),
        ("\nsize = 3", "line 2 of X1-test"),
        ("size = 3", "a body has 32 to"),
        (
            "mode = open",
            "one of closed, constant, poisson, sweep is wanted",
        ),
        ("queues = 0", "at least 1"),
        ("queues", "is not key = value"),
        ("short.queues = none", "a number is wanted"),
        ("batch = 64\nsize = 100000", "longer than"),
    ] {
        let error = format!("{:#}", parse(text, false, &[]).unwrap_err());
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn every_file_of_the_directory_is_part_of_the_program_and_reads() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
    let mut on_disk: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| Some(name.strip_suffix(".scenario")?.to_owned()))
        .collect();
    on_disk.sort();
    let mut known: Vec<_> = all(false).unwrap().into_iter().map(|s| s.name).collect();
    known.sort();
    assert_eq!(known, on_disk);
    for scenario in all(true).unwrap() {
        assert!(!scenario.title.is_empty(), "{}", scenario.name);
    }
}

#[test]
fn a_scenario_is_found_by_the_first_part_of_its_name_and_a_wrong_one_names_the_nearest() {
    assert_eq!(find("p1", false, &[]).unwrap().name, "P1-tput-128-async");
    let error = find("P9-tput", false, &[]).unwrap_err().to_string();
    assert!(error.contains("did you mean P"), "{error}");
    let error = find("T1", false, &[])
        .unwrap()
        .require_runnable()
        .unwrap_err();
    assert!(error.to_string().contains("needs transactions"), "{error}");
}

#[test]
fn mixed_sizes_have_a_mean() {
    let scenario = parse("size = 128:3,1024:1", false, &[]).unwrap();
    assert!((scenario.params.mean_size() - 352.0).abs() < 1e-9);
}
