//! A refresh token for new tokens.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{Method, Response, StatusCode, request::Parts};
use http_body_util::Full;
use serde::Serialize;

use super::{
    answer::{json, of_grant},
    cookie::{TokenCookie, with_cookie},
    endpoint::Handle,
    fields::Fields,
};
use crate::{
    middleware::{Rejection, RejectionKind},
    tokens::{OnRefresh, TokenService},
};

/// The handler of [`Endpoints::refresh`](super::Endpoints::refresh).
pub struct Refresh<C> {
    pub(super) tokens: TokenService<C>,
    /// Looks the user up, unless the service has a hook of its own.
    pub(super) renewal: Arc<dyn OnRefresh<C>>,
    pub(super) rotate: bool,
    pub(super) access_cookie: Option<Arc<TokenCookie>>,
}

impl<C: Serialize + Send + Sync + 'static> Handle for Refresh<C> {
    const METHODS: &'static [Method] = &[Method::POST];
    const READS_BODY: bool = true;

    async fn handle(&self, _: Parts, fields: Fields) -> Result<Response<Full<Bytes>>, Rejection> {
        let presented = fields.one("refresh_token")?;
        let rejected = |error| of_grant(error, RejectionKind::InvalidGrant);
        if self.rotate {
            let pair = self.tokens.refresh_or_ask(presented, Some(&*self.renewal)).await.map_err(rejected)?;
            return Ok(with_cookie(json(StatusCode::OK, &pair), self.access_cookie.as_deref(), pair.access()));
        }
        let access =
            self.tokens.refresh_access_token_or_ask(presented, Some(&*self.renewal)).await.map_err(rejected)?;
        let mut body = serde_json::json!({
            "access_token": access.as_str(),
            "token_type": "bearer",
            "expires_in": access.expires_in(),
            "access_expires_in": access.expires_in(),
        });
        if let (Some(members), false) = (body.as_object_mut(), access.scope().is_empty()) {
            members.insert("scope".to_owned(), access.scope().as_str().into());
        }
        Ok(with_cookie(json(StatusCode::OK, &body), self.access_cookie.as_deref(), &access))
    }
}

impl<C> fmt::Debug for Refresh<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refresh").field("rotate", &self.rotate).finish_non_exhaustive()
    }
}
