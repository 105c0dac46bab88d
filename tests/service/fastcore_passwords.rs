//! Password hashes of the predecessor, made by passlib, get the outcomes that are written beside
//! them.
//!
//! They stand in `fastcore/parity.json` of the folder of `tests/support/vectors.rs`.

use serde::Deserialize;
use tower_bearer::password::PasswordHasher;

use crate::support;

#[derive(Deserialize)]
struct Parity {
    passwords: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    password: String,
    hash: String,
    verifies: bool,
}

#[tokio::test]
#[ignore = "reads third-party vectors, which are no part of the tree: see CONTRIBUTING.md"]
async fn hashes_of_the_predecessor_get_the_outcomes_written_down() {
    let text = support::vectors::read("fastcore/parity.json");
    let parity: Parity = serde_json::from_slice(&text).unwrap();
    assert!(parity.passwords.iter().any(|case| case.verifies) && parity.passwords.iter().any(|case| !case.verifies));

    let hasher = PasswordHasher::default();
    for Case { password, hash, verifies } in parity.passwords {
        assert_eq!(hasher.verify(&password, &hash).await, Ok(verifies), "{password:?} against {hash}");
        if verifies {
            assert!(!hasher.needs_rehash(&hash), "{hash}");
        }
    }
}
