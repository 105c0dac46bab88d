//! Revocations that a node still knows, told again. This store loses none but with the process; the rules are those of every store.

use std::sync::Arc;

use super::{Expiring, Session, Shard, later, session_revocation};
use crate::{
    clock::Timestamp,
    error::StoreError,
    store::{Revocation, memory::log::Log},
};

impl Shard {
    /// A session that is not known is made, ended, so that the same is not logged again.
    pub(in crate::store::memory) fn republish_session(
        &mut self,
        subject: &str,
        sid: &str,
        now: Timestamp,
        log: &Log,
    ) -> Result<(), StoreError> {
        let session = self.users.get(subject).and_then(|user| user.sessions.get(sid));
        if session.is_some_and(|session| session.revoked_at.is_some()) {
            return Ok(());
        }
        if session.is_some() {
            return self.revoke_session(subject, sid, now, log).map(drop);
        }
        let end = later(now, log.keep());
        log.append(now, session_revocation(subject, sid), end)?;
        let (subject, user) = self.user(subject, end);
        let sid: Arc<str> = sid.into();
        let ended = Session {
            generation: user.generation,
            opened_at: now,
            rotated_at: now,
            refresh_end: end,
            absolute_end: end,
            counter: 0,
            revoked_at: Some(now),
            label: String::new(),
            indexed: end,
        };
        user.sessions.insert(sid.clone(), ended);
        self.expiries.insert((end, subject, Expiring::Session(sid)));
        Ok(())
    }

    pub(in crate::store::memory) fn republish_token(
        &mut self,
        subject: &str,
        jti: &str,
        until: Timestamp,
        now: Timestamp,
        log: &Log,
    ) -> Result<(), StoreError> {
        let known = self.users.get(subject).and_then(|user| user.tokens.get(jti));
        if known.is_some_and(|known| until.min(Timestamp::END_OF_TIME) <= known.until) {
            return Ok(());
        }
        self.revoke_token(subject, jti, until, now, log).map(drop)
    }

    /// `revoke_all` set the generation one above its own time, at least: logins that began by then are superseded, and later
    /// ones are not.
    pub(in crate::store::memory) fn republish_all(
        &mut self,
        subject: &str,
        generation: u64,
        except: Option<&str>,
        now: Timestamp,
        log: &Log,
    ) -> Result<(), StoreError> {
        let until = later(now, log.keep());
        let user = self.users.get(subject);
        let known = user.map_or(0, |user| user.generation);
        if generation <= known {
            return Ok(());
        }
        let is_live =
            |sid: &str| user.and_then(|user| user.sessions.get(sid)).is_some_and(|session| session.is_live(known, now));
        let except = except.filter(|sid| is_live(sid));
        let revocation =
            Revocation::Subject { subject: subject.to_owned(), generation, except: except.map(ToOwned::to_owned) };
        log.append(now, revocation, until)?;

        let (_, user) = self.user(subject, until);
        user.generation = generation;
        let revoked_at = Timestamp::from_millis(generation.saturating_sub(1)).min(now);
        user.revoked_at = user.revoked_at.max(Some(revoked_at));
        if let Some(kept) = except.and_then(|sid| user.sessions.get_mut(sid))
            && kept.generation < generation
        {
            kept.generation = generation;
            user.highest = user.highest.max(generation);
        }
        Ok(())
    }
}
