//! The metadata document of an issuer. It contains the address of the issuer's keys.

use http::StatusCode;
use reqwest::Url;
use serde::Deserialize;
use tokio::time::Instant;

use super::{
    failure::failure,
    transport::{Document, Transport},
    url,
};
use crate::error::{KeySourceError, KeySourceErrorKind};

const EXPECTED: &str = "a metadata document, which is a JSON object with `issuer` and `jwks_uri`";

/// An issuer, and the addresses of its metadata document.
#[derive(Clone)]
pub(super) struct Metadata {
    /// The value that `issuer` in the document must have.
    pub(super) issuer: String,
    pub(super) url: Url,
    /// The second address. The source requests it if `url` answers 404.
    pub(super) fallback: Option<Url>,
}

/// The members of the document that the crate reads.
#[derive(Deserialize)]
struct Members {
    issuer: String,
    jwks_uri: Option<String>,
}

impl Metadata {
    /// Returns the two well-known addresses of an issuer: that of `OpenID` Connect Discovery 1.0
    /// (section 4), then that of RFC 8414 (section 3.1).
    pub(super) fn well_known(issuer: &str, url: &Url) -> Self {
        let path = url.path().trim_end_matches('/');
        Self {
            issuer: issuer.to_owned(),
            url: with_path(url, &format!("{path}/.well-known/openid-configuration")),
            fallback: Some(with_path(url, &format!("/.well-known/oauth-authorization-server{path}"))),
        }
    }

    /// Fetches the document, and returns the address of the keys.
    ///
    /// # Errors
    ///
    /// The document cannot be fetched, names another issuer, or has no usable `jwks_uri`.
    pub(super) async fn jwks_url(
        &self,
        transport: &Transport,
        allow_http: bool,
        deadline: Instant,
    ) -> Result<Url, KeySourceError> {
        let document = transport.get(&self.url, deadline).await?;
        let Some(fallback) = self.fallback.as_ref().filter(|_| document.status() == StatusCode::NOT_FOUND) else {
            return self.read(&self.url, &document, allow_http);
        };
        let second = transport.get(fallback, deadline).await?;
        if second.status() == StatusCode::NOT_FOUND {
            // The error names both addresses. Otherwise an operator would look for the fault only
            // at the second address.
            let problem = format!("and `{}` do not exist (404)", url::place(fallback));
            return Err(failure(KeySourceErrorKind::Status, &self.url, problem));
        }
        self.read(fallback, &second, allow_http)
    }

    fn read(&self, at: &Url, document: &Document, allow_http: bool) -> Result<Url, KeySourceError> {
        let body = document.body_of(at)?;
        // Omits the error of serde, because its text can contain parts of the document.
        let members: Members = serde_json::from_slice(body).map_err(|_| document.unreadable(at, EXPECTED))?;
        if members.issuer != self.issuer {
            let problem = format!("names the issuer {}, not {:?}", url::quoted(&members.issuer), self.issuer);
            return Err(failure(KeySourceErrorKind::WrongIssuer, at, problem));
        }
        let jwks_url = members.jwks_uri.ok_or_else(|| document.unreadable(at, EXPECTED))?;
        url::parse(&jwks_url, allow_http).map_err(|fault| {
            let problem = format!("names a `jwks_uri` that {}", fault.problem);
            failure(KeySourceErrorKind::Unreadable, at, problem)
        })
    }
}

fn with_path(url: &Url, path: &str) -> Url {
    let mut url = url.clone();
    url.set_path(path);
    url
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn the_well_known_addresses_are_those_of_the_specifications() {
        for (issuer, discovery, oauth) in [
            (
                "https://login.example",
                "https://login.example/.well-known/openid-configuration",
                "https://login.example/.well-known/oauth-authorization-server",
            ),
            (
                "https://login.example/",
                "https://login.example/.well-known/openid-configuration",
                "https://login.example/.well-known/oauth-authorization-server",
            ),
            (
                "https://login.example:8443/realms/a/",
                "https://login.example:8443/realms/a/.well-known/openid-configuration",
                "https://login.example:8443/.well-known/oauth-authorization-server/realms/a",
            ),
        ] {
            let metadata = Metadata::well_known(issuer, &url::parse(issuer, false).unwrap());
            assert_eq!(metadata.url.as_str(), discovery);
            assert_eq!(metadata.fallback.unwrap().as_str(), oauth);
            assert_eq!(metadata.issuer, issuer);
        }
    }
}
