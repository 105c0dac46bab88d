//! Vectors that are no part of this tree: published suites, and tokens and hashes of the
//! predecessor.
//!
//! They stand in the folder that `TOWER_BEARER_VECTORS` names, by default `../shared/vectors`
//! beside the crate. Each test that reads them is `#[ignore]`d, so that it is reported as ignored
//! where they are absent. `scripts/test.sh` runs it where they are.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::panic,
    reason = "each test takes its own part of this, and fails without its vectors"
)]

use std::{env, fs, path::PathBuf};

/// Returns the folder of all vectors.
pub fn folder() -> PathBuf {
    env::var_os("TOWER_BEARER_VECTORS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/vectors"), PathBuf::from)
}

/// Returns the content of a file of the folder.
///
/// # Panics
///
/// Panics if the file cannot be read.
pub fn read(path: &str) -> Vec<u8> {
    let path = folder().join(path);
    fs::read(&path).unwrap_or_else(|error| panic!("cannot read {}: {error}; set TOWER_BEARER_VECTORS", path.display()))
}

/// Returns all files of a folder in it whose names begin with `prefix`, sorted by name.
///
/// # Panics
///
/// Panics if the folder or a file cannot be read.
pub fn read_all(path: &str, prefix: &str) -> Vec<(String, Vec<u8>)> {
    let path = folder().join(path);
    let entries = fs::read_dir(&path)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}; set TOWER_BEARER_VECTORS", path.display()));
    let mut files: Vec<_> = entries
        .map(|entry| entry.unwrap_or_else(|error| panic!("cannot list {}: {error}", path.display())))
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .filter(|(name, _)| name.starts_with(prefix))
        .map(|(name, path)| {
            let content = fs::read(&path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
            (name, content)
        })
        .collect();
    files.sort();
    files
}
