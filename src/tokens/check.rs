//! The check of every request: first the text of its token, then the token's revocation.
//!
//! | step | source | cost |
//! |--|--|--|
//! | text, signature, claims | the token cache or the keys | a lookup, or a signature check |
//! | times | the store's clock, or the node's for another issuer's tokens | |
//! | revocation | the replica, or the store | a comparison, a lookup, or a round trip |
//! | validator | the application | |
//!
//! The replica is this node's copy of the log:
//!
//! * It **refuses** each token in its deny set, even without a lease.
//! * While it has a lease, it **accepts** all other tokens that were issued after its horizon. If
//!   the deny set has not changed since the replica last accepted the token, one comparison is
//!   enough. Otherwise the replica searches the deny set.
//! * If the replica does neither, the node asks the store.

use std::{
    future::Future,
    mem,
    pin::Pin,
    sync::{Arc, atomic::AtomicU64},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use zeroize::Zeroizing;

use super::{
    cache::{LookupKey, TokenCache, TokenKey, VerifiedToken},
    conditions::Conditions,
    judge::{Confirmation, NO_SESSION, bearer, external_bearer, judge_denial, judge_session, refusal_by, revoked},
    keyring::CurrentKeyring,
    origin::{Convert, Origin, Unverified},
    policy::{Authority, TokenAuthority},
    streams::TokenStreams,
    validator::{self, Validator},
};
use crate::{
    clock::{Clock, Timestamp},
    cutoff::DenialRules,
    error::{ConfigError, Error, StoreError, StoreErrorKind, TokenError},
    issuers::AcceptedIssuers,
    jwt::{Claims, JwtClaims, KeySet, TokenType, Validation},
    observe::{CacheLookup, CheckReason, CheckResult, Decider, Observation, SharedObserver},
    replica::{Alive, Bearer, Replica, Route, Verdict},
    store::{Answer, BoxFuture, Checked, Denial, DenyQuery, LogStamp, SessionState},
};

/// The source that decides whether a token is revoked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Freshness {
    /// The configured source: the replica while it has a lease, otherwise the store.
    AsConfigured,
    /// The replica, if it had the whole log at most this long ago. Otherwise the store.
    Within(Duration),
}

impl Freshness {
    /// Only the store may accept the token.
    pub(crate) const STRONG: Self = Self::Within(Duration::ZERO);
}

/// A pointer to [`validate_jwt_stateless`](crate::jwt::validate_jwt_stateless) for `C`.
pub(super) type Parse<C> = fn(&str, &KeySet, &Validation, TokenType, Timestamp) -> Result<Claims<C>, TokenError>;

/// The part of a service that checks tokens.
pub(crate) struct Checker<C> {
    /// The current keys. Each operation loads them once, and uses one key set from start to end.
    pub(super) keyring: Arc<CurrentKeyring>,
    /// The access tokens that were verified with the current keys.
    pub(super) cache: TokenCache<C>,
    /// The maximum length of a token, in bytes.
    pub(crate) max_token_len: usize,
    pub(super) validation: Validation,
    /// The clock for the times of own tokens: the store's, or the one that the application has set.
    pub(super) clock: Arc<dyn Clock>,
    /// The clock for the times of other issuers' tokens: the node's.
    pub(super) node_clock: Arc<dyn Clock>,
    pub(super) issuers: Arc<AcceptedIssuers>,
    /// For each accepted issuer, the function that reads its custom claims.
    pub(super) converters: Box<[Convert<C>]>,
    pub(super) denial_rules: DenialRules,
    pub(super) conditions: Arc<Conditions>,
    /// True if the store's clock judges the times of own tokens.
    pub(super) is_judged_by_store: bool,
    /// A function pointer, so that the methods of [`Checker`] need no serde bounds on `C`.
    pub(super) parse: Parse<C>,
    pub(super) authority: Authority,
    pub(super) replica: Option<Arc<Replica>>,
    pub(super) validator: Option<Validator<C>>,
    pub(crate) observer: SharedObserver,
    /// The open streams of this service. They own the tasks of the replica. These tasks run until
    /// the last handle of the service is dropped. Handles are clones of the service, pending
    /// checks, open streams and verified claims.
    pub(super) streams: TokenStreams,
}

