//! Stores of every format version under the program itself, and the writer of new ones.

use crate::support::{Dir, Process, ringmq};
use nix::sys::signal::Signal;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[path = "../../../store/tests/formats/pack.rs"]
mod pack;

use pack::{GROUP, QUEUES, body, committed, pack, unpack};

const SETTINGS: &str = "listenPort=23172\nbrokerIP1=127.0.0.1\nflushDiskType=SYNC_FLUSH\n\
    maxMessageSize=65536\nmappedFileSizeCommitLog=2097152\nflushConsumerOffsetInterval=50\n\
    defaultTopicQueueNums=4\nstorePathRootDir=store\ncleanFileForciblyEnable=false\n\
    minFreeBytes=0\ndiskSpaceWarningLevelRatio=100\n";

/// One connection that asks and reads the answer, one at a time.
struct Client(TcpStream);

struct Answer {
    header: String,
    body: Vec<u8>,
}

impl Client {
    fn new() -> Self {
        let stream = TcpStream::connect(("127.0.0.1", 23_172)).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        Self(stream)
    }

    fn ask(&mut self, code: u16, fields: &[(&str, &str)], body: &[u8]) -> Answer {
        let fields: Vec<String> = fields
            .iter()
            .map(|(name, value)| {
                let value = value
                    .replace('\u{1}', "\\u0001")
                    .replace('\u{2}', "\\u0002");
                format!("\"{name}\":\"{value}\"")
            })
            .collect();
        let header = format!(
            "{{\"code\":{code},\"language\":\"JAVA\",\"version\":493,\"opaque\":7,\"flag\":0,\
             \"serializeTypeCurrentRPC\":\"JSON\",\"extFields\":{{{}}}}}",
            fields.join(",")
        );
        let mut frame = Vec::new();
        frame.extend((4 + header.len() as u32 + body.len() as u32).to_be_bytes());
        frame.extend((header.len() as u32).to_be_bytes());
        frame.extend(header.as_bytes());
        frame.extend(body);
        self.0.write_all(&frame).unwrap();
        let mut lens = [0; 8];
        self.0.read_exact(&mut lens).unwrap();
        let total = u32::from_be_bytes(*lens.first_chunk().unwrap()) as usize;
        let header_len = u32::from_be_bytes(*lens.last_chunk().unwrap()) as usize & 0xFF_FFFF;
        let mut rest = vec![0; total - 4];
        self.0.read_exact(&mut rest).unwrap();
        let body = rest.split_off(header_len);
        let header = String::from_utf8(rest).unwrap();
        Answer { header, body }
    }

    fn send(&mut self, topic: &str, queue: u32, offset: i64) {
        let properties = format!("KEYS\u{1}key-{offset}\u{2}TAGS\u{1}tag-{}\u{2}", offset % 3);
        let fields = [
            ("a", "fixture_producer"),
            ("b", topic),
            ("c", "TBW102"),
            ("d", "4"),
            ("e", &queue.to_string()),
            ("f", "0"),
            ("g", "1700000000000"),
            ("h", "0"),
            ("i", &properties),
            ("j", "0"),
            ("k", "false"),
            ("m", "false"),
        ];
        let answer = self.ask(310, &fields, body(topic, queue, offset).as_bytes());
        assert!(answer.header.contains("\"code\":0"), "{}", answer.header);
        let said = format!("\"queueOffset\":\"{offset}\"");
        assert!(answer.header.contains(&said), "{}", answer.header);
    }

    fn commit(&mut self, topic: &str, queue: u32, offset: i64) {
        let (queue, offset) = (queue.to_string(), offset.to_string());
        let fields = [
            ("consumerGroup", GROUP),
            ("topic", topic),
            ("queueId", queue.as_str()),
            ("commitOffset", offset.as_str()),
        ];
        let answer = self.ask(15, &fields, b"");
        assert!(answer.header.contains("\"code\":0"), "{}", answer.header);
    }

    fn committed(&mut self, topic: &str, queue: u32) -> String {
        let queue = queue.to_string();
        let fields = [
            ("consumerGroup", GROUP),
            ("topic", topic),
            ("queueId", queue.as_str()),
        ];
        self.ask(14, &fields, b"").header
    }

