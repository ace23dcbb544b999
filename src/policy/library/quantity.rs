//! `quantity()`, `isQuantity()` and what can be asked of a quantity.
//! Source: k8s.io/apiserver/pkg/cel/library/quantity.go.
//!
//! Known difference: a quantity beyond 10^35, which Kubernetes keeps in arbitrary precision, is no quantity here.

use crate::object::quantity::Quantity;
use cel::common::types::{CelBool, CelDouble, CelInt, CelString, Type};
use cel::common::value::{StaticVal, Val};
use cel::{DeclarationError, Env, ExecutionError};
use std::any::Any;

static TYPE: Type = Type::new_unspecified_type("kubernetes.Quantity");

/// A quantity as a CEL value.
#[derive(Debug, Clone, Copy)]
struct CelQuantity(Quantity);

impl Val for CelQuantity {
    fn get_type(&self) -> &Type {
        &TYPE
    }
    fn cel_type() -> &'static Type {
        &TYPE
    }
    fn equals(&self, other: &dyn Val) -> bool {
        other.downcast_ref::<Self>().is_some_and(|other| other.0 == self.0)
    }
    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(*self)
    }
    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for CelQuantity {}

/// Adds the functions.
pub(in crate::policy) fn register(env: &mut Env) -> Result<(), DeclarationError> {
    cel::add_overload!(env, fn quantity: (CelString) -> Result<CelQuantity>)?;
    cel::add_overload!(env, fn is_quantity: (CelString) -> CelBool)?;
    cel::add_member_overload!(env, fn is_integer: (CelQuantity) -> CelBool)?;
    cel::add_member_overload!(env, fn as_integer: (CelQuantity) -> Result<CelInt>)?;
    cel::add_member_overload!(env, fn as_approximate_float: (CelQuantity) -> CelDouble)?;
    // A function, not a method, although the documentation writes it as one.
    cel::add_overload!(env, fn sign: (CelQuantity) -> CelInt)?;
    cel::add_member_overload!(env, fn add: (CelQuantity, CelQuantity) -> Result<CelQuantity>)?;
    cel::add_member_overload!(env, fn add_int: (CelQuantity, CelInt) -> Result<CelQuantity>, name = "add")?;
    cel::add_member_overload!(env, fn sub: (CelQuantity, CelQuantity) -> Result<CelQuantity>)?;
    cel::add_member_overload!(env, fn sub_int: (CelQuantity, CelInt) -> Result<CelQuantity>, name = "sub")?;
    cel::add_member_overload!(env, fn is_less_than: (CelQuantity, CelQuantity) -> CelBool)?;
    cel::add_member_overload!(env, fn is_greater_than: (CelQuantity, CelQuantity) -> CelBool)?;
    cel::add_member_overload!(env, fn compare_to: (CelQuantity, CelQuantity) -> CelInt)
}

fn fault(function: &str, message: &str) -> ExecutionError {
    ExecutionError::function_error(function, message)
}

fn quantity(text: &CelString<'_>) -> Result<CelQuantity, ExecutionError> {
    Quantity::parse(text.inner()).map(CelQuantity).ok_or_else(|| fault("quantity", "the text is no quantity"))
}

fn is_quantity(text: &CelString<'_>) -> CelBool {
    CelBool::from(Quantity::parse(text.inner()).is_some())
}

fn integer(quantity: &CelQuantity) -> Option<i64> {
    let milli = quantity.0.milli;
    (milli % 1000 == 0).then_some(milli / 1000).and_then(|whole| i64::try_from(whole).ok())
}

fn is_integer(quantity: &CelQuantity) -> CelBool {
    CelBool::from(integer(quantity).is_some())
}

fn as_integer(quantity: &CelQuantity) -> Result<CelInt, ExecutionError> {
    integer(quantity).map(CelInt::from).ok_or_else(|| fault("asInteger", "the quantity is no 64-bit integer"))
}

fn as_approximate_float(quantity: &CelQuantity) -> CelDouble {
    CelDouble::from(quantity.0.as_f64())
}

fn sign(quantity: &CelQuantity) -> CelInt {
    CelInt::from(i64::try_from(quantity.0.milli.signum()).unwrap_or_default())
}

fn combine(function: &str, a: i128, b: Option<i128>) -> Result<CelQuantity, ExecutionError> {
    b.and_then(|b| a.checked_add(b))
        .map(|milli| CelQuantity(Quantity { milli }))
        .ok_or_else(|| fault(function, "overflow"))
}

fn add(a: &CelQuantity, b: &CelQuantity) -> Result<CelQuantity, ExecutionError> {
    combine("add", a.0.milli, Some(b.0.milli))
}

fn add_int(a: &CelQuantity, b: &CelInt) -> Result<CelQuantity, ExecutionError> {
    combine("add", a.0.milli, i128::from(*b.inner()).checked_mul(1000))
}

fn sub(a: &CelQuantity, b: &CelQuantity) -> Result<CelQuantity, ExecutionError> {
    combine("sub", a.0.milli, b.0.milli.checked_neg())
}

fn sub_int(a: &CelQuantity, b: &CelInt) -> Result<CelQuantity, ExecutionError> {
    combine("sub", a.0.milli, i128::from(*b.inner()).checked_mul(-1000))
}

fn is_less_than(a: &CelQuantity, b: &CelQuantity) -> CelBool {
    CelBool::from(a.0 < b.0)
}

fn is_greater_than(a: &CelQuantity, b: &CelQuantity) -> CelBool {
    CelBool::from(a.0 > b.0)
}

fn compare_to(a: &CelQuantity, b: &CelQuantity) -> CelInt {
    CelInt::from(a.0.cmp(&b.0) as i64)
}
