//! The check of every request: its token's text, then its revocation.
//!
//! | step | source | cost |
//! |--|--|--|
//! | text, signature, claims | the verified-token cache, or the keys | a lookup, or a signature |
//! | times | the clock | |
//! | revocation | the replica, or the store | a comparison, a lookup, or a round trip |
//! | validator | the application | |
//!
//! The replica **refuses** a token in its deny set whatever else holds. It **accepts** one while
//! its lease lives: by one comparison while nothing was learnt, otherwise by a lookup.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use super::{
    TokenPolicy, TokenService,
    cache::{Text, Verified},
    service::Inner,
    validator,
};
use crate::{
    clock::Timestamp,
    error::{Error, StoreError, StoreErrorKind, TokenError},
    jwt::{Claims, JwtClaims, TokenType},
    replica::{Alive, Bearer, Replica, Route, Verdict},
    store::{Answer, BoxFuture, Checked, Denial, DenyQuery, ExternalId, KeptLonger, ServerId, SessionState},
};

/// The source that decides if a token was revoked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Freshness {
    /// The source that is configured: the replica, if its lease lives.
    AsConfigured,
    /// The store, always.
    Strong,
}

impl<C: Send + Sync + 'static> TokenService<C> {
    /// Begins the check of a token. It is done at once, or when the store has answered.
    pub(crate) fn check(&self, token: &str, expected: TokenType, freshness: Freshness) -> AccessCheck<C> {
        match self.begin_check(token.as_bytes(), || Some(token), expected, freshness) {
            Ok(Some(check)) => check,
            // The text was given, so there is one.
            Ok(None) => AccessCheck::Done(Err(TokenError::Malformed("no text").into())),
            Err(error) => AccessCheck::Done(Err(error)),
        }
    }

    /// Begins the check of an access token given as raw bytes. Calls `read` only on a cache miss.
    /// Returns `None` if `read` does: the bytes are no text of a token.
    pub(crate) fn check_bytes<'t>(
        &self,
        bytes: &'t [u8],
        read: impl FnOnce() -> Option<&'t str>,
        freshness: Freshness,
    ) -> Option<AccessCheck<C>> {
        self.begin_check(bytes, read, TokenType::Access, freshness)
            .unwrap_or_else(|error| Some(AccessCheck::Done(Err(error))))
    }

    /// Looks the token up in the cache, or verifies its text. Then checks its revocation, caches
    /// it, and asks the application's validator.
    fn begin_check<'t>(
        &self,
        bytes: &'t [u8],
        read: impl FnOnce() -> Option<&'t str>,
        expected: TokenType,
        freshness: Freshness,
    ) -> Result<Option<AccessCheck<C>>, Error> {
        let inner = self.inner();
        let is_access = expected == TokenType::Access;
        // Only access tokens are cached. A refresh token is used once, and an access token
        // presented as one must be recognized as such.
        let mut sought = if is_access { inner.verified.seek(bytes) } else { None };
        let found = sought.as_ref().and_then(|sought| inner.verified.find(sought));
        let is_first_use = found.is_none();
        let mut verified = if let Some(verified) = found {
            inner.validation.check_times(&verified.claims, &*inner.clock)?;
            verified
        } else {
            let Some(token) = read() else { return Ok(None) };
            let keyring = inner.keyring.load();
            // Keys that were replaced just now verify it. But it is cached only under the key
            // version of the lookup.
            sought = sought.filter(|sought| sought.version() == keyring.version);
            let claims = inner.verify(&keyring, token, expected)?;
            let route = inner.route(&claims)?;
            Verified { claims, route, alive: Alive::default() }
        };
        // The log does not record which of a session's refresh tokens is the newest.
        let decides_here = is_access && freshness == Freshness::AsConfigured;
        let local = inner.known(&verified)?;
        let asked = match local {
            Known::Alive if decides_here => None,
            _ => {
                inner.admit(&verified, is_access, decides_here && local == Known::BeforeHorizon)?;
                Some(inner.ask_store(&verified, is_access)?)
            }
        };
        // The store's answer is cached if the replica can build on it.
        let is_news =
            is_first_use || (asked.is_some() && inner.replica.as_ref().is_some_and(|replica| replica.decides()));
        let to_keep = sought.filter(|_| is_news).map(|sought| sought.to_text());
        // `on_refresh` decides about refresh tokens.
        let validator = inner.validator.as_ref().filter(|_| is_access);
        match asked {
            Some(Asked::Awaited(answer)) => {
                let pending = Pending { tokens: self.clone(), verified, answer, to_keep, is_access };
                return Ok(Some(AccessCheck::Pending(Box::new(pending))));
            }
            Some(Asked::Alive(alive)) => verified.alive = alive,
            None => {}
        }
        if let Some(text) = to_keep {
            inner.verified.keep(text, verified.clone());
        }
        Ok(Some(AccessCheck::Done(validator::ask(validator, verified.claims))))
    }
}

