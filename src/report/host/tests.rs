//! Requests and answers of each host, as its published documentation shows them.

use super::*;
use crate::report::status::ContextKind;
use serde_json::json;

fn place(kind: ReportKind, url: &str) -> Place {
    Place::of(kind, url, None).unwrap()
}

fn note(state: State) -> Note {
    let revision = Revision::parse("6dcb09b5b57875f334f61aebed695e2e4193db5e").unwrap();
    let context = Context::new("driftless", ContextKind::Sync);
    Note::new(Timestamp::UNIX_EPOCH, &revision, &context, state, "applied in 840ms")
}

#[test]
fn places() {
    use ReportKind::{AzureDevOps, BitbucketCloud, BitbucketDataCenter, Forgejo, GitHub, GitLab, Gitea};
    for (kind, url, api, web) in [
        (GitHub, "https://github.com/acme/shop.git", "https://api.github.com", "https://github.com/acme/shop"),
        (GitHub, "https://git.acme.com/acme/shop", "https://git.acme.com/api/v3", "https://git.acme.com/acme/shop"),
        (
            GitLab,
            "https://gitlab.com/acme/web/shop.git",
            "https://gitlab.com/api/v4",
            "https://gitlab.com/acme/web/shop",
        ),
        (
            Gitea,
            "http://127.0.0.1:3000/acme/shop.git",
            "http://127.0.0.1:3000/api/v1",
            "http://127.0.0.1:3000/acme/shop",
        ),
        (Forgejo, "https://acme.com/git/acme/shop", "https://acme.com/git/api/v1", "https://acme.com/git/acme/shop"),
        (
            BitbucketCloud,
            "https://bitbucket.org/acme/shop.git",
            "https://api.bitbucket.org/2.0",
            "https://bitbucket.org/acme/shop",
        ),
        (
            BitbucketDataCenter,
            "https://bb.acme.com/ctx/scm/PRJ/shop.git",
            "https://bb.acme.com/ctx/rest/api/latest",
            "https://bb.acme.com/ctx/projects/PRJ/repos/shop",
        ),
        (
            BitbucketDataCenter,
            "https://bb.acme.com/scm/~jane/shop.git",
            "https://bb.acme.com/rest/api/latest",
            "https://bb.acme.com/users/jane/repos/shop",
        ),
        (
            AzureDevOps,
            "https://dev.azure.com/acme/My%20Project/_git/shop",
            "https://dev.azure.com/acme/My%20Project/_apis/git/repositories/shop",
            "https://dev.azure.com/acme/My%20Project/_git/shop",
        ),
        (
            AzureDevOps,
            "https://acme.visualstudio.com/DefaultCollection/Web/_git/shop",
            "https://acme.visualstudio.com/Web/_apis/git/repositories/shop",
            "https://acme.visualstudio.com/Web/_git/shop",
        ),
        (
            AzureDevOps,
            "https://dev.azure.com/acme/_git/shop",
            "https://dev.azure.com/acme/shop/_apis/git/repositories/shop",
            "https://dev.azure.com/acme/shop/_git/shop",
        ),
    ] {
        let place = place(kind, url);
        assert_eq!((place.api.as_str(), place.web.as_str()), (api, web), "{url}");
    }
    for (kind, url) in [
        (GitHub, "https://github.com/acme"),
        (GitHub, "/srv/git/shop.git"),
        (AzureDevOps, "https://dev.azure.com/acme/shop"),
    ] {
        assert!(Place::of(kind, url, None).is_err(), "{url}");
    }
    assert_eq!(Place::of(GitHub, "https://github.com/a/b", Some("https://x/")).unwrap().api, "https://x");
    let named = Place::of(GitHub, "/srv/git/shop.git", Some("https://api.github.com/repos/acme/shop")).unwrap();
    assert_eq!((named.api.as_str(), named.web.as_str()), ("https://api.github.com", "https://github.com/acme/shop"));
    let named =
        Place::of(GitLab, "/srv/git/shop.git", Some("https://gl.acme.com/api/v4/projects/a%2Fb%2Fshop")).unwrap();
    assert_eq!((named.owner.as_str(), named.name.as_str()), ("a/b", "shop"));
}

