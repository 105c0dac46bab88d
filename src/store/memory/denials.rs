//! The memory store's revocations of other issuers' tokens (`docs/protocol.md`, section 6).

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
    time::Duration,
};

use super::{
    log::Log,
    users::{PRUNED_PER_CHANGE, later},
};
use crate::{
    clock::Timestamp,
    error::StoreError,
    store::{Denial, DenyQuery, DenyRequest, ExternalId, KeptLonger, Revocation, Revoked},
};

#[derive(Default)]
pub(super) struct Denials {
    denied: HashMap<Arc<str>, Denied>,
    expiries: BTreeSet<(Timestamp, Arc<str>)>,
    kept_longer: Option<KeptLonger>,
}

struct Denied {
    /// Tokens of the session or subject that were issued at or before this moment are revoked. If
    /// the id is that of a token, this field has no meaning.
    before: Timestamp,
    until: Timestamp,
    /// The sequence number of the log entry.
    sequence: u64,
}

/// The length of the time windows of [`window_end`]. Repeated denials of one id write at most one
/// log entry per window.
const WINDOW_MILLIS: u64 = 500;

impl Denials {
    pub(super) fn deny(&mut self, deny: &DenyRequest, now: Timestamp, log: &Log) -> Result<Revoked, StoreError> {
        let name: Arc<str> = name(&deny.issuer, &deny.id).into();
        let known = self.denied.get(&name).filter(|known| now < known.until);
        let end = window_end(now);
        let before = match &deny.id {
            ExternalId::Token(_) => None,
            // If the clock was set back, the existing `before` is later than `end`. The later time
            // applies.
            ExternalId::Session(_) | ExternalId::Subject(_) => Some(known.map_or(end, |known| known.before.max(end))),
        };
        let wanted = later(end, deny.keep);
        let revocation = Revocation::External { id: name.as_ref().to_owned(), before };
        if deny.keep.is_zero() {
            return Ok(log.revoked(now, false, revocation, now, log.position(None)));
        }
        if let Some(known) = known
            && wanted <= known.until
            && before.is_none_or(|before| before == known.before)
        {
            return Ok(log.revoked(now, false, revocation, known.until, log.position(Some(known.sequence))));
        }
        let until = wanted.max(later(now, log.keep())).max(known.map_or(wanted, |known| known.until));
        let found = known.is_none_or(|known| before.is_some() && known.before < now);
        let position = log.append(now, revocation.clone(), until)?.position;
        self.put(name, Denied { before: before.unwrap_or(now), until, sequence: position.sequence });
        Ok(log.revoked(now, found, revocation, until, position))
    }

    /// Records that the store keeps denials for the time `keep` from now on. Until now, the store
    /// kept them only for the time `before`.
    pub(super) fn keep_longer(&mut self, now: Timestamp, before: Duration, keep: Duration) {
        let grown = KeptLonger { since: now, before };
        // After an increase, older tokens can stay valid for `keep`, although the store may have
        // deleted their denials. If a second increase follows within this time, `kept_longer`
        // describes both increases, with the shorter `before` of the two.
        let last = self.kept_longer.filter(|last| now < later(last.since, keep));
        self.kept_longer = Some(last.map_or(grown, |last| last.and(grown)));
    }

    /// Writes a denial that a node republishes. Changes nothing if the store still has the denial.
    pub(super) fn republish(
        &mut self,
        name: &str,
        before: Option<Timestamp>,
        until: Timestamp,
        now: Timestamp,
        log: &Log,
    ) -> Result<(), StoreError> {
        let until = until.min(Timestamp::END_OF_TIME);
        let known = self.denied.get(name).filter(|known| now < known.until);
        let is_known =
            known.is_some_and(|known| until <= known.until && before.is_none_or(|before| before <= known.before));
        if until <= now || is_known {
            return Ok(());
        }
        let before = before.map(|before| known.map_or(before, |known| known.before.max(before)));
        let until = until.max(later(now, log.keep()));
        let position = log.append(now, Revocation::External { id: name.to_owned(), before }, until)?.position;
        self.put(name.into(), Denied { before: before.unwrap_or(now), until, sequence: position.sequence });
        Ok(())
    }

    /// Saves a denial. If the id was denied before, the store keeps the later `until` and the later
    /// `before`.
    fn put(&mut self, name: Arc<str>, denied: Denied) {
        let mut denied = denied;
        if let Some(known) = self.denied.get(&name) {
            denied.before = known.before.max(denied.before);
            denied.until = known.until.max(denied.until);
            self.expiries.remove(&(known.until, name.clone()));
        }
        self.expiries.insert((denied.until, name.clone()));
        self.denied.insert(name, denied);
    }

