//! The rules that decide if an answer counts, although another server may have replaced its sender.

pub(crate) mod deployment;
pub(crate) mod guard;
pub(crate) mod proofs;
pub(crate) mod replication;