/// docs.github.com/en/rest/commits/statuses, "Create a commit status" and "List commit statuses for a reference".
#[test]
fn github() {
    let api = api(ReportKind::GitHub, place(ReportKind::GitHub, "https://github.com/octocat/Hello-World")).unwrap();
    let request = api.status(&note(State::Superseded));
    assert_eq!(
        (request.method, request.path.as_str()),
        ("POST", "/repos/octocat/Hello-World/statuses/6dcb09b5b57875f334f61aebed695e2e4193db5e")
    );
    let body = request.body.unwrap();
    assert_eq!((&body["state"], &body["context"]), (&json!("error"), &json!("driftless/sync")));
    let listed = json!([
        {"state": "success", "description": "Build has completed successfully", "context": "continuous-integration/jenkins"},
        {"state": "error", "description": "superseded by 1a2b3c4", "context": "driftless/sync"},
        {"state": "pending", "description": "seen", "context": "driftless/sync"},
    ]);
    let states: Vec<State> = api.read_statuses(&listed).into_iter().map(|said| said.state).collect();
    assert_eq!(states, [State::Pending, State::Superseded]);
    let comment = Comment { id: "1".into(), body: String::new() };
    assert_eq!(
        api.update_comment(42, &comment, "x"),
        Request::send("PATCH", "/repos/octocat/Hello-World/issues/comments/1".into(), json!({"body": "x"}))
    );
}

/// docs.gitlab.com/api/commits, "Set commit pipeline status"; docs.gitlab.com/api/notes.
#[test]
fn gitlab() {
    let api = api(ReportKind::GitLab, place(ReportKind::GitLab, "https://gitlab.com/acme/web/shop.git")).unwrap();
    let request = api.status(&note(State::Superseded));
    assert_eq!(request.path, "/projects/acme%2Fweb%2Fshop/statuses/6dcb09b5b57875f334f61aebed695e2e4193db5e");
    assert_eq!(request.body.unwrap()["state"], "canceled");
    let listed = json!([{"status": "failed", "name": "driftless/sync", "id": 93, "description": null}, {"status": "success", "name": "bundler:audit"}]);
    assert_eq!(heard(api.as_ref(), &listed), ["driftless/sync failure - "]);
    let again = Reply {
        code: 400,
        headers: Vec::new(),
        body: json!({"message": "Cannot transition status via :run from :running (Reason(s): Status cannot transition via \"run\")"}),
    };
    assert!(api.is_there_already(&again));
}

/// A Gitea's /api/swagger: repoCreateStatus, repoListStatuses.
#[test]
fn gitea_and_forgejo() {
    for (kind, word) in [(ReportKind::Gitea, "skipped"), (ReportKind::Forgejo, "warning")] {
        let api = api(kind, place(kind, "https://codeberg.org/acme/shop")).unwrap();
        let body = api.status(&note(State::Superseded)).body.unwrap();
        assert_eq!(body["state"], word);
        let listed = json!([{"status": word, "context": "driftless/sync", "description": "superseded by 1a2b3c4"}]);
        assert_eq!(api.read_statuses(&listed)[0].state, State::Superseded);
        let status = |id: u64, status: &str| json!({"id": id, "status": status, "context": "driftless/sync"});
        let listed = json!([status(1, "pending"), status(2, "success")]);
        assert_eq!(api.read_statuses(&listed)[1].state, State::Success, "in whichever order they come");
    }
}

/// developer.atlassian.com/cloud/bitbucket/rest/api-group-commit-statuses, "Create a build status for a commit".
#[test]
fn bitbucket_cloud() {
    let api =
        api(ReportKind::BitbucketCloud, place(ReportKind::BitbucketCloud, "https://bitbucket.org/acme/shop")).unwrap();
    let mut long = note(State::Superseded);
    long.context = long.context.in_cluster("gke_some-project_europe-west1_production");
    let (short, long) = (api.status(&note(State::Pending)).body.unwrap(), api.status(&long).body.unwrap());
    assert_eq!((&short["key"], &short["state"]), (&json!("driftless/sync"), &json!("INPROGRESS")));
    let key = long["key"].as_str().unwrap();
    assert!(
        key.len() <= 40
            && long["state"] == "STOPPED"
            && long["url"].as_str().unwrap().starts_with("https://bitbucket.org/acme/shop/commits/"),
        "{long}"
    );
    let page = json!({"values": [{"id": 7, "content": {"raw": "a"}}, {"id": 8, "deleted": true, "content": {"raw": "b"}}], "next": "https://…"});
    assert_eq!(api.read_comments(&page), (vec![Comment { id: "7".into(), body: "a".into() }], true));
}

