//! From the text of a file, or from flags, to a [`Config`].

use super::error::{ConfigError, Fault};
use super::file::File;
use super::format;
use super::lines::Lines;
use super::model::{Cluster, ClusterAccess, Config, Flags};
use super::resolve;
use super::walk;
use serde_json::Value;
use toml::de::DeTable;

/// Longest file taken, in bytes.
pub const SIZE_LIMIT: usize = 1 << 20;

/// The JSON Schema (2020-12) of `driftless.toml`, as `manifests/driftless.schema.json` holds it.
pub fn schema() -> Value {
    schemars::schema_for!(File).to_value()
}

impl Config {
    /// Reads a file's text. `file` is how errors name it. On error: everything that is wrong, in the order of lines.
    pub fn parse(text: &str, file: &str) -> Result<Self, Vec<ConfigError>> {
        let read = read(text, None).map_err(|faults| errors(faults, file))?;
        Ok(Self { file: file.to_owned(), ..read })
    }

    /// The same with `--path DIR`: the apps are those that are found below that directory, by every other word of the
    /// file. The apps that the file lists for its first repository are passed over.
    ///
    /// # Errors
    /// Everything that is wrong with the file, in the order of lines; a directory that leaves the tree.
    pub fn parse_below(text: &str, file: &str, dir: &str) -> Result<Self, Vec<ConfigError>> {
        let dir = format::relative_path(dir).map_err(|why| {
            let fault = Fault::Invalid { key: "--path".to_owned(), why };
            vec![ConfigError { file: String::new(), line: None, fault }]
        })?;
        let read = read(text, None).and_then(|_| read(text, Some(&dir))).map_err(|faults| errors(faults, file))?;
        Ok(Self { file: file.to_owned(), ..read })
    }

    /// The configuration that `--repo URL [--branch B] [--path DIR]` stands for: one repository whose apps are found, one
    /// cluster, every default.
    pub fn from_flags(flags: &Flags) -> Result<Self, ConfigError> {
        let refuse = |key: &str, why| ConfigError {
            file: String::new(),
            line: None,
            fault: Fault::Invalid { key: key.to_owned(), why },
        };
        format::check("git-url", &flags.repo).map_err(|why| refuse("--repo", why))?;
        let path = format::relative_path(flags.path.as_deref().unwrap_or_default());
        let mut config = resolve::defaults();
        for repository in &mut config.repositories {
            repository.name = name_of(&flags.repo);
            repository.url.clone_from(&flags.repo);
            repository.branch.clone_from(&flags.branch);
            repository.path = path.clone().map_err(|why| refuse("--path", why))?;
        }
        let access = if flags.embedded {
            ClusterAccess::Embedded
        } else {
            ClusterAccess::Kubeconfig { path: flags.kubeconfig.clone(), context: flags.context.clone() }
        };
        config.clusters = vec![Cluster { name: "default".to_owned(), access }];
        resolve::complete(&mut config);
        Ok(config)
    }
}

/// The last part of a URL or path without `.git`: what a repository is called where nobody named it.
fn name_of(url: &str) -> String {
    let last = url.trim_end_matches('/').rsplit(['/', ':']).find(|part| !part.is_empty()).unwrap_or_default();
    let bare = last.strip_suffix(".git").unwrap_or(last);
    if matches!(bare, "" | "." | "..") { resolve::HERE.to_owned() } else { bare.to_owned() }
}

fn errors(mut faults: Vec<(u32, Fault)>, file: &str) -> Vec<ConfigError> {
    faults.sort_by_key(|(line, _)| *line);
    faults.dedup();
    let at = |(line, fault)| ConfigError { file: file.to_owned(), line: Some(line), fault };
    faults.into_iter().map(at).collect()
}

