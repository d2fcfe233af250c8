//! Input that no client should send: each gets a code and a remark, or its connection closed.
//!
//! What must always hold after each check: the broker runs, serves others at once, and holds no
//! more memory than its budget.

use crate::report::Report;
use anyhow::{Result, ensure};
use harness::client::send_fields;
use harness::programs::{Programs, STOP_LIMIT, Standalone};
use harness::server::pause;
use harness::wire::{Connection, Frame, SEND_MESSAGE_V2, SUCCESS, frame_of};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io::Write;
use std::time::{Duration, Instant};

const SUITE: &str = "bad-input";
const TOPIC: &str = "BadInput";
const CLOSE_LIMIT: Duration = Duration::from_secs(3);
const OTHERS_LIMIT: Duration = Duration::from_secs(1);
/// Idle size plus what a thousand and more connections may hold.
const RESIDENT_BYTES_MAX: u64 = 700 << 20;
const CONNECTIONS: u64 = 10_000;
const BODY_LEN_MAX: usize = 4 << 20;

/// `MESSAGE_ILLEGAL`
const ILLEGAL: i32 = 13;
const SYSTEM_ERROR: i32 = 1;
const NOT_SUPPORTED: i32 = 3;
const INVALID_PARAMETER: i32 = 29;
const PULL_OFFSET_MOVED: i32 = 21;

type Body = fn(&Standalone) -> Result<()>;

const CHECKS: &[(&str, Body)] = &[
    (
        "a_frame_above_the_limit_closes_the_connection",
        frame_too_long,
    ),
    ("a_negative_length_closes_the_connection", negative_length),
    (
        "a_header_longer_than_its_frame_closes_the_connection",
        header_too_long,
    ),
    ("invalid_json_closes_the_connection", invalid_json),
    (
        "an_unknown_serialize_type_closes_the_connection",
        unknown_serialize_type,
    ),
    ("random_bytes_close_the_connection", random_bytes),
    ("an_unknown_code_is_answered_3_with_a_remark", unknown_code),
    ("half_a_frame_then_silence_disturbs_nobody", half_frames),
    ("a_client_that_never_reads_disturbs_nobody", never_reads),
    ("illegal_topic_names_are_refused", topic_names),
    ("a_topic_name_never_becomes_a_path", topic_paths),
    ("illegal_group_names_create_no_group", group_names),
    ("queue_ids_out_of_range_are_refused", queue_ids),
    (
        "a_body_above_the_limit_is_refused_and_the_limit_named",
        body_too_large,
    ),
    ("a_send_without_a_required_field_is_answered", missing_field),
    ("fields_that_are_no_numbers_are_answered", bad_numbers),
    ("a_pull_from_any_offset_is_answered", pull_offsets),
    ("announced_large_frames_take_no_memory", announced_frames),
    ("ten_thousand_connections_are_served", many_connections),
];

pub(crate) fn run(report: &mut Report, programs: &Programs) -> Result<()> {
    if !report.wants(SUITE) {
        return Ok(());
    }
    raise_open_files()?;
    let mut system = programs.standalone(&programs.options("bad-input", &[])?)?;
    Connection::open(&system.broker)?.create_topic(TOPIC, 4)?;
    for (name, body) in CHECKS {
        report.check(SUITE, name, || {
            body(&system)?;
            system.server.require_running()?;
            others_are_served(&system)?;
            let resident = system.server.resident_bytes()?;
            ensure!(
                resident < RESIDENT_BYTES_MAX,
                "the process holds {} MiB",
                resident >> 20
            );
            Ok(())
        });
    }
    report.check(SUITE, "it_stops_cleanly_afterwards", || {
        system.server.terminate(STOP_LIMIT)
    });
    Ok(())
}

/// The many-connections check needs a descriptor each, here and in the broker, which inherits.
fn raise_open_files() -> Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    ensure!(
        hard >= CONNECTIONS + 1000,
        "ulimit -Hn is {hard}, and {} are needed",
        CONNECTIONS + 1000
    );
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok(())
}

/// A new client sends and pulls within a second.
fn others_are_served(system: &Standalone) -> Result<()> {
    let start = Instant::now();
    let mut connection = Connection::open(&system.broker)?;
    let offset = connection.send(TOPIC, 3, b"somebody else")?;
    let pulled = connection.pull(TOPIC, 3, offset)?;
    ensure!(
        pulled.units.len() == 1,
        "somebody else pulled {pulled:?} at {offset}"
    );
    let took = start.elapsed();
    ensure!(took < OTHERS_LIMIT, "somebody else waited {took:?}");
    Ok(())
}

