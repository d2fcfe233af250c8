//! From words to nodes, by recursive descent along the rules of the official grammar.
//!
//! Owned by one compilation. Invariant: the depth of the nodes, and with it the stack of everything
//! that walks them, is at most a small multiple of [`DEPTH_MAX`]. Source: Java's `SelectorParser.jj`.

use crate::compile::DEPTH_MAX;
use crate::error::{CompileError, clip};
use crate::lexer::{Keyword, Lexer, Token};
use crate::node::{Constant, Node, OrderOp, TextOp};
use std::collections::BTreeMap;

pub(crate) struct Parser<'a> {
    lexer: Lexer<'a>,
    /// The next word, once somebody looked at it.
    peeked: Option<(Token<'a>, usize)>,
    /// Rules that are open now.
    depth: usize,
    /// Names of properties, each with its slot.
    names: BTreeMap<&'a str, u16>,
}

/// How many comparisons may stand in a row, as in `a = b = c`; each is one level of nodes.
const CHAIN_MAX: usize = 4;

const OPERAND: &str = "a property, a literal, '(', NOT, '+' or '-'";

impl<'a> Parser<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        Self {
            lexer: Lexer::new(text),
            peeked: None,
            depth: 0,
            names: BTreeMap::new(),
        }
    }

    /// The condition that the text begins with, and the names of its properties.
    pub(crate) fn parse(mut self) -> Result<(Node, BTreeMap<&'a str, u16>), CompileError> {
        let root = self.or()?.condition()?;
        Ok((root, self.names))
    }

    fn peek(&mut self) -> Result<(Token<'a>, usize), CompileError> {
        match self.peeked {
            Some(peeked) => Ok(peeked),
            None => Ok(*self.peeked.insert(self.lexer.next()?)),
        }
    }

    fn take(&mut self) -> Result<(Token<'a>, usize), CompileError> {
        let taken = self.peek()?;
        self.peeked = None;
        Ok(taken)
    }

    /// Takes the next word when it is this one.
    fn takes(&mut self, wanted: Token<'_>) -> Result<bool, CompileError> {
        let is_it = self.peek()?.0 == wanted;
        if is_it {
            self.peeked = None;
        }
        Ok(is_it)
    }

    fn expect(&mut self, wanted: Token<'_>, expected: &'static str) -> Result<(), CompileError> {
        if self.takes(wanted)? {
            return Ok(());
        }
        self.unexpected(expected)
    }

    fn unexpected<T>(&mut self, expected: &'static str) -> Result<T, CompileError> {
        let (token, at) = self.peek()?;
        Err(CompileError::Unexpected {
            at,
            found: token.describe(),
            expected,
        })
    }

    /// One level deeper.
    fn enter(&mut self) -> Result<(), CompileError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            let at = self.peek()?.1;
            return Err(CompileError::TooDeep { max: DEPTH_MAX, at });
        }
        Ok(())
    }

    fn check_chain(&mut self, chain: usize) -> Result<(), CompileError> {
        if chain > CHAIN_MAX {
            let at = self.peek()?.1;
            return Err(CompileError::TooDeep { max: CHAIN_MAX, at });
        }
        Ok(())
    }

    fn or(&mut self) -> Result<Node, CompileError> {
        let left = self.and()?;
        if !self.takes(Token::Word(Keyword::Or))? {
            return Ok(left);
        }
        let right = self.and()?;
        let mut all = vec![left.condition()?, right.condition()?];
        while self.takes(Token::Word(Keyword::Or))? {
            all.push(self.and()?.condition()?);
        }
        Ok(Node::Or(all))
    }

    fn and(&mut self) -> Result<Node, CompileError> {
        let left = self.equality()?;
        if !self.takes(Token::Word(Keyword::And))? {
            return Ok(left);
        }
        let right = self.equality()?;
        let mut all = vec![left.condition()?, right.condition()?];
        while self.takes(Token::Word(Keyword::And))? {
            all.push(self.equality()?.condition()?);
        }
        Ok(Node::And(all))
    }

    fn equality(&mut self) -> Result<Node, CompileError> {
        let mut left = self.comparison()?;
        for chain in 0.. {
            self.check_chain(chain)?;
            left = match self.peek()?.0 {
                Token::Sign("=") => {
                    self.take()?;
                    Node::equal(left, self.comparison()?)?
                }
                Token::Sign("<>") => {
                    self.take()?;
                    Node::equal(left, self.comparison()?)?.not()
                }
                Token::Word(Keyword::Is) => {
                    self.take()?;
                    let not = self.takes(Token::Word(Keyword::Not))?;
                    self.expect(Token::Word(Keyword::Null), "NULL or NOT NULL")?;
                    let is_null = Node::is_null(left);
                    if not { is_null.not() } else { is_null }
                }
                _ => break,
            };
        }
        Ok(left)
    }

    fn comparison(&mut self) -> Result<Node, CompileError> {
        let mut left = self.unary()?;
        for chain in 0.. {
            self.check_chain(chain)?;
            let op = match self.peek()?.0 {
                Token::Sign(">") => OrderOp::Greater,
                Token::Sign(">=") => OrderOp::GreaterOrEqual,
                Token::Sign("<") => OrderOp::Less,
                Token::Sign("<=") => OrderOp::LessOrEqual,
                Token::Word(
                    Keyword::Not
                    | Keyword::Between
                    | Keyword::In
                    | Keyword::Contains
                    | Keyword::StartsWith
                    | Keyword::EndsWith,
                ) => {
                    left = self.predicate(left)?;
                    continue;
                }
                _ => break,
            };
            self.take()?;
            left = Node::order(op, left, self.unary()?)?;
        }
        Ok(left)
    }

    /// `[NOT] BETWEEN … AND …`, `[NOT] IN (…)`, `[NOT] CONTAINS '…'` and its kin.
    fn predicate(&mut self, left: Node) -> Result<Node, CompileError> {
        let not = self.takes(Token::Word(Keyword::Not))?;
        let op = match self.peek()?.0 {
            Token::Word(Keyword::Between) => {
                self.take()?;
                let low = self.unary()?;
                self.expect(Token::Word(Keyword::And), "AND")?;
                let high = self.unary()?;
                return if not {
                    Node::not_between(left, low, high)
                } else {
                    Node::between(left, low, high)
                };
            }
            Token::Word(Keyword::In) => {
                self.take()?;
                return Node::one_of(left, self.list()?, not);
            }
            Token::Word(Keyword::Contains) => TextOp::Contains,
            Token::Word(Keyword::StartsWith) => TextOp::StartsWith,
            Token::Word(Keyword::EndsWith) => TextOp::EndsWith,
            _ => return self.unexpected("BETWEEN, IN, CONTAINS, STARTSWITH or ENDSWITH"),
        };
        self.take()?;
        Ok(Node::Text {
            op,
            not,
            left: Box::new(left),
            search: self.text()?,
        })
    }

    /// `('a', 'b')`.
    fn list(&mut self) -> Result<Vec<Box<str>>, CompileError> {
        self.expect(Token::Sign("("), "'('")?;
        let mut list = vec![self.text()?];
        while self.takes(Token::Sign(","))? {
            list.push(self.text()?);
        }
        self.expect(Token::Sign(")"), "',' or ')'")?;
        Ok(list)
    }

    /// A quoted text, without its quotes.
    fn text(&mut self) -> Result<Box<str>, CompileError> {
        let Token::Text(quoted) = self.peek()?.0 else {
            return self.unexpected("a quoted text");
        };
        self.take()?;
        Ok(unquote(quoted))
    }

    fn unary(&mut self) -> Result<Node, CompileError> {
        self.enter()?;
        let node = match self.peek()?.0 {
            Token::Sign("+") => {
                self.take()?;
                self.unary()?
            }
            Token::Sign("-") => {
                self.take()?;
                Node::Negate(Box::new(self.unary()?))
            }
            Token::Word(Keyword::Not) => {
                self.take()?;
                self.unary()?.condition()?.not()
            }
            Token::Sign("(") => {
                self.take()?;
                let inner = self.or()?;
                self.expect(Token::Sign(")"), "')' or an operator")?;
                inner
            }
            _ => self.operand()?,
        };
        self.depth -= 1;
        Ok(node)
    }

    fn operand(&mut self) -> Result<Node, CompileError> {
        let constant = match self.peek()?.0 {
            Token::Name(name) => {
                self.take()?;
                return Ok(self.property(name));
            }
            Token::Text(quoted) => Constant::Text(unquote(quoted)),
            Token::Whole(text) => whole(text)?,
            Token::Floating(text) => floating(text)?,
            Token::Word(Keyword::True) => Constant::Bool(true),
            Token::Word(Keyword::False) => Constant::Bool(false),
            Token::Word(Keyword::Null) => Constant::Null,
            _ => return self.unexpected(OPERAND),
        };
        self.take()?;
        Ok(Node::Constant(constant))
    }

    fn property(&mut self, name: &'a str) -> Node {
        let next = self.names.len() as u16;
        let slot = *self.names.entry(name).or_insert(next);
        Node::Property {
            slot,
            name: name.into(),
        }
    }
}

fn unquote(quoted: &str) -> Box<str> {
    quoted[1..quoted.len() - 1].replace("''", "'").into()
}

fn whole(text: &str) -> Result<Constant, CompileError> {
    let digits = text.strip_suffix(['l', 'L']).unwrap_or(text);
    let Ok(value) = digits.parse::<i64>() else {
        return Err(CompileError::Number { text: clip(text) });
    };
    Ok(i32::try_from(value).map_or(Constant::Long(value), Constant::Int))
}

/// Zero is refused, as in Java: it is below `Double.MIN_VALUE`.
fn floating(text: &str) -> Result<Constant, CompileError> {
    let clipped = || clip(text);
    match text.parse::<f64>() {
        Ok(value) if value.is_infinite() => Err(CompileError::TooLarge { text: clipped() }),
        Ok(value) if value > 0.0 => Ok(Constant::Double(value)),
        Ok(_) => Err(CompileError::TooSmall { text: clipped() }),
        Err(_) => Err(CompileError::Number { text: clipped() }),
    }
}
