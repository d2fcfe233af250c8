//! Tests of the route table: rules one by one, then random histories against the invariants.

use super::*;
use proptest::prelude::*;

const OPTIONS: Options = Options {
    support_acting_master: false,
    delete_topic_with_registration: false,
    addresses_max: 100,
    topics_max: 100,
};

fn topic(name: &str) -> TopicConfig {
    TopicConfig {
        topic_name: name.to_owned(),
        read_queue_nums: 8,
        write_queue_nums: 8,
        perm: 6,
        ..TopicConfig::default()
    }
}

fn version(counter: i64) -> DataVersion {
    DataVersion {
        counter,
        ..DataVersion::default()
    }
}

fn registration(broker: &str, id: i64, address: &str, topics: &[&str]) -> Registration {
    Registration {
        cluster: "C".to_owned(),
        address: address.to_owned(),
        broker_name: broker.to_owned(),
        broker_id: id,
        ha_address: format!("ha-{address}"),
        zone_name: None,
        heartbeat_timeout_ms: None,
        enable_acting_master: None,
        data_version: version(1),
        topics: topics.iter().map(|name| topic(name)).collect(),
        filter_servers: Vec::new(),
        connection: ConnectionId(1),
    }
}

fn table_with(registrations: Vec<Registration>) -> RouteTable {
    let mut table = RouteTable::new(OPTIONS);
    for registration in registrations {
        table.register(registration, Moment(0)).unwrap();
    }
    table
}

fn addresses(table: &RouteTable, topic: &str) -> Vec<(String, i64, String)> {
    let route = table.route(topic).unwrap_or_default();
    let of_broker = |data: &BrokerData| {
        let name = data.broker_name.clone();
        let entries = data.broker_addrs.clone().into_iter();
        entries
            .map(|(id, address)| (name.clone(), id, address))
            .collect::<Vec<_>>()
    };
    route.broker_datas.iter().flat_map(of_broker).collect()
}

#[test]
fn a_topic_of_two_brokers_has_both_in_its_route() {
    let table = table_with(vec![
        registration("b", 0, "2:1", &["T", "U"]),
        registration("a", 0, "1:1", &["T", "V"]),
    ]);
    let route = table.route("T").unwrap();
    let brokers: Vec<_> = route.queue_datas.iter().map(|q| &q.broker_name).collect();
    assert_eq!(brokers, ["a", "b"]);
    assert_eq!(
        addresses(&table, "T"),
        [
            ("a".to_owned(), 0, "1:1".to_owned()),
            ("b".to_owned(), 0, "2:1".to_owned())
        ]
    );
    assert!(table.route("unknown").is_none());
    let clusters = table.cluster_info().cluster_addr_table;
    assert_eq!(clusters["C"].len(), 2);
}

#[test]
fn a_slave_learns_its_master_and_does_not_change_topics() {
    let mut table = table_with(vec![registration("a", 0, "1:1", &["T", "U"])]);
    let slave = registration("a", 1, "1:2", &["T", "U", "V"]);
    let answer = table.register(slave, Moment(0)).unwrap();
    assert_eq!(answer.master_address.as_deref(), Some("1:1"));
    assert_eq!(answer.ha_address.as_deref(), Some("ha-1:1"));
    assert!(table.route("V").is_none());
    table.unregister("C", "1:1");
    assert_eq!(
        addresses(&table, "T"),
        [("a".to_owned(), 1, "1:2".to_owned())]
    );
    assert_eq!(table.route("T").unwrap().queue_datas[0].perm, 6);
}

#[test]
fn an_unchanged_version_adds_topics_but_changes_none() {
    let mut table = table_with(vec![registration("a", 0, "1:1", &["T", "U"])]);
    let mut same = registration("a", 0, "1:1", &["T", "V"]);
    same.topics[0].perm = 2;
    table.register(same.clone(), Moment(0)).unwrap();
    assert_eq!(table.route("T").unwrap().queue_datas[0].perm, 6);
    assert!(table.route("U").is_some());
    assert!(table.route("V").is_some());
    same.data_version = version(2);
    table.register(same, Moment(0)).unwrap();
    assert_eq!(table.route("T").unwrap().queue_datas[0].perm, 2);
    assert!(table.route("U").is_some(), "registration removes no topic");
}

