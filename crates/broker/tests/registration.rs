//! Registration with name servers, played by a few lines of the test.

mod support;

use remoting::RequestCode;
use remoting::body::dialect;
use remoting::body::register_broker::RegisterBrokerBody;
use remoting::command::{NoHeader, decode, write_response};
use remoting::frame::FrameBuffer;
use rt::{Class, Listener, Net, ReadHalf, Rt, Stream, WriteHalf};
use sim::{Sim, SimListener, SimStream};
use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use support::{Client, Cluster};

/// What a name server was told: the code, and the topics of a registration.
type Told = Rc<RefCell<Vec<(i32, Vec<String>)>>>;

const PORT: u16 = 9_876;

/// Starts a name server that accepts everything.
fn name_server(cluster: &Cluster) -> Told {
    let told = Told::default();
    let (sim, kept) = (cluster.clients.sim(0), Rc::clone(&told));
    let rt = sim.clone();
    let ip = cluster.clients.ip();
    sim.spawn(Class::Request, async move {
        let address = SocketAddr::new(ip, PORT);
        let listener = rt.net().listen(address).await.expect("a free port");
        accept(rt, listener, kept).await;
    });
    told
}

async fn accept(rt: Sim, listener: SimListener, told: Told) {
    while let Ok(stream) = listener.accept().await {
        let told = Rc::clone(&told);
        rt.spawn(Class::Request, async move { serve(stream, &told).await });
    }
}

async fn serve(stream: SimStream, told: &Told) {
    let (mut read, mut write) = stream.split();
    let mut frames = FrameBuffer::new(remoting::frame::FRAME_LEN_MAX);
    loop {
        let count = read.read(frames.spare_mut(4_096)).await.unwrap_or(0);
        if count == 0 {
            return;
        }
        frames.filled(count);
        let mut out = Vec::new();
        while let Ok(Some(range)) = frames.next_frame() {
            let command = decode(frames.bytes(range)).expect("a whole command");
            let mut topics = Vec::new();
            if command.code == RequestCode::RegisterBroker as i32 {
                let body: RegisterBrokerBody = dialect::from_slice(command.body).expect("JSON");
                let table = body.topic_config_serialize_wrapper.topic_config_table;
                topics = table.into_keys().collect();
            }
            told.borrow_mut().push((command.code, topics));
            write_response(&mut out, command.reply_to(), 0, None, &NoHeader, &[]);
        }
        frames.compact();
        if write.write_all(&out).await.is_err() {
            return;
        }
    }
}

fn codes(told: &Told) -> Vec<i32> {
    told.borrow().iter().map(|(code, _)| *code).collect()
}

fn cluster_with_name_server(shards: u16) -> (Cluster, Told) {
    let mut cluster = Cluster::new(1, shards, |_| {});
    let address = SocketAddr::new(cluster.clients.ip(), PORT);
    cluster.settings.name_servers = vec![address];
    let told = name_server(&cluster);
    (cluster, told)
}

#[test]
fn a_broker_registers_at_its_start_again_and_again_and_leaves_at_its_end() {
    let (mut cluster, told) = cluster_with_name_server(3);
    let reports = cluster.start();
    let control = reports.iter().find(|report| report.shard.index() == 0);
    assert!(control.is_some_and(|report| report.is_registered));
    assert_eq!(codes(&told), [103]);
    let topics = told.borrow()[0].1.clone();
    for topic in [
        "TBW102",
        "BenchmarkTest",
        "DefaultCluster",
        "broker-a",
        "SELF_TEST_TOPIC",
    ] {
        assert!(
            topics.iter().any(|name| name == topic),
            "{topic} in {topics:?}"
        );
    }
    cluster.world.run_for(Duration::from_secs(65));
    assert_eq!(codes(&told), [103, 103, 103], "every 30 seconds");
    cluster.stop();
    assert_eq!(codes(&told).last(), Some(&104));
}

#[test]
fn a_topic_that_a_send_creates_is_registered_before_the_send_is_answered() {
    for shards in [1, 3] {
        let (mut cluster, told) = cluster_with_name_server(shards);
        cluster.start();
        cluster.client(|client| async move {
            for queue in ["0", "1", "2", "3"] {
                let topic = format!("Made{queue}");
                assert_eq!(client.send(&topic, queue, b"x").await.code, 0);
                let last = told.borrow().last().expect("registered").1.clone();
                assert!(last.contains(&topic), "{topic} in {last:?}");
            }
            let joined = client.heartbeat("c1", "group", "Made0").await;
            assert_eq!(joined.code, 0);
            let last = told.borrow().last().expect("registered").1.clone();
            assert!(last.contains(&"%RETRY%group".to_owned()), "{last:?}");
        });
    }
}

#[test]
fn an_absent_name_server_delays_the_start_by_seconds_and_sends_not_at_all() {
    let mut cluster = Cluster::new(2, 2, |_| {});
    let absent = SocketAddr::new(cluster.clients.ip(), PORT);
    cluster.settings.name_servers = vec![absent];
    let start = cluster.world.now();
    let reports = cluster.start();
    assert!(reports.iter().all(|report| !report.is_registered));
    assert!(cluster.world.now() < start + Duration::from_secs(10));
    cluster.client(|client| async move {
        let start_us = client.sim().monotonic_us();
        assert_eq!(client.send("TopicTest", "0", b"x").await.code, 0);
        assert!(client.sim().monotonic_us() - start_us < 1_000_000);
    });
    let told = name_server(&cluster);
    cluster.world.run_for(Duration::from_secs(5));
    assert_eq!(codes(&told), [103], "registered soon after it came");
    let has_topic = told.borrow()[0].1.contains(&"TopicTest".to_owned());
    assert!(has_topic, "with what was created meanwhile");
}

#[test]
fn many_connections_create_one_topic_together() {
    let (mut cluster, told) = cluster_with_name_server(3);
    cluster.start();
    cluster.scene(|sim, address| async move {
        let mut asked = Vec::new();
        for n in 0..30_usize {
            let client = Client::connect(&sim, address).await;
            let queue = ["0", "1", "2", "3"][n % 4];
            let fields = support::send_fields("Together", queue, "");
            let (opaque, frame) = client.frame(RequestCode::SendMessageV2, &fields, b"x");
            client.write(&frame).await;
            asked.push((client, opaque));
        }
        for (client, opaque) in asked {
            assert_eq!(client.answer(opaque).await.code, 0);
        }
    });
    assert!(codes(&told).len() < 30, "registrations are shared");
}
