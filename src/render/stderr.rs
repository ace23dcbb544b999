//! What a build said on its standard error, as it may be told to a person.

use super::workdir::Workdir;
use std::process::ExitStatus;

/// The error for a person: paths as in the repository. Where a Secret may be among the content, `known` has the words
/// that the program's own errors are made of, and only they are kept, with numbers of lines and names of files.
pub(super) fn message(stderr: &[u8], status: ExitStatus, workdir: &Workdir, dir: &str, known: Option<&str>) -> String {
    let text = String::from_utf8_lossy(stderr);
    let root = workdir.root().display().to_string();
    let tree = format!("{root}/tree");
    let text = text.replace(&format!("{tree}/"), "").replace(&tree, ".").replace(&root, "");
    let text = plain(text.trim());
    let text = if let Some(known) = known {
        let is_file = |word: &str| {
            let safe = !word.starts_with('/') && !word.split('/').any(|part| part == "..");
            safe && [dir, ""].iter().any(|base| workdir.tree().join(base).join(word).is_file())
        };
        without_secrets(&text, known, is_file)
    } else {
        text
    };
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(1000).collect();
    if clean.trim().is_empty() { format!("it ended with {status} and said nothing") } else { clean }
}

/// Without kubectl's ways to start an error: `error: `, or a log line with `err="…"`.
fn plain(text: &str) -> String {
    if let Some((_, rest)) = text.split_once("\"command failed\" err=\"") {
        return rest.trim_end_matches('"').replace("\\\"", "\"").replace("\\n", "\n");
    }
    let text = text.strip_prefix("Error: ").or_else(|| text.strip_prefix("error: ")).unwrap_or(text);
    text.to_owned()
}

/// Words that Kustomize's own errors are made of.
pub(super) const KUSTOMIZE_WORDS: &str = "\
    a accumulate accumulating accumulation add already and annotation apiVersion apply applying are bad be \
    because below cannot component config configMapGenerator conflict contains content could create creating \
    cycle detected directory document duplicate empty err error evalsymlink exist exists expected failed failure \
    field fieldPath file files find for found from generator has id in invalid is it json kind kustomization kv \
    label literal loading lstat map mapping match matches may merge merging metadata missing more multiple must \
    name namespace no node not object of one only open or pairs parse parsing patch patches path read reading \
    regular replacement replacements required resource resources root secretGenerator security several source \
    sources strategic such syntax target targets than that the there to transformer unable unexpected unique \
    unknown unmarshal unsupported value while with yaml";

/// Words that Helm's own errors are made of.
pub(super) const HELM_WORDS: &str = "\
    a additional allowed an and apiVersion argument arguments at be but by called calling cannot chart charts \
    Chart.yaml checking convert converting could dependencies dependency did directory error evaluating executing \
    execution expected fail failed field file find for found function got has have in include incompatible \
    instead interface into invalid is it JSON json key kind kubeVersion Kubernetes line load map mapping meet \
    metadata missing must name nil no not object occurred of on out parse parsing pointer properties read \
    render required requires schema specification specifications string template templates the then to tpl \
    type undefined unexpected unknown unmarshal validation value values values.yaml version was while with wrong \
    YAML yaml";

/// Programs quote patches, literals and objects in their errors. Where a Secret may be among them, only words of their
/// own, numbers of lines, names of files and names of values (`.Values.a`) are kept.
fn without_secrets(text: &str, words: &str, is_file: impl Fn(&str) -> bool) -> String {
    let mut out: Vec<&str> = Vec::new();
    let separator = |c: char| !(c.is_alphanumeric() || matches!(c, '.' | '/' | '-' | '_'));
    let mut after_line = false;
    for word in text.split(separator).map(|word| word.trim_end_matches('.')).filter(|word| !word.is_empty()).take(200) {
        let line_number = after_line && word.len() <= 6 && word.bytes().all(|b| b.is_ascii_digit());
        after_line = word == "line";
        let named = word.starts_with(".Values.");
        let known = after_line
            || line_number
            || named
            || words.split_whitespace().any(|known| known.eq_ignore_ascii_case(word));
        if known || is_file(word) {
            out.push(word);
        } else if out.last() != Some(&"…") {
            out.push("…");
        }
    }
    format!("{} (shortened: a Secret is among the files)", out.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_stay_out_of_errors() {
        for text in [
            "failed to apply patch '{\"stringData\":{\"p\":\"hunter2\"}}' to Secret x",
            "bad: map[data:map[p:hunter2]] in secret.yaml",
            "no match\napiVersion: v1\nkind: Secret\nstringData:\n  p: hunter2",
            "literal p=hunter2 is bad, line hunter2",
            "trouble with aHVudGVyMmh1bnRlcjJodW50ZXIyaHVudGVyMg== here",
            "it's \"hunter2",
        ] {
            let told = without_secrets(text, KUSTOMIZE_WORDS, |word| word == "secret.yaml");
            assert!(!told.contains("hunter2") && !told.contains("aHVud"), "{told}");
        }
        let text = "accumulating resources: 'base/x.yaml': yaml: line 12: oops";
        let told = without_secrets(text, KUSTOMIZE_WORDS, |word| word == "base/x.yaml");
        assert_eq!(told, "accumulating resources base/x.yaml yaml line 12 … (shortened: a Secret is among the files)");
    }

    #[test]
    fn log_lines_are_errors_too() {
        let line = "E1123 16:42:59.228068   18911 run.go:72] \"command failed\" err=\"no \\\"x\\\" here\"";
        assert_eq!(plain(line), "no \"x\" here");
        assert_eq!(plain("Error: error: x"), "error: x");
    }
}