#[test]
fn a_registration_removes_unnamed_topics_where_so_configured() {
    let mut table = RouteTable::new(Options {
        delete_topic_with_registration: true,
        ..OPTIONS
    });
    let first = registration("a", 0, "1:1", &["T", "U"]);
    table.register(first, Moment(0)).unwrap();
    let second = registration("a", 0, "1:1", &["U", "V"]);
    table.register(second, Moment(0)).unwrap();
    assert_eq!(table.topic_names(), ["U", "V"].map(str::to_owned).into());
}

#[test]
fn one_topic_alone_is_registered_only_by_a_known_broker() {
    let mut table = RouteTable::new(OPTIONS);
    let single = registration("a", 0, "1:1", &["T"]);
    let refused = table.register(single.clone(), Moment(0)).unwrap_err();
    assert_eq!(refused, RegisterError::SingleTopicFirst);
    assert!(table.cluster_info().broker_addr_table.is_empty());
    let whole = registration("a", 0, "1:1", &["U", "V"]);
    table.register(whole, Moment(0)).unwrap();
    table.register(single, Moment(0)).unwrap();
    assert!(table.route("T").is_some());
}

#[test]
fn a_broker_expires_after_its_own_timeout_and_a_data_version_query_renews_it() {
    let mut hasty = registration("a", 0, "1:1", &["T", "U"]);
    hasty.heartbeat_timeout_ms = Some(10);
    hasty.connection = ConnectionId(7);
    let mut table = table_with(vec![hasty, registration("b", 0, "2:1", &["T", "V"])]);
    assert_eq!(table.touch("C", "1:1", Moment(9)), Some(&version(1)));
    assert_eq!(table.touch("other", "1:1", Moment(900)), None);
    assert!(table.expire(Moment(19)).is_empty());
    assert_eq!(table.expire(Moment(20)), [ConnectionId(7)]);
    assert_eq!(
        addresses(&table, "T"),
        [("b".to_owned(), 0, "2:1".to_owned())]
    );
    assert!(table.route("U").is_none());
    assert!(table.expire(Moment(120_000)).is_empty());
    assert_eq!(table.expire(Moment(120_001)).len(), 1);
    assert!(table.topic_names().is_empty());
}

#[test]
fn closing_an_old_connection_leaves_a_broker_that_has_a_new_one() {
    let mut table = table_with(vec![registration("a", 0, "1:1", &["T", "U"])]);
    let mut again = registration("a", 0, "1:1", &["T", "U"]);
    again.connection = ConnectionId(2);
    table.register(again, Moment(0)).unwrap();
    table.connection_closed(ConnectionId(1));
    assert!(table.route("T").is_some());
    table.connection_closed(ConnectionId(2));
    assert!(table.route("T").is_none());
}

#[test]
fn a_slave_that_becomes_master_stands_at_one_id_only() {
    let table = table_with(vec![
        registration("a", 0, "1:1", &["T", "U"]),
        registration("a", 1, "1:2", &["T", "U"]),
        registration("a", 0, "1:2", &["T", "U"]),
    ]);
    assert_eq!(
        addresses(&table, "T"),
        [("a".to_owned(), 0, "1:2".to_owned())]
    );
    assert_eq!(table.live.len(), 1);
}

#[test]
fn the_holder_of_an_id_with_a_newer_state_keeps_it() {
    let mut newer = registration("a", 0, "1:1", &["T", "U"]);
    newer.data_version.state_version = 5;
    let mut table = table_with(vec![newer]);
    let older = registration("a", 0, "1:2", &["T", "U"]);
    table.register(older, Moment(0)).unwrap();
    assert_eq!(
        addresses(&table, "T"),
        [("a".to_owned(), 0, "1:1".to_owned())]
    );
}

#[test]
fn the_lowest_slave_acts_as_master_without_write_permission() {
    let mut table = RouteTable::new(Options {
        support_acting_master: true,
        ..OPTIONS
    });
    for id in [0, 1, 2] {
        let mut one = registration("a", id, &format!("1:{id}"), &["T", "U"]);
        one.enable_acting_master = Some(true);
        table.register(one, Moment(0)).unwrap();
    }
    table.unregister("C", "1:0");
    assert_eq!(
        addresses(&table, "T"),
        [
            ("a".to_owned(), 0, "1:1".to_owned()),
            ("a".to_owned(), 2, "1:2".to_owned())
        ]
    );
    assert_eq!(table.route("T").unwrap().queue_datas[0].perm, 4);
}

