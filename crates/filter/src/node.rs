//! The compiled form of an expression, and the checks that the official parser makes while it
//! builds one.
//!
//! Owned by a filter. Invariant: children of AND, OR and NOT are conditions, so that they evaluate
//! to a condition or NULL. Source: Java's package `org.apache.rocketmq.filter.expression`.

use crate::error::{CompileError, clip};
use crate::value::Value;
use std::cmp::Ordering;
use std::fmt;

/// A literal.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Constant {
    Null,
    Bool(bool),
    Int(i32),
    Long(i64),
    Double(f64),
    Text(Box<str>),
}

/// From how many texts on the list of an IN is sorted.
const SORTED_FROM: usize = 5;

/// Whether the list of an IN holds a text.
pub(crate) fn holds(list: &[Box<str>], text: &str) -> bool {
    if list.len() < SORTED_FROM {
        list.iter().any(|known| known.as_ref() == text)
    } else {
        list.binary_search_by(|known| known.as_ref().cmp(text))
            .is_ok()
    }
}

/// `<`, `<=`, `>`, `>=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OrderOp {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// What a text is searched for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TextOp {
    Contains,
    StartsWith,
    EndsWith,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Constant(Constant),
    Property {
        slot: u16,
        name: Box<str>,
    },
    Negate(Box<Node>),
    Not(Box<Node>),
    /// A property where a condition is needed: false when it is there, as it is a text.
    BooleanCast(Box<Node>),
    And(Vec<Node>),
    Or(Vec<Node>),
    /// Also IS NULL, where the right side is the constant NULL.
    Equal(Box<Node>, Box<Node>),
    Order(OrderOp, Box<Node>, Box<Node>),
    In {
        property: Box<Node>,
        /// Sorted when it has [`SORTED_FROM`] texts or more.
        list: Vec<Box<str>>,
        not: bool,
    },
    Text {
        op: TextOp,
        not: bool,
        left: Box<Node>,
        search: Box<str>,
    },
}

impl Constant {
    pub(crate) fn value(&self) -> Option<Value<'_>> {
        match self {
            Self::Null => None,
            Self::Bool(value) => Some(Value::Bool(*value)),
            Self::Int(value) => Some(Value::Int(*value)),
            Self::Long(value) => Some(Value::Long(*value)),
            Self::Double(value) => Some(Value::Double(*value)),
            Self::Text(value) => Some(Value::Text(value)),
        }
    }
}

impl OrderOp {
    pub(crate) fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Less => ordering.is_lt(),
            Self::LessOrEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterOrEqual => ordering.is_ge(),
        }
    }
}

impl Node {
    /// Whether Java's node would be a `BooleanExpression`.
    fn is_condition(&self) -> bool {
        !matches!(
            self,
            Self::Property { .. }
                | Self::Negate(_)
                | Self::Constant(
                    Constant::Int(_) | Constant::Long(_) | Constant::Double(_) | Constant::Text(_)
                )
        )
    }

    /// The node as a condition.
    pub(crate) fn condition(self) -> Result<Self, CompileError> {
        match self {
            property @ Self::Property { .. } => Ok(Self::BooleanCast(Box::new(property))),
            node if node.is_condition() => Ok(node),
            node => Err(CompileError::NotBoolean(node.text())),
        }
    }

    pub(crate) fn not(self) -> Self {
        Self::Not(Box::new(self))
    }

    pub(crate) fn equal(left: Self, right: Self) -> Result<Self, CompileError> {
        for side in [&left, &right] {
            if matches!(side, Self::Constant(Constant::Null)) {
                return Err(CompileError::NotComparable(side.text()));
            }
        }
        if matches!(left, Self::Constant(Constant::Bool(_)))
            && matches!(&right, Self::Constant(constant) if !matches!(constant, Constant::Bool(_)))
        {
            return Err(CompileError::KindsDiffer(left.text(), right.text()));
        }
        Ok(Self::Equal(Box::new(left), Box::new(right)))
    }

    pub(crate) fn is_null(left: Self) -> Self {
        Self::Equal(Box::new(left), Box::new(Self::Constant(Constant::Null)))
    }

