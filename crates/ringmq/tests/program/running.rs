//! Starts that succeed and ends in order.

use crate::support::{Dir, Process, outcome, ringmq};
use nix::sys::signal::Signal;
use std::net::TcpStream;
use std::time::{Duration, Instant};

#[test]
fn a_standalone_system_serves_three_ports_and_ends_in_order() {
    let dir = Dir::new("standalone");
    let arguments = [
        "standalone",
        "--listen-port",
        "23102",
        "--namesrv-port",
        "23103",
    ];
    let process = Process::start(ringmq(&dir, &arguments), "data");
    let boot = &process.boot;
    assert_eq!(
        boot[0],
        "The Name Server boot success. serializeType=JSON, address 0.0.0.0:23103"
    );
    assert_eq!(
        boot[1],
        "The broker[broker-a, 127.0.0.1:23102] boot success. serializeType=JSON and name server is \
         127.0.0.1:23103"
    );
    let row = |name: &str| {
        let mut rows = boot.iter().map(|line| line.trim_start());
        rows.find(|line| line.starts_with(name)).unwrap().to_owned()
    };
    assert!(
        row("broker").contains("0.0.0.0:23102 (VIP channel 23100)"),
        "{boot:?}"
    );
    assert!(
        row("engine").contains("io_uring, 1 shard on cpu"),
        "{boot:?}"
    );
    let data = row("data");
    assert!(
        data.contains(&format!("{}/data", dir.path().display())),
        "{data}"
    );
    assert!(data.contains("GiB free"), "{data}");
    for port in [23_100, 23_102, 23_103] {
        TcpStream::connect(("127.0.0.1", port)).unwrap();
    }
    let begin = now();
    let (code, errors) = process.stop(Signal::SIGTERM);
    assert_eq!(code, Some(0), "{errors}");
    assert!(begin.elapsed() < Duration::from_secs(10));
    assert!(errors.contains("SIGTERM: stopping"), "{errors}");
    assert!(dir.path().join("data/layout").exists());
}

#[test]
fn a_broker_registers_where_the_environment_says_and_keeps_its_name() {
    let dir = Dir::new("cluster");
    let conf = dir.file("namesrv.conf", "listenPort=23113\nlistenProt=1\n");
    let name_server = ringmq(&dir, &["namesrv", "-c", &conf, "--log-file", "namesrv.log"]);
    let name_server = Process::start(name_server, "namesrv");
    assert_eq!(
        name_server.boot[0],
        "The Name Server boot success. serializeType=JSON, address 0.0.0.0:23113"
    );
    let conf = dir.file(
        "broker.conf",
        "brokerName=broker-x\nlistenPort=23112\nbrokerIP1=127.0.0.2\nstorePathRootDir=store-x\n\
         brokerRole=ASYNC_MASTER\nenableCalcFilterBitMap=true\nmappedFileSizeCommitLog=16777216\n",
    );
    let mut broker = ringmq(&dir, &["broker", "-c", &conf, "--shards", "2"]);
    broker.env("NAMESRV_ADDR", "127.0.0.1:23113");
    let broker = Process::start(broker, "data");
    assert_eq!(
        broker.boot[0],
        "The broker[broker-x, 127.0.0.2:23112] boot success. serializeType=JSON and name server is \
         127.0.0.1:23113"
    );
    let boot = broker.boot.join("\n");
    assert!(boot.contains("127.0.0.2:23112 (brokerIP1)"), "{boot}");
    assert!(boot.contains("2 shards on cpu"), "{boot}");
    let (code, errors) = broker.stop(Signal::SIGINT);
    assert_eq!(code, Some(0), "{errors}");
    assert!(
        errors.contains("enableCalcFilterBitMap has no effect"),
        "{errors}"
    );
    let (code, errors) = name_server.stop(Signal::SIGINT);
    assert_eq!(code, Some(0), "{errors}");
    assert!(errors.contains("did you mean \"listenPort\"?"), "{errors}");
    let log = std::fs::read_to_string(dir.path().join("namesrv.log")).unwrap();
    assert_eq!(log, errors);
    assert!(log.contains("new broker registered"), "{log}");
}

#[test]
fn printing_the_configuration_starts_nothing() {
    let dir = Dir::new("print");
    let conf = dir.file("broker.conf", "listenPort=23122\n");
    let (code, all, _) = outcome(ringmq(
        &dir,
        &["broker", "-c", &conf, "-p", "-n", "h:1;i:2"],
    ));
    assert_eq!(code, Some(0));
    assert!(all.contains("\nlistenPort=23122\n"), "{all}");
    assert!(all.contains("\nnamesrvAddr=h:1;i:2\n"), "{all}");
    assert!(all.contains("\nregionId=DefaultRegion\n"), "{all}");
    let (code, important, _) = outcome(ringmq(&dir, &["broker", "-c", &conf, "-m"]));
    assert_eq!(code, Some(0));
    assert!(important.contains("listenPort=23122\n"), "{important}");
    assert!(!important.contains("regionId"), "{important}");
    let (code, all, _) = outcome(ringmq(&dir, &["namesrv", "-p"]));
    assert_eq!(code, Some(0));
    assert!(all.starts_with("listenPort=9876\n"), "{all}");
    let (code, help, _) = outcome(ringmq(&dir, &["broker", "-h"]));
    assert_eq!(code, Some(0));
    assert!(help.contains("-n, --namesrvAddr"), "{help}");
}

#[expect(
    clippy::disallowed_methods,
    reason = "the test of a real program in real time"
)]
fn now() -> Instant {
    Instant::now()
}
