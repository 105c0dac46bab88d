//! The rules of protocol sections 7 and 8, each of which a model can leave out.

/// One rule. Its number is that of its bit in [`Rules`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rule {
    /// A fence asks for `TIME` after its reads, and H is not before that time.
    TimeAfterReads,
    /// A token is decided here if `iat` is later than H by the margin between two clocks.
    ClockMargin,
    /// The place of a head start comes with the id of the newest entry.
    Cursor,
    /// A read counts only if a majority of sentinels has named its server.
    ReaderMajority,
    /// A confirmation counts only if a majority of sentinels has named its server.
    WriterMajority,
    /// The majority for a confirmation is tested after the reply.
    MajorityAfterReply,
    /// The answer of a sentinel is dated by when the node asked.
    DatedByQuestion,
    /// An answer below the highest epoch that the node has seen does not count.
    HighestEpoch,
    /// The highest epoch is kept for each sentinel id, so that new sentinels can start over.
    EpochPerId,
    /// The number of sentinels that a majority is counted from never shrinks.
    CountNeverShrinks,
    /// The deny set is kept when the chain breaks.
    KeptDenySet,
    /// A strict read counts only in its era, and only if it went to the server of the fence.
    Era,
    /// The list of places and its H are frozen at a break, as one unit.
    FrozenList,
    /// After a joined break, tokens from the ancestor's time to the new H are asked of the store.
    GapOfJoin,
    /// A change of the fence's server opens such a gap as well, if the chain does not break.
    GapOfMove,
    /// The gap is kept with the list and its H, and grows with the next break.
    GapKept,
    /// The gap is wider by the margin on both sides, and by the patience at its end.
    GapMargins,
    /// A page that was read back counts only in the epoch in which it was asked.
    PageOfEpoch,
    /// Nonces identify entries, not only sequences.
    NonceChain,
    /// An own revocation in the unread part is judged when reading back ends.
    OwnJudgedAtEnd,
    /// Nothing is judged missing before reading back ends.
    MissingJudgedAtEnd,
    /// A strict read is dated by a `TIME` before its read.
    StrictDatedBefore,
    /// An answer counts only by a proof that is at most `max_lag` older than its question.
    ProofAge,
    /// A proof is dated by when the node asked for it.
    ProofDatedByQuestion,
    /// A proof takes the acknowledgements of all replicas.
    AllReplicas,
    /// A proof takes acknowledgements of its own write. Those of earlier ones do not count.
    AckOfThisWrite,
    /// An answer counts only by a proof of the same server.
    ProofOfServer,
    /// A server that is promoted again is another server.
    ServerOfTerm,
}

/// The rules that a model keeps.
#[derive(Clone, Copy, Debug)]
pub struct Rules(u32);

impl Rules {
    /// Returns all rules.
    pub fn all() -> Self {
        Self(u32::MAX)
    }

    /// Returns all rules except `rule`.
    pub fn without(rule: Rule) -> Self {
        Self(!(1 << rule as u32))
    }

    /// Returns true if `rule` is kept.
    pub fn has(self, rule: Rule) -> bool {
        self.0 & (1 << rule as u32) != 0
    }
}