fn is_closed_after(system: &Standalone, bytes: &[u8]) -> Result<()> {
    for address in [&system.broker, &system.namesrv] {
        let mut connection = Connection::open(address)?;
        connection.stream.write_all(bytes)?;
        ensure!(
            connection.is_closed_within(CLOSE_LIMIT)?,
            "{address} keeps the connection open"
        );
    }
    Ok(())
}

fn frame_too_long(system: &Standalone) -> Result<()> {
    is_closed_after(
        system,
        &[&(16_777_217u32).to_be_bytes()[..], &[0; 64]].concat(),
    )?;
    is_closed_after(system, &[&i32::MAX.to_be_bytes()[..], &[0; 64]].concat())
}

fn negative_length(system: &Standalone) -> Result<()> {
    is_closed_after(system, &[&(-1i32).to_be_bytes()[..], &[0; 64]].concat())?;
    is_closed_after(system, &[&i32::MIN.to_be_bytes()[..], &[0; 64]].concat())
}

fn header_too_long(system: &Standalone) -> Result<()> {
    let mut frame = frame_of(b"{\"code\":105}", b"");
    frame[4..8].copy_from_slice(&1000u32.to_be_bytes());
    is_closed_after(system, &frame)
}

fn invalid_json(system: &Standalone) -> Result<()> {
    for header in [
        &b"{\"code\":105,"[..],
        b"not json",
        b"[1,2]",
        b"{\"code\":\"x\"}",
        b"\xFF\xFE{}",
    ] {
        is_closed_after(system, &frame_of(header, b""))?;
    }
    // Nesting deep enough to overflow a recursive parser's stack.
    is_closed_after(system, &frame_of("[".repeat(200_000).as_bytes(), b""))
}

fn unknown_serialize_type(system: &Standalone) -> Result<()> {
    for kind in [2u8, 7, 255] {
        let mut frame = frame_of(b"{\"code\":105}", b"");
        frame[4] = kind;
        is_closed_after(system, &frame)?;
    }
    Ok(())
}

fn random_bytes(system: &Standalone) -> Result<()> {
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    for _ in 0..20 {
        let mut bytes = Vec::with_capacity(4096);
        while bytes.len() < 4096 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_be_bytes());
        }
        // A length that fits, so that the header itself is what is wrong.
        bytes[..4].copy_from_slice(&4092u32.to_be_bytes());
        is_closed_after(system, &bytes)?;
    }
    Ok(())
}

fn unknown_code(system: &Standalone) -> Result<()> {
    for address in [&system.broker, &system.namesrv] {
        for code in [9999, -1, i32::MAX] {
            let answer = Connection::open(address)?.call(code, &[], &[])?;
            ensure!(
                answer.code == NOT_SUPPORTED && !answer.remark.is_empty(),
                "code {code}: {answer:?}"
            );
        }
    }
    Ok(())
}

fn half_frames(system: &Standalone) -> Result<()> {
    let frame = Frame::request(SEND_MESSAGE_V2, 1, &send_fields(TOPIC, "0"), b"whole").encode();
    let mut silent = Vec::new();
    for cut in [1, 3, 4, 7, 8, 20, frame.len() - 1] {
        let mut connection = Connection::open(&system.broker)?;
        connection.stream.write_all(&frame[..cut])?;
        silent.push((connection, cut));
    }
    others_are_served(system)?;
    // The rest arrives late and byte by byte: the frame is still good.
    for (connection, cut) in &mut silent {
        for byte in &frame[*cut..] {
            connection.stream.write_all(&[*byte])?;
        }
        connection.answer_to(1)?.expect(SUCCESS)?;
    }
    Ok(())
}

fn never_reads(system: &Standalone) -> Result<()> {
    let body = vec![b'x'; 100_000];
    let mut filler = Connection::open(&system.broker)?;
    for _ in 0..40 {
        filler.send(TOPIC, 0, &body)?;
    }
    let pull = |opaque: i32| {
        let fields = [
            ("consumerGroup", "CID_e2e"),
            ("topic", TOPIC),
            ("queueId", "0"),
            ("queueOffset", "0"),
            ("maxMsgNums", "32"),
            ("sysFlag", "4"),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", "0"),
            ("subscription", "*"),
            ("subVersion", "0"),
            ("expressionType", "TAG"),
        ];
        Frame::request(harness::wire::PULL_MESSAGE, opaque, &fields, &[]).encode()
    };
    // Each asks for hundreds of megabytes and takes nothing.
    let mut deaf = Vec::new();
    for _ in 0..8 {
        let connection = Connection::open(&system.broker)?;
        connection
            .stream
            .set_write_timeout(Some(Duration::from_millis(300)))?;
        let mut stream = &connection.stream;
        for opaque in 0..2000 {
            if stream.write_all(&pull(opaque)).is_err() {
                break;
            }
        }
        deaf.push(connection);
    }
    pause(1000);
    others_are_served(system)
}

