//! A CEL expression, compiled and checked.
//!
//! In: text and the names it may use. Out: something that can only fail on values, never on names: a function that does
//! not exist, a variable that is not defined (or defined later), an unknown root are errors here.

use super::cost;
use super::environment::{GLOBAL_FUNCTIONS, MEMBER_FUNCTIONS, TYPE_NAMES, environment};
use super::message::parse_fault;
use super::nothing::Nothing;
use super::types::Type;
use super::typing::type_of;
use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, operators};
use cel::common::value::CowVal;
use cel::{Context, ExecutionError, Value};

/// Length of one expression in bytes. Policies in the wild stay below 2 KiB.
const MAX_LENGTH: usize = 8 * 1024;

/// Stack for compiling the longest expression, in bytes; only what is touched takes memory.
const STACK: usize = 256 << 20;

/// Nesting of one expression; evaluation recurses as deep as the expression is.
const MAX_DEPTH: usize = 250;

/// Operators, which the parser turns into calls.
const OPERATORS: &[&str] = &[
    operators::CONDITIONAL,
    operators::LOGICAL_AND,
    operators::LOGICAL_OR,
    operators::LOGICAL_NOT,
    operators::SUBSTRACT,
    operators::ADD,
    operators::MULTIPLY,
    operators::DIVIDE,
    operators::MODULO,
    operators::EQUALS,
    operators::NOT_EQUALS,
    operators::GREATER_EQUALS,
    operators::LESS_EQUALS,
    operators::GREATER,
    operators::LESS,
    operators::NEGATE,
    operators::INDEX,
    operators::OPT_INDEX,
    operators::OPT_SELECT,
    operators::NOT_STRICTLY_FALSE,
    operators::IN,
];

/// What every expression of a policy sees.
const ROOTS: &[&str] = &["object", "oldObject", "request", "namespaceObject"];

/// What expressions see of a policy that has parameters.
const PARAMS: &str = "params";

/// What an API server leaves empty in a match condition (cel/matcher in k8s.io/apiserver).
const NAMESPACE: &str = "namespaceObject";

/// A variable of a policy, as expressions after it see it.
#[derive(Debug, Clone)]
pub(super) struct Variable {
    pub name: String,
    pub kind: Type,
}

/// The names that an expression may use besides those that all may.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Names<'a> {
    /// The policy's variables; none where it is `None`: match conditions have none.
    pub variables: Option<&'a [Variable]>,
    /// Whether there is `params`.
    pub params: bool,
}

/// The prefix under which a policy's variables are bound, as qualified names.
pub(super) const VARIABLES: &str = "variables";

/// A compiled expression.
#[derive(Debug, Clone)]
pub(super) struct Expression {
    /// As written, without surrounding white space.
    pub source: String,
    ast: IdedExpr,
    /// Variables it reads.
    pub reads: Vec<String>,
    /// Of which type its value is, as far as that is certain.
    pub kind: Type,
    /// Its line in the policy's file, where that is known.
    pub line: Option<u32>,
}

impl Expression {
    /// Compiles `source`, which may use `names`.
    pub(super) fn compile(source: &str, names: Names<'_>) -> Result<Self, String> {
        if source.len() > MAX_LENGTH {
            return Err(format!("the expression has {} bytes, the limit is {MAX_LENGTH}", source.len()));
        }
        // A chain such as `1 + 1 + …` is parsed, and its tree dropped, as deep as it is long: on a stack that holds it.
        let compiling = || Self::compile_here(source, names);
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, compiling);
            let thread = thread.map_err(|error| format!("no thread could be started to compile it: {error}"))?;
            thread.join().unwrap_or_else(|_| Err("the parser failed on it".into()))
        })
    }

    fn compile_here(source: &str, names: Names<'_>) -> Result<Self, String> {
        let env = environment().ok_or("the expression environment could not be built")?;
        let mut ast = env.parser().parse(source).map_err(|errors| parse_fault(&errors))?;
        let mut check = Check { names, scopes: Vec::new(), reads: Vec::new(), depth: 0 };
        check.expr(&ast)?;
        let reads = check.reads;
        let kind = type_of(&ast, names)?;
        cost::count_steps(&mut ast);
        Nothing::in_literals(&mut ast);
        Ok(Self { source: source.trim().to_owned(), ast, reads, kind, line: None })
    }

    /// Evaluates it.
    pub(super) fn evaluate<'e, 'v>(&'e self, context: &'e Context<'_, 'v>) -> Result<CowVal<'e, 'v>, ExecutionError> {
        cost::within_limit(|| Value::resolve_val(&self.ast, context))
    }
}

