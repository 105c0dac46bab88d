//! The rules that decide if the store may use an answer (the answer **counts**). Another server may
//! have replaced the primary that gave the answer.

pub(crate) mod deployment;
pub(crate) mod guard;
pub(crate) mod proofs;
pub(crate) mod replication;