fn refuse(answer: &Frame, codes: &[i32], what: &str) -> Result<()> {
    ensure!(
        codes.contains(&answer.code) && !answer.remark.is_empty(),
        "{what}: code {}, remark `{}`; one of {codes:?} with a remark is due",
        answer.code,
        answer.remark
    );
    Ok(())
}

fn topic_names(system: &Standalone) -> Result<()> {
    let mut connection = Connection::open(&system.broker)?;
    let long = "x".repeat(300);
    for name in [
        "",
        " ",
        "a b",
        "../../etc/passwd",
        "a/b",
        "a\u{0}b",
        "тема",
        "a.b",
        "$x",
        &long,
    ] {
        let answer = connection.try_send(name, 0, b"body")?;
        refuse(
            &answer,
            &[INVALID_PARAMETER, ILLEGAL, SYSTEM_ERROR],
            &format!("topic `{name}`"),
        )?;
        let fields = [
            ("topic", name),
            ("defaultTopic", "TBW102"),
            ("readQueueNums", "1"),
            ("writeQueueNums", "1"),
            ("perm", "6"),
            ("topicFilterType", "SINGLE_TAG"),
            ("order", "false"),
        ];
        let answer = connection.call(harness::wire::UPDATE_AND_CREATE_TOPIC, &fields, &[])?;
        refuse(
            &answer,
            &[INVALID_PARAMETER, SYSTEM_ERROR],
            &format!("creating topic `{name}`"),
        )?;
    }
    Ok(())
}

fn topic_paths(system: &Standalone) -> Result<()> {
    let mut connection = Connection::open(&system.broker)?;
    // Legal characters that would still be a path or an option somewhere.
    for name in ["-rf", "CON", "%RETRY%..%2F..%2Fx", &"n".repeat(127)] {
        let answer = connection.try_send(name, 0, b"body")?;
        ensure!(
            answer.code == SUCCESS || !answer.remark.is_empty(),
            "`{name}`: {answer:?}"
        );
    }
    let mut pending = vec![system.dir.join("data")];
    while let Some(dir) = pending.pop() {
        for entry in std::fs::read_dir(&dir)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            ensure!(
                !["-rf", "CON", "%RETRY%", TOPIC, "nnnn"]
                    .iter()
                    .any(|part| name.contains(part)),
                "a file is named {name}"
            );
            if entry.path().is_dir() {
                pending.push(entry.path());
            }
        }
    }
    Ok(())
}

fn group_names(system: &Standalone) -> Result<()> {
    let long = "g".repeat(300);
    for name in ["", "a b", "../x", "группа", &long] {
        let mut connection = Connection::open(&system.broker)?;
        // A heartbeat passes over groups that it cannot take; none may appear.
        connection.heartbeat(name, TOPIC)?;
        let route = system.route(&format!("%RETRY%{name}"))?;
        ensure!(route.is_empty(), "group `{name}` has a retry topic");
        let body =
            format!("{{\"groupName\":\"{name}\",\"consumeEnable\":true,\"retryQueueNums\":1}}");
        let answer = connection.call(200, &[], body.as_bytes())?;
        refuse(
            &answer,
            &[INVALID_PARAMETER, SYSTEM_ERROR],
            &format!("group `{name}`"),
        )?;
    }
    Ok(())
}

fn queue_ids(system: &Standalone) -> Result<()> {
    let mut connection = Connection::open(&system.broker)?;
    for queue in [4, 1000, i32::MAX] {
        let answer = connection.try_send(TOPIC, queue, b"body")?;
        refuse(
            &answer,
            &[INVALID_PARAMETER, SYSTEM_ERROR],
            &format!("send to queue {queue}"),
        )?;
        let answer = connection.try_pull(TOPIC, &queue.to_string(), "0")?;
        refuse(
            &answer,
            &[INVALID_PARAMETER, SYSTEM_ERROR],
            &format!("pull from queue {queue}"),
        )?;
    }
    for queue in [-1, i32::MIN] {
        let answer = connection.try_pull(TOPIC, &queue.to_string(), "0")?;
        refuse(
            &answer,
            &[INVALID_PARAMETER, SYSTEM_ERROR],
            &format!("pull from queue {queue}"),
        )?;
    }
    // Java's broker chooses a queue itself when a send names a negative one.
    let answer = connection
        .try_send(TOPIC, -1, b"any queue")?
        .expect(SUCCESS)?;
    let queue = answer.number("queueId")?;
    ensure!((0..4).contains(&queue), "queue {queue} was chosen");
    Ok(())
}

