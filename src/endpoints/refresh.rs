//! The refresh endpoint: exchanges a refresh token for new tokens.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{Method, Response, StatusCode, request::Parts};
use http_body_util::Full;
use serde::Serialize;

use super::{
    answer::{json, of_grant, with_cookie},
    endpoint::Handle,
    fields::Fields,
};
use crate::{
    cookies::TokenCookie,
    middleware::{CrossSiteCheck, Rejection, RejectionKind},
    tokens::{OnRefresh, TokenService},
};

/// The handler of [`Endpoints::refresh`](super::Endpoints::refresh).
pub struct Refresh<C> {
    pub(crate) tokens: TokenService<C>,
    /// A hook that looks the user up again. The endpoint calls this hook only if the service has no
    /// `on_refresh` hook.
    pub(crate) renewal: Arc<dyn OnRefresh<C>>,
    pub(crate) access_cookie: Option<Arc<TokenCookie>>,
    pub(crate) cross_site: CrossSiteCheck,
}

impl<C: Serialize + Send + Sync + 'static> Handle for Refresh<C> {
    const METHODS: &'static [Method] = &[Method::POST];
    const READS_BODY: bool = true;

    /// Refuses a request whose headers name another site, if the response would set a cookie.
    fn check(&self, parts: &Parts) -> Result<(), Rejection> {
        if self.access_cookie.is_some() { self.cross_site.check_without_cookie(parts) } else { Ok(()) }
    }

    async fn handle(&self, _: Parts, fields: Fields) -> Result<Response<Full<Bytes>>, Rejection> {
        let presented = fields.one("refresh_token")?;
        let refreshed = self.tokens.refresh_or_ask(presented, Some(&*self.renewal)).await;
        let pair = refreshed.map_err(|error| of_grant(error, RejectionKind::InvalidGrant))?;
        Ok(with_cookie(json(StatusCode::OK, &pair), self.access_cookie.as_deref(), pair.access()))
    }
}

impl<C> fmt::Debug for Refresh<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refresh").finish_non_exhaustive()
    }
}
