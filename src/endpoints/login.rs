//! The login endpoint: exchanges a user name and a password for tokens.

use std::{fmt, panic::AssertUnwindSafe, sync::Arc};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, Method, Response, StatusCode, header::USER_AGENT, request::Parts};
use http_body_util::Full;
use serde::Serialize;

use super::{
    answer::{json, of_grant, with_cookie},
    endpoint::Handle,
    fields::Fields,
    guard::{Guard, LoginAttempt},
};
use crate::{
    cookies::TokenCookie,
    error::Error,
    ids::Subject,
    middleware::{CrossSiteCheck, Rejection, RejectionKind},
    observe::{LoginFailure, Observation},
    tokens::{AuthTime, NewSession, TokenPair, TokenService},
    users::{Credentials, Grant, UserAuthentication},
};

/// The maximum length of a label from `User-Agent`, in characters.
const MAX_LABEL: usize = 200;

/// The handler of [`Endpoints::login`](super::Endpoints::login).
pub struct Login<A: UserAuthentication> {
    pub(super) tokens: TokenService<A::Claims>,
    pub(super) users: Arc<A>,
    pub(super) access_cookie: Option<Arc<TokenCookie>>,
    pub(super) cross_site: CrossSiteCheck,
    pub(super) guard: Guard,
}

impl<A> Handle for Login<A>
where
    A: UserAuthentication,
    A::Claims: Serialize,
{
    const METHODS: &'static [Method] = &[Method::POST];
    const READS_BODY: bool = true;

    /// Refuses a request whose headers name another site, if the response would set a cookie.
    /// Otherwise the page of an attacker could log the user in to the attacker's account.
    fn check(&self, parts: &Parts) -> Result<(), Rejection> {
        if self.access_cookie.is_some() { self.cross_site.check_without_cookie(parts) } else { Ok(()) }
    }

    async fn handle(&self, parts: Parts, fields: Fields) -> Result<Response<Full<Bytes>>, Rejection> {
        let (_, pair) = self.answer(parts, &fields).await?;
        Ok(with_cookie(json(StatusCode::OK, &pair), self.access_cookie.as_deref(), pair.access()))
    }
}

impl<A> Login<A>
where
    A: UserAuthentication,
    A::Claims: Serialize,
{
    /// Asks the guard, then logs in the user that the fields name. Returns the user's id and the
    /// tokens.
    pub(super) async fn answer(&self, parts: Parts, fields: &Fields) -> Result<(Subject, TokenPair), Rejection> {
        let credentials = Credentials::new(fields.one("username")?, fields.one("password")?);
        let label = label(&parts.headers);
        let attempt = LoginAttempt::new(credentials.username(), parts);
        if let Err((reason, rejection)) = self.guard.admit(&attempt).await {
            self.tokens.observer().observe(|| Observation::LoginFailed { reason });
            return Err(rejection);
        }
        let outcome = self.log_in(credentials, label).await;
        self.guard.finished(&attempt, outcome.as_ref().map(drop).map_err(LoginFailure::of)).await;
        // `log_in` tries twice if a revocation ended the user's sessions during the login. If the
        // second try fails for the same reason, the client gets the response for wrong credentials.
        outcome.map_err(|error| {
            self.tokens.observer().observe(|| Observation::LoginFailed { reason: LoginFailure::of(&error) });
            of_grant(error, RejectionKind::InvalidCredentials)
        })
    }

    async fn log_in(&self, credentials: Credentials, label: String) -> Result<(Subject, TokenPair), Error> {
        let start = self.tokens.recent_auth_time().await;
        let (id, outcome) = self.log_in_since(start, credentials.clone(), label.clone()).await?;
        if !matches!(outcome, Err(Error::LoginSuperseded)) {
            return outcome.map(|pair| (id, pair));
        }
        // All sessions of the user were revoked during the first attempt, perhaps because the
        // password was changed. So the second attempt checks the password again.
        let start = self.tokens.auth_time_after_supersession().await?;
        let (id, outcome) = self.log_in_since(start, credentials, label).await?;
        if matches!(outcome, Err(Error::LoginSuperseded)) {
            self.tokens.report_superseded_login(id.clone());
        }
        outcome.map(|pair| (id, pair))
    }

    /// Authenticates the user and opens a session. Returns the user's id with the outcome. `start`
    /// is the time at which this attempt began.
    async fn log_in_since(
        &self,
        start: AuthTime,
        credentials: Credentials,
        label: String,
    ) -> Result<(Subject, Result<TokenPair, Error>), Error> {
        let found = AssertUnwindSafe(async {
            let user = self.users.authenticate(credentials).await?;
            Ok(user.map(|user| (self.users.user_id(&user), self.users.grant(&user))))
        });
        let (id, Grant { claims, scope }) = match found.catch_unwind().await {
            Ok(Ok(Some(found))) => found,
            Ok(Ok(None)) => return Err(Error::InvalidCredentials),
            Ok(Err(error)) => return Err(Error::of_application(error)),
            Err(_) => {
                return Err(Error::Application(
                    "`UserAuthentication` panicked; see the panic message and fix it".into(),
                ));
            }
        };
        let session = NewSession::new(&id).claims(claims).scope(scope).label(label).auth_time(start);
        Ok((id, self.tokens.create_token_pair(session).await))
    }
}

impl<A: UserAuthentication> fmt::Debug for Login<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").finish_non_exhaustive()
    }
}

/// Returns the label of the session: the `User-Agent`, shortened and without control characters.
/// Control characters could manipulate a terminal that prints the list of sessions.
fn label(headers: &HeaderMap) -> String {
    let agent = headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    agent.chars().filter(|c| !c.is_control()).take(MAX_LABEL).collect()
}
