//! Stateful bearer tokens for any Tower stack.

pub mod clock;
pub mod error;
pub mod store;
