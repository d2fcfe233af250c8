//! The key-value configuration: namespaces of keys, kept in one JSON file.
//!
//! Owned by the name server. Changes go one after another through [`KvStore::change`]: the new
//! table is written beside the file, synced and renamed, and only then shown to readers. What must
//! always hold: a value that was read or acknowledged survives a crash, and a table that could not
//! be written was never seen. The file has the form of Java's `kvConfig.json`
//! (`KVConfigSerializeWrapper`), so it can be taken over from there. Answers to
//! `KVConfigManager`.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The namespace of the queues of ordered topics: topic to `broker:queues;…`.
/// Source: Java `NamesrvUtil.NAMESPACE_ORDER_TOPIC_CONFIG`.
pub(crate) const ORDER_TOPIC_CONFIG: &str = "ORDER_TOPIC_CONFIG";

/// Keys of one namespace.
pub(crate) type Namespace = BTreeMap<String, String>;

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KvError {
    /// The file is there but cannot be read.
    #[error("cannot read the key-value configuration {}: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The file is not in the expected form.
    #[error(
        "the key-value configuration {} is not valid JSON ({error}): repair it or move it away",
        path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where it is wrong.
        error: serde_json::Error,
    },
    /// The changed table could not be written; nothing has changed.
    #[error("cannot write the key-value configuration {}: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The changed table would be too large; nothing has changed.
    #[error("the key-value configuration would exceed {limit} bytes")]
    Full {
        /// The bound, in bytes of the file.
        limit: usize,
    },
}

/// The whole configuration: the content of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KvTable {
    #[serde(rename = "configTable", default)]
    namespaces: BTreeMap<String, Namespace>,
}

impl KvTable {
    /// The value of a key.
    pub(crate) fn value(&self, namespace: &str, key: &str) -> Option<&str> {
        let value = self.namespaces.get(namespace)?.get(key)?;
        Some(value.as_str())
    }

    /// All keys of a namespace; `None` when it never had any.
    pub(crate) fn namespace(&self, namespace: &str) -> Option<&Namespace> {
        self.namespaces.get(namespace)
    }

    /// Sets a key.
    pub(crate) fn put(&mut self, namespace: String, key: String, value: String) {
        self.namespaces
            .entry(namespace)
            .or_default()
            .insert(key, value);
    }

    /// Removes a key. The namespace stays, as in Java.
    pub(crate) fn delete(&mut self, namespace: &str, key: &str) {
        if let Some(keys) = self.namespaces.get_mut(namespace) {
            keys.remove(key);
        }
    }
}

/// The table and its file.
#[derive(Debug)]
pub(crate) struct KvStore {
    path: PathBuf,
    file_bytes_max: usize,
    table: Mutex<Arc<KvTable>>,
    /// Held while a change is on its way to the disk.
    writing: tokio::sync::Mutex<()>,
}

impl KvStore {
    /// Reads the file; an absent one is an empty table.
    pub(crate) fn open(path: PathBuf, file_bytes_max: usize) -> Result<Self, KvError> {
        let table = match std::fs::read(&path) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(table) => table,
                Err(error) => return Err(KvError::Malformed { path, error }),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => KvTable::default(),
            Err(error) => return Err(KvError::Read { path, error }),
        };
        Ok(Self {
            path,
            file_bytes_max,
            table: Mutex::new(Arc::new(table)),
            writing: tokio::sync::Mutex::new(()),
        })
    }

    /// The table as it is now.
    pub(crate) fn table(&self) -> Arc<KvTable> {
        Arc::clone(&self.table.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Applies a change; done when it is durable and visible. A failed change leaves no trace,
    /// except that after a failed sync the file may already hold it.
    pub(crate) async fn change(&self, change: impl FnOnce(&mut KvTable)) -> Result<(), KvError> {
        let _turn = self.writing.lock().await;
        let mut table = KvTable::clone(&self.table());
        change(&mut table);
        let write_error = |error| KvError::Write {
            path: self.path.clone(),
            error,
        };
        let bytes = serde_json::to_vec(&table).map_err(|e| write_error(e.into()))?;
        if bytes.len() > self.file_bytes_max {
            let limit = self.file_bytes_max;
            return Err(KvError::Full { limit });
        }
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || write_atomic(&path, &bytes))
            .await
            .unwrap_or_else(|failed| Err(io::Error::other(failed)))
            .map_err(write_error)?;
        *self.table.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(table);
        Ok(())
    }
}

/// Replaces a file so that after a crash the old or the new content is there, whole.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(directory)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".tmp");
    let mut file = std::fs::File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    std::fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread();
        { runtime }.build().unwrap().block_on(future)
    }

    fn put(store: &KvStore, namespace: &str, key: &str, value: &str) -> Result<(), KvError> {
        let [namespace, key, value] = [namespace, key, value].map(str::to_owned);
        block_on(store.change(|table| table.put(namespace, key, value)))
    }

    #[test]
    fn changes_are_in_the_file_in_the_form_of_java() {
        let dir = TempDir::new("kv-form");
        let path = dir.path().join("namesrv/kvConfig.json");
        let store = KvStore::open(path.clone(), 1_000).unwrap();
        put(&store, ORDER_TOPIC_CONFIG, "T1", "broker-a:4").unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            r#"{"configTable":{"ORDER_TOPIC_CONFIG":{"T1":"broker-a:4"}}}"#
        );
        put(&store, "other", "k", "v").unwrap();
        block_on(store.change(|table| table.delete("other", "k"))).unwrap();
        let again = KvStore::open(path, 1_000).unwrap().table();
        assert_eq!(again.value(ORDER_TOPIC_CONFIG, "T1"), Some("broker-a:4"));
        assert_eq!(again.value("other", "k"), None);
        assert_eq!(again.namespace("other"), Some(&Namespace::new()));
        assert_eq!(again.namespace("never"), None);
    }

    #[test]
    fn a_file_that_is_no_json_is_refused_and_left_as_it_is() {
        let dir = TempDir::new("kv-malformed");
        let path = dir.path().join("kvConfig.json");
        std::fs::write(&path, "{broken").unwrap();
        let error = KvStore::open(path.clone(), 1_000).unwrap_err();
        assert!(matches!(error, KvError::Malformed { .. }), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{broken");
    }

    #[test]
    fn a_change_that_cannot_be_kept_is_not_visible() {
        let dir = TempDir::new("kv-unwritable");
        let store = KvStore::open(dir.path().join("kvConfig.json"), 60).unwrap();
        put(&store, "n", "k", "v").unwrap();
        let error = put(&store, "n", "k", &"v".repeat(60)).unwrap_err();
        assert!(matches!(error, KvError::Full { limit: 60 }), "{error}");
        std::fs::create_dir(dir.path().join("kvConfig.json.tmp")).unwrap();
        let error = put(&store, "n", "k", "w").unwrap_err();
        assert!(matches!(error, KvError::Write { .. }), "{error}");
        assert_eq!(store.table().value("n", "k"), Some("v"));
    }
}
