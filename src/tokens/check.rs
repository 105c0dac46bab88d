//! The check of every request: its token's text, then its revocation.
//!
//! | step | source | cost |
//! |--|--|--|
//! | text, signature, claims | the token cache, or the keys | a lookup, or a signature check |
//! | times | the store's clock, or the node's for another issuer's tokens | |
//! | revocation | the replica, or the store | a comparison, a lookup, or a round trip |
//! | validator | the application | |
//!
//! The replica (this node's copy of the log) **refuses** a token in its deny set, even without a
//! lease. While it has a lease, it **accepts** other tokens from after its horizon. One comparison
//! is enough if the deny set has not changed since the replica last accepted the token. Otherwise
//! the replica searches the deny set.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, atomic::AtomicU64},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use super::{
    cache::{LookupKey, TokenCache, TokenKey, VerifiedToken},
    conditions::Conditions,
    keyring::{CurrentKeyring, Keyring},
    policy::Authority,
    validator::{self, Validator},
};
use crate::{
    clock::{Clock, Timestamp},
    cutoff::{Refusal, Streams, refusal},
    error::{ConfigError, Error, StoreError, StoreErrorKind, TokenError},
    jwt::{Claims, JwtClaims, KeySet, TokenType, Validation},
    observe::{CheckReason, CheckResult, Decider, Observation, SharedObserver},
    replica::{Alive, Bearer, Replica, Route, Verdict},
    store::{Answer, BoxFuture, Checked, Denial, DenyQuery, ExternalId, LogStamp, ServerId, SessionState},
};

/// The source that decides whether a token is revoked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Freshness {
    /// The configured source: the replica while it has a lease, otherwise the store.
    AsConfigured,
    /// The replica, but only if it contained the whole log at most this long ago; otherwise the
    /// store. With zero, always the store.
    Within(Duration),
}

impl Freshness {
    /// Always the store.
    pub(crate) const STRONG: Self = Self::Within(Duration::ZERO);
}

/// [`validate_jwt_stateless`](crate::jwt::validate_jwt_stateless) for one type of claims.
pub(super) type Parse<C> = fn(&str, &KeySet, &Validation, TokenType, Timestamp) -> Result<Claims<C>, TokenError>;

/// The part of a service that checks tokens.
pub(crate) struct Checker<C> {
    /// Each operation loads the keyring once, so that it uses one key set from start to end.
    pub(super) keyring: Arc<CurrentKeyring>,
    /// The access tokens that were verified with the keyring's keys.
    pub(super) cache: TokenCache<C>,
    /// The maximum length of a token, in bytes.
    pub(crate) max_token_len: usize,
    pub(super) validation: Validation,
    /// The clock that judges the times of tokens: the store's for the service's own tokens,
    /// otherwise the node's.
    pub(super) clock: Arc<dyn Clock>,
    pub(super) conditions: Arc<Conditions>,
    /// True if the store's clock judges the service's own tokens.
    pub(super) is_judged_by_store: bool,
    /// A function pointer, so that a service that only checks tokens needs no bounds on `C`.
    pub(super) parse: Parse<C>,
    pub(super) authority: Authority,
    pub(super) replica: Option<Arc<Replica>>,
    pub(super) validator: Option<Validator<C>>,
    pub(crate) observer: SharedObserver,
    /// The streams with tokens of this service. This field owns the tasks of the replica, which end
    /// with the last handle of the service. Each pending check, verified claims set and open stream
    /// is a handle too.
    pub(super) streams: Streams,
}

/// The outcome of a lookup of an access token.
pub(crate) enum Lookup<'t, C> {
    /// The checker has verified the token before. The field is the rest of the check.
    Hit(AccessCheck<C>),
    /// The text is not cached. [`Checker::check_text`] verifies it.
    Miss(CacheMiss<'t>),
}

/// The key under which the checker caches the token after the verification. `None` if it must not
/// cache the token.
pub(crate) struct CacheMiss<'t>(Option<LookupKey<'t>>);

