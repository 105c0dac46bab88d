//! The names of cookies.

use http::HeaderName;

use crate::error::ConfigError;

/// Returns an error for `setting` if `name` cannot be the name of a cookie. RFC 6265 section 4.1.1
/// allows the characters of RFC 9110 section 5.6.2.
pub(crate) fn check_cookie_name(setting: &'static str, name: &str) -> Result<(), ConfigError> {
    // A `HeaderName` allows the same characters.
    if HeaderName::from_bytes(name.as_bytes()).is_ok() {
        return Ok(());
    }
    Err(ConfigError::new(
        setting,
        "has an invalid cookie name",
        "use letters, digits, `-` and `_`, as in `__Host-access_token`",
    ))
}
