//! From configuration keys to the settings of broker, store and engine.
//!
//! Invariant: every honoured key is read here (or in `program`), so a key without a reader shows as
//! a field that nobody uses in the tables of `config`.

use crate::address::{self, Advertised};
use crate::failure::{Failure, Outcome};
use broker::{AdminAccess, BrokerSettings, NetLimits, PopSettings, TransactionSettings};
use chrono::Timelike;
use config::{FlushDiskType, Loaded, RequestMode};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Settings of the broker, whose store lies in `dir` and has so many shards.
///
/// # Errors
/// When `brokerIP2` is a name that nobody knows or the store's numbers do not fit together.
pub(crate) fn broker(
    loaded: &Loaded,
    dir: PathBuf,
    shard_count: u16,
    advertised: &Advertised,
    name_servers: Vec<SocketAddr>,
) -> Outcome<BrokerSettings> {
    let (keys, store) = (&loaded.broker, &loaded.store);
    let mut settings = BrokerSettings::new(dir, shard_count, advertised.ip);
    settings.cluster.clone_from(&keys.broker_cluster_name);
    settings.name.clone_from(&keys.broker_name);
    settings.id = keys.broker_id.cast_signed();
    if let Some(host) = &keys.broker_ip2 {
        settings.ha_ip = address::resolve_host("brokerIP2", host)?;
    }
    settings.bind_ip = loaded.net.bind_address;
    settings.listen_port = keys.listen_port;
    settings.ha_port = keys
        .ha_listen_port
        .unwrap_or(keys.listen_port.wrapping_add(1));
    settings.name_servers = name_servers;
    settings.register_interval_ms = keys.register_name_server_period_ms;
    settings.permission = keys.broker_permission.cast_signed();
    settings.region.clone_from(&keys.region_id);
    settings.is_trace_on = keys.trace_on;
    settings.stores_replies = keys.store_reply_message_enable;
    settings.has_trace_topic = keys.trace_topic_enable;
    settings.trace_topic.clone_from(&keys.msg_trace_topic_name);
    settings.creates_topics = keys.auto_create_topic_enable;
    settings.creates_groups = keys.auto_create_subscription_group;
    settings.has_cluster_topic = keys.cluster_topic_enable;
    settings.has_broker_topic = keys.broker_topic_enable;
    settings.default_queue_count = keys.default_topic_queue_nums.cast_signed();
    settings.body_len_max = store.max_message_size_bytes;
    settings.sync_flush_timeout_ms = store.sync_flush_timeout_ms;
    settings.holds_pulls = keys.long_polling_enable;
    settings.filters_by_properties = keys.enable_property_filter;
    settings.short_polling_ms = keys.short_polling_time_ms;
    settings.transfer_count_max = store.max_transfer_count_on_message_in_memory;
    settings.transfer_bytes_max = store.max_transfer_bytes_on_message_in_memory;
    settings.query_count_max = store.max_msgs_num_batch;
    settings.unique_query_count = store.default_query_max_num;
    settings.notifies_members = keys.notify_consumer_ids_changed_enable;
    settings.pop = pop(keys);
    settings.delay_levels_ms = store.message_delay_level.delays_ms().to_vec();
    settings.transactions = TransactionSettings {
        rejects: keys.reject_transaction_message,
        timeout_ms: keys.transaction_time_out_ms,
        check_max: keys.transaction_check_max,
        check_interval_ms: keys.transaction_check_interval_ms,
        half_messages_max: keys.half_messages_max,
    };
    settings.flush_consumer_offset_interval_ms = keys.flush_consumer_offset_interval_ms;
    settings.admin_access = if keys.admin_open {
        AdminAccess::Everyone
    } else {
        AdminAccess::LocalHost
    };
    settings.properties = loaded.to_properties();
    settings.net = net(loaded);
    settings.properties = shown(loaded, &settings);
    apply_store(loaded, &mut settings.store);
    settings.store.check().map_err(Failure::new)?;
    Ok(settings)
}

