//! A plan as a pull request's comment, to be read in a minute: what happens, then each object folded away.
//!
//! In: the report and both sides of its objects. Out: GitHub-flavoured Markdown within a length. It is cut between
//! objects, never inside a fence, and says how to see the rest.
//!
//! Invariant: nothing from the repository or the cluster becomes markup. Texts are escaped, `@mentions`, links and issue
//! references defused; code stands in fences longer than any run of backticks in it.

use super::base_note::BaseNote;
use super::object_diff::{Line, ObjectDiffs};
use super::wording::{
    Standing, actions, are_on_several, clean, count, counts, headline, place, plural, refusal_shown, restarts,
    short_revision, standing, symbol,
};
use crate::object::Problem;
use crate::plan::change::{AppPlan, Change, PlanReport, PolicyFinding};

/// The longest comment that GitHub takes; other hosts take more.
pub const MAX_LENGTH: usize = 65_536;

/// The first line of every comment, by which a later run finds its own.
pub const MARKER: &str = "<!-- driftless:plan -->";

/// Bytes kept for the note on what was left out.
const FOOTER: usize = 600;

/// Policy findings shown before the rest is counted.
const MAX_FINDINGS: usize = 50;

/// The comment, at most `max_length` bytes long (characters are at most as many).
pub fn plan_markdown(report: &PlanReport, diffs: &ObjectDiffs, max_length: usize) -> String {
    markdown(report, diffs, None, max_length)
}

/// The same for the plan of a merge: it says besides what it was merged into, and what is to be known of that.
pub fn merge_markdown(report: &PlanReport, diffs: &ObjectDiffs, base: &BaseNote, max_length: usize) -> String {
    markdown(report, diffs, Some(base), max_length)
}

fn markdown(report: &PlanReport, diffs: &ObjectDiffs, base: Option<&BaseNote>, max_length: usize) -> String {
    let into =
        base.map_or_else(String::new, |base| format!(" merged into {}", code(&short_revision(Some(&base.revision)))));
    let mut head = format!("{MARKER}\n### Plan for {}{into}\n\n", code(&short_revision(report.revision.as_deref())));
    for line in base.into_iter().flat_map(BaseNote::lines) {
        head.push_str(&format!("> ⚠️ {}\n\n", escape(&line)));
    }
    head.push_str(&format!("{}\n\n", overview(report, diffs)));
    let mut parts: Vec<Part> = report.error.iter().map(|error| Part::of(problem(error))).collect();
    let several = are_on_several(report.apps.iter().map(|app| app.cluster.as_str()));
    for app in &report.apps {
        app_parts(app, diffs, several, &mut parts);
    }
    fit(head, &parts, max_length, &command(report, base))
}

/// The plan in one line: `2 to create, 1 to roll out (3 pods restart: image)`.
pub fn plan_sentence(report: &PlanReport, diffs: &ObjectDiffs) -> String {
    let total = count(report.pending());
    let done = report.apps.iter().filter(|app| !app.blocked);
    let notes: Vec<String> = done.filter_map(|app| restart_note(app, diffs)).collect();
    let restart = match notes.as_slice() {
        [one] => Some(one.clone()),
        _ => None,
    };
    if total.is_empty() { "nothing would change".to_owned() } else { counts(&total, restart.as_deref()) }
}

/// A piece of the comment that is shown whole, short, or not at all.
struct Part {
    short: String,
    /// With its diff.
    whole: Option<String>,
    /// Counted where it is left out.
    objects: usize,
}

impl Part {
    fn of(short: String) -> Self {
        Self { short, whole: None, objects: 0 }
    }
}

/// Puts the parts together: first a line for every object, as far as they go, then as many diffs as there is room for.
fn fit(head: String, parts: &[Part], max_length: usize, command: &str) -> String {
    let limit = max_length.saturating_sub(FOOTER);
    let mut room = limit.saturating_sub(head.len());
    let mut shown = 0;
    for part in parts {
        if part.short.len() > room {
            break;
        }
        room -= part.short.len();
        shown += 1;
    }
    let (kept, dropped) = parts.split_at(shown);
    let mut text = head;
    let mut shortened = 0;
    for part in kept {
        match &part.whole {
            Some(whole) if whole.len() - part.short.len() <= room => {
                room -= whole.len() - part.short.len();
                text.push_str(whole);
            }
            Some(_) => {
                shortened += 1;
                text.push_str(&part.short);
            }
            None => text.push_str(&part.short),
        }
    }
    let left_out: usize = dropped.iter().map(|part| part.objects).sum();
    if shortened > 0 || !dropped.is_empty() {
        text.push_str(&footer(command, left_out, shortened));
    }
    text
}

