//! The tour's repository: bare, made from `examples/quickstart`, and committed to as a person's `git push` would.

use crate::object::Problem;
use crate::source::Revision;
use git2::build::TreeUpdateBuilder;
use git2::{FileMode, Repository, RepositoryInitOptions, Signature};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The files of `examples/quickstart`.
const QUICKSTART: [(&str, &str); 5] = [
    ("driftless.toml", include_str!("../../../examples/quickstart/driftless.toml")),
    ("web/app.yaml", include_str!("../../../examples/quickstart/web/app.yaml")),
    ("api/config.yaml", include_str!("../../../examples/quickstart/api/config.yaml")),
    ("api/deployment.yaml", include_str!("../../../examples/quickstart/api/deployment.yaml")),
    ("motd/motd.yaml", include_str!("../../../examples/quickstart/motd/motd.yaml")),
];

/// A bare repository with its files in memory.
pub struct SampleRepository {
    path: PathBuf,
    files: BTreeMap<String, String>,
}

impl SampleRepository {
    /// Creates it, empty.
    ///
    /// # Errors
    /// When the directory cannot be written.
    pub fn create(path: &Path) -> Result<Self, Problem> {
        let mut options = RepositoryInitOptions::new();
        options.bare(true).initial_head("main");
        Repository::init_opts(path, &options).map_err(|e| problem(&e))?;
        let files = QUICKSTART.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        Ok(Self { path: path.to_owned(), files })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces text in a file. True if it was there.
    pub fn replace(&mut self, file: &str, from: &str, to: &str) -> bool {
        let Some(text) = self.files.get_mut(file) else { return false };
        let found = text.contains(from);
        *text = text.replace(from, to);
        found
    }

    /// Removes a directory.
    pub fn remove(&mut self, directory: &str) {
        self.files.retain(|file, _| !file.starts_with(&format!("{directory}/")));
    }

    /// Commits the files to `main`.
    ///
    /// # Errors
    /// When Git cannot write.
    pub fn commit(&self, message: &str) -> Result<Revision, Problem> {
        let id = self.write(message).map_err(|e| problem(&e))?;
        Revision::parse(&id).map_err(|e| Problem::new("Git", e.to_string()))
    }

    fn write(&self, message: &str) -> Result<String, git2::Error> {
        let repo = Repository::open_bare(&self.path)?;
        let mut update = TreeUpdateBuilder::new();
        for (file, text) in &self.files {
            update.upsert(file.as_str(), repo.blob(text.as_bytes())?, FileMode::Blob);
        }
        let empty = repo.find_tree(repo.treebuilder(None)?.write()?)?;
        let tree = repo.find_tree(update.create_updated(&repo, &empty)?)?;
        let author = Signature::now("driftless demo", "demo@example.invalid")?;
        let parent = repo.find_reference("refs/heads/main").ok().map(|r| r.peel_to_commit()).transpose()?;
        let parents: Vec<&git2::Commit<'_>> = parent.iter().collect();
        Ok(repo.commit(Some("refs/heads/main"), &author, &author, message, &tree, &parents)?.to_string())
    }
}

fn problem(error: &git2::Error) -> Problem {
    Problem::new("Git", format!("the sample repository cannot be written: {}", error.message()))
}