/// The outcome of a lookup of an access token in the cache.
pub(crate) enum Lookup<'t, C> {
    /// The cache has the token. The field is the rest of the check.
    Hit(AccessCheck<C>),
    /// The cache does not have the token. [`Checker::check_text`] verifies it.
    Miss(CacheMiss<'t>),
}

/// The cache key for the token. `None` if the checker did not look the token up, and must not cache
/// it.
pub(crate) struct CacheMiss<'t>(Option<LookupKey<'t>>);

/// A check of a token, done or in progress.
pub(crate) enum AccessCheck<C> {
    Done(Result<Claims<C>, Error>),
    /// Boxed, because a small [`AccessCheck`] is cheap to move. Under bounded staleness, most
    /// checks are [`Done`](Self::Done).
    Pending(Box<Pending<C>>),
}

/// The expected type of the token, the source that decides about its revocation, and the outcome of
/// the cache lookup.
#[derive(Clone, Copy)]
struct CheckOptions {
    token_type: TokenType,
    freshness: Freshness,
    /// Only for the observer.
    lookup: CacheLookup,
}

impl CheckOptions {
    fn is_access(self) -> bool {
        matches!(self.token_type, TokenType::Access)
    }

    /// Returns true if the replica may decide. It cannot decide about refresh tokens, because the
    /// log does not contain the counter of a session's newest refresh token.
    fn may_be_decided_here(self) -> bool {
        self.is_access() && self.freshness != Freshness::STRONG
    }
}

impl<C> Checker<C> {
    /// Returns the error for an unknown key. `index` is the index of the token's issuer.
    pub(super) fn unknown_key(&self, index: usize) -> Error {
        let issuer = self.issuers.get(index);
        issuer.map_or_else(|| TokenError::UnknownIssuer.into(), |issuer| issuer.keys.unknown_key())
    }

    /// Replaces the keys, and clears the cache of tokens that were verified with the old keys.
    pub(super) fn replace_keys(&self, keys: KeySet) -> Result<(), ConfigError> {
        if self.authority.sessions().is_none() {
            return Err(ConfigError::conflict(
                "keys",
                "are replaced in a service that has no tokens of its own",
                "remove the call of `replace_keys`, because the service fetches the keys of other issuers itself",
            ));
        }
        // The keys change before the cache's version. A check loads the version first and the keys
        // later, so with the new version it never uses the old keys.
        self.keyring.replace(keys, |version| self.cache.reset(version))
    }
}

