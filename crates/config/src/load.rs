//! From the text of a file and the options of a command line to configuration, or to every reason
//! why not.
//!
//! Invariant: all problems of a file are reported at once; a value that was accepted is the one that
//! the structs hold; an option of the command line wins over the file. Answers to
//! `MixAll.properties2Object`, which ignores in silence what it does not understand.

use crate::java::{File, Support};
use crate::keys::{BrokerConfig, EngineConfig, NamesrvConfig, NetConfig, StoreConfig};
use crate::nearest::nearest;
use crate::properties::{Line, Property, SyntaxError, parse};
use crate::spec::{BadValue, Reload};
use crate::value::Value;
use std::collections::BTreeSet;
use std::fmt;

/// The configuration of a broker.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Loaded {
    /// Keys of the broker itself.
    pub broker: BrokerConfig,
    /// Keys of the store.
    pub store: StoreConfig,
    /// Keys of the network.
    pub net: NetConfig,
    /// Keys of the process.
    pub engine: EngineConfig,
    /// What the user should know, in the order of the file.
    pub warnings: Vec<Notice>,
    given: BTreeSet<&'static str>,
}

/// The configuration of a name server.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LoadedNamesrv {
    /// Keys of the name server.
    pub namesrv: NamesrvConfig,
    /// What the user should know, in the order of the file.
    pub warnings: Vec<Notice>,
}

/// Something that does not keep the program from starting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// Nobody knows this key.
    UnknownKey {
        /// Where it stands.
        line: Line,
        /// As it was written.
        key: String,
        /// The known key that it may mean.
        nearest: Option<&'static str>,
    },
    /// Java knows this key; here it has no effect.
    IgnoredKey {
        /// Where it stands.
        line: Line,
        /// The key.
        key: String,
        /// The reason.
        why: &'static str,
    },
    /// The value was brought into the range that Java uses, without a word there.
    Adjusted {
        /// Where it stands.
        line: Line,
        /// The key.
        key: &'static str,
        /// What counts instead.
        value: String,
    },
}

/// Something that keeps the program from starting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// The file is no properties file.
    Syntax(SyntaxError),
    /// A value does not fit its key.
    BadValue {
        /// Where it stands.
        line: Line,
        /// Key, value and what is expected.
        value: BadValue,
    },
    /// A value asks for something that is missing.
    Refused {
        /// Where it stands.
        line: Line,
        /// The key.
        key: String,
        /// What was given.
        value: String,
        /// What is missing.
        why: &'static str,
    },
}

/// Every reason why a configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The reasons, in the order of the file; at least one.
    pub problems: Vec<Problem>,
}

/// Why a key cannot be changed while the program runs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UpdateError {
    /// The value does not fit.
    #[error(transparent)]
    BadValue(#[from] BadValue),
    /// The key counts at the start only.
    #[error("{0} takes effect at a start only: change the file and restart")]
    NeedsRestart(String),
    /// The key has no effect, or the value asks for something that is missing.
    #[error("{key} cannot be changed: {why}")]
    Unsupported {
        /// The key.
        key: String,
        /// The reason.
        why: &'static str,
    },
    /// Nobody knows this key.
    #[error("{key} is not a known key{}", hint(*.nearest))]
    UnknownKey {
        /// As it was written.
        key: String,
        /// The known key that it may mean.
        nearest: Option<&'static str>,
    },
}

