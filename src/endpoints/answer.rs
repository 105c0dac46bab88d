//! The responses of endpoints, and the conversion of errors to rejections.

use std::sync::Arc;

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, SET_COOKIE},
};
use http_body_util::Full;
use serde::Serialize;

use crate::{
    cookies::TokenCookie,
    error::{Error, Fault},
    middleware::{Rejection, RejectionKind, no_store},
    tokens::IssuedToken,
};

/// Returns the rejection for a request with credentials or a refresh token. If the client is at
/// fault, the rejection has this `kind`.
pub(crate) fn of_grant(error: Error, kind: RejectionKind) -> Rejection {
    match error.fault() {
        Fault::Client => Rejection::new(kind).with_cause(error),
        Fault::Store | Fault::Issuer | Fault::Internal => of_operation(error),
    }
}

/// Returns the rejection for an error that the client's credentials did not cause. Even a token
/// error becomes 500, because the layer has already accepted the client's token.
pub(super) fn of_operation(error: Error) -> Rejection {
    let kind = match error.fault() {
        _ if matches!(error, Error::InvalidId { .. }) => RejectionKind::InvalidParameter,
        Fault::Store | Fault::Issuer => RejectionKind::Unavailable,
        Fault::Client | Fault::Internal => RejectionKind::Internal,
    };
    Rejection::new(kind).with_cause(error)
}

/// Returns a JSON response that no cache may store (RFC 6749 section 5.1).
pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Response<Full<Bytes>> {
    let Ok(body) = serde_json::to_vec(body) else {
        return empty(StatusCode::INTERNAL_SERVER_ERROR);
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    no_store(response.headers_mut());
    response
}

pub(super) fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    no_store(response.headers_mut());
    response
}

/// Adds a `Set-Cookie` field with the token, if a cookie is configured.
pub(crate) fn with_cookie(
    mut answer: Response<Full<Bytes>>,
    cookie: Option<&TokenCookie>,
    token: &IssuedToken,
) -> Response<Full<Bytes>> {
    answer.headers_mut().extend(cookie.map(|cookie| (SET_COOKIE, cookie.set(token))));
    answer
}

/// Adds the `Set-Cookie` fields that remove these cookies from the browser.
pub(super) fn clear_cookies(answer: &mut Response<Full<Bytes>>, cookies: &[Arc<TokenCookie>]) {
    for cookie in cookies {
        answer.headers_mut().append(SET_COOKIE, cookie.clear());
    }
}
