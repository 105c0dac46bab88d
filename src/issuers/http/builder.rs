//! The settings of a key source over HTTPS.

use std::fmt;

use reqwest::{Certificate, Client, Proxy, Url, redirect, retry};

use super::{
    metadata::Metadata,
    source::{HttpKeys, Target},
    transport::{CONNECT_DEADLINE, Transport},
    url::{self, UrlFault, place, place_of},
};
use crate::{error::ConfigError, issuers::key_source::FETCH_DEADLINE};

const JWKS_URL: &str = "jwks_url";
const ISSUER: &str = "issuer";
const METADATA_URL: &str = "metadata_url";
const PROXY: &str = "proxy";
const ROOTS: &str = "root_certificates";

/// Settings of [`HttpKeys`]. [`build`](Self::build) checks them.
#[derive(Clone)]
#[must_use]
pub struct HttpKeysBuilder {
    start: Start,
    metadata_url: Option<String>,
    allow_http: bool,
    proxy: Option<String>,
    roots: Option<Vec<u8>>,
}

#[derive(Clone)]
enum Start {
    JwksUrl(String),
    Issuer(String),
}

impl HttpKeys {
    /// Creates a source that fetches the JWK Set at this URL.
    pub fn jwks_url(url: impl Into<String>) -> HttpKeysBuilder {
        HttpKeysBuilder::new(Start::JwksUrl(url.into()))
    }

    /// Creates a source that reads the address of the JWK Set in the issuer's metadata document.
    ///
    /// The source requests `<issuer>/.well-known/openid-configuration` (`OpenID` Connect Discovery
    /// 1.0 section 4). If the answer is 404, it requests a second address (RFC 8414 section 3.1).
    /// This address has `/.well-known/oauth-authorization-server` between the host and the path of
    /// the issuer.
    ///
    /// The `issuer` in the document must equal `issuer` exactly, including a final `/`. The
    /// `jwks_uri` may have another host.
    pub fn discovery(issuer: impl Into<String>) -> HttpKeysBuilder {
        HttpKeysBuilder::new(Start::Issuer(issuer.into()))
    }
}

impl HttpKeysBuilder {
    fn new(start: Start) -> Self {
        Self { start, metadata_url: None, allow_http: false, proxy: None, roots: None }
    }

    /// Sets the address of the metadata document, if it is not one of the usual addresses.
    ///
    /// For example, Entra ID has one document for all tenants, whose `issuer` contains
    /// `{tenantid}`:
    ///
    /// ```no_run
    /// use tower_bearer::issuers::HttpKeys;
    ///
    /// let entra = "https://login.microsoftonline.com";
    /// let document = "/organizations/v2.0/.well-known/openid-configuration";
    /// let keys = HttpKeys::discovery(format!("{entra}/{{tenantid}}/v2.0"))
    ///     .metadata_url(format!("{entra}{document}"))
    ///     .build()?;
    /// # Ok::<(), tower_bearer::error::ConfigError>(())
    /// ```
    pub fn metadata_url(self, url: impl Into<String>) -> Self {
        Self { metadata_url: Some(url.into()), ..self }
    }

    /// Allows `http:` in addition to `https:`, for tests and for a sidecar on the same machine.
    ///
    /// With `http:`, an attacker in the network can replace the keys, and sign tokens in the name
    /// of the issuer.
    pub fn allow_http(self) -> Self {
        Self { allow_http: true, ..self }
    }

    /// Sets a proxy for all requests: an `http://` or `https://` URL. The URL may contain a user
    /// and a password. Default: the proxies in the environment variables.
    pub fn proxy(self, url: impl Into<String>) -> Self {
        Self { proxy: Some(url.into()), ..self }
    }

    /// Adds certificates of authorities in PEM. The client trusts them in addition to those of the
    /// system.
    pub fn root_certificates(self, pem: impl Into<Vec<u8>>) -> Self {
        Self { roots: Some(pem.into()), ..self }
    }

    /// Checks the settings, and creates the source. Sends no request.
    ///
    /// # Errors
    ///
    /// * A URL is not absolute, does not begin with `https:`, or has credentials or a fragment.
    /// * The issuer has a query, or [`metadata_url`](Self::metadata_url) is set without an issuer.
    /// * The certificates or the proxy are not usable.
    /// * The system has no certificates of authorities, and you have added none.
    pub fn build(self) -> Result<HttpKeys, ConfigError> {
        let target = self.target()?;
        let proxy = self.proxy.as_deref().map(url::parse_proxy).transpose().map_err(|fault| invalid(PROXY, fault))?;
        let client = self.client(proxy.as_ref())?;
        Ok(HttpKeys::new(Transport::new(client), target, self.allow_http, proxy.as_ref().map(place)))
    }