/// developer.atlassian.com/server/bitbucket/rest, "Store build status" and "Get pull request activity".
#[test]
fn bitbucket_data_center() {
    let api = api(
        ReportKind::BitbucketDataCenter,
        place(ReportKind::BitbucketDataCenter, "https://bb.acme.com/scm/PRJ/shop.git"),
    )
    .unwrap();
    let request = api.status(&note(State::Superseded));
    assert_eq!(request.path, "/projects/PRJ/repos/shop/commits/6dcb09b5b57875f334f61aebed695e2e4193db5e/builds");
    assert_eq!(request.body.unwrap()["state"], "CANCELLED");
    let page = json!({"isLastPage": true, "values": [{"action": "COMMENTED", "comment": {"id": 62, "version": 3, "text": "a"}}, {"action": "OPENED"}]});
    let (comments, more) = api.read_comments(&page);
    assert_eq!((comments[0].id.as_str(), more), ("62/3", false));
    assert_eq!(api.update_comment(1, &comments[0], "x").body.unwrap(), json!({"text": "x", "version": 3}));
    assert!(
        api.statuses(&note(State::Pending).revision)
            .path
            .starts_with("https://bb.acme.com/rest/build-status/latest/commits/")
    );
}

/// learn.microsoft.com/rest/api/azure/devops/git/statuses/create and …/pull-request-threads.
#[test]
fn azure_devops() {
    let api = api(ReportKind::AzureDevOps, place(ReportKind::AzureDevOps, "https://dev.azure.com/acme/Web/_git/shop"))
        .unwrap();
    let request = api.status(&note(State::Success));
    assert_eq!(request.path, "/commits/6dcb09b5b57875f334f61aebed695e2e4193db5e/statuses?api-version=7.1");
    let body = request.body.unwrap();
    assert_eq!(
        (&body["state"], &body["context"]),
        (&json!("succeeded"), &json!({"genre": "driftless", "name": "sync"}))
    );
    let listed =
        json!({"count": 1, "value": [{"state": "notApplicable", "context": {"name": "sync", "genre": "driftless"}}]});
    assert_eq!(heard(api.as_ref(), &listed), ["driftless/sync superseded - "]);
    let threads = json!({"value": [{"id": 148, "comments": [{"id": 1, "content": "a"}]}, {"id": 149, "isDeleted": true, "comments": [{"id": 1}]}]});
    assert_eq!(api.read_comments(&threads).0, [Comment { id: "148/1".into(), body: "a".into() }]);
}

/// The hosts' documented pull requests: `GET …/pulls`, `…/merge_requests`, `…/pullrequests`, `…/pull-requests`.
#[test]
fn pull_requests() {
    let of = |kind: ReportKind, url: &str, body: &Value| api(kind, place(kind, url)).unwrap().read_pulls(body).0;
    let github = json!([
        {"number": 1347, "head": {"sha": "6dcb09b", "ref": "new-topic", "repo": {"full_name": "octocat/Hello-World"}}, "base": {"ref": "master", "repo": {"full_name": "octocat/Hello-World"}}},
        {"number": 2, "head": {"sha": "a", "repo": null}, "base": {"ref": "master", "repo": {"full_name": "octocat/Hello-World"}}}]);
    let pulls = of(ReportKind::GitHub, "https://github.com/octocat/Hello-World", &github);
    assert_eq!(
        pulls[0],
        Pull {
            number: 1347,
            head: "6dcb09b".into(),
            base: "master".into(),
            fork: false,
            fetch: "refs/pull/1347/head".into()
        }
    );
    assert!(pulls[1].fork, "of a fork that is gone");
    let gitlab =
        json!([{"iid": 5, "sha": "8888", "target_branch": "main", "source_project_id": 2, "target_project_id": 3}]);
    let pull = &of(ReportKind::GitLab, "https://gitlab.com/a/b", &gitlab)[0];
    assert!(pull.fork && pull.fetch == "refs/merge-requests/5/head");
    let cloud = json!({"values": [{"id": 1, "source": {"commit": {"hash": "d3022fc0ca3d"}, "branch": {"name": "feature"}, "repository": {"full_name": "a/b"}},
        "destination": {"branch": {"name": "main"}, "repository": {"full_name": "a/b"}}}]});
    let pull = &of(ReportKind::BitbucketCloud, "https://bitbucket.org/a/b", &cloud)[0];
    assert!(!pull.fork && pull.fetch == "refs/heads/feature" && pull.base == "main");
    let server = json!({"isLastPage": true, "values": [{"id": 101, "fromRef": {"latestCommit": "ab", "repository": {"id": 1}}, "toRef": {"displayId": "main", "repository": {"id": 1}}}]});
    let pull = &of(ReportKind::BitbucketDataCenter, "https://bb.acme.com/scm/PRJ/shop.git", &server)[0];
    assert!(!pull.fork && pull.fetch == "refs/pull-requests/101/from");
    let azure = json!({"value": [{"pullRequestId": 22, "sourceRefName": "refs/heads/new", "targetRefName": "refs/heads/main", "lastMergeSourceCommit": {"commitId": "b6"}}]});
    let pull = &of(ReportKind::AzureDevOps, "https://dev.azure.com/acme/Web/_git/shop", &azure)[0];
    assert_eq!((pull.base.as_str(), pull.fork, pull.fetch.as_str()), ("main", false, "refs/heads/new"));
}

