//! The sources of another issuer's keys.

use std::time::Duration;

use crate::{error::KeySourceError, store::BoxFuture};

/// A source of the keys that an issuer publishes, such as the issuer's JWKS URL.
///
/// With the feature `jwks`, `HttpKeys` fetches keys over HTTPS. Implement this trait for another
/// transport.
///
/// The service starts one task for each issuer. The task calls [`fetch`](Self::fetch) at the start,
/// before the keys are out of date, and for a token with an unknown `kid`. It never makes two calls
/// at the same time. After [`FETCH_DEADLINE`] it drops the future.
///
/// An `async` closure without arguments implements this trait:
///
/// ```
/// use tower_bearer::issuers::{Issuer, KeySourceError, KeySourceErrorKind, PublishedKeys};
///
/// // Keys in a file that another process keeps up to date.
/// let issuer = Issuer::new("https://id.example.com").audience("api").key_source(|| async {
///     let read = tokio::fs::read_to_string("keys.json").await;
///     let kind = KeySourceErrorKind::Unreachable;
///     read.map(PublishedKeys::new).map_err(|error| KeySourceError::new(kind).with_source(error))
/// });
/// ```
pub trait KeySource: Send + Sync + 'static {
    /// Fetches the issuer's present JWK Set.
    ///
    /// # Errors
    ///
    /// The source cannot get the set. The service then keeps the keys of the last successful call,
    /// for a limited time.
    fn fetch(&self) -> BoxFuture<Result<PublishedKeys, KeySourceError>>;
}

impl<F, Fut> KeySource for F
where
    F: Fn() -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<PublishedKeys, KeySourceError>> + Send + 'static,
{
    fn fetch(&self) -> BoxFuture<Result<PublishedKeys, KeySourceError>> {
        Box::pin(self())
    }
}

/// The longest duration of one fetch. After this time the service drops the fetch.
pub const FETCH_DEADLINE: Duration = Duration::from_secs(5);

/// The text of an issuer's JWK Set (RFC 7517 section 5).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct PublishedKeys {
    /// The JWK Set as JSON, of at most 256 KiB.
    pub jwks: String,
    /// The time for which the issuer lets caches use the set (`max-age` of `Cache-Control`, RFC
    /// 9111 section 5.2.2.1). `None` if the issuer sets no time.
    pub max_age: Option<Duration>,
}

impl PublishedKeys {
    /// Creates a set without a [`max_age`](Self::max_age).
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
