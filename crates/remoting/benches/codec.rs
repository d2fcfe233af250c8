//! The hot path of the codec: frames, SEND in both forms, answers, stored messages.
//!
//! `cargo bench -p remoting` prints nanoseconds per message; compare before and after a change on
//! the same machine, interleaved.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use remoting::command::{ReplyTo, SerializeType, decode, write_request, write_response};
use remoting::frame::{FRAME_LEN_MAX, FrameBuffer};
use remoting::header::RemotingHeader;
use remoting::header::send::{SendMessageRequestHeaderV2, SendMessageResponseHeader};
use remoting::language::LanguageCode;
use remoting::message::{MessageFields, OffsetMessageId, decode_message, properties};
use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};

const FORMS: [(&str, SerializeType); 2] = [
    ("binary", SerializeType::RocketMq),
    ("json", SerializeType::Json),
];

const PROPERTIES: &str = "KEYS\u{1}key-1\u{2}UNIQ_KEY\u{1}7F00000100012A9F0000000000000000\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagA\u{2}";

fn send_frame(form: SerializeType) -> Vec<u8> {
    let header = SendMessageRequestHeaderV2 {
        producer_group: "please_rename_unique_group_name",
        topic: "TopicTest",
        default_topic: "TBW102",
        default_topic_queue_nums: 4,
        queue_id: 3,
        sys_flag: 0,
        born_timestamp_ms: 1_795_236_262_450,
        flag: 0,
        properties: Some(PROPERTIES),
        reconsume_times: Some(0),
        unit_mode: Some(false),
        max_reconsume_times: None,
        batch: Some(false),
        broker_name: Some("broker-a"),
    };
    let mut out = Vec::new();
    write_request(
        &mut out,
        form,
        310,
        1_000_000_000,
        false,
        &header,
        &[b'x'; 128],
    );
    out
}

fn read_send(c: &mut Criterion) {
    for (name, form) in FORMS {
        let frame = send_frame(form);
        c.bench_function(&format!("read_send_v2_128_{name}"), |b| {
            b.iter(|| {
                let command = decode(black_box(&frame[4..])).expect("a frame");
                let header = SendMessageRequestHeaderV2::decode(&command.fields);
                black_box(header.expect("a header").queue_id)
            });
        });
    }
}

fn write_answer(c: &mut Criterion) {
    let host: SocketAddr = (Ipv4Addr::LOCALHOST, 10_911).into();
    for (name, serialize) in FORMS {
        let to = ReplyTo {
            opaque: 1_000_000_000,
            version: 513,
            serialize,
            language: LanguageCode::Java,
            oneway: false,
        };
        let mut out = Vec::with_capacity(1_024);
        c.bench_function(&format!("write_send_answer_{name}"), |b| {
            b.iter(|| {
                out.clear();
                let id = OffsetMessageId::new(host, black_box(1 << 40));
                let header = SendMessageResponseHeader {
                    msg_id: id.as_str(),
                    queue_id: 3,
                    queue_offset: 123_456_789,
                    transaction_id: Some("7F00000100012A9F0000000000000000"),
                    msg_region: Some("DefaultRegion"),
                    trace_on: Some(true),
                    ..SendMessageResponseHeader::default()
                };
                write_response(&mut out, to, 0, None, &header, &[]);
                black_box(out.len())
            });
        });
    }
}

fn cut_frames(c: &mut Criterion) {
    let stream = send_frame(SerializeType::RocketMq).repeat(200);
    let mut group = c.benchmark_group("frames");
    group.throughput(Throughput::Elements(200));
    group.bench_function("cut_200_sends", |b| {
        let mut frames = FrameBuffer::new(FRAME_LEN_MAX);
        b.iter(|| {
            frames.spare_mut(stream.len())[..stream.len()].copy_from_slice(&stream);
            frames.filled(stream.len());
            let mut count = 0;
            while let Some(place) = frames.next_frame().expect("frames") {
                count += frames.bytes(place).len();
            }
            frames.compact();
            black_box(count)
        });
    });
    group.finish();
}

fn stored_messages(c: &mut Criterion) {
    let host: SocketAddr = (Ipv4Addr::LOCALHOST, 10_911).into();
    for len in [128, 1_024] {
        let body = vec![b'x'; len];
        let pieces = [PROPERTIES.as_bytes(), b"CLUSTER\x01DefaultCluster\x02"];
        let fields = MessageFields {
            topic: "TopicTest",
            queue_id: 3,
            flag: 0,
            sys_flag: 0,
            born_timestamp_ms: 1_795_236_262_450,
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: &body,
            properties: &pieces,
        };
        let mut unit = vec![0; fields.encoded_len()];
        c.bench_function(&format!("write_message_{len}"), |b| {
            b.iter(|| black_box(&fields).encode_into(&mut unit, 7, 1 << 40, 1_795_236_262_451));
        });
        c.bench_function(&format!("read_message_{len}"), |b| {
            b.iter(|| black_box(decode_message(black_box(&unit))).is_ok());
        });
    }
}

fn property_text(c: &mut Criterion) {
    c.bench_function("find_property", |b| {
        b.iter(|| properties::get(black_box(PROPERTIES), black_box("TAGS")));
    });
    c.bench_function("set_property", |b| {
        b.iter_batched(
            || PROPERTIES,
            |text| properties::set(text, "WAIT", "false"),
            BatchSize::SmallInput,
        );
    });
}

criterion_group!(
    codec,
    read_send,
    write_answer,
    cut_frames,
    stored_messages,
    property_text
);
criterion_main!(codec);