/// The store's answer about a token that it does not refuse.
enum Asked {
    /// It is not revoked.
    Alive(Alive),
    /// The answer has yet to come.
    Awaited(Awaited),
}

/// The state of a token that the deny set does not refuse.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Known {
    /// The token is not revoked, as of the lease.
    Alive,
    /// The store has to be asked, because the token was issued before the horizon.
    BeforeHorizon,
    /// The store has to be asked.
    Nothing,
}

impl<C> Inner<C> {
    /// Returns the route by which the replica, if there is one, finds a token's revocation.
    fn route(&self, claims: &JwtClaims<C>) -> Result<Option<Route>, TokenError> {
        let Some(replica) = &self.replica else { return Ok(None) };
        Ok(Some(match self.policy {
            TokenPolicy::Denylist => {
                let issuer = claims.issuer().unwrap_or_default();
                replica.external_route(issuer, foreign_ids(claims))
            }
            _ => replica.route(&bearer(claims).ok_or(NO_SESSION)?),
        }))
    }

    fn known(&self, verified: &Verified<C>) -> Result<Known, TokenError> {
        let Verified { claims, route, alive } = verified;
        let (Some(replica), Some(route)) = (&self.replica, route) else { return Ok(Known::Nothing) };
        if replica.still_accepts(route, claims.memo()) {
            return Ok(Known::Alive);
        }
        match replica.verdict(route, &self.bearer(claims)?, *alive, claims.memo()) {
            Verdict::Refused => Err(revoked(claims, None)),
            Verdict::Accepted => Ok(Known::Alive),
            Verdict::BeforeHorizon => Ok(Known::BeforeHorizon),
            Verdict::Unknown => Ok(Known::Nothing),
        }
    }