    fn target(&self) -> Result<Target, ConfigError> {
        let parse = |setting, text: &str| url::parse(text, self.allow_http).map_err(|fault| invalid(setting, fault));
        match (&self.start, &self.metadata_url) {
            (Start::JwksUrl(text), None) => Ok(Target::Jwks(parse(JWKS_URL, text)?)),
            (Start::JwksUrl(_), Some(_)) => Err(ConfigError::conflict(
                METADATA_URL,
                "is set beside `jwks_url`, which needs no metadata document",
                "remove the call of `metadata_url`, or begin with `HttpKeys::discovery`",
            )),
            (Start::Issuer(issuer), metadata_url) => {
                let url = parse(ISSUER, issuer)?;
                if url.query().is_some() {
                    let remedy = "remove the `?` and the text after it";
                    return Err(ConfigError::new(ISSUER, "has a query", remedy));
                }
                let Some(metadata_url) = metadata_url else {
                    return Ok(Target::Metadata(Metadata::well_known(issuer, &url)));
                };
                let url = parse(METADATA_URL, metadata_url)?;
                Ok(Target::Metadata(Metadata { issuer: issuer.clone(), url, fallback: None }))
            }
        }
    }

    /// Creates the client. Sets each option whose default depends on a feature of `reqwest`,
    /// because another crate of the application may enable that feature.
    fn client(&self, proxy: Option<&Url>) -> Result<Client, ConfigError> {
        let mut client = Client::builder()
            .tls_backend_rustls()
            .https_only(!self.allow_http)
            .http1_only()
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .connect_timeout(CONNECT_DEADLINE)
            // Closes the connection soon after a fetch, because the next fetch comes minutes later.
            // By then, the server has often closed the connection without notice.
            .pool_idle_timeout(FETCH_DEADLINE)
            // Firewalls of some issuers refuse requests without a `User-Agent`.
            .user_agent(concat!("tower-bearer/", env!("CARGO_PKG_VERSION")));
        if let Some(url) = proxy {
            // Omits the source of the error, because it could contain the URL's credentials.
            let proxy = Proxy::all(url.clone()).map_err(|_| {
                ConfigError::new(PROXY, "is not the URL of a proxy", "write it as in `http://proxy.example:3128`")
            })?;
            client = client.proxy(proxy);
        }
        if let Some(pem) = &self.roots {
            client = client.tls_certs_merge(certificates(pem)?);
        }
        client.build().map_err(|error| {
            // The addresses and the proxy were checked before. So the certificates are the cause.
            let error = error.without_url();
            match self.roots {
                Some(_) => ConfigError::new(
                    ROOTS,
                    "has a certificate that cannot be read",
                    "pass the certificates of authorities as PEM",
                ),
                None => ConfigError::missing(
                    ROOTS,
                    "is not set, and the system has no certificates of authorities",
                    "install the package `ca-certificates`, or pass the certificates of the issuer's authority",
                ),
            }
            .with_source(error)
        })
    }
}

/// Reads the certificates. Returns an error if there are none. Otherwise the operator would believe
/// that the client trusts the added authority.
fn certificates(pem: &[u8]) -> Result<Vec<Certificate>, ConfigError> {
    let remedy = "pass the certificates of authorities as PEM";
    let certificates = Certificate::from_pem_bundle(pem)
        .map_err(|error| ConfigError::new(ROOTS, "is not PEM", remedy).with_source(error))?;
    if certificates.is_empty() {
        return Err(ConfigError::new(ROOTS, "contains no certificate", remedy));
    }
    Ok(certificates)
}

fn invalid(setting: &'static str, fault: UrlFault) -> ConfigError {
    ConfigError::new(setting, fault.problem, fault.remedy)
}

impl fmt::Debug for HttpKeysBuilder {
    /// Formats the addresses without credentials and queries.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("HttpKeysBuilder");
        match &self.start {
            Start::JwksUrl(url) => f.field(JWKS_URL, &place_of(url)),
            Start::Issuer(issuer) => f.field(ISSUER, &place_of(issuer)),
        };
        f.field(METADATA_URL, &self.metadata_url.as_deref().map(place_of))
            .field("allow_http", &self.allow_http)
            .field(PROXY, &self.proxy.as_deref().map(place_of))
            .field(ROOTS, &self.roots.is_some())
            .finish()
    }
}
