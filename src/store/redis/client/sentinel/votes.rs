//! The votes of the sentinels, and the primary on which a majority of them agrees. This module does
//! no I/O and reads no clock. [`watch`](super::watch) asks the sentinels.
//!
//! A node uses an old primary for at most `patience`. When a majority names a new primary, it has a
//! sentinel in common with the old majority. That sentinel no longer names the old primary, and its
//! earlier answer expires after `patience`. So the old majority ends. This is true only if no
//! sentinel returns to an earlier epoch.

use std::{
    collections::{HashMap, HashSet},
    fmt::Write,
    time::Duration,
};

use crate::store::redis::client::{
    address::{Address, Agreement},
    answer::Moment,
};

/// The maximum number of sentinels whose answers a node stores. No deployment has more.
const MOST: usize = 64;

/// The answer of one sentinel.
#[derive(Clone, Debug)]
pub(crate) struct Vote {
    /// The moment at which this node asked the sentinel.
    pub(crate) asked: Moment,
    /// The primary that the sentinel names.
    pub(crate) address: Address,
    /// The configuration epoch of that primary.
    pub(crate) epoch: u64,
    /// The number of other sentinels that the sentinel reports.
    pub(crate) others: u64,
}

/// The latest answer of one sentinel, and the highest epoch of all its answers.
#[derive(Debug)]
struct Sentinel {
    /// The latest answer; `None` after [`Votes::forget`].
    vote: Option<Vote>,
    /// The highest epoch that the sentinel has ever named.
    highest: u64,
    others: u64,
    /// True if the sentinel was part of a majority, or had answered before the first majority.
    is_established: bool,
}

/// The latest answer of each sentinel, by the sentinel's id.
#[derive(Debug)]
pub(crate) struct Votes {
    patience: Duration,
    /// A counter that rises when this node detects that an operator has replaced all sentinels.
    era: u64,
    /// The number of sentinels that the application named. A sentinel that has just started may
    /// report fewer, but [`total`](Self::total) is never lower than this number.
    named: u64,
    sentinels: HashMap<String, Sentinel>,
    /// The node ignores votes that it requested before this moment.
    not_before: Option<Moment>,
}

/// A primary, its epoch, and the sentinels that name it.
type Party<'a> = (&'a Address, u64, HashSet<&'a str>);

impl Votes {
    /// Creates the state before the first answer.
    pub(crate) fn new(patience: Duration, named: u64) -> Self {
        Self { patience, era: 0, named, sentinels: HashMap::new(), not_before: None }
    }

    /// Records the answer of a sentinel.
    pub(crate) fn record(&mut self, id: &str, vote: Vote, now: Moment) {
        if self.not_before.is_some_and(|moment| vote.asked < moment) {
            return;
        }
        self.make_room(id);
        let (highest, others) = (vote.epoch, vote.others);
        let new = || Sentinel { vote: None, highest, others, is_established: false };
        let sentinel = self.sentinels.entry(id.to_owned()).or_insert_with(new);
        sentinel.highest = sentinel.highest.max(highest);
        if sentinel.vote.as_ref().is_none_or(|known| known.asked <= vote.asked) {
            sentinel.others = others;
            sentinel.vote = Some(vote);
        }
        self.settle(now);
    }

    /// Forgets the answers of the sentinels, but not the highest epoch of each.
    pub(crate) fn forget(&mut self, now: Moment) {
        self.not_before = Some(now);
        self.sentinels.values_mut().for_each(|sentinel| sentinel.vote = None);
    }

    /// Returns true if a majority now names the primary of `agreement`, and false if a majority
    /// names another primary. Returns `None` if there is no majority.
    pub(crate) fn names(&self, agreement: &Agreement, now: Moment) -> Option<bool> {
        let (address, epoch, _) = self.majority(now)?;
        Some(self.era == agreement.era && epoch == agreement.epoch && *address == agreement.address)
    }

    /// Returns the primary that a majority names; `None` if there is no majority.
    pub(crate) fn primary(&self, now: Moment) -> Option<Agreement> {
        let (address, epoch, _) = self.majority(now)?;
        Some(Agreement { era: self.era, address: address.clone(), epoch })
    }

