//! The logout endpoints: end the caller's session, or all sessions of the user.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{Method, Response, StatusCode, request::Parts};
use http_body_util::Full;

use super::{
    answer::{json, of_operation},
    cookie::{TokenCookie, clear_cookies},
    endpoint::{Handle, claims_of, refuse_irrevocable},
    fields::Fields,
};
use crate::{
    middleware::{Rejection, RejectionKind},
    tokens::TokenService,
};

/// The handler of [`Endpoints::logout`](super::Endpoints::logout).
pub struct Logout<C> {
    pub(super) tokens: TokenService<C>,
    pub(super) cookies: Vec<Arc<TokenCookie>>,
}

impl<C: Send + Sync + 'static> Handle for Logout<C> {
    const METHODS: &'static [Method] = &[Method::POST];
    const READS_BODY: bool = false;

    async fn handle(&self, parts: Parts, _: Fields) -> Result<Response<Full<Bytes>>, Rejection> {
        let claims = claims_of::<C>(&parts)?;
        refuse_irrevocable(&claims)?;
        self.tokens.log_out(&claims).await.map_err(of_operation)?;
        let mut response = json(StatusCode::OK, &serde_json::json!({ "message": "Successfully logged out" }));
        clear_cookies(&mut response, &self.cookies);
        Ok(response)
    }
}

/// The handler of [`Endpoints::logout_all`](super::Endpoints::logout_all).
pub struct LogoutAll<C> {
    pub(super) tokens: TokenService<C>,
    pub(super) cookies: Vec<Arc<TokenCookie>>,
}

impl<C: Send + Sync + 'static> Handle for LogoutAll<C> {
    const METHODS: &'static [Method] = &[Method::POST];
    const READS_BODY: bool = false;

    async fn handle(&self, parts: Parts, _: Fields) -> Result<Response<Full<Bytes>>, Rejection> {
        let claims = claims_of::<C>(&parts)?;
        refuse_irrevocable(&claims)?;
        let spared = if keep_current(&parts)? { claims.session_id() } else { None };
        let revoked = match spared {
            // The store does not know the sessions of another issuer's subject, so it cannot spare
            // one.
            Some(_) if claims.is_external() => return Err(Rejection::new(RejectionKind::InvalidParameter)),
            Some(sid) => self.tokens.revoke_all_for_subject_except(claims.subject(), sid).await,
            None if claims.is_external() => {
                self.tokens.external(claims.issuer().unwrap_or_default()).revoke_subject(claims.subject()).await
            }
            None => self.tokens.revoke_all_for_subject(claims.subject()).await,
        };
        revoked.map_err(of_operation)?;
        let message = if spared.is_some() { "Logged out of all other sessions" } else { "Logged out of all sessions" };
        let mut response = json(StatusCode::OK, &serde_json::json!({ "message": message }));
        if spared.is_none() {
            clear_cookies(&mut response, &self.cookies);
        }
        Ok(response)
    }
}

/// Reads `?keep_current=true` or `false`. Rejects any other value, because a wrong guess would end
/// too many sessions or too few.
fn keep_current(parts: &Parts) -> Result<bool, Rejection> {
    let query = parts.uri.query().unwrap_or_default();
    let mut values = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "keep_current");
    match (values.next().map(|(_, value)| value), values.next()) {
        (None, _) => Ok(false),
        (Some(value), None) if value == "true" => Ok(true),
        (Some(value), None) if value == "false" => Ok(false),
        _ => Err(Rejection::new(RejectionKind::InvalidParameter)),
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
