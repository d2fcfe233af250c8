//! What a group subscribes to, compiled once per heartbeat and known to every shard.
//!
//! The group's shard makes it from heartbeats and publishes it; pulls read it without leaving
//! their shard. Invariant: a published subscription never changes. Java: `SubscriptionData`,
//! `FilterAPI`.

use remoting::body::heartbeat::SubscriptionData;
use remoting::message::tags_code;
use smallvec::SmallVec;
use std::collections::BTreeMap;

/// Everything that a group subscribes to.
#[derive(Debug, Default)]
pub(crate) struct GroupSubscriptions {
    pub(crate) topics: BTreeMap<String, Subscription>,
    /// Whether each member gets every message and keeps its own offsets.
    pub(crate) is_broadcast: bool,
}

/// One topic of it.
#[derive(Debug, Clone)]
pub(crate) struct Subscription {
    pub(crate) filter: TagFilter,
    pub(crate) version: i64,
    /// As the client sent it, for tools and for comparison.
    pub(crate) data: SubscriptionData,
}

/// Which messages pass, by the hash of their tag.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum TagFilter {
    /// All.
    #[default]
    Everything,
    /// Those with one of these hashes. Clients compare the tags themselves once more.
    Codes(SmallVec<[i64; 4]>),
}

impl TagFilter {
    /// Whether a message passes.
    pub(crate) fn accepts(&self, tags_code: i64) -> bool {
        match self {
            Self::Everything => true,
            Self::Codes(codes) => codes.contains(&tags_code),
        }
    }

    /// Reads `*`, nothing, or tags between `||` (Java `FilterAPI.buildSubscriptionData`).
    ///
    /// # Errors
    /// When there are bars and no tag.
    pub(crate) fn parse(expression: &str) -> Result<Self, ExpressionError> {
        if expression.is_empty() || expression == "*" {
            return Ok(Self::Everything);
        }
        let tags = expression.split("||").map(str::trim);
        let codes: SmallVec<[i64; 4]> = tags.filter(|tag| !tag.is_empty()).map(tags_code).collect();
        if codes.is_empty() {
            return Err(ExpressionError);
        }
        Ok(Self::Codes(codes))
    }
}

/// A subscription without a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("subString split error")]
pub(crate) struct ExpressionError;

/// Whether an expression type means tags; the other one is SQL92.
pub(crate) fn is_tag_type(expression_type: Option<&str>) -> bool {
    // C++ clients send none, which means TAG.
    expression_type.is_none_or(|kind| kind.is_empty() || kind == "TAG")
}

impl Subscription {
    /// Compiles what a client sent; an expression that cannot be read lets nothing through.
    pub(crate) fn new(data: SubscriptionData) -> Self {
        let filter = if is_tag_type(data.expression_type.as_deref()) {
            TagFilter::parse(&data.sub_string)
        } else {
            Err(ExpressionError)
        };
        Self {
            filter: filter.unwrap_or(TagFilter::Codes(SmallVec::new())),
            version: data.sub_version,
            data,
        }
    }

    /// Whether it is a TAG expression.
    pub(crate) fn is_tag(&self) -> bool {
        is_tag_type(self.data.expression_type.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_read_as_java_reads_them() {
        let codes = |tags: &[&str]| TagFilter::Codes(tags.iter().map(|t| tags_code(t)).collect());
        assert_eq!(TagFilter::parse("*"), Ok(TagFilter::Everything));
        assert_eq!(TagFilter::parse(""), Ok(TagFilter::Everything));
        assert_eq!(TagFilter::parse("A"), Ok(codes(&["A"])));
        assert_eq!(TagFilter::parse(" A || B||C "), Ok(codes(&["A", "B", "C"])));
        assert_eq!(TagFilter::parse("A||"), Ok(codes(&["A"])));
        assert_eq!(TagFilter::parse("||"), Err(ExpressionError));
        assert!(codes(&["A"]).accepts(65) && !codes(&["A"]).accepts(66));
    }
}
