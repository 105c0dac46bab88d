//! The names of cookies.

use http::HeaderName;

use crate::error::ConfigError;

/// Returns an error for `setting` if `name` is not a valid cookie name. A cookie name is a `token`
/// of RFC 9110 section 5.6.2, as RFC 6265 section 4.1.1 demands.
pub(crate) fn check_cookie_name(setting: &'static str, name: &str) -> Result<(), ConfigError> {
    // A `HeaderName` allows the same characters.
    if HeaderName::from_bytes(name.as_bytes()).is_ok() {
        return Ok(());
    }
    Err(ConfigError::new(
        setting,
        "has a cookie name that is empty or contains a forbidden character",
        "use letters, digits, `-` and `_`, as in `__Host-access_token`",
    ))
}