/// `**2 to create, 1 to roll out (3 pods restart: image)** in 2 apps · 12 unchanged`
fn overview(report: &PlanReport, diffs: &ObjectDiffs) -> String {
    let total = count(report.pending());
    let changed = report.apps.iter().filter(|app| !app.blocked && !app.changes.is_empty()).count();
    let unchanged: usize = report.apps.iter().map(|app| app.unchanged).sum();
    let stand = |wanted: Standing| report.apps.iter().filter(|app| standing(app) == wanted).count();
    let (failed, in_part, waiting) = (stand(Standing::Blocked), stand(Standing::InPart), stand(Standing::Waits));
    let done = report.apps.iter().filter(|app| !app.blocked);
    let notes: Vec<String> = done.filter_map(|app| restart_note(app, diffs)).collect();
    let restart = match notes.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        several => Some(format!("pods restart in {} apps", several.len())),
    };
    let mut parts = vec![if total.is_empty() && (failed + in_part > 0 || report.error.is_some()) {
        "**There is no plan.**".to_owned()
    } else if total.is_empty() {
        "**Nothing to do.**".to_owned()
    } else {
        format!("**{}** in {}", escape(&counts(&total, restart.as_deref())), plural(changed, "app"))
    }];
    if unchanged > 0 {
        parts.push(format!("{unchanged} unchanged"));
    }
    if failed > 0 {
        parts.push(format!("❌ {} cannot be planned", plural(failed, "app")));
    }
    if in_part > 0 {
        parts.push(format!("❌ {} can be planned in part only", plural(in_part, "app")));
    }
    if waiting > 0 {
        parts.push(format!("⚠️ deletions of {} wait for approval", plural(waiting, "app")));
    }
    let denied = report.apps.iter().flat_map(|app| &app.policy).filter(|finding| finding.action == "deny").count();
    if denied > 0 {
        parts.push(format!("❌ {denied} refused by policy"));
    }
    parts.join(" · ")
}

fn restart_note(app: &AppPlan, diffs: &ObjectDiffs) -> Option<String> {
    restarts(app, &|change: &Change| {
        let foreseen = change.forecast.as_ref().and_then(|forecast| forecast.pods);
        foreseen.or_else(|| diffs.pods(&app.name, &app.cluster, &change.object))
    })
}

fn app_parts(app: &AppPlan, diffs: &ObjectDiffs, several: bool, parts: &mut Vec<Part>) {
    if app.changes.is_empty() && app.error.is_none() && app.policy.is_empty() {
        return;
    }
    let sign = match standing(app) {
        Standing::Whole => "",
        Standing::Waits => "⚠️ ",
        Standing::InPart | Standing::Blocked => "❌ ",
    };
    let headline = escape(&headline(app, restart_note(app, diffs).as_deref()));
    let first: Vec<String> = app.depends_on.iter().map(|name| code(name)).collect();
    let after = if first.is_empty() { String::new() } else { format!(" (after {})", first.join(", ")) };
    let cluster = if several { format!(" (cluster {})", code(&app.cluster)) } else { String::new() };
    parts.push(Part::of(format!("#### {}{cluster}: {sign}{headline}{after}\n\n", code(&app.name))));
    let shown = app.policy.get(..MAX_FINDINGS).unwrap_or(&app.policy);
    // A refusal is among the findings, with its place: once is enough.
    let refused = app.error.as_ref().filter(|error| refusal_shown(Some(error), shown).is_some());
    parts.extend(app.error.iter().filter(|_| refused.is_none()).map(|error| Part::of(problem(error))));
    parts.extend(findings(&app.policy).map(Part::of));
    let hint = refused.and_then(|error| error.hint.as_deref());
    parts.extend(hint.map(|hint| Part::of(format!("> → {}\n\n", escape(hint)))));
    let hold = app.hold.as_ref().filter(|_| !app.changes.is_empty());
    parts.extend(hold.map(|hold| Part::of(format!("> ⚠️ {}\n\n", escape(&hold.sentence())))));
    parts.extend(forecasts(app).map(Part::of));
    for change in &app.changes {
        let lines = diffs.lines(&app.name, &app.cluster, &change.object);
        let whole = lines.filter(|lines| !lines.is_empty()).map(|lines| object_section(change, &lines));
        parts.push(Part { short: object_section(change, &[]), whole, objects: 1 });
    }
}