    /// Returns the reason why there is no majority.
    pub(crate) fn explain(&self, now: Moment) -> String {
        let fresh = self.fresh(now).count();
        let mut text = format!(
            "the sentinels name no primary: of {} known, {fresh} answered within {:?}, and {} must agree",
            self.total(),
            self.patience,
            self.needed(),
        );
        for ((host, port), epoch, party) in self.parties(|_| true, now) {
            let names = if party.len() == 1 { "names" } else { "name" };
            // Writing to a `String` cannot fail.
            let _ = write!(text, "; {} {names} {host}:{port} of epoch {epoch}", party.len());
        }
        let floor = self.floor();
        if fresh > 0 && self.fresh(now).all(|(_, vote)| vote.epoch < floor) {
            let _ =
                write!(text, "; epoch {floor} was named before: a sentinel lost its state, or has not learnt it yet");
        }
        text
    }

    /// Returns the number of sentinels. It is the higher of two numbers: the most that any sentinel
    /// reports, itself included, and the number that the application named.
    fn total(&self) -> u64 {
        let reported = self.sentinels.values().map(|sentinel| sentinel.others.saturating_add(1)).max();
        reported.unwrap_or(0).max(self.named)
    }

    /// Returns the number of sentinels that make a majority.
    fn needed(&self) -> u64 {
        self.total() / 2 + 1
    }

    /// Returns the highest epoch that any sentinel has named. The node ignores a majority with a
    /// lower epoch.
    fn floor(&self) -> u64 {
        self.sentinels.values().map(|sentinel| sentinel.highest).max().unwrap_or(0)
    }

    /// Returns the votes that are at most `patience` old.
    fn fresh(&self, now: Moment) -> impl Iterator<Item = (&str, &Vote)> {
        let votes = self.sentinels.iter().filter_map(|(id, sentinel)| Some((id.as_str(), sentinel.vote.as_ref()?)));
        votes.filter(move |(_, vote)| now.since(vote.asked) <= self.patience)
    }

