//! GitHub, also Enterprise Server. Documentation: docs.github.com/en/rest/commits/statuses, …/rest/issues/comments,
//! …/rest/pulls/pulls ("Get a pull request").
//!
//! A commit takes 1,000 statuses of one context, then 422; a description 140 characters, a comment 65,536. There is no
//! word for what was superseded: it is an `error`, and the description says what happened.

use super::{Comment, HostApi, Login, Place, Pull, Request, Said, id, items, merged, text};
use crate::config::ReportKind;
use crate::inventory::Standing;
use crate::report::status::{Note, State, describe};
use crate::source::Revision;
use serde_json::{Value, json};

pub(super) struct GitHub(pub(super) Place);

impl GitHub {
    fn path(&self, rest: &str) -> String {
        format!("/repos/{}/{}{rest}", self.0.owner, self.0.name)
    }
}

/// The state for GitHub's four.
pub(super) fn word(state: State) -> &'static str {
    match state {
        State::Pending => "pending",
        State::Success => "success",
        State::Failure => "failure",
        State::Error | State::Superseded => "error",
    }
}

/// The state back: what was superseded says so in its description.
pub(super) fn state(word: &str, description: &str) -> Option<State> {
    Some(match word {
        "pending" => State::Pending,
        "success" => State::Success,
        "failure" => State::Failure,
        "error" | "warning" | "skipped" if description.starts_with("superseded") => State::Superseded,
        "skipped" => State::Superseded,
        "error" | "warning" => State::Error,
        _ => return None,
    })
}

/// Statuses of GitHub's shape, newest first as GitHub and Gitea list them; out oldest first.
pub(super) fn read(list: &[Value], field: &str) -> Vec<Said> {
    let read = |status: &Value| {
        let context = text(status, "/context").parse().ok()?;
        let state = state(text(status, field), text(status, "/description"))?;
        Some(Said::of(status, context, state, &["/created_at"]))
    };
    list.iter().rev().filter_map(read).collect()
}

/// Pull requests of GitHub's shape, which Gitea has too.
pub(super) fn read_pull(pull: &Value) -> Option<Pull> {
    let number = pull.get("number")?.as_u64()?;
    let (from, into) = (text(pull, "/head/repo/full_name"), text(pull, "/base/repo/full_name"));
    Some(Pull {
        number,
        head: text(pull, "/head/sha").to_owned(),
        base: text(pull, "/base/ref").to_owned(),
        // A fork that was deleted has no repository any more.
        fork: from != into || from.is_empty(),
        fetch: format!("refs/pull/{number}/head"),
    })
}

/// Where a pull request of GitHub's shape stands, which Gitea has too. The merge commit of one that is open is a trial.
pub(super) fn read_standing(pull: &Value) -> Option<Standing> {
    Some(match (pull.get("merged")?.as_bool()?, text(pull, "/state")) {
        (true, _) => merged(pull, &["/merge_commit_sha"]),
        (false, "open") => Standing::Open,
        (false, "closed") => Standing::Closed,
        _ => return None,
    })
}

impl HostApi for GitHub {
    fn name(&self) -> &'static str {
        "github"
    }

    fn login(&self) -> Login {
        Login::Bearer
    }

    fn longest_comment(&self) -> usize {
        65_536
    }

    fn longest_description(&self) -> usize {
        140
    }

    fn status(&self, note: &Note) -> Request {
        let body = json!({
            "state": word(note.state),
            "context": note.context.to_string(),
            "description": describe(&note.description, self.longest_description()),
            "target_url": self.0.commit_page(ReportKind::GitHub, note.revision.as_str()),
        });
        Request::send("POST", self.path(&format!("/statuses/{}", note.revision)), body)
    }

    fn statuses(&self, revision: &Revision) -> Request {
        Request::get(self.path(&format!("/commits/{revision}/statuses?per_page=100")))
    }

    fn read_statuses(&self, body: &Value) -> Vec<Said> {
        read(items(body, ""), "/state")
    }

    fn pulls(&self, page: u32) -> Request {
        Request::get(self.path(&format!("/pulls?state=open&per_page=100&page={page}")))
    }

    fn read_pulls(&self, body: &Value) -> (Vec<Pull>, bool) {
        let all = items(body, "");
        (all.iter().filter_map(read_pull).collect(), all.len() == 100)
    }

    fn pull(&self, pull: u64) -> Request {
        Request::get(self.path(&format!("/pulls/{pull}")))
    }

    fn read_standing(&self, body: &Value) -> Option<Standing> {
        read_standing(body)
    }

    fn comments(&self, pull: u64, page: u32) -> Request {
        Request::get(self.path(&format!("/issues/{pull}/comments?per_page=100&page={page}")))
    }

    fn read_comments(&self, body: &Value) -> (Vec<Comment>, bool) {
        let all = items(body, "");
        (
            all.iter().map(|c| Comment { id: id(c, "/id"), body: text(c, "/body").to_owned() }).collect(),
            all.len() == 100,
        )
    }

    fn create_comment(&self, pull: u64, text: &str) -> Request {
        Request::send("POST", self.path(&format!("/issues/{pull}/comments")), json!({"body": text}))
    }

    fn update_comment(&self, _pull: u64, comment: &Comment, text: &str) -> Request {
        Request::send("PATCH", self.path(&format!("/issues/comments/{}", comment.id)), json!({"body": text}))
    }
}