/// A check of a token, done or in progress.
pub(crate) enum AccessCheck<C> {
    Done(Result<Claims<C>, Error>),
    /// Boxed to keep [`AccessCheck`] small, because small values are cheap to move. Under bounded
    /// staleness most checks are [`Done`](Self::Done).
    Pending(Box<Pending<C>>),
}

/// The expected type of the token, and the source that decides about its revocation.
#[derive(Clone, Copy)]
struct CheckOptions {
    token_type: TokenType,
    freshness: Freshness,
}

impl CheckOptions {
    fn is_access(self) -> bool {
        matches!(self.token_type, TokenType::Access)
    }

    /// Returns true if the replica may decide. It cannot decide about refresh tokens: the log does
    /// not record which of a session's refresh tokens is the newest.
    fn may_be_decided_here(self) -> bool {
        self.is_access() && self.freshness != Freshness::STRONG
    }
}

impl<C> Checker<C> {
    /// Verifies text, signature and claims of a token. Does not check its revocation.
    pub(super) fn verify(
        &self,
        keyring: &Keyring,
        token: &str,
        token_type: TokenType,
    ) -> Result<Claims<C>, TokenError> {
        let claims = (self.parse)(token, &keyring.keys, &self.validation, token_type, self.clock.now())?;
        claims.set_verifier(self.streams.verifier());
        Ok(claims)
    }

    /// Replaces the keys, and clears the cache of tokens that were verified with the old ones.
    pub(super) fn replace_keys(&self, keys: KeySet) -> Result<(), ConfigError> {
        // The keyring must change before the cache does. A check that reads the new version from
        // the cache then loads the new keys, or newer ones.
        self.keyring.replace(keys, |version| self.cache.reset(version))
    }
}

