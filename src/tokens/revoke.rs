//! Revocation of tokens and sessions, and the listing of live sessions.

use std::{
    fmt,
    future::{Future, IntoFuture},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use tokio::time::sleep;

use super::{conditions::Conditions, keyring::CurrentKeyring, lifetimes::max_external_lifetime, policy::Authority};
use crate::{
    cutoff::Streams,
    error::{Error, StoreError, StoreErrorKind},
    ids::{SessionId, Subject, TokenId, is_id},
    jwt::{JwtClaims, NoClaims, TokenType, Validation, decode_token},
    observe::{Observation, SessionEnd, SharedObserver},
    replica::Replica,
    store::{BoxFuture, DenyRequest, ExternalId, Logged, Page, Revoked, SessionPage, SessionState, SessionStore},
};

/// The part of a service that revokes tokens and sessions.
pub(super) struct Revoker {
    pub(super) authority: Authority,
    pub(super) replica: Option<Arc<Replica>>,
    pub(super) keyring: Arc<CurrentKeyring>,
    /// The rules for tokens, without the claims that the application requires, so that any token
    /// can be revoked.
    pub(super) validation: Arc<Validation>,
    /// The issuer of accepted tokens; empty if they have none.
    pub(super) issuer: String,
    /// Time for which the store keeps a revocation beyond the token's `exp`.
    pub(super) after_end: Duration,
    pub(super) observer: SharedObserver,
    pub(super) streams: Streams,
    pub(super) conditions: Arc<Conditions>,
}

/// The open streams about which the watcher asks the store after a revocation, if the node has no
/// replica.
enum Announced {
    Subject(Subject),
    External(String, ExternalId),
}

impl Revoker {
    /// Revokes the token with this text. Does not read its custom claims, so that leaked tokens of
    /// older versions of the application can be revoked too.
    pub(super) fn revoke_token(&self, token: &str) -> Revoke {
        match decode_token::<NoClaims>(token, &self.keyring.load().keys, &self.validation) {
            Ok(claims) => self.revoke_claims(&claims),
            Err(error) => Revoke::failed(error.into()),
        }
    }

    pub(super) fn revoke_claims<C>(&self, claims: &JwtClaims<C>) -> Revoke {
        // Verified claims have valid ids, but an application can construct other claims.
        let sid = claims.session_id().map(|sid| (SESSION_ID, sid.as_str()));
        let ids = [(SUBJECT, claims.subject().as_str()), (TOKEN_ID, claims.token_id().as_str())];
        if let Err(error) = check_ids(ids.into_iter().chain(sid)) {
            return Revoke::failed(error);
        }
        let subject = claims.subject().clone();
        let until = claims.expires_at().saturating_add(self.after_end);
        match (&self.authority, claims.token_type(), claims.session_id()) {
            (Authority::Denylist(store, _), ..) => {
                // The store keeps the denial for as long as a node could accept the token. The
                // leeway covers the difference between the issuer's clock and the store's.
                let until = until.saturating_add(self.validation.leeway_in_force());
                let keep = until.saturating_since(store.now()).min(self.max_external_lifetime());
                let issuer = claims.issuer().unwrap_or_default().to_owned();
                let id = ExternalId::Token(claims.token_id().clone());
                self.deny_for(DenyRequest { issuer, id, keep }, None)
            }
            (_, Some(TokenType::Refresh), Some(sid)) => self.revoke_session(subject, sid.clone(), SessionEnd::Revoked),
            _ => {
                let jti = claims.token_id().clone();
                let announced = Announced::Subject(subject.clone());
                self.revoke(
                    announced,
                    None,
                    move |store| async move { store.revoke_token(&subject, &jti, until).await },
                )
            }
        }
    }

    pub(super) fn revoke_session(&self, subject: Subject, sid: SessionId, cause: SessionEnd) -> Revoke {
        let is_external = matches!(self.authority, Authority::Denylist(..));
        let owner = Some((SUBJECT, subject.as_str())).filter(|_| !is_external);
        if let Err(error) = check_ids(owner.into_iter().chain([(SESSION_ID, sid.as_str())])) {
            return Revoke::failed(error);
        }
        if is_external {
            return self.deny(ExternalId::Session(sid), cause);
        }
        let announced = Announced::Subject(subject.clone());
        self.revoke(announced, Some(cause), move |store| async move { store.revoke_session(&subject, &sid).await })
    }

    pub(super) fn revoke_all(&self, subject: Subject, except: Option<SessionId>) -> Revoke {
        let spared = except.as_ref().map(|sid| (SESSION_ID, sid.as_str()));
        if let Err(error) = check_ids([(SUBJECT, subject.as_str())].into_iter().chain(spared)) {
            return Revoke::failed(error);
        }
        if matches!(self.authority, Authority::Denylist(..)) {
            return match except {
                None => self.deny(ExternalId::Subject(subject), SessionEnd::RevokedAll),
                Some(_) => Revoke::failed(Error::Issue(
                    "the policy `Denylist` cannot spare a session; revoke all sessions of the subject".into(),
                )),
            };
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
        match &self.authority {
            Authority::Sessions(store) => Ok(store),
            _ => Err(Error::Issue(
                "the store has sessions only under the policy `Tracked`; use a service with this policy".into(),
            )),
        }
    }

    fn deny(&self, id: ExternalId, cause: SessionEnd) -> Revoke {
        let deny = DenyRequest { issuer: self.issuer.clone(), id, keep: self.max_external_lifetime() };
        self.deny_for(deny, Some(cause))
    }

    fn deny_for(&self, deny: DenyRequest, cause: Option<SessionEnd>) -> Revoke {
        match &self.authority {
            Authority::Denylist(_, denylist) => {
                let denylist = Arc::clone(denylist);
                let announced = Announced::External(deny.issuer.clone(), deny.id.clone());
                self.revoke(announced, cause, move |_| async move { denylist.deny(deny).await })
            }
            Authority::Sessions(_) | Authority::Nothing => Revoke::failed(no_store()),
        }
    }

    fn max_external_lifetime(&self) -> Duration {
        max_external_lifetime(&self.validation, self.after_end)
    }

    fn revoke<F, Fut>(&self, announced: Announced, cause: Option<SessionEnd>, ask: F) -> Revoke
    where
        F: FnOnce(Arc<dyn SessionStore>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Revoked, StoreError>> + Send + 'static,
    {
        let (Authority::Sessions(store) | Authority::Denylist(store, _)) = &self.authority else {
            return Revoke::failed(no_store());
        };
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
                    Announced::Subject(subject) => streams.revoked_subject(subject),
                    Announced::External(issuer, id) => streams.revoked_external(issuer, id),
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

/// A `jti` that no token of this service has. `has_session` passes this id to the store, because
/// the store's contract does not allow an empty id.
const NO_TOKEN: &str = "-";

const SUBJECT: &str = "subject";
const SESSION_ID: &str = "session id";
const TOKEN_ID: &str = "token id";

/// Rejects ids that no token can have. Otherwise the store would save them, and every node would
/// read them from the log.
fn check_ids<'a>(ids: impl IntoIterator<Item = (&'static str, &'a str)>) -> Result<(), Error> {
    match ids.into_iter().find(|(_, text)| !is_id(text)) {
        Some((id, _)) => Err(Error::InvalidId { id }),
        None => Ok(()),
    }
}

fn no_store() -> Error {
    Error::Issue("the policy `Stateless` has no store, so it cannot revoke; use another policy".into())
}

/// Returns the error for a store that breaks its contract. The store may or may not have made the
/// revocation. The caller must repeat it, as after any error.
fn not_logged() -> Error {
    let cause = "the store has a revocation log, but confirmed a revocation without its entry; set `Revoked::logged`";
    StoreError::new(StoreErrorKind::Untrusted).with_source(cause).into()
}

/// A revocation. When awaited, it resolves to the store's confirmation or an error.
///
/// The revocation then holds on this node immediately. [`Consistency`](super::Consistency)
/// describes when it holds on other nodes.
///
/// If the caller drops the future early, the store makes the revocation completely or not at all.
#[must_use = "nothing is revoked until this is awaited"]
pub struct Revoke {
    future: BoxFuture<Result<Revoked, Error>>,
    /// The store that makes the revocation. `None` if the call has failed already.
    store: Option<Arc<dyn SessionStore>>,
}

impl Revoke {
    /// Makes the future resolve only when the revocation holds on every node.
    ///
    /// The wait is the sum of two times. One is the longest staleness with which any node was ever
    /// configured. The other is the failover bound: the longest time for which a node may use a
    /// replaced server. See [`Status::bound_ms`](super::Status::bound_ms). If the failover bound is
    /// unknown, the wait does not include it. If both times are zero, the future resolves
    /// immediately.
    ///
    /// If the store has no log, every node asks the store about each token. So the wait is only the
    /// store's [`failover_bound`](SessionStore::failover_bound), if known.
    ///
    /// A store with a log saves the maximum of each time together with its data. If a node once had
    /// a staleness of an hour, each wait lasts at least an hour. When no such node runs any more,
    /// an operator can lower `dmax` and `fmax` in the key `m` of each bucket (`docs/protocol.md`,
    /// section 1).
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
