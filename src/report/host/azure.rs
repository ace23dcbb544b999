//! Azure DevOps Services and Server. Documentation: learn.microsoft.com/rest/api/azure/devops/git/statuses and
//! …/git/pull-request-threads and …/git/pull-requests/get-pull-request (API version 7.1).
//!
//! A status has a name and a genre; `notApplicable` is its word for what was superseded. A token that is not accepted is
//! answered with 203 and a sign-in page. A comment takes 150,000 characters; a thread that asks nothing is `closed`, so
//! that it blocks no merge.

use super::{Comment, HostApi, Login, Place, Pull, Request, Said, id, items, merged, text};
use crate::config::ReportKind;
use crate::inventory::Standing;
use crate::report::status::{Note, State, describe};
use crate::source::Revision;
use serde_json::{Value, json};

const VERSION: &str = "api-version=7.1";

pub(super) struct Azure(pub(super) Place);

impl HostApi for Azure {
    fn name(&self) -> &'static str {
        "azure-devops"
    }

    fn login(&self) -> Login {
        Login::Basic
    }

    fn longest_comment(&self) -> usize {
        150_000
    }

    fn longest_description(&self) -> usize {
        255
    }

    fn status(&self, note: &Note) -> Request {
        let state = match note.state {
            State::Pending => "pending",
            State::Success => "succeeded",
            State::Failure => "failed",
            State::Error => "error",
            State::Superseded => "notApplicable",
        };
        let context = note.context.to_string();
        // `driftless/eu-1` and `sync`: what branch policies ask for is `genre/name`.
        let (genre, name) = context.rsplit_once('/').unwrap_or(("driftless", &context));
        let body = json!({
            "state": state,
            "description": describe(&note.description, self.longest_description()),
            "context": {"genre": genre, "name": name},
            "targetUrl": self.0.commit_page(ReportKind::AzureDevOps, note.revision.as_str()),
        });
        Request::send("POST", format!("/commits/{}/statuses?{VERSION}", note.revision), body)
    }

    fn statuses(&self, revision: &Revision) -> Request {
        Request::get(format!("/commits/{revision}/statuses?{VERSION}&latestOnly=true&top=100"))
    }

    fn read_statuses(&self, body: &Value) -> Vec<Said> {
        let read = |status: &Value| {
            let context =
                format!("{}/{}", text(status, "/context/genre"), text(status, "/context/name")).parse().ok()?;
            let state = match text(status, "/state") {
                "pending" => State::Pending,
                "succeeded" => State::Success,
                "failed" => State::Failure,
                "error" => State::Error,
                "notApplicable" => State::Superseded,
                _ => return None,
            };
            Some(Said::of(status, context, state, &["/creationDate"]))
        };
        items(body, "/value").iter().filter_map(read).collect()
    }

    fn pulls(&self, page: u32) -> Request {
        let skip = page.saturating_sub(1) * 100;
        Request::get(format!("/pullrequests?searchCriteria.status=active&$top=100&$skip={skip}&{VERSION}"))
    }

    fn read_pulls(&self, body: &Value) -> (Vec<Pull>, bool) {
        let read = |pull: &Value| {
            Some(Pull {
                number: pull.get("pullRequestId")?.as_u64()?,
                head: text(pull, "/lastMergeSourceCommit/commitId").to_owned(),
                base: text(pull, "/targetRefName").trim_start_matches("refs/heads/").to_owned(),
                fork: pull.get("forkSource").is_some_and(|fork| !fork.is_null()),
                fetch: text(pull, "/sourceRefName").to_owned(),
            })
        };
        let all = items(body, "/value");
        (all.iter().filter_map(read).collect(), all.len() == 100)
    }

    fn pull(&self, pull: u64) -> Request {
        Request::get(format!("/pullrequests/{pull}?{VERSION}"))
    }

    fn read_standing(&self, body: &Value) -> Option<Standing> {
        Some(match text(body, "/status") {
            "completed" => merged(body, &["/lastMergeCommit/commitId"]),
            "active" => Standing::Open,
            "abandoned" => Standing::Closed,
            _ => return None,
        })
    }

    fn comments(&self, pull: u64, _page: u32) -> Request {
        Request::get(format!("/pullRequests/{pull}/threads?{VERSION}"))
    }

    fn read_comments(&self, body: &Value) -> (Vec<Comment>, bool) {
        let threads = items(body, "/value").iter().filter(|thread| thread["isDeleted"] != true);
        let all = threads.flat_map(|thread| {
            items(thread, "/comments").iter().filter(|c| c["isDeleted"] != true).map(|comment| Comment {
                id: format!("{}/{}", id(thread, "/id"), id(comment, "/id")),
                body: text(comment, "/content").to_owned(),
            })
        });
        (all.collect(), false)
    }

    fn create_comment(&self, pull: u64, text: &str) -> Request {
        let body =
            json!({"status": "closed", "comments": [{"parentCommentId": 0, "commentType": "text", "content": text}]});
        Request::send("POST", format!("/pullRequests/{pull}/threads?{VERSION}"), body)
    }

    fn update_comment(&self, pull: u64, comment: &Comment, text: &str) -> Request {
        let (thread, id) = comment.id.split_once('/').unwrap_or((&comment.id, "1"));
        let path = format!("/pullRequests/{pull}/threads/{thread}/comments/{id}?{VERSION}");
        Request::send("PATCH", path, json!({"content": text}))
    }
}
