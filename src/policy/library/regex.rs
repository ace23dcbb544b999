//! `matches`, `find` and `findAll`. Source: cel-go's `matches` and k8s.io/apiserver/pkg/cel/library/regex.go; the syntax
//! is RE2's as Go has it (regexp/syntax in Go's library).
//!
//! Rust's `regex` is linear in time as Go's RE2 is; the compiled size is bounded here. Its syntax differs, so that
//! patterns are rewritten first ([`from_re2`]): what means something else there (`\d` is ASCII in RE2, `&&` is no
//! operator in a class) would let pass what an API server refuses.

use cel::common::ast::{CallExpr, Expr};
use cel::common::types::{CelBool, CelInt, CelList, CelString, STRING_TYPE};
use cel::common::value::{CowVal, Val};
use cel::parser::Macro;
use cel::{DeclarationError, Env, ExecutionError};
use std::cell::RefCell;
use std::collections::HashMap;
use std::iter::Peekable;
use std::str::Chars;

/// Compiled size of one expression, in bytes: counted Unicode classes take some.
const SIZE_LIMIT: usize = 32 << 20;
/// RE2's limit of a repetition.
const MOST_REPEATED: u32 = 1000;

/// Stands for the interpreter's own function, which cannot be replaced. No expression can write the name.
pub(in crate::policy) const MATCHES: &str = "@matches";

/// Adds the functions.
pub(in crate::policy) fn register(env: &mut Env) -> Result<(), DeclarationError> {
    cel::add_member_overload!(env, fn find: (CelString, CelString) -> Result<CelString>)?;
    cel::add_member_overload!(env, fn find_all: (CelString, CelString) -> Result<CelList>)?;
    cel::add_member_overload!(env, fn find_some: (CelString, CelString, CelInt) -> Result<CelList>, name = "findAll")?;
    env.add_overload(MATCHES, "@matches(string,string)", vec![STRING_TYPE, STRING_TYPE], matches)?;
    // `text.matches(pattern)` and `matches(text, pattern)`.
    env.add_macro(Macro::receiver("matches", 1, |helper, target, args| {
        let args = target.take().into_iter().chain(std::mem::take(args)).collect();
        Ok(Some(helper.next_expr(Expr::Call(CallExpr { func_name: MATCHES.to_owned(), target: None, args }))))
    }))?;
    env.add_macro(Macro::global("matches", 2, |helper, _, args| {
        let args = std::mem::take(args);
        Ok(Some(helper.next_expr(Expr::Call(CallExpr { func_name: MATCHES.to_owned(), target: None, args }))))
    }))
}

/// Patterns that a thread remembers: a policy asks for the same ones again for every object.
const REMEMBERED: usize = 8;

thread_local! {
    static PATTERNS: RefCell<HashMap<String, regex::Regex>> = RefCell::default();
}

fn compile(function: &str, pattern: &str) -> Result<regex::Regex, ExecutionError> {
    if let Some(known) = PATTERNS.with_borrow(|known| known.get(pattern).cloned()) {
        return Ok(known);
    }
    let regex = translated(function, pattern)?;
    PATTERNS.with_borrow_mut(|known| {
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(pattern.to_owned(), regex.clone());
    });
    Ok(regex)
}

fn translated(function: &str, pattern: &str) -> Result<regex::Regex, ExecutionError> {
    let built = from_re2(pattern)
        .and_then(|pattern| regex::RegexBuilder::new(&pattern).size_limit(SIZE_LIMIT).build().map_err(|_| INVALID));
    built.map_err(|why| ExecutionError::function_error(function, why))
}

/// Why a pattern is not taken, where nothing more is to be said.
const INVALID: &str = "the pattern is no valid regular expression, or too large";

