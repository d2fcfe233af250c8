//! Asking an expression, with Java's three-valued logic.
//!
//! Invariant: no allocation; the stack is that of the expression's depth. Operands are asked from
//! left to right, and one that has no answer ends it, unless the answer is known before.

use crate::error::EvaluateError;
use crate::node::{Node, TextOp, holds};
use crate::value::Value;

/// Values of the properties, by slot.
type Slots<'a> = [Option<&'a str>];

/// The value of a node, NULL as `None`.
pub(crate) fn evaluate<'a>(
    node: &'a Node,
    slots: &Slots<'a>,
) -> Result<Option<Value<'a>>, EvaluateError> {
    let truth = match node {
        Node::Constant(constant) => return Ok(constant.value()),
        Node::Property { slot, .. } => return Ok(slots[usize::from(*slot)].map(Value::Text)),
        Node::Negate(inner) => return Ok(evaluate(inner, slots)?.and_then(Value::negate)),
        Node::Not(inner) => truth(inner, slots)?.map(|truth| !truth),
        Node::BooleanCast(inner) => {
            evaluate(inner, slots)?.map(|value| matches!(value, Value::Bool(true)))
        }
        Node::And(all) => until(all, slots, false)?,
        Node::Or(all) => until(all, slots, true)?,
        Node::Equal(left, right) => match (evaluate(left, slots)?, evaluate(right, slots)?) {
            (None, None) => Some(true),
            (None, Some(_)) => None,
            (Some(_), None) => Some(false),
            (Some(left), Some(right)) => Some(left.compare(right)?.is_eq()),
        },
        Node::Order(op, left, right) => {
            let Some(left) = evaluate(left, slots)? else {
                return Ok(None);
            };
            let Some(right) = evaluate(right, slots)? else {
                return Ok(None);
            };
            Some(op.holds(left.compare_ordered(right)?))
        }
        Node::In {
            property,
            list,
            not,
        } => match evaluate(property, slots)? {
            Some(Value::Text(text)) => Some(holds(list, text) != *not),
            _ => None,
        },
        Node::Text {
            op,
            not,
            left,
            search,
        } => Some(match evaluate(left, slots)? {
            Some(Value::Text(text)) if !search.is_empty() => op.finds(text, search) != *not,
            _ => false,
        }),
    };
    Ok(truth.map(Value::Bool))
}

fn truth<'a>(node: &'a Node, slots: &Slots<'a>) -> Result<Option<bool>, EvaluateError> {
    Ok(match evaluate(node, slots)? {
        Some(Value::Bool(truth)) => Some(truth),
        _ => None,
    })
}

/// Asks conditions until one is `decisive`; else the opposite, or NULL when any was NULL.
fn until<'a>(
    all: &'a [Node],
    slots: &Slots<'a>,
    decisive: bool,
) -> Result<Option<bool>, EvaluateError> {
    let mut result = Some(!decisive);
    for node in all {
        match truth(node, slots)? {
            Some(truth) if truth == decisive => return Ok(Some(decisive)),
            Some(_) => {}
            None => result = None,
        }
    }
    Ok(result)
}

impl TextOp {
    fn finds(self, text: &str, search: &str) -> bool {
        match self {
            Self::Contains => text.contains(search),
            Self::StartsWith => text.starts_with(search),
            Self::EndsWith => text.ends_with(search),
        }
    }
}
