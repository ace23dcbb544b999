//! Gitea and Forgejo. Documentation: each server's own /api/swagger (repoCreateStatus, repoListStatuses,
//! repoGetPullRequest, issueGetComments, issueCreateComment, issueEditComment).
//!
//! Gitea has `skipped` for what was superseded (since 1.24); Forgejo's nearest word is `warning`.

use super::{Comment, HostApi, Login, Place, Pull, Request, Said, github, id, items, text};
use crate::config::ReportKind;
use crate::inventory::Standing;
use crate::report::status::{Note, State, describe};
use crate::source::Revision;
use serde_json::{Value, json};

/// Longest description: its column takes any (models/git/commit_status.go: TEXT), a list of checks is no place for more.
const DESCRIPTION: usize = 1_000;

/// Comments of one page.
const PAGE: usize = 50;

pub(super) struct Gitea {
    pub(super) place: Place,
    /// It knows `skipped`.
    pub(super) skips: bool,
}

impl Gitea {
    fn path(&self, rest: &str) -> String {
        format!("/repos/{}/{}{rest}", self.place.owner, self.place.name)
    }
}

impl HostApi for Gitea {
    fn name(&self) -> &'static str {
        if self.skips { "gitea" } else { "forgejo" }
    }

    fn login(&self) -> Login {
        Login::Token
    }

    fn longest_comment(&self) -> usize {
        65_535
    }

    fn longest_description(&self) -> usize {
        DESCRIPTION
    }

    fn status(&self, note: &Note) -> Request {
        let state = match note.state {
            State::Superseded if self.skips => "skipped",
            State::Superseded => "warning",
            state => github::word(state),
        };
        let body = json!({
            "state": state,
            "context": note.context.to_string(),
            "description": describe(&note.description, self.longest_description()),
            "target_url": self.place.commit_page(ReportKind::Gitea, note.revision.as_str()),
        });
        Request::send("POST", self.path(&format!("/statuses/{}", note.revision)), body)
    }

    fn statuses(&self, revision: &Revision) -> Request {
        // Its words for the order are the wrong way round (CommitStatusOptions.ToOrders): this one lists the newest first.
        Request::get(self.path(&format!("/commits/{revision}/statuses?sort=leastindex&limit=50")))
    }

    fn read_statuses(&self, body: &Value) -> Vec<Said> {
        let mut newest_first: Vec<Value> = items(body, "").to_vec();
        newest_first.sort_by_key(|status| std::cmp::Reverse(status["id"].as_u64()));
        github::read(&newest_first, "/status")
    }

    fn pulls(&self, page: u32) -> Request {
        Request::get(self.path(&format!("/pulls?state=open&limit={PAGE}&page={page}")))
    }

    fn read_pulls(&self, body: &Value) -> (Vec<Pull>, bool) {
        let all = items(body, "");
        (all.iter().filter_map(github::read_pull).collect(), all.len() == PAGE)
    }

    fn pull(&self, pull: u64) -> Request {
        Request::get(self.path(&format!("/pulls/{pull}")))
    }

    fn read_standing(&self, body: &Value) -> Option<Standing> {
        github::read_standing(body)
    }

    fn comments(&self, pull: u64, page: u32) -> Request {
        // Gitea does not page these: all come at once, and a second page is empty.
        Request::get(self.path(&format!("/issues/{pull}/comments?limit={PAGE}&page={page}")))
    }

    fn read_comments(&self, body: &Value) -> (Vec<Comment>, bool) {
        let all = items(body, "");
        (all.iter().map(|c| Comment { id: id(c, "/id"), body: text(c, "/body").to_owned() }).collect(), false)
    }

    fn create_comment(&self, pull: u64, text: &str) -> Request {
        Request::send("POST", self.path(&format!("/issues/{pull}/comments")), json!({"body": text}))
    }

    fn update_comment(&self, _pull: u64, comment: &Comment, text: &str) -> Request {
        Request::send("PATCH", self.path(&format!("/issues/comments/{}", comment.id)), json!({"body": text}))
    }
}
