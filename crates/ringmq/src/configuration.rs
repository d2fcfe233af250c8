//! Where configuration comes from: file, environment, command line; and printing it.
//!
//! Invariant: the command line wins over the file and the file over the environment, as in Java.

use crate::args::{Broker, Namesrv};
use crate::boot_lines;
use crate::failure::{Failure, Outcome};
use config::{ConfigError, Loaded, LoadedNamesrv, Notice};
use std::fs;
use std::path::{Path, PathBuf};

/// The configuration of a broker.
///
/// # Errors
/// Every line of the file that is wrong.
pub(crate) fn broker(arguments: &Broker, listen_port: Option<u16>) -> Outcome<Loaded> {
    let file = arguments.config_file.as_deref();
    let text = read(file)?;
    let data = arguments.data.as_ref().map(|dir| dir.display().to_string());
    let listen_port = listen_port.map(|port| port.to_string());
    let log_file = arguments.logs.log_file.as_ref();
    let log_file = log_file.map(|path| path.display().to_string());
    let mut options = [
        ("namesrvAddr", arguments.namesrv_addr.clone()),
        ("storePathRootDir", data),
        ("shards", arguments.shards.clone()),
        ("listenPort", listen_port),
        ("logFile", log_file),
    ];
    let load = |options: &[(&str, Option<String>)]| {
        let given = options.iter();
        let given: Vec<(&str, &str)> = given
            .filter_map(|(key, value)| Some((*key, value.as_deref()?)))
            .collect();
        config::load(&text, &given).map_err(|error| refused(file, &error))
    };
    let loaded = load(&options)?;
    match std::env::var("NAMESRV_ADDR") {
        Ok(addresses) if !loaded.is_given("namesrvAddr") && !addresses.is_empty() => {
            options[0].1 = Some(addresses);
            load(&options)
        }
        _ => Ok(loaded),
    }
}

/// The configuration of a name server.
///
/// # Errors
/// Every line of the file that is wrong.
pub(crate) fn namesrv(arguments: &Namesrv) -> Outcome<LoadedNamesrv> {
    let file = arguments.config_file.as_deref();
    let text = read(file)?;
    let listen_port = arguments.listen_port.map(|port| port.to_string());
    let log_file = arguments.logs.log_file.as_ref();
    let log_file = log_file.map(|path| path.display().to_string());
    let options = [("listenPort", listen_port), ("logFile", log_file)];
    let given: Vec<(&str, &str)> = options
        .iter()
        .filter_map(|(key, value)| Some((*key, value.as_deref()?)))
        .collect();
    config::load_namesrv(&text, &given).map_err(|error| refused(file, &error))
}

/// Prints what `-p` or `-m` ask for; whether one of them was given.
///
/// # Errors
/// When standard output is closed.
pub(crate) fn print(properties: &[(&str, String)]) -> Outcome {
    let lines: Vec<String> = properties
        .iter()
        .map(|(key, value)| format!("{key}={value}\n"))
        .collect();
    boot_lines::print(&lines.concat())
}

/// Logs what the user should know about the file.
pub(crate) fn tell(notices: &[Notice], file: Option<&Path>) {
    let source = file.map_or_else(String::new, |file| format!("{}, ", file.display()));
    for notice in notices {
        if notice.is_warning() {
            tracing::warn!("{source}{notice}");
        } else {
            tracing::info!("{source}{notice}");
        }
    }
}

/// `$HOME/name`, where Java keeps things.
///
/// # Errors
/// When there is no `HOME`.
pub(crate) fn in_home(name: &str) -> Outcome<PathBuf> {
    match std::env::var_os("HOME") {
        Some(home) if !home.is_empty() => Ok(Path::new(&home).join(name)),
        _ => Err(Failure::new(format!(
            "HOME is not set, so there is no $HOME/{name}: say where with --data or in the \
             configuration file"
        ))),
    }
}

/// Java's default name of a broker: that of the machine.
pub(crate) fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" | "(none)" => "DEFAULT_BROKER".to_owned(),
        name => name.to_owned(),
    }
}

fn read(file: Option<&Path>) -> Outcome<String> {
    let Some(path) = file else {
        return Ok(String::new());
    };
    let unreadable = |why: String| {
        Failure::new(format!(
            "cannot read the configuration file {}: {why}",
            path.display()
        ))
    };
    let length = fs::metadata(path)
        .map_err(|error| unreadable(error.to_string()))?
        .len();
    if length > FILE_LEN_MAX {
        return Err(unreadable(format!(
            "it is longer than {FILE_LEN_MAX} bytes"
        )));
    }
    fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))
}

/// Longer files are no configuration.
const FILE_LEN_MAX: u64 = 1 << 20;

fn refused(file: Option<&Path>, error: &ConfigError) -> Failure {
    let source = file.map_or_else(String::new, |file| format!("{}, ", file.display()));
    let lines: Vec<String> = error
        .problems
        .iter()
        .map(|problem| format!("{source}{problem}"))
        .collect();
    Failure::with_code(lines.join("\n"), error.exit_code())
}