/// One pull request, by number: docs.github.com/en/rest/pulls/pulls "Get a pull request"; docs.gitlab.com/api/merge_requests
/// "Get single MR"; a Gitea's /api/swagger repoGetPullRequest; developer.atlassian.com/cloud/bitbucket/rest/api-group-pullrequests
/// "Get a pull request"; developer.atlassian.com/server/bitbucket/rest "Get pull request";
/// learn.microsoft.com/rest/api/azure/devops/git/pull-requests/get-pull-request.
#[test]
fn where_a_pull_request_stands() {
    let of = |kind: ReportKind, url: &str| api(kind, place(kind, url)).unwrap();
    let at = |commit: &str| Some(Standing::Merged(Merge { commit: Some(commit.to_owned()) }));
    let nowhere = Some(Standing::Merged(Merge { commit: None }));
    let sha = "e5bd3914e2e596debea16f433f57875b5b90bcd6";
    let hub = of(ReportKind::GitHub, "https://github.com/octocat/Hello-World");
    let tea = of(ReportKind::Gitea, "https://codeberg.org/acme/shop");
    let lab = of(ReportKind::GitLab, "https://gitlab.com/acme/web/shop.git");
    let cloud = of(ReportKind::BitbucketCloud, "https://bitbucket.org/acme/shop");
    let center = of(ReportKind::BitbucketDataCenter, "https://bb.acme.com/scm/PRJ/shop.git");
    let azure = of(ReportKind::AzureDevOps, "https://dev.azure.com/acme/Web/_git/shop");
    for (api, path, answers) in [
        (
            &hub,
            "/repos/octocat/Hello-World/pulls/1347",
            vec![
                // Of one that is open it is the commit of a trial.
                (
                    json!({"number": 1347, "state": "open", "merged": false, "merge_commit_sha": sha}),
                    Some(Standing::Open),
                ),
                (json!({"state": "closed", "merged": false, "merge_commit_sha": sha}), Some(Standing::Closed)),
                (json!({"state": "closed", "merged": true, "merge_commit_sha": sha}), at(sha)),
                (json!({"state": "closed", "merged": true, "merge_commit_sha": null}), nowhere.clone()),
                (json!({"message": "Not Found"}), None),
            ],
        ),
        (
            &tea,
            "/repos/acme/shop/pulls/1347",
            vec![
                (json!({"state": "open", "merged": false, "merge_commit_sha": null}), Some(Standing::Open)),
                (json!({"state": "closed", "merged": false, "merge_commit_sha": null}), Some(Standing::Closed)),
                (json!({"state": "closed", "merged": true, "merge_commit_sha": sha}), at(sha)),
            ],
        ),
        (
            &lab,
            "/projects/acme%2Fweb%2Fshop/merge_requests/1347",
            vec![
                (
                    json!({"iid": 1347, "state": "opened", "sha": "aaaaaaaa", "merge_commit_sha": null}),
                    Some(Standing::Open),
                ),
                (json!({"state": "locked", "merge_commit_sha": sha}), Some(Standing::Open)),
                (json!({"state": "closed", "sha": "aaaaaaaa", "merge_commit_sha": null}), Some(Standing::Closed)),
                (
                    json!({"state": "merged", "sha": "aaaaaaaa", "merge_commit_sha": sha, "squash_commit_sha": "bbbbbbbb"}),
                    at(sha),
                ),
                (
                    json!({"state": "merged", "sha": "aaaaaaaa", "merge_commit_sha": null, "squash_commit_sha": sha}),
                    at(sha),
                ),
                (json!({"state": "merged", "sha": sha, "merge_commit_sha": null, "squash_commit_sha": null}), at(sha)),
            ],
        ),
        (
            &cloud,
            "/repositories/acme/shop/pullrequests/1347",
            vec![
                (json!({"id": 1347, "state": "OPEN", "merge_commit": null}), Some(Standing::Open)),
                (json!({"state": "DECLINED", "merge_commit": null}), Some(Standing::Closed)),
                (json!({"state": "SUPERSEDED"}), Some(Standing::Closed)),
                (json!({"state": "MERGED", "merge_commit": {"hash": "764413d85e29"}}), at("764413d85e29")),
                // So short that it fits many.
                (json!({"state": "MERGED", "merge_commit": {"hash": "76"}}), nowhere.clone()),
            ],
        ),
        (
            &center,
            "/projects/PRJ/repos/shop/pull-requests/1347",
            vec![
                (json!({"id": 1347, "state": "OPEN"}), Some(Standing::Open)),
                (json!({"state": "DECLINED"}), Some(Standing::Closed)),
                (
                    json!({"state": "MERGED", "properties": {"mergeCommit": {"displayId": "e5bd391", "id": sha}}}),
                    at(sha),
                ),
            ],
        ),
        (
            &azure,
            "/pullrequests/1347?api-version=7.1",
            vec![
                (
                    json!({"pullRequestId": 1347, "status": "active", "lastMergeCommit": {"commitId": sha}}),
                    Some(Standing::Open),
                ),
                (json!({"status": "abandoned", "lastMergeCommit": {"commitId": sha}}), Some(Standing::Closed)),
                (json!({"status": "completed", "lastMergeCommit": {"commitId": sha}}), at(sha)),
                (json!({"status": "notSet"}), None),
            ],
        ),
    ] {
        assert_eq!(api.pull(1347), Request::get(path.into()));
        for (body, expected) in answers {
            assert_eq!(api.read_standing(&body), expected, "{}: {body}", api.name());
        }
    }
}

