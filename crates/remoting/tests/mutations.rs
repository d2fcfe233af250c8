//! The fuzz targets over mutated recorded frames: the same on every run, and bounded.
//!
//! This keeps the targets alive where no libFuzzer is installed; `cargo xtask fuzz` goes further.

#![expect(
    clippy::unwrap_used,
    reason = "the functions here are all parts of tests"
)]

use remoting::command::{self, SerializeType};
use remoting::fuzzing::{Mutator, TARGETS, Target};
use remoting::message::decode_message;
use std::path::Path;

/// Mutations of each target's corpus.
const ROUNDS: u64 = 20_000;

fn frames() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    let paths = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths
        .filter(|p| p.extension().is_some_and(|e| e == "hex"))
        .collect();
    paths.sort();
    let frames: Vec<_> = paths.iter().map(|path| from_hex(path)).collect();
    assert!(!frames.is_empty(), "there are no recorded frames");
    frames
}

fn from_hex(path: &Path) -> Vec<u8> {
    let text = std::fs::read_to_string(path).unwrap();
    let digits: Vec<u8> = text
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

/// What of each recorded frame the target of this name is about.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let mut corpus = Vec::new();
    for frame in frames() {
        let header_len = u32::from_be_bytes(frame[4..8].try_into().unwrap()) as usize & 0xFF_FFFF;
        let (header, command) = (
            &frame[8..8 + header_len],
            command::decode(&frame[4..]).unwrap(),
        );
        let is_json = command.serialize == SerializeType::Json;
        let request = if command.is_response() {
            0
        } else {
            command.code
        };
        match name {
            "frame" => corpus.push([&[99], &frame[..]].concat()),
            "json_header" if is_json => corpus.push(header.to_vec()),
            "binary_header" if !is_json => corpus.push(header.to_vec()),
            "message" if decode_message(command.body).is_ok() => corpus.push(command.body.to_vec()),
            "properties" => {
                let properties = command.fields.get("i").or(command.fields.get("properties"));
                corpus.extend(properties.map(|text| text.as_bytes().to_vec()));
            }
            "batch" if request == 320 => corpus.push(command.body.to_vec()),
            "dialect" if command.body.starts_with(b"{") => corpus.push(command.body.to_vec()),
            "registration" if request == 103 => {
                let compressed = command.fields.get("compressed") == Some("true");
                corpus.push([&[0x80 | u8::from(compressed)], command.body].concat());
            }
            _ => {}
        }
    }
    assert!(!corpus.is_empty(), "no recorded frame is about {name}");
    corpus.retain(|bytes| bytes.len() < 8_192);
    corpus
}

fn drive(name: &str, target: Target) {
    let corpus = corpus(name);
    for bytes in &corpus {
        target(bytes);
    }
    let mut mutator = Mutator::new(20_260_101);
    for round in 0..ROUNDS as usize {
        let mut bytes = corpus[round % corpus.len()].clone();
        mutator.mutate(&mut bytes, &corpus[round * 7 % corpus.len()]);
        target(&bytes);
    }
}

#[test]
fn no_mutation_of_a_recorded_frame_breaks_a_decoder() {
    for (name, target) in TARGETS {
        drive(name, target);
    }
}

#[test]
fn every_target_has_its_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/fuzz_targets");
    let files = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    files.sort();
    let mut names: Vec<_> = TARGETS.iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    assert_eq!(files, names);
}
