//! What endpoints answer with, and the failures they have in common.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE},
};
use http_body_util::Full;
use serde::Serialize;

use crate::{
    error::{Error, Fault},
    middleware::RETRY_AFTER_SECONDS,
};

/// Why an endpoint does not do what it was asked.
#[derive(Debug)]
pub enum Failure {
    /// RFC 6749 section 5.2: a field is missing, repeated or of another type.
    InvalidRequest,
    /// The credentials or the refresh token are no good; with a challenge, if it is the client that has to authenticate.
    InvalidGrant(Option<HeaderValue>),
    /// The endpoint needs claims and has none: refused as its layer would have.
    Refused(Box<Response<Bytes>>),
    /// There is no such thing, or it is someone else's.
    NotFound,
    /// Another method than these.
    MethodNotAllowed(&'static [Method]),
    /// The body did not arrive in time.
    TooSlow,
    /// The body is too large.
    TooLarge,
    /// The body is neither a form nor JSON.
    UnsupportedMediaType,
    /// The store failed.
    Unavailable,
    /// The application or this crate failed.
    Internal,
}

impl Failure {
    /// The failure that an error of the token service is, at an endpoint to which the client presents a grant.
    pub(super) fn of_grant(error: &Error, challenge: Option<HeaderValue>) -> Self {
        match error.fault() {
            Fault::Client => {
                #[cfg(feature = "tracing")]
                tracing::debug!(%error, "grant refused");
                Self::InvalidGrant(challenge)
            }
            Fault::Store | Fault::Internal => Self::of_operation(error),
        }
    }

    /// The failure that an error is, at an endpoint whose client has been authenticated.
    pub(super) fn of_operation(error: &Error) -> Self {
        if matches!(error, Error::InvalidId { .. }) {
            return Self::InvalidRequest;
        }
        #[cfg(feature = "tracing")]
        {
            use std::error::Error as _;
            let source = error.source().map(tracing::field::display);
            tracing::warn!(%error, source, "endpoint failed");
        }
        match error.fault() {
            Fault::Store => Self::Unavailable,
            Fault::Client | Fault::Internal => Self::Internal,
        }
    }

    pub(super) fn into_response(self) -> Response<Full<Bytes>> {
        let (status, code) = match &self {
            Self::Refused(_) => (StatusCode::UNAUTHORIZED, "unauthorized"),
            Self::InvalidRequest => (StatusCode::BAD_REQUEST, "invalid_request"),
            Self::InvalidGrant(None) => (StatusCode::BAD_REQUEST, "invalid_grant"),
            Self::InvalidGrant(Some(_)) => (StatusCode::UNAUTHORIZED, "invalid_grant"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            Self::MethodNotAllowed(_) => (StatusCode::METHOD_NOT_ALLOWED, "invalid_request"),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "invalid_request"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "invalid_request"),
            Self::UnsupportedMediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "invalid_request"),
            Self::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"),
            Self::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
        };
        let mut response = json(status, &serde_json::json!({ "error": code }));
        let headers = response.headers_mut();
        match self {
            Self::InvalidGrant(Some(challenge)) => drop(headers.insert(WWW_AUTHENTICATE, challenge)),
            Self::Refused(rejection) => return rejection.map(Full::from),
            Self::MethodNotAllowed(methods) => {
                let allow = methods.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
                headers.extend(HeaderValue::try_from(allow).ok().map(|allow| (ALLOW, allow)));
            }
            Self::Unavailable => drop(headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS))),
            _ => {}
        }
        response
    }
}

/// A JSON answer that no cache keeps (RFC 6749 section 5.1).
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response<Full<Bytes>> {
    let Ok(body) = serde_json::to_vec(body) else {
        return empty(StatusCode::INTERNAL_SERVER_ERROR);
    };
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    no_store(response.headers_mut());
    response
}

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    no_store(response.headers_mut());
    response
}

fn no_store(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
}