impl<C: Send + Sync + 'static> Checker<C> {
    /// Begins the check of a token. Returns [`AccessCheck::Pending`] only if the check waits for
    /// the store or for an issuer's keys.
    pub(super) fn check(self: &Arc<Self>, token: &str, token_type: TokenType, freshness: Freshness) -> AccessCheck<C> {
        // The cache contains only access tokens. With a lookup here, the check could accept an
        // access token in place of a refresh token.
        let miss = match token_type {
            TokenType::Access => match self.check_cached(token.as_bytes(), freshness) {
                Lookup::Hit(check) => return check,
                Lookup::Miss(miss) => miss,
            },
            TokenType::Refresh => CacheMiss(None),
        };
        self.check_text(miss, token, token_type, freshness)
    }

    /// Begins another check of claims that this or another service has verified before.
    pub(super) fn check_again(self: &Arc<Self>, claims: &Claims<C>) -> AccessCheck<C> {
        // Another issuer's access token may have no type.
        let token_type = claims.token_type().unwrap_or(TokenType::Access);
        let options = CheckOptions { token_type, freshness: Freshness::AsConfigured, lookup: CacheLookup::None };
        let verified = || -> Result<_, Error> {
            let origin = self.origin_of(claims)?;
            self.check_times(claims, origin)?;
            let (claims, route) = (claims.clone(), self.route(claims, origin)?);
            // Another service may have verified these claims. This node may then see their stamp
            // for the first time.
            self.settle(&claims, route.as_ref(), token_type);
            let is_foreign = !claims.is_verified_by(&self.streams.of(claims.external()).verifier());
            Ok(VerifiedToken { claims, origin, route, alive: Alive::default(), is_foreign })
        };
        match verified() {
            Ok(token) => self.check_revocation(token, None, false, options),
            Err(error) => self.done(Err(error), options, Decider::None),
        }
    }

    /// Begins the check of an access token if the cache has the token. Looks up the raw bytes,
    /// because parsing costs more than the rest of the check.
    pub(crate) fn check_cached<'t>(self: &Arc<Self>, bytes: &'t [u8], freshness: Freshness) -> Lookup<'t, C> {
        let Some(key) = self.cache.lookup_key(bytes) else { return Lookup::Miss(CacheMiss(None)) };
        let Some(token) = self.cache.get(&key) else { return Lookup::Miss(CacheMiss(Some(key))) };
        // An issuer may have withdrawn the key that verified the token.
        if !self.has_present_keys(token.origin) {
            return Lookup::Miss(CacheMiss(Some(key)));
        }
        let options = CheckOptions { token_type: TokenType::Access, freshness, lookup: CacheLookup::Hit };
        if let Err(error) = self.check_times(&token.claims, token.origin) {
            return Lookup::Hit(self.done(Err(error), options, Decider::None));
        }
        // Under bounded staleness, most requests end here.
        if options.may_be_decided_here() && self.still_accepts(&token, options.freshness) {
            return Lookup::Hit(self.done(self.validate(token.claims, options), options, Decider::Replica));
        }
        // No store and no replica contains revocations of these tokens.
        if let Ok(TokenAuthority::Nothing) = self.authority_of(token.origin) {
            return Lookup::Hit(self.done(self.validate(token.claims, options), options, Decider::None));
        }
        Lookup::Hit(self.check_revocation(token, Some(key), false, options))
    }

    /// Begins the check of a token that the cache does not have.
    pub(crate) fn check_text(
        self: &Arc<Self>,
        miss: CacheMiss<'_>,
        token: &str,
        token_type: TokenType,
        freshness: Freshness,
    ) -> AccessCheck<C> {
        let lookup = if miss.0.is_some() { CacheLookup::Miss } else { CacheLookup::None };
        let options = CheckOptions { token_type, freshness, lookup };
        match self.begin_text_check(miss, token, options) {
            Err(Unverified::Refused(error)) => self.done(Err(error), options, Decider::None),
            Err(Unverified::UnknownKey { index, version }) => self.await_key(token, index, version, options),
            Ok(check) => check,
        }
    }

    fn begin_text_check(
        self: &Arc<Self>,
        miss: CacheMiss<'_>,
        token: &str,
        options: CheckOptions,
    ) -> Result<AccessCheck<C>, Unverified> {
        let keyring = self.keyring.load();
        // Does not cache the token if another thread has replaced the keys since the lookup.
        let key = miss.0.filter(|key| key.version() == keyring.version);
        let (claims, origin) = self.verify(&keyring, token, options.token_type)?;
        let route = self.route(&claims, origin)?;
        // One call for each token is enough. So a check of a cached token does not make this call.
        self.settle(&claims, route.as_ref(), options.token_type);
        let token = VerifiedToken { claims, origin, route, alive: Alive::default(), is_foreign: false };
        Ok(self.check_revocation(token, key, true, options))
    }

    /// Waits for a fetch of the issuer's keys, because the token's key is unknown. Refuses the
    /// token if no fetch may start now, or if too many requests wait.
    #[cold]
    fn await_key(self: &Arc<Self>, token: &str, index: usize, version: u64, options: CheckOptions) -> AccessCheck<C> {
        let Some(issuer) = self.issuers.get(index) else {
            return self.done(Err(TokenError::UnknownIssuer.into()), options, Decider::None);
        };
        let wait = issuer.keys.demand();
        // A fetch may have ended after the check loaded the keys.
        if issuer.keys.version() != version {
            return self.check_after_wait(token, index, options);
        }
        let Some(wait) = wait else {
            return self.done(Err(issuer.keys.unknown_key()), options, Decider::None);
        };
        let step = Step::Key { wait, text: Zeroizing::new(token.to_owned()), index };
        AccessCheck::Pending(Box::new(Pending { checker: Arc::clone(self), step, options, began: None }))
    }

    /// Checks a token after the wait for its key.
    fn check_after_wait(self: &Arc<Self>, text: &str, index: usize, options: CheckOptions) -> AccessCheck<C> {
        let miss = CacheMiss(self.cache.lookup_key(text.as_bytes()));
        match self.begin_text_check(miss, text, options) {
            Ok(check) => check,
            Err(Unverified::Refused(error)) => self.done(Err(error), options, Decider::None),
            Err(Unverified::UnknownKey { .. }) => self.done(Err(self.unknown_key(index)), options, Decider::None),
        }
    }

    /// Checks the times of a token by the rules of its issuer.
    #[inline]
    fn check_times(&self, claims: &JwtClaims<C>, origin: Origin) -> Result<(), Error> {
        let (rules, clock) = self.time_rules(origin)?;
        rules.check_times(claims, clock).map_err(|error| refusal_by(error, clock, &self.conditions))
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

    /// Asks the replica, then the store if the replica may not decide. Caches the token and calls
    /// the validator. Sets `decided_by` to the source of the decision.
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
                *decided_by = match self.authority_of(token.origin)? {
                    TokenAuthority::Nothing => Decider::None,
                    TokenAuthority::Sessions(_) | TokenAuthority::Denylist(_) => Decider::Store,
                };
                Some(self.ask_store(&token, options)?)
            }
        };
        // A cached token replaces its entry if the replica can use the store's new confirmation.
        let is_news = is_new || (reply.is_some() && self.replica.as_ref().is_some_and(|replica| replica.decides()));
        let key = key.filter(|_| is_news).map(|key| key.to_token_key());
        match reply {
            Some(StoreReply::Pending(answer)) => {
                // Only a check that waits reads the clock: reading it costs as much as the rest of
                // a check.
                let began = self.observer.is_set().then(Instant::now);
                let step = Step::Answer { token, answer, key };
                let pending = Pending { checker: Arc::clone(self), step, options, began };
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

/// The store's reply about a token, unless the store refuses the token.
enum StoreReply {
    /// The token is not revoked.
    Alive(Alive),
    /// The store has not answered yet.
    Pending(PendingAnswer),
}

/// The replica's verdict on a token, unless the replica refuses the token.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum LocalVerdict {
    /// The replica has a lease, and accepts the token.
    Accepted,
    /// The node must ask the store, within a rate limit. Such tokens are mostly from before the
    /// horizon.
    BeforeHorizon,
    /// The node must ask the store, for example because it has no lease.
    Unknown,
}

impl<C> Checker<C> {
    /// Returns the bucket and hashes with which the replica finds a revocation of the token. `None`
    /// if no replica decides about the token.
    fn route(&self, claims: &JwtClaims<C>, origin: Origin) -> Result<Option<Route>, TokenError> {
        let Some(replica) = &self.replica else { return Ok(None) };
        Ok(match self.authority_of(origin)? {
            TokenAuthority::Nothing => None,
            TokenAuthority::Denylist(_) => {
                Some(replica.external_route(claims.issuer().unwrap_or_default(), deny_query(claims).into_ids()))
            }
            TokenAuthority::Sessions(_) => Some(replica.route(&bearer(claims)?)),
        })
    }

    fn bearer(token: &VerifiedToken<C>) -> Result<Bearer<'_>, TokenError> {
        match token.origin {
            Origin::External { .. } => Ok(external_bearer(&token.claims)),
            Origin::Own => bearer(&token.claims),
        }
    }

    /// Passes the stamp of an access token to the replica. The stamp names the user's last
    /// revocation, which this node may not have read yet.
    fn settle(&self, claims: &JwtClaims<C>, route: Option<&Route>, token_type: TokenType) {
        if let (TokenType::Access, Some(replica), Some(route)) = (token_type, &self.replica, route)
            && let Some(stamp) = claims.stamp()
        {
            replica.settle(route, LogStamp::of_text(stamp));
        }
    }

    /// Returns true if the replica accepted this token before and its deny set has not changed
    /// since. The replica must also be as fresh as `freshness` demands.
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
        let VerifiedToken { claims, route, alive, is_foreign, .. } = token;
        let (Some(replica), Some(route)) = (&self.replica, route) else { return Ok(LocalVerdict::Unknown) };
        if self.still_accepts(token, freshness) {
            return Ok(LocalVerdict::Accepted);
        }
        let bearer = Self::bearer(token)?;
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

    /// Returns an error if this node must not ask the store about the token now:
    ///
    /// - The token is from before the horizon, and the node has reached the limit of questions per
    ///   second.
    /// - Less than two seconds ago, the store did not find the token's session, or refused the
    ///   token of another issuer.
    fn admit_question(
        &self,
        token: &VerifiedToken<C>,
        options: CheckOptions,
        is_before_horizon: bool,
    ) -> Result<(), Error> {
        let Some(replica) = &self.replica else { return Ok(()) };
        let bearer = Self::bearer(token)?;
        match token.origin {
            Origin::Own if options.is_access() && replica.is_unknown(&bearer) => {
                return Err(TokenError::UnknownSession.into());
            }
            Origin::External { .. } => match replica.was_refused(&bearer) {
                None => {}
                Some(true) => return Err(revoked(&token.claims, None).into()),
                Some(false) => {
                    return Err(TokenError::Claims("the store refused the token less than two seconds ago").into());
                }
            },
            Origin::Own => {}
        }
        if is_before_horizon && !replica.admits_check() {
            return Err(StoreError::new(StoreErrorKind::Overloaded).into());
        }
        Ok(())
    }

    /// Asks the store whether a token is revoked.
    fn ask_store(&self, token: &VerifiedToken<C>, options: CheckOptions) -> Result<StoreReply, Error> {
        let claims = &token.claims;
        let answer = match self.authority_of(token.origin)? {
            TokenAuthority::Nothing => return Ok(StoreReply::Alive(Alive::default())),
            TokenAuthority::Sessions(store) => {
                let sid = claims.session_id().ok_or(NO_SESSION)?;
                match store.check(claims.subject(), sid, claims.token_id()) {
                    Answer::Ready(answer) => self.judge_session(token, &self.noted(answer)?, options)?,
                    Answer::Pending(answer) => return Ok(StoreReply::Pending(PendingAnswer::Session(answer))),
                }
            }
            TokenAuthority::Denylist(denylist) => match denylist.denied(deny_query(claims)) {
                Answer::Ready(answer) => self.judge_denial(token, &self.noted(answer)?)?,
                Answer::Pending(answer) => return Ok(StoreReply::Pending(PendingAnswer::Denial(answer))),
            },
        };
        Ok(StoreReply::Alive(answer))
    }

    /// Records in the conditions whether a read of the store failed, and returns its outcome.
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
        // After a suspension of the machine, the estimate of the store's time lags. So the earlier
        // check of the times may have accepted an expired token.
        let end = token.claims.expires_at().saturating_add(self.validation.leeway_in_force());
        if self.is_judged_by_store && checked.now >= end {
            return Err(TokenError::Expired { at: token.claims.expires_at() }.into());
        }
        Ok(self.confirm(token, judge_session(&token.claims, checked)?)?)
    }

    /// Judges another issuer's token by the store's answer about its denials.
    fn judge_denial(&self, token: &VerifiedToken<C>, denial: &Denial) -> Result<Alive, Error> {
        match judge_denial(&token.claims, denial, self.denial_rules) {
            Ok(confirmation) => Ok(self.confirm(token, confirmation)?),
            Err(error) => {
                self.record_denial(token, matches!(error, Error::Token(TokenError::Revoked { .. })));
                Err(error)
            }
        }
    }

    /// Records that the store has refused another issuer's token. If the token is revoked, the node
    /// asks the store about the open streams with one of the token's ids.
    fn record_denial(&self, token: &VerifiedToken<C>, is_revoked: bool) {
        if let (Some(replica), Ok(bearer)) = (&self.replica, Self::bearer(token)) {
            replica.note_refused(&bearer, is_revoked);
        }
        if let (true, Some(streams)) = (is_revoked, self.streams.revocable()) {
            for id in deny_query(&token.claims).into_ids() {
                streams.revoked_external(token.claims.issuer().unwrap_or_default(), &id);
            }
        }
    }

    /// Records in the replica that the store has not refused a token. Does nothing if the replica
    /// does not decide about tokens.
    fn confirm(&self, token: &VerifiedToken<C>, (at, server): Confirmation) -> Result<Alive, TokenError> {
        match (&self.replica, &token.route) {
            (Some(replica), Some(route)) if replica.decides() => {
                Ok(replica.confirm(route, &Self::bearer(token)?, at, server))
            }
            _ => Ok(Alive::default()),
        }
    }

    /// Records that the store has refused an access token. If the token is revoked, the replica
    /// then refuses it without the store. Without a replica, the node asks the store about the
    /// subject's open streams.
    fn record_refusal(&self, token: &VerifiedToken<C>, checked: &Checked) {
        let (Some(replica), Some(route), Ok(bearer)) = (&self.replica, &token.route, bearer(&token.claims)) else {
            if let SessionState::Revoked { .. } = checked.state {
                self.streams.own().revoked_subject(token.claims.subject());
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
            // A store that failed has not decided.
            let decided_by = if let CheckReason::Store(_) = reason { Decider::None } else { decided_by };
            let duration = began.map(|began| began.elapsed());
            Observation::Check { result, reason, decided_by, lookup: options.lookup, duration }
        });
    }

    /// Calls the application's validator. Skips refresh tokens, about which `on_refresh` decides.
    fn validate(&self, claims: Claims<C>, options: CheckOptions) -> Result<Claims<C>, Error> {
        match &self.validator {
            Some(validator) if options.is_access() => validator::ask(validator, claims),
            _ => Ok(claims),
        }
    }
}

