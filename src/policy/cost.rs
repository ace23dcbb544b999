//! What evaluating an expression costs, and when it is stopped: as the API server does it
//! (k8s.io/apiserver/pkg/apis/cel/config.go, cel-go's interpreter/runtimecost.go).
//!
//! The interpreter counts nothing. So every loop of an expression is given a call that pays for one step, when it is
//! compiled: what a step costs is read off its tree, a name, a field and a call for 1 each, a list for 10, a map for 30.
//! Only loops can make an expression expensive, and only they are counted. Of what may be skipped nothing is counted, nor
//! that long texts cost more: what a server evaluates to the end is never stopped here, and a little more is evaluated.

use super::library::loops;
use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};
use cel::common::types::{CelBool, CelInt, INT_TYPE};
use cel::common::value::CowVal;
use cel::{DeclarationError, Env, ExecutionError};
use std::cell::Cell;

/// What one evaluation of one expression may cost (`PerCallLimit`).
const LIMIT: u64 = 1_000_000;

/// The function that pays. No expression can write the name.
const STEP: &str = "@step";

const LIST: u64 = 10;
const MAP: u64 = 30;

thread_local! {
    /// What the evaluation that this thread is at has cost.
    static SPENT: Cell<u64> = const { Cell::new(0) };
}

/// Adds the function that pays.
pub(super) fn register(env: &mut Env) -> Result<(), DeclarationError> {
    env.add_overload(STEP, "@step(int)", vec![INT_TYPE], step)
}

/// Evaluates something within the limit. An error that it absorbed on the way counts all the same.
pub(super) fn within_limit<T>(evaluate: impl FnOnce() -> Result<T, ExecutionError>) -> Result<T, ExecutionError> {
    SPENT.set(0);
    let outcome = evaluate();
    if SPENT.get() > LIMIT { Err(exceeded()) } else { outcome }
}

fn exceeded() -> ExecutionError {
    ExecutionError::function_error("policy", "operation cancelled: actual cost limit exceeded")
}

#[expect(clippy::needless_pass_by_value, reason = "the signature of a CEL function")]
fn step<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let cost = args.first().and_then(|cost| cost.downcast_ref::<CelInt>()).map_or(1, |cost| *cost.inner());
    let spent = SPENT.get().saturating_add(u64::try_from(cost).unwrap_or(1));
    SPENT.set(spent);
    if spent > LIMIT { Err(exceeded()) } else { Ok(CowVal::owned(CelBool::from(true))) }
}

/// Gives every loop in an expression its call.
pub(super) fn count_steps(node: &mut IdedExpr) {
    match &mut node.expr {
        Expr::Call(call) => {
            call.target.iter_mut().map(|target| &mut **target).chain(&mut call.args).for_each(count_steps);
        }
        Expr::List(list) => list.elements.iter_mut().for_each(count_steps),
        Expr::Map(map) => map.entries.iter_mut().for_each(|entry| {
            if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                [&mut entry.key, &mut entry.value].into_iter().for_each(count_steps);
            }
        }),
        Expr::Select(select) => count_steps(&mut select.operand),
        Expr::Comprehension(walk) => {
            let cost = of(&walk.loop_cond) + of_step(&walk.loop_step);
            [&mut walk.iter_range, &mut walk.accu_init, &mut walk.loop_step, &mut walk.result]
                .into_iter()
                .for_each(count_steps);
            // What only names a value goes over nothing.
            if !matches!(&walk.loop_cond.expr, Expr::Literal(LiteralValue::Boolean(goes)) if !*goes.inner()) {
                pay(&mut walk.loop_step, cost);
            }
        }
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) => {}
    }
}

/// Puts the call where the interpreter still sees what kind of loop it is.
fn pay(step: &mut IdedExpr, cost: u64) {
    if let Expr::Call(call) = &mut step.expr {
        match (call.func_name.as_str(), call.args.as_mut_slice()) {
            (operators::LOGICAL_AND | operators::LOGICAL_OR, [_, body]) => return wrap(body, cost),
            (operators::CONDITIONAL, [condition, _, _]) => return wrap(condition, cost),
            (operators::ADD, [_, added]) => {
                if let Expr::List(list) = &mut added.expr
                    && let [item] = list.elements.as_mut_slice()
                {
                    return wrap(item, cost);
                }
            }
            _ => {}
        }
    }
    wrap(step, cost);
}