/// A walk over the syntax tree with the names in scope.
struct Check<'a> {
    names: Names<'a>,
    scopes: Vec<&'a str>,
    reads: Vec<String>,
    depth: usize,
}

impl<'a> Check<'a> {
    fn expr(&mut self, node: &'a IdedExpr) -> Result<(), String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("the expression is nested more than {MAX_DEPTH} deep"));
        }
        let outcome = self.node(&node.expr);
        self.depth -= 1;
        outcome
    }

    fn all(&mut self, nodes: impl IntoIterator<Item = &'a IdedExpr>) -> Result<(), String> {
        nodes.into_iter().try_for_each(|node| self.expr(node))
    }

    fn node(&mut self, expr: &'a Expr) -> Result<(), String> {
        match expr {
            Expr::Unspecified => Err("the expression is empty".into()),
            Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.ident(name),
            Expr::Call(call) => self.call(call),
            Expr::List(list) => self.all(&list.elements),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => self.all([&entry.key, &entry.value]),
                EntryExpr::StructField(field) => self.expr(&field.value),
            }),
            Expr::Struct(object) => Err(format!("the type {} cannot be constructed", object.type_name)),
            Expr::Select(select) => match &select.operand.expr {
                Expr::Ident(root) if root == VARIABLES && !self.in_scope(root) => {
                    if select.test {
                        return Err(format!(
                            "has(variables.{}) is not supported: a variable is always there",
                            select.field
                        ));
                    }
                    self.variable(&select.field)
                }
                _ => self.expr(&select.operand),
            },
            Expr::Comprehension(loop_) => {
                self.all([&loop_.iter_range, &loop_.accu_init])?;
                let before = self.scopes.len();
                self.scopes.push(&loop_.iter_var);
                self.scopes.extend(loop_.iter_var2.as_deref());
                self.scopes.push(&loop_.accu_var);
                let outcome = self.all([&loop_.loop_cond, &loop_.loop_step, &loop_.result]);
                self.scopes.truncate(before);
                outcome
            }
        }
    }

    fn in_scope(&self, name: &str) -> bool {
        self.scopes.contains(&name)
    }

    fn ident(&self, name: &str) -> Result<(), String> {
        if name == NAMESPACE && self.names.variables.is_none() && !self.in_scope(name) {
            return Err(format!(
                "{name} is empty in a match condition on an API server; read it in a variable or a validation"
            ));
        }
        if self.in_scope(name) || ROOTS.contains(&name) || TYPE_NAMES.contains(&name) {
            return Ok(());
        }
        Err(match name {
            PARAMS if self.names.params => return Ok(()),
            PARAMS => "params is not defined: the policy has no spec.paramKind".into(),
            "authorizer" => "authorizer is not supported: there is no API server to ask before a plan is made".into(),
            VARIABLES if self.names.variables.is_none() => "variables cannot be used in a match condition".into(),
            VARIABLES => "variables can only be used as variables.NAME".into(),
            _ => format!("{name} is not defined; there are {} and variables.NAME", ROOTS.join(", ")),
        })
    }

    fn variable(&mut self, name: &str) -> Result<(), String> {
        let Some(known) = self.names.variables else {
            return Err("variables cannot be used in a match condition".into());
        };
        if !known.iter().any(|variable| variable.name == name) {
            return Err(format!("variables.{name} is not defined before it is used"));
        }
        if !self.reads.iter().any(|read| read == name) {
            self.reads.push(name.to_owned());
        }
        Ok(())
    }

    fn call(&mut self, call: &'a CallExpr) -> Result<(), String> {
        let name = call.func_name.as_str();
        match &call.target {
            None if OPERATORS.contains(&name) || GLOBAL_FUNCTIONS.contains(&name) => {}
            None => return Err(format!("there is no function {name}()")),
            Some(target) => {
                let qualified = qualified_name(&target.expr).map(|prefix| format!("{prefix}.{name}"));
                if qualified.is_some_and(|qualified| GLOBAL_FUNCTIONS.contains(&qualified.as_str())) {
                    return self.all(&call.args);
                }
                self.expr(target)?;
                if !MEMBER_FUNCTIONS.contains(&name) {
                    return Err(format!(
                        "there is no function {name}() to call on a value, or not with {} arguments",
                        call.args.len()
                    ));
                }
            }
        }
        self.all(&call.args)
    }
}