    pub(crate) fn order(op: OrderOp, left: Self, right: Self) -> Result<Self, CompileError> {
        for side in [&left, &right] {
            let is_number = matches!(
                side,
                Self::Constant(Constant::Int(_) | Constant::Long(_) | Constant::Double(_))
            );
            let has_order = is_number || matches!(side, Self::Property { .. } | Self::Negate(_));
            if !has_order {
                return Err(CompileError::NotOrdered(side.text()));
            }
        }
        Ok(Self::Order(op, Box::new(left), Box::new(right)))
    }

    /// BETWEEN; the bounds belong to it, and constants among them must be in order.
    pub(crate) fn between(value: Self, low: Self, high: Self) -> Result<Self, CompileError> {
        if let (Self::Constant(first), Self::Constant(second)) = (&low, &high) {
            let (Some(a), Some(b)) = (first.value(), second.value()) else {
                return Err(CompileError::BetweenNull);
            };
            if b.compare(a).map_err(CompileError::BetweenKinds)?.is_lt() {
                let (low, high) = (bare(first), bare(second));
                return Err(CompileError::BetweenEmpty { low, high });
            }
        }
        Ok(Self::And(vec![
            Self::order(OrderOp::GreaterOrEqual, value.clone(), low)?,
            Self::order(OrderOp::LessOrEqual, value, high)?,
        ]))
    }

    pub(crate) fn not_between(value: Self, low: Self, high: Self) -> Result<Self, CompileError> {
        Ok(Self::Or(vec![
            Self::order(OrderOp::Less, value.clone(), low)?,
            Self::order(OrderOp::Greater, value, high)?,
        ]))
    }

    pub(crate) fn one_of(
        left: Self,
        mut list: Vec<Box<str>>,
        not: bool,
    ) -> Result<Self, CompileError> {
        if !matches!(left, Self::Property { .. }) {
            return Err(CompileError::InNeedsProperty(left.text()));
        }
        if list.len() >= SORTED_FROM {
            list.sort_unstable();
        }
        Ok(Self::In {
            property: Box::new(left),
            list,
            not,
        })
    }

    /// As an error shows it.
    fn text(&self) -> String {
        clip(&self.to_string())
    }
}

/// A constant without quotes.
fn bare(constant: &Constant) -> String {
    match constant {
        Constant::Text(text) => clip(text),
        Constant::Bool(truth) => truth.to_string(),
        other => other.to_string(),
    }
}

impl fmt::Display for Constant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("NULL"),
            Self::Bool(true) => f.write_str("TRUE"),
            Self::Bool(false) => f.write_str("FALSE"),
            Self::Int(value) => value.fmt(f),
            Self::Long(value) => value.fmt(f),
            Self::Double(value) => write!(f, "{value:?}"),
            Self::Text(text) => write!(f, "'{}'", text.replace('\'', "''")),
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Constant(constant) => constant.fmt(f),
            Self::Property { name, .. } => f.write_str(name),
            Self::Negate(inner) => write!(f, "(- {inner})"),
            Self::Not(inner) => write!(f, "(NOT {inner})"),
            Self::BooleanCast(inner) => inner.fmt(f),
            Self::And(all) => join(f, all, "&&"),
            Self::Or(all) => join(f, all, "||"),
            Self::Equal(left, right) => write!(f, "({left} == {right})"),
            Self::Order(op, left, right) => {
                let sign = match op {
                    OrderOp::Less => "<",
                    OrderOp::LessOrEqual => "<=",
                    OrderOp::Greater => ">",
                    OrderOp::GreaterOrEqual => ">=",
                };
                write!(f, "({left} {sign} {right})")
            }
            Self::In {
                property,
                list,
                not,
            } => {
                let word = if *not { "NOT IN" } else { "IN" };
                write!(f, "{property} {word} ( {} )", list.join(", "))
            }
            Self::Text { op, not, left, .. } => {
                let not = if *not { "NOT " } else { "" };
                let word = match op {
                    TextOp::Contains => "CONTAINS",
                    TextOp::StartsWith => "STARTSWITH",
                    TextOp::EndsWith => "ENDSWITH",
                };
                write!(f, "({not}{word} {left})")
            }
        }
    }
}

fn join(f: &mut fmt::Formatter<'_>, all: &[Node], sign: &str) -> fmt::Result {
    f.write_str("(")?;
    for (index, node) in all.iter().enumerate() {
        if index > 0 {
            write!(f, " {sign} ")?;
        }
        write!(f, "{node}")?;
    }
    f.write_str(")")
}
