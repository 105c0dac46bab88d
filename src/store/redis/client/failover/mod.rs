//! The rules by which the answers of a server count that another one may have replaced.

pub(crate) mod deployment;
pub(crate) mod guard;
pub(crate) mod proofs;
pub(crate) mod replication;