#[test]
fn refusals() {
    let now = Timestamp::from_second(1000).unwrap();
    let of = |code: u16, headers: &[(&str, &str)], message: &str| {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let asked = Request::get("/repos/acme/comments/statuses/6dcb09b".into());
        refusal("github", &asked, &Reply { code, headers, body: json!({"message": message}) }, now)
    };
    let seconds = |error: &SendError| error.retry_after.map(|wait| wait.as_secs());
    assert_eq!(seconds(&of(429, &[("retry-after", "7")], "")), Some(7));
    assert_eq!(seconds(&of(503, &[("retry-after", "Thu, 01 Jan 1970 00:17:10 GMT")], "")), Some(30));
    assert_eq!(
        seconds(&of(403, &[("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", "1100")], "API rate limit exceeded")),
        Some(100)
    );
    assert_eq!(seconds(&of(429, &[("retry-after", "999999999")], "")), Some(6 * 3600));
    let limit = of(422, &[], "Validation Failed: This SHA and context has reached the maximum number of statuses.");
    assert!(limit.permanent && limit.message.contains("maximum number"));
    for code in [401, 403, 404, 203] {
        let denied = of(code, &[], "Bad credentials");
        assert!(denied.denied && !denied.permanent, "{code}");
    }
    let down = of(502, &[], "");
    assert!(!down.denied && !down.permanent && down.retry_after.is_none());
}

/// `context state time description` of each.
fn heard(api: &dyn HostApi, listed: &Value) -> Vec<String> {
    let text = |said: Said| {
        let time = said.time.map_or_else(|| "-".to_owned(), |time| time.to_string());
        format!("{} {} {time} {}", said.context, said.state, said.description)
    };
    api.read_statuses(listed).into_iter().map(text).collect()
}