#[expect(clippy::needless_pass_by_value, reason = "the signature of a CEL function")]
fn matches<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let texts: Vec<&CelString<'_>> = args.iter().filter_map(|arg| arg.downcast_ref::<CelString>()).collect();
    let [text, pattern] = texts.as_slice() else {
        return Err(ExecutionError::function_error("matches", "two texts are needed"));
    };
    Ok(CowVal::owned(CelBool::from(compile("matches", pattern.inner())?.is_match(text.inner()))))
}

fn find(text: &CelString<'_>, pattern: &CelString<'_>) -> Result<CelString<'static>, ExecutionError> {
    let found = compile("find", pattern.inner())?.find(text.inner()).map(|m| m.as_str().to_owned());
    Ok(CelString::from(found.unwrap_or_default()))
}

fn find_all(text: &CelString<'_>, pattern: &CelString<'_>) -> Result<CelList<'static>, ExecutionError> {
    take(text, pattern, usize::MAX)
}

fn find_some(text: &CelString<'_>, pattern: &CelString<'_>, n: &CelInt) -> Result<CelList<'static>, ExecutionError> {
    // Negative means all, as Go's FindAllString has it.
    take(text, pattern, usize::try_from(*n.inner()).unwrap_or(usize::MAX))
}

fn take(text: &CelString<'_>, pattern: &CelString<'_>, n: usize) -> Result<CelList<'static>, ExecutionError> {
    let found: Vec<Box<dyn Val>> = compile("findAll", pattern.inner())?
        .find_iter(text.inner())
        .take(n)
        .map(|m| Box::new(CelString::from(m.as_str().to_owned())) as Box<dyn Val>)
        .collect();
    Ok(CelList::from(found))
}

/// A pattern in Go's RE2 syntax, in that of Rust's `regex`.
///
/// # Errors
/// What RE2 refuses and `regex` would take for something else. What both refuse is left to `regex`.
pub(in crate::policy) fn from_re2(pattern: &str) -> Result<String, &'static str> {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern.chars().peekable();
    // What came last was a repetition: RE2 takes no second one.
    let mut repeated = false;
    while let Some(c) = rest.next() {
        let mut repeats = false;
        match c {
            '\\' => escape(&mut rest, &mut out)?,
            '[' => class(&mut rest, &mut out)?,
            '*' | '+' | '?' => {
                out.push(c);
                repeats = true;
            }
            '{' => match bounds(&rest) {
                Some((text, length)) => {
                    if text.split(',').filter_map(|n| n.parse::<u32>().ok()).any(|n| n > MOST_REPEATED)
                        || text.split(',').any(|n| n.len() > 4)
                    {
                        return Err("a repetition in the pattern is above 1000");
                    }
                    out.push('{');
                    out.push_str(&text);
                    out.push('}');
                    rest.nth(length);
                    repeats = true;
                }
                None => out.push_str("\\{"),
            },
            '}' => out.push_str("\\}"),
            '(' => {
                out.push('(');
                group(&rest)?;
            }
            c => out.push(c),
        }
        if repeats {
            if repeated {
                return Err("the pattern repeats a repetition, like `a**`");
            }
            if rest.next_if_eq(&'?').is_some() {
                out.push('?');
            }
        }
        // A `?` of a group, `(?:`, is no repetition.
        if c == '(' && rest.next_if_eq(&'?').is_some() {
            out.push('?');
        }
        repeated = repeats;
    }
    Ok(out)
}

/// What follows `{`, where it is a repetition: `3`, `3,` or `3,5`, and its length with `}`.
fn bounds(rest: &Peekable<Chars<'_>>) -> Option<(String, usize)> {
    let text: String = rest.clone().take_while(|c| *c != '}').collect();
    let closed = rest.clone().nth(text.chars().count()) == Some('}');
    // No leading zeros: `x{01}` is text.
    let number = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) && (part == "0" || !part.starts_with('0'))
    };
    let fits = match text.split_once(',') {
        None => number(&text),
        Some((from, to)) => number(from) && (to.is_empty() || number(to)),
    };
    let length = text.chars().count();
    (closed && fits).then_some((text, length))
}

