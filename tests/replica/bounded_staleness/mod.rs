//! Bounded staleness with several nodes on one real Redis, many revocations, and faults.
//!
//! The tests record what clients observe. If a revocation was acknowledged at `a`, a check that
//! started at `r` may accept the token only if `r - a < d`. A response that is open at `a` may
//! bring bytes only to reads that start within the staleness of streams.
//!
//! Each fault runs 500 revocations. This command runs more and prints the counts:
//! `ORACLE_REVOCATIONS=20000 cargo test --release --test replica -- --nocapture bounded_staleness`.
//! `scripts/live_mutants.sh` breaks the replica in several ways and requires that a test fails.

mod faults;
mod loss;
mod oracle;
mod streams;
