//! Requests on the key-value configuration.
//!
//! Reading answers at once; a change is taken apart here and applied by [`Change::apply`], which
//! waits for the disk. What must always hold: a change is answered with success only after it is
//! durable.

use super::{Answer, AnswerHeader, RequestError, Turn};
use crate::kv::Namespace;
use crate::server::NameServer;
use remoting::body::kv_table::KvTable;
use remoting::command::Command;
use remoting::header::RemotingHeader;
use remoting::header::namesrv::{
    DeleteKvConfigRequestHeader, GetKvConfigRequestHeader, GetKvConfigResponseHeader,
    GetKvListByNamespaceRequestHeader, PutKvConfigRequestHeader,
};

type Result = std::result::Result<Answer, RequestError>;

/// A change of one key.
#[derive(Debug)]
pub(super) enum Change {
    /// Sets it.
    Put {
        namespace: String,
        key: String,
        value: String,
    },
    /// Removes it.
    Delete { namespace: String, key: String },
}

impl Change {
    /// Applies the change; done when it is durable.
    pub(super) async fn apply(self, server: &NameServer) -> Result {
        tracing::info!(change = ?self, "key-value configuration changes");
        let change = |table: &mut crate::kv::KvTable| match self {
            Self::Put {
                namespace,
                key,
                value,
            } => table.put(namespace, key, value),
            Self::Delete { namespace, key } => table.delete(&namespace, &key),
        };
        server.kv().change(change).await?;
        Ok(Answer::default())
    }
}

/// `PUT_KV_CONFIG` (100).
pub(super) fn put(request: &Command<'_>) -> Turn {
    match PutKvConfigRequestHeader::decode(&request.fields) {
        Ok(header) => Turn::Kv(Change::Put {
            namespace: header.namespace,
            key: header.key,
            value: header.value,
        }),
        Err(error) => Turn::Done(Err(error.into())),
    }
}

/// `DELETE_KV_CONFIG` (102).
pub(super) fn delete(request: &Command<'_>) -> Turn {
    match DeleteKvConfigRequestHeader::decode(&request.fields) {
        Ok(header) => Turn::Kv(Change::Delete {
            namespace: header.namespace,
            key: header.key,
        }),
        Err(error) => Turn::Done(Err(error.into())),
    }
}

/// `GET_KV_CONFIG` (101).
pub(super) fn value(server: &NameServer, request: &Command<'_>) -> Result {
    let header = GetKvConfigRequestHeader::decode(&request.fields)?;
    let (namespace, key) = (header.namespace, header.key);
    let table = server.kv().table();
    let value = table.value(&namespace, &key).map(str::to_owned);
    if value.is_none() {
        return Err(RequestError::NoKey { namespace, key });
    }
    let header = GetKvConfigResponseHeader { value };
    Ok(Answer::of_header(AnswerHeader::KvValue(header)))
}

/// `GET_KVLIST_BY_NAMESPACE` (219).
pub(super) fn namespace(server: &NameServer, request: &Command<'_>) -> Result {
    let header = GetKvListByNamespaceRequestHeader::decode(&request.fields)?;
    match server.kv().table().namespace(&header.namespace) {
        Some(keys) => Ok(Answer::of_body(table_body(keys)?)),
        None => Err(RequestError::NoNamespace(header.namespace)),
    }
}

/// A namespace as the body of an answer.
pub(super) fn table_body(keys: &Namespace) -> std::result::Result<Vec<u8>, RequestError> {
    let table = KvTable {
        table: keys.clone(),
    };
    Ok(serde_json::to_vec(&table)?)
}