#[test]
fn write_permission_is_wiped_and_given_back_per_broker() {
    let mut table = table_with(vec![
        registration("a", 0, "1:1", &["T", "U"]),
        registration("b", 0, "2:1", &["T", "V"]),
    ]);
    let perms = |table: &RouteTable| -> Vec<i32> {
        let route = table.route("T").unwrap();
        route.queue_datas.iter().map(|queue| queue.perm).collect()
    };
    assert_eq!(table.wipe_write_perm("a"), 2);
    assert_eq!(perms(&table), [4, 6]);
    assert_eq!(table.add_write_perm("a"), 2);
    assert_eq!(perms(&table), [6, 6]);
    assert_eq!(table.wipe_write_perm("unknown"), 0);
}

#[test]
fn a_topic_is_deleted_in_one_cluster_or_in_all() {
    let mut other = registration("b", 0, "2:1", &["T", "V"]);
    other.cluster = "D".to_owned();
    let mut table = table_with(vec![registration("a", 0, "1:1", &["T", "U"]), other]);
    table.delete_topic("T", Some("C"));
    assert_eq!(
        addresses(&table, "T"),
        [("b".to_owned(), 0, "2:1".to_owned())]
    );
    assert_eq!(table.topic_names_of("C"), ["U".to_owned()].into());
    table.delete_topic("T", None);
    assert!(table.route("T").is_none());
}

#[test]
fn a_single_topic_is_added_only_for_brokers_that_are_known() {
    let mut table = table_with(vec![registration("a", 0, "1:1", &["T", "U"])]);
    let queue = |broker: &str| QueueData {
        broker_name: broker.to_owned(),
        perm: 6,
        ..QueueData::default()
    };
    assert!(!table.register_topic("N", vec![queue("a"), queue("unknown")]));
    assert!(table.route("N").is_none());
    assert!(table.register_topic("N", vec![queue("a")]));
    assert!(table.route("N").is_some());
}

#[test]
fn a_full_table_refuses_and_changes_nothing() {
    let mut table = RouteTable::new(Options {
        addresses_max: 1,
        topics_max: 2,
        ..OPTIONS
    });
    let first = registration("a", 0, "1:1", &["T", "U"]);
    table.register(first, Moment(0)).unwrap();
    let more_topics = registration("a", 0, "1:1", &["T", "U", "V"]);
    let more_brokers = registration("b", 0, "2:1", &["T", "U"]);
    for refused in [more_topics, more_brokers] {
        let error = table.register(refused, Moment(0)).unwrap_err();
        assert!(matches!(error, RegisterError::Full { .. }), "{error}");
    }
    assert_eq!(table.topic_names().len(), 2);
    assert_eq!(addresses(&table, "T").len(), 1);
}

#[test]
fn system_topics_are_the_names_of_clusters_and_brokers() {
    let table = table_with(vec![registration("a", 0, "1:1", &["T", "U"])]);
    let (names, address) = table.system_topic_names();
    assert_eq!(names, ["C", "a"]);
    assert_eq!(address.as_deref(), Some("1:1"));
}

#[test]
fn unit_topics_are_listed_by_their_flags() {
    let mut whole = registration("a", 0, "1:1", &["N", "U", "S", "B"]);
    for (topic, flag) in whole.topics.iter_mut().zip([0, 1, 2, 3]) {
        topic.topic_sys_flag = flag;
    }
    let table = table_with(vec![whole]);
    for (which, expected) in [
        (UnitTopics::Unit, vec!["B", "U"]),
        (UnitTopics::Subscribed, vec!["B", "S"]),
        (UnitTopics::SubscribedOnly, vec!["S"]),
    ] {
        let names: Vec<_> = table.unit_topic_names(which).into_iter().collect();
        assert_eq!(names, expected, "{which:?}");
    }
}

/// One step of a random history. Names are small numbers, so that histories collide.
#[derive(Debug, Clone)]
enum Step {
    Register(Registration),
    Unregister(String, String),
    Close(ConnectionId),
    Delete(String, Option<String>),
    RegisterTopic(String, Vec<String>),
    Wipe(String),
    Wait(u64),
}

fn name(prefix: &'static str, count: u8) -> impl Strategy<Value = String> {
    (0..count).prop_map(move |index| format!("{prefix}{index}"))
}

