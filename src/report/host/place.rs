//! Where a repository is, as its host's API knows it: read from the address that Git uses. Pure.

use super::encoded;
use crate::config::ReportKind;
use reqwest::Url;

/// A repository on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Address of the API, without a slash at the end.
    pub api: String,
    /// Address for people, without a slash at the end.
    pub web: String,
    /// Owner, group path, project or workspace, as it stands in the address.
    pub owner: String,
    /// Name.
    pub name: String,
    /// Azure DevOps: the project, beside its organisation.
    pub project: String,
}

/// An address that is no repository of this kind of host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{url} is no repository of {kind}: {why}")]
pub struct NoPlace {
    /// The address.
    pub url: String,
    /// The host's kind.
    pub kind: &'static str,
    /// What is missing.
    pub why: &'static str,
}

impl Place {
    /// Reads the address of a repository. `api`: the API's address, where it is not to be told from that; the address of
    /// the repository in the API (`https://api.github.com/repos/acme/shop`), where Git uses another one altogether.
    ///
    /// # Errors
    /// Where owner and name are in neither.
    pub fn of(kind: ReportKind, url: &str, api: Option<&str>) -> Result<Self, NoPlace> {
        if let Some(place) = api.and_then(|api| named_by_api(kind, api.trim_end_matches('/'))) {
            return Ok(place);
        }
        let no = |why: &'static str| NoPlace { url: url.to_owned(), kind: word(kind), why };
        let parsed =
            Url::parse(url).map_err(|_| no("it is not at an http(s) address; give `url`, the API's address"))?;
        let host = parsed.host_str().ok_or_else(|| no("it has no host"))?.to_owned();
        let origin = match parsed.port() {
            Some(port) => format!("{}://{host}:{port}", parsed.scheme()),
            None => format!("{}://{host}", parsed.scheme()),
        };
        let path = parsed.path().trim_matches('/');
        let path = path.strip_suffix(".git").unwrap_or(path);
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let own = api.map(|api| api.trim_end_matches('/').to_owned());
        let two = || match parts.as_slice() {
            [.., owner, name] => Ok((owner.to_string(), name.to_string())),
            _ => Err(no("an owner and a name are needed")),
        };
        // What stands before owner and name is where the host is installed.
        let root = |used: usize| {
            let before = parts.get(..parts.len().saturating_sub(used)).unwrap_or_default().join("/");
            if before.is_empty() { origin.clone() } else { format!("{origin}/{before}") }
        };
        let project = String::new();
        Ok(match kind {
            ReportKind::GitHub => {
                let (owner, name) = two()?;
                let public =
                    if host == "github.com" { "https://api.github.com".to_owned() } else { format!("{origin}/api/v3") };
                Self { api: own.unwrap_or(public), web: format!("{origin}/{owner}/{name}"), owner, name, project }
            }
            ReportKind::GitLab => {
                let (group, name) = path.rsplit_once('/').ok_or_else(|| no("a group and a name are needed"))?;
                let (owner, name) = (group.to_owned(), name.to_owned());
                Self {
                    api: own.unwrap_or(format!("{origin}/api/v4")),
                    web: format!("{origin}/{path}"),
                    owner,
                    name,
                    project,
                }
            }
            ReportKind::Gitea | ReportKind::Forgejo => {
                let (owner, name) = two()?;
                let root = root(2);
                Self {
                    api: own.unwrap_or(format!("{root}/api/v1")),
                    web: format!("{root}/{owner}/{name}"),
                    owner,
                    name,
                    project,
                }
            }
            ReportKind::BitbucketCloud => {
                let (owner, name) = two()?;
                let public = "https://api.bitbucket.org/2.0".to_owned();
                Self { api: own.unwrap_or(public), web: format!("{origin}/{owner}/{name}"), owner, name, project }
            }
            ReportKind::BitbucketDataCenter => {
                // `/scm/KEY/name.git`, below where it is installed; a personal repository's key begins with `~`.
                let (owner, name) = two()?;
                let used = if parts.len() >= 3 && parts[parts.len() - 3] == "scm" { 3 } else { 2 };
                let root = root(used);
                let web = match owner.strip_prefix('~') {
                    Some(user) => format!("{root}/users/{user}/repos/{name}"),
                    None => format!("{root}/projects/{owner}/repos/{name}"),
                };
                Self { api: own.unwrap_or(format!("{root}/rest/api/latest")), web, owner, name, project }
            }
            ReportKind::AzureDevOps => {
                azure(&host, &origin, &parts, own).ok_or_else(|| no("it needs ORGANISATION/PROJECT/_git/NAME"))?
            }
            ReportKind::GitNotes => return Err(no("notes need no host")),
        })
    }

