//! The dependencies of this crate: required ones, forbidden ones, and their Rust versions.

use std::{collections::HashSet, fs, path::PathBuf, process::Command};

use serde_json::Value;

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

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .arg("--locked")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn every_required_crate_is_a_direct_dependency() {
    let tree = cargo(&["tree", "--depth", "1", "-e", "normal,dev", "--prefix", "none"]);
    let direct: HashSet<_> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let missing: Vec<_> = REQUIRED.iter().filter(|name| !direct.contains(**name)).collect();
    assert!(missing.is_empty(), "{missing:?} are missing in:\n{tree}");
}

/// Parses a Rust version. A missing third number is 0.
fn rust_version(text: &str) -> [u32; 3] {
    let mut version = [0; 3];
    for (number, part) in version.iter_mut().zip(text.split('.')) {
        *number = part.parse().expect("a number");
    }
    version
}

/// Checks the manifest and the lock file. The compiler enforces the lint, and Cargo the version.
#[test]
fn twr_14_no_unsafe_code_no_openssl_and_no_dependency_that_needs_a_newer_rust_than_ours() {
    let manifest = env!("CARGO_MANIFEST_DIR");
    let toml = fs::read_to_string(format!("{manifest}/Cargo.toml")).expect("our manifest");
    let lints = toml.split_once("[lints.rust]").expect("lints").1.split("\n[").next().expect("the section");
    assert!(lints.lines().any(|line| line == "unsafe_code = \"forbid\""), "{lints}");
    let mut folders = vec![PathBuf::from(format!("{manifest}/src"))];
    let mut files = 0;
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            files += 1;
            let text = fs::read_to_string(&path).expect("a source file");
            for word in ["unsafe ", "allow(unsafe_code", "no_mangle", "extern \"C\""] {
                assert!(!text.contains(word), "{word:?} in {}", path.display());
            }
        }
    }
    assert!(files > 20, "only {files} files were looked at");

    for features in ["--features=default", "--all-features"] {
        let tree = cargo(&["tree", features, "-e", "normal,build", "--prefix", "none"]);
        let names: HashSet<_> = tree.lines().filter_map(|line| line.split_whitespace().next()).collect();
        assert!(names.contains("jsonwebtoken"), "{tree}");
        // `openssl-probe`, a dependency of TLS, only knows where systems keep their certificates.
        for name in ["openssl", "openssl-sys", "native-tls", "tokio-native-tls", "boring"] {
            assert!(!names.contains(name), "{name} is a dependency with {features}");
        }
    }

    // The locked versions must support our `rust-version`.
    let metadata: Value =
        serde_json::from_str(&cargo(&["metadata", "--format-version=1", "--all-features"])).expect("JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let ours = packages.iter().find(|package| package["name"] == "tower-bearer").expect("ourselves");
    let ours = rust_version(ours["rust_version"].as_str().expect("a rust-version"));
    assert_eq!(ours, [1, 88, 0]);
    let tree = cargo(&["tree", "--all-features", "-e", "normal,build", "--prefix", "none"]);
    let needed: HashSet<_> = tree
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?, words.next()?.trim_start_matches('v')))
        })
        .collect();
    let newer: Vec<_> = packages
        .iter()
        .filter(|package| {
            let text = |member: &str| package[member].as_str().unwrap_or_default();
            needed.contains(&(text("name"), text("version")))
                && package["rust_version"].as_str().is_some_and(|version| rust_version(version) > ours)
        })
        .map(|package| package["name"].as_str())
        .collect();
    assert!(newer.is_empty(), "{newer:?} need a newer Rust than {ours:?}");
}