/// `a.b.c` as text.
pub(super) fn qualified_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Ident(name) => Some(name.clone()),
        Expr::Select(select) if !select.test => {
            Some(format!("{}.{}", qualified_name(&select.operand.expr)?, select.field))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::nothing::NAME;
    use crate::policy::types::{DYN, INT, STRING};
    use crate::policy::value::to_cel;
    use serde_json::json;

    fn holds(source: &str) -> Result<bool, String> {
        let expression = Expression::compile(source, Names { variables: Some(&[]), params: false })?;
        let object = json!({"metadata": {"name": "web", "annotations": {"a.b/c": "yes", "n": "3"}}, "none": null,
            "spec": {"replicas": 3, "ratio": 3.0, "list": [1, 2, 3], "words": ["b", "a"], "empty": []}});
        let mut context = Context::with_env(environment().unwrap());
        context.add_variable_as_val("object", to_cel(&object).unwrap());
        context.add_variable_as_val(NAME, Box::new(Nothing));
        let value = expression.evaluate(&context).map_err(|e| e.to_string())?;
        value.downcast_ref::<cel::common::types::CelBool>().map(|b| *b.inner()).ok_or_else(|| format!("{value:?}"))
    }

    #[test]
    fn semantics() {
        for source in [
            // what other evaluators got wrong
            "object.metadata.annotations['a.b/c'] == 'yes'",
            "dyn(3) == 3.0",
            "object.spec.replicas == object.spec.ratio",
            "object.spec.replicas - 5 == -2",
            "1 in object.spec.list && 2.0 in object.spec.list",
            // presence
            "!has(object.spec.missing)",
            "!has(object.metadata.labels)",
            "has(object.none) && object.none == null && null == object.none && type(object.none) == null_type",
            "!has(object.none.x) && !has(dyn(null).x) && object.none.?x.orValue(1) == 1 && object.none in [null] && [null] == [object.none]",
            "object.none != 1 && !(object.none == false) && {'a': null}.a == null && optional.ofNonZeroValue(null).hasValue() == false",
            "!has(object.metadata.labels) || object.metadata.labels.x == 'y'",
            "object.?spec.?missing.orValue('d') == 'd'",
            "object.metadata.?annotations[?'a.b/c'].orValue('') == 'yes'",
            "object.?metadata.?labels.hasValue() == false",
            "optional.none().or(optional.of(1)).value() == 1",
            "'a.b/c' in object.metadata.annotations",
            "object.spec.?missing[?'x'].optMap(v, v + '!').orValue('none') == 'none'",
            // macros
            "object.spec.list.all(i, i > 0) && object.spec.list.exists(i, i == 2) && object.spec.list.exists_one(i, i == 2)",
            "object.spec.list.map(i, i * 2) == [2, 4, 6] && object.spec.list.filter(i, i > 1) == [2, 3]",
            "object.metadata.annotations.all(k, k.size() > 0)",
            "object.spec.empty.all(x, x > 1) && !object.spec.empty.exists(x, x > 1)",
            "{'a': 1, 'a': 2} == {'a': 2} && {'a': 1, 'a': 2}.size() == 1",
            // an error is absorbed by the other side, in either order
            "object.spec.missing == 1 || true",
            "!(false && object.spec.missing == 1)",
            // strings
            "'a-b-c'.split('-').join('+') == 'a+b+c' && 'ABC'.lowerAscii() == 'abc' && 'abc'.upperAscii() == 'ABC'",
            "'a:b:c'.lastIndexOf(':') == 3 && 'abc'.indexOf('b') == 1 && 'abc'.charAt(1) == 'b' && ' x '.trim() == 'x'",
            "'abcd'.substring(1, 3) == 'bc' && 'aaa'.replace('a', 'b', 2) == 'bba' && 'a'.matches('^[a-z]$')",
            "'%s has %d'.format(['web', 3]) == 'web has 3'",
            "'image@sha256:0'.contains('@') && 'abc'.startsWith('a') && 'abc'.endsWith('c') && size('abc') == 3",
            // Kubernetes libraries
            "[1, 2, 3].isSorted() && ![2, 1].isSorted() && [1, 2, 3].sum() == 6 && [3, 1].min() == 1 && [3, 1].max() == 3",
            "[1, 2, 1].indexOf(1) == 0 && [1, 2, 1].lastIndexOf(1) == 2 && [1].indexOf(5) == -1 && [].sum() == 0",
            "'a1b22'.find('[0-9]+') == '1' && 'a1b22'.findAll('[0-9]+') == ['1', '22'] && 'abc'.find('x') == ''",
            "quantity('1Gi').isGreaterThan(quantity('500Mi')) && quantity('1000m').compareTo(quantity('1')) == 0",
            "isQuantity('1.5Gi') && !isQuantity('x') && quantity('2').add(1).asInteger() == 3 && sign(quantity('1m')) == 1",
            "quantity('1') == quantity('1000m') && quantity('500m').asApproximateFloat() == 0.5 && !quantity('1m').isInteger()",
            "sets.contains([1, 2], [2]) && sets.equivalent([1, 1], [1]) && sets.intersects([1], [1, 2]) && !sets.contains([1], [2])",
            "url('https://u@example.com:80/a?x=1&x=b%20c').getHost() == 'example.com:80' && !isURL('a b') && isURL('/a')",
            "url('https://[::1]:80/p').getHostname() == '::1' && url('https://[::1]:80/p').getPort() == '80'",
            "url('https://e.com/a%20b?x=1&x=b%20c').getQuery() == {'x': ['1', 'b c']} && url('https://e.com/p').getScheme() == 'https'",
            "ip('10.0.0.1').family() == 4 && isIP('::1') && !isIP('10.0.0.01') && ip('127.0.0.1').isLoopback()",
            "cidr('10.0.0.0/8').containsIP('10.1.2.3') && !cidr('10.0.0.0/8').containsIP(ip('11.0.0.1'))",
            "cidr('10.0.0.0/8').containsCIDR('10.1.0.0/16') && cidr('10.1.2.3/8').masked() == cidr('10.0.0.0/8')",
            "string(cidr('10.0.0.0/8').ip()) == '10.0.0.0' && cidr('0.0.0.0/0').prefixLength() == 0 && ip.isCanonical('::1')",
            "duration('1h').getMinutes() == 60 && timestamp('2024-01-01T00:00:00Z').getFullYear() == 2024",
            "type(object.spec.replicas) == int && type('a') == string && int('3') == 3 && string(3) == '3' && double(3) == 3.0",
            "[3, 1, 2].sort() == [1, 2, 3] && [[1], [2]].flatten() == [1, 2] && [1, 1].distinct() == [1] && lists.range(2) == [0, 1]",
            "semver('1.2.3-rc.1').isLessThan(semver('1.2.3')) && semver('v1.2', true).patch() == 0 && !isSemver('1.02.0')",
            "semver('1.0.0-2').compareTo(semver('1.0.0-10')) == -1 && semver('1.0.0+a') == semver('1.0.0+b') && !isSemver('1.0.0-')",
            "!format.dns1123Label().validate('web').hasValue() && format.named('uuid').hasValue() && !format.named('x').hasValue()",
            "format.named('dns1123Label').value().validate('a.b').value() == ['must not contain dots']",
            "[1, 2].first().value() == 1 && [1, 2].last().value() == 2 && [optional.of(1), optional.none()].unwrapOpt() == [1]",
            "{'a': 1}.all(k, v, k == 'a' && v == 1) && ![5].exists(i, v, i == 1) && [7, 8].existsOne(i, v, v == 7 + 2 * i)",
            "[1, 2, 3].transformList(i, v, i * v) == [0, 2, 6] && [1, 2].transformList(i, v, i > 0, v) == [2]",
            "{'a': 1, 'b': 2}.transformMap(k, v, k != 'a', v * 2) == {'b': 4} && {'a': 'b'}.transformMapEntry(k, v, {v: k}) == {'b': 'a'}",
            "[0, 1].exists(i, v, 1 / v == 1) && object.spec.list.all(i, v, [v].all(k, w, w == i + 1))",
            "[1, 2].reverse() == [2, 1] && '%s %.1f %e'.format([['a', 1.5], 1234.5, 0.0015]) == '[\"a\", 1.500000] 1,234.5 1.500000×10⁻⁰³' && strings.quote('a') == '\"a\"'",
            "dyn(1) == 1 && uint(1) == 1u && bytes('a') == b'a' && bool('true')",
        ] {
            assert_eq!(holds(source), Ok(true), "{source}");
        }
    }

    #[test]
    fn run_time_errors_are_errors() {
        for source in [
            "object.spec.missing == 1",
            "object.spec.list[9] == 1",
            "1 / 0 == 1",
            "sign(quantity('x')) == 0",
            "dyn('a') < 1",
            "{'a': 'x', 'b': 'x'}.transformMapEntry(k, v, {v: k}).size() == 1",
            "dyn('a').all(i, v, true)",
            "semver('1.0') == semver('1.0')",
            "dyn('abc').reverse() == ['cba']",
            "'%d'.format([dyn(1.5)]) == '1'",
            "format.named('nope').value().validate('x') == optional.none()",
        ] {
            assert!(holds(source).is_err(), "{source}");
        }
    }

    #[test]
    fn unknown_names_do_not_load() {
        for (source, part) in [
            ("objct.spec == 1", "objct is not defined"),
            ("object.spec.image.semver() == 1", "no function semver()"),
            ("sets.union([1], [2]) == []", "sets is not defined"),
            ("nope(1)", "no function nope()"),
            ("[1].all(i, i, true)", "duplicate variable name"),
            ("params == null", "params is not defined"),
            ("format.nope().validate('')", "format is not defined"),
            ("variables.x == 1", "variables.x is not defined"),
            ("variables == 1", "variables.NAME"),
            ("authorizer.group('').resource('pods').check('create').allowed()", "authorizer is not supported"),
            ("object.list.all(x) ", "no function all()"),
            ("true ? y : false", "y is not defined"),
            ("true || unknown(1)", "no function unknown()"),
            ("object.spec. == 1", ""),
            ("Foo{a: 1} == 1", "cannot be constructed"),
            ("{null: 1}.size() == 1", "a key of type null_type is not supported here"),
            ("1 + ", "at 1:5: mismatched input '<EOF>'"),
            (&format!("{}1{} == 1", "(".repeat(100), ")".repeat(100)), "the expression is nested more than 96 deep"),
        ] {
            let error = Expression::compile(source, Names { variables: Some(&[]), params: false }).expect_err(source);
            assert!(error.contains(part), "{source}: {error}");
        }
        assert!(Expression::compile(&"1+".repeat(9000), Names::default()).is_err());
    }

    #[test]
    fn what_an_api_server_refuses_by_type() {
        for (source, part) in [
            ("1 == 1.0", "'_==_' applied to '(int, double)'"),
            ("1 + 1.0 == 2.0", "'_+_' applied to '(int, double)'"),
            ("'a' + 1 == ''", "'_+_' applied to '(string, int)'"),
            ("{'a': 1} + {'b': 2} == {}", "'_+_' applied to '(map(string, int), map(string, int))'"),
            ("size('a') == 1u", "'(int, uint)'"),
            ("object.a.size() == 1u", "'(int, uint)'"),
            ("object.f + 1 == 2.0", "'(int, double)'"),
            ("sets.contains([1], [1.0])", "'sets.contains' applied to '(list(int), list(double))'"),
            ("[1, 'a', null][2] == null", "expected type 'int' but found 'string'"),
            ("[1, object.a].size() == 2", "expected type 'int' but found 'dyn'"),
            ("[1, [2, [3]]].flatten(2) == [1, 2, 3]", "expected type 'int' but found 'list(dyn)'"),
            ("{1: 'a', 1u: 'b'}.size() == 1", "expected type 'int' but found 'uint'"),
            ("[1, 2][1.0] == 2", "'_[_]' applied to '(list(int), double)'"),
            ("'abc'.reverse() == 'cba'", "'reverse' applied to 'string.()'; it takes list(A).()"),
            ("'a'.matches('a', 'b')", "there is no function matches() to call on a value, or not with 2 arguments"),
            ("1.startsWith('x')", "'startsWith' applied to 'int.(string)'"),
            ("string(quantity('1Gi')) == '1Gi'", "'string' applied to '(kubernetes.Quantity)'"),
            ("object.a && 1", "expected type 'bool' but found 'int'"),
            ("[1].all(x, x)", "expected type 'bool' but found 'int'"),
            ("object.all(k, v, 'a')", "expected type 'bool' but found 'string'"),
            ("[1].map(x, x).exists(x, x == 'a')", "'(int, string)'"),
            ("[1].transformList(i, v, 'a') == [1]", "'(list(string), list(int))'"),
            ("{'a': 1}.transformMap(k, v, v).a == 'x'", "'(int, string)'"),
            ("5.all(x, true)", "a value of type 'int' cannot be gone over"),
            ("'a'.b == 1", "type 'string' does not support field selection"),
            ("has(request.uid)", "undefined field 'uid'"),
            ("request.kind == 'ConfigMap'", "'(kubernetes.GroupVersionKind, string)'"),
            ("namespaceObject.metadata.labels.a == 1", "'(string, int)'"),
            ("object.a == 'x' ? 'bad' : null", "'_?_:_' applied to '(bool, string, null_type)'"),
            ("1 in ['a']", "'in' applied to '(int, list(string))'"),
            ("optional.of(1).orValue('a') == 1", "'orValue' applied to"),
            ("'%d'.format(['x']) == ''", "%d cannot be used on string"),
            ("'%s'.format([]) == ''", "there are 1 clauses and 0 values"),
            ("'%s'.format([1, 2]) == ''", "there are 1 clauses and 2 values"),
            ("'%5d'.format([1]) == ''", "unrecognized formatting clause"),
            ("'%f'.format([1]) == ''", "%f cannot be used on int"),
            ("object.a.matches('[')", "matches(): "),
            ("object.a.find('(') == ''", "find(): "),
            ("duration('1d') == duration('24h')", "duration(): "),
            ("timestamp('2024-01-01') > timestamp('2023-01-01T00:00:00Z')", "timestamp(): "),
            ("int('x') == 1", "int(): "),
            ("bool('yes')", "bool(): "),
        ] {
            let error = Expression::compile(source, Names { variables: Some(&[]), params: false }).expect_err(source);
            assert!(error.contains(part) && !error.contains('@'), "{source}: {error}");
        }
    }

    #[test]
    fn the_type_of_a_value_is_known_as_an_api_server_knows_it() {
        let known = [("x", INT), ("list", Type::list(STRING)), ("odd", DYN)];
        let known = known.map(|(name, kind)| Variable { name: name.to_owned(), kind });
        for (source, kind) in [
            ("object.a", "dyn"),
            ("object.a == 1", "bool"),
            ("[object.a][0]", "dyn"),
            ("[true].map(x, x)[0]", "bool"),
            ("[true].filter(x, x)[0]", "bool"),
            ("object.list.map(x, x.size())", "list(int)"),
            ("object.list.map(x, x)", "list(dyn)"),
            ("[]", "list(dyn)"),
            ("[] + [1]", "list(int)"),
            ("{}", "map(dyn, dyn)"),
            ("[[], [1]]", "list(list(int))"),
            ("[].max()", "int"),
            ("object.a + 1", "int"),
            ("object.a + object.b", "dyn"),
            ("object.?a", "optional_type(dyn)"),
            ("object.?a.orValue('')", "dyn"),
            ("object.?a.orValue('') + 'x'", "string"),
            ("optional.of('a').optMap(v, v.size())", "optional_type(int)"),
            ("object.?a.optMap(v, v + '!').orValue('none')", "string"),
            ("[int, type(1)]", "list(type(int))"),
            ("object.a.split(',').transformMap(i, v, i)", "map(int, int)"),
            ("{'a': 'b'}.transformMapEntry(k, v, {v: k})", "map(string, string)"),
            ("[{'n': 2}].sortBy(e, e.n)", "list(map(string, int))"),
            ("type(1) == string", "bool"),
            ("request.name", "string"),
            ("request.options.x", "dyn"),
            ("request.userInfo.extra['a']", "list(string)"),
            ("namespaceObject == null", "bool"),
            ("null", "null_type"),
            ("true ? null : request", "null_type"),
            ("url('http://a').getQuery()", "map(string, list(string))"),
            ("quantity('1').add(1).asInteger()", "int"),
            ("variables.x", "int"),
            ("variables.list[0]", "string"),
            ("variables.odd", "dyn"),
            ("'%s %d'.format(['a', 1])", "string"),
            ("duration('1h').getHours() > 1.5", "bool"),
            ("cidr('10.0.0.0/8').ip()", "net.IP"),
            ("dyn([1, 2])", "dyn"),
            ("google.protobuf.Timestamp == type(timestamp(0))", "bool"),
        ] {
            let compiled = Expression::compile(source, Names { variables: Some(&known), params: false });
            assert_eq!(compiled.map(|compiled| compiled.kind.to_string()), Ok(kind.to_owned()), "{source}");
        }
    }

    #[test]
    fn types_that_grow_end() {
        let doubled = format!("[1]{}.size() == 1", ".map(x, {x: x})".repeat(60));
        let error = Expression::compile(&doubled, Names::default()).unwrap_err();
        assert!(error.contains("is not supported here") && error.len() < 1000, "{error}");
        let nested = format!("{}1{}.size() == 1", "[".repeat(90), "]".repeat(90));
        assert!(Expression::compile(&nested, Names::default()).is_ok());
    }

    #[test]
    fn deep_and_long_expressions_are_refused_or_evaluated_but_do_not_crash() {
        for source in [
            format!("{}1{} == 1", "(".repeat(2000), ")".repeat(2000)),
            format!("{}0 == 0", "1+".repeat(4000)),
            format!("{}object == 0", "!".repeat(8000)),
            format!("{}1 == 0", "-".repeat(8000)),
            format!("object{} == 0", ".a".repeat(4000)),
            format!("object{} == 0", "[0]".repeat(2700)),
            format!("{}true", "true&&".repeat(1300)),
            format!("{}true", "true?true:".repeat(800)),
            format!("{}true{}", "[1].all(x,".repeat(600), ")".repeat(600)),
            format!("{}1{} == 1", "[".repeat(2000), "]".repeat(2000)),
        ] {
            assert!(source.len() <= MAX_LENGTH, "{} bytes", source.len());
            let judged = std::thread::Builder::new().stack_size(32 << 20).spawn(move || holds(&source).is_ok());
            assert!(judged.unwrap().join().is_ok());
        }
    }
}