    fn bearer<'a>(&self, claims: &'a JwtClaims<C>) -> Result<Bearer<'a>, TokenError> {
        match self.policy {
            TokenPolicy::Denylist => Ok(bearer_of(claims, "")),
            _ => bearer(claims).ok_or(NO_SESSION),
        }
    }

    /// Returns an error if the store may not be asked about a token now. A bounded number of tokens
    /// from before the horizon may be asked about in a second. A session that the store did not
    /// know a moment ago is not asked about again at once.
    fn admit(&self, verified: &Verified<C>, is_access: bool, is_before_horizon: bool) -> Result<(), Error> {
        let Some(replica) = &self.replica else { return Ok(()) };
        if is_access && self.policy == TokenPolicy::Tracked && replica.is_unknown(&self.bearer(&verified.claims)?) {
            return Err(TokenError::UnknownSession.into());
        }
        if is_before_horizon && !replica.admits_check() {
            return Err(StoreError::new(StoreErrorKind::Overloaded).into());
        }
        Ok(())
    }

    /// Records the store's confirmation that a token is not revoked.
    fn confirm(&self, verified: &Verified<C>, (at, server): Confirmation) -> Result<Alive, TokenError> {
        match (&self.replica, &verified.route) {
            (Some(replica), Some(route)) if replica.decides() => {
                Ok(replica.confirm(route, &self.bearer(&verified.claims)?, at, server))
            }
            _ => Ok(Alive::default()),
        }
    }

    /// Refuses a token that this node knows to be revoked, whatever happens to the store. Called
    /// before a refresh, as before a check.
    pub(super) fn refuse_if_revoked(&self, claims: &Claims<C>) -> Result<(), TokenError> {
        let route = self.route(claims)?;
        self.known(&Verified { claims: claims.clone(), route, alive: Alive::default() }).map(drop)
    }

    /// Asks the store whether a token with these claims was revoked.
    fn ask_store(&self, verified: &Verified<C>, is_access: bool) -> Result<Asked, Error> {
        let claims = &verified.claims;
        let leeway = self.validation.leeway_in_force();
        Ok(match (self.policy, &self.store) {
            (TokenPolicy::Stateless, _) => Asked::Alive(Alive::default()),
            // `build` rejects this policy without a store.
            (TokenPolicy::Tracked, None) => return Err(StoreError::new(StoreErrorKind::Unavailable).into()),
            (TokenPolicy::Tracked, Some(store)) => {
                let sid = claims.session_id().ok_or(NO_SESSION)?;
                match store.check(claims.subject(), sid, claims.token_id()) {
                    Answer::Ready(answer) => {
                        let checked = answer?;
                        record_refusal(self.replica.as_deref().filter(|_| is_access), verified, &checked);
                        Asked::Alive(self.confirm(verified, judge_session(claims, &checked)?)?)
                    }
                    Answer::Pending(answer) => Asked::Awaited(Awaited::Session(answer)),
                }
            }
            (TokenPolicy::Denylist, _) => match self.denylist()?.denied(DenyQuery {
                issuer: claims.issuer().unwrap_or_default().to_owned(),
                jti: Some(claims.token_id().clone()),
                sid: claims.session_id().cloned(),
                subject: Some(claims.subject().clone()),
            }) {
                Answer::Ready(answer) => Asked::Alive(self.confirm(verified, judge_denial(claims, &answer?, leeway)?)?),
                Answer::Pending(answer) => Asked::Awaited(Awaited::Denial(answer, leeway)),
            },
        })
    }
}

pub(super) const NO_SESSION: TokenError = TokenError::Claims("`sid` is missing");

fn bearer<C>(claims: &JwtClaims<C>) -> Option<Bearer<'_>> {
    claims.session_id().map(|session_id| bearer_of(claims, session_id.as_str()))
}

fn bearer_of<'a, C>(claims: &'a JwtClaims<C>, session_id: &'a str) -> Bearer<'a> {
    Bearer {
        issuer: claims.issuer().unwrap_or_default(),
        subject: claims.subject(),
        session_id,
        token_id: claims.token_id().as_str(),
        generation: claims.generation().unwrap_or_default(),
        issued_at: claims.issued_at(),
        expires_at: claims.expires_at(),
    }
}

/// Returns the ids by which another issuer's token may be denied.
fn foreign_ids<C>(claims: &JwtClaims<C>) -> impl Iterator<Item = ExternalId> {
    let token = ExternalId::Token(claims.token_id().clone());
    let subject = ExternalId::Subject(claims.subject().clone());
    [token, subject].into_iter().chain(claims.session_id().map(|sid| ExternalId::Session(sid.clone())))
}

/// A check of an access token that has begun.
pub(crate) enum AccessCheck<C> {
    Done(Result<Claims<C>, Error>),
    /// Boxed, as the store's answer in it is: a check that is done at once is a few words to move.
    Pending(Box<Pending<C>>),
}

/// A check that waits for the store. It borrows nothing, so a response future can hold it.
pub(crate) struct Pending<C> {
    tokens: TokenService<C>,
    verified: Verified<C>,
    answer: Awaited,
    /// The text, to be cached if the store accepts the token.
    to_keep: Option<Text>,
    is_access: bool,
}

enum Awaited {
    Session(BoxFuture<Result<Checked, StoreError>>),
    Denial(BoxFuture<Result<Denial, StoreError>>, Duration),
}

