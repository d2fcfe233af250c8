//! Peers that send garbage, stop half way, never read, or are too many: each costs only itself.

use crate::support::{Broker, Client, Server, eventually, settings};
use serde_json::json;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

const SOON: Duration = Duration::from_secs(5);

async fn is_healthy(server: &Server) -> bool {
    let mut client = Client::connect(server).await;
    client.route("T").await.code() == 0
}

async fn server_with_a_broker(settings: namesrv::Settings) -> (Server, Client) {
    let server = Server::start(settings).await;
    let mut broker = Client::connect(&server).await;
    broker
        .register(&Broker::master("a", 10_911), &["T", "U"])
        .await;
    (server, broker)
}

#[tokio::test]
async fn garbage_closes_its_connection_and_no_other() {
    let (server, _broker) = server_with_a_broker(settings("garbage")).await;
    for (what, bytes) in [
        ("a frame beyond the limit", b"\x7f\xff\xff\xff".as_slice()),
        ("a negative length", b"\xff\xff\xff\xf0garbage"),
        ("a frame too short for a header", b"\0\0\0\x02\0\0"),
        ("a header beyond the frame", b"\0\0\0\x08\0\0\x10\0abcd"),
        ("an unknown header form", b"\0\0\0\x08\x09\0\0\x04abcd"),
        ("a header that is no JSON", b"\0\0\0\x08\0\0\0\x04{]}x"),
        (
            "a TLS greeting",
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
        ),
        ("an HTTP request", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    ] {
        let mut client = Client::connect(&server).await;
        client.stream.write_all(bytes).await.unwrap();
        assert!(client.closed_within(SOON).await, "{what}");
        assert!(is_healthy(&server).await, "after {what}");
    }
    server.stop().await;
}

#[tokio::test]
async fn half_a_frame_meets_a_deadline_that_more_bytes_do_not_move() {
    let mut settings = settings("half-frame");
    settings.limits.frame = Duration::from_millis(300);
    let (server, _broker) = server_with_a_broker(settings).await;
    let mut silent = Client::connect(&server).await;
    silent.stream.write_all(b"\0\0\x10\0\0\0").await.unwrap();
    let mut dripping = Client::connect(&server).await;
    dripping.stream.write_all(b"\0\0\x10\0").await.unwrap();
    let drip = async {
        while dripping.stream.write_all(b"\0").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(SOON, drip)
        .await
        .expect("dripping bytes kept it open");
    assert!(silent.closed_within(SOON).await);
    assert!(is_healthy(&server).await);
    server.stop().await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_its_broker_removed() {
    let mut settings = settings("idle");
    settings.limits.idle = Duration::from_millis(200);
    let (server, mut broker) = server_with_a_broker(settings).await;
    assert!(broker.closed_within(SOON).await);
    assert!(
        !is_healthy(&server).await,
        "its topic has no route any more"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_peer_that_never_reads_is_closed_and_others_are_served() {
    let mut settings = settings("never-reads");
    settings.limits.write = Duration::from_millis(500);
    let (server, _broker) = server_with_a_broker(settings).await;
    let mut client = Client::connect(&server).await;
    let flood = async {
        let value = "v".repeat(4_000);
        loop {
            let ext = json!({ "namespace": "n", "key": value });
            let header = json!({
                "code": 101, "language": "JAVA", "version": 493, "opaque": 1, "flag": 0,
                "extFields": ext,
            });
            let header = header.to_string();
            let mut frame = Vec::new();
            frame.extend_from_slice(&(4 + header.len() as u32).to_be_bytes());
            frame.extend_from_slice(&(header.len() as u32).to_be_bytes());
            frame.extend_from_slice(header.as_bytes());
            if client.stream.write_all(&frame).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = flood => {}
        () = tokio::time::sleep(Duration::from_secs(20)) => panic!("it was never closed"),
    }
    assert!(is_healthy(&server).await);
    server.stop().await;
}

#[tokio::test]
async fn unfinished_frames_of_all_connections_share_a_budget() {
    let mut settings = settings("budget");
    settings.limits.receive_bytes_max = 1 << 20;
    let (server, _broker) = server_with_a_broker(settings).await;
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = Client::connect(&server).await;
        let begin = (8_u32 << 20).to_be_bytes();
        client.stream.write_all(&begin).await.unwrap();
        let _refused = client.stream.write_all(&vec![0; 400 << 10]).await;
        clients.push(client);
    }
    let mut closed = 0;
    for client in &mut clients {
        if client.closed_within(Duration::from_millis(500)).await {
            closed += 1;
        }
    }
    assert_eq!(closed, 2, "two of 400 KiB fit into 1 MiB");
    assert!(is_healthy(&server).await);
    server.stop().await;
}

#[tokio::test]
async fn two_thousand_idle_connections_do_not_disturb_and_one_more_is_refused() {
    const CONNECTIONS: usize = 2_000;
    let mut settings = settings("many");
    settings.limits.connections_max = CONNECTIONS;
    let (server, mut broker) = server_with_a_broker(settings).await;
    let mut idle = Vec::new();
    while idle.len() < CONNECTIONS - 1 {
        idle.push(Client::connect(&server).await);
    }
    let last = idle.last_mut().unwrap();
    assert_eq!(last.route("T").await.code(), 0);
    let mut refused = Client::connect(&server).await;
    assert!(refused.closed_within(SOON).await);
    assert_eq!(broker.route("T").await.code(), 0);
    idle.pop();
    eventually("a place became free", || is_healthy_or_refused(&server)).await;
    server.stop().await;
}

async fn is_healthy_or_refused(server: &Server) -> bool {
    let mut client = Client::connect(server).await;
    client.send(105, json!({ "topic": "T" }), b"", 0).await;
    client
        .receive()
        .await
        .is_some_and(|answer| answer.code() == 0)
}

#[tokio::test]
async fn a_port_in_use_is_told_plainly() {
    let server = Server::start(settings("port-in-use")).await;
    let mut second = settings("port-in-use-2");
    second.listen = server.address;
    let error = namesrv::serve(second, |_| (), std::future::pending())
        .await
        .unwrap_err();
    assert!(matches!(error, namesrv::ServeError::PortInUse { .. }));
    let expected = format!("cannot listen on {}: the port is in use", server.address);
    assert!(error.to_string().starts_with(&expected), "{error}");
    server.stop().await;
}
