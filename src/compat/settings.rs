//! Settings from the environment, with the variable names of `fastcore.security`.

use std::{env, ffi::OsString, fmt, ops::RangeInclusive, time::Duration};

use zeroize::Zeroizing;

use crate::{error::ConfigError, jwt::Algorithm, tokens::TokenServiceBuilder};

const SECRET_KEY: &str = "JWT_SECRET_KEY";
const ALGORITHM: &str = "JWT_ALGORITHM";
const ACCESS_TOKEN_EXPIRE_MINUTES: &str = "JWT_ACCESS_TOKEN_EXPIRE_MINUTES";
const REFRESH_TOKEN_EXPIRE_DAYS: &str = "JWT_REFRESH_TOKEN_EXPIRE_DAYS";
const AUDIENCE: &str = "JWT_AUDIENCE";
const ISSUER: &str = "JWT_ISSUER";
const ALLOWED_AUDIENCES: &str = "JWT_ALLOWED_AUDIENCES";

const NAMES: [&str; 7] = [
    SECRET_KEY,
    ALGORITHM,
    ACCESS_TOKEN_EXPIRE_MINUTES,
    REFRESH_TOKEN_EXPIRE_DAYS,
    AUDIENCE,
    ISSUER,
    ALLOWED_AUDIENCES,
];

/// The settings from the environment, with the variable names of `fastcore.security`, the
/// predecessor of this crate.
///
/// | variable | value |
/// |--|--|
/// | `JWT_SECRET_KEY` | the exact secret for HS256, HS384 or HS512; no white space at its ends |
/// | `JWT_ALGORITHM` | the name of a signature algorithm (RFC 7518 section 3.1) |
/// | `JWT_ACCESS_TOKEN_EXPIRE_MINUTES` | lifetime of an access token, 1 to 525 600 (one year) |
/// | `JWT_REFRESH_TOKEN_EXPIRE_DAYS` | lifetime of an unused refresh token, 1 to 3650 (ten years) |
/// | `JWT_AUDIENCE` | the `aud` of issued tokens |
/// | `JWT_ISSUER` | the `iss` of issued and accepted tokens |
/// | `JWT_ALLOWED_AUDIENCES` | further accepted `aud` values |
///
/// `JWT_ALLOWED_AUDIENCES` is a JSON array of strings or a comma-separated list.
///
/// If a variable is not set, the setting is `None`, and the default of [`TokenServiceBuilder`]
/// applies. An empty or invalid value causes a [`ConfigError`] that names the variable. So a typo
/// does not silently select the default.
///
/// ```
/// use std::time::Duration;
/// use tower_bearer::compat::Settings;
///
/// let settings = Settings::from_vars([
///     ("JWT_ACCESS_TOKEN_EXPIRE_MINUTES", "15"),
///     ("JWT_ALLOWED_AUDIENCES", "api, web"),
/// ])?;
/// assert_eq!(settings.access_lifetime(), Some(Duration::from_secs(15 * 60)));
/// assert_eq!(settings.allowed_audiences().unwrap(), ["api", "web"]);
/// assert_eq!(settings.issuer(), None);
/// # Ok::<(), tower_bearer::error::ConfigError>(())
/// ```
#[derive(Clone, Default)]
pub struct Settings {
    secret_key: Option<Zeroizing<String>>,
    algorithm: Option<String>,
    access_lifetime: Option<Duration>,
    refresh_lifetime: Option<Duration>,
    audience: Option<String>,
    issuer: Option<String>,
    allowed_audiences: Option<Vec<String>>,
}

