//! Three name servers and two brokers on one machine, and one broker taken away.

use crate::packages::Packages;
use crate::report::Report;
use crate::suites::{Target, lines_of};
use anyhow::{Context, Result, ensure};
use harness::programs::{CLUSTER, Programs, START_LIMIT, STOP_LIMIT};
use harness::server::{Server, pause, route};
use harness::wire::Connection;
use std::time::{Duration, Instant};

const SUITE: &str = "cluster";
pub(crate) const JAVA_SUITE: &str = "cluster-java-5.5.0";
const TOPIC: &str = "Spread";
/// A broker that dies closes its connections, and the name servers see that at once.
const ROUTE_GONE_LIMIT: Duration = Duration::from_secs(5);

struct World {
    namesrvs: Vec<(Server, String)>,
    brokers: Vec<(Server, String)>,
}

pub(crate) fn run(report: &mut Report, programs: &Programs) {
    if !report.wants(SUITE) {
        return;
    }
    let mut world = None;
    report.check(
        SUITE,
        "two_brokers_register_with_three_name_servers",
        || {
            world = Some(World::start(programs)?);
            Ok(())
        },
    );
    let Some(mut world) = world else {
        return;
    };
    report.check(SUITE, "one_topic_spreads_over_both_brokers", || {
        world.spread()
    });
    report.check(
        SUITE,
        "a_producer_goes_on_when_one_broker_is_killed",
        || world.kill_one(),
    );
    report.check(SUITE, "a_name_server_that_is_gone_hinders_nobody", || {
        world.lose_namesrv()
    });
    report.check(SUITE, "everything_stops_cleanly", || world.stop());
}

/// The official Java producer and consumer while a broker is killed.
pub(crate) fn run_java(report: &mut Report, packages: &Packages, programs: &Programs) {
    report.check(
        JAVA_SUITE,
        "a_java_producer_loses_no_send_when_one_broker_is_killed",
        || java_goes_on(packages, programs),
    );
}

fn java_goes_on(packages: &Packages, programs: &Programs) -> Result<()> {
    let mut world = World::start(programs)?;
    world.spread()?;
    let namesrvs: Vec<&str> = world
        .namesrvs
        .iter()
        .map(|(_, address)| &**address)
        .collect();
    let target = Target {
        namesrv: namesrvs.join(";"),
        broker: String::new(),
    };
    let mut java = packages.java("client-5.5.0", &[], "ringmq.e2e.ClusterProducer")?;
    java.args([TOPIC, "2", "12"]);
    let mut seen = 0;
    let mut done = String::new();
    let mut errors = Vec::new();
    let mut killed = Ok(());
    lines_of(java, &target, |line| {
        if line.starts_with("SEEN ") {
            seen += 1;
            if seen == 2 {
                killed = world.brokers.remove(0).0.kill();
            }
        } else if let Some(rest) = line.strip_prefix("DONE ") {
            rest.clone_into(&mut done);
        } else {
            errors.push(line.to_owned());
        }
    })?;
    killed?;
    ensure!(
        seen == 2,
        "messages of {seen} brokers were received: {errors:?}"
    );
    ensure!(done.starts_with("failed=0 "), "{done}: {errors:?}");
    let after = done.split(' ').find_map(|word| word.strip_prefix("after="));
    let after: u32 = after.context("no count of the second half")?.parse()?;
    ensure!(after > 100, "{after} messages of the second half arrived");
    world.stop()
}

