//! Ending the caller's session, or all of them.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{Method, Response, StatusCode, request::Parts};
use http_body_util::Full;

use super::{
    answer::{Failure, json},
    cookie::{TokenCookie, clear_cookies},
    endpoint::{Handle, claims_of},
    fields::Fields,
};
use crate::tokens::TokenService;

/// The handler of [`Endpoints::logout`](super::Endpoints::logout).
pub struct Logout<C> {
    pub(super) tokens: TokenService<C>,
    pub(super) access_cookie: Option<Arc<TokenCookie>>,
}

impl<C: Send + Sync + 'static> Handle for Logout<C> {
    const METHODS: &'static [Method] = &[Method::POST];
    const READS_BODY: bool = false;

    async fn handle(&self, parts: Parts, _: Fields) -> Result<Response<Full<Bytes>>, Failure> {
        let claims = claims_of::<C>(&parts)?;
        let revoked = match claims.session_id() {
            Some(sid) => self.tokens.revoke_session(claims.subject().as_str(), sid.as_str()).await,
            // Another issuer's token need not belong to a session.
            None => self.tokens.revoke_claims(&claims).await,
        };
        revoked.map_err(|error| Failure::of_operation(&error))?;
        let mut response = json(StatusCode::OK, &serde_json::json!({ "message": "Successfully logged out" }));
        clear_cookies(&mut response, self.access_cookie.as_deref());
        Ok(response)
    }
}

/// The handler of [`Endpoints::logout_all`](super::Endpoints::logout_all).
pub struct LogoutAll<C> {
    pub(super) tokens: TokenService<C>,
    pub(super) access_cookie: Option<Arc<TokenCookie>>,
}

impl<C: Send + Sync + 'static> Handle for LogoutAll<C> {
    const METHODS: &'static [Method] = &[Method::POST];
    const READS_BODY: bool = false;

    async fn handle(&self, parts: Parts, _: Fields) -> Result<Response<Full<Bytes>>, Failure> {
        let claims = claims_of::<C>(&parts)?;
        let spared = if keep_current(&parts)? { claims.session_id() } else { None };
        let revoked = match spared {
            Some(sid) => self.tokens.revoke_all_for_subject_except(claims.subject(), sid.as_str()).await,
            None => self.tokens.revoke_all_for_subject(claims.subject()).await,
        };
        revoked.map_err(|error| Failure::of_operation(&error))?;
        let message = if spared.is_some() { "Logged out of all other sessions" } else { "Logged out of all sessions" };
        let mut response = json(StatusCode::OK, &serde_json::json!({ "message": message }));
        if spared.is_none() {
            clear_cookies(&mut response, self.access_cookie.as_deref());
        }
        Ok(response)
    }
}

/// `?keep_current=true` or `false`, at most once: a parameter that decides who stays logged in is not guessed at.
fn keep_current(parts: &Parts) -> Result<bool, Failure> {
    let query = parts.uri.query().unwrap_or_default();
    let mut values = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "keep_current");
    match (values.next().map(|(_, value)| value), values.next()) {
        (None, _) => Ok(false),
        (Some(value), None) if value == "true" => Ok(true),
        (Some(value), None) if value == "false" => Ok(false),
        _ => Err(Failure::InvalidRequest),
    }
}

impl<C> fmt::Debug for Logout<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logout").finish_non_exhaustive()
    }
}

impl<C> fmt::Debug for LogoutAll<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogoutAll").finish_non_exhaustive()
    }
}