/// Every key with the value that counts, for tools that ask.
fn shown(loaded: &Loaded, settings: &BrokerSettings) -> Vec<(&'static str, String)> {
    let name_servers: Vec<String> = settings
        .name_servers
        .iter()
        .map(SocketAddr::to_string)
        .collect();
    let mut properties = loaded.to_properties();
    for (key, value) in &mut properties {
        match *key {
            "brokerIP1" => *value = settings.advertised_ip.to_string(),
            "brokerIP2" => *value = settings.ha_ip.to_string(),
            "haListenPort" => *value = settings.ha_port.to_string(),
            "namesrvAddr" => *value = name_servers.join(";"),
            "shards" => *value = settings.store.shard_count.to_string(),
            "storePathRootDir" => *value = settings.store.dir.display().to_string(),
            _ => {}
        }
    }
    properties
}

fn pop(keys: &config::BrokerConfig) -> PopSettings {
    PopSettings {
        parked_max: keys.max_pop_polling_size,
        parked_queue_max: keys.pop_polling_size,
        popped_max: keys.pop_inflight_message_threshold,
        popped_shard_max: keys.pop_inflight_shard_max,
        pops_by_default: keys.default_message_request_mode == RequestMode::Pop,
        share_by_default: keys.default_pop_share_queue_num as i32,
    }
}

fn net(loaded: &Loaded) -> NetLimits {
    let (keys, net) = (&loaded.broker, &loaded.net);
    NetLimits {
        connections_max: net.max_connections,
        idle_close_ms: net.server_channel_max_idle_time_seconds * 1_000,
        frame_deadline_ms: net.frame_deadline_seconds * 1_000,
        write_deadline_ms: net.write_deadline_seconds * 1_000,
        connection_bytes_max: net.connection_reply_bytes_max,
        shard_bytes_max: net.shard_reply_bytes_max,
        parked_pulls_max: net.parked_pulls_max,
        calls_max: net.shard_calls_max,
        topics_max: keys.topics_max,
        groups_max: keys.groups_max,
        members_max: keys.members_max,
        ..NetLimits::default()
    }
}

fn apply_store(loaded: &Loaded, settings: &mut store::Settings) {
    let keys = &loaded.store;
    settings.flush = match keys.flush_disk_type {
        FlushDiskType::Sync => store::FlushMode::Sync,
        FlushDiskType::Async => store::FlushMode::Async,
    };
    settings.segment_bytes = keys.mapped_file_size_commit_log_bytes;
    settings.block_bytes = keys.log_block_bytes;
    settings.record_len_max = keys.max_message_size_bytes + RECORD_ROOM_BYTES;
    settings.unflushed_bytes_max = keys.unflushed_bytes_max;
    settings.tail_ring_bytes = keys.tail_ring_bytes;
    settings.unsynced_bytes_max = keys.unsynced_bytes_max;
    settings.unsynced_ms_max = keys
        .unsynced_millis_max
        .max(2 * keys.flush_interval_commit_log_ms);
    settings.tail_cache_bytes = keys.tail_cache_bytes;
    settings.cold_cache_bytes = keys.cold_cache_bytes;
    settings.index_cache_bytes = keys.index_cache_bytes;
    settings.key_index = keys.message_index_enable;
    settings.key_index_bytes = keys.key_index_bytes;
    settings.key_rebuild_rate = keys.key_index_rebuild_rate;
    settings.segments_ahead = keys.segments_ahead;
    settings.checkpoint_bytes = keys.checkpoint_bytes;
    settings.scrub_bytes_per_second = keys.scrub_bytes_per_second;
    settings.stall_limit_ms = keys.os_page_cache_busy_time_out_ms;
    settings.async_flush_interval_ms = keys.flush_interval_commit_log_ms;
    settings.retention = retention(keys);
}

fn retention(keys: &config::StoreConfig) -> store::Retention {
    store::Retention {
        reserved_ms: i64::from(keys.file_reserved_time_hours) * 3_600_000,
        delete_hours: keys.delete_when.bits(),
        hour_of_day: local_hour,
        max_used_percent: keys.disk_max_used_space_ratio,
        force_percent: keys.disk_space_clean_forcibly_ratio,
        warning_percent: keys.disk_space_warning_level_ratio,
        forces: keys.clean_file_forcibly_enable,
        free_bytes_min: keys.min_free_bytes,
        store_bytes_max: match keys.max_store_bytes {
            0 => u64::MAX,
            bytes => bytes,
        },
        delete_interval_ms: keys.delete_commit_log_files_interval_ms,
        batch_max: keys.delete_file_batch_max,
        ..store::Retention::default()
    }
}

