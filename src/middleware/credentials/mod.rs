//! The places of a request's bearer token: the `Authorization` field, and where an application has
//! allowed it also a query parameter, a cookie or a header of its own.
//!
//! A request presents exactly one credential, or none (RFC 6750 section 2). All allowed places are
//! looked at. More than one credential is malformed, be it the same token twice: never guess which
//! is meant, and never fall through from a bad one to another.

mod cookie;
mod credential;
mod locations;
mod query;

pub(crate) use self::cookie::is_cookie_name;
pub(super) use self::{
    credential::{Credential, in_authorization, mark_sensitive},
    locations::Locations,
};
