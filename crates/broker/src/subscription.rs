//! What a group subscribes to, compiled once per heartbeat and known to every shard.
//!
//! The group's shard makes it from heartbeats and publishes it; pulls read it without leaving
//! their shard. Invariant: a published subscription never changes. Java: `SubscriptionData`,
//! `FilterAPI`.

use filter::{CompileError, Filter};
use remoting::body::heartbeat::SubscriptionData;
use remoting::message::{decode_message, properties, tags_code};
use smallvec::SmallVec;
use std::collections::BTreeMap;
use std::sync::Arc;
use store::Accept;

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
    /// An expression that cannot be compiled leaves the reason.
    pub(crate) filter: Result<MessageFilter, FilterError>,
    pub(crate) version: i64,
    /// As the client sent it, for tools and for comparison.
    pub(crate) data: SubscriptionData,
}

/// Which messages pass.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum MessageFilter {
    /// By their tag.
    Tags(TagFilter),
    /// By their properties, with an SQL92 expression.
    Properties(Arc<Filter>),
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

/// Why an expression is no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FilterError {
    #[error(transparent)]
    Tags(#[from] ExpressionError),
    #[error(transparent)]
    Sql(#[from] CompileError),
    #[error("The broker does not support consumer to filter message by {0}")]
    Kind(String),
}

/// Whether an expression type means tags.
fn is_tag_type(expression_type: Option<&str>) -> bool {
    // C++ clients send none, which means TAG.
    expression_type.is_none_or(|kind| kind.is_empty() || kind == "TAG")
}

impl MessageFilter {
    /// Compiles an expression of a kind. Java: `FilterAPI.build`, `ConsumerFilterManager.build`.
    pub(crate) fn compile(kind: Option<&str>, expression: &str) -> Result<Self, FilterError> {
        if is_tag_type(kind) {
            return Ok(Self::Tags(TagFilter::parse(expression)?));
        }
        match kind {
            Some("SQL92") => Ok(Self::Properties(Arc::new(Filter::compile(expression)?))),
            other => Err(FilterError::Kind(other.unwrap_or_default().to_owned())),
        }
    }

    /// Whether it asks for properties, which a broker may have switched off.
    pub(crate) fn is_by_properties(&self) -> bool {
        matches!(self, Self::Properties(_))
    }
}

impl Accept for &MessageFilter {
    fn tags_code(&mut self, tags_code: i64) -> bool {
        match self {
            MessageFilter::Tags(filter) => filter.accepts(tags_code),
            MessageFilter::Properties(_) => true,
        }
    }

    fn message(&mut self, unit: &[u8]) -> bool {
        match self {
            MessageFilter::Tags(_) => true,
            MessageFilter::Properties(filter) => decode_message(unit)
                .is_ok_and(|(message, _)| filter.matches(properties::iter(message.properties))),
        }
    }
}

impl Subscription {
    /// Takes what a client sent. What is known already is not compiled again. Tags that cannot be
    /// read let nothing through.
    pub(crate) fn new(data: SubscriptionData, known: Option<&Self>) -> Self {
        let is_same = |known: &&Self| {
            known.data.sub_string == data.sub_string
                && known.data.expression_type == data.expression_type
        };
        let filter = match known.filter(is_same) {
            Some(known) => known.filter.clone(),
            None => match MessageFilter::compile(data.expression_type.as_deref(), &data.sub_string)
            {
                Err(FilterError::Tags(_)) => {
                    Ok(MessageFilter::Tags(TagFilter::Codes(SmallVec::new())))
                }
                compiled => compiled,
            },
        };
        Self {
            filter,
            version: data.sub_version,
            data,
        }
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