impl Settings {
    /// Reads the settings from the environment variables of this process.
    ///
    /// # Errors
    ///
    /// Returns an error if the value of a variable is empty or invalid. The message names the
    /// variable and never shows its value.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_vars(NAMES.iter().filter_map(|name| env::var_os(name).map(|value| (name, value))))
    }

    /// Reads the settings from pairs of name and value. Ignores other names. If a name occurs
    /// twice, uses the last value.
    ///
    /// # Errors
    ///
    /// The errors of [`from_env`](Self::from_env).
    pub fn from_vars<K, V>(vars: impl IntoIterator<Item = (K, V)>) -> Result<Self, ConfigError>
    where
        K: AsRef<str>,
        V: Into<OsString>,
    {
        const MINUTE: u64 = 60;
        const DAY: u64 = 24 * 60 * MINUTE;

        let mut settings = Self::default();
        for (name, value) in vars {
            let value = value.into();
            match name.as_ref() {
                SECRET_KEY => settings.secret_key = Some(Zeroizing::new(text(SECRET_KEY, value)?)),
                ALGORITHM => settings.algorithm = Some(text(ALGORITHM, value)?),
                ACCESS_TOKEN_EXPIRE_MINUTES => {
                    settings.access_lifetime = Some(lifetime(ACCESS_TOKEN_EXPIRE_MINUTES, value, 1..=525_600, MINUTE)?);
                }
                REFRESH_TOKEN_EXPIRE_DAYS => {
                    settings.refresh_lifetime = Some(lifetime(REFRESH_TOKEN_EXPIRE_DAYS, value, 1..=3650, DAY)?);
                }
                AUDIENCE => settings.audience = Some(text(AUDIENCE, value)?),
                ISSUER => settings.issuer = Some(text(ISSUER, value)?),
                ALLOWED_AUDIENCES => settings.allowed_audiences = Some(list(ALLOWED_AUDIENCES, value)?),
                _ => {}
            }
        }
        Ok(settings)
    }

    /// Returns `JWT_SECRET_KEY`. Dropping the settings wipes the secret from memory.
    #[must_use]
    pub fn secret_key(&self) -> Option<&str> {
        self.secret_key.as_ref().map(|secret| secret.as_str())
    }

    /// Returns the unparsed value of `JWT_ALGORITHM`.
    #[must_use]
    pub fn algorithm(&self) -> Option<&str> {
        self.algorithm.as_deref()
    }

    /// Returns `JWT_ACCESS_TOKEN_EXPIRE_MINUTES`: the lifetime of an access token.
    #[must_use]
    pub fn access_lifetime(&self) -> Option<Duration> {
        self.access_lifetime
    }

    /// Returns `JWT_REFRESH_TOKEN_EXPIRE_DAYS`: the lifetime of a session that the client does not
    /// refresh.
    #[must_use]
    pub fn refresh_lifetime(&self) -> Option<Duration> {
        self.refresh_lifetime
    }

    /// Returns `JWT_AUDIENCE`: the `aud` of issued tokens.
    #[must_use]
    pub fn audience(&self) -> Option<&str> {
        self.audience.as_deref()
    }

    /// Returns `JWT_ISSUER`: the `iss` of issued and accepted tokens.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// Returns `JWT_ALLOWED_AUDIENCES`: the accepted `aud` values besides `JWT_AUDIENCE`. The list
    /// is never empty.
    #[must_use]
    pub fn allowed_audiences(&self) -> Option<&[String]> {
        self.allowed_audiences.as_deref()
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("secret_key", &self.secret_key.as_ref().map(|_| "[redacted]"))
            .field("algorithm", &self.algorithm)
            .field("access_lifetime", &self.access_lifetime)
            .field("refresh_lifetime", &self.refresh_lifetime)
            .field("audience", &self.audience)
            .field("issuer", &self.issuer)
            .field("allowed_audiences", &self.allowed_audiences)
            .finish()
    }
}

impl<C> TokenServiceBuilder<C> {
    /// Applies the settings from the environment. A setting that is `None` changes nothing.
    /// [`build`](Self::build) reports an unknown algorithm. It also reports a secret that begins or
    /// ends with white space.
    pub fn settings(mut self, settings: &Settings) -> Self {
        if let Some(secret) = settings.secret_key() {
            self.set_secret(secret.as_bytes(), SECRET_KEY);
        }
        match settings.algorithm().map(str::parse::<Algorithm>) {
            Some(Ok(algorithm)) => self = self.algorithm(algorithm),
            Some(Err(error)) => self.set_error(error.set_by("algorithm", ALGORITHM)),
            None => {}
        }
        if let Some(lifetime) = settings.access_lifetime() {
            self = self.access_lifetime(lifetime);
        }
        if let Some(lifetime) = settings.refresh_lifetime() {
            self = self.refresh_lifetime(lifetime);
        }
        if let Some(issuer) = settings.issuer() {
            self = self.issuer(issuer);
        }
        if let Some(audience) = settings.audience() {
            self = self.audience(audience);
        }
        for audience in settings.allowed_audiences().unwrap_or_default() {
            self = self.also_accept_audience(audience);
        }
        self
    }
}

/// Returns the text of the value, or an error if the value is blank. Does not trim the text,
/// because other programs that read the same variable do not trim it either.
fn text(name: &'static str, value: OsString) -> Result<String, ConfigError> {
    let value = value.into_string().map_err(|_| {
        ConfigError::new(name, "is not valid UTF-8", "encode random bytes as base64, and text as UTF-8")
    })?;
    if value.trim().is_empty() {
        return Err(ConfigError::new(name, "is set, but empty", "set a value, or unset the variable"));
    }
    Ok(value)
}

fn lifetime(
    name: &'static str,
    value: OsString,
    range: RangeInclusive<u64>,
    seconds_per_unit: u64,
) -> Result<Duration, ConfigError> {
    let units = text(name, value)?.trim().parse().ok().filter(|units| range.contains(units)).ok_or_else(|| {
        let (first, last) = range.into_inner();
        ConfigError::out_of_range(
            name,
            format!("is not a whole number from {first} to {last}"),
            "correct the number, or unset the variable to use the default",
        )
    })?;
    Ok(Duration::from_secs(seconds_per_unit.saturating_mul(units)))
}

