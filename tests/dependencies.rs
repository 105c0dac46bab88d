//! The crates that this one has to stand on.
#![allow(clippy::expect_used, reason = "tests")]

use std::{collections::HashSet, process::Command};

const REQUIRED: [&str; 10] = [
    "tower",
    "tower-http",
    "http",
    "hyper",
    "jsonwebtoken",
    "bcrypt",
    "redis",
    "deadpool-redis",
    "serde",
    "pin-project",
];

#[test]
fn every_required_crate_is_a_direct_dependency() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--depth", "1", "-e", "normal,dev", "--prefix", "none"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let tree = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let direct: HashSet<_> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let missing: Vec<_> = REQUIRED.iter().filter(|name| !direct.contains(**name)).collect();
    assert!(missing.is_empty(), "{missing:?} are missing in:\n{tree}");
}