    /// Groups the sentinels with a fresh vote by the primary and epoch that they name. Leaves out a
    /// sentinel if `counts` returns false for it.
    fn parties(&self, counts: impl Fn(&Sentinel) -> bool, now: Moment) -> Vec<Party<'_>> {
        let mut parties: Vec<Party<'_>> = Vec::new();
        for (id, vote) in self.fresh(now) {
            if !self.sentinels.get(id).is_some_and(&counts) {
                continue;
            }
            let same = |(address, epoch, _): &&mut Party<'_>| **address == vote.address && *epoch == vote.epoch;
            match parties.iter_mut().find(same) {
                Some((_, _, party)) => drop(party.insert(id)),
                None => parties.push((&vote.address, vote.epoch, HashSet::from([id]))),
            }
        }
        parties
    }

    /// Returns whether this number of sentinels is a majority.
    fn is_enough(&self, sentinels: usize) -> bool {
        u64::try_from(sentinels).unwrap_or(u64::MAX) >= self.needed()
    }

    /// Returns the sentinels that are a majority. After the first majority, only established
    /// sentinels count, because a new one may name an old primary from its configuration.
    fn majority(&self, now: Moment) -> Option<Party<'_>> {
        let floor = self.floor();
        let is_first = self.is_first();
        let counts = |id: &&&str| is_first || self.sentinels.get(**id).is_some_and(|sentinel| sentinel.is_established);
        let mut parties = self.parties(|_| true, now).into_iter();
        parties.find(|(_, epoch, party)| *epoch >= floor && self.is_enough(party.iter().filter(counts).count()))
    }

    /// Returns whether there was no majority yet.
    fn is_first(&self) -> bool {
        self.sentinels.values().all(|sentinel| !sentinel.is_established)
    }

    /// Marks the sentinels of a majority as established. If new sentinels alone form a majority, an
    /// operator has replaced all sentinels. The method then removes the established sentinels,
    /// marks the new ones as established, and begins a new era.
    fn settle(&mut self, now: Moment) {
        let is_first = self.is_first();
        if let Some((_, _, party)) = self.majority(now) {
            let party: HashSet<String> = party.into_iter().map(str::to_owned).collect();
            let joining = self.sentinels.iter_mut().filter(|(id, _)| is_first || party.contains(*id));
            joining.for_each(|(_, sentinel)| sentinel.is_established = true);
            return;
        }
        let unknown = self.parties(|sentinel| !sentinel.is_established, now);
        if !unknown.iter().any(|(_, _, party)| self.is_enough(party.len())) {
            return;
        }
        self.sentinels.retain(|_, sentinel| !sentinel.is_established);
        self.sentinels.values_mut().for_each(|sentinel| sentinel.is_established = true);
        self.era = self.era.saturating_add(1);
    }

    /// Removes the sentinel with the oldest vote if `id` is new and the table is full.
    fn make_room(&mut self, id: &str) {
        if self.sentinels.len() < MOST || self.sentinels.contains_key(id) {
            return;
        }
        let oldest = self.sentinels.iter().min_by_key(|(_, sentinel)| sentinel.vote.as_ref().map(|vote| vote.asked));
        if let Some(id) = oldest.map(|(id, _)| id.clone()) {
            self.sentinels.remove(&id);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);

    fn address(port: u16) -> Address {
        ("r".to_owned(), port)
    }

    fn vote(asked: u64, port: u16, epoch: u64, others: u64) -> Vote {
        Vote { asked: Moment::at(asked), address: address(port), epoch, others }
    }

    fn record(votes: &mut Votes, id: &str, port: u16, epoch: u64, asked: u64) {
        votes.record(id, vote(asked, port, epoch, 2), Moment::at(asked));
    }

    fn record_all(votes: &mut Votes, ids: &[&str], port: u16, epoch: u64, asked: u64) {
        for id in ids {
            record(votes, id, port, epoch, asked);
        }
    }

    fn port(votes: &Votes, now: u64) -> Option<u16> {
        votes.primary(Moment::at(now)).map(|agreement| agreement.address.1)
    }

    /// Returns the votes of three sentinels that name the primary 1 of epoch 1.
    fn three() -> Votes {
        let mut votes = Votes::new(PATIENCE, 1);
        record_all(&mut votes, &["a", "b", "c"], 1, 1, 1000);
        votes
    }

    #[test]
    fn a_majority_names_the_primary_for_as_long_as_patience_after_it_was_asked() {
        let votes = three();
        assert_eq!(port(&votes, 1000), Some(1));
        assert_eq!(port(&votes, 6000), Some(1));
        assert_eq!(port(&votes, 6001), None);
        assert!(votes.explain(Moment::at(6001)).contains("0 answered within 5s, and 2 must agree"));
    }

    #[test]
    fn one_of_three_is_no_majority_nor_are_two_names_of_one() {
        let mut votes = Votes::new(PATIENCE, 1);
        record(&mut votes, "a", 1, 1, 1000);
        record(&mut votes, "a", 1, 1, 1001);
        assert_eq!(port(&votes, 1001), None);
        record(&mut votes, "b", 1, 1, 1002);
        assert_eq!(port(&votes, 1002), Some(1));
    }

    #[test]
    fn the_largest_number_that_was_told_counts_also_of_one_that_is_silent() {
        let mut votes = Votes::new(PATIENCE, 1);
        votes.record("a", vote(0, 1, 1, 4), Moment::at(0));
        record(&mut votes, "b", 1, 1, 6000);
        record(&mut votes, "c", 1, 1, 6000);
        assert_eq!(port(&votes, 6000), None, "three of five are needed");
        record(&mut votes, "d", 1, 1, 6000);
        assert_eq!(port(&votes, 6000), Some(1));
    }

    #[test]
    fn those_who_name_another_epoch_or_address_are_no_part_of_a_majority() {
        let mut votes = Votes::new(PATIENCE, 1);
        record(&mut votes, "a", 1, 1, 1000);
        record(&mut votes, "b", 1, 2, 1000);
        record(&mut votes, "c", 2, 2, 1000);
        assert_eq!(port(&votes, 1000), None);
        let text = votes.explain(Moment::at(1000));
        assert!(text.contains("1 names r:1 of epoch 1") && text.contains("1 names r:2 of epoch 2"), "{text}");
        record(&mut votes, "b", 2, 2, 1001);
        assert_eq!(port(&votes, 1001), Some(2));
    }

    #[test]
    fn a_majority_is_not_believed_behind_the_highest_epoch() {
        let mut votes = three();
        record(&mut votes, "a", 2, 2, 1100);
        assert_eq!(port(&votes, 1100), None, "the others have not learnt it yet");
        assert!(!votes.names(&votes_of(1, 1), Moment::at(1100)).unwrap_or(false));
        record(&mut votes, "b", 2, 2, 1200);
        assert_eq!(port(&votes, 1200), Some(2));
        // The sentinels have lost their state.
        record(&mut votes, "b", 1, 1, 1300);
        record(&mut votes, "c", 1, 1, 1300);
        record(&mut votes, "a", 1, 1, 1300);
        assert_eq!(port(&votes, 1300), None);
        assert!(votes.explain(Moment::at(1300)).contains("epoch 2 was named before"));
    }

    fn votes_of(port: u16, epoch: u64) -> Agreement {
        Agreement { era: 0, address: address(port), epoch }
    }

    #[test]
    fn a_connection_is_named_until_a_majority_names_another() {
        let mut votes = three();
        let agreement = votes.primary(Moment::at(1000)).unwrap();
        assert_eq!(votes.names(&agreement, Moment::at(1000)), Some(true));
        record(&mut votes, "a", 2, 2, 1100);
        assert_eq!(votes.names(&agreement, Moment::at(1100)), None);
        record(&mut votes, "b", 2, 2, 1100);
        assert_eq!(votes.names(&agreement, Moment::at(1100)), Some(false));
    }

    #[test]
    fn sentinels_made_anew_start_over_once_a_majority_of_them_agrees() {
        let mut votes = three();
        record_all(&mut votes, &["a", "b", "c"], 1, 7, 1000);
        let before = votes.primary(Moment::at(1000)).unwrap();
        record(&mut votes, "x", 1, 0, 9000);
        assert_eq!(port(&votes, 9000), None, "one alone");
        record(&mut votes, "y", 1, 0, 9000);
        let after = votes.primary(Moment::at(9000)).unwrap();
        assert_eq!((after.era, after.epoch), (1, 0));
        assert_eq!(votes.names(&before, Moment::at(9000)), Some(false), "connections are dropped");
    }

    #[test]
    fn one_that_was_made_anew_and_knows_no_other_is_not_believed_alone() {
        let mut votes = three();
        votes.record("x", vote(9000, 3, 0, 0), Moment::at(9000));
        assert_eq!(port(&votes, 9000), None);
    }

    #[test]
    fn there_are_as_many_sentinels_as_the_application_named() {
        let mut votes = Votes::new(PATIENCE, 3);
        votes.record("a", vote(1000, 1, 1, 0), Moment::at(1000));
        assert_eq!(port(&votes, 1000), None, "one that has just started knows no other");
        votes.record("b", vote(1000, 1, 1, 1), Moment::at(1000));
        assert_eq!(port(&votes, 1000), Some(1));
    }

    #[test]
    fn one_that_was_made_anew_does_not_complete_a_majority() {
        let mut votes = three();
        record(&mut votes, "a", 1, 1, 9000);
        record(&mut votes, "x", 1, 1, 9000);
        assert_eq!(port(&votes, 9000), None);
        record(&mut votes, "b", 1, 1, 9001);
        assert_eq!(port(&votes, 9001), Some(1), "two known ones");
        record(&mut votes, "a", 1, 1, 20_000);
        record(&mut votes, "x", 1, 1, 20_000);
        assert_eq!(port(&votes, 20_000), Some(1), "and it is known since");
    }

    #[test]
    fn sentinels_that_are_replaced_one_by_one_start_nothing_over() {
        let mut votes = three();
        for (step, id) in ["x", "y", "z"].into_iter().enumerate() {
            let now = 10_000 * (step as u64 + 1);
            let stays = [["b", "c"], ["c", "x"], ["x", "y"]][step];
            record_all(&mut votes, &stays, 1, 1, now);
            record(&mut votes, id, 1, 1, now);
            let agreement = votes.primary(Moment::at(now)).unwrap();
            assert_eq!((agreement.era, agreement.address.1), (0, 1), "{id}");
        }
    }

    #[test]
    fn known_ones_that_disagree_with_new_ones_are_outvoted_only_by_an_agreement() {
        let mut votes = three();
        record(&mut votes, "x", 2, 0, 1100);
        record(&mut votes, "y", 2, 0, 1100);
        // The old majority is still valid.
        assert_eq!(port(&votes, 1100), Some(1));
        assert_eq!(votes.primary(Moment::at(1100)).unwrap().era, 0);
    }

    #[test]
    fn what_was_forgotten_does_not_come_back_and_epochs_stay() {
        let mut votes = three();
        record_all(&mut votes, &["a", "b", "c"], 2, 2, 1500);
        votes.forget(Moment::at(2000));
        assert_eq!(port(&votes, 2000), None);
        record_all(&mut votes, &["a", "b", "c"], 2, 2, 1999);
        assert_eq!(port(&votes, 2001), None, "asked before");
        record_all(&mut votes, &["a", "b", "c"], 1, 1, 2001);
        assert_eq!(port(&votes, 2001), None, "an earlier epoch");
        record_all(&mut votes, &["a", "b", "c"], 2, 2, 2002);
        assert_eq!(port(&votes, 2002), Some(2));
    }

    #[test]
    fn answers_that_come_out_of_order_count_as_asked() {
        let mut votes = three();
        record(&mut votes, "a", 1, 1, 3000);
        record(&mut votes, "a", 1, 1, 2000);
        record(&mut votes, "b", 1, 1, 3000);
        assert_eq!(port(&votes, 8000), Some(1));
    }

    #[test]
    fn however_many_ids_there_are_few_are_remembered() {
        let mut votes = Votes::new(PATIENCE, 1);
        for n in 0..1000 {
            record(&mut votes, &format!("s{n}"), 1, 1, n);
        }
        assert_eq!(votes.sentinels.len(), MOST);
    }

    /// One question of a node to a sentinel. The times are those of the question, of the sentinel's
    /// answer, and of the answer's arrival.
    #[derive(Clone, Debug)]
    struct Asking {
        sentinel: usize,
        asked: u64,
        reached: u64,
        came: u64,
    }

    fn askings(sentinels: usize) -> impl Strategy<Value = Vec<Asking>> {
        let one = (0..sentinels, 0..20_000_u64, 0..1000_u64, 0..1000_u64).prop_map(|(sentinel, asked, there, back)| {
            Asking { sentinel, asked, reached: asked + there, came: asked + there + back }
        });
        proptest::collection::vec(one, 1..80)
    }

    /// Returns the votes that a node has at `now`. Each sentinel names the new primary from its
    /// moment in `switched` on.
    fn known(askings: &[Asking], switched: &[u64], now: u64) -> Votes {
        let mut came: Vec<_> = askings.iter().filter(|asking| asking.came <= now).collect();
        came.sort_by_key(|asking| asking.came);
        let mut votes = Votes::new(PATIENCE, 1);
        for Asking { sentinel, asked, reached, came } in came {
            let new = *reached >= switched[*sentinel];
            let others = switched.len() as u64 - 1;
            let vote = if new { vote(*asked, 2, 2, others) } else { vote(*asked, 1, 1, others) };
            votes.record(&sentinel.to_string(), vote, Moment::at(*came));
        }
        votes
    }

    proptest! {
        /// The bound: once any node believes the new primary, no node believes the old primary for
        /// longer than `patience`.
        #[test]
        fn no_node_goes_by_the_old_primary_longer_than_patience_after_another_goes_by_the_new(
            switched in proptest::collection::vec(0..20_000_u64, 3..6),
            one in askings(3),
            other in askings(3),
            now in 0..30_000_u64,
        ) {
            let confirmed = (0..now).step_by(1000).find(|moment| port(&known(&one, &switched, *moment), *moment) == Some(2));
            if let Some(confirmed) = confirmed && confirmed + 5000 < now {
                prop_assert_ne!(port(&known(&other, &switched, now), now), Some(1), "confirmed at {}", confirmed);
            }
        }

        /// A majority has named each primary that a node believes, within `patience`.
        #[test]
        fn what_is_believed_was_named_by_a_majority(
            switched in proptest::collection::vec(0..20_000_u64, 3),
            askings in askings(3),
            now in 0..25_000_u64,
        ) {
            if let Some(believed) = port(&known(&askings, &switched, now), now) {
                let names = |asking: &&Asking| {
                    let named = if asking.reached >= switched[asking.sentinel] { 2 } else { 1 };
                    asking.came <= now && asking.asked + 5000 >= now && named == believed
                };
                let by: HashSet<_> = askings.iter().filter(names).map(|asking| asking.sentinel).collect();
                prop_assert!(by.len() >= 2, "{:?}", by);
            }
        }
    }
}