fn read(text: &str, below: Option<&str>) -> Result<Config, Vec<(u32, Fault)>> {
    if text.len() > SIZE_LIMIT {
        return Err(vec![(1, Fault::TooLarge(SIZE_LIMIT))]);
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    let lines = Lines::new(text, document.get_ref());
    let of = |error: &toml::de::Error| {
        let at = error.span().map_or(1, |span| lines.of(span.start));
        (at, Fault::Syntax(error.message().to_owned()))
    };
    if !errors.is_empty() {
        // What follows a syntax error is a guess: nothing else is said about it.
        return Err(errors.iter().map(of).collect());
    }
    let faults = walk::check(&schema(), document.get_ref(), &lines);
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut file: File = toml::from_str(text).map_err(|error| vec![of(&error)])?;
    let Some(dir) = below else { return resolve::resolve(file, &lines) };
    let first = file.repository.first().map(|repository| repository.name.clone());
    let default = file.defaults.repository.clone();
    file.app
        .retain(|app| app.repository.as_ref().or(default.as_ref()).is_some_and(|name| first.as_ref() != Some(name)));
    let mut config = resolve::resolve(file, &lines)?;
    if let Some(own) = config.repositories.first_mut() {
        dir.clone_into(&mut own.path);
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::super::model::{App, AppPaths, AppRef, ApplyMode, OnFailure, PruneLimit, ReportKind, SecretRef};
    use super::*;
    use crate::object::Problem;
    use std::time::Duration;

    const SAMPLE: &str = include_str!("sample.toml");

    fn messages(text: &str) -> Vec<String> {
        match Config::parse(text, "driftless.toml") {
            Ok(config) => panic!("accepted: {config:#?}"),
            Err(errors) => errors.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        for (text, expected) in [
            (
                "[[repository]]\nname = \"a\"\nurl = \".\"\nintervall = \"1m\"\n",
                "driftless.toml:4: unknown key `intervall`; did you mean `interval`?",
            ),
            ("[policy]\nfrobnicate = 1\n", "driftless.toml:2: unknown key `frobnicate`; `policy` takes `paths`"),
            ("[[apps]]\nname = \"a\"\n", "driftless.toml:1: unknown key `apps`; did you mean `app`?"),
            (
                "[[repository]]\nname = \"a\"\n\n[[repository]]\nname = \"b\"\nurl = \"x\"\n",
                "driftless.toml:1: [[repository]] needs `url`",
            ),
            (
                "[[app]]\npath = \"a\"\nself_heal = \"yes\"\n",
                "driftless.toml:3: `self_heal` must be true or false, not a text",
            ),
            ("[defaults]\ntimeout = 5\n", "driftless.toml:2: `timeout` must be a text like \"5m\", not a whole number"),
            (
                "[defaults]\ntimeout = \"5 minutes\"\n",
                "driftless.toml:2: `timeout`: \"5 minutes\" is no duration; write it like \"5m\", \"1h30m\" or \"500ms\"",
            ),
            (
                "[defaults]\non_failure = \"undo\"\n",
                "driftless.toml:2: `on_failure` must be one of \"rollback\", \"hold\", \"report\", not \"undo\"",
            ),
            (
                "[[report]]\nkind = \"github\"\ntoken = \"ghp_s3cr3t\"\n",
                "driftless.toml:3: `token` would put a secret into the file; name where it is kept instead: \
                 `token_env = \"NAME_OF_VARIABLE\"` or `token_file = \"/path/to/file\"`",
            ),
            (
                "[[repository]]\nname = \"a\"\nurl = \"https://bot:s3cr3t@host/a.git\"\n",
                "driftless.toml:3: `url`: it must not hold credentials; use `auth = { username = \"…\", token_env = \"GIT_TOKEN\" }`",
            ),
            (
                "[webhook]\nsecret = \"s3cr3t\"\n",
                "driftless.toml:2: `secret` would put a secret into the file; name where it is kept instead: \
                 `secret_env = \"NAME_OF_VARIABLE\"` or `secret_file = \"/path/to/file\"`",
            ),
            (
                "[[repository]]\nname = \"a\"\nurl = \"x\"\nauth = { token_env = \"s3cr3t-token\" }\n",
                "driftless.toml:4: `token_env`: it must be the name of an environment variable, like \"GITHUB_TOKEN\"",
            ),
            (
                "[[repository]]\nname = \"a\"\nurl = \"x\"\nschedule = { cron = \"0 3 * *\" }\n",
                "driftless.toml:4: `cron`: \"0 3 * *\" is no cron expression like \"0 3 * * *\": ",
            ),
            (
                "[[repository]]\nname = \"a\"\nurl = \"x\"\nschedule = { cron = \"0 3 * * *\", time_zone = \"Mars\" }\n",
                "driftless.toml:4: `time_zone`: there is no time zone \"Mars\" here; write it like \"Europe/Berlin\"",
            ),
            (
                "[[app]]\npath = \"../secrets\"\n",
                "driftless.toml:2: `path`: \"../secrets\" must be a path inside the repository, with / and without ..",
            ),
            (
                "[[app]]\npath = \"a\"\n[[app.ignore]]\npointers = [\"spec.replicas\"]\n",
                "driftless.toml:4: `pointers`: \"spec.replicas\" is no JSON pointer; write it like \"/spec/replicas\" (~1 stands for /)",
            ),
            (
                "[[app]]\npath = \"a\"\n[[app.ignore]]\nkind = \"Deployment\"\npointers = []\n",
                "driftless.toml:5: `pointers`: it must not be empty",
            ),
            (
                "[app]\npath = \"a\"\n",
                "driftless.toml:1: there can be several of `app`: write its header with double brackets, like `[[app]]`",
            ),
            ("[[policy]]\npaths = []\n", "driftless.toml:1: `policy` must be a table, not a list"),
            ("a = \n", "driftless.toml:1: this is not TOML: string values must be quoted, expected literal string"),
            ("[instance]\nname = \"a\"\nname = \"b\"\n", "driftless.toml:3: this is not TOML: duplicate key"),
        ] {
            let found = messages(text);
            assert!(found.len() == 1 && found[0].starts_with(expected), "{text}\n{found:#?}");
            assert!(!found[0].contains("s3cr3t"));
        }
    }

    #[test]
    fn entries_must_fit_together() {
        let repository = "[[repository]]\nname = \"a\"\nurl = \"x\"\n";
        for (text, expected) in [
            ("[[app]]\nname = \"web\"\n", "driftless.toml:1: app `web` needs `path` or `glob`"),
            (
                "[[app]]\npath = \"a\"\nglob = \"b/*\"\n",
                "driftless.toml:3: an app has either `path` or `glob`, not both",
            ),
            (
                "[[app]]\nname = \"web\"\nglob = \"b/*\"\n",
                "driftless.toml:2: `name` cannot be given with `glob`: each app is named by its path",
            ),
            (
                "[[app]]\nname = \"web\"\npath = \"a\"\n[[app]]\nname = \"web\"\npath = \"b\"\n",
                "driftless.toml:5: app `web` is defined twice, first in line 2",
            ),
            (
                "[[app]]\npath = \"a/b\"\n[[app]]\nname = \"a-b\"\npath = \"c\"\n",
                "driftless.toml:4: app `a-b` is defined twice, first in line 2",
            ),
            (
                "[[app]]\npath = \"a\"\nrepository = \"main\"\n",
                "driftless.toml:3: there is no repository `main`; defined is: here",
            ),
            (
                "[[app]]\npath = \"a\"\ncluster = \"prd\"\n[[cluster]]\nname = \"prod\"\nin_cluster = true\n",
                "driftless.toml:3: there is no cluster `prd`; did you mean `prod`?",
            ),
            (
                "[[app]]\npath = \"a\"\ncluster = \"default\"\nclusters = [\"default\"]\n",
                "driftless.toml:4: give either `cluster` or `clusters`, not both",
            ),
            (
                "[[app]]\npath = \"a\"\n[[cluster]]\nname = \"x\"\nembedded = true\n[[cluster]]\nname = \"y\"\nin_cluster = true\n",
                "driftless.toml:1: app `a` needs `cluster` or `clusters`, as there are several: x, y",
            ),
            (
                "[[app]]\npath = \"web\"\ndepends_on = [\"api\"]\n[[app]]\npath = \"apis\"\n",
                "driftless.toml:3: there is no app `api`; did you mean `apis`?",
            ),
            (
                "[[app]]\npath = \"a\"\ndepends_on = [\"b\"]\n[[app]]\npath = \"b\"\ndepends_on = [\"c\"]\n[[app]]\npath = \"c\"\ndepends_on = [\"a\"]\n",
                "driftless.toml:3: `depends_on` goes in a circle: a → b → c → a",
            ),
            ("[[app]]\npath = \"a\"\ndepends_on = [\"a\"]\n", "driftless.toml:3: `depends_on` goes in a circle: a → a"),
            (
                "[[cluster]]\nname = \"x\"\n",
                "driftless.toml:1: cluster `x` needs one of `context`, `kubeconfig`, `in_cluster = true`, `embedded = true`",
            ),
            (
                "[[cluster]]\nname = \"x\"\ncontext = \"c\"\nembedded = true\n",
                "driftless.toml:1: cluster `x` can be only one of `context` or `kubeconfig`, `in_cluster`, `embedded`",
            ),
            (
                "[[cluster]]\nname = \"x\"\nembedded = true\n[[cluster]]\nname = \"x\"\nin_cluster = true\n",
                "driftless.toml:5: cluster `x` is defined twice, first in line 2",
            ),
            (
                &format!("{repository}auth = {{ username = \"u\" }}\n"),
                "driftless.toml:4: `auth` needs `token_env` or `token_file`",
            ),
            (
                &format!("{repository}auth = {{ token_env = \"A\", token_file = \"b\" }}\n"),
                "driftless.toml:4: `auth` takes either `token_env` or `token_file`, not both",
            ),
            (
                &format!("{repository}ssh = {{ jump = \"j\" }}\n"),
                "driftless.toml:4: `ssh` is for an ssh address, like `git@host:team/apps.git`",
            ),
            (
                "[[repository]]\nname = \"a\"\nurl = \"git@h:a\"\nauth = { token_env = \"A\" }\n",
                "driftless.toml:4: `auth` is for https; an ssh address takes a key: ssh = { key_file = \"…\" }",
            ),
            (
                "[[repository]]\nname = \"a\"\nurl = \"git@h:a\"\nssh = { jump = \"-oProxyCommand=x\" }\n",
                "driftless.toml:4: `jump`: \"-oProxyCommand=x\" is no host to go through; write it like \"user@jump.example:22\"",
            ),
            (
                &format!("{repository}verify = {{}}\n"),
                "driftless.toml:4: `verify` needs `allowed_signers` or `openpgp_keys`: else nothing would be accepted",
            ),
            (
                "[[report]]\nkind = \"github\"\n",
                "driftless.toml:1: [[report]] needs `token_env` or `token_file`, or `app`",
            ),
            ("[[report]]\nkind = \"gitea\"\n", "driftless.toml:1: [[report]] needs `token_env` or `token_file`"),
            (
                "[[report]]\nkind = \"gitea\"\napp = { id = \"1\", private_key_env = \"K\" }\n",
                "driftless.toml:1: [[report]] takes `app` for kind \"github\" only",
            ),
            (
                "[[report]]\nkind = \"github\"\napp = { id = \"1\" }\n",
                "driftless.toml:3: `app` needs `private_key_file` or `private_key_env`",
            ),
            (
                "[[report]]\nkind = \"github\"\napp = { id = \" \", private_key_env = \"K\" }\n",
                "driftless.toml:3: `id` of `app` is empty; write the App ID or client ID that the app's settings show",
            ),
            (
                "[[repository]]\nname = \"a\"\nurl = \"ssh://git:s3cr3t@h/a\"\n",
                "driftless.toml:3: `url`: an ssh address holds no password: use a key, `ssh = { key_file = \"…\" }`",
            ),
            (
                "[[report]]\nkind = \"git-notes\"\n[[report]]\nkind = \"git-notes\"\n",
                "driftless.toml:3: this report is there twice: one kind reports on a repository once",
            ),
            ("[webhook]\n", "driftless.toml:1: [webhook] needs `secret_env` or `secret_file`"),
        ] {
            let found = messages(text);
            assert_eq!(found, [expected], "{text}");
        }
    }

    #[test]
    fn all_mistakes_at_once_in_order() {
        let found = messages(
            "[[app]]\npath = \"a\"\nprun = true\ntimeout = \"x\"\n\n[instance]\nname = \"No Name\"\n[[cluster]]\nname = 3\n",
        );
        let lines: Vec<&str> = found.iter().filter_map(|message| message.split(':').nth(1)).collect();
        assert_eq!(lines, ["3", "4", "7", "9"], "{found:#?}");
    }

    #[test]
    fn the_sample_is_understood() {
        let config = Config::parse(SAMPLE, "driftless.toml").unwrap_or_else(|errors| panic!("{errors:#?}"));
        assert_eq!(config.repositories.len(), 2);
        assert_eq!(config.repositories[0].interval, Duration::from_secs(30));
        assert_eq!(config.repositories[0].auth.as_ref().map(|a| &a.token), Some(&SecretRef::Env("GIT_TOKEN".into())));
        let web = config.apps.iter().find(|app| app.name.as_deref() == Some("web")).unwrap();
        assert_eq!(web.paths, AppPaths::Directory("apps/web".into()));
        assert_eq!(web.clusters, ["staging", "production"]);
        assert_eq!(web.timeout, Duration::from_secs(600));
        assert_eq!((web.on_failure, web.apply), (OnFailure::Hold, ApplyMode::BestEffort));
        assert_eq!(web.prune_limit, Some(PruneLimit::Count(3)));
        assert_eq!(web.ignore.len(), 2, "the app's own rule and that of [defaults]");
        let database = AppRef { repository: "apps".into(), name: "database".into() };
        assert_eq!(web.depends_on, [database, AppRef { repository: "platform".into(), name: "ingress".into() }]);
        assert!(config.apps.iter().any(|app| app.paths == AppPaths::Glob("teams/*/apps/*".into())));
        assert!(config.apps.iter().any(|app| app.repository == "platform" && app.paths == AppPaths::Discover));
        assert!(config.reports.iter().any(|report| report.kind == ReportKind::GitHub));
    }

    #[test]
    fn nothing_at_all_is_a_configuration() {
        let config = Config::parse("", "driftless.toml").unwrap();
        assert_eq!(config, Config { file: "driftless.toml".into(), ..resolve_defaults() });
        let App { prune, self_heal, on_failure, apply, timeout, create_namespace, .. } = config.apps[0].clone();
        assert_eq!((prune, self_heal, create_namespace), (true, true, false));
        assert_eq!((on_failure, apply), (OnFailure::Rollback, ApplyMode::AllOrNothing));
        assert_eq!((timeout, config.repositories[0].interval), (Duration::from_secs(300), Duration::from_secs(60)));
        assert_eq!(config.reports[0].kind, ReportKind::GitNotes);
    }

    fn resolve_defaults() -> Config {
        let mut config = resolve::defaults();
        resolve::complete(&mut config);
        config
    }

    #[test]
    fn flags_stand_for_a_file() {
        let flags = Flags {
            repo: "https://host/team/shop.git".into(),
            branch: Some("main".into()),
            path: Some("./apps/".into()),
            context: Some("kind".into()),
            ..Flags::default()
        };
        let config = Config::from_flags(&flags).unwrap();
        let file = "[[repository]]\nname = \"shop\"\nurl = \"https://host/team/shop.git\"\nbranch = \"main\"\npath = \"apps\"\n\
            [[cluster]]\nname = \"default\"\ncontext = \"kind\"\n";
        assert_eq!(Config { file: "f".into(), ..config.clone() }, Config::parse(file, "f").unwrap());
        assert!(config.reports.is_empty(), "a remote repository gets notes only where asked");
        let local = Config::from_flags(&Flags { repo: "/srv/shop".into(), ..Flags::default() }).unwrap();
        assert_eq!(local.reports.len(), 1);
        for (repo, path) in [("", ""), ("https://u:s3cr3t@h/a", ""), ("x", "../y")] {
            let flags = Flags { repo: repo.into(), path: Some(path.into()), ..Flags::default() };
            assert!(!Config::from_flags(&flags).unwrap_err().to_string().contains("s3cr3t"));
        }
        for (url, name) in
            [(".", "here"), ("git@h:t/a.git", "a"), ("git@h:a", "a"), ("/srv/b/", "b"), ("https://h/c", "c")]
        {
            assert_eq!(name_of(url), name);
        }
    }

    #[test]
    fn problems_carry_place_and_hint() {
        let errors = Config::parse("x = 1\n", "driftless.toml").unwrap_err();
        let problem = Problem::from(errors[0].clone());
        assert_eq!(
            (problem.reason.as_str(), problem.file.as_deref(), problem.line),
            ("InvalidConfiguration", Some("driftless.toml"), Some(1))
        );
        assert!(problem.hint.is_some());
    }

    #[test]
    fn odd_texts_never_panic() {
        for text in [
            "\u{feff}",
            "[[[",
            "a.b.c = 1",
            "[app]\nx=1",
            "app = [1, [2]]",
            "app = 3",
            "[[app.ignore]]",
            "\u{0}",
            "repository = [[{}]]",
        ] {
            let _ = Config::parse(text, "f");
        }
        assert!(messages(&" ".repeat(SIZE_LIMIT + 1))[0].contains("larger than"));
    }

    /// Every schema of an object in the schema, with its place.
    fn objects<'a>(schema: &'a Value, at: &str, out: &mut Vec<(String, &'a Value)>) {
        if schema.get("properties").is_some() {
            out.push((at.to_owned(), schema));
        }
        match schema {
            Value::Object(map) => map.iter().for_each(|(key, value)| objects(value, &format!("{at}/{key}"), out)),
            Value::Array(items) => items.iter().for_each(|value| objects(value, at, out)),
            _ => {}
        }
    }

    #[test]
    fn every_option_is_documented_and_in_the_sample() {
        let schema = schema();
        let mut found = Vec::new();
        objects(&schema, "", &mut found);
        assert!(found.len() >= 11, "{}", found.len());
        let used: Vec<&str> =
            SAMPLE.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).filter(|word| !word.is_empty()).collect();
        for (at, object) in found {
            assert_eq!(object.get("additionalProperties"), Some(&Value::Bool(false)), "{at} is not strict");
            for (key, property) in object["properties"].as_object().unwrap() {
                let text = property.get("description").and_then(Value::as_str).unwrap_or_default();
                assert!(!text.is_empty(), "{at}: `{key}` is not documented");
                assert!(used.contains(&key.as_str()), "{at}: `{key}` is not in the sample");
            }
        }
    }

    #[test]
    fn the_published_schema_is_up_to_date() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/driftless.schema.json");
        let text = format!("{:#}\n", schema());
        if std::env::var_os("UPDATE_GENERATED").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        let published = std::fs::read_to_string(path).unwrap_or_default();
        assert!(published == text, "{path} is not what the types say; run this test with UPDATE_GENERATED=1");
    }
}