impl<C: Send + Sync + 'static> Checker<C> {
    /// Begins the check of a token. Returns [`AccessCheck::Pending`] only if the check waits for
    /// the store.
    pub(super) fn check(self: &Arc<Self>, token: &str, token_type: TokenType, freshness: Freshness) -> AccessCheck<C> {
        // The cache contains only access tokens. A lookup here could accept an access token in
        // place of a refresh token.
        let miss = match token_type {
            TokenType::Access => match self.check_cached(token.as_bytes(), freshness) {
                Lookup::Hit(check) => return check,
                Lookup::Miss(miss) => miss,
            },
            TokenType::Refresh => CacheMiss(None),
        };
        self.check_text(miss, token, token_type, freshness)
    }

    /// Begins another check of claims that were verified before.
    pub(super) fn check_again(self: &Arc<Self>, claims: &Claims<C>) -> AccessCheck<C> {
        // The access tokens of another issuer may have no type.
        let token_type = claims.token_type().unwrap_or(TokenType::Access);
        let options = CheckOptions { token_type, freshness: Freshness::AsConfigured };
        let verified = || -> Result<_, Error> {
            self.validation
                .check_times(claims, &*self.clock)
                .map_err(|error| refusal_by(error, &*self.clock, &self.conditions))?;
            let (claims, route) = (claims.clone(), self.route(claims)?);
            // `validate_jwt_stateless` and other services verify tokens without this step.
            self.settle(&claims, route.as_ref(), token_type);
            let is_foreign = !claims.is_verified_by(&self.streams.verifier());
            Ok(VerifiedToken { claims, route, alive: Alive::default(), is_foreign })
        };
        match verified() {
            Ok(token) => self.check_revocation(token, None, false, options),
            Err(error) => self.done(Err(error), options, Decider::None),
        }
    }

    /// Begins the check of an access token that was verified before. Looks up the raw bytes,
    /// because parsing costs more than the rest of the check.
    pub(crate) fn check_cached<'t>(self: &Arc<Self>, bytes: &'t [u8], freshness: Freshness) -> Lookup<'t, C> {
        let Some(key) = self.cache.lookup_key(bytes) else { return Lookup::Miss(CacheMiss(None)) };
        let Some(token) = self.cache.get(&key) else { return Lookup::Miss(CacheMiss(Some(key))) };
        let options = CheckOptions { token_type: TokenType::Access, freshness };
        if let Err(error) = self.validation.check_times(&token.claims, &*self.clock) {
            let error = refusal_by(error, &*self.clock, &self.conditions);
            return Lookup::Hit(self.done(Err(error), options, Decider::None));
        }
        // The fast path: most requests take it under bounded staleness.
        if options.may_be_decided_here() && self.still_accepts(&token, options.freshness) {
            return Lookup::Hit(self.done(self.validate(token.claims, options), options, Decider::Replica));
        }
        Lookup::Hit(self.check_revocation(token, Some(key), false, options))
    }

    /// Begins the check of a token that was not cached.
    pub(crate) fn check_text(
        self: &Arc<Self>,
        miss: CacheMiss<'_>,
        token: &str,
        token_type: TokenType,
        freshness: Freshness,
    ) -> AccessCheck<C> {
        let verified = || -> Result<_, Error> {
            let keyring = self.keyring.load();
            // If another thread has replaced the keys since the lookup, this check does not cache
            // the token.
            let key = miss.0.filter(|key| key.version() == keyring.version);
            let verified = self.verify(&keyring, token, token_type);
            let claims = verified.map_err(|error| refusal_by(error, &*self.clock, &self.conditions))?;
            let route = self.route(&claims)?;
            // A cached token was settled at its first check.
            self.settle(&claims, route.as_ref(), token_type);
            Ok((VerifiedToken { claims, route, alive: Alive::default(), is_foreign: false }, key))
        };
        let options = CheckOptions { token_type, freshness };
        match verified() {
            Ok((token, key)) => self.check_revocation(token, key, true, options),
            Err(error) => self.done(Err(error), options, Decider::None),
        }
    }

    /// Returns the outcome of a check, and reports it to the observer.
    #[inline]
    fn done(&self, result: Result<Claims<C>, Error>, options: CheckOptions, decided_by: Decider) -> AccessCheck<C> {
        self.observe(&result, options, decided_by, None);
        AccessCheck::Done(result)
    }

    /// Checks the revocation of a verified token, and reports the result to the observer.
    fn check_revocation(
        self: &Arc<Self>,
        token: VerifiedToken<C>,
        key: Option<LookupKey<'_>>,
        is_new: bool,
        options: CheckOptions,
    ) -> AccessCheck<C> {
        let mut decided_by = Decider::None;
        match self.begin_revocation_check(token, key, is_new, options, &mut decided_by) {
            Ok(AccessCheck::Done(result)) => self.done(result, options, decided_by),
            Ok(pending) => pending,
            Err(error) => self.done(Err(error), options, decided_by),
        }
    }

    /// Checks the revocation of a verified token, caches the token, and calls the validator. Sets
    /// `decided_by` to the source of the result.
    fn begin_revocation_check(
        self: &Arc<Self>,
        mut token: VerifiedToken<C>,
        key: Option<LookupKey<'_>>,
        is_new: bool,
        options: CheckOptions,
        decided_by: &mut Decider,
    ) -> Result<AccessCheck<C>, Error> {
        *decided_by = Decider::Replica;
        let verdict = self.local_verdict(&token, options.freshness)?;
        let reply = match verdict {
            LocalVerdict::Accepted if options.may_be_decided_here() => None,
            _ => {
                let is_before_horizon = options.may_be_decided_here() && verdict == LocalVerdict::BeforeHorizon;
                self.admit_question(&token, options, is_before_horizon)?;
                *decided_by = match self.authority {
                    Authority::Nothing => Decider::None,
                    Authority::Sessions(_) | Authority::Denylist(..) => Decider::Store,
                };
                Some(self.ask_store(&token, options)?)
            }
        };
        // A cached token enters the cache again if the replica can use the store's new answer.
        let is_news = is_new || (reply.is_some() && self.replica.as_ref().is_some_and(|replica| replica.decides()));
        let key = key.filter(|_| is_news).map(|key| key.to_token_key());
        match reply {
            Some(StoreReply::Pending(answer)) => {
                // Only a check that waits reads the clock, because a reading costs as much as the
                // rest of a check.
                let began = self.observer.is_set().then(Instant::now);
                let pending = Pending { checker: Arc::clone(self), token, answer, key, options, began };
                return Ok(AccessCheck::Pending(Box::new(pending)));
            }
            Some(StoreReply::Alive(alive)) => token.alive = alive,
            None => {}
        }
        if let Some(key) = key {
            self.cache.insert(key, token.clone());
        }
        Ok(AccessCheck::Done(self.validate(token.claims, options)))
    }
}