fn findings(findings: &[PolicyFinding]) -> Option<String> {
    if findings.is_empty() {
        return None;
    }
    let mut part = String::new();
    for finding in findings.iter().take(MAX_FINDINGS) {
        let sign = match finding.action.as_str() {
            "deny" => "❌",
            "warn" => "⚠️",
            _ => "ℹ️",
        };
        let who = match finding.policy.as_str() {
            "api-server" if finding.server => "the API server".to_owned(),
            policy => format!("policy {}", code(policy)),
        };
        part.push_str(&format!(
            "- {sign} {} {}: {who}: {}\n",
            code(&place(&finding.file, finding.line)),
            code(&finding.subject()),
            escape(&finding.message)
        ));
    }
    if let Some(more) = findings.len().checked_sub(MAX_FINDINGS).filter(|more| *more > 0) {
        part.push_str(&format!("- and {more} more\n"));
    }
    part.push('\n');
    Some(part)
}

/// What the plan's pods will meet, where somebody has to know it: not folded away.
fn forecasts(app: &AppPlan) -> Option<String> {
    let mut lines = Vec::new();
    for change in &app.changes {
        let Some(forecast) = &change.forecast else { continue };
        let object = code(&change.object.to_string());
        lines.extend(forecast.impossible.iter().map(|why| format!("- ❌ {object} cannot end well: {}\n", escape(why))));
        lines.extend(forecast.notes.iter().map(|note| format!("- ⚠️ {object}: {}\n", escape(note))));
    }
    if let Some(more) = lines.len().checked_sub(MAX_FINDINGS).filter(|more| *more > 0) {
        lines.truncate(MAX_FINDINGS);
        lines.push(format!("- and {more} more\n"));
    }
    (!lines.is_empty()).then(|| lines.concat() + "\n")
}

/// One object, folded away; without lines only what happens to it.
fn object_section(change: &Change, lines: &[Line]) -> String {
    let title = format!(
        "<code>{} {}</code> {}{}",
        symbol(change),
        escape(&change.object.to_string()),
        escape(&actions(change)),
        if change.why.is_empty() { String::new() } else { format!(": {}", escape(&change.why)) }
    );
    let mut about = Vec::new();
    if let Some(source) = &change.source {
        about.push(code(&place(&source.file, source.line)));
    }
    if !change.waits_for.is_empty() {
        let names: Vec<String> = change.waits_for.iter().take(5).map(|object| code(&object.to_string())).collect();
        let more = if change.waits_for.len() > 5 { " and more" } else { "" };
        about.push(format!("after {}{more}", names.join(", ")));
    }
    let about = if about.is_empty() { String::new() } else { format!("{}\n\n", about.join(" · ")) };
    let body = if lines.is_empty() {
        String::new()
    } else {
        fenced("diff", &lines.iter().map(Line::text).collect::<Vec<_>>().join("\n"))
    };
    format!("<details><summary>{title}</summary>\n\n{about}{body}</details>\n\n")
}

fn problem(error: &Problem) -> String {
    let hint = error.hint.as_deref().map_or_else(String::new, |hint| format!("  \n> → {}", escape(hint)));
    format!("> ❌ {}{hint}\n\n", escape(&error.to_string()))
}

fn footer(command: &str, left_out: usize, shortened: usize) -> String {
    let mut what = Vec::new();
    if left_out == 0 && shortened == 0 {
        what.push("some of it is not shown".to_owned());
    }
    if left_out > 0 {
        what.push(format!("{} not shown", plural(left_out, "object")));
    }
    if shortened > 0 {
        what.push(format!("{} without a diff", plural(shortened, "object")));
    }
    format!("---\nThis comment is as long as the host allows: {}. All of it: {}\n", what.join(", "), code(command))
}

/// What shows the whole of it.
fn command(report: &PlanReport, base: Option<&BaseNote>) -> String {
    let mut out = "driftless plan".to_owned();
    if let Some(revision) = report.revision.as_deref().filter(|revision| is_word(revision)) {
        out.push_str(&format!(" --revision {revision}"));
    }
    if let Some(base) = base.filter(|base| is_word(&base.revision)) {
        out.push_str(&format!(" --base {}", base.revision));
    }
    out
}

fn is_word(text: &str) -> bool {
    text.len() <= 80 && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c))
}

/// A fenced block whose fence no line of its content can close.
fn fenced(language: &str, content: &str) -> String {
    let fence = "`".repeat(longest_run(content).max(2) + 1);
    format!("{fence}{language}\n{content}\n{fence}\n\n")
}