fn any_registration() -> impl Strategy<Value = Registration> {
    let ids = (
        name("c", 2),
        name("1:", 5),
        name("b", 3),
        0_i64..3,
        0_u64..5,
    );
    let acting = prop_oneof![Just(None), Just(Some(false)), Just(Some(true))];
    let topics = prop::collection::btree_set(name("t", 6), 0..5);
    let versions = (0_i64..3, 0_i64..2);
    (ids, acting, topics, versions, 1_u64..200).prop_map(
        |((cluster, address, broker_name, broker_id, connection), acting, topics, v, timeout)| {
            let names: Vec<&str> = topics.iter().map(String::as_str).collect();
            let mut one = registration(&broker_name, broker_id, &address, &names);
            one.cluster = cluster;
            one.enable_acting_master = acting;
            one.connection = ConnectionId(connection);
            one.heartbeat_timeout_ms = Some(timeout);
            one.data_version.counter = v.0;
            one.data_version.state_version = v.1;
            one
        },
    )
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => any_registration().prop_map(Step::Register),
        1 => (name("c", 2), name("1:", 5)).prop_map(|(c, a)| Step::Unregister(c, a)),
        1 => (0_u64..5).prop_map(|id| Step::Close(ConnectionId(id))),
        1 => (name("t", 6), prop::option::of(name("c", 2))).prop_map(|(t, c)| Step::Delete(t, c)),
        1 => (name("t", 6), prop::collection::vec(name("b", 3), 0..3))
            .prop_map(|(t, b)| Step::RegisterTopic(t, b)),
        1 => name("b", 3).prop_map(Step::Wipe),
        1 => (0_u64..100).prop_map(Step::Wait),
    ]
}

fn apply(table: &mut RouteTable, step: Step, now: &mut Moment) {
    match step {
        Step::Register(registration) => {
            let _refused_or_done = table.register(registration, *now);
        }
        Step::Unregister(cluster, address) => table.unregister(&cluster, &address),
        Step::Close(connection) => table.connection_closed(connection),
        Step::Delete(topic, cluster) => table.delete_topic(&topic, cluster.as_deref()),
        Step::RegisterTopic(topic, brokers) => {
            let queue = |broker_name| QueueData {
                broker_name,
                ..QueueData::default()
            };
            table.register_topic(&topic, brokers.into_iter().map(queue).collect());
        }
        Step::Wipe(broker) => {
            table.wipe_write_perm(&broker);
        }
        Step::Wait(ms) => {
            now.0 += ms;
            table.expire(*now);
        }
    }
}

fn check_invariants(table: &RouteTable) {
    let mut reachable = 0;
    for (name, data) in &table.brokers {
        assert!(!data.broker_addrs.is_empty(), "{name} has no address");
        for address in data.broker_addrs.values() {
            reachable += 1;
            assert_eq!(&table.live[address].broker_name, name);
        }
    }
    assert_eq!(
        reachable,
        table.live.len(),
        "an address is live and has no place"
    );
    for (topic, rows) in &table.topics {
        assert!(!rows.is_empty(), "{topic} is empty");
        for broker in rows.keys() {
            assert!(table.brokers.contains_key(broker), "{topic} names {broker}");
        }
        let route = table.route(topic).unwrap();
        assert_eq!(route.broker_datas.len(), rows.len());
        assert!(
            route
                .broker_datas
                .iter()
                .all(|data| !data.broker_addrs.is_empty())
        );
    }
    let named = table.cluster_info().cluster_addr_table;
    for broker in named.values().flatten() {
        assert!(table.brokers.contains_key(broker));
    }
}

proptest! {
    #[test]
    fn no_history_makes_a_route_name_a_broker_without_addresses(
        acting in any::<bool>(),
        deleting in any::<bool>(),
        steps in prop::collection::vec(any_step(), 1..60),
    ) {
        let mut table = RouteTable::new(Options {
            support_acting_master: acting,
            delete_topic_with_registration: deleting,
            addresses_max: 4,
            topics_max: 5,
        });
        let mut now = Moment(0);
        for step in steps {
            apply(&mut table, step, &mut now);
            check_invariants(&table);
        }
        now.0 += 1_000;
        table.expire(now);
        assert!(table.topics.is_empty() && table.brokers.is_empty() && table.live.is_empty());
    }
}
