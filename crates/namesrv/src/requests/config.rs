//! Requests on the name server's own configuration.
//!
//! Only live keys can be changed over the network, and they are changed in memory: no request
//! names a file, and none is written. What must always hold: an update with one bad line changes
//! nothing. Java lets a peer choose where its configuration is written unless the key is on a
//! black list; here a key is refused unless it is live.

use super::{Answer, RequestError};
use crate::server::NameServer;
use config::{NamesrvConfig, Reload};
use remoting::command::Command;

type Result = std::result::Result<Answer, RequestError>;

/// `UPDATE_NAMESRV_CONFIG` (318).
pub(super) fn update(server: &NameServer, request: &Command<'_>) -> Result {
    let text = std::str::from_utf8(request.body)
        .map_err(|error| RequestError::ConfigText(error.to_string()))?;
    let mut changed = server.config();
    for line in text.lines().map(str::trim) {
        if !line.is_empty() && !line.starts_with('#') {
            set(&mut changed, line)?;
        }
    }
    tracing::info!(
        change = text,
        "configuration changed by request, until the next start"
    );
    server.set_config(changed);
    Ok(Answer::default())
}

fn set(config: &mut NamesrvConfig, line: &str) -> std::result::Result<(), RequestError> {
    let no_value = || RequestError::ConfigText(line.to_owned());
    let (key, value) = line.split_once('=').ok_or_else(no_value)?;
    let key = key.trim();
    let spec = NamesrvConfig::KEYS.iter().find(|spec| spec.name == key);
    if spec.is_none_or(|spec| spec.reload != Reload::Live) {
        tracing::warn!(
            key,
            "a request to change this key was refused: it is not live"
        );
        return Err(RequestError::ConfigRefused);
    }
    config.set(key, value)?;
    Ok(())
}

/// `GET_NAMESRV_CONFIG` (319).
pub(super) fn show(server: &NameServer) -> Answer {
    let properties = server.config().to_properties().into_iter();
    let mut lines: Vec<String> = properties
        .map(|(key, value)| format!("{key}={value}\n"))
        .collect();
    lines.sort();
    Answer::of_body(lines.concat().into_bytes())
}
