//! The broker's configuration as tools see it: requests 25 and 26.
//!
//! Shown as it was when the broker started. What must always hold: a change over the network is
//! taken only for a key that is declared live, never for a path, and never starts a process.
//! Answers to Java's `AdminBrokerProcessor.updateBrokerConfig` and `getBrokerConfig`, where a peer
//! may change every key that is not on a black list.

use crate::assemble::Services;
use crate::handler::{Answer, NoFields, TaskRequest};
use crate::reply::Refusal;
use config::{BrokerConfig, EngineConfig, NetConfig, StoreConfig, Support, java_keys};
use remoting::ResponseCode;
use rt::Rt;
use std::rc::Rc;

/// Why a change of configuration is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigAdminError {
    #[error("the configuration is text of lines key=value")]
    Text,
    #[error("{0} takes effect at the start only: set it in the broker's file and restart it")]
    NotLive(String),
    #[error("{key} has no effect here: {why}")]
    NoEffect {
        /// A key of Java.
        key: String,
        /// Why it does nothing.
        why: &'static str,
    },
    #[error("{0} is not a key of this broker")]
    Unknown(String),
}

impl From<ConfigAdminError> for Refusal {
    fn from(error: ConfigAdminError) -> Self {
        let code = match error {
            ConfigAdminError::Text => ResponseCode::SystemError,
            ConfigAdminError::NotLive(_)
            | ConfigAdminError::NoEffect { .. }
            | ConfigAdminError::Unknown(_) => ResponseCode::NoPermission,
        };
        Self::new(code, error.to_string())
    }
}

/// `UPDATE_BROKER_CONFIG` (25).
pub(crate) async fn update<R: Rt>(
    _services: &Rc<Services<R>>,
    request: TaskRequest<'_, NoFields>,
) -> Result<Answer, Refusal> {
    let text = std::str::from_utf8(request.command.body).map_err(|_| ConfigAdminError::Text)?;
    for line in text.lines().map(str::trim) {
        if !line.is_empty() && !line.starts_with('#') {
            let (key, _) = line.split_once('=').ok_or(ConfigAdminError::Text)?;
            let refusal = refusal_of(key.trim());
            tracing::warn!(peer = %request.caller.peer, "a change was refused: {refusal}");
            return Err(refusal.into());
        }
    }
    Ok(Answer::empty())
}

/// Why a key is not changed. No key of the broker is live so far.
fn refusal_of(key: &str) -> ConfigAdminError {
    let tables = [
        BrokerConfig::KEYS,
        StoreConfig::KEYS,
        NetConfig::KEYS,
        EngineConfig::KEYS,
    ];
    if tables.into_iter().flatten().any(|spec| spec.name == key) {
        return ConfigAdminError::NotLive(key.to_owned());
    }
    match java_keys()
        .find(|java| java.name == key)
        .map(|java| java.support)
    {
        Some(Support::Ignored(why) | Support::Refused { why, .. }) => ConfigAdminError::NoEffect {
            key: key.to_owned(),
            why,
        },
        _ => ConfigAdminError::Unknown(key.to_owned()),
    }
}

/// `GET_BROKER_CONFIG` (26).
pub(crate) async fn show<R: Rt>(
    services: &Rc<Services<R>>,
    _request: TaskRequest<'_, NoFields>,
) -> Result<Answer, Refusal> {
    let properties = services.settings.properties.iter();
    let mut lines: Vec<String> = properties
        .map(|(key, value)| format!("{key}={value}\n"))
        .collect();
    lines.sort();
    // Java Configuration.getDataVersionJson: a version that starts with the process.
    let version = format!(
        r#"{{"counter":1,"stateVersion":0,"timestamp":{}}}"#,
        services.boot_timestamp_ms
    );
    let answer = Answer::body(lines.concat().into_bytes());
    Ok(answer.with_field("version", &version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_can_be_changed_and_each_refusal_says_why() {
        for (key, reason) in [
            ("listenPort", "takes effect at the start only"),
            ("storePathRootDir", "takes effect at the start only"),
            ("rocketmqHome", "has no effect here"),
            ("nonsense", "is not a key of this broker"),
        ] {
            let refusal = refusal_of(key).to_string();
            assert!(refusal.contains(reason), "{key}: {refusal}");
        }
    }
}
