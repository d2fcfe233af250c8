//! What becomes of every key that Java knows: honoured, ignored or refused, and why.
//!
//! Invariant: no key of Java's beans is missing here, so that an existing file starts without a word
//! about unknown keys, and a user learns of each key that has no effect.

mod broker;
mod namesrv;
mod why;

use crate::keys::{BrokerConfig, EngineConfig, NamesrvConfig, NetConfig, StoreConfig};
use crate::spec::KeySpec;

/// Whether a key has an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Support {
    /// It has.
    Honoured,
    /// It has none, for this reason.
    Ignored(&'static str),
    /// Values other than the accepted ones ask for something that is missing: the start is refused.
    Refused {
        /// Values that ask for nothing.
        accepted: &'static [&'static str],
        /// What is missing.
        why: &'static str,
    },
}

/// A key and what becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JavaKey {
    /// As users write it.
    pub name: &'static str,
    /// Whether it has an effect.
    pub support: Support,
}

/// A kind of file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum File {
    /// `broker.conf`.
    Broker,
    /// `namesrv.conf`.
    Namesrv,
}

struct Refusal {
    name: &'static str,
    accepted: &'static [&'static str],
    why: &'static str,
}

struct Group {
    why: &'static str,
    names: &'static [&'static str],
}

/// Spellings of Java 4.5 and older.
const ALIASES: &[(&str, &str)] = &[("mapedFileSizeCommitLog", "mappedFileSizeCommitLog")];

impl File {
    /// The honoured keys.
    pub(crate) fn specs(self) -> impl Iterator<Item = &'static KeySpec> {
        let tables: &[&'static [KeySpec]] = match self {
            Self::Broker => &[
                BrokerConfig::KEYS,
                StoreConfig::KEYS,
                NetConfig::KEYS,
                EngineConfig::KEYS,
            ],
            Self::Namesrv => &[NamesrvConfig::KEYS],
        };
        tables.iter().copied().flatten()
    }

    /// What a key's name is today.
    pub(crate) fn canonical(self, name: &str) -> &str {
        let mut aliases = ALIASES.iter().filter(|_| self == Self::Broker);
        aliases
            .find(|(old, _)| *old == name)
            .map_or(name, |(_, new)| new)
    }

    /// The reason when this value of this key asks for something that is missing.
    pub(crate) fn refusal(self, name: &str, value: &str) -> Option<&'static str> {
        let refusal = self
            .refusals()
            .iter()
            .find(|refusal| refusal.name == name)?;
        let accepted = |accepted: &&str| accepted.eq_ignore_ascii_case(value.trim());
        (!refusal.accepted.iter().any(accepted)).then_some(refusal.why)
    }

    /// What becomes of a key; `None` when it is unknown.
    pub(crate) fn support(self, name: &str) -> Option<Support> {
        self.keys()
            .find(|key| key.name == name)
            .map(|key| key.support)
    }

    /// Every known key. One that is honoured but for some values stands twice.
    pub(crate) fn keys(self) -> impl Iterator<Item = JavaKey> {
        let key = |name, support| JavaKey { name, support };
        let honoured = self
            .specs()
            .map(move |spec| key(spec.name, Support::Honoured));
        let refused = self.refusals().iter().map(move |refusal| {
            let Refusal {
                name,
                accepted,
                why,
            } = *refusal;
            key(name, Support::Refused { accepted, why })
        });
        let groups = match self {
            Self::Broker => broker::IGNORED,
            Self::Namesrv => namesrv::IGNORED,
        };
        let ignored = groups.iter().flat_map(move |group| {
            let names = group.names.iter();
            names.map(move |name| key(name, Support::Ignored(group.why)))
        });
        honoured.chain(refused).chain(ignored)
    }

    fn refusals(self) -> &'static [Refusal] {
        match self {
            Self::Broker => broker::REFUSED,
            Self::Namesrv => namesrv::REFUSED,
        }
    }
}

/// Every known key of `broker.conf`. One that is honoured but for some values stands twice.
pub fn java_keys() -> impl Iterator<Item = JavaKey> {
    File::Broker.keys()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_key_is_known_once() {
        for (file, least) in [(File::Broker, 450), (File::Namesrv, 80)] {
            let mut seen = BTreeSet::new();
            for key in file.keys() {
                let twice = !seen.insert(key.name);
                let may_be_twice = matches!(key.support, Support::Refused { .. });
                assert!(!twice || may_be_twice, "{}", key.name);
            }
            assert!(seen.len() >= least, "{file:?} knows {} keys", seen.len());
        }
    }

    #[test]
    fn a_value_is_refused_only_when_it_asks_for_what_is_missing() {
        let check = |name: &str, value: &str, refused: bool| {
            let refusal = File::Broker.refusal(name, value);
            assert_eq!(refusal.is_some(), refused, "{name}={value}");
        };
        check("enableDLegerCommitLog", "true", true);
        check("enableDLegerCommitLog", "false", false);
        check("enableControllerMode", " False ", false);
        check("brokerRole", "ASYNC_MASTER", false);
        check("brokerRole", "SLAVE", true);
        check("aclEnable", "true", true);
        check("listenPort", "1", false);
    }
}
