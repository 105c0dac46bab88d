//! The opening of sessions, and their first tokens.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use serde::Serialize;

use super::{
    conditions::Conditions,
    events::{Events, SecurityEvent},
    keyring::{CurrentKeyring, Keyring},
    lifetimes::{Lifetimes, check_lifetime},
    mint::{Identity, Mint, MintRules, random_id},
    session::{IssuedToken, NewSession, TokenPair},
};
use crate::{
    clock::Timestamp,
    cutoff::Streams,
    error::{Error, StoreError, StoreErrorKind},
    ids::{SessionId, Subject, is_id},
    jwt::Scope,
    observe::{Observation, SessionEnd, SharedObserver},
    replica::Replica,
    store::{LogStamp, OpenSession, Opened, SessionStore},
};

/// The maximum length of a session's label, in bytes.
const MAX_LABEL: usize = 1024;

/// The part of a service that opens sessions, and mints their tokens.
pub(super) struct TokenIssuer {
    pub(super) keyring: Arc<CurrentKeyring>,
    pub(super) rules: MintRules,
    pub(super) store: Arc<dyn SessionStore>,
    pub(super) replica: Option<Arc<Replica>>,
    pub(super) lifetimes: Lifetimes,
    pub(super) max_sessions: Option<NonZeroU32>,
    pub(super) events: Events,
    pub(super) observer: SharedObserver,
    pub(super) streams: Streams,
    pub(super) conditions: Arc<Conditions>,
}

impl TokenIssuer {
    /// Opens a session and mints its access token and its refresh token.
    pub(super) async fn issue_pair<C: Serialize>(&self, session: NewSession<C>) -> Result<TokenPair, Error> {
        let keyring = self.keyring.load_full();
        let (mint, scope) = self.draft(&keyring, &session)?;
        let access_lifetime = self.access_lifetime(&session)?;
        let opened = self.open(&session, self.lifetimes.idle, self.session_lifetime(&session)?).await?;
        mint.pair(&opened.identity(&session.subject, access_lifetime), &scope, &session.custom)
    }

    /// Opens a session with one access token, without a refresh token.
    pub(super) async fn issue_access<C: Serialize>(&self, session: NewSession<C>) -> Result<IssuedToken, Error> {
        let keyring = self.keyring.load_full();
        let (mint, scope) = self.draft(&keyring, &session)?;
        let lifetime = self.access_lifetime(&session)?.min(self.session_lifetime(&session)?);
        // The token is valid until its `exp` plus the leeway, so the session must live as long.
        let end = lifetime.saturating_add(self.rules.validation.leeway_in_force());
        let opened = self.open(&session, end, end).await?;
        mint.access(&opened.identity(&session.subject, lifetime), &scope, &session.custom)
    }

    /// Records in the replica that the store has ended a session during a login or a refresh.
    pub(super) fn session_ended(&self, subject: &Subject, session_id: &SessionId, at: Timestamp) {
        if let Some(replica) = &self.replica {
            // The replica keeps the entry for as long as a node could accept tokens of the session.
            let until = at.saturating_add(self.lifetimes.access).saturating_add(self.lifetimes.after_end);
            replica.record_session_end(subject, session_id, at, until);
        } else {
            self.streams.revoked_subject(subject);
        }
    }

    /// Checks the parameters of a session before the store opens the session. Returns the [`Mint`]
    /// that signs the session's tokens, and their scope.
    fn draft<'a, C: Serialize>(
        &'a self,
        keyring: &'a Keyring,
        session: &NewSession<C>,
    ) -> Result<(Mint<'a>, Scope), Error> {
        let mint = self.rules.mint(keyring)?;
        if !is_id(session.subject.as_str()) {
            return Err(Error::Issue(
                "the subject is empty, over 255 bytes long or has control characters; correct the subject".into(),
            ));
        }
        if session.label.len() > MAX_LABEL {
            return Err(Error::Issue("the label is longer than 1 KiB; shorten it".into()));
        }
        let scope = Scope::parse(&session.scope).ok_or(Error::Issue(
            "the scope is malformed; write printable ASCII tokens separated by single spaces".into(),
        ))?;
        mint.check(&session.subject, &scope, &session.custom)?;
        Ok((mint, scope))
    }

    fn access_lifetime<C>(&self, session: &NewSession<C>) -> Result<Duration, Error> {
        let Some(lifetime) = session.access_lifetime else { return Ok(self.lifetimes.access) };
        check_lifetime("access_lifetime", lifetime).map_err(|error| Error::Issue(error.to_string().into()))?;
        if lifetime > self.rules.validation.max_access_lifetime_in_force() {
            return Err(Error::Issue(
                "the access lifetime is longer than `max_access_lifetime`; shorten this lifetime".into(),
            ));
        }
        Ok(lifetime)
    }

    fn session_lifetime<C>(&self, session: &NewSession<C>) -> Result<Duration, Error> {
        let Some(lifetime) = session.session_lifetime else { return Ok(self.lifetimes.session) };
        check_lifetime("session_lifetime", lifetime).map_err(|error| Error::Issue(error.to_string().into()))?;
        Ok(lifetime.min(self.lifetimes.session))
    }

    async fn open<C>(
        &self,
        session: &NewSession<C>,
        idle: Duration,
        absolute: Duration,
    ) -> Result<OpenedSession, Error> {
        let sid = SessionId::from(random_id()?);
        let open = OpenSession {
            subject: session.subject.clone(),
            sid: sid.clone(),
            idle,
            absolute,
            auth_time: session.auth_time,
            max_sessions: self.max_sessions,
            label: session.label.clone(),
        };
        let opened = self.store.open(open).await;
        self.conditions.note_write(&opened);
        match opened? {
            Opened::Opened { now, generation, refresh_end, evicted, last_revocation } => {
                for session_id in evicted {
                    self.session_ended(&session.subject, &session_id, now);
                    self.observer.observe(|| Observation::SessionEnded { cause: SessionEnd::Evicted });
                    self.events.emit(&SecurityEvent::SessionEvicted { subject: session.subject.clone(), session_id });
                }
                // The store's clock is at its maximum, so the session would have no lifetime.
                if refresh_end.as_secs() <= now.as_secs() {
                    return Err(StoreError::new(StoreErrorKind::Untrusted).into());
                }
                self.observer.observe(|| Observation::SessionOpened);
                Ok(OpenedSession { sid, now, generation, refresh_end, last_revocation })
            }
            Opened::Superseded { .. } => Err(Error::LoginSuperseded),
            // The id has 128 random bits. A store that already has this id is not trustworthy.
            Opened::Exists { .. } => Err(StoreError::new(StoreErrorKind::Untrusted).into()),
        }
    }
}

struct OpenedSession {
    sid: SessionId,
    now: Timestamp,
    generation: u64,
    refresh_end: Timestamp,
    last_revocation: Option<LogStamp>,
}

impl OpenedSession {
    fn identity<'a>(&'a self, subject: &'a Subject, access_lifetime: Duration) -> Identity<'a> {
        Identity {
            subject,
            sid: &self.sid,
            counter: 0,
            generation: self.generation,
            issued_at: self.now,
            session_end: self.refresh_end,
            access_lifetime,
            now: self.now,
            last_revocation: self.last_revocation,
        }
    }
}