/// `@step(cost) ? EXPRESSION : false`: what cannot be paid for is not evaluated.
fn wrap(node: &mut IdedExpr, cost: u64) {
    let new = |expr: Expr| IdedExpr { id: node.id, expr };
    let call = |name: &str, args| Expr::Call(CallExpr { func_name: name.to_owned(), target: None, args });
    let cost = LiteralValue::Int(CelInt::from(i64::try_from(cost).unwrap_or(i64::MAX)));
    let paid = new(call(STEP, vec![new(Expr::Literal(cost))]));
    let refused = new(Expr::Literal(LiteralValue::Boolean(CelBool::from(false))));
    let inner = new(std::mem::take(&mut node.expr));
    node.expr = call(operators::CONDITIONAL, vec![paid, inner, refused]);
}

/// What one step costs at least: the other side of its own operator is always evaluated.
fn of_step(step: &IdedExpr) -> u64 {
    match &step.expr {
        Expr::Call(call) if [operators::LOGICAL_AND, operators::LOGICAL_OR].contains(&call.func_name.as_str()) => {
            call.args.iter().map(of).sum()
        }
        _ => of(step),
    }
}

/// What evaluating an expression once costs at least, apart from the steps of its loops.
fn of(node: &IdedExpr) -> u64 {
    match &node.expr {
        // Names that begin so are this interpreter's, but for the result of a loop.
        Expr::Ident(name) => u64::from(!name.starts_with('@') || name == "@result"),
        Expr::Select(select) => of(&select.operand) + u64::from(!select.test),
        Expr::Call(call) => of_call(call),
        Expr::List(list) if list.elements.iter().all(is_literal) => 0,
        Expr::List(list) => LIST + list.elements.iter().map(of).sum::<u64>(),
        Expr::Map(map) if map.entries.is_empty() => 0,
        Expr::Map(map) => {
            let entries = map.entries.iter().map(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => of(&entry.key) + of(&entry.value),
                EntryExpr::StructField(_) => 0,
            });
            MAP + entries.sum::<u64>()
        }
        Expr::Comprehension(walk) => of(&walk.iter_range) + of(&walk.accu_init) + of(&walk.result),
        Expr::Unspecified | Expr::Literal(_) | Expr::Struct(_) => 0,
    }
}

fn of_call(call: &CallExpr) -> u64 {
    match (call.func_name.as_str(), call.args.as_slice()) {
        (operators::LOGICAL_AND | operators::LOGICAL_OR, [first, _]) => of(first),
        (operators::CONDITIONAL, [condition, a, b]) => of(condition) + of(a).min(of(b)),
        (operators::INDEX, [entry, _]) if matches!(&entry.expr, Expr::Ident(name) if name == loops::ENTRY) => 0,
        (loops::ENTRIES, [range]) => of(range),
        (_, args) => 1 + call.target.iter().map(|target| of(target)).sum::<u64>() + args.iter().map(of).sum::<u64>(),
    }
}

fn is_literal(node: &IdedExpr) -> bool {
    matches!(node.expr, Expr::Literal(_))
}

#[cfg(test)]
mod tests {
    use crate::policy::environment::environment;
    use crate::policy::expression::{Expression, Names};
    use crate::policy::message;
    use crate::policy::value::to_cel;
    use cel::Context;
    use serde_json::json;

    /// What evaluating it says where it fails.
    fn said(expression: &str) -> Option<String> {
        let expression = Expression::compile(expression, Names::default()).unwrap();
        let mut context = Context::with_env(environment().unwrap());
        context.add_variable_as_val("object", to_cel(&json!({"metadata": {"name": "x"}})).unwrap());
        expression.evaluate(&context).err().map(|error| message::explain_for_secret(&error))
    }

    /// Each was put to an API server of 1.36, which answered so.
    #[test]
    fn a_server_stops_at_the_same_loops() {
        let list = "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]";
        let nested = |depth: usize, body: &str| {
            (0..depth).rev().fold(body.to_owned(), |inner, level| format!("{list}.all(v{level}, {inner})"))
        };
        for (expression, stops) in [
            (nested(5, "true"), false),
            (nested(6, "true"), true),
            ("lists.range(300).all(a, lists.range(300).all(b, a + b >= 0))".into(), false),
            ("lists.range(400).all(a, lists.range(400).all(b, a + b >= 0))".into(), true),
            ("lists.range(300).map(a, lists.range(300).map(b, a + b)).size() == 300".into(), true),
            ("lists.range(300).all(i, a, lists.range(300).all(j, b, a + b >= 0 && i == a))".into(), false),
            ("lists.range(400).all(a, lists.range(400).all(b, object.metadata.name != ''))".into(), true),
            ("lists.range(200).filter(a, lists.range(200).filter(b, a == b).size() == 1).size() == 200".into(), false),
            // An error that is outweighed is none, except for this one.
            (format!("{} || true", nested(6, "true")), true),
        ] {
            let said = said(&expression);
            let stop = "operation cancelled: actual cost limit exceeded";
            assert_eq!(said.as_deref(), stops.then_some(stop), "{expression}");
        }
    }
}