/// The store's reply about a token that it does not refuse.
enum StoreReply {
    /// The token is not revoked.
    Alive(Alive),
    /// The store has not answered yet.
    Pending(PendingAnswer),
}

/// The replica's verdict on a token that it does not refuse.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum LocalVerdict {
    /// The token is not revoked, according to a replica with a lease.
    Accepted,
    /// The node must ask the store, in most cases because the token was issued before the horizon.
    BeforeHorizon,
    /// The node must ask the store.
    Unknown,
}

impl<C> Checker<C> {
    /// Returns the route to the token's revocation in the replica. `None` without a replica.
    fn route(&self, claims: &JwtClaims<C>) -> Result<Option<Route>, TokenError> {
        let Some(replica) = &self.replica else { return Ok(None) };
        Ok(Some(match self.authority {
            Authority::Denylist(..) => {
                let issuer = claims.issuer().unwrap_or_default();
                replica.external_route(issuer, external_ids(claims))
            }
            _ => replica.route(&bearer(claims)?),
        }))
    }

    fn bearer<'a>(&self, claims: &'a JwtClaims<C>) -> Result<Bearer<'a>, TokenError> {
        match self.authority {
            Authority::Denylist(..) => Ok(bearer_of(claims, "")),
            _ => bearer(claims),
        }
    }

    /// Settles the stamp of an access token: the name of its user's last revocation, which this
    /// node may not have read yet.
    fn settle(&self, claims: &JwtClaims<C>, route: Option<&Route>, token_type: TokenType) {
        if let (TokenType::Access, Some(replica), Some(route)) = (token_type, &self.replica, route)
            && let Some(stamp) = claims.stamp()
        {
            replica.settle(route, LogStamp::of_text(stamp));
        }
    }

    /// Returns true if the replica has accepted this token before, its data have not changed since,
    /// and the data are as fresh as `freshness` demands.
    #[inline]
    fn still_accepts(&self, token: &VerifiedToken<C>, freshness: Freshness) -> bool {
        let (Some(replica), Some(route)) = (&self.replica, &token.route) else { return false };
        let accepts = || !token.is_foreign && replica.still_accepts(route, token.claims.memo());
        match freshness {
            Freshness::AsConfigured => accepts(),
            Freshness::Within(age) => replica.look_within(age, route, accepts) == (true, true),
        }
    }

    fn local_verdict(&self, token: &VerifiedToken<C>, freshness: Freshness) -> Result<LocalVerdict, TokenError> {
        let VerifiedToken { claims, route, alive, is_foreign } = token;
        let (Some(replica), Some(route)) = (&self.replica, route) else { return Ok(LocalVerdict::Unknown) };
        if self.still_accepts(token, freshness) {
            return Ok(LocalVerdict::Accepted);
        }
        let bearer = self.bearer(claims)?;
        let no_memo = AtomicU64::new(0);
        let memo = if *is_foreign { &no_memo } else { claims.memo() };
        let look = || replica.verdict(route, &bearer, *alive, memo);
        let verdict = match freshness {
            Freshness::AsConfigured => look(),
            Freshness::Within(age) => match replica.look_within(age, route, look) {
                (Verdict::Accepted | Verdict::BeforeHorizon, false) => Verdict::Unknown,
                (verdict, _) => verdict,
            },
        };
        match verdict {
            Verdict::Refused => Err(revoked(claims, None)),
            Verdict::Accepted => Ok(LocalVerdict::Accepted),
            Verdict::BeforeHorizon => Ok(LocalVerdict::BeforeHorizon),
            Verdict::Unknown => Ok(LocalVerdict::Unknown),
        }
    }

    /// Returns an error if this node may not ask the store about the token now. Two limits protect
    /// the store. One is a rate limit for tokens from before the horizon. The other is a pause of
    /// two seconds for each session that the store did not find.
    fn admit_question(
        &self,
        token: &VerifiedToken<C>,
        options: CheckOptions,
        is_before_horizon: bool,
    ) -> Result<(), Error> {
        let Some(replica) = &self.replica else { return Ok(()) };
        if let (Authority::Sessions(_), true) = (&self.authority, options.is_access())
            && replica.is_unknown(&self.bearer(&token.claims)?)
        {
            return Err(TokenError::UnknownSession.into());
        }
        if is_before_horizon && !replica.admits_check() {
            return Err(StoreError::new(StoreErrorKind::Overloaded).into());
        }
        Ok(())
    }

    /// Asks the store whether a token is revoked.
    fn ask_store(&self, token: &VerifiedToken<C>, options: CheckOptions) -> Result<StoreReply, Error> {
        let claims = &token.claims;
        let answer = match &self.authority {
            Authority::Nothing => return Ok(StoreReply::Alive(Alive::default())),
            Authority::Sessions(store) => {
                let sid = claims.session_id().ok_or(NO_SESSION)?;
                match store.check(claims.subject(), sid, claims.token_id()) {
                    Answer::Ready(answer) => self.judge_session(token, &self.noted(answer)?, options)?,
                    Answer::Pending(answer) => return Ok(StoreReply::Pending(PendingAnswer::Session(answer))),
                }
            }
            Authority::Denylist(_, denylist) => match denylist.denied(DenyQuery {
                issuer: claims.issuer().unwrap_or_default().to_owned(),
                jti: Some(claims.token_id().clone()),
                sid: claims.session_id().cloned(),
                subject: Some(claims.subject().clone()),
            }) {
                Answer::Ready(answer) => self.judge_denial(token, &self.noted(answer)?)?,
                Answer::Pending(answer) => return Ok(StoreReply::Pending(PendingAnswer::Denial(answer))),
            },
        };
        Ok(StoreReply::Alive(answer))
    }

    /// Notes the outcome of a question to the store, and returns it.
    fn noted<T>(&self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        self.conditions.note_read(&answer);
        answer
    }

    /// Judges a token by the store's answer about its session.
    fn judge_session(
        &self,
        token: &VerifiedToken<C>,
        checked: &Checked,
        options: CheckOptions,
    ) -> Result<Alive, Error> {
        if options.is_access() {
            self.record_refusal(token, checked);
        }
        // After a suspension of the machine, the estimate may lag until this answer.
        let end = token.claims.expires_at().saturating_add(self.validation.leeway_in_force());
        if self.is_judged_by_store && checked.now >= end {
            return Err(TokenError::Expired { at: token.claims.expires_at() }.into());
        }
        Ok(self.confirm(token, judge_session(&token.claims, checked)?)?)
    }

    /// Judges another issuer's token by the store's answer about its denials.
    fn judge_denial(&self, token: &VerifiedToken<C>, denial: &Denial) -> Result<Alive, Error> {
        let leeway = self.validation.leeway_in_force();
        Ok(self.confirm(token, judge_denial(&token.claims, denial, leeway)?)?)
    }

    /// Records in the replica that the store has not refused a token. Does nothing if the replica
    /// makes no decisions.
    fn confirm(&self, token: &VerifiedToken<C>, (at, server): Confirmation) -> Result<Alive, TokenError> {
        match (&self.replica, &token.route) {
            (Some(replica), Some(route)) if replica.decides() => {
                Ok(replica.confirm(route, &self.bearer(&token.claims)?, at, server))
            }
            _ => Ok(Alive::default()),
        }
    }

    /// Records in the replica that the store has refused an access token. If the token is revoked,
    /// this node then refuses it without asking the store. Without a replica, the node asks the
    /// store about the open streams of the subject.
    fn record_refusal(&self, token: &VerifiedToken<C>, checked: &Checked) {
        let (Some(replica), Some(route), Ok(bearer)) = (&self.replica, &token.route, bearer(&token.claims)) else {
            if let SessionState::Revoked { .. } = checked.state {
                self.streams.revoked_subject(token.claims.subject());
            }
            return;
        };
        match checked.state {
            SessionState::Revoked { .. } => replica.record_refusal(route, &bearer),
            SessionState::Unknown => replica.note_unknown(&bearer),
            SessionState::Active { .. } | SessionState::Expired => {}
        }
    }

    /// Reports the result of a check of an access token to the observer.
    #[inline]
    fn observe(
        &self,
        result: &Result<Claims<C>, Error>,
        options: CheckOptions,
        decided_by: Decider,
        began: Option<Instant>,
    ) {
        if !options.is_access() {
            return;
        }
        self.observer.observe(|| {
            let (result, reason) = match result {
                Ok(_) => (CheckResult::Accepted, CheckReason::None),
                Err(error) => CheckResult::of(error),
            };
            // A failed store has decided nothing.
            let decided_by = if let CheckReason::Store(_) = reason { Decider::None } else { decided_by };
            let duration = began.map(|began| began.elapsed());
            Observation::Check { result, reason, decided_by, duration }
        });
    }

    /// Calls the application's validator for an access token. For a refresh token, the `on_refresh`
    /// hook decides instead.
    fn validate(&self, claims: Claims<C>, options: CheckOptions) -> Result<Claims<C>, Error> {
        match &self.validator {
            Some(validator) if options.is_access() => validator::ask(validator, claims),
            _ => Ok(claims),
        }
    }
}