impl World {
    fn start(programs: &Programs) -> Result<Self> {
        let namesrvs = ["namesrv-1", "namesrv-2", "namesrv-3"]
            .iter()
            .map(|name| programs.namesrv(name))
            .collect::<Result<Vec<_>>>()?;
        let list: Vec<&str> = namesrvs
            .iter()
            .map(|(_, address)| address.as_str())
            .collect();
        let list = list.join(";");
        let mut brokers = Vec::new();
        for name in ["broker-a", "broker-b"] {
            let (mut server, address) = programs.broker(name, &list)?;
            for (_, namesrv) in &namesrvs {
                server.wait_route(namesrv, name, START_LIMIT)?;
            }
            brokers.push((server, address));
        }
        let world = Self { namesrvs, brokers };
        for (_, namesrv) in &world.namesrvs {
            let found = route(namesrv, CLUSTER)?;
            ensure!(found.len() == 2, "{namesrv} knows {found:?}");
        }
        Ok(world)
    }

    fn spread(&mut self) -> Result<()> {
        for (_, address) in &self.brokers {
            let mut connection = Connection::open(address)?;
            connection.create_topic(TOPIC, 4)?;
            for i in 0..20 {
                connection.send(TOPIC, i % 4, b"spread")?;
            }
        }
        for (_, namesrv) in &self.namesrvs {
            Self::wait_brokers(namesrv, 2, Duration::from_secs(2))?;
        }
        Ok(())
    }

    fn wait_brokers(namesrv: &str, count: usize, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        loop {
            let found = route(namesrv, TOPIC)?;
            if found.len() == count {
                return Ok(());
            }
            ensure!(
                Instant::now() < end,
                "after {limit:?} {namesrv} still gives {found:?}"
            );
            pause(20);
        }
    }

    /// What a producer does: it asks for the route, and sends to a broker that is in it.
    fn kill_one(&mut self) -> Result<()> {
        let (killed, address) = self.brokers.remove(0);
        killed.kill()?;
        let mut sent = 0;
        let mut refused = 0;
        let end = Instant::now() + ROUTE_GONE_LIMIT;
        while Instant::now() < end && sent < 200 {
            for broker in route(&self.namesrvs[sent % 3].1, TOPIC)? {
                let result =
                    Connection::open(&broker).and_then(|mut c| c.send(TOPIC, 0, b"goes on"));
                match result {
                    Ok(_) => sent += 1,
                    Err(_) if broker == address => refused += 1,
                    Err(error) => return Err(error.context("the broker that lives refused")),
                }
            }
            pause(2);
        }
        ensure!(
            sent >= 200,
            "{sent} sends went through, {refused} met the dead broker"
        );
        for (_, namesrv) in &self.namesrvs {
            Self::wait_brokers(namesrv, 1, ROUTE_GONE_LIMIT)?;
            let left = route(namesrv, TOPIC)?;
            ensure!(!left.contains(&address), "{namesrv} still names {address}");
        }
        Ok(())
    }

    fn lose_namesrv(&mut self) -> Result<()> {
        let (killed, _) = self.namesrvs.remove(0);
        killed.kill()?;
        let (_, broker) = self.brokers.first().context("no broker")?;
        let mut connection = Connection::open(broker)?;
        // A new topic reaches the name servers that are left, before its answer or soon after.
        let start = Instant::now();
        connection.create_topic("AfterLoss", 2)?;
        ensure!(
            start.elapsed() < Duration::from_secs(5),
            "creating a topic took {:?}",
            start.elapsed()
        );
        for (_, namesrv) in &self.namesrvs {
            let end = Instant::now() + Duration::from_secs(2);
            while route(namesrv, "AfterLoss")?.is_empty() {
                ensure!(
                    Instant::now() < end,
                    "{namesrv} does not know the new topic"
                );
                pause(20);
            }
        }
        Ok(())
    }

    fn stop(&mut self) -> Result<()> {
        for (server, _) in self.brokers.drain(..) {
            server.terminate(STOP_LIMIT)?;
        }
        for (_, namesrv) in &self.namesrvs {
            let left = route(namesrv, TOPIC)?;
            ensure!(
                left.is_empty(),
                "after the broker's end {namesrv} gives {left:?}"
            );
        }
        for (server, _) in self.namesrvs.drain(..) {
            server.terminate(STOP_LIMIT)?;
        }
        Ok(())
    }
}
