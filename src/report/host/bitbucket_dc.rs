//! Bitbucket Data Center. Documentation: developer.atlassian.com/server/bitbucket/rest (Build status, Pull requests).
//!
//! Build statuses are named by a key; `CANCELLED` is its word for what was superseded (since 7.14 the API takes it). A
//! comment takes 32,768 characters and is written anew under the version that was read, so that nobody's edit is lost.

use super::{Comment, HostApi, Login, Place, Pull, Request, Said, bitbucket_cloud, id, items, merged, text};
use crate::config::ReportKind;
use crate::inventory::Standing;
use crate::report::status::{Note, State, describe};
use crate::source::Revision;
use serde_json::{Value, json};

/// Activities of one page.
const PAGE: u32 = 100;

pub(super) struct BitbucketDataCenter(pub(super) Place);

impl BitbucketDataCenter {
    fn path(&self, rest: &str) -> String {
        format!("/projects/{}/repos/{}{rest}", self.0.owner, self.0.name)
    }
}

impl HostApi for BitbucketDataCenter {
    fn name(&self) -> &'static str {
        "bitbucket-data-center"
    }

    fn login(&self) -> Login {
        Login::Bearer
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
            State::Superseded => "CANCELLED",
        };
        let body = json!({
            "key": bitbucket_cloud::key(&note.context, 255),
            "name": note.context.to_string(),
            "state": state,
            "description": describe(&note.description, self.longest_description()),
            "url": self.0.commit_page(ReportKind::BitbucketDataCenter, note.revision.as_str()),
        });
        Request::send("POST", self.path(&format!("/commits/{}/builds", note.revision)), body)
    }

    fn statuses(&self, revision: &Revision) -> Request {
        // The list of the older API, which has no other one: all builds of a commit.
        let root = self.0.api.split("/rest/").next().unwrap_or_default();
        Request::get(format!("{root}/rest/build-status/latest/commits/{revision}?limit=100&orderBy=OLDEST"))
    }

    fn read_statuses(&self, body: &Value) -> Vec<Said> {
        let read = |status: &Value| {
            let context = text(status, "/name").parse().ok()?;
            let state = match text(status, "/state") {
                "INPROGRESS" => State::Pending,
                "SUCCESSFUL" => State::Success,
                "FAILED" => State::Failure,
                "CANCELLED" => State::Superseded,
                _ => return None,
            };
            Some(Said::of(status, context, state, &["/updatedDate", "/dateAdded", "/createdDate"]))
        };
        items(body, "/values").iter().filter_map(read).collect()
    }

    fn pulls(&self, page: u32) -> Request {
        let start = page.saturating_sub(1) * PAGE;
        Request::get(self.path(&format!("/pull-requests?state=OPEN&limit={PAGE}&start={start}")))
    }

    fn read_pulls(&self, body: &Value) -> (Vec<Pull>, bool) {
        let read = |pull: &Value| {
            let number = pull.get("id")?.as_u64()?;
            Some(Pull {
                number,
                head: text(pull, "/fromRef/latestCommit").to_owned(),
                base: text(pull, "/toRef/displayId").to_owned(),
                fork: pull.pointer("/fromRef/repository/id") != pull.pointer("/toRef/repository/id"),
                fetch: format!("refs/pull-requests/{number}/from"),
            })
        };
        (items(body, "/values").iter().filter_map(read).collect(), body["isLastPage"] == false)
    }

    fn pull(&self, pull: u64) -> Request {
        Request::get(self.path(&format!("/pull-requests/{pull}")))
    }

    fn read_standing(&self, body: &Value) -> Option<Standing> {
        Some(match text(body, "/state") {
            "MERGED" => merged(body, &["/properties/mergeCommit/id"]),
            "OPEN" => Standing::Open,
            "DECLINED" => Standing::Closed,
            _ => return None,
        })
    }

    fn comments(&self, pull: u64, page: u32) -> Request {
        let start = page.saturating_sub(1) * PAGE;
        Request::get(self.path(&format!("/pull-requests/{pull}/activities?limit={PAGE}&start={start}")))
    }

    fn read_comments(&self, body: &Value) -> (Vec<Comment>, bool) {
        let said =
            items(body, "/values").iter().filter(|a| a["action"] == "COMMENTED").filter_map(|a| a.get("comment"));
        let comment = |c: &Value| Comment {
            id: format!("{}/{}", id(c, "/id"), id(c, "/version")),
            body: text(c, "/text").to_owned(),
        };
        (said.map(comment).collect(), body["isLastPage"] == false)
    }

    fn create_comment(&self, pull: u64, text: &str) -> Request {
        Request::send("POST", self.path(&format!("/pull-requests/{pull}/comments")), json!({"text": text}))
    }

    fn update_comment(&self, pull: u64, comment: &Comment, text: &str) -> Request {
        let (id, version) = comment.id.split_once('/').unwrap_or((&comment.id, "0"));
        let version: u64 = version.parse().unwrap_or(0);
        let path = self.path(&format!("/pull-requests/{pull}/comments/{id}"));
        Request::send("PUT", path, json!({"text": text, "version": version}))
    }
}
