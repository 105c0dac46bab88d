//! Revocation of tokens and sessions before their time.

use std::{
    fmt,
    future::{Future, IntoFuture},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use serde::de::DeserializeOwned;
use tokio::time::sleep;

use super::{TokenPolicy, TokenService, builder::max_foreign_life};
use crate::{
    clock::Timestamp,
    error::Error,
    ids::{SessionId, Subject, TokenId, is_id},
    jwt::{JwtClaims, TokenType},
    store::{BoxFuture, DenyRequest, ExternalId, Logged, Page, Revoked, SessionPage, SessionState, SessionStore},
};

impl<C: Send + Sync + 'static> TokenService<C> {
    /// Revokes the token with this text: an access token alone, a refresh token with its whole
    /// session.
    ///
    /// Idempotent. An expired token can be revoked too, for example a refresh token of a session
    /// that lives on. `.await` the returned value: nothing happens before.
    ///
    /// # Errors
    ///
    /// When awaited: [`Error::Token`] if the text is no token of this service; [`Error::Store`] if
    /// the store did not confirm the revocation: repeat it until it succeeds.
    #[must_use = "nothing is revoked until this is awaited"]
    pub fn revoke_token(&self, token: &str) -> Revoke
    where
        C: DeserializeOwned,
    {
        match self.decode_token(token) {
            Ok(claims) => self.revoke_claims(&claims),
            Err(error) => Revoke::failed(error.into()),
        }
    }

    /// Revokes the token that has these claims, as [`revoke_token`](Self::revoke_token) does.
    ///
    /// # Errors
    ///
    /// When awaited: [`Error::Store`] if the store did not confirm it: repeat it until it succeeds.
    /// [`Error::InvalidId`] if an id is malformed.
    #[must_use = "nothing is revoked until this is awaited"]
    pub fn revoke_claims(&self, claims: &JwtClaims<C>) -> Revoke {
        let inner = self.inner();
        // Verified claims have good ids; an application can make others.
        let sid = claims.session_id().map(|sid| (SESSION_ID, sid.as_str()));
        let ids = [(SUBJECT, claims.subject().as_str()), (TOKEN_ID, claims.token_id().as_str())];
        if let Err(error) = check_ids(ids.into_iter().chain(sid)) {
            return Revoke::failed(error);
        }
        let subject = claims.subject().clone();
        let until = claims.expires_at().saturating_add(inner.lifetimes.after_end);
        match (claims.token_type(), claims.session_id()) {
            _ if inner.policy == TokenPolicy::Denylist => {
                // Remembered as long as the token could be accepted, whatever its issuer's clock
                // and ours say. Not at all if that time is over.
                let until = until.saturating_add(inner.validation.leeway_in_force());
                let keep = until.saturating_since(inner.store_now()).min(inner.max_foreign_life());
                let issuer = claims.issuer().unwrap_or_default().to_owned();
                let id = ExternalId::Token(claims.token_id().clone());
                self.deny_for(DenyRequest { issuer, id, keep })
            }
            (Some(TokenType::Refresh), Some(sid)) => self.revoke_session(subject, sid),
            _ => {
                let jti = claims.token_id().clone();
                self.revoke(move |store| async move { Ok(store.revoke_token(&subject, &jti, until).await?) })
            }
        }
    }

    /// Revokes a session: its refresh token and all its access tokens. Idempotent.
    ///
    /// It does nothing to a session of another subject. But under [`TokenPolicy::Denylist`] the
    /// owner of a session is unknown, so the subject is ignored.
    ///
    /// # Errors
    ///
    /// When awaited: [`Error::Store`] if the store did not confirm it: repeat it until it succeeds.
    /// [`Error::InvalidId`] if an id is malformed.
    #[must_use = "nothing is revoked until this is awaited"]
    pub fn revoke_session(&self, subject: impl Into<Subject>, session_id: &SessionId) -> Revoke {
        let (subject, sid) = (subject.into(), session_id.clone());
        let is_foreign = self.inner().policy == TokenPolicy::Denylist;
        let owner = Some((SUBJECT, subject.as_str())).filter(|_| !is_foreign);
        if let Err(error) = check_ids(owner.into_iter().chain([(SESSION_ID, sid.as_str())])) {
            return Revoke::failed(error);
        }
        if is_foreign {
            return self.deny(ExternalId::Session(sid));
        }
        self.revoke(move |store| async move { Ok(store.revoke_session(&subject, &sid).await?) })
    }

    /// Revokes all sessions of a user, one step however many there are. Call it on a password
    /// change (after the new password was stored), a lost device, a disabled account. Idempotent.
    ///
    /// A login or refresh that is under way at the same time does not survive it. One exception: within ten seconds of the
    /// last call, if no session was opened since, a call changes nothing, and a login that began between the two goes on.
    /// (Otherwise a thief could refuse every login of the owner by repeating the call.)
    ///
    /// # Errors
    ///
    /// When awaited: [`Error::Store`] if the store did not confirm it: repeat it until it succeeds.
    /// [`Error::InvalidId`] if an id is malformed.
    #[must_use = "nothing is revoked until this is awaited"]
    pub fn revoke_all_for_subject(&self, subject: impl Into<Subject>) -> Revoke {
        self.revoke_all(subject.into(), None)
    }

    /// Revokes all sessions of a user but one: "log out everywhere else". That one is spared only
    /// if it is alive.
    ///
    /// # Errors
    ///
    /// As [`revoke_all_for_subject`](Self::revoke_all_for_subject). When awaited under
    /// [`TokenPolicy::Denylist`]: [`Error::Issue`], because no session of another issuer can be
    /// spared.
    #[must_use = "nothing is revoked until this is awaited"]
    pub fn revoke_all_for_subject_except(&self, subject: impl Into<Subject>, session_id: &SessionId) -> Revoke {
        self.revoke_all(subject.into(), Some(session_id.clone()))
    }

    /// Lists the user's live sessions, a page at a time, in no particular order. Dropping the
    /// future changes nothing.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidId`] if an id is malformed; [`Error::Store`] if the store did not answer;
    /// [`Error::Issue`] unless the policy is [`TokenPolicy::Tracked`]: another issuer's subject "1"
    /// is not our user 1.
    pub async fn sessions(&self, subject: impl Into<Subject>, page: Page) -> Result<SessionPage, Error> {
        let subject = subject.into();
        check_ids([(SUBJECT, subject.as_str())])?;
        Ok(self.own_store()?.sessions(&subject, page).await?)
    }

    /// Returns true if the user has this session, and it is alive. Dropping the future changes
    /// nothing.
    ///
    /// # Errors
    ///
    /// As [`sessions`](Self::sessions).
    pub async fn has_session(&self, subject: impl Into<Subject>, session_id: &SessionId) -> Result<bool, Error> {
        let subject = subject.into();
        check_ids([(SUBJECT, subject.as_str()), (SESSION_ID, session_id.as_str())])?;
        let checked = self.own_store()?.check(&subject, session_id, &TokenId::new("")).await?;
        Ok(matches!(checked.state, SessionState::Active { .. }))
    }

    /// Returns the store, if the sessions in it are those of the tokens that are accepted.
    fn own_store(&self) -> Result<&Arc<dyn SessionStore>, Error> {
        match (&self.inner().store, self.inner().policy) {
            (Some(store), TokenPolicy::Tracked) => Ok(store),
            _ => Err(Error::Issue("the sessions of another issuer's tokens are not known here".into())),
        }
    }

    fn revoke_all(&self, subject: Subject, except: Option<SessionId>) -> Revoke {
        let spared = except.as_ref().map(|sid| (SESSION_ID, sid.as_str()));
        if let Err(error) = check_ids([(SUBJECT, subject.as_str())].into_iter().chain(spared)) {
            return Revoke::failed(error);
        }
        if self.inner().policy == TokenPolicy::Denylist {
            return match except {
                None => self.deny(ExternalId::Subject(subject)),
                Some(_) => Revoke::failed(Error::Issue("no session of another issuer can be spared".into())),
            };
        }
        self.revoke(move |store| async move { Ok(store.revoke_all(&subject, except.as_ref()).await?) })
    }

    fn deny(&self, id: ExternalId) -> Revoke {
        let issuer = self.inner().issuer.clone().unwrap_or_default();
        let keep = self.inner().max_foreign_life();
        self.deny_for(DenyRequest { issuer, id, keep })
    }

    fn deny_for(&self, deny: DenyRequest) -> Revoke {
        match self.inner().denylist() {
            Ok(denylist) => {
                let denylist = Arc::clone(denylist);
                self.revoke(move |_| async move { Ok(denylist.deny(deny).await?) })
            }
            Err(error) => Revoke::failed(error),
        }
    }

    fn revoke<F, Fut>(&self, ask: F) -> Revoke
    where
        F: FnOnce(Arc<dyn SessionStore>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<Revoked, Error>> + Send + 'static,
    {
        match &self.inner().store {
            Some(store) => {
                let (asked, replica) = (ask(Arc::clone(store)), self.inner().replica.clone());
                let future = async move {
                    let mut revoked = asked.await?;
                    if let (Some(replica), Some(logged)) = (replica, &mut revoked.logged) {
                        if logged.until > revoked.now {
                            replica.record_revocation(revoked.now, logged);
                        }
                        logged.max_staleness = logged.max_staleness.max(replica.longest_staleness());
                    }
                    Ok(revoked)
                };
                Revoke { future: Box::pin(future) }
            }
            None => Revoke::failed(no_store()),
        }
    }
}

impl<C> super::service::Inner<C> {
    fn max_foreign_life(&self) -> Duration {
        max_foreign_life(&self.validation, self.lifetimes.after_end)
    }

    /// Notes that the store has ended a session in another operation.
    pub(super) fn has_ended(&self, subject: &Subject, session_id: &SessionId, at: Timestamp) {
        if let Some(replica) = &self.replica {
            // As long as its tokens may live.
            let until = at.saturating_add(self.lifetimes.access).saturating_add(self.lifetimes.after_end);
            replica.record_session_end(subject, session_id, at, until);
        }
    }
}

const SUBJECT: &str = "subject";
const SESSION_ID: &str = "session id";
const TOKEN_ID: &str = "token id";

/// Rejects ids that no token can have, before the store is asked: it would keep them, and every
/// node would read them.
fn check_ids<'a>(ids: impl IntoIterator<Item = (&'static str, &'a str)>) -> Result<(), Error> {
    match ids.into_iter().find(|(_, text)| !is_id(text)) {
        Some((id, _)) => Err(Error::InvalidId { id }),
        None => Ok(()),
    }
}

