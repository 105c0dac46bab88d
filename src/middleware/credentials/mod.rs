//! The locations of a request's bearer token. The layer reads the `Authorization` field and, if the
//! application allows them, a query parameter, a cookie, another header or the protocols of a
//! WebSocket.
//!
//! The layer reads all allowed locations. A request may contain only one credential (RFC 6750
//! section 2). If a request has several, even with the same token, the layer rejects it. Otherwise
//! the layer would have to guess which credential the client means.

mod cookie;
mod credential;
mod locations;
mod query;
mod websocket;

use http::HeaderMap;
use zeroize::Zeroizing;

use super::rejection::{Rejection, RejectionKind};

pub(super) use self::{
    credential::{Credential, in_authorization, mark_sensitive},
    locations::Locations,
};

/// Reads the cookie with this name, by [`cookie::read`].
pub(super) fn in_cookie<'a>(headers: &'a HeaderMap, name: &str, max_token_len: usize) -> Credential<'a> {
    cookie::read(headers, &[name], max_token_len)
}

/// Returns the text in the cookie with this name, if there is one. Rejects a request with several
/// such cookies.
pub(crate) fn token_in_cookie(
    headers: &HeaderMap,
    name: &str,
    max_token_len: usize,
) -> Result<Option<Zeroizing<String>>, Rejection> {
    match in_cookie(headers, name, max_token_len) {
        Credential::Absent => Ok(None),
        Credential::Token(text) => Ok(Some(Zeroizing::new(String::from_utf8_lossy(text.as_bytes()).into_owned()))),
        Credential::Malformed => Err(Rejection::new(RejectionKind::InvalidRequest)),
    }
}