/// Reads `broker.conf`; `overrides` are keys and values of the command line, which win.
///
/// # Errors
/// All reasons why it cannot be used.
pub fn load(text: &str, overrides: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    let mut loaded = Loaded::default();
    let mut problems = Vec::new();
    let properties = properties(text, overrides, &mut problems);
    for property in &properties {
        match examine(File::Broker, property) {
            Ok(Verdict::Set(key)) => match loaded.set(key, &property.value) {
                Ok(()) => {
                    loaded.given.insert(key);
                }
                Err(value) => problems.push(Problem::BadValue {
                    line: property.line,
                    value,
                }),
            },
            Ok(Verdict::Tell(notice)) => loaded.warnings.push(notice),
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        return Err(ConfigError { problems });
    }
    loaded.adjust(&properties);
    Ok(loaded)
}

/// Reads `namesrv.conf`; `overrides` are keys and values of the command line, which win.
///
/// # Errors
/// All reasons why it cannot be used.
pub fn load_namesrv(text: &str, overrides: &[(&str, &str)]) -> Result<LoadedNamesrv, ConfigError> {
    let mut loaded = LoadedNamesrv::default();
    let mut problems = Vec::new();
    for property in &properties(text, overrides, &mut problems) {
        match examine(File::Namesrv, property) {
            Ok(Verdict::Set(key)) => {
                if let Err(value) = loaded.namesrv.set(key, &property.value) {
                    problems.push(Problem::BadValue {
                        line: property.line,
                        value,
                    });
                }
            }
            Ok(Verdict::Tell(notice)) => loaded.warnings.push(notice),
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() {
        Ok(loaded)
    } else {
        Err(ConfigError { problems })
    }
}

impl Loaded {
    /// Whether the file or the command line names this key.
    pub fn is_given(&self, key: &str) -> bool {
        self.given.contains(key)
    }

    /// Every honoured key with its value: what `-p` prints.
    pub fn to_properties(&self) -> Vec<(&'static str, String)> {
        let mut all = self.broker.to_properties();
        all.extend(self.store.to_properties());
        all.extend(self.net.to_properties());
        all.extend(self.engine.to_properties());
        all
    }

    /// The keys that most users set, with their values: what `-m` prints.
    pub fn important_properties(&self) -> Vec<(&'static str, String)> {
        let important = |name: &str| {
            let mut specs = File::Broker.specs();
            specs.any(|spec| spec.name == name && spec.important)
        };
        let mut all = self.to_properties();
        all.retain(|(name, _)| important(name));
        all
    }

    /// Changes one key of a running broker; only those that take effect at once.
    ///
    /// # Errors
    /// When the key is none of those or the value does not fit; nothing has changed then.
    pub fn update(&mut self, key: &str, value: &str) -> Result<(), UpdateError> {
        let key = File::Broker.canonical(key);
        if let Some(why) = File::Broker.refusal(key, value) {
            let key = key.to_owned();
            return Err(UpdateError::Unsupported { key, why });
        }
        if let Some(spec) = File::Broker.specs().find(|spec| spec.name == key) {
            return match spec.reload {
                Reload::Live => Ok(self.set(spec.name, value)?),
                Reload::Restart => Err(UpdateError::NeedsRestart(key.to_owned())),
            };
        }
        Err(match File::Broker.support(key) {
            Some(Support::Ignored(why) | Support::Refused { why, .. }) => {
                let key = key.to_owned();
                UpdateError::Unsupported { key, why }
            }
            _ => UpdateError::UnknownKey {
                key: key.to_owned(),
                nearest: nearest_key(File::Broker, key),
            },
        })
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), BadValue> {
        let known = self.broker.set(key, value)?
            || self.store.set(key, value)?
            || self.net.set(key, value)?
            || self.engine.set(key, value)?;
        assert!(known, "{key} is in a table");
        Ok(())
    }

    /// Brings values into the ranges that Java silently uses.
    fn adjust(&mut self, properties: &[Property]) {
        let mut adjusted = Vec::new();
        let broker = &mut self.broker;
        // Java BrokerStartup: a master's id is 0, whatever was configured.
        clamp(&mut broker.broker_id, 0, 0, "brokerId", &mut adjusted);
        // Java BrokerController.start: Math.max(10000, Math.min(period, 60000)).
        let period = &mut broker.register_name_server_period_ms;
        clamp(
            period,
            10_000,
            60_000,
            "registerNameServerPeriod",
            &mut adjusted,
        );
        // Java MessageStoreConfig.getDiskMaxUsedSpaceRatio and CleanCommitLogService.
        let store = &mut self.store;
        for (value, least, greatest, key) in [
            (
                &mut store.disk_max_used_space_ratio,
                10,
                95,
                "diskMaxUsedSpaceRatio",
            ),
            (
                &mut store.disk_space_clean_forcibly_ratio,
                30,
                85,
                "diskSpaceCleanForciblyRatio",
            ),
            (
                &mut store.disk_space_warning_level_ratio,
                35,
                90,
                "diskSpaceWarningLevelRatio",
            ),
        ] {
            clamp(value, least, greatest, key, &mut adjusted);
        }
        for (key, value) in adjusted {
            let given = properties.iter().rev().find(|property| property.key == key);
            let line = given.map_or(Line::CommandLine, |property| property.line);
            self.warnings.push(Notice::Adjusted { line, key, value });
        }
    }
}

impl LoadedNamesrv {
    /// Every honoured key with its value: what `-p` prints.
    pub fn to_properties(&self) -> Vec<(&'static str, String)> {
        self.namesrv.to_properties()
    }
}

impl ConfigError {
    /// The exit code of a program that cannot start for these reasons: Java's 253 (-3) when it is an
    /// address of a name server, else 1.
    pub fn exit_code(&self) -> u8 {
        let namesrv_addr = |problem: &Problem| matches!(problem, Problem::BadValue { value, .. } if value.key == "namesrvAddr");
        if self.problems.iter().any(namesrv_addr) {
            253
        } else {
            1
        }
    }
}

impl Notice {
    /// Whether it tells of a probable mistake, not of a key that simply has no effect.
    pub fn is_warning(&self) -> bool {
        !matches!(self, Self::IgnoredKey { .. })
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownKey { line, key, nearest } => {
                write!(
                    f,
                    "{line}: unknown key \"{}\"{}",
                    key.escape_debug(),
                    hint(*nearest)
                )
            }
            Self::IgnoredKey { line, key, why } => write!(f, "{line}: {key} has no effect: {why}"),
            Self::Adjusted { line, key, value } => write!(f, "{line}: {key} counts as {value}"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Syntax(error) => error.fmt(f),
            Self::BadValue { line, value } => write!(f, "{line}: {value}"),
            Self::Refused {
                line,
                key,
                value,
                why,
            } => write!(f, "{line}: {key}={}: {why}", value.escape_debug()),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

enum Verdict {
    Set(&'static str),
    Tell(Notice),
}

/// What becomes of one line.
fn examine(file: File, property: &Property) -> Result<Verdict, Problem> {
    let line = property.line;
    let key = file.canonical(&property.key);
    if let Some(why) = file.refusal(key, &property.value) {
        return Err(Problem::Refused {
            line,
            key: key.to_owned(),
            value: property.value.clone(),
            why,
        });
    }
    if let Some(spec) = file.specs().find(|spec| spec.name == key) {
        return Ok(Verdict::Set(spec.name));
    }
    let key = key.to_owned();
    Ok(Verdict::Tell(match file.support(&key) {
        Some(Support::Ignored(why) | Support::Refused { why, .. }) => {
            Notice::IgnoredKey { line, key, why }
        }
        _ => Notice::UnknownKey {
            line,
            nearest: nearest_key(file, &key),
            key,
        },
    }))
}

/// The last line of each key, in the order of the file, and the options behind them.
fn properties(
    text: &str,
    overrides: &[(&str, &str)],
    problems: &mut Vec<Problem>,
) -> Vec<Property> {
    let mut all = parse(text).unwrap_or_else(|error| {
        problems.push(Problem::Syntax(error));
        Vec::new()
    });
    all.extend(overrides.iter().map(|(key, value)| Property {
        key: (*key).to_owned(),
        value: (*value).to_owned(),
        line: Line::CommandLine,
    }));
    let mut seen = BTreeSet::new();
    let mut last: Vec<Property> = Vec::new();
    for property in all.into_iter().rev() {
        if seen.insert(File::Broker.canonical(&property.key).to_owned()) {
            last.push(property);
        }
    }
    last.reverse();
    last
}

fn nearest_key(file: File, key: &str) -> Option<&'static str> {
    nearest(key, file.keys().map(|known| known.name))
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |nearest| {
        format!(" (did you mean \"{nearest}\"?)")
    })
}

fn clamp<T: Value + Ord + Copy>(
    value: &mut T,
    least: T,
    greatest: T,
    key: &'static str,
    adjusted: &mut Vec<(&'static str, String)>,
) {
    let within = (*value).clamp(least, greatest);
    if within != *value {
        *value = within;
        adjusted.push((key, within.show()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::{FlushDiskType, ShardChoice};

    #[test]
    fn a_usual_file_is_understood() {
        let text = "brokerClusterName = DefaultCluster\nbrokerName = broker-a\nbrokerId = 0\n\
                    deleteWhen = 04\nfileReservedTime = 48\nbrokerRole = ASYNC_MASTER\n\
                    flushDiskType = SYNC_FLUSH \nmapedFileSizeCommitLog=1048576\nshards=2\n";
        let loaded = load(text, &[("listenPort", "20911")]).unwrap();
        assert_eq!(loaded.broker.listen_port, 20_911);
        assert_eq!(loaded.store.flush_disk_type, FlushDiskType::Sync);
        assert_eq!(loaded.store.mapped_file_size_commit_log_bytes, 1_048_576);
        assert_eq!(loaded.engine.shards, ShardChoice::Count(2));
        assert!(loaded.is_given("listenPort") && loaded.is_given("brokerName"));
        assert!(!loaded.is_given("namesrvAddr"));
        let notices: Vec<String> = loaded.warnings.iter().map(Notice::to_string).collect();
        assert_eq!(notices, Vec::<String>::new());
        assert_eq!(loaded.store.file_reserved_time_hours, 48);
        assert_eq!(loaded.store.delete_when.bits(), 1 << 4);
    }

    #[test]
    fn later_lines_and_then_options_win() {
        let text = "listenPort=1000\nlistenPort=2000\nlistenPort=bad\nlistenPort=3000\n";
        assert_eq!(load(text, &[]).unwrap().broker.listen_port, 3_000);
        let options = [("listenPort", "4000")];
        assert_eq!(load(text, &options).unwrap().broker.listen_port, 4_000);
    }

    #[test]
    fn a_typo_is_told_with_the_nearest_name() {
        let loaded = load("# x\nlisenPort=1\nqwertyuiop=1\n", &[]).unwrap();
        let notices: Vec<String> = loaded.warnings.iter().map(Notice::to_string).collect();
        assert_eq!(
            notices,
            [
                "line 2: unknown key \"lisenPort\" (did you mean \"listenPort\"?)",
                "line 3: unknown key \"qwertyuiop\"",
            ]
        );
        assert!(loaded.warnings.iter().all(Notice::is_warning));
    }

    #[test]
    fn every_bad_value_is_told_with_key_value_expectation_and_line() {
        let text = "listenPort=abc\nbrokerName=x\nflushDiskType=NEVER\nlongPollingEnable=yes\n\
                    shards=0\nenableDLegerCommitLog=true\nmaxMessageSize=0\nbrokerRole=SLAVE\n";
        let error = load(text, &[]).unwrap_err();
        assert_eq!(error.exit_code(), 1);
        assert_eq!(
            error.to_string(),
            "line 1: listenPort: \"abc\" is not a whole number from 3 to 65535\n\
             line 3: flushDiskType: \"NEVER\" is not SYNC_FLUSH or ASYNC_FLUSH\n\
             line 4: longPollingEnable: \"yes\" is not true or false\n\
             line 5: shards: \"0\" is not auto or a whole number from 1 to 2048\n\
             line 6: enableDLegerCommitLog=true: DLedger groups are not served\n\
             line 7: maxMessageSize: \"0\" is not a whole number from 1 to 16000000\n\
             line 8: brokerRole=SLAVE: replication is not served yet: run masters with ASYNC_MASTER"
        );
        let error = load("", &[("namesrvAddr", "nowhere")]).unwrap_err();
        assert_eq!(error.exit_code(), 253);
        assert!(error.to_string().starts_with("command line: namesrvAddr"));
        assert_eq!(load("a=\\u1", &[]).unwrap_err().exit_code(), 1);
    }

    #[test]
    fn values_that_java_bends_are_bent_and_told() {
        let text = "brokerId=3\nregisterNameServerPeriod=1000\n";
        let loaded = load(text, &[]).unwrap();
        assert_eq!(loaded.broker.broker_id, 0);
        assert_eq!(loaded.broker.register_name_server_period_ms, 10_000);
        let notices: Vec<String> = loaded.warnings.iter().map(Notice::to_string).collect();
        assert_eq!(
            notices[1],
            "line 2: registerNameServerPeriod counts as 10000"
        );
        assert_eq!(notices.len(), 2);
    }

    #[test]
    fn what_is_printed_reads_back_as_the_same() {
        let loaded = load(
            "shards=3\ncpus=0-1\nnamesrvAddr=a:1;b:2\nbrokerIP1=10.0.0.1",
            &[],
        )
        .unwrap();
        let printed: Vec<String> = loaded
            .to_properties()
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let again = load(&printed.join("\n"), &[]).unwrap();
        assert_eq!(again.to_properties(), loaded.to_properties());
        assert!(again.warnings.is_empty(), "{:?}", again.warnings);
        let important = loaded.important_properties();
        assert!(important.iter().any(|(key, _)| *key == "namesrvAddr"));
        assert!(important.len() < loaded.to_properties().len());
    }

    #[test]
    fn only_live_keys_change_while_running() {
        let mut loaded = Loaded::default();
        let before = loaded.clone();
        let mut check = |key: &str, value: &str, expected: &str| {
            let error = loaded.update(key, value).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check("listenPort", "1", "at a start only");
        check("fileReservedTime", "1", "at a start only");
        check("brokerRole", "SLAVE", "replication");
        check("listenProt", "1", "did you mean \"listenPort\"");
        for spec in File::Broker.specs() {
            let Some((_, shown)) = before
                .to_properties()
                .into_iter()
                .find(|(k, _)| *k == spec.name)
            else {
                panic!("{} is not shown", spec.name);
            };
            let changed = loaded.update(spec.name, &shown);
            assert_eq!(
                changed.is_ok(),
                spec.reload == Reload::Live,
                "{}",
                spec.name
            );
        }
        assert_eq!(loaded, before);
    }

    #[test]
    fn a_name_servers_file_is_understood() {
        let text =
            "listenPort=19876\norderMessageEnable=true\nserverWorkerThreads=4\nlistenProt=1\n";
        let loaded = load_namesrv(text, &[]).unwrap();
        assert_eq!(loaded.namesrv.listen_port, 19_876);
        assert!(loaded.namesrv.order_message_enable);
        assert_eq!(loaded.warnings.len(), 2);
        let error = load_namesrv("enableControllerInNamesrv=true", &[]).unwrap_err();
        assert!(error.to_string().contains("controller"), "{error}");
    }
}
