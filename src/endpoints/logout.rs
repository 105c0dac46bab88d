//! The logout endpoints: end the caller's session, or all sessions of the user.

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::{Method, Response, StatusCode, request::Parts};
use http_body_util::Full;
use zeroize::Zeroizing;

use super::{
    answer::{clear_cookies, json, of_grant, of_operation},
    endpoint::{Handle, claims_of, refuse_irrevocable},
    fields::Fields,
};
use crate::{
    cookies::TokenCookie,
    jwt::{Claims, TokenType},
    middleware::{CrossSiteCheck, ExpiredClaims, Rejection, RejectionKind, missing_claims, token_in_cookie},
    tokens::TokenService,
};

/// The handler of [`Endpoints::logout`](super::Endpoints::logout).
pub struct Logout<C> {
    pub(super) tokens: TokenService<C>,
    pub(super) cookies: Vec<Arc<TokenCookie>>,
    /// The cookie with the refresh token, if configured.
    pub(super) refresh_cookie: Option<Arc<TokenCookie>>,
    pub(super) cross_site: CrossSiteCheck,
}

impl<C: Send + Sync + 'static> Handle for Logout<C> {
    const METHODS: &'static [Method] = &[Method::POST];
    const READS_BODY: bool = true;

    fn check(&self, parts: &Parts) -> Result<(), Rejection> {
        if Self::has_access_token(parts) {
            return Ok(());
        }
        if !Self::METHODS.contains(&parts.method) {
            return Err(missing_claims(&parts.extensions));
        }
        // Another site could send a refresh token of the attacker. The response would then remove
        // the cookies of the user.
        if self.cookies.is_empty() { Ok(()) } else { self.cross_site.check_without_cookie(parts) }
    }

    fn reads_body(&self, parts: &Parts) -> bool {
        !Self::has_access_token(parts) && Fields::are_in(&parts.headers)
    }

    async fn handle(&self, parts: Parts, fields: Fields) -> Result<Response<Full<Bytes>>, Rejection> {
        let ended = if let Some(claims) = parts.extensions.get::<Claims<C>>() {
            refuse_irrevocable(claims)?;
            self.tokens.log_out(claims)
        } else if let Some(ExpiredClaims(claims)) = parts.extensions.get() {
            self.tokens.log_out(claims)
        } else {
            let presented = self.refresh_token(&parts, &fields)?.ok_or_else(|| missing_claims(&parts.extensions))?;
            let claims = self.tokens.claims_at_logout(&presented, TokenType::Refresh);
            self.tokens.log_out(&claims.map_err(|error| of_grant(error, RejectionKind::InvalidToken))?)
        };
        ended.await.map_err(of_operation)?;
        let mut response = logged_out();
        clear_cookies(&mut response, &self.cookies);
        Ok(response)
    }
}

impl<C: Send + Sync + 'static> Logout<C> {
    /// Returns true if the layer has found an access token, valid or expired.
    fn has_access_token(parts: &Parts) -> bool {
        parts.extensions.get::<Claims<C>>().is_some() || parts.extensions.get::<ExpiredClaims>().is_some()
    }

    /// Returns the refresh token from the body. If the body has none, returns the token from the
    /// cookie.
    fn refresh_token(&self, parts: &Parts, fields: &Fields) -> Result<Option<Zeroizing<String>>, Rejection> {
        if let Some(presented) = fields.at_most_one("refresh_token")? {
            return Ok(Some(Zeroizing::new(presented.to_owned())));
        }
        let Some(cookie) = &self.refresh_cookie else { return Ok(None) };
        let longest = self.tokens.max_token_len();
        let presented = token_in_cookie(&parts.headers, cookie.name(), longest)?;
        if presented.is_some() && !self.cross_site.admits(&parts.method, &parts.uri, &parts.headers, longest) {
            return Err(Rejection::new(RejectionKind::CrossSite));
        }
        Ok(presented)
    }
}

/// Returns the response to a successful logout, without the fields that remove cookies.
pub(super) fn logged_out() -> Response<Full<Bytes>> {
    json(StatusCode::OK, &serde_json::json!({ "message": "Successfully logged out" }))
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
            // The store has no list of another issuer's sessions, so it cannot keep one of them.
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

/// Returns the value of the query parameter `keep_current`. Default: `false`. Rejects any value but
/// `true` and `false`, because a guess could end the wrong sessions.
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
