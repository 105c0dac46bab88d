//! Proofs that all Redis replicas still followed a server.
//!
//! After a network split, an old primary still answers reads. After a stop (`SIGSTOP`, a paused
//! machine), such a server even accepts writes for a while. So under
//! [`Failover::Replicas`](super::deployment::Failover) the store uses an answer (the answer
//! **counts**) only with a proof.
//!
//! In each *probe*, the node sends a write, then `WAIT` on the same connection. If all replicas
//! acknowledge the write, the probe gives a proof. The time of the proof is the moment before the
//! node sent the probe. The proof covers an answer of the same server if the node sent the command
//! at most `max_lag` after that time.
//!
//! So a node uses an old primary for at most `max_lag`. The reasons:
//!
//! * Let `p` be the time of a proof. Each replica acknowledged the write, so the replica followed
//!   this server after `p`.
//! * So no replica was promoted before `p`, and another server confirms revocations only after `p`.
//! * When a stopped server resumes, old acknowledgements may wait in a socket. They have a lower
//!   replication offset than the write, so they prove nothing.
//!
//! *All replicas* means this number: the larger of `min-replicas-to-write` and the most replicas
//! that a probe has seen, and at least 1. The documentation of `Failover::Replicas` lists the cases
//! in which the number is too low.
//!
//! If `min-replicas-to-write` is 0, the operator allows the server to serve without replicas. Its
//! answers then count without a proof, and the failover bound is unknown.

use std::time::Duration;

use crate::store::{ServerId, redis::client::answer::Moment};

/// The newest proof of a store, and the number of replicas that a proof needs.
#[derive(Debug)]
pub(crate) struct Proofs {
    max_lag: Duration,
    replicas: u64,
    /// The server that needs no proof, because its `min-replicas-to-write` was 0 at the last check.
    alone: Option<ServerId>,
    newest: Option<Proof>,
    last: Outcome,
}

/// A proof that all replicas still followed a server.
#[derive(Clone, Copy, Debug)]
struct Proof {
    server: ServerId,
    /// A moment before the node sent the write.
    asked: Moment,
}

/// The outcome of the latest probe.
#[derive(Clone, Debug)]
enum Outcome {
    NotAsked,
    Acknowledged(u64),
    Failed(String),
}

/// The reason why an answer does not count.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unproved {
    /// The server's identity is unknown.
    Unidentified,
    /// There is no proof, or the newest proof is too old.
    Old,
    /// The newest proof is of another server. The value is the time of that proof. A connection
    /// from before that time leads to a former primary.
    OtherServer(Moment),
}

impl Proofs {
    /// Creates the state before the first proof. A proof is valid for `max_lag`.
    pub(crate) fn new(max_lag: Duration) -> Self {
        Self { max_lag, replicas: 1, alone: None, newest: None, last: Outcome::NotAsked }
    }

    /// Returns the number of this server's replicas that must acknowledge a write.
    pub(crate) fn replicas(&self, server: Option<ServerId>) -> u64 {
        if server.is_some() && server == self.alone { 0 } else { self.replicas }
    }

    /// Raises the number of replicas that must acknowledge a write to at least `replicas`. The
    /// number never shrinks, because an absent replica may have been promoted.
    pub(crate) fn cover(&mut self, replicas: u64) {
        self.replicas = self.replicas.max(replicas);
    }

    /// Records that `count` replicas acknowledged the write that the node sent at `asked`. Returns
    /// true if `count` is enough for a proof.
    pub(crate) fn acknowledged(&mut self, server: ServerId, asked: Moment, count: u64) -> bool {
        self.last = Outcome::Acknowledged(count);
        let is_proof = count >= self.replicas;
        if is_proof {
            self.newest = Some(Proof { server, asked });
        }
        is_proof
    }

    /// Records `min-replicas-to-write` of the server, if known. Returns true if the number is 0.
    /// The server's answers then count without a proof.
    pub(crate) fn demands(&mut self, server: ServerId, asked: Moment, replicas: Option<u64>) -> bool {
        let is_alone = replicas == Some(0);
        self.alone = is_alone.then_some(server);
        if is_alone {
            self.newest = Some(Proof { server, asked });
        }
        is_alone
    }

    /// Records the error code of a failed probe.
    pub(crate) fn failed(&mut self, code: &str) {
        self.last = Outcome::Failed(code.to_owned());
    }

    /// Returns an error unless a proof covers this server's answer to a command sent at `asked`.
    pub(crate) fn judge(&self, server: Option<ServerId>, asked: Moment) -> Result<(), Unproved> {
        let server = server.ok_or(Unproved::Unidentified)?;
        let young = self.newest.filter(|proof| self.is_young(*proof, asked)).ok_or(Unproved::Old)?;
        if young.server == server { Ok(()) } else { Err(Unproved::OtherServer(young.asked)) }
    }

    /// Returns the reason if the newest proof is missing or too old; otherwise `None`.
    pub(crate) fn trouble(&self, now: Moment) -> Option<String> {
        if self.newest.is_some_and(|proof| self.is_young(proof, now)) {
            return None;
        }
        let all = self.replicas;
        Some(match &self.last {
            Outcome::NotAsked => "no replica was asked yet".to_owned(),
            Outcome::Acknowledged(count) => format!(
                "{count} of {all} replicas have acknowledged the last write of this node; attach all replicas, \
                 or restart the nodes if a replica was removed for good"
            ),
            Outcome::Failed(code) => {
                format!(
                    "0 of {all} replicas have acknowledged the last write of this node, because it failed ({code}); \
                     attach the replicas or fix the server"
                )
            }
        })
    }

