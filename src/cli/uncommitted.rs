//! A word on what a work tree has and its last commit has not: commands are about commits, and whoever has just edited a
//! file takes the old verdict for the new one.

use crate::object::counted;
use crate::workspace::{Origin, off_thread};

/// More are not counted out.
const MAX_TOLD: usize = 99;

/// Says on standard error how many files are changed and not committed, where the branch's head is what is looked at.
/// Never an error: what cannot be told fast is not told.
pub(super) async fn tell(origin: &Origin, revision: Option<&str>) {
    if revision.is_some() {
        return;
    }
    let (mirror, branch) = (origin.mirror.clone(), origin.repository.branch.clone());
    let Ok(Some((files, commit))) = off_thread(move || Ok(mirror.uncommitted(branch.as_deref()))).await else { return };
    let are = if files == 1 { "is" } else { "are" };
    let files = match files {
        0 => return,
        1..=MAX_TOLD => counted(files, "file"),
        _ => format!("more than {MAX_TOLD} files"),
    };
    eprintln!("note: {files} {are} changed and not committed: this is about {} (the last commit)", commit.short(7));
}