fn body_too_large(system: &Standalone) -> Result<()> {
    let mut connection = Connection::open(&system.broker)?;
    connection.send(TOPIC, 0, &vec![b'x'; BODY_LEN_MAX])?;
    for length in [BODY_LEN_MAX + 1, 8 << 20, 15 << 20] {
        let answer = connection.try_send(TOPIC, 0, &vec![b'x'; length])?;
        refuse(&answer, &[ILLEGAL], &format!("a body of {length}"))?;
        ensure!(
            answer.remark.contains(&BODY_LEN_MAX.to_string()),
            "the limit is not in `{}`",
            answer.remark
        );
    }
    let properties = "k\u{1}".to_owned() + &"v".repeat(40_000) + "\u{2}";
    let mut fields = send_fields(TOPIC, "0");
    fields[8].1 = &properties;
    let answer = connection.call(SEND_MESSAGE_V2, &fields, b"body")?;
    refuse(&answer, &[ILLEGAL], "40,000 bytes of properties")
}

fn missing_field(system: &Standalone) -> Result<()> {
    let mut connection = Connection::open(&system.broker)?;
    // Java's broker needs neither the producer group nor the default topic of an existing topic.
    for missing in ["b", "e", "f", "g", "h"] {
        let mut fields = send_fields(TOPIC, "0").to_vec();
        fields.retain(|(name, _)| *name != missing);
        let answer = connection.call(SEND_MESSAGE_V2, &fields, b"body")?;
        refuse(
            &answer,
            &[SYSTEM_ERROR, INVALID_PARAMETER],
            &format!("a send without `{missing}`"),
        )?;
    }
    Ok(())
}

fn bad_numbers(system: &Standalone) -> Result<()> {
    let mut connection = Connection::open(&system.broker)?;
    for (at, value) in [
        (3, "many"),
        (4, "9999999999999"),
        (4, ""),
        (5, "0x1"),
        (6, "now"),
        (7, "1e3"),
    ] {
        let mut fields = send_fields(TOPIC, "0");
        fields[at].1 = value;
        let answer = connection.call(SEND_MESSAGE_V2, &fields, b"body")?;
        refuse(
            &answer,
            &[SYSTEM_ERROR, INVALID_PARAMETER],
            &format!("`{}`=`{value}`", fields[at].0),
        )?;
    }
    Ok(())
}

fn pull_offsets(system: &Standalone) -> Result<()> {
    let mut connection = Connection::open(&system.broker)?;
    let sent = connection.send(TOPIC, 2, b"the last one")?;
    for offset in [i64::MAX, i64::MAX - 1, sent + 100] {
        let pulled = connection.pull(TOPIC, 2, offset)?;
        ensure!(
            pulled.code == PULL_OFFSET_MOVED && pulled.next_offset == sent + 1,
            "a pull from {offset}: {pulled:?}"
        );
    }
    for offset in [-1, i64::MIN] {
        let pulled = connection.pull(TOPIC, 2, offset)?;
        ensure!(
            pulled.code == PULL_OFFSET_MOVED && pulled.next_offset == 0,
            "a pull from {offset}: {pulled:?}"
        );
    }
    Ok(())
}

fn announced_frames(system: &Standalone) -> Result<()> {
    let before = system.server.resident_bytes()?;
    let mut silent = Vec::new();
    for _ in 0..500 {
        let mut connection = Connection::open(&system.broker)?;
        connection
            .stream
            .write_all(&(16_000_000u32).to_be_bytes())?;
        connection.stream.write_all(&[0; 20])?;
        silent.push(connection);
    }
    pause(500);
    let grown = system.server.resident_bytes()?.saturating_sub(before);
    ensure!(
        grown < 128 << 20,
        "500 connections that announce 16 MB took {} MiB",
        grown >> 20
    );
    Ok(())
}

fn many_connections(system: &Standalone) -> Result<()> {
    let mut all = Vec::new();
    for i in 0..CONNECTIONS {
        let connection =
            Connection::open(&system.broker).map_err(|e| e.context(format!("connection {i}")))?;
        all.push(connection);
    }
    for connection in all.iter_mut().step_by(97) {
        connection.max_offset(TOPIC, 0)?;
    }
    others_are_served(system)
}