    /// Where a person sees a commit.
    pub fn commit_page(&self, kind: ReportKind, revision: &str) -> String {
        let word = match kind {
            ReportKind::GitLab => "-/commit",
            ReportKind::BitbucketCloud | ReportKind::BitbucketDataCenter => "commits",
            _ => "commit",
        };
        format!("{}/{word}/{revision}", self.web)
    }
}

/// A repository that is named by its address in the API.
fn named_by_api(kind: ReportKind, api: &str) -> Option<Place> {
    let two = |rest: &str| rest.split_once('/').map(|(owner, name)| (owner.to_owned(), name.to_owned()));
    let (base, (owner, name)) = match kind {
        ReportKind::GitHub | ReportKind::Gitea | ReportKind::Forgejo => {
            let (base, rest) = api.split_once("/repos/")?;
            (base, two(rest)?)
        }
        ReportKind::GitLab => {
            let (base, rest) = api.split_once("/projects/")?;
            let path = decoded(rest);
            let (group, name) = path.rsplit_once('/')?;
            (base, (group.to_owned(), name.to_owned()))
        }
        ReportKind::BitbucketCloud => {
            let (base, rest) = api.split_once("/repositories/")?;
            (base, two(rest)?)
        }
        ReportKind::BitbucketDataCenter => {
            let (base, rest) = api.split_once("/projects/")?;
            let (key, slug) = rest.split_once("/repos/")?;
            (base, (key.to_owned(), slug.to_owned()))
        }
        ReportKind::AzureDevOps | ReportKind::GitNotes => return None,
    };
    if name.contains('/') || owner.is_empty() || name.is_empty() {
        return None;
    }
    let host = Url::parse(base).ok()?;
    let site = match (kind, host.host_str()?) {
        (ReportKind::GitHub, "api.github.com") => "https://github.com".to_owned(),
        (ReportKind::BitbucketCloud, "api.bitbucket.org") => "https://bitbucket.org".to_owned(),
        _ => host.origin().ascii_serialization(),
    };
    Some(Place { api: base.to_owned(), web: format!("{site}/{owner}/{name}"), owner, name, project: String::new() })
}

/// `https://dev.azure.com/ORG/PROJECT/_git/NAME`, `https://ORG.visualstudio.com/PROJECT/_git/NAME`, or a server's
/// `https://HOST/COLLECTION/PROJECT/_git/NAME`; a project's own repository may leave its name out twice.
fn azure(host: &str, origin: &str, parts: &[&str], own: Option<String>) -> Option<Place> {
    let at = parts.iter().position(|part| *part == "_git")?;
    let name = (*parts.get(at + 1)?).to_owned();
    let before: Vec<&str> = parts.get(..at)?.iter().copied().filter(|part| *part != "DefaultCollection").collect();
    let (owner, project) = match (before.as_slice(), host.strip_suffix(".visualstudio.com")) {
        ([project], Some(organisation)) => (organisation.to_owned(), (*project).to_owned()),
        ([], Some(organisation)) => (organisation.to_owned(), name.clone()),
        ([organisation, project], None) => ((*organisation).to_owned(), (*project).to_owned()),
        ([organisation], None) => ((*organisation).to_owned(), name.clone()),
        _ => return None,
    };
    let root = if host.ends_with(".visualstudio.com") { origin.to_owned() } else { format!("{origin}/{owner}") };
    let web = format!("{root}/{project}/_git/{name}");
    let api = own.unwrap_or_else(|| {
        format!("{root}/{}/_apis/git/repositories/{}", encoded(&decoded(&project)), encoded(&decoded(&name)))
    });
    Some(Place { api, web, owner, name, project })
}

/// An address' part as text: `My%20Project`.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = |b: &u8| char::from(*b).to_digit(16).and_then(|d| u8::try_from(d).ok());
        rest = match (first, tail) {
            (b'%', [high, low, after @ ..]) if hex(high).is_some() && hex(low).is_some() => {
                bytes.push(hex(high).unwrap_or(0) * 16 + hex(low).unwrap_or(0));
                after
            }
            _ => {
                bytes.push(*first);
                tail
            }
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The kind as a person writes it.
pub(super) fn word(kind: ReportKind) -> &'static str {
    match kind {
        ReportKind::GitHub => "GitHub",
        ReportKind::GitLab => "GitLab",
        ReportKind::Gitea => "Gitea",
        ReportKind::Forgejo => "Forgejo",
        ReportKind::BitbucketCloud => "Bitbucket Cloud",
        ReportKind::BitbucketDataCenter => "Bitbucket Data Center",
        ReportKind::AzureDevOps => "Azure DevOps",
        ReportKind::GitNotes => "Git notes",
    }
}
