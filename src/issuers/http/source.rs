//! A key source that fetches a JWK Set, and its rules.

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

/// The deadline of a fetch. It is shorter than the caller's deadline, because only this module's
/// error names the slow address.
const DEADLINE: Duration = FETCH_DEADLINE.saturating_sub(Duration::from_millis(100));

const EXPECTED: &str = "a JWK Set, which is a JSON object with the array `keys`";

/// A source of an issuer's keys that fetches them over HTTPS.
///
/// [`jwks_url`](Self::jwks_url) takes the address of the JWK Set.
/// [`discovery`](Self::discovery) takes the issuer, and reads the address in its metadata document.
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
/// * All URLs must begin with `https:`, also `jwks_uri` in the metadata document.
/// * Only a response with the status 200 is accepted. The client follows at most three redirects,
///   and only to the same scheme, host and port.
/// * The whole fetch takes at most [`FETCH_DEADLINE`], and each connection at most 3 s of it.
/// * A response has at most 512 KiB.
/// * [`max_age`](PublishedKeys::max_age) is `max-age` of the `Cache-Control` of the JWK Set, minus
///   `Age`. With `no-cache` or `no-store` it is zero.
/// * The client sends no cookies and no credentials, asks for no compression, and never retries.
///
/// # Network
///
/// Without [`proxy`](super::HttpKeysBuilder::proxy), the environment variables `HTTPS_PROXY`,
/// `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` apply. The client trusts the authorities of the system
/// and those of [`root_certificates`](super::HttpKeysBuilder::root_certificates). TLS uses the
/// `rustls` crypto provider of the process, or AWS-LC if there is none.
#[derive(Clone)]
pub struct HttpKeys {
    inner: Arc<Inner>,
}

struct Inner {
    transport: Transport,
    target: Target,
    allow_http: bool,
    /// The proxy without its credentials.
    proxy: Option<String>,
}

/// The first document of a fetch.
pub(super) enum Target {
    Jwks(Url),
    Metadata(Metadata),
}

/// The only required member of a JWK Set (RFC 7517 section 5).
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
        // `KeySet` checks the keys. Only this check can name the address of a web page that came in
        // place of a JWK Set.
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
    /// Formats the addresses, without credentials and queries.
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