impl<C> Future for Pending<C> {
    type Output = Result<Claims<C>, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { tokens, verified, answer, to_keep, is_access } = &mut *self;
        let inner = tokens.inner();
        let confirmation = match answer {
            Awaited::Session(answer) => {
                let checked = ready!(answer.as_mut().poll(context))?;
                record_refusal(inner.replica.as_deref().filter(|_| *is_access), verified, &checked);
                judge_session(&verified.claims, &checked)?
            }
            Awaited::Denial(answer, leeway) => {
                judge_denial(&verified.claims, &ready!(answer.as_mut().poll(context))?, *leeway)?
            }
        };
        verified.alive = inner.confirm(verified, confirmation)?;
        if let Some(text) = to_keep.take() {
            inner.verified.keep(text, verified.clone());
        }
        let validator = inner.validator.as_ref().filter(|_| *is_access);
        Poll::Ready(validator::ask(validator, verified.claims.clone()))
    }
}

/// Notes that the store has refused an access token of ours. Once revoked, it stays so on this
/// node.
fn record_refusal<C>(replica: Option<&Replica>, verified: &Verified<C>, checked: &Checked) {
    let (Some(replica), Some(route), Some(bearer)) = (replica, &verified.route, bearer(&verified.claims)) else {
        return;
    };
    match checked.state {
        SessionState::Revoked { .. } => replica.record_refusal(route, &bearer),
        SessionState::Unknown => replica.note_unknown(&bearer),
        SessionState::Active { .. } | SessionState::Expired => {}
    }
}

/// The store's time at which a token was alive, and the server that answered.
type Confirmation = (Timestamp, Option<ServerId>);

/// Judges a token of ours by the store's answer about its session.
pub(super) fn judge_session<C>(claims: &JwtClaims<C>, checked: &Checked) -> Result<Confirmation, Error> {
    match checked.state {
        SessionState::Active { counter, .. } => match claims.token_type() {
            // An older refresh token has a successor: it is spent, whichever client holds it.
            Some(TokenType::Refresh) if refresh_counter(claims)? < counter => Err(revoked(claims, None).into()),
            _ => Ok((checked.now, checked.server)),
        },
        SessionState::Revoked { at } => Err(revoked(claims, at).into()),
        SessionState::Unknown => Err(TokenError::UnknownSession.into()),
        SessionState::Expired => Err(TokenError::SessionExpired.into()),
    }
}

/// Judges another issuer's token by the store's answer (protocol section 6). The other issuer's
/// clock may differ from the store's by the leeway. So a token that may have been issued before the
/// revocation, or before the store began to remember, counts as issued before it.
fn judge_denial<C>(claims: &JwtClaims<C>, denial: &Denial, leeway: Duration) -> Result<Confirmation, Error> {
    let issued_at = claims.issued_at();
    let before = denial.revoked_before.filter(|before| issued_at <= before.saturating_add(leeway));
    if denial.token || before.is_some() {
        return Err(revoked(claims, before).into());
    }
    if issued_at < denial.born.saturating_add(leeway) {
        return Err(TokenError::Claims("it was issued before the store began to remember revocations").into());
    }
    // A node that accepts longer lives than those before it may have been the last to start.
    let is_too_old = |kept: &KeptLonger| {
        issued_at < kept.since.saturating_add(leeway)
            && issued_at.saturating_add(kept.before) <= denial.now.saturating_add(leeway)
    };
    if denial.kept_longer.as_ref().is_some_and(is_too_old) {
        return Err(TokenError::Claims("it is older than the time for which the store remembers revocations").into());
    }
    Ok((denial.now, denial.server))
}

pub(super) fn revoked<C>(claims: &JwtClaims<C>, revoked_at: Option<Timestamp>) -> TokenError {
    TokenError::Revoked { token_id: claims.token_id().clone(), revoked_at }
}

/// Returns the counter of a refresh token, which is part of its `jti`: `<sid>.<counter>.r`.
pub(super) fn refresh_counter<C>(claims: &JwtClaims<C>) -> Result<u32, TokenError> {
    claims
        .session_id()
        .and_then(|sid| {
            claims.token_id().as_str().strip_prefix(sid.as_str())?.strip_prefix('.')?.strip_suffix(".r")?.parse().ok()
        })
        .ok_or(TokenError::Claims("`jti` and `sid` are not those of a refresh token of this service"))
}
