//! Bounded staleness, live: nodes on one real Redis, many revocations, and faults between them.
//!
//! The tests record what a user sees. If a revocation was acknowledged at `a`, a check that started
//! at `r` may accept its token only if `r - a < d`.
//!
//! Each fault runs 500 revocations. This runs more, and prints the counts:
//! `ORACLE_REVOCATIONS=20000 cargo test --release --test replica -- --nocapture bounded_staleness`.
//! `scripts/live_mutants.sh` breaks the replica in several ways, and demands that tests see it.

mod faults;
mod loss;
mod oracle;
