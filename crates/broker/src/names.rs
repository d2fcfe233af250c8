//! Names of topics and groups: which are legal, which belong to the system.
//!
//! Pure. A name never becomes a path, yet it is checked where it enters. Invariant: whatever
//! passes has 1 to 255 ASCII characters of the protocol's set. Java: `TopicValidator`, `Validators`.

/// Prefix of a group's retry topic.
pub(crate) const RETRY_PREFIX: &str = "%RETRY%";
/// Prefix of a group's dead letter topic.
pub(crate) const DLQ_PREFIX: &str = "%DLQ%";
/// Where delayed messages wait; one instance per shard.
pub(crate) const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";
/// Where half messages wait; one instance per shard, and no topic that clients could ask for.
pub(crate) const HALF_TOPIC: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
/// Where half messages go that nobody decided.
pub(crate) const CHECK_MAX_TOPIC: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
/// The template of topics that sends create.
pub(crate) const DEFAULT_TOPIC: &str = "TBW102";

/// Longest topic name, in bytes.
pub(crate) const TOPIC_LEN_MAX: usize = 127;
/// Longest name of a retry or dead letter topic, in bytes.
pub(crate) const RETRY_TOPIC_LEN_MAX: usize = 255;
/// Longest group name, in bytes. Java's broker takes 120 from tools and 255 from clients.
pub(crate) const GROUP_LEN_MAX: usize = 255;

/// How much of a name that is too long a refusal repeats.
const SHOWN_CHARS: usize = 300;

/// Why a name is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NameError {
    /// Nothing or only blanks.
    #[error("The specified {what} is blank.")]
    Blank {
        /// `topic` or `group`.
        what: &'static str,
    },
    /// Too long.
    #[error(
        "The specified {what}: {}, is longer than {what} max length: {len_max}",
        name.escape_debug()
    )]
    TooLong {
        /// `topic` or `group`.
        what: &'static str,
        /// The name's first characters.
        name: String,
        /// The limit in bytes.
        len_max: usize,
    },
    /// A character outside the set.
    #[error(
        "The specified {what}: {}, contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$",
        name.escape_debug()
    )]
    Illegal {
        /// `topic` or `group`.
        what: &'static str,
        /// The name.
        name: String,
    },
}

/// Whether `topic` may be a topic's name.
pub(crate) fn check_topic(topic: &str) -> Result<(), NameError> {
    let is_retry = topic.starts_with(RETRY_PREFIX) || topic.starts_with(DLQ_PREFIX);
    let len_max = if is_retry {
        RETRY_TOPIC_LEN_MAX
    } else {
        TOPIC_LEN_MAX
    };
    check("topic", topic, len_max)
}

/// Whether `group` may be a group's name.
pub(crate) fn check_group(group: &str) -> Result<(), NameError> {
    check("group", group, GROUP_LEN_MAX)
}

fn check(what: &'static str, name: &str, len_max: usize) -> Result<(), NameError> {
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"%|_-".contains(&byte);
    if name.trim().is_empty() {
        Err(NameError::Blank { what })
    } else if name.len() > len_max {
        let name = name.chars().take(SHOWN_CHARS).collect();
        Err(NameError::TooLong {
            what,
            name,
            len_max,
        })
    } else if !name.bytes().all(is_legal) {
        let name = name.to_owned();
        Err(NameError::Illegal { what, name })
    } else {
        Ok(())
    }
}

/// Topics that clients must not send to (Java `TopicValidator.NOT_ALLOWED_SEND_TOPIC_SET`).
pub(crate) fn is_closed_to_sends(topic: &str) -> bool {
    matches!(
        topic,
        SCHEDULE_TOPIC
            | HALF_TOPIC
            | "RMQ_SYS_TRANS_OP_HALF_TOPIC"
            | CHECK_MAX_TOPIC
            | "SELF_TEST_TOPIC"
            | "OFFSET_MOVED_EVENT"
    )
}

/// Topics that tools can neither create nor delete (Java `TopicValidator.isSystemTopic`), apart
/// from those named after the cluster and the broker.
pub(crate) fn is_system_topic(topic: &str) -> bool {
    is_closed_to_sends(topic)
        || matches!(
            topic,
            DEFAULT_TOPIC | "BenchmarkTest" | "RMQ_SYS_TRACE_TOPIC" | "CHECKPOINT_TOPIC"
        )
        || topic.starts_with("rmq_sys_")
}

/// Groups that exist without a client (Java `SubscriptionGroupManager.init`).
pub(crate) const SYSTEM_GROUPS: [&str; 8] = [
    "TOOLS_CONSUMER",
    "FILTERSRV_CONSUMER",
    "SELF_TEST_C_GROUP",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_PULL",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_OWNER",
    "CID_RMQ_SYS_TRANS",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_by_their_characters_and_length() {
        let longest = "a".repeat(TOPIC_LEN_MAX);
        let too_long = "a".repeat(TOPIC_LEN_MAX + 1);
        let retry = format!("%RETRY%{}", "g".repeat(248));
        let retry_too_long = format!("%RETRY%{}", "g".repeat(249));
        let cases: [(&str, bool); 15] = [
            ("TopicTest", true),
            ("a|b%c-d_e", true),
            (&longest, true),
            (&retry, true),
            ("", false),
            (" \t", false),
            (&too_long, false),
            (&retry_too_long, false),
            ("../../etc/passwd", false),
            ("a/b", false),
            ("a.b", false),
            ("a\\b", false),
            ("a\0b", false),
            ("订单", false),
            ("a\nb", false),
        ];
        for (name, is_legal) in cases {
            assert_eq!(check_topic(name).is_ok(), is_legal, "{name:?}");
        }
    }

    #[test]
    fn a_refusal_names_the_limit() {
        let refusal = check_topic(&"a".repeat(300)).unwrap_err().to_string();
        assert!(refusal.ends_with("max length: 127"), "{refusal}");
    }
}
