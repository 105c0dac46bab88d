//! Vectors that are no part of this tree: published suites, and tokens and hashes of the
//! predecessor.
//!
//! They stand in the folder that `TOWER_BEARER_VECTORS` names, by default `../shared/vectors`
//! beside the crate. Where they are absent a test says so and passes.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    clippy::panic,
    reason = "each test takes its own part of this"
)]

use std::{env, fs, io, path::PathBuf};

/// The folder of all vectors.
pub fn folder() -> PathBuf {
    env::var_os("TOWER_BEARER_VECTORS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/vectors"), PathBuf::from)
}

/// A file of it.
pub fn read(path: &str) -> Option<Vec<u8>> {
    match fs::read(folder().join(path)) {
        Ok(bytes) => Some(bytes),
        Err(error) => absent(path, &error),
    }
}

/// All files in a folder of it whose names begin so, in the order of their names.
pub fn read_all(path: &str, prefix: &str) -> Option<Vec<(String, Vec<u8>)>> {
    let entries = match fs::read_dir(folder().join(path)) {
        Ok(entries) => entries,
        Err(error) => return absent(path, &error),
    };
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("an entry of the vectors' folder"))
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), entry.path()))
        .filter(|(name, _)| name.starts_with(prefix))
        .map(|(name, path)| (name, fs::read(path).expect("a vector")))
        .collect();
    files.sort();
    Some(files)
}

fn absent<T>(path: &str, error: &io::Error) -> Option<T> {
    assert_eq!(error.kind(), io::ErrorKind::NotFound, "{path}: {error}");
    println!("skipped: no {path} in {}; set TOWER_BEARER_VECTORS", folder().display());
    None
}
