//! Two-variable comprehensions: `all(k, v, …)`, `exists`, `existsOne`, `transformList`, `transformMap` and
//! `transformMapEntry`. Source: cel-go's `ext.TwoVarComprehensions()`, which Kubernetes enables.
//!
//! The interpreter knows loops with one variable. So a loop runs over the entries, each a list of key (or index) and
//! value, and binds the two names in its body: a loop over nothing, whose accumulator is the name.

use cel::common::ast::{CallExpr, ComprehensionExpr, Expr, IdedExpr, ListExpr, LiteralValue, MapExpr, operators};
use cel::common::types::{CelBool, CelInt, CelList, CelMap, CelMapKey, CelString, CelUInt, DYN_TYPE, MAP_TYPE};
use cel::common::value::{CowVal, Val};
use cel::parser::{Macro, MacroExprHelper, ParseError};
use cel::{DeclarationError, Env, ExecutionError};
use std::collections::HashMap;

/// The entries of a map or list. No expression can write the name.
pub(in crate::policy) const ENTRIES: &str = "@entries";
/// A map with one entry more, or with those of another map.
pub(in crate::policy) const INSERT: &str = "@insert";

pub(in crate::policy) const ENTRY: &str = "@entry";
const RESULT: &str = "@result";

/// Adds the macros and the functions that they expand to.
pub(in crate::policy) fn register(env: &mut Env) -> Result<(), DeclarationError> {
    env.add_overload(ENTRIES, ENTRIES, vec![DYN_TYPE], entries)?;
    env.add_overload(INSERT, "@insert(map,key,value)", vec![MAP_TYPE, DYN_TYPE, DYN_TYPE], insert)?;
    env.add_overload(INSERT, "@insert(map,map)", vec![MAP_TYPE, MAP_TYPE], insert)?;
    for (name, kind) in
        [("all", Kind::All), ("exists", Kind::Exists), ("existsOne", Kind::One), ("exists_one", Kind::One)]
    {
        env.add_macro(Macro::receiver(name, 3, move |helper, target, args| expand(helper, target, args, kind)))?;
    }
    for (name, kind) in [("transformList", Kind::List), ("transformMap", Kind::Map), ("transformMapEntry", Kind::Entry)]
    {
        for arguments in [3, 4] {
            env.add_macro(Macro::receiver(name, arguments, move |helper, target, args| {
                expand(helper, target, args, kind)
            }))?;
        }
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    All,
    Exists,
    One,
    List,
    Map,
    Entry,
}

/// Makes nodes.
struct Maker<'h, 'a>(&'h mut MacroExprHelper<'a>);

impl Maker<'_, '_> {
    fn ident(&mut self, name: &str) -> IdedExpr {
        self.0.next_expr(Expr::Ident(name.to_owned()))
    }

    fn int(&mut self, value: i64) -> IdedExpr {
        self.0.next_expr(Expr::Literal(LiteralValue::Int(value.into())))
    }

    fn bool(&mut self, value: bool) -> IdedExpr {
        self.0.next_expr(Expr::Literal(LiteralValue::Boolean(value.into())))
    }

    fn list(&mut self, items: Vec<IdedExpr>) -> IdedExpr {
        self.0.next_expr(Expr::List(ListExpr::new(items)))
    }

    fn call(&mut self, name: &str, args: Vec<IdedExpr>) -> IdedExpr {
        self.0.next_expr(Expr::Call(CallExpr { func_name: name.to_owned(), target: None, args }))
    }

    /// `result` with `name` standing for a part of the entry.
    fn bind(&mut self, name: &str, part: i64, result: IdedExpr) -> IdedExpr {
        let (entry, position) = (self.ident(ENTRY), self.int(part));
        let bound = ComprehensionExpr {
            iter_range: self.list(Vec::new()),
            iter_var: "#unused".to_owned(),
            iter_var2: None,
            accu_var: name.to_owned(),
            accu_init: self.call(operators::INDEX, vec![entry, position]),
            loop_cond: self.bool(false),
            loop_step: self.ident(name),
            result,
        };
        self.0.next_expr(Expr::Comprehension(Box::new(bound)))
    }
}

fn simple_name(helper: &mut MacroExprHelper<'_>, expr: Option<IdedExpr>) -> Result<String, ParseError> {
    let expr = expr.unwrap_or_default();
    match expr.expr {
        Expr::Ident(name) if name != RESULT => Ok(name),
        _ => Err(helper.new_error(expr.id, "argument must be a simple name")),
    }
}

/// What is written in the brackets.
struct Parts {
    key: String,
    value: String,
    filter: Option<IdedExpr>,
    body: IdedExpr,
}

impl Parts {
    fn read(helper: &mut MacroExprHelper<'_>, args: Vec<IdedExpr>) -> Result<Self, ParseError> {
        let mut args = args.into_iter();
        let (key, value) = (args.next(), args.next());
        let value_id = value.as_ref().map_or(0, |value| value.id);
        let (key, value) = (simple_name(helper, key)?, simple_name(helper, value)?);
        if key == value {
            return Err(helper.new_error(value_id, format!("duplicate variable name: {key}")));
        }
        let first = args.next().unwrap_or_default();
        let (filter, body) = match args.next() {
            Some(body) => (Some(first), body),
            None => (None, first),
        };
        Ok(Self { key, value, filter, body })
    }
}

impl Maker<'_, '_> {
    /// What the accumulator becomes with an entry. Where an error may be outweighed by another entry, the accumulator
    /// stays outside of what is bound.
    fn step(&mut self, kind: Kind, parts: Parts) -> IdedExpr {
        let Parts { key, value, filter, body } = parts;
        let accu = self.ident(RESULT);
        let with_names = |make: &mut Self, expr: IdedExpr| {
            let inner = make.bind(&value, 1, expr);
            make.bind(&key, 0, inner)
        };
        let added = match kind {
            Kind::All | Kind::Exists => {
                let operator = if kind == Kind::All { operators::LOGICAL_AND } else { operators::LOGICAL_OR };
                let body = with_names(self, body);
                return self.call(operator, vec![accu, body]);
            }
            Kind::One => {
                let (one, same) = (self.int(1), self.ident(RESULT));
                let more = self.call(operators::ADD, vec![accu, one]);
                let body = with_names(self, body);
                return self.call(operators::CONDITIONAL, vec![body, more, same]);
            }
            Kind::List => {
                let item = self.list(vec![body]);
                self.call(operators::ADD, vec![accu, item])
            }
            Kind::Map => {
                let key = self.ident(&key);
                self.call(INSERT, vec![accu, key, body])
            }
            Kind::Entry => self.call(INSERT, vec![accu, body]),
        };
        let step = match filter {
            Some(filter) => {
                let same = self.ident(RESULT);
                self.call(operators::CONDITIONAL, vec![filter, added, same])
            }
            None => added,
        };
        with_names(self, step)
    }

    /// What the accumulator begins with.
    fn init(&mut self, kind: Kind) -> IdedExpr {
        match kind {
            Kind::All => self.bool(true),
            Kind::Exists => self.bool(false),
            Kind::One => self.int(0),
            Kind::List => self.list(Vec::new()),
            Kind::Map | Kind::Entry => self.0.next_expr(Expr::Map(MapExpr { entries: Vec::new() })),
        }
    }

    /// Whether the loop goes on.
    fn condition(&mut self, kind: Kind) -> IdedExpr {
        let accu = self.ident(RESULT);
        match kind {
            Kind::All => self.call(operators::NOT_STRICTLY_FALSE, vec![accu]),
            Kind::Exists => {
                let not = self.call(operators::LOGICAL_NOT, vec![accu]);
                self.call(operators::NOT_STRICTLY_FALSE, vec![not])
            }
            _ => self.bool(true),
        }
    }

    /// What the loop's value is.
    fn result(&mut self, kind: Kind) -> IdedExpr {
        let accu = self.ident(RESULT);
        if kind != Kind::One {
            return accu;
        }
        let one = self.int(1);
        self.call(operators::EQUALS, vec![accu, one])
    }
}

fn expand(
    helper: &mut MacroExprHelper<'_>,
    target: &mut Option<IdedExpr>,
    args: &mut Vec<IdedExpr>,
    kind: Kind,
) -> Result<Option<IdedExpr>, ParseError> {
    let parts = Parts::read(helper, std::mem::take(args))?;
    let mut make = Maker(helper);
    let loop_ = ComprehensionExpr {
        iter_range: make.call(ENTRIES, vec![target.take().unwrap_or_default()]),
        iter_var: ENTRY.to_owned(),
        iter_var2: None,
        accu_var: RESULT.to_owned(),
        accu_init: make.init(kind),
        loop_cond: make.condition(kind),
        loop_step: make.step(kind, parts),
        result: make.result(kind),
    };
    Ok(Some(make.0.next_expr(Expr::Comprehension(Box::new(loop_)))))
}

fn fault(message: &str) -> ExecutionError {
    ExecutionError::function_error("comprehension", message)
}

/// A list of `[key, value]`, by key; of `[index, value]` for a list.
#[expect(clippy::needless_pass_by_value, reason = "the signature of a CEL function")]
fn entries<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let range = args.first().ok_or_else(|| fault("nothing to go over"))?;
    let pair = |key: Box<dyn Val + 'v>, value: Box<dyn Val + 'v>| -> Box<dyn Val + 'v> {
        Box::new(CelList::from(vec![key, value]))
    };
    let mut out: Vec<Box<dyn Val + 'v>> = Vec::new();
    if range.get_type().name() == MAP_TYPE.name() {
        for (key, value) in pairs(range.as_ref())? {
            out.push(pair(key.inner().clone_as_boxed(), value));
        }
    } else {
        let list = range.as_iterable().ok_or_else(|| fault("neither a list nor a map"))?;
        let mut items = list.iter();
        while let Some(item) = items.next() {
            let index = i64::try_from(out.len()).unwrap_or(i64::MAX);
            out.push(pair(Box::new(CelInt::from(index)), item.clone_as_boxed()));
        }
    }
    Ok(CowVal::owned(CelList::from(out)))
}