/// Refuses flags that only `regex` has: what follows `(`.
fn group(rest: &Peekable<Chars<'_>>) -> Result<(), &'static str> {
    let mut rest = rest.clone();
    if rest.next() != Some('?') {
        return Ok(());
    }
    let flags: String = rest.take_while(|c| *c != ':' && *c != ')').collect();
    let named = flags.starts_with("P<") || flags.starts_with('<');
    if named || flags.chars().all(|c| "imsU-".contains(c)) {
        return Ok(());
    }
    Err("the pattern has a group like `(?x)` that RE2 does not know")
}

/// The classes of Perl, which are ASCII in RE2: as what stands between brackets, and whether it is all else.
fn perl_class(letter: char) -> Option<(&'static str, bool)> {
    let class = match letter.to_ascii_lowercase() {
        'd' => "0-9",
        's' => r"\t\n\x0C\r\x20",
        'w' => "0-9A-Za-z_",
        _ => return None,
    };
    Some((class, letter.is_ascii_uppercase()))
}

/// What follows a backslash, outside of brackets.
fn escape(rest: &mut Peekable<Chars<'_>>, out: &mut String) -> Result<(), &'static str> {
    let Some(&letter) = rest.peek() else { return Err(INVALID) };
    if let Some((class, not)) = perl_class(letter) {
        rest.next();
        out.push_str(if not { "[^" } else { "[" });
        out.push_str(class);
        out.push(']');
        return Ok(());
    }
    match letter {
        'Q' => {
            rest.next();
            while let Some(c) = rest.next() {
                if c == '\\' && rest.next_if_eq(&'E').is_some() {
                    break;
                }
                literal(c, out);
            }
        }
        'b' | 'B' => {
            rest.next();
            out.push_str(if letter == 'b' { r"(?-u:\b)" } else { r"(?-u:\B)" });
        }
        'A' | 'z' => {
            rest.next();
            out.push('\\');
            out.push(letter);
        }
        'p' | 'P' => property(rest, out),
        _ => literal(character(rest)?, out),
    }
    Ok(())
}

/// A Unicode class, `\pL` or `\p{Greek}`, with `^` in it as its opposite.
fn property(rest: &mut Peekable<Chars<'_>>, out: &mut String) {
    let mut upper = rest.next() == Some('P');
    let mut name = String::new();
    match rest.next() {
        Some('{') => {
            upper ^= rest.next_if_eq(&'^').is_some();
            name.extend(rest.by_ref().take_while(|c| *c != '}'));
        }
        Some(letter) => name.push(letter),
        None => {}
    }
    out.push_str(if upper { r"\P{" } else { r"\p{" });
    // RE2 knows names, and no `key=value`.
    out.extend(name.chars().filter(|c| c.is_alphanumeric() || *c == '_'));
    out.push('}');
}

/// One escaped character: what follows a backslash, as `parseEscape` in regexp/syntax reads it.
fn character(rest: &mut Peekable<Chars<'_>>) -> Result<char, &'static str> {
    const UNKNOWN: &str = "the pattern has an escape that RE2 does not know";
    let letter = rest.next().ok_or(INVALID)?;
    let of = |code: u32| char::from_u32(code).ok_or(UNKNOWN);
    match letter {
        '0'..='7' => {
            let octal = |rest: &mut Peekable<Chars<'_>>| rest.next_if(|c| ('0'..='7').contains(c));
            let mut code = letter.to_digit(8).unwrap_or_default();
            // One digit alone would refer back to a group.
            let mut more = if letter == '0' { 2 } else { 0 };
            if letter != '0' {
                code = code * 8 + octal(rest).and_then(|c| c.to_digit(8)).ok_or(UNKNOWN)?;
                more = 1;
            }
            for _ in 0..more {
                let Some(digit) = octal(rest).and_then(|c| c.to_digit(8)) else { break };
                code = code * 8 + digit;
            }
            of(code)
        }
        'x' => {
            let braced = rest.peek() == Some(&'{');
            let digits: String = if rest.next_if_eq(&'{').is_some() {
                rest.by_ref().take_while(|c| *c != '}').collect()
            } else {
                rest.by_ref().take(2).collect()
            };
            if (!braced && digits.len() != 2) || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                return Err(UNKNOWN);
            }
            of(u32::from_str_radix(&digits, 16).map_err(|_| UNKNOWN)?)
        }
        'a' => Ok('\x07'),
        'f' => Ok('\x0C'),
        'n' => Ok('\n'),
        'r' => Ok('\r'),
        't' => Ok('\t'),
        'v' => Ok('\x0B'),
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => Ok(c),
        _ => Err(UNKNOWN),
    }
}

/// A character that means itself.
fn literal(c: char, out: &mut String) {
    use std::fmt::Write as _;
    if c.is_ascii() && !c.is_ascii_alphanumeric() {
        let _ = write!(out, "\\x{{{:X}}}", u32::from(c));
    } else {
        out.push(c);
    }
}

/// What stands in brackets, after `[`: single characters, ranges, and classes. All else that has a meaning in `regex`
/// (`&&`, `~~`, `--`, brackets in brackets) means itself.
fn class(rest: &mut Peekable<Chars<'_>>, out: &mut String) -> Result<(), &'static str> {
    out.push('[');
    if rest.next_if_eq(&'^').is_some() {
        out.push('^');
    }
    let mut first = true;
    loop {
        let Some(&c) = rest.peek() else { return Err(INVALID) };
        if c == ']' && !first {
            rest.next();
            out.push(']');
            return Ok(());
        }
        first = false;
        if c == '[' && posix(rest, out)? {
            continue;
        }
        if c == '\\' {
            let mut ahead = rest.clone();
            ahead.next();
            let letter = ahead.peek().copied().unwrap_or_default();
            if let Some((class, not)) = perl_class(letter) {
                *rest = ahead;
                rest.next();
                out.push_str(if not { "[^" } else { "" });
                out.push_str(class);
                out.push_str(if not { "]" } else { "" });
                continue;
            }
            if letter == 'p' || letter == 'P' {
                *rest = ahead;
                property(rest, out);
                continue;
            }
        }
        let low = member(rest)?;
        let mut ahead = rest.clone();
        if ahead.next() == Some('-') && ahead.peek().is_some_and(|c| *c != ']') {
            *rest = ahead;
            let high = member(rest)?;
            if high < low {
                return Err("a range in the pattern ends before it begins");
            }
            literal(low, out);
            out.push('-');
            literal(high, out);
        } else {
            literal(low, out);
        }
    }
}

/// One character of a class.
fn member(rest: &mut Peekable<Chars<'_>>) -> Result<char, &'static str> {
    match rest.next().ok_or(INVALID)? {
        '\\' => character(rest),
        c => Ok(c),
    }
}

/// `[:alpha:]` in a class, which both know; false where it is none.
fn posix(rest: &mut Peekable<Chars<'_>>, out: &mut String) -> Result<bool, &'static str> {
    use std::fmt::Write as _;
    const NAMES: [&str; 14] = [
        "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper",
        "word", "xdigit",
    ];
    let text: String = rest.clone().take(12).collect();
    let Some((name, _)) = text.strip_prefix("[:").and_then(|rest| rest.split_once(":]")) else { return Ok(false) };
    if !NAMES.contains(&name.trim_start_matches('^')) {
        return Err("the pattern has a class like `[:foo:]` that RE2 does not know");
    }
    let _ = write!(out, "[:{name}:]");
    rest.nth(name.chars().count() + 3);
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_match(pattern: &str, text: &str) -> Option<bool> {
        compile("matches", pattern).ok().map(|regex| regex.is_match(text))
    }

    /// What Go's regexp says; `None` where it does not compile.
    #[test]
    fn patterns_mean_what_they_mean_to_go() {
        for (pattern, text, expected) in [
            (r"^\w+$", "admin", Some(true)),
            (r"^\w+$", "\u{430}dmin", Some(false)),
            (r"^\d+$", "\u{663}\u{664}", Some(false)),
            (r"^\D+$", "\u{663}\u{664}", Some(true)),
            (r"^[\w.-]+$", "a.b-c_1", Some(true)),
            (r"^[\w.-]+$", "\u{e9}", Some(false)),
            (r"^[^\d]$", "\u{663}", Some(true)),
            (r"^[\D]$", "5", Some(false)),
            (r"^\s$", "\u{a0}", Some(false)),
            (r"^\s$", "\u{b}", Some(false)),
            (r"^\s\S\W$", " a-", Some(true)),
            (r"\bx\b", "\u{e9}x\u{e9}", Some(true)),
            (r"\Bx", "ax", Some(true)),
            (r"^[a&&b]+$", "&a", Some(true)),
            (r"^[a~~b]+$", "~", Some(true)),
            (r"^[[a]+]$", "[[]", Some(true)),
            (r"^[[]$", "[", Some(true)),
            (r"^[]a]+$", "]a", Some(true)),
            (r"^[^]a]$", "]", Some(false)),
            (r"^[a-]+$", "-a", Some(true)),
            (r"^[a-c-z]+$", "b-z", Some(true)),
            (r"[a--b]", "a", None),
            (r"^\Qa.b\E+$", "a.bb", Some(true)),
            (r"^\Qa.b", "axb", Some(false)),
            (r"^x{,3}$", "x{,3}", Some(true)),
            (r"^x{2,3}$", "xxx", Some(true)),
            (r"^x{2}?y", "xxy", Some(true)),
            (r"^{$", "{", Some(true)),
            (r"^a}$", "a}", Some(true)),
            (r"a{1001}", "a", None),
            (r"a{1000}", "a", Some(false)),
            (r"a**", "a", None),
            (r"a*?", "a", Some(true)),
            (r"a*??", "a", None),
            (r"a+{2}", "a", None),
            (r"(a*)*", "a", Some(true)),
            (r"(?x)a", "a", None),
            (r"(?u)a", "a", None),
            (r"(?i)A", "a", Some(true)),
            (r"(?i:A)(?P<n>b)(?<m>c)(?:d)?", "abc", Some(true)),
            (r"(?i-s)a", "A", Some(true)),
            (r"\u0061", "a", None),
            (r"\x61\x{62}\141", "aba", Some(true)),
            (r"(a)\1", "aa", None),
            (r"\0", "\0", Some(true)),
            (r"^\<a\>$", "<a>", Some(true)),
            (r"^\_\-\/\.$", "_-/.", Some(true)),
            (r"\h", "h", None),
            (r"\Z", "", None),
            (r"\Aa\z", "a", Some(true)),
            (r"^\pL\p{Greek}\P{L}\p{^L}$", "a\u{3b1}11", Some(true)),
            (r"^[\pL\d]+$", "a\u{3b1}1", Some(true)),
            (r"^[[:alpha:]_]+$", "a_", Some(true)),
            (r"^[[:^alpha:]]+$", "1", Some(true)),
            (r"^[\b]$", "b", None),
            (r"^[\n\t\x41\]\\^-]+$", "\n\tA]\\^-", Some(true)),
            (r"[", "a", None),
            (r"a\", "a", None),
            (r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$", "a-b.c", Some(true)),
            (r"^# x$", "# x", Some(true)),
            (r"^[[:]]$", ":]", Some(true)),
            (r"[[:foo:]]", "f", None),
            (r"^x{01}$", "x{01}", Some(true)),
            (r"\xA", "a", None),
            (r"\x+A", "a", None),
            (r"^[\p{L}\p{N} ._-]{1,253}$", "a b", Some(true)),
        ] {
            assert_eq!(is_match(pattern, text), expected, "{pattern} on {text:?}: {:?}", from_re2(pattern));
        }
    }
}
