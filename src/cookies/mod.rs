//! The cookies in which browsers store tokens.

mod browser;
mod name;
mod token_cookie;

pub(crate) use self::name::check_cookie_name;
pub use self::{
    browser::{BrowserSessions, BrowserSessionsBuilder},
    token_cookie::{SameSite, TokenCookie, TokenCookieBuilder},
};
