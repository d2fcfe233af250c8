//! The sub-commands: from arguments to running parts, and to their end in order.
//!
//! The main thread runs a small tokio runtime that hears signals and hosts the name server; shards
//! run on threads of their own. Order at the end: the broker unregisters and flushes, then the name
//! server stops. Invariant: the exit code is 0 only when everything ended in order.

use crate::address::{self, Advertised, Audience};
use crate::args;
use crate::boot_lines::{self, Table};
use crate::broker_settings;
use crate::configuration;
use crate::failure::{Failure, Outcome};
use crate::logs;
use crate::name_server::NameServer;
use crate::shards::{self, Shards};
use crate::signals::Signals;
use broker::BrokerSettings;
use config::{Loaded, NamesrvConfig, ShardChoice};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long an end in order may take.
const STOP_LIMIT: Duration = Duration::from_secs(20);

/// What this process runs; at least one of the two.
#[derive(Debug, Default)]
struct Parts {
    name_server: Option<namesrv::Settings>,
    broker: Option<BrokerPlan>,
}

/// A broker that is to be started.
#[derive(Debug)]
struct BrokerPlan {
    settings: BrokerSettings,
    engine: rt_glommio::Options,
    advertised: Advertised,
    /// As the boot line shows them.
    name_servers: String,
}

/// Runs a name server and a broker until a signal.
///
/// # Errors
/// Why it did not start, or what failed since.
pub(crate) fn standalone(arguments: &args::Standalone) -> Outcome {
    let options = &arguments.broker;
    let loaded = configuration::broker(options, arguments.listen_port)?;
    if let Some(printed) = print_on_demand(options, &loaded) {
        return printed;
    }
    let _logging = logs::start(
        loaded.engine.log_file.as_deref().map(Path::new),
        options.logs.log_level.as_deref(),
    )?;
    configuration::tell(&loaded.warnings, options.config_file.as_deref());
    let dir = loaded.store.store_path_root_dir.as_ref();
    let dir = dir.map_or_else(|| PathBuf::from("data"), PathBuf::from);
    let own = NamesrvConfig {
        listen_port: arguments.namesrv_port,
        bind_address: loaded.net.bind_address,
        ..NamesrvConfig::default()
    };
    let own = namesrv::Settings::new(own, dir.join("namesrv/kvConfig.json"));
    let mut local = own.listen;
    if local.ip().is_unspecified() {
        local.set_ip(Ipv4Addr::LOCALHOST.into());
    }
    let shard_count = shard_count(&loaded, ShardChoice::Count(1))?;
    let plan = BrokerPlan::new(
        &loaded,
        dir,
        shard_count,
        Audience::ThisMachine,
        Some(local),
    )?;
    run(Parts {
        name_server: Some(own),
        broker: Some(plan),
    })
}

/// Runs a broker until a signal.
///
/// # Errors
/// Why it did not start, or what failed since.
pub(crate) fn broker(arguments: &args::Broker) -> Outcome {
    let mut loaded = configuration::broker(arguments, None)?;
    if !loaded.is_given("brokerName") {
        loaded.broker.broker_name = configuration::host_name();
    }
    if let Some(printed) = print_on_demand(arguments, &loaded) {
        return printed;
    }
    let _logging = logs::start(
        loaded.engine.log_file.as_deref().map(Path::new),
        arguments.logs.log_level.as_deref(),
    )?;
    configuration::tell(&loaded.warnings, arguments.config_file.as_deref());
    let dir = match &loaded.store.store_path_root_dir {
        Some(dir) => PathBuf::from(dir),
        None => configuration::in_home("store")?,
    };
    let shard_count = shard_count(&loaded, ShardChoice::Auto)?;
    let plan = BrokerPlan::new(&loaded, dir, shard_count, Audience::Everywhere, None)?;
    run(Parts {
        broker: Some(plan),
        ..Parts::default()
    })
}

/// Runs a name server until a signal.
///
/// # Errors
/// Why it did not start, or what failed since.
pub(crate) fn namesrv(arguments: &args::Namesrv) -> Outcome {
    let loaded = configuration::namesrv(arguments)?;
    if arguments.print {
        return configuration::print(&loaded.to_properties());
    }
    let keys = &loaded.namesrv;
    let _logging = logs::start(
        keys.log_file.as_deref().map(Path::new),
        arguments.logs.log_level.as_deref(),
    )?;
    configuration::tell(&loaded.warnings, arguments.config_file.as_deref());
    if let Some(others) = &arguments.others {
        tracing::info!("-n {others} has no effect: name servers do not know each other");
    }
    let kv_config_path = match &keys.kv_config_path {
        Some(path) => PathBuf::from(path),
        None => configuration::in_home("namesrv/kvConfig.json")?,
    };
    run(Parts {
        name_server: Some(namesrv::Settings::new(loaded.namesrv, kv_config_path)),
        ..Parts::default()
    })
}

