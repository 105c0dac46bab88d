//! The sources of another issuer's keys.

use std::{error::Error as StdError, fmt, time::Duration};

use crate::{
    error::{BoxError, write_chain},
    store::BoxFuture,
};

/// A source of the keys that an issuer publishes, such as the issuer's JWKS URL.
///
/// With the feature `jwks`, `HttpKeys` fetches keys over HTTPS. Implement this trait for another
/// transport. The crate decides when to fetch: it calls [`fetch`](Self::fetch) from one task for
/// each issuer, at the start, before the keys are out of date, and for an unknown `kid`. It never
/// calls it twice at once, and drops the future after [`FETCH_DEADLINE`].
///
/// ```
/// use tower_bearer::{
///     issuers::{KeySource, KeySourceError, KeySourceErrorKind, PublishedKeys},
///     store::BoxFuture,
/// };
///
/// /// Keys in a file that another process keeps up to date.
/// struct FileKeys(std::path::PathBuf);
///
/// impl KeySource for FileKeys {
///     fn fetch(&self) -> BoxFuture<Result<PublishedKeys, KeySourceError>> {
///         let path = self.0.clone();
///         Box::pin(async move {
///             let read = tokio::fs::read_to_string(path).await;
///             read.map(PublishedKeys::new).map_err(|error| {
///                 KeySourceError::new(KeySourceErrorKind::Unreachable).with_source(error)
///             })
///         })
///     }
/// }
/// ```
pub trait KeySource: Send + Sync + 'static {
    /// Fetches the issuer's present JWK Set.
    ///
    /// # Errors
    ///
    /// Any failure. The keys of the last successful call then stay in use for a bounded time.
    fn fetch(&self) -> BoxFuture<Result<PublishedKeys, KeySourceError>>;
}

/// The time after which the crate gives up a fetch.
pub const FETCH_DEADLINE: Duration = Duration::from_secs(5);

/// The text of an issuer's JWK Set (RFC 7517 section 5).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PublishedKeys {
    /// The JWK Set. It has at most 256 KiB.
    pub jwks: String,
    /// The time for which the issuer lets caches use the set (`max-age` of `Cache-Control`, RFC
    /// 9111 section 5.2.2.1); `None` if the issuer does not say.
    pub max_age: Option<Duration>,
}

impl PublishedKeys {
    /// Creates a set whose issuer says nothing about caches.
    #[must_use]
    pub fn new(jwks: impl Into<String>) -> Self {
        Self { jwks: jwks.into(), max_age: None }
    }

    /// Sets the time for which the issuer lets caches use the set.
    #[must_use]
    pub fn with_max_age(self, max_age: Duration) -> Self {
        Self { max_age: Some(max_age), ..self }
    }
}

/// A failure to get an issuer's keys.
///
/// `Debug` shows the sources too. No text of the crate contains credentials of a URL or a proxy.
pub struct KeySourceError {
    kind: KeySourceErrorKind,
    source: Option<BoxError>,
}

/// The kinds of [`KeySourceError`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum KeySourceErrorKind {
    /// No connection: the name, the address, the port, TLS or the proxy is wrong, or the server is
    /// away.
    Unreachable,
    /// The answer did not arrive within [`FETCH_DEADLINE`].
    Timeout,
    /// The server answered with another status than 200, or with a redirect to another host.
    Status,
    /// The answer is longer than allowed.
    TooLarge,
    /// The answer is no JWK Set or no metadata document, or no key of the set is usable.
    Unreadable,
    /// The metadata document is that of another issuer (`OpenID` Connect Discovery 1.0 section 4.3,
    /// RFC 8414 section 3.3).
    WrongIssuer,
}

impl KeySourceError {
    /// Creates an error of this kind.
    #[must_use]
    pub fn new(kind: KeySourceErrorKind) -> Self {
        Self { kind, source: None }
    }

    /// Adds the cause, which must not contain credentials.
    #[must_use]
    pub fn with_source(self, source: impl Into<BoxError>) -> Self {
        Self { source: Some(source.into()), ..self }
    }

    /// Returns the kind of the failure.
    #[must_use]
    pub fn kind(&self) -> KeySourceErrorKind {
        self.kind
    }
}

impl fmt::Display for KeySourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            KeySourceErrorKind::Unreachable => {
                "the issuer's key server cannot be reached; check its address, TLS and the proxy"
            }
            KeySourceErrorKind::Timeout => {
                "the issuer's key server did not answer in time; check its load and the network"
            }
            KeySourceErrorKind::Status => {
                "the issuer's key server did not answer with the keys; check the URL in a browser"
            }
            KeySourceErrorKind::TooLarge => "the answer of the issuer's key server is too long; check the URL",
            KeySourceErrorKind::Unreadable => {
                "the issuer's key server sent no usable keys; check the URL, and the `algorithms` of the issuer"
            }
            KeySourceErrorKind::WrongIssuer => {
                "the metadata document names another issuer; configure exactly the `issuer` of the document"
            }
        })
    }
}

impl fmt::Debug for KeySourceError {
    /// Formats the error and its sources as text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_chain(self, f)
    }
}

impl StdError for KeySourceError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}