/// Returns the error of a token that fails the checks of its text or times. Until the store has
/// answered once, the estimate of its time is the epoch. A failed check of times is then a failure
/// of the store.
#[cold]
pub(super) fn refusal_by(error: TokenError, clock: &dyn Clock, conditions: &Conditions) -> Error {
    let is_about_time = matches!(error, TokenError::NotYetValid { .. } | TokenError::Expired { .. });
    let epoch = Timestamp::default();
    if is_about_time && clock.now() == epoch && conditions.clock().now() != epoch {
        return StoreError::new(StoreErrorKind::Unavailable)
            .with_source("the store has not reported its time yet; try again, and check that it runs")
            .into();
    }
    error.into()
}

/// Refuses a refresh token whose revocation is in the deny set of this node, even if the store has
/// lost the revocation.
pub(super) fn refuse_if_revoked<C>(replica: &Replica, claims: &Claims<C>) -> Result<(), TokenError> {
    let bearer = bearer(claims)?;
    match replica.verdict(&replica.route(&bearer), &bearer, Alive::default(), claims.memo()) {
        Verdict::Refused => Err(revoked(claims, None)),
        Verdict::Accepted | Verdict::BeforeHorizon | Verdict::Unknown => Ok(()),
    }
}

pub(super) const NO_SESSION: TokenError = TokenError::Claims("`sid` is missing");