/// A key and its value.
type Pair<'v> = (CelMapKey<'static>, Box<dyn Val + 'v>);

/// Keys and values, by key: the same order each time, so that messages do not change by themselves.
fn pairs<'v>(map: &(dyn Val + 'v)) -> Result<Vec<Pair<'v>>, ExecutionError> {
    let (Some(keys), Some(values)) = (map.as_iterable(), map.as_indexer()) else { return Err(fault("not a map")) };
    let mut keys = keys.iter();
    let mut out = Vec::new();
    while let Some(key) = keys.next() {
        out.push((key_of(key)?, values.get(key)?.into_owned()));
    }
    out.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(out)
}

fn key_of(value: &dyn Val) -> Result<CelMapKey<'static>, ExecutionError> {
    if let Some(text) = value.downcast_ref::<CelString>() {
        return Ok(CelMapKey::from(text.inner().to_owned()));
    }
    if let Some(int) = value.downcast_ref::<CelInt>() {
        return Ok(CelMapKey::Int(CelInt::from(*int.inner())));
    }
    if let Some(uint) = value.downcast_ref::<CelUInt>() {
        return Ok(CelMapKey::UInt(CelUInt::from(*uint.inner())));
    }
    let bool = value.downcast_ref::<CelBool>().ok_or_else(|| fault("unsupported key type"))?;
    Ok(CelMapKey::Bool(CelBool::from(*bool.inner())))
}

fn insert<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let mut args = args.into_iter();
    let map = args.next().ok_or_else(|| fault("nothing to insert into"))?;
    let added = match (args.next(), args.next()) {
        (Some(key), Some(value)) => vec![(key_of(key.as_ref())?, value.into_owned())],
        (Some(map), None) => pairs(map.as_ref())?,
        _ => return Err(fault("nothing to insert")),
    };
    let mut all: HashMap<CelMapKey<'v>, Box<dyn Val + 'v>> =
        pairs(map.as_ref())?.into_iter().map(|(key, value)| (key as CelMapKey<'v>, value)).collect();
    for (key, value) in added {
        if all.insert(key, value).is_some() {
            return Err(fault("a key occurs twice"));
        }
    }
    Ok(CowVal::owned(CelMap::from(all)))
}
