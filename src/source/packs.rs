//! Keeps a mirror small in files: every fetch adds a pack, and thousands of packs make every lookup slow.
//!
//! In: a mirror whose lock is held. Out: its small packs as one. Nothing is ever left out, so that commits of rewritten
//! branches stay readable for a rollback.

use git2::{Error, Odb, Oid, Repository};
use std::fs;
use std::path::{Path, PathBuf};

/// Small packs that are let be.
const MAX_SMALL_PACKS: usize = 50;
/// Above this size a pack is not packed again.
const SMALL_BYTES: u64 = 64 * 1024 * 1024;

/// Joins small packs if there are too many. True if it did.
pub(super) fn consolidate(repo: &Repository) -> Result<bool, Error> {
    let dir = repo.path().join("objects/pack");
    let small = small_packs(&dir);
    if small.len() <= MAX_SMALL_PACKS {
        return Ok(false);
    }
    let objects = objects_in(repo, &small)?;
    let mut builder = repo.packbuilder()?;
    for oid in objects {
        builder.insert_object(oid, None)?;
    }
    builder.write(&dir, 0)?;
    let name = builder.name()?.map(|name| format!("pack-{name}.pack"));
    // The new pack could only be one of the old ones if that held every object of the others.
    for pack in small.iter().filter(|pack| pack.file_name().and_then(|file| file.to_str()) != name.as_deref()) {
        for extension in ["pack", "idx", "rev"] {
            // A file that stays costs space, not correctness.
            let _ = fs::remove_file(pack.with_extension(extension));
        }
    }
    Ok(true)
}

fn small_packs(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let packs = entries.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "pack"));
    packs
        .filter(|entry| entry.metadata().is_ok_and(|metadata| metadata.len() < SMALL_BYTES))
        .map(|entry| entry.path())
        .collect()
}

/// The ids of all objects in these packs: an object database of links to just them is listed.
fn objects_in(repo: &Repository, packs: &[PathBuf]) -> Result<Vec<Oid>, Error> {
    let io = |error: std::io::Error| Error::from_str(&error.to_string());
    let temporary = repo.path().join("objects").join(format!("tmp_consolidate_{}", std::process::id()));
    let links = temporary.join("pack");
    let list = || -> Result<Vec<Oid>, Error> {
        fs::create_dir_all(&links).map_err(io)?;
        for pack in packs {
            for file in [pack.clone(), pack.with_extension("idx")] {
                let name = file.file_name().unwrap_or_default();
                fs::hard_link(&file, links.join(name)).map_err(io)?;
            }
        }
        let only_these = Odb::new()?;
        only_these.add_disk_alternate(&temporary.to_string_lossy())?;
        let mut objects = Vec::new();
        only_these.foreach(|oid| {
            objects.push(*oid);
            true
        })?;
        Ok(objects)
    };
    let listed = list();
    // What a killed process leaves is removed by the next holder of the lock.
    let _ = fs::remove_dir_all(&temporary);
    listed
}
