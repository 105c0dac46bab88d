//! The locations of a request's bearer token. The layer reads the `Authorization` field and, if the
//! application allows them, a query parameter, a cookie, another header or the protocols of a
//! WebSocket.
//!
//! The layer reads all allowed locations. A request may contain only one credential (RFC 6750
//! section 2). The layer rejects a request with several credentials, even if they are the same
//! token. So it never guesses which credential the client means, and never tries a second one after
//! a bad one.

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