/// A code span that its content cannot leave.
fn code(text: &str) -> String {
    let text = clean(text);
    let ticks = "`".repeat(longest_run(&text) + 1);
    let pad = if text.is_empty() || text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{ticks}{pad}{text}{pad}{ticks}")
}

fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}

/// A text that is nothing but a text, in a paragraph as well as inside an HTML element.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in defuse(&clean(text)).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' | '\'' | '`' | '*' | '_' | '[' | ']' | '!' | '~' | '|' | '\\' | '#' | '$' => {
                out.push_str(&format!("&#{};", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out
}

/// Breaks what hosts turn into links by themselves: `@name`, `#12`, `https://`, `www.`. A zero-width space does it.
fn defuse(text: &str) -> String {
    text.replace('@', "@\u{200b}")
        .replace('#', "#\u{200b}")
        .replace("://", ":\u{200b}//")
        .replace("www.", "www\u{200b}.")
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn a_comment() {
        let (report, diffs) = sample::plan();
        insta::assert_snapshot!(plan_markdown(&report, &diffs, MAX_LENGTH));
    }

    #[test]
    fn a_coming_hold_is_announced() {
        let (mut report, diffs) = sample::plan();
        report.apps[0].hold = Some(crate::plan::change::PlanHold {
            held: false,
            reason: "without a reviewed plan".into(),
            command: "driftless approve web".into(),
            unreviewed: Vec::new(),
        });
        let text = plan_markdown(&report, &diffs, MAX_LENGTH);
        assert!(
            text.contains("> ⚠️ a sync of this would be refused until") && text.contains("without a reviewed plan"),
            "{text}"
        );
    }

    #[test]
    fn nothing_to_do() {
        insta::assert_snapshot!(plan_markdown(&sample::empty_plan(), &ObjectDiffs::default(), MAX_LENGTH));
    }

    /// Every fence closed, every details element closed, within the length, however short it is.
    #[test]
    fn cut_between_objects() {
        let (report, diffs) = sample::long_plan(400);
        for limit in [2_000, 10_000, 65_536, 1_000_000] {
            let text = plan_markdown(&report, &diffs, limit);
            assert!(text.len() <= limit, "{} > {limit}", text.len());
            assert_eq!(text.matches("<details>").count(), text.matches("</details>").count());
            assert_eq!(text.matches("```").count() % 2, 0);
            assert_eq!(text.contains("All of it"), limit < 1_000_000);
        }
        let text = plan_markdown(&report, &diffs, 65_536);
        assert!(text.contains("map-399") && text.contains("without a diff") && !text.contains("not shown"));
        assert!(plan_markdown(&report, &diffs, 10_000).contains("not shown"));
    }

    /// A line without its code spans, as CommonMark reads them: a run of backticks up to the next run as long.
    fn without_code(line: &str) -> String {
        let mut out = String::new();
        let mut rest = line;
        while let Some(start) = rest.find('`') {
            out.push_str(&rest[..start]);
            let ticks = rest[start..].chars().take_while(|c| *c == '`').count();
            let after = &rest[start + ticks..];
            let mut at = 0;
            let close = loop {
                let Some(next) = after[at..].find('`') else { break None };
                let run = after[at + next..].chars().take_while(|c| *c == '`').count();
                if run == ticks {
                    break Some(at + next + run);
                }
                at += next + run;
            };
            match close {
                Some(end) => rest = &after[end..],
                None => panic!("a backtick that opens nothing: {line}"),
            }
        }
        out + rest
    }

    #[test]
    fn hostile_texts_stay_texts() {
        let (report, diffs) = sample::hostile_plan();
        let text = plan_markdown(&report, &diffs, MAX_LENGTH);
        // Outside fences and code spans nothing acts.
        let mut outside = String::new();
        let mut fence: Option<String> = None;
        for line in text.lines() {
            let ticks: String = line.chars().take_while(|c| *c == '`').collect();
            match &fence {
                Some(open) if ticks.len() >= open.len() && line.trim_matches('`').is_empty() => fence = None,
                Some(_) => {}
                None if ticks.len() >= 3 && !line[ticks.len()..].contains('`') => fence = Some(ticks),
                None => outside.push_str(&(without_code(line) + "\n")),
            }
        }
        assert!(fence.is_none());
        for bad in ["<img", "<script", "@everyone", "</details><", "](http", "https://evil", "\u{202e}", "\u{1b}"] {
            assert!(!outside.contains(bad), "{bad} in\n{outside}");
        }
        assert_eq!(outside.matches("<details>").count(), outside.matches("</details>").count());
    }
}
