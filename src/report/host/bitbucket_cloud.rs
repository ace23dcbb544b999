//! Bitbucket Cloud. Documentation: developer.atlassian.com/cloud/bitbucket/rest/api-group-commit-statuses and
//! …/api-group-pullrequests.
//!
//! A build status has a key of at most 40 characters, which names it, and must have an address; `STOPPED` is its word for
//! what was superseded. A comment takes 32,768 characters.

use super::{Comment, HostApi, Login, Place, Pull, Request, Said, id, items, merged, text};
use crate::config::ReportKind;
use crate::inventory::Standing;
use crate::object::Digest;
use crate::report::status::{Context, Note, State, describe};
use crate::source::Revision;
use serde_json::{Value, json};

/// Longest key.
const KEY: usize = 40;

pub(super) struct BitbucketCloud(pub(super) Place);

impl BitbucketCloud {
    fn path(&self, rest: &str) -> String {
        format!("/repositories/{}/{}{rest}", self.0.owner, self.0.name)
    }
}

/// The context, or where that is too long its beginning and a digest: the same for all processes.
pub(super) fn key(context: &Context, limit: usize) -> String {
    let whole = context.to_string();
    if whole.len() <= limit {
        return whole;
    }
    let digest = Digest::of_bytes(whole.as_bytes()).short(12).to_owned();
    let start: String = whole.chars().filter(char::is_ascii).take(limit - 13).collect();
    format!("{start}-{digest}")
}

impl HostApi for BitbucketCloud {
    fn name(&self) -> &'static str {
        "bitbucket-cloud"
    }

    fn login(&self) -> Login {
        Login::Basic
    }

    fn longest_comment(&self) -> usize {
        32_768
    }

    fn longest_description(&self) -> usize {
        255
    }

    fn status(&self, note: &Note) -> Request {
        let state = match note.state {
            State::Pending => "INPROGRESS",
            State::Success => "SUCCESSFUL",
            State::Failure | State::Error => "FAILED",
            State::Superseded => "STOPPED",
        };
        let body = json!({
            "key": key(&note.context, KEY),
            "name": note.context.to_string(),
            "state": state,
            "description": describe(&note.description, self.longest_description()),
            "url": self.0.commit_page(ReportKind::BitbucketCloud, note.revision.as_str()),
        });
        Request::send("POST", self.path(&format!("/commit/{}/statuses/build", note.revision)), body)
    }

    fn statuses(&self, revision: &Revision) -> Request {
        Request::get(self.path(&format!("/commit/{revision}/statuses?pagelen=100")))
    }

    fn read_statuses(&self, body: &Value) -> Vec<Said> {
        let read = |status: &Value| {
            let context = text(status, "/name").parse().ok()?;
            let state = match text(status, "/state") {
                "INPROGRESS" => State::Pending,
                "SUCCESSFUL" => State::Success,
                "FAILED" => State::Failure,
                "STOPPED" => State::Superseded,
                _ => return None,
            };
            Some(Said::of(status, context, state, &["/updated_on", "/created_on"]))
        };
        items(body, "/values").iter().filter_map(read).collect()
    }

    fn pulls(&self, page: u32) -> Request {
        Request::get(self.path(&format!("/pullrequests?state=OPEN&pagelen=50&page={page}")))
    }

    fn read_pulls(&self, body: &Value) -> (Vec<Pull>, bool) {
        let read = |pull: &Value| {
            let (from, into) =
                (text(pull, "/source/repository/full_name"), text(pull, "/destination/repository/full_name"));
            Some(Pull {
                number: pull.get("id")?.as_u64()?,
                head: text(pull, "/source/commit/hash").to_owned(),
                base: text(pull, "/destination/branch/name").to_owned(),
                fork: from != into || from.is_empty(),
                // It keeps no reference of its own for a pull request.
                fetch: format!("refs/heads/{}", text(pull, "/source/branch/name")),
            })
        };
        (items(body, "/values").iter().filter_map(read).collect(), body["next"].is_string())
    }

    fn pull(&self, pull: u64) -> Request {
        Request::get(self.path(&format!("/pullrequests/{pull}")))
    }

    fn read_standing(&self, body: &Value) -> Option<Standing> {
        Some(match text(body, "/state") {
            "MERGED" => merged(body, &["/merge_commit/hash"]),
            "OPEN" => Standing::Open,
            "DECLINED" | "SUPERSEDED" => Standing::Closed,
            _ => return None,
        })
    }

    fn comments(&self, pull: u64, page: u32) -> Request {
        Request::get(self.path(&format!("/pullrequests/{pull}/comments?pagelen=100&page={page}")))
    }

    fn read_comments(&self, body: &Value) -> (Vec<Comment>, bool) {
        let all = items(body, "/values").iter().filter(|c| c["deleted"] != true);
        let all = all.map(|c| Comment { id: id(c, "/id"), body: text(c, "/content/raw").to_owned() }).collect();
        (all, body["next"].is_string())
    }

    fn create_comment(&self, pull: u64, text: &str) -> Request {
        Request::send("POST", self.path(&format!("/pullrequests/{pull}/comments")), json!({"content": {"raw": text}}))
    }

    fn update_comment(&self, pull: u64, comment: &Comment, text: &str) -> Request {
        let path = self.path(&format!("/pullrequests/{pull}/comments/{}", comment.id));
        Request::send("PUT", path, json!({"content": {"raw": text}}))
    }
}
