//! Revocation of tokens and sessions, and the listing of live sessions.

use std::{
    fmt,
    future::{Future, IntoFuture},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use tokio::time::sleep;

use super::{conditions::Conditions, keyring::CurrentKeyring, policy::Authority, streams::TokenStreams};
use crate::{
    error::{Error, StoreError, StoreErrorKind, TokenError},
    ids::{SessionId, Subject, TokenId, is_id},
    issuers::AcceptedIssuers,
    jwt::{JwtClaims, NoClaims, TokenType, UnverifiedToken, Validation, decode_token},
    observe::{Observation, SessionEnd, SharedObserver},
    replica::Replica,
    store::{BoxFuture, DenyRequest, ExternalId, Logged, Page, Revoked, SessionPage, SessionState, SessionStore},
};

/// The part of a service that revokes tokens and sessions.
pub(super) struct Revoker {
    pub(super) authority: Authority,
    pub(super) replica: Option<Arc<Replica>>,
    pub(super) keyring: Arc<CurrentKeyring>,
    pub(super) issuers: Arc<AcceptedIssuers>,
    /// The rules for tokens, without `require_claims`: a token without these claims is revocable.
    pub(super) validation: Arc<Validation>,
    /// The time for which the store keeps a revocation after the token's `exp`.
    pub(super) after_end: Duration,
    /// The time for which the store keeps a denial: a revocation of another issuer's token.
    pub(super) keep_denials: Duration,
    pub(super) observer: SharedObserver,
    pub(super) streams: TokenStreams,
    pub(super) conditions: Arc<Conditions>,
}

/// The subject or id whose open streams the revocation can concern. If the node has no replica, it
/// asks the store about these streams after the revocation.
enum Announced {
    Subject(Subject),
    External(String, ExternalId),
}

impl Revoker {
    /// Revokes the token with this text. Does not read the custom claims, so that tokens of older
    /// versions of the application can be revoked too.
    pub(super) fn revoke_token(&self, token: &str) -> Revoke {
        if let Some(revoke) = self.revoke_external_token(token) {
            return revoke;
        }
        match decode_token::<NoClaims>(token, &self.keyring.load().keys, &self.validation) {
            Ok(claims) => self.revoke_claims(&claims),
            Err(error) => Revoke::failed(error.into()),
        }
    }

    /// Returns the claims of an own token. Checks neither its times nor its revocation.
    pub(super) fn own_claims(&self, token: &str, token_type: TokenType) -> Result<JwtClaims<NoClaims>, Error> {
        self.own_sessions()?;
        let claims = decode_token::<NoClaims>(token, &self.keyring.load().keys, &self.validation)?;
        if claims.token_type() != Some(token_type) || self.is_external(&claims) {
            return Err(TokenError::WrongType.into());
        }
        Ok(claims)
    }

    /// Revokes the token if its `iss` names an accepted issuer. Otherwise returns `None`.
    fn revoke_external_token(&self, token: &str) -> Option<Revoke> {
        let token = UnverifiedToken::parse(token, self.validation.longest_token()).ok()?;
        let name = token.issuer()?;
        let issuer = self.issuers.get(self.issuers.index_of(&name)?)?;
        let current = issuer.keys.load();
        let Some(current) = &*current else { return Some(Revoke::failed(issuer.keys.unknown_key())) };
        Some(match issuer.verify(&token, &name, &current.keys, None) {
            Ok(claims) => self.revoke_claims(&claims),
            Err(TokenError::UnknownKey) => Revoke::failed(issuer.keys.unknown_key()),
            Err(error) => Revoke::failed(error.into()),
        })
    }

    /// Returns true if another issuer has issued the token. Claims that an application has
    /// constructed only name their issuer, so their `iss` is compared with the accepted issuers.
    fn is_external<C>(&self, claims: &JwtClaims<C>) -> bool {
        claims.is_external() || claims.issuer().is_some_and(|issuer| self.issuers.index_of(issuer).is_some())
    }

    pub(super) fn revoke_claims<C>(&self, claims: &JwtClaims<C>) -> Revoke {
        if self.is_external(claims) {
            return self.revoke_external_claims(claims);
        }
        // Verified claims have valid ids. Claims that an application has constructed may have
        // others.
        let sid = claims.session_id().map(|sid| (SESSION_ID, sid.as_str()));
        let ids = [(SUBJECT, claims.subject().as_str()), (TOKEN_ID, claims.token_id().as_str())];
        if let Err(error) = check_ids(ids.into_iter().chain(sid)) {
            return Revoke::failed(error);
        }
        let subject = claims.subject().clone();
        let until = claims.expires_at().saturating_add(self.after_end);
        if let (Some(TokenType::Refresh), Some(sid)) = (claims.token_type(), claims.session_id()) {
            return self.revoke_session(subject, sid.clone(), SessionEnd::Revoked);
        }
        let jti = claims.token_id().clone();
        let announced = Announced::Subject(subject.clone());
        self.revoke(announced, None, move |store| async move { store.revoke_token(&subject, &jti, until).await })
    }

    /// Revokes another issuer's token. If the token has no id, revokes its session. If it has no
    /// session either, revokes the tokens of its subject that were issued up to now.
    fn revoke_external_claims<C>(&self, claims: &JwtClaims<C>) -> Revoke {
        let issuer = claims.issuer().unwrap_or_default();
        let Some(store) = self.authority.store() else { return Revoke::failed(not_revocable()) };
        if claims.token_id().as_str().is_empty() {
            let subject = || (ExternalId::Subject(claims.subject().clone()), SessionEnd::RevokedAll);
            let session = claims.session_id().map(|sid| (ExternalId::Session(sid.clone()), SessionEnd::Revoked));
            let (id, cause) = session.unwrap_or_else(subject);
            return self.deny(issuer, id, Some(cause));
        }
        // The store keeps the denial for as long as a node could accept the token. The leeway
        // covers the difference between the issuer's clock and the store's.
        let until = claims.expires_at().saturating_add(self.after_end);
        let until = until.saturating_add(self.validation.leeway_in_force());
        // The earlier time gives the longer `keep`: a node judges the token by its own clock, which
        // may lag behind the store's.
        let now = store.now().min(self.conditions.clock().now());
        let keep = until.saturating_since(now).min(self.keep_denials);
        let id = ExternalId::Token(claims.token_id().clone());
        self.deny_for(DenyRequest { issuer: issuer.to_owned(), id, keep }, None)
    }

    pub(super) fn revoke_session(&self, subject: Subject, sid: SessionId, cause: SessionEnd) -> Revoke {
        if let Err(error) = check_ids([(SUBJECT, subject.as_str()), (SESSION_ID, sid.as_str())]) {
            return Revoke::failed(error);
        }
        let announced = Announced::Subject(subject.clone());
        self.revoke(announced, Some(cause), move |store| async move { store.revoke_session(&subject, &sid).await })
    }

    pub(super) fn revoke_all(&self, subject: Subject, except: Option<SessionId>) -> Revoke {
        let spared = except.as_ref().map(|sid| (SESSION_ID, sid.as_str()));
        if let Err(error) = check_ids([(SUBJECT, subject.as_str())].into_iter().chain(spared)) {
            return Revoke::failed(error);
        }
        let announced = Announced::Subject(subject.clone());
        let cause = Some(SessionEnd::RevokedAll);
        self.revoke(announced, cause, move |store| async move { store.revoke_all(&subject, except.as_ref()).await })
    }

    pub(super) async fn sessions(&self, subject: &Subject, page: Page) -> Result<SessionPage, Error> {
        check_ids([(SUBJECT, subject.as_str())])?;
        Ok(self.own_sessions()?.sessions(subject, page).await?)
    }

    pub(super) async fn has_session(&self, subject: &Subject, session_id: &SessionId) -> Result<bool, Error> {
        check_ids([(SUBJECT, subject.as_str()), (SESSION_ID, session_id.as_str())])?;
        let checked = self.own_sessions()?.check(subject, session_id, &TokenId::new(NO_TOKEN)).await?;
        Ok(matches!(checked.state, SessionState::Active { .. }))
    }

    /// Returns the store if it contains the sessions of the accepted tokens.
    fn own_sessions(&self) -> Result<&Arc<dyn SessionStore>, Error> {
        self.authority.sessions().ok_or_else(no_sessions)
    }

    /// Revokes another issuer's token or session, or the tokens of its subject.
    pub(super) fn deny(&self, issuer: &str, id: ExternalId, cause: Option<SessionEnd>) -> Revoke {
        let deny = DenyRequest { issuer: issuer.to_owned(), id, keep: self.keep_denials };
        self.deny_for(deny, cause)
    }

    fn deny_for(&self, deny: DenyRequest, cause: Option<SessionEnd>) -> Revoke {
        let name = match &deny.id {
            ExternalId::Token(_) => TOKEN_ID,
            ExternalId::Session(_) => SESSION_ID,
            ExternalId::Subject(_) => SUBJECT,
        };
        if let Err(error) = check_ids([(name, deny.id.as_str())]) {
            return Revoke::failed(error);
        }
        let issuer = self.issuers.index_of(&deny.issuer).and_then(|index| self.issuers.get(index));
        match self.authority.denylist().filter(|_| issuer.is_some_and(|issuer| issuer.is_revocable)) {
            Some(denylist) => {
                let denylist = Arc::clone(denylist);
                let announced = Announced::External(deny.issuer.clone(), deny.id.clone());
                self.revoke(announced, cause, move |_| async move { denylist.deny(deny).await })
            }
            None => Revoke::failed(not_revocable()),
        }
    }

    fn revoke<F, Fut>(&self, announced: Announced, cause: Option<SessionEnd>, ask: F) -> Revoke
    where
        F: FnOnce(Arc<dyn SessionStore>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Revoked, StoreError>> + Send + 'static,
    {
        let Some(store) = self.authority.store() else { return Revoke::failed(no_sessions()) };
        let is_ours = match &announced {
            Announced::Subject(_) => self.authority.sessions().is_some(),
            Announced::External(..) => true,
        };
        if !is_ours {
            return Revoke::failed(no_sessions());
        }
        let (asked, replica, streams) = (ask(Arc::clone(store)), self.replica.clone(), self.streams.clone());
        let observer = self.observer.clone();
        let has_log = Arc::clone(store).revocation_log().is_some();
        let conditions = Arc::clone(&self.conditions);
        let future = async move {
            let outcome = asked.await;
            conditions.note_revocation(&outcome);
            let mut revoked = outcome?;
            match (replica, &mut revoked.logged) {
                // The replica and `everywhere` both need the log entry.
                (_, None) if has_log => return Err(not_logged()),
                (Some(replica), Some(logged)) => {
                    if logged.until > revoked.now {
                        replica.record_revocation(revoked.now, logged);
                    }
                    logged.max_staleness = logged.max_staleness.max(replica.longest_staleness());
                }
                _ => match &announced {
                    Announced::Subject(subject) => streams.own().revoked_subject(subject),
                    Announced::External(issuer, id) => {
                        if let Some(streams) = streams.revocable() {
                            streams.revoked_external(issuer, id);
                        }
                    }
                },
            }
            if let Some(cause) = cause {
                observer.observe(|| Observation::SessionEnded { cause });
            }
            Ok(revoked)
        };
        Revoke { future: Box::pin(future), store: Some(Arc::clone(store)) }
    }
}

/// A `jti` that no own token has. `has_session` gives it to the store, because the store does not
/// allow an empty id.
const NO_TOKEN: &str = "-";

const SUBJECT: &str = "subject";
const SESSION_ID: &str = "session id";
const TOKEN_ID: &str = "token id";

/// Returns an error for an id that no token can have. Otherwise the store would save the id, and
/// every node would read it from the log.
fn check_ids<'a>(ids: impl IntoIterator<Item = (&'static str, &'a str)>) -> Result<(), Error> {
    match ids.into_iter().find(|(_, text)| !is_id(text)) {
        Some((id, _)) => Err(Error::InvalidId { id }),
        None => Ok(()),
    }
}

fn no_sessions() -> Error {
    Error::Issue("this service has no tokens of its own; give it a secret or keys".into())
}

fn not_revocable() -> Error {
    Error::Issue(
        "this service cannot revoke tokens of this issuer; accept the issuer with the policy `Denylist`".into(),
    )
}

/// Returns the error for a store that confirms a revocation without its log entry. The caller must
/// repeat the revocation, because the store may not have made it.
fn not_logged() -> Error {
    let cause = "the store has a revocation log, but confirmed a revocation without its entry; set `Revoked::logged`";
    StoreError::new(StoreErrorKind::Untrusted).with_source(cause).into()
}

/// A revocation. When awaited, it resolves to the store's confirmation or an error. If the caller
/// drops it early, the store makes the revocation completely or not at all.
///
/// After the confirmation, the revocation holds on this node immediately, and on other nodes as
/// described at [`Consistency`](super::Consistency).
#[must_use = "nothing is revoked until this is awaited"]
pub struct Revoke {
    future: BoxFuture<Result<Revoked, Error>>,
    /// The store that makes the revocation. `None` if the call has already failed.
    store: Option<Arc<dyn SessionStore>>,
}

impl Revoke {
    /// Makes the future resolve only when the revocation holds on every node.
    ///
    /// After the store's confirmation, the future waits for the sum of two times. If both are zero,
    /// it resolves immediately.
    ///
    /// - The longest staleness with which any node was ever configured.
    /// - The failover bound: the longest time for which a node may use a replaced server (see
    ///   [`Status::bound_ms`](super::Status::bound_ms)). Zero if unknown.
    ///
    /// If the store has no log, every node asks the store about each token. The future then waits
    /// only for the store's [`failover_bound`](SessionStore::failover_bound), if known.
    ///
    /// A store with a log saves the maximum of each time that any node has ever had. If a node once
    /// had a staleness of an hour, each wait lasts at least an hour. When no such node runs any
    /// more, an operator can lower `dmax` and `fmax` in the key `m` of each bucket
    /// (`docs/protocol.md`, section 1).
    ///
    /// The future returns an error only if the revocation fails. If the caller drops the future
    /// during the wait, the store has already confirmed the revocation.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_bearer::BoxError> {
    /// # let tokens = tower_bearer::TokenService::builder()
    /// #     .secret("a test secret that is long enough for HS256")
    /// #     .store(tower_bearer::MemoryStore::default())
    /// #     .build()?;
    /// tokens.revoke_all_for_subject("42").everywhere().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn everywhere(self) -> Self {
        let store = self.store.clone();
        let future = async move {
            let revoked = self.future.await?;
            let longest = match &revoked.logged {
                Some(Logged { max_staleness, max_failover, .. }) => max_staleness.saturating_add(*max_failover),
                None => store.and_then(|store| store.failover_bound().ok()).unwrap_or_default(),
            };
            if !longest.is_zero() {
                // The clocks of two nodes run at rates that differ by a few parts in ten thousand.
                sleep(longest.saturating_add(longest / 1000)).await;
            }
            Ok(revoked)
        };
        Self { future: Box::pin(future), store: self.store }
    }

    fn failed(error: Error) -> Self {
        Self { future: Box::pin(async move { Err(error) }), store: None }
    }
}

impl IntoFuture for Revoke {
    type Output = Result<Revoked, Error>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        self.future
    }
}

impl fmt::Debug for Revoke {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Revoke").finish_non_exhaustive()
    }
}
