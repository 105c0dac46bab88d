//! Helpers that the benchmarks share.
#![allow(dead_code, unreachable_pub, reason = "each benchmark takes its own part of this")]

pub mod checks;
pub mod keys;
pub mod measure;
pub mod memory;
#[path = "../../tests/support/redis_server.rs"]
pub mod redis_server;
pub mod requests;
pub mod scale;
pub mod turns;