    pub(super) fn denied(&self, query: DenyQuery, now: Timestamp, log: &Log) -> Denial {
        let issuer = &query.issuer;
        let before = |id: ExternalId| {
            self.denied.get(name(issuer, &id).as_str()).filter(|denied| now < denied.until).map(|denied| denied.before)
        };
        let session = query.sid.map(ExternalId::Session).and_then(before);
        let subject = query.subject.map(ExternalId::Subject).and_then(before);
        Denial {
            now,
            token: query.jti.map(ExternalId::Token).and_then(before).is_some(),
            revoked_before: session.max(subject),
            born: log.born(),
            kept_longer: self.kept_longer,
            server: Some(log.server()),
        }
    }

    pub(super) fn prune(&mut self, now: Timestamp) {
        for _ in 0..PRUNED_PER_CHANGE {
            if self.expiries.first().is_none_or(|(due, _)| now < *due) {
                return;
            }
            if let Some((_, name)) = self.expiries.pop_first() {
                self.denied.remove(&name);
            }
        }
    }
}

/// Returns the last millisecond of the half second that contains `now`. A denial revokes tokens
/// that were issued up to this moment.
///
/// If a node denies one id several times within the half second, all denials get the same moment.
/// So only the first one changes the store, and a denial also revokes tokens that the issuer
/// creates later in the half second. If the issuer writes `iat` in whole seconds, the store could
/// not distinguish these tokens from earlier ones anyway.
fn window_end(now: Timestamp) -> Timestamp {
    let past = now.as_millis() % WINDOW_MILLIS;
    now.saturating_add(Duration::from_millis(WINDOW_MILLIS - 1 - past))
}

/// Returns the name of this issuer's id in the log. The name contains the issuer's length, so that
/// two different ids never have the same name.
pub(super) fn name(issuer: &str, id: &ExternalId) -> String {
    let (kind, id) = match id {
        ExternalId::Token(id) => ("jti", id.as_str()),
        ExternalId::Session(id) => ("sid", id.as_str()),
        ExternalId::Subject(id) => ("sub", id.as_str()),
    };
    format!("{kind}:{}:{issuer}:{id}", issuer.len())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn denials_leave_when_their_time_is_over() {
        let start = Timestamp::from_secs(1_767_225_660);
        let log = Log::new(start);
        let mut denials = Denials::default();
        let keep = Duration::from_secs(1);
        for n in 0..100 {
            let id = ExternalId::Subject(n.into());
            denials.deny(&DenyRequest::new("https://other.example", id, keep), start, &log).unwrap();
        }
        denials.prune(start);
        assert_eq!(denials.denied.len(), 100);
        for _ in 0..100 {
            denials.prune(start.saturating_add(log.keep()).saturating_add(keep));
        }
        assert_eq!((denials.denied.len(), denials.expiries.len()), (0, 0));
    }

    #[test]
    fn what_was_denied_before_the_clock_was_put_back_stays_denied_and_the_log_says_so() {
        let start = Timestamp::from_secs(1_767_225_660);
        let (log, mut denials) = (Log::new(start), Denials::default());
        let keep = Duration::from_secs(3600);
        let deny = DenyRequest { issuer: "i".to_owned(), id: ExternalId::Subject("1".into()), keep };
        denials.deny(&deny, start, &log).unwrap();
        denials.deny(&deny, start.saturating_sub(keep / 2), &log).unwrap();
        let page = log.page(&crate::store::LogQuery::from_start(), &crate::clock::ManualClock::at(start));
        let befores: Vec<_> = page.entries.into_iter().map(|entry| entry.revocation).collect();
        assert!(
            befores.iter().all(|entry| matches!(entry, Revocation::External { before, .. } if *before >= Some(start)))
        );
        assert_eq!(befores.len(), 1, "the second call changed nothing");
        let deny = DenyRequest { keep: 2 * keep, ..deny };
        denials.deny(&deny, start.saturating_sub(keep / 2), &log).unwrap();
        let page = log.page(&crate::store::LogQuery::from_start(), &crate::clock::ManualClock::at(start));
        assert_eq!(page.entries[1].revocation, befores[0], "an earlier moment never takes the place of a later one");
    }

    #[test]
    fn no_two_ids_have_one_name() {
        let ids = ["", "1", ":1", "1:1", "a:1"];
        let mut names = BTreeSet::new();
        for issuer in ids {
            for id in ids {
                for id in [ExternalId::Token(id.into()), ExternalId::Session(id.into()), ExternalId::Subject(id.into())]
                {
                    assert!(names.insert(name(issuer, &id)), "{issuer:?} {id:?}");
                }
            }
        }
    }
}
