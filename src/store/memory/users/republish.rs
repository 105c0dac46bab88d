//! Revocations that a node republishes. The memory store loses no data while its process runs, but
//! the contract of stores requires these functions.

use super::Shard;
use crate::{clock::Timestamp, error::StoreError, store::memory::log::Log};

impl Shard {
    /// Revokes a session, unless the store has revoked it already.
    pub(in crate::store::memory) fn republish_session(
        &mut self,
        subject: &str,
        sid: &str,
        now: Timestamp,
        log: &Log,
    ) -> Result<(), StoreError> {
        self.revoke_session(subject, sid, now, log).map(drop)
    }

    pub(in crate::store::memory) fn republish_token(
        &mut self,
        subject: &str,
        jti: &str,
        until: Timestamp,
        now: Timestamp,
        log: &Log,
    ) -> Result<(), StoreError> {
        self.revoke_token(subject, jti, until, now, log).map(drop)
    }

    /// Republishes a `revoke_all`. `generation` is a time in milliseconds, at least 1 ms after the
    /// lost `revoke_all`. The store refuses logins that began before `generation`. It refuses no
    /// login that begins after this call.
    pub(in crate::store::memory) fn republish_all(
        &mut self,
        subject: &str,
        generation: u64,
        except: Option<&str>,
        now: Timestamp,
        log: &Log,
    ) -> Result<(), StoreError> {
        let user = self.users.get(subject);
        if generation <= user.map_or(0, |user| user.generation) {
            return Ok(());
        }
        let except = except.filter(|sid| user.is_some_and(|user| user.is_alive(sid, now)));
        // `is_last` is false, because sessions that were opened after the lost `revoke_all` may be
        // alive.
        self.end_all(subject, generation, except, false, now, log)?;
        if let Some(user) = self.users.get_mut(subject) {
            let revoked_at = Timestamp::from_millis(generation.saturating_sub(1)).min(now);
            user.revoked_at = user.revoked_at.max(Some(revoked_at));
        }
        Ok(())
    }
}
