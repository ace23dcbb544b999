//! GitLab. Documentation: docs.gitlab.com/api/commits (commit status), docs.gitlab.com/api/notes and
//! docs.gitlab.com/api/merge_requests ("Get single MR").
//!
//! A status is a job of an external pipeline: it has `canceled` for what was superseded, and refuses to go from a state to
//! itself (`Cannot transition status via …`), which says that the status is there.

use super::{Comment, HostApi, Login, Place, Pull, Reply, Request, Said, encoded, id, items, merged, said, text};
use crate::config::ReportKind;
use crate::inventory::Standing;
use crate::report::status::{Note, State, describe};
use crate::source::Revision;
use serde_json::{Value, json};

pub(super) struct GitLab(pub(super) Place);

impl GitLab {
    fn path(&self, rest: &str) -> String {
        format!("/projects/{}{rest}", encoded(&format!("{}/{}", self.0.owner, self.0.name)))
    }
}

fn word(state: State) -> &'static str {
    match state {
        State::Pending => "running",
        State::Success => "success",
        State::Failure | State::Error => "failed",
        State::Superseded => "canceled",
    }
}

impl HostApi for GitLab {
    fn name(&self) -> &'static str {
        "gitlab"
    }

    fn login(&self) -> Login {
        Login::PrivateToken
    }

    fn longest_comment(&self) -> usize {
        1_000_000
    }

    fn longest_description(&self) -> usize {
        255
    }

    fn status(&self, note: &Note) -> Request {
        let body = json!({
            "state": word(note.state),
            "name": note.context.to_string(),
            "description": describe(&note.description, self.longest_description()),
            "target_url": self.0.commit_page(ReportKind::GitLab, note.revision.as_str()),
        });
        Request::send("POST", self.path(&format!("/statuses/{}", note.revision)), body)
    }

    fn statuses(&self, revision: &Revision) -> Request {
        Request::get(
            self.path(&format!("/repository/commits/{revision}/statuses?all=true&per_page=100&order_by=id&sort=asc")),
        )
    }

    fn read_statuses(&self, body: &Value) -> Vec<Said> {
        let read = |status: &Value| {
            let context = text(status, "/name").parse().ok()?;
            let state = match text(status, "/status") {
                "pending" | "running" | "created" => State::Pending,
                "success" => State::Success,
                "failed" => State::Failure,
                "canceled" | "skipped" => State::Superseded,
                _ => return None,
            };
            Some(Said::of(status, context, state, &["/finished_at", "/created_at"]))
        };
        items(body, "").iter().filter_map(read).collect()
    }

    fn pulls(&self, page: u32) -> Request {
        Request::get(self.path(&format!("/merge_requests?state=opened&per_page=100&page={page}")))
    }

    fn read_pulls(&self, body: &Value) -> (Vec<Pull>, bool) {
        let read = |merge: &Value| {
            let number = merge.get("iid")?.as_u64()?;
            Some(Pull {
                number,
                head: text(merge, "/sha").to_owned(),
                base: text(merge, "/target_branch").to_owned(),
                fork: merge["source_project_id"] != merge["target_project_id"],
                fetch: format!("refs/merge-requests/{number}/head"),
            })
        };
        let all = items(body, "");
        (all.iter().filter_map(read).collect(), all.len() == 100)
    }

    fn pull(&self, pull: u64) -> Request {
        Request::get(self.path(&format!("/merge_requests/{pull}")))
    }

    fn read_standing(&self, body: &Value) -> Option<Standing> {
        Some(match text(body, "/state") {
            // Without either commit it was a fast-forward: the branch has the head itself.
            "merged" => merged(body, &["/merge_commit_sha", "/squash_commit_sha", "/sha"]),
            "opened" | "locked" => Standing::Open,
            "closed" => Standing::Closed,
            _ => return None,
        })
    }

    fn comments(&self, pull: u64, page: u32) -> Request {
        Request::get(
            self.path(&format!("/merge_requests/{pull}/notes?sort=asc&order_by=created_at&per_page=100&page={page}")),
        )
    }

    fn read_comments(&self, body: &Value) -> (Vec<Comment>, bool) {
        let all = items(body, "");
        (
            all.iter().map(|c| Comment { id: id(c, "/id"), body: text(c, "/body").to_owned() }).collect(),
            all.len() == 100,
        )
    }

    fn create_comment(&self, pull: u64, text: &str) -> Request {
        Request::send("POST", self.path(&format!("/merge_requests/{pull}/notes")), json!({"body": text}))
    }

    fn update_comment(&self, pull: u64, comment: &Comment, text: &str) -> Request {
        Request::send("PUT", self.path(&format!("/merge_requests/{pull}/notes/{}", comment.id)), json!({"body": text}))
    }

    fn is_there_already(&self, reply: &Reply) -> bool {
        reply.code == 400 && said(&reply.body).contains("Cannot transition status via")
    }
}