/// The hour of the day where the broker stands, as Java's calendar tells it.
fn local_hour(now_ms: i64) -> u32 {
    let time = chrono::DateTime::from_timestamp_millis(now_ms);
    time.map_or(0, |time| time.with_timezone(&chrono::Local).hour())
}

/// What the shards are run with.
pub(crate) fn engine(loaded: &Loaded, settings: &BrokerSettings) -> rt_glommio::Options {
    let keys = &loaded.engine;
    let ports = [settings.listen_port, settings.vip_port()];
    let mut options = rt_glommio::Options::new(settings.store.shard_count);
    options.cpus = Some(keys.cpus.cpus().to_vec()).filter(|cpus| !cpus.is_empty());
    options.data_dir = Some(settings.store.dir.clone());
    options.listen = ports
        .map(|port| SocketAddr::new(settings.bind_ip, port))
        .to_vec();
    options.mesh_capacity = keys.mesh_lane_capacity;
    options.stall_limit = match keys.watchdog_seconds {
        0 => None,
        seconds => Some(Duration::from_secs(seconds)),
    };
    options
}

/// Room in a record for what surrounds the body: topic, properties, fixed fields.
const RECORD_ROOM_BYTES: usize = 128 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: impl FnOnce(&BrokerSettings)) {
        let loaded = config::load(text, &[]).unwrap();
        let advertised = Advertised {
            ip: [127, 0, 0, 1].into(),
            reason: "",
        };
        let settings = broker(&loaded, "data".into(), 2, &advertised, Vec::new()).unwrap();
        expected(&settings);
    }

    #[test]
    fn defaults_of_the_keys_are_those_of_the_libraries() {
        let ip = [127, 0, 0, 1].into();
        check("", |settings| {
            let mut expected = BrokerSettings::new("data".into(), 2, ip);
            expected.properties.clone_from(&settings.properties);
            expected.store.retention.hour_of_day = local_hour;
            assert_eq!(format!("{settings:?}"), format!("{expected:?}"));
            let shown = ("brokerIP1", "127.0.0.1".to_owned());
            assert!(settings.properties.contains(&shown));
        });
    }

    #[test]
    fn keys_reach_the_settings() {
        check(
            "listenPort=20911\nbrokerIP2=10.0.0.2\nadminOpen=true",
            |settings| {
                assert_eq!(
                    (settings.listen_port, settings.vip_port(), settings.ha_port),
                    (20_911, 20_909, 20_912)
                );
                assert_eq!(settings.ha_address(), "10.0.0.2:20912".parse().unwrap());
                assert_eq!(settings.admin_access, AdminAccess::Everyone);
            },
        );
        check(
            "flushDiskType=SYNC_FLUSH\nmaxMessageSize=65536\nmessageDelayLevel=1s 2s",
            |settings| {
                assert_eq!(settings.store.flush, store::FlushMode::Sync);
                assert_eq!(settings.body_len_max, 65_536);
                assert_eq!(settings.delay_levels_ms, [1_000, 2_000]);
            },
        );
        check(
            "transactionCheckMax=2\ntransactionTimeOut=1\nrejectTransactionMessage=true",
            |settings| {
                let transactions = &settings.transactions;
                assert_eq!((transactions.check_max, transactions.timeout_ms), (2, 1));
                assert!(transactions.rejects);
            },
        );
        check(
            "fileReservedTime=1\ndeleteWhen=00;23\ndiskMaxUsedSpaceRatio=99\nmaxStoreBytes=5",
            |settings| {
                let retention = &settings.store.retention;
                assert_eq!(retention.reserved_ms, 3_600_000);
                assert_eq!(retention.delete_hours, 1 | 1 << 23);
                assert_eq!(retention.max_used_percent, 95);
                assert_eq!(retention.store_bytes_max, 5);
            },
        );
    }

    #[test]
    fn numbers_that_do_not_fit_together_are_refused() {
        let loaded = config::load("mappedFileSizeCommitLog=1048576", &[]).unwrap();
        let advertised = Advertised {
            ip: [127, 0, 0, 1].into(),
            reason: "",
        };
        let refused = broker(&loaded, "data".into(), 1, &advertised, Vec::new());
        assert!(refused.is_err());
    }
}
