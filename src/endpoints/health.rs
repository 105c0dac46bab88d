//! The health endpoint, for monitors and load balancers.

use std::fmt;

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header::RETRY_AFTER, request::Parts};
use http_body_util::Full;

use super::{answer::json, endpoint::Handle, fields::Fields};
use crate::{
    middleware::{RETRY_AFTER_SECONDS, Rejection},
    tokens::TokenService,
};

/// The handler of [`Endpoints::health`](super::Endpoints::health).
pub struct Health<C> {
    pub(super) tokens: TokenService<C>,
}

impl<C: Send + Sync + 'static> Handle for Health<C> {
    const METHODS: &'static [Method] = &[Method::GET, Method::HEAD];
    const READS_BODY: bool = false;

    async fn handle(&self, _: Parts, _: Fields) -> Result<Response<Full<Bytes>>, Rejection> {
        let status = self.tokens.status().await;
        if status.is_ok() {
            return Ok(json(StatusCode::OK, &status));
        }
        let mut response = json(StatusCode::SERVICE_UNAVAILABLE, &status);
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        Ok(response)
    }
}

impl<C> fmt::Debug for Health<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").finish_non_exhaustive()
    }
}