impl BrokerPlan {
    fn new(
        loaded: &Loaded,
        dir: PathBuf,
        shard_count: u16,
        audience: Audience,
        own_name_server: Option<SocketAddr>,
    ) -> Outcome<Self> {
        let broker_ip1 = loaded.broker.broker_ip1.as_deref();
        let advertised = address::advertised(broker_ip1, loaded.net.bind_address, audience)?;
        let configured = loaded.broker.namesrv_addr.addresses();
        let mut name_servers = address::resolve_name_servers(configured)?;
        let mut shown = configured.to_vec();
        if let Some(own) = own_name_server
            && !name_servers.contains(&own)
        {
            name_servers.insert(0, own);
            shown.insert(0, own.to_string());
        }
        let mut settings =
            broker_settings::broker(loaded, dir, shard_count, &advertised, name_servers)?;
        if let Some(total) = disk_total(&settings.store.dir) {
            settings.store.fit_to_disk(total);
        }
        Ok(Self {
            engine: broker_settings::engine(loaded, &settings),
            settings,
            advertised,
            name_servers: shown.join(";"),
        })
    }
}

/// Length of the file system of a directory that may not exist yet, in bytes.
fn disk_total(dir: &Path) -> Option<u64> {
    let known = dir.ancestors().find(|dir| dir.exists());
    let known = known.filter(|dir| !dir.as_os_str().is_empty());
    let stat = nix::sys::statvfs::statvfs(known.unwrap_or(Path::new("."))).ok()?;
    Some(stat.blocks() * stat.fragment_size())
}

fn print_on_demand(arguments: &args::Broker, loaded: &Loaded) -> Option<Outcome> {
    if arguments.print {
        return Some(configuration::print(&loaded.to_properties()));
    }
    let important = arguments.print_important;
    important.then(|| configuration::print(&loaded.important_properties()))
}

fn shard_count(loaded: &Loaded, default: ShardChoice) -> Outcome<u16> {
    let given = loaded.is_given("shards");
    let choice = if given { loaded.engine.shards } else { default };
    let cpus = loaded.engine.cpus.cpus().len();
    let count = match choice {
        ShardChoice::Count(count) => return Ok(count),
        ShardChoice::Auto if cpus > 0 => cpus,
        ShardChoice::Auto => rt_glommio::allowed_cpus()
            .map_err(|error| Failure::new(format!("cannot learn which CPUs may be used: {error}")))?
            .len(),
    };
    Ok(
        u16::try_from(count).map_or(base::ShardId::COUNT_MAX, |count| {
            count.min(base::ShardId::COUNT_MAX)
        }),
    )
}

fn run(parts: Parts) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build()
        .map_err(|error| Failure::new(format!("cannot start: {error}")))?;
    let outcome = runtime.block_on(serve(parts));
    // After a failure a thread may still wait for shards that do not come up: leave it behind.
    runtime.shutdown_background();
    outcome
}

/// One starts the shards, one waits for their end; the rest is for files of the name server.
const BLOCKING_THREADS_MAX: usize = 4;

async fn serve(parts: Parts) -> Outcome {
    let mut signals = Signals::listen()?;
    let mut lines = Vec::new();
    let mut table = Table::default();
    let mut name_server = None;
    let mut running = None;
    let broker = match parts.broker {
        Some(plan) => Some((shards::claim(&plan.engine, &plan.settings.store)?, plan)),
        None => None,
    };
    if let Some(settings) = parts.name_server {
        let started = NameServer::start(settings).await?;
        lines.push(boot_lines::namesrv_line(started.address));
        table.namesrv(started.address);
        name_server = Some(started);
    }
    if let Some((lock, plan)) = broker {
        let BrokerPlan {
            settings,
            engine,
            advertised,
            name_servers,
        } = plan;
        let listen = SocketAddr::new(settings.bind_ip, settings.listen_port);
        lines.push(boot_lines::broker_line(
            &settings.name,
            settings.advertised(),
            &name_servers,
        ));
        table.broker(listen, settings.vip_port(), &advertised);
        let dir = settings.store.dir.clone();
        let started = tokio::select! {
            started = Shards::start(engine, settings, lock) => started?,
            name = signals.next() => return Err(Failure::new(format!("{name} during the start"))),
        };
        table.engine(&started.cpus);
        table.data(&dir, &started.reports);
        started.tell();
        running = Some(started);
    }
    lines.push(table.text());
    boot_lines::print(&lines.join("\n"))?;
    until_the_end(running, name_server, signals).await
}

/// Serves until a signal or until a shard fails, then ends what still runs.
async fn until_the_end(
    mut shards: Option<Shards>,
    name_server: Option<NameServer>,
    mut signals: Signals,
) -> Outcome {
    let failed = async {
        match &mut shards {
            Some(shards) => shards.ended().await,
            None => std::future::pending().await,
        }
    };
    let ended_early = tokio::select! {
        ended = failed => Some(ended),
        name = signals.next() => {
            tracing::info!("{name}: stopping");
            None
        }
    };
    let in_order = async {
        let broker = match (ended_early, &mut shards) {
            (Some(Ok(())), _) => Err(Failure::new("the broker ended by itself")),
            (Some(failed), _) => failed,
            (None, Some(shards)) => {
                shards.stop();
                shards.ended().await
            }
            (None, None) => Ok(()),
        };
        let name_server = match name_server {
            Some(name_server) => name_server.stop().await,
            None => Ok(()),
        };
        broker.and(name_server)
    };
    tokio::select! {
        outcome = in_order => outcome,
        () = signals.exit_at_next() => Ok(()),
        () = tokio::time::sleep(STOP_LIMIT) => Err(Failure::new(format!(
            "the end took longer than {} s and was cut short",
            STOP_LIMIT.as_secs()
        ))),
    }
}