    fn pull(&mut self, topic: &str, queue: u32, offset: i64) -> Answer {
        let (queue, offset) = (queue.to_string(), offset.to_string());
        let fields = [
            ("consumerGroup", GROUP),
            ("topic", topic),
            ("queueId", queue.as_str()),
            ("queueOffset", offset.as_str()),
            ("maxMsgNums", "32"),
            ("sysFlag", "4"),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", "0"),
            ("subscription", "*"),
            ("subVersion", "1"),
            ("expressionType", "TAG"),
        ];
        self.ask(11, &fields, b"")
    }
}

fn start(dir: &Dir) -> Process {
    let conf = dir.file("broker.conf", SETTINGS);
    let arguments = ["broker", "-c", &conf, "--shards", "2"];
    Process::start(ringmq(dir, &arguments), "data")
}

fn formats() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../store/tests/formats")
}

/// Unpacks a store of a format version.
pub(crate) fn place_format(format: u16, how: &str, root: &Path) {
    let packed = fs::read(formats().join(format!("format-{format}-{how}.pack"))).unwrap();
    place(&packed, root);
}

fn place(packed: &[u8], root: &Path) {
    for file in unpack(packed) {
        let path = root.join(&file.path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut bytes = vec![0; file.len as usize];
        for (at, piece) in &file.pieces {
            bytes[*at as usize..][..piece.len()].copy_from_slice(piece);
        }
        fs::write(path, bytes).unwrap();
    }
}

fn bodies(mut bytes: &[u8]) -> Vec<String> {
    let mut bodies = Vec::new();
    while !bytes.is_empty() {
        let total = u32::from_be_bytes(*bytes.first_chunk().unwrap()) as usize;
        let len = u32::from_be_bytes(*bytes[84..].first_chunk().unwrap()) as usize;
        bodies.push(String::from_utf8(bytes[88..88 + len].to_vec()).unwrap());
        bytes = &bytes[total..];
    }
    bodies
}

#[test]
fn the_program_serves_a_store_of_every_format_version() {
    for format in 1..=store::FORMAT_VERSION {
        for how in ["clean", "killed"] {
            let dir = Dir::new("fixture");
            place_format(format, how, &dir.path().join("store"));
            let process = start(&dir);
            let mut client = Client::new();
            for (topic, queue, before, after) in QUEUES {
                let count = if how == "clean" {
                    before
                } else {
                    before + after
                };
                let mut next = 0;
                while next < count {
                    let read = bodies(&client.pull(topic, queue, next).body);
                    assert!(!read.is_empty(), "{how} {topic}/{queue} at {next}");
                    for text in read {
                        assert_eq!(text, body(topic, queue, next));
                        next += 1;
                    }
                }
                assert_eq!(next, count);
                if count > 0 {
                    let said = format!("\"offset\":\"{}\"", committed(count));
                    let header = client.committed(topic, queue);
                    assert!(header.contains(&said), "{how} {topic}/{queue}: {header}");
                }
            }
            assert_eq!(process.stop(Signal::SIGTERM).0, Some(0));
        }
    }
}

#[test]
#[ignore = "writes files of the repository: for a new format version"]
fn writes_the_fixtures() {
    let dir = Dir::new("writes-fixtures");
    let version = store::FORMAT_VERSION;
    let write = |how: &str| {
        let packed = pack(&dir.path().join("store"));
        fs::write(
            formats().join(format!("format-{version}-{how}.pack")),
            packed,
        )
        .unwrap();
    };
    let mut process = start(&dir);
    fill(|before, _| 0..before);
    assert_eq!(process.stop(Signal::SIGTERM).0, Some(0));
    write("clean");
    process = start(&dir);
    fill(|before, after| before..before + after);
    process.signal(Signal::SIGKILL);
    process.wait();
    write("killed");
}

/// Sends a range of each queue's messages, in turns, and commits an offset.
fn fill(range: impl Fn(i64, i64) -> std::ops::Range<i64>) {
    let mut client = Client::new();
    let group = format!("{{\"groupName\":\"{GROUP}\"}}");
    let made = client.ask(200, &[], group.as_bytes());
    assert!(made.header.contains("\"code\":0"), "{}", made.header);
    let most = QUEUES.iter().map(|q| q.2 + q.3).max().unwrap();
    for offset in 0..most {
        for (topic, queue, before, after) in QUEUES {
            if range(before, after).contains(&offset) {
                client.send(topic, queue, offset);
            }
        }
    }
    for (topic, queue, before, after) in QUEUES {
        let end = range(before, after).end;
        if end > 0 {
            client.commit(topic, queue, committed(end));
        }
    }
    // Longer than offsets wait before they are written.
    std::thread::sleep(Duration::from_secs(1));
}
