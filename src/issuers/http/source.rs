//! A key source that fetches a JWK Set over HTTPS.

use std::{fmt, sync::Arc, time::Duration};

use reqwest::Url;
use serde::{Deserialize, de::IgnoredAny};
use tokio::time::Instant;

use super::{cache_control::lifetime, metadata::Metadata, transport::Transport, url::place};
use crate::{
    error::KeySourceError,
    issuers::key_source::{FETCH_DEADLINE, KeySource, PublishedKeys},
    store::BoxFuture,
};

/// The deadline of a fetch. At [`FETCH_DEADLINE`] the task would drop the fetch. This deadline
/// comes earlier, so that the fetch can return an error with the slow address.
const DEADLINE: Duration = FETCH_DEADLINE.saturating_sub(Duration::from_millis(100));

const EXPECTED: &str = "a JWK Set, which is a JSON object with the array `keys`";

/// A source of an issuer's keys that fetches them over HTTPS.
///
/// If you know the address of the JWK Set, create the source with [`jwks_url`](Self::jwks_url).
/// Otherwise use [`discovery`](Self::discovery), which reads the address from the issuer's metadata
/// document.
///
/// ```no_run
/// use tower_bearer::issuers::{HttpKeys, KeySource};
///
/// # async fn example() -> Result<(), tower_bearer::BoxError> {
/// let keys = HttpKeys::discovery("https://login.example/realms/shop").build()?;
/// // The service makes this call itself.
/// let published = keys.fetch().await?;
/// println!("{}", published.jwks);
/// # Ok(())
/// # }
/// ```
///
/// # Rules of a fetch
///
/// * All URLs must begin with `https:`, including `jwks_uri` in the metadata document.
/// * The response must have the status 200. The client follows at most 3 redirects, and only to the
///   same scheme, host and port.
/// * The whole fetch takes at most [`FETCH_DEADLINE`]. Each attempt to connect takes at most 3 s of
///   it.
/// * A response has at most 512 KiB.
/// * [`max_age`](PublishedKeys::max_age) is the `max-age` of the JWK Set's `Cache-Control`, minus
///   `Age`. With `no-cache` or `no-store` it is zero.
/// * The client sends no cookies and no credentials. It asks for no compression, and never retries.
///
/// # Network
///
/// Without [`proxy`](super::HttpKeysBuilder::proxy), the client uses the environment variables
/// `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`. It trusts the certificate authorities
/// of the system and those of [`root_certificates`](super::HttpKeysBuilder::root_certificates). TLS
/// uses the `rustls` crypto provider of the process, or AWS-LC if there is none.
#[derive(Clone)]
pub struct HttpKeys {
    inner: Arc<Inner>,
}

struct Inner {
    transport: Transport,
    target: Target,
    allow_http: bool,
    /// The address of the proxy, without credentials.
    proxy: Option<String>,
}

/// The document that a fetch requests first.
pub(super) enum Target {
    Jwks(Url),
    Metadata(Metadata),
}

/// A JWK Set. Only its required member `keys` is parsed (RFC 7517 section 5).
#[derive(Deserialize)]
struct JwkSet {
    #[serde(rename = "keys")]
    _keys: Vec<IgnoredAny>,
}

impl HttpKeys {
    pub(super) fn new(transport: Transport, target: Target, allow_http: bool, proxy: Option<String>) -> Self {
        Self { inner: Arc::new(Inner { transport, target, allow_http, proxy }) }
    }
}

impl Inner {
    async fn fetch(&self) -> Result<PublishedKeys, KeySourceError> {
        let deadline = Instant::now() + DEADLINE;
        let url = match &self.target {
            Target::Jwks(url) => url.clone(),
            Target::Metadata(metadata) => metadata.jwks_url(&self.transport, self.allow_http, deadline).await?,
        };
        let document = self.transport.get(&url, deadline).await?;
        let body = document.body_of(&url)?;
        // `KeySet` checks the keys later. This check finds, for example, a web page in place of a
        // JWK Set. Only here can the error name the address.
        let jwks = std::str::from_utf8(body).ok().filter(|text| serde_json::from_str::<JwkSet>(text).is_ok());
        let jwks = jwks.ok_or_else(|| document.unreadable(&url, EXPECTED))?;
        Ok(PublishedKeys { jwks: jwks.to_owned(), max_age: lifetime(document.headers()) })
    }
}

impl KeySource for HttpKeys {
    fn fetch(&self) -> BoxFuture<Result<PublishedKeys, KeySourceError>> {
        let inner = Arc::clone(&self.inner);
        Box::pin(async move { inner.fetch().await })
    }
}

impl fmt::Debug for HttpKeys {
    /// Formats the addresses without credentials and queries.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("HttpKeys");
        match &self.inner.target {
            Target::Jwks(url) => f.field("jwks_url", &place(url)),
            Target::Metadata(Metadata { issuer, url, .. }) => {
                f.field("issuer", issuer).field("metadata_url", &place(url))
            }
        };
        f.field("proxy", &self.inner.proxy).finish_non_exhaustive()
    }
}