fn bearer<C>(claims: &JwtClaims<C>) -> Result<Bearer<'_>, TokenError> {
    claims.session_id().map(|session_id| bearer_of(claims, session_id.as_str())).ok_or(NO_SESSION)
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

/// Returns the ids under which the store may have recorded a revocation of another issuer's token.
fn external_ids<C>(claims: &JwtClaims<C>) -> impl Iterator<Item = ExternalId> {
    let token = ExternalId::Token(claims.token_id().clone());
    let subject = ExternalId::Subject(claims.subject().clone());
    [token, subject].into_iter().chain(claims.session_id().map(|sid| ExternalId::Session(sid.clone())))
}

/// A check that waits for the store. It borrows nothing, so that a response future can own it.
pub(crate) struct Pending<C> {
    checker: Arc<Checker<C>>,
    token: VerifiedToken<C>,
    answer: PendingAnswer,
    /// The key under which to cache the token if the store accepts it.
    key: Option<TokenKey>,
    options: CheckOptions,
    /// The time at which the check began to wait; `None` without an observer.
    began: Option<Instant>,
}

/// The answer of the store for which the check waits.
enum PendingAnswer {
    Session(BoxFuture<Result<Checked, StoreError>>),
    Denial(BoxFuture<Result<Denial, StoreError>>),
}