fn no_store() -> Error {
    Error::Issue("the policy `Stateless` has no store: no session is known and nothing can be revoked".into())
}

/// A revocation. Await it: it returns the store's confirmation, or an error if there is none.
///
/// On this node it then holds at once; on others as [`Consistency`](super::Consistency) says.
///
/// If it is dropped before its end, the revocation has been made or has not been made, never half
/// made.
#[must_use = "nothing is revoked until this is awaited"]
pub struct Revoke {
    future: BoxFuture<Result<Revoked, Error>>,
}

impl Revoke {
    /// Resolves only when the revocation holds on every node.
    ///
    /// It waits for the longest staleness that any node of the deployment has ever had. To this it
    /// adds the longest time for which a node may believe a replaced server. (See
    /// [`Status::bound_ms`](super::Status::bound_ms).) It ends at once if both are zero. If that
    /// time is unknown (`bound_ms` is `None`), this cannot wait for it.
    ///
    /// A store keeps both for the life of its data: if a node was once allowed an hour, this waits
    /// an hour. When no such node runs any more, lower `dmax` and `fmax` in each bucket's `m` by
    /// hand.
    ///
    /// The error is that of the revocation. If this is dropped while it waits, the revocation has
    /// been confirmed.
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
        let future = async move {
            let revoked = self.future.await?;
            if let Some(Logged { max_staleness, max_failover, .. }) = &revoked.logged {
                // The clocks of two nodes run at the same pace, but for a few parts in ten thousand.
                let longest = max_staleness.saturating_add(*max_failover);
                sleep(longest.saturating_add(longest / 1000)).await;
            }
            Ok(revoked)
        };
        Self { future: Box::pin(future) }
    }

    fn failed(error: Error) -> Self {
        Self { future: Box::pin(async move { Err(error) }) }
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
