//! Password hashes of the predecessor, made by passlib, get the outcomes that are written beside
//! them.
//!
//! The vectors are no part of this project's tree: they are read from `../shared/vectors` or from
//! the folder that `TOWER_BEARER_VECTORS` names. Where they are absent the test says so and passes.

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
async fn hashes_of_the_predecessor_get_the_outcomes_written_down() {
    let Some(text) = support::vectors::read("fastcore/parity.json") else { return };
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