impl<C> Future for Pending<C> {
    type Output = Result<Claims<C>, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let result = ready!(self.poll_answer(context));
        self.checker.observe(&result, self.options, Decider::Store, self.began);
        Poll::Ready(result)
    }
}

impl<C> Pending<C> {
    /// Returns the observer of the service that checks the token.
    pub(crate) fn observer(&self) -> &SharedObserver {
        &self.checker.observer
    }

    fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<Result<Claims<C>, Error>> {
        let Self { checker, token, answer, key, options, .. } = self;
        token.alive = match answer {
            PendingAnswer::Session(answer) => {
                let answer = checker.noted(ready!(answer.as_mut().poll(context)))?;
                checker.judge_session(token, &answer, *options)?
            }
            PendingAnswer::Denial(answer) => {
                let answer = checker.noted(ready!(answer.as_mut().poll(context)))?;
                checker.judge_denial(token, &answer)?
            }
        };
        if let Some(key) = key.take() {
            checker.cache.insert(key, token.clone());
        }
        Poll::Ready(checker.validate(token.claims.clone(), *options))
    }
}

/// The store's time at which a token was not revoked, and the server that answered.
type Confirmation = (Timestamp, Option<ServerId>);

/// Judges a token of this service by the store's answer about its session.
pub(super) fn judge_session<C>(claims: &JwtClaims<C>, checked: &Checked) -> Result<Confirmation, Error> {
    match checked.state {
        SessionState::Active { counter, .. } => match claims.token_type() {
            // A refresh token with a successor is used up.
            Some(TokenType::Refresh) if refresh_counter(claims)? < counter => Err(revoked(claims, None).into()),
            _ => Ok((checked.now, checked.server)),
        },
        SessionState::Revoked { at } => Err(revoked(claims, at).into()),
        SessionState::Unknown => Err(TokenError::UnknownSession.into()),
        SessionState::Expired => Err(TokenError::SessionExpired.into()),
    }
}

/// Judges another issuer's token by the store's answer (`docs/protocol.md`, section 6).
fn judge_denial<C>(claims: &JwtClaims<C>, denial: &Denial, leeway: Duration) -> Result<Confirmation, Error> {
    match refusal(claims.issued_at(), denial, leeway) {
        None => Ok((denial.now, denial.server)),
        Some(Refusal::Revoked(before)) => Err(revoked(claims, before).into()),
        Some(Refusal::BeforeMemory) => {
            Err(TokenError::Claims("the token was issued before the store began to record revocations").into())
        }
        Some(Refusal::BeyondMemory) => {
            Err(TokenError::Claims("the token is older than the time for which the store keeps revocations").into())
        }
    }
}

pub(super) fn revoked<C>(claims: &JwtClaims<C>, revoked_at: Option<Timestamp>) -> TokenError {
    TokenError::Revoked { token_id: claims.token_id().clone(), revoked_at }
}

/// Returns the counter of a refresh token from its `jti`: `<sid>.<counter>.r`.
pub(super) fn refresh_counter<C>(claims: &JwtClaims<C>) -> Result<u32, TokenError> {
    claims
        .session_id()
        .and_then(|sid| {
            claims.token_id().as_str().strip_prefix(sid.as_str())?.strip_prefix('.')?.strip_suffix(".r")?.parse().ok()
        })
        .ok_or(TokenError::Claims("`jti` and `sid` are not those of a refresh token of this service"))
}