/// Parses a JSON array, as `fastcore.security` does, or a comma-separated list.
fn list(name: &'static str, value: OsString) -> Result<Vec<String>, ConfigError> {
    let value = text(name, value)?;
    let items: Vec<String> = if value.trim_start().starts_with('[') {
        serde_json::from_str(&value).map_err(|_| {
            ConfigError::new(
                name,
                "is not a JSON array of strings",
                r#"write ["api","web"], or api,web without brackets"#,
            )
        })?
    } else {
        value.split(',').map(|item| item.trim().to_owned()).collect()
    };
    if items.is_empty() || items.iter().any(|item| item.trim().is_empty()) {
        return Err(ConfigError::new(
            name,
            "is an empty list or contains an empty entry",
            "give at least one audience without stray commas, or unset the variable to accept only JWT_AUDIENCE",
        ));
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

    use super::*;

    fn refused(name: &'static str, value: impl Into<OsString>) -> String {
        let error = Settings::from_vars([(name, value)]).unwrap_err();
        assert_eq!(error.setting(), name);
        error.to_string()
    }

    #[test]
    fn what_is_unset_is_none_and_other_variables_are_passed_over() {
        let settings =
            Settings::from_vars([("PATH", "/bin"), ("jwt_issuer", "wrong case"), ("JWT_ISSUER_X", "")]).unwrap();
        assert!(
            settings.secret_key().is_none() && settings.algorithm().is_none() && settings.access_lifetime().is_none()
        );
        assert!(settings.refresh_lifetime().is_none() && settings.audience().is_none() && settings.issuer().is_none());
        assert!(settings.allowed_audiences().is_none());
    }

    #[test]
    fn every_variable_is_read_in_its_unit() {
        let settings = Settings::from_vars([
            ("JWT_SECRET_KEY", " test-key, byte for byte\n"),
            ("JWT_ALGORITHM", "HS384"),
            ("JWT_ACCESS_TOKEN_EXPIRE_MINUTES", "525600"),
            ("JWT_REFRESH_TOKEN_EXPIRE_DAYS", " 14 "),
            ("JWT_AUDIENCE", "api"),
            ("JWT_ISSUER", "https://issuer.example"),
            ("JWT_ALLOWED_AUDIENCES", r#"["api", "a,b"]"#),
        ])
        .unwrap();
        assert_eq!(settings.secret_key(), Some(" test-key, byte for byte\n"));
        assert_eq!(settings.algorithm(), Some("HS384"));
        assert_eq!(settings.access_lifetime(), Some(Duration::from_secs(525_600 * 60)));
        assert_eq!(settings.refresh_lifetime(), Some(Duration::from_secs(14 * 86_400)));
        assert_eq!(settings.audience(), Some("api"));
        assert_eq!(settings.issuer(), Some("https://issuer.example"));
        assert_eq!(settings.allowed_audiences().unwrap(), ["api", "a,b"]);
    }

    #[test]
    fn a_secret_with_a_newline_at_its_end_is_an_error_that_names_the_variable() {
        let settings = Settings::from_vars([("JWT_SECRET_KEY", "a TEST secret from a file with a newline\n")]).unwrap();
        let builder = crate::TokenService::builder().store(crate::MemoryStore::default());
        let error = builder.settings(&settings).build().unwrap_err();
        if cfg!(any(feature = "aws-lc-rs", feature = "rust-crypto")) {
            assert_eq!(error.setting(), "JWT_SECRET_KEY");
            assert!(error.to_string().contains("newline") && !error.to_string().contains("TEST"), "{error}");
        }
    }

    #[test]
    fn a_set_but_empty_variable_is_an_error_that_names_it() {
        for name in NAMES {
            for empty in ["", " \t"] {
                assert!(refused(name, empty).contains(name), "{name}");
            }
        }
    }

    #[test]
    fn a_lifetime_is_a_whole_number_within_its_bounds() {
        for name in [ACCESS_TOKEN_EXPIRE_MINUTES, REFRESH_TOKEN_EXPIRE_DAYS] {
            for wrong in ["0", "-1", "1.5", "30m", "thirty", "525601", "18446744073709551616"] {
                assert!(refused(name, wrong).contains("whole number from 1 to"), "{name}={wrong}");
            }
        }
        refused(REFRESH_TOKEN_EXPIRE_DAYS, "3651");
    }

    #[test]
    fn a_list_of_audiences_without_a_usable_entry_is_an_error() {
        for wrong in ["[]", "[\"\"]", "[1]", "[\"api\"", "{\"api\":1}, ", ",", "api,,web", "api,"] {
            refused(ALLOWED_AUDIENCES, wrong);
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_value_that_is_not_unicode_is_an_error() {
        use std::os::unix::ffi::OsStringExt;

        for name in NAMES {
            assert!(refused(name, OsString::from_vec(vec![b'a', 0xff])).contains("UTF-8"));
        }
    }

    #[test]
    fn neither_debug_nor_an_error_shows_a_value() {
        let secret = "test-key-that-must-not-be-seen-anywhere";
        let settings = Settings::from_vars([(SECRET_KEY, secret)]).unwrap();
        assert!(!format!("{settings:?} {settings:#?}").contains("test-key"));
        for name in [ACCESS_TOKEN_EXPIRE_MINUTES, REFRESH_TOKEN_EXPIRE_DAYS] {
            assert!(!refused(name, secret).contains("test-key"));
        }
        let error = Settings::from_vars([(ALLOWED_AUDIENCES, format!("[{secret}"))]).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("test-key"));
    }
}
