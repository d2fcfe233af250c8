//! A compiled filter.
//!
//! Shared by whoever asks it; it never changes. Answers to Java's `SqlFilter` and
//! `ConsumerFilterData`.

use crate::error::{CompileError, EvaluateError};
use crate::evaluate::evaluate;
use crate::node::Node;
use crate::parser::Parser;
use crate::value::Value;
use smallvec::SmallVec;

/// The longest expression that is compiled, in bytes.
pub const LEN_MAX: usize = 32 << 10;
/// How deep an expression may be nested: parentheses, signs, NOT, and operators in a row.
pub const DEPTH_MAX: usize = 100;

/// A condition on a message's properties.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    root: Node,
    /// Sorted names, each with its slot.
    names: Vec<(Box<str>, u16)>,
}

impl Filter {
    /// Compiles an expression. What follows a complete one is ignored, as the official parser does.
    ///
    /// # Errors
    /// The text is no expression; its `Display` is fit for a remark.
    pub fn compile(text: &str) -> Result<Self, CompileError> {
        if text.len() > LEN_MAX {
            let (len, max) = (text.len(), LEN_MAX);
            return Err(CompileError::TooLong { len, max });
        }
        let (root, names) = Parser::new(text).parse()?;
        let names = names.into_iter();
        let names = names.map(|(name, slot)| (name.into(), slot)).collect();
        Ok(Self { root, names })
    }

    /// Whether a message with these properties matches: only when the expression is true, neither
    /// false nor NULL nor without an answer. Of a property that is given twice the last one counts.
    pub fn matches<'a>(&self, properties: impl Iterator<Item = (&'a str, &'a str)>) -> bool {
        matches!(self.evaluate(properties), Ok(Some(true)))
    }

    /// The expression's truth, NULL as `None`.
    ///
    /// # Errors
    /// A comparison has no answer, such as a text with a number.
    pub fn evaluate<'a>(
        &self,
        properties: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<Option<bool>, EvaluateError> {
        let mut slots: SmallVec<[Option<&str>; 8]> = SmallVec::from_elem(None, self.names.len());
        if !self.names.is_empty() {
            for (name, value) in properties {
                if let Some(slot) = self.slot(name) {
                    slots[slot] = Some(value);
                }
            }
        }
        evaluate(&self.root, &slots).map(|value| match value {
            Some(Value::Bool(truth)) => Some(truth),
            _ => None,
        })
    }

    /// Names of the properties that the expression asks for.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(|(name, _)| name.as_ref())
    }

    fn slot(&self, name: &str) -> Option<usize> {
        let found = self
            .names
            .binary_search_by(|(known, _)| known.as_ref().cmp(name));
        found.ok().map(|index| usize::from(self.names[index].1))
    }
}
