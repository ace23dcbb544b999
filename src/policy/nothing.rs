//! CEL's null, as policies meet it on an API server: a field of null is a key that is not there, so that
//! `has(oldObject.spec)` is false while an object is created.
//!
//! The interpreter's own null takes `has()` of its fields for an error (as cel-spec has it; Kubernetes builds cel-go's
//! interpreter without that). Values of a request are made with this one, and literals of expressions are replaced by
//! it ([`Nothing::in_literals`]), so that there is one null only and it equals itself.

use cel::ExecutionError;
use cel::common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue};
use cel::common::traits::{Indexer, Zeroer};
use cel::common::types::{CelString, Kind, NULL_TYPE, Type};
use cel::common::value::{CowVal, StaticVal, Val};
use std::any::Any;
use std::sync::Arc;

/// Null.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nothing;

/// The one that is borrowed.
pub(super) static NOTHING: Nothing = Nothing;

/// The name under which literals find it. No expression can spell it.
pub(super) const NAME: &str = "@null";

impl Nothing {
    /// Replaces the interpreter's null in an expression.
    pub(super) fn in_literals(node: &mut IdedExpr) {
        match &mut node.expr {
            Expr::Literal(LiteralValue::Null) => node.expr = Expr::Ident(NAME.to_owned()),
            Expr::Call(call) => {
                call.target.iter_mut().for_each(|target| Self::in_literals(target));
                call.args.iter_mut().for_each(Self::in_literals);
            }
            Expr::List(list) => list.elements.iter_mut().for_each(Self::in_literals),
            Expr::Map(map) => map.entries.iter_mut().for_each(|entry| match &mut entry.expr {
                EntryExpr::MapEntry(entry) => {
                    [&mut entry.key, &mut entry.value].into_iter().for_each(Self::in_literals);
                }
                EntryExpr::StructField(field) => Self::in_literals(&mut field.value),
            }),
            Expr::Select(select) => Self::in_literals(&mut select.operand),
            Expr::Comprehension(walk) => {
                let parts = [&mut walk.iter_range, &mut walk.accu_init, &mut walk.loop_cond];
                parts.into_iter().for_each(Self::in_literals);
                [&mut walk.loop_step, &mut walk.result].into_iter().for_each(Self::in_literals);
            }
            Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) => {}
        }
    }
}

impl Val for Nothing {
    fn get_type(&self) -> &Type {
        Self::cel_type()
    }

    fn cel_type() -> &'static Type {
        &NULL_TYPE
    }

    fn as_indexer<'b, 'v>(&'b self) -> Option<&'b (dyn Indexer + 'v)>
    where
        Self: 'v,
    {
        Some(self)
    }

    fn as_zeroer(&self) -> Option<&dyn Zeroer> {
        Some(self)
    }

    fn equals(&self, other: &dyn Val) -> bool {
        other.get_type().kind() == Kind::NullType
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
    where
        Self: 'v,
    {
        Box::new(Self)
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Nothing {}

impl Indexer for Nothing {
    fn get<'b, 'v>(&'b self, key: &dyn Val) -> Result<CowVal<'b, 'v>, ExecutionError>
    where
        Self: 'v,
    {
        let key = key.downcast_ref::<CelString<'_>>().map(|key| key.inner().to_owned()).unwrap_or_default();
        Err(ExecutionError::NoSuchKey(Arc::new(key)))
    }

    fn steal<'v>(self: Box<Self>, key: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError>
    where
        Self: 'v,
    {
        self.get(key).map(CowVal::into_owned)
    }
}

impl Zeroer for Nothing {
    fn is_zero_value(&self) -> bool {
        true
    }
}
