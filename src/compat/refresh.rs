//! The refresh of `fastcore.security`, which does not rotate the refresh token.

use std::fmt;

use bytes::Bytes;
use http::{Method, Response, StatusCode, request::Parts};
use http_body_util::Full;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    endpoints::{Endpoint, Endpoints, Fields, Handle, Refresh, json, of_grant, with_cookie},
    error::Error,
    middleware::{Rejection, RejectionKind},
    observe::{Observation, RefreshResult},
    tokens::{IssuedToken, OnRefresh, TokenService, random_id},
    users::UserAuthentication,
};

impl<C: Serialize + Send + Sync + 'static> TokenService<C> {
    /// Mints a new access token for the session of a refresh token, without rotation of the refresh
    /// token. This is the refresh of [the predecessor](crate::compat).
    ///
    /// Prefer [`refresh`](Self::refresh). Without rotation, a thief can use a stolen refresh token
    /// until it expires, and the service does not notice.
    ///
    /// Dropping the future changes nothing.
    ///
    /// # Errors
    ///
    /// The errors of [`refresh`](Self::refresh), except [`TokenError::Reused`]. If the refresh
    /// token is no longer the newest of its session, the error is [`TokenError::Revoked`], and the
    /// session stays alive.
    ///
    /// [`TokenError::Reused`]: crate::error::TokenError::Reused
    /// [`TokenError::Revoked`]: crate::error::TokenError::Revoked
    pub async fn refresh_access_token(&self, refresh_token: &str) -> Result<IssuedToken, Error> {
        self.refresh_access_token_or_ask(refresh_token, None).await
    }

    /// Refreshes as [`refresh_access_token`](Self::refresh_access_token) does. Calls `hook` if the
    /// service has no `on_refresh` hook.
    async fn refresh_access_token_or_ask(
        &self,
        refresh_token: &str,
        hook: Option<&dyn OnRefresh<C>>,
    ) -> Result<IssuedToken, Error> {
        let refreshed = self.mint_access_token(refresh_token, hook).await;
        self.observer().observe(|| Observation::Refresh {
            result: match &refreshed {
                Ok(_) => RefreshResult::NotRotated,
                Err(error) => RefreshResult::of(error),
            },
        });
        refreshed
    }

    async fn mint_access_token(
        &self,
        refresh_token: &str,
        hook: Option<&dyn OnRefresh<C>>,
    ) -> Result<IssuedToken, Error> {
        let exchange = self.begin_exchange(refresh_token, hook).await?;
        let identity = exchange.current_identity().await?;
        // Without rotation, one refresh token gives many access tokens. Each access token needs its
        // own id, so that the service can revoke it alone.
        let jti = format!("{}.{}.a", identity.token_id_stem(), random_id()?);
        exchange.access_with_id(jti.into(), &identity)
    }
}

impl<A> Endpoints<A>
where
    A: UserAuthentication,
    A::Claims: Serialize + DeserializeOwned,
{
    /// Returns the endpoint that exchanges a refresh token for an access token, without rotation.
    /// [The predecessor](crate::compat) refreshed in the same way. Prefer
    /// [`refresh`](Self::refresh), because this endpoint never detects a stolen refresh token.
    #[must_use]
    pub fn refresh_without_rotation(&self) -> Endpoint<RefreshWithoutRotation<A::Claims>> {
        self.endpoint(RefreshWithoutRotation(self.refresh_handler()))
    }
}

/// The handler of [`Endpoints::refresh_without_rotation`].
pub struct RefreshWithoutRotation<C>(Refresh<C>);

impl<C: Serialize + Send + Sync + 'static> Handle for RefreshWithoutRotation<C> {
    const METHODS: &'static [Method] = &[Method::POST];
    const READS_BODY: bool = true;

    fn check(&self, parts: &Parts) -> Result<(), Rejection> {
        self.0.check(parts)
    }

    async fn handle(&self, _: Parts, fields: Fields) -> Result<Response<Full<Bytes>>, Rejection> {
        let Refresh { tokens, renewal, access_cookie, .. } = &self.0;
        let presented = fields.one("refresh_token")?;
        let refreshed = tokens.refresh_access_token_or_ask(presented, Some(&**renewal)).await;
        let access = refreshed.map_err(|error| of_grant(error, RejectionKind::InvalidGrant))?;
        let mut body = serde_json::json!({
            "access_token": access.as_str(),
            "token_type": "bearer",
            "expires_in": access.expires_in(),
            "access_expires_in": access.expires_in(),
        });
        if let (Some(members), false) = (body.as_object_mut(), access.scope().is_empty()) {
            members.insert("scope".to_owned(), access.scope().as_str().into());
        }
        Ok(with_cookie(json(StatusCode::OK, &body), access_cookie.as_deref(), &access))
    }
}

impl<C> fmt::Debug for RefreshWithoutRotation<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RefreshWithoutRotation").finish_non_exhaustive()
    }
}
