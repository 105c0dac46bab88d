//! Bounded staleness, live: several nodes on one real Redis, revocations by the hundred, and everything that may fail between them. What is
//! recorded is what a user would see: a revocation was acknowledged at `a`, a check started at `r`; whoever is let in has `r - a < d`.
//!
//! Each fault runs 500 revocations. `ORACLE_REVOCATIONS=20000 cargo test --release --test replica -- --nocapture bounded_staleness` runs more, and prints
//! what was seen. `scripts/live_mutants.sh` breaks the replica in the ways that this is to find, and demands that it does.

mod faults;
mod loss;
mod oracle;