    /// Returns whether a proof is recent enough for the answer to a command sent at `asked`.
    fn is_young(&self, proof: Proof, asked: Moment) -> bool {
        asked.since(proof.asked) <= self.max_lag
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_LAG: Duration = Duration::from_secs(1);
    const SERVER: ServerId = ServerId::new(1);

    fn at(millis: u64) -> Moment {
        Moment::at(millis)
    }

    /// Returns the state with a proof of [`SERVER`] from 500 ms.
    fn proved() -> Proofs {
        let mut proofs = Proofs::new(MAX_LAG);
        assert!(proofs.acknowledged(SERVER, at(500), 1));
        proofs
    }

    #[test]
    fn without_a_proof_nothing_counts() {
        assert_eq!(Proofs::new(MAX_LAG).judge(Some(SERVER), at(0)), Err(Unproved::Old));
    }

    #[test]
    fn an_answer_counts_if_it_was_asked_for_at_most_the_lag_after_the_proof() {
        let proofs = proved();
        assert_eq!(proofs.judge(Some(SERVER), at(1500)), Ok(()));
        assert_eq!(proofs.judge(Some(SERVER), at(1501)), Err(Unproved::Old));
    }

    #[test]
    fn a_proof_after_the_question_counts_too() {
        assert_eq!(proved().judge(Some(SERVER), at(0)), Ok(()));
    }

    #[test]
    fn a_proof_of_one_server_is_none_of_another() {
        assert_eq!(proved().judge(Some(ServerId::new(2)), at(500)), Err(Unproved::OtherServer(at(500))));
        assert_eq!(proved().judge(Some(ServerId::new(2)), at(1501)), Err(Unproved::Old));
    }

    #[test]
    fn a_proof_of_another_server_takes_the_place_of_the_one_before() {
        let (mut proofs, other) = (proved(), ServerId::new(2));
        assert!(proofs.acknowledged(other, at(600), 1));
        assert_eq!(proofs.judge(Some(other), at(600)), Ok(()));
        assert_eq!(proofs.judge(Some(SERVER), at(600)), Err(Unproved::OtherServer(at(600))));
    }

    #[test]
    fn a_server_without_an_identity_never_counts() {
        let proofs = proved();
        assert_eq!(proofs.judge(None, at(600)), Err(Unproved::Unidentified));
    }

    #[test]
    fn it_takes_all_replicas_and_at_least_one() {
        let mut proofs = Proofs::new(MAX_LAG);
        assert!(!proofs.acknowledged(SERVER, at(0), 0));
        proofs.cover(3);
        assert!(!proofs.acknowledged(SERVER, at(0), 2));
        assert_eq!(proofs.judge(Some(SERVER), at(0)), Err(Unproved::Old));
        assert!(proofs.acknowledged(SERVER, at(0), 3));
    }

    #[test]
    fn a_replica_that_is_away_is_still_counted() {
        let mut proofs = Proofs::new(MAX_LAG);
        proofs.cover(2);
        proofs.cover(0);
        assert_eq!(proofs.replicas(Some(SERVER)), 2);
        assert!(!proofs.acknowledged(SERVER, at(0), 1));
    }

    #[test]
    fn a_write_that_falls_short_leaves_the_proof_before_it_its_life() {
        let mut proofs = proved();
        assert!(!proofs.acknowledged(SERVER, at(900), 0));
        proofs.failed("NOREPLICAS");
        assert_eq!(proofs.judge(Some(SERVER), at(1500)), Ok(()));
        assert_eq!(proofs.judge(Some(SERVER), at(1501)), Err(Unproved::Old));
    }

    #[test]
    fn a_server_that_demands_no_replica_counts_as_long_as_it_says_so() {
        let mut proofs = Proofs::new(MAX_LAG);
        assert!(!proofs.demands(SERVER, at(0), None), "it does not tell");
        assert!(!proofs.demands(SERVER, at(0), Some(1)));
        assert!(proofs.demands(SERVER, at(500), Some(0)));
        assert_eq!((proofs.replicas(Some(SERVER)), proofs.replicas(Some(ServerId::new(2)))), (0, 1));
        assert_eq!(proofs.judge(Some(SERVER), at(1500)), Ok(()));
        assert_eq!(proofs.judge(Some(SERVER), at(1501)), Err(Unproved::Old));
        assert_eq!(proofs.judge(Some(ServerId::new(2)), at(500)), Err(Unproved::OtherServer(at(500))));
        assert!(!proofs.demands(SERVER, at(600), Some(2)));
        assert_eq!(proofs.replicas(Some(SERVER)), 1);
    }

    #[test]
    fn trouble_names_its_cause_once_the_proof_is_old() {
        let mut proofs = proved();
        assert!(!proofs.acknowledged(SERVER, at(900), 0));
        assert_eq!(proofs.trouble(at(1500)), None);
        let trouble = |proofs: &Proofs| proofs.trouble(at(1501)).unwrap_or_default();
        assert!(trouble(&proofs).contains("0 of 1 replicas"));
        proofs.failed("NOREPLICAS");
        assert!(trouble(&proofs).contains("NOREPLICAS"));
    }
}
