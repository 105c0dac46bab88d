//! The locations of a request's bearer token: the `Authorization` field and, if the application
//! allows them, a query parameter, a cookie, another header or the protocols of a WebSocket.
//!
//! A request presents one credential or none (RFC 6750 section 2). The layer reads all allowed
//! locations. More than one credential is malformed, even the same token twice. The layer never
//! guesses which one the client means, and never tries another after a bad one.

mod cookie;
mod credential;
mod locations;
mod query;
mod websocket;

pub(crate) use self::cookie::check_cookie_name;
pub(super) use self::{
    credential::{Credential, in_authorization, mark_sensitive},
    locations::Locations,
};