/// Returns the query for the denials of another issuer's token.
fn deny_query<C>(claims: &JwtClaims<C>) -> DenyQuery {
    DenyQuery::about(claims.issuer().unwrap_or_default(), claims.token_id(), claims.session_id(), claims.subject())
}

/// A check that waits for the store or for an issuer's keys. It owns all its data, so that a
/// response future can contain it.
pub(crate) struct Pending<C> {
    checker: Arc<Checker<C>>,
    step: Step<C>,
    options: CheckOptions,
    /// The time at which the check began to wait for the store; `None` without an observer.
    began: Option<Instant>,
}

/// The event for which a check waits.
enum Step<C> {
    /// A fetch of the issuer's keys, because the token's key is unknown.
    Key { wait: BoxFuture<()>, text: Zeroizing<String>, index: usize },
    /// The store's answer.
    Answer {
        token: VerifiedToken<C>,
        answer: PendingAnswer,
        /// The cache key for the token if the store accepts it. `None` if it must not be cached.
        key: Option<TokenKey>,
    },
}

/// The future that resolves with the store's answer.
enum PendingAnswer {
    Session(BoxFuture<Result<Checked, StoreError>>),
    Denial(BoxFuture<Result<Denial, StoreError>>),
}

impl<C: Send + Sync + 'static> Future for Pending<C> {
    type Output = Result<Claims<C>, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Step::Key { wait, text, index } = &mut self.step {
            ready!(wait.as_mut().poll(context));
            let (text, index) = (mem::take(text), *index);
            match self.checker.check_after_wait(&text, index, self.options) {
                AccessCheck::Done(result) => return Poll::Ready(result),
                AccessCheck::Pending(next) => *self = *next,
            }
        }
        let result = ready!(self.poll_answer(context));
        self.checker.observe(&result, self.options, Decider::Store, self.began);
        Poll::Ready(result)
    }
}

impl<C> Pending<C> {
    /// Returns the observer of the service that makes this check.
    pub(crate) fn observer(&self) -> &SharedObserver {
        &self.checker.observer
    }

    fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<Result<Claims<C>, Error>> {
        let Self { checker, step, options, .. } = self;
        // Unreachable: before this call, `poll` replaces `Step::Key` by `Step::Answer`, or returns.
        let Step::Answer { token, answer, key } = step else {
            return Poll::Ready(Err(TokenError::UnknownKey.into()));
        };
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