/// When and in which words, as each host's documentation shows it; what would act on a terminal is dropped.
#[test]
fn statuses_have_their_time_and_their_words() {
    use ReportKind::{AzureDevOps, BitbucketCloud, BitbucketDataCenter, Forgejo, GitHub, GitLab, Gitea};
    let expected = "driftless/sync success 2012-07-20T01:19:13Z applied in 1.2s";
    let of = |state: (&str, &str), name: &str, time: (&str, Value)| json!({state.0: state.1, name: "driftless/sync", time.0: time.1, "description": "applied\u{1b} in 1.2s", "id": 1});
    let second = || json!("2012-07-20T01:19:13Z");
    for (kind, url, body) in [
        (GitHub, "https://github.com/a/b", json!([of(("state", "success"), "context", ("created_at", second()))])),
        (
            Gitea,
            "https://gitea.com/a/b",
            json!([of(("status", "success"), "context", ("created_at", json!("2012-07-20T03:19:13+02:00")))]),
        ),
        (Forgejo, "https://codeberg.org/a/b", json!([of(("status", "success"), "context", ("created_at", second()))])),
        (
            GitLab,
            "https://gitlab.com/a/b",
            json!([of(("status", "success"), "name", ("created_at", json!("2012-07-20T01:19:13.000Z")))]),
        ),
        (
            BitbucketCloud,
            "https://bitbucket.org/a/b",
            json!({"values": [of(("state", "SUCCESSFUL"), "name", ("updated_on", json!("2012-07-20T01:19:13+00:00")))]}),
        ),
        (
            BitbucketDataCenter,
            "https://bb.acme.com/scm/A/b.git",
            json!({"values": [of(("state", "SUCCESSFUL"), "name", ("dateAdded", json!(1_342_747_153_000_i64)))]}),
        ),
    ] {
        let api = api(kind, place(kind, url)).unwrap();
        assert_eq!(heard(api.as_ref(), &body), [expected], "{kind:?}");
    }
    let api = api(AzureDevOps, place(AzureDevOps, "https://dev.azure.com/acme/Web/_git/shop")).unwrap();
    let body = json!({"value": [{"state": "succeeded", "description": "applied in 1.2s", "creationDate": second(),
        "context": {"genre": "driftless", "name": "sync"}}]});
    assert_eq!(heard(api.as_ref(), &body), [expected]);
}

#[test]
fn a_refusal_says_which_right_is_missing() {
    let no = Reply { code: 403, ..Reply::default() };
    for (path, right) in [
        ("/repos/acme/comments/statuses/6dcb09b", "write statuses"),
        ("/repos/acme/shop/issues/7/comments", "write comments on pull requests"),
        ("/repos/acme/shop/issues/comments/12?x=1", "write comments on pull requests"),
        ("/projects/acme%2Fshop/merge_requests/7/notes", "write comments on pull requests"),
        ("/repos/acme/shop/pulls?state=open", "read pull requests"),
    ] {
        let error = refusal("gitea", &Request::get(path.into()), &no, Timestamp::UNIX_EPOCH);
        assert!(error.message.contains(&format!("may not {right} of this repository")), "{path}: {}", error.message);
    }
}

#[test]
fn each_host_is_told_as_much_as_it_takes() {
    use ReportKind::{AzureDevOps, BitbucketCloud, BitbucketDataCenter, Forgejo, GitHub, GitLab, Gitea};
    let text = "x".repeat(2_000);
    let (known, context) = (note(State::Failure), Context::new("driftless", ContextKind::Sync));
    let note = Note::new(Timestamp::UNIX_EPOCH, &known.revision, &context, State::Failure, &text);
    assert_eq!(note.description, text, "notes in Git have all of it");
    for (kind, url, longest) in [
        (GitHub, "https://github.com/acme/shop.git", 140),
        (GitLab, "https://gitlab.com/acme/shop.git", 255),
        (Gitea, "https://acme.com/acme/shop.git", 1_000),
        (Forgejo, "https://acme.com/acme/shop.git", 1_000),
        (BitbucketCloud, "https://bitbucket.org/acme/shop.git", 255),
        (BitbucketDataCenter, "https://bb.acme.com/scm/PRJ/shop.git", 255),
        (AzureDevOps, "https://dev.azure.com/acme/My%20Project/_git/shop", 255),
    ] {
        let api = api(kind, place(kind, url)).unwrap();
        let body = api.status(&note).body.unwrap_or_default();
        let said = body["description"].as_str().unwrap_or_default().chars().count();
        assert_eq!((said, api.longest_description()), (longest, longest), "{kind:?}");
    }
}
