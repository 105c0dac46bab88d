//! The predecessor's refresh, which does not rotate the refresh token.

use serde::Serialize;

use crate::{
    error::Error,
    tokens::{IssuedToken, OnRefresh, TokenService, random_id},
};

impl<C: Serialize + Send + Sync + 'static> TokenService<C> {
    /// Makes a new access token for the session of a refresh token, which stays as it is: the
    /// predecessor's behaviour.
    ///
    /// Prefer [`refresh`](Self::refresh): a thief can use a refresh token that is never rotated for
    /// as long as it lives without being noticed.
    ///
    /// Dropping the future changes nothing.
    ///
    /// # Errors
    ///
    /// As [`refresh`](Self::refresh). A refresh token that has a successor is refused, but its
    /// session is not revoked: nothing was rotated with it.
    pub async fn refresh_access_token(&self, refresh_token: &str) -> Result<IssuedToken, Error> {
        self.refresh_access_token_or_ask(refresh_token, None).await
    }

    /// Refreshes as [`refresh_access_token`](Self::refresh_access_token) does, with `hook` if the
    /// service has none of its own.
    pub(crate) async fn refresh_access_token_or_ask(
        &self,
        refresh_token: &str,
        hook: Option<&dyn OnRefresh<C>>,
    ) -> Result<IssuedToken, Error> {
        let exchange = self.begin_exchange(refresh_token, hook).await?;
        let identity = exchange.current_identity().await?;
        // Unlike the successors of a rotation these are many. So each has an id of its own, by
        // which it can be revoked alone.
        let jti = format!("{}.{}.a", identity.token_id_stem(), random_id()?);
        exchange.access_with_id(jti.into(), &identity)
    }
}
