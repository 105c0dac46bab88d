//! The protected resource metadata of RFC 9728.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::Arc,
};

use http::Uri;
use serde::Serialize;
use serde_json::{Map, Value};

use super::scope::scope_tokens;
use crate::{error::ConfigError, jwt::Scope};

/// The well-known path of RFC 9728 section 3.
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// The members that the builder has a method for.
const OWN_MEMBERS: [&str; 9] = [
    "resource",
    "authorization_servers",
    "scopes_supported",
    "bearer_methods_supported",
    "jwks_uri",
    "resource_name",
    "resource_documentation",
    "resource_policy_uri",
    "resource_tos_uri",
];

/// The protected resource metadata of an API (RFC 9728).
///
/// A client that knows only the URL of an API learns from this document where to get a token.
/// Servers of the Model Context Protocol (MCP) must have it. Two methods publish it:
///
/// * [`AuthLayer::resource`](super::AuthLayer::resource) adds its URL to challenges.
/// * [`service`](Self::service) serves the document. Put the service at [`path`](Self::path),
///   outside of the layer, because clients read the document before they have a token.
///
/// All URLs come from the configuration. The layer does not use the field `Host`: an attacker could
/// choose its value, and so make clients trust another authorization server.
///
/// ```
/// use axum::{Router, routing::get};
/// use tower_bearer::{AuthLayer, TokenService, middleware::ResourceMetadata};
///
/// # fn router(tokens: TokenService) -> Result<Router, tower_bearer::error::ConfigError> {
/// let metadata = ResourceMetadata::builder("https://api.example.com/mcp")
///     .authorization_servers(["https://login.example.com"])
///     .scopes_supported(["read", "write"])
///     .challenge_scopes(["read"])
///     .build()?;
/// assert_eq!(metadata.path(), "/.well-known/oauth-protected-resource/mcp");
///
/// // A request without a token gets 401 with this challenge:
/// // `Bearer realm="api", scope="read", resource_metadata="<the URL of the document>"`
/// let auth = AuthLayer::new(tokens).resource(metadata.clone());
/// let router = Router::new()
///     .route("/mcp", get("hello"))
///     .route_layer(auth) // protects only the routes above
///     .route_service(metadata.path(), metadata.service());
/// # Ok(router)
/// # }
/// ```
///
/// A clone refers to the same metadata.
#[derive(Clone, Debug)]
pub struct ResourceMetadata(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    resource: String,
    url: String,
    /// The byte index in `url` at which the path begins.
    path_at: usize,
    challenge_scope: Option<Scope>,
    document: String,
}

impl ResourceMetadata {
    /// Returns a builder of the metadata for the API with this URL.
    ///
    /// `resource` is the URL that clients use, and usually the
    /// [audience](crate::tokens::TokenServiceBuilder::audience) of the tokens (RFC 8707). Clients
    /// compare the URL byte for byte, so give it exactly as they use it.
    pub fn builder(resource: impl Into<String>) -> ResourceMetadataBuilder {
        ResourceMetadataBuilder {
            resource: resource.into(),
            authorization_servers: Vec::new(),
            scopes_supported: Vec::new(),
            bearer_methods_supported: vec!["header".to_owned()],
            challenge_scopes: Vec::new(),
            name: None,
            jwks_uri: None,
            documentation: None,
            policy_uri: None,
            tos_uri: None,
            members: Vec::new(),
            allows_http: false,
        }
    }

    /// Returns the URL of the API.
    #[must_use]
    pub fn resource(&self) -> &str {
        &self.0.resource
    }

    /// Returns the URL of the document. It has the well-known path between the host and the path of
    /// the API (RFC 9728 section 3.1).
    #[must_use]
    pub fn url(&self) -> &str {
        &self.0.url
    }

    /// Returns the path of [`url`](Self::url), at which to serve the document.
    #[must_use]
    pub fn path(&self) -> &str {
        self.0.url.get(self.0.path_at..).unwrap_or(WELL_KNOWN)
    }

    /// Returns the document as JSON text, for example to serve it from another host.
    #[must_use]
    pub fn document(&self) -> &str {
        &self.0.document
    }

    /// Returns the scope for the challenge of a 401.
    pub(super) fn challenge_scope(&self) -> Option<&str> {
        self.0.challenge_scope.as_ref().map(Scope::as_str)
    }
}

/// A builder of [`ResourceMetadata`]. The methods have the names of the document's members.
#[derive(Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct ResourceMetadataBuilder {
    resource: String,
    authorization_servers: Vec<String>,
    scopes_supported: Vec<String>,
    bearer_methods_supported: Vec<String>,
    challenge_scopes: Vec<String>,
    name: Option<String>,
    jwks_uri: Option<String>,
    documentation: Option<String>,
    policy_uri: Option<String>,
    tos_uri: Option<String>,
    members: Vec<(String, Result<Value, serde_json::Error>)>,
    allows_http: bool,
}

impl ResourceMetadataBuilder {
    /// Lists the issuers whose tokens the API accepts. MCP requires at least one issuer.
    pub fn authorization_servers(mut self, issuers: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.authorization_servers = issuers.into_iter().map(Into::into).collect();
        self
    }

    /// Lists the scopes that a client may request for the API. The list need not be complete.
    ///
    /// [`build`](Self::build) rejects `offline_access`, because this scope requests a refresh token
    /// and gives no right at the API.
    pub fn scopes_supported(mut self, scopes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.scopes_supported = scopes.into_iter().map(Into::into).collect();
        self
    }

    /// Lists the locations of tokens: `header`, `query` or both. Default: `header`.
    ///
    /// Add `query` only if the layer has
    /// [`allow_query("access_token")`](super::AuthLayerBuilder::allow_query).
    /// [`build`](Self::build) rejects `body`, because the layer never reads bodies.
    pub fn bearer_methods_supported(mut self, methods: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.bearer_methods_supported = methods.into_iter().map(Into::into).collect();
        self
    }

    /// Adds these scopes to the challenge of each 401, for a client that has no token yet. The
    /// document does not contain these scopes. Default: no scopes.
    ///
    /// [`build`](Self::build) rejects `offline_access`.
    pub fn challenge_scopes(mut self, scopes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.challenge_scopes = scopes.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the name of the API that a client may show to its user.
    pub fn resource_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the URL of the API's own public keys, for example of the keys that sign its responses.
    /// The keys that sign tokens belong to the authorization servers.
    pub fn jwks_uri(mut self, url: impl Into<String>) -> Self {
        self.jwks_uri = Some(url.into());
        self
    }

    /// Sets the URL of a page for developers of clients.
    pub fn resource_documentation(mut self, url: impl Into<String>) -> Self {
        self.documentation = Some(url.into());
        self
    }

    /// Sets the URL of a page with the rules for the use of the API's data.
    pub fn resource_policy_uri(mut self, url: impl Into<String>) -> Self {
        self.policy_uri = Some(url.into());
        self
    }

    /// Sets the URL of a page with the terms of service.
    pub fn resource_tos_uri(mut self, url: impl Into<String>) -> Self {
        self.tos_uri = Some(url.into());
        self
    }

    /// Adds another member of the document, such as `resource_name#de`.
    ///
    /// [`build`](Self::build) rejects:
    ///
    /// * a member for which this builder has another method,
    /// * a name that is empty, or that you added before,
    /// * a value that is `null` or an empty array.
    pub fn member(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
        self.members.push((name.into(), serde_json::to_value(value)));
        self
    }

    /// Allows `http` in the URLs of the API, the authorization servers and the key set if `allow`
    /// is `true`. Use it only for tests. Default: `false`, which allows `http` only for `localhost`
    /// and loopback addresses. The URLs of pages may always be `http`.
    pub fn allow_http(mut self, allow: bool) -> Self {
        self.allows_http = allow;
        self
    }

    /// Builds the metadata.
    ///
    /// # Errors
    ///
    /// * A URL is not absolute, or contains a user, a password or a forbidden character.
    /// * A URL is not `https`, and [`allow_http`](Self::allow_http) does not allow `http` for it.
    /// * The URL of the API or of an authorization server has a query or a fragment.
    /// * The URL of the API has capital letters in the host, or `.` or `..` in the path. Clients
    ///   would normalize such a URL, and then not recognize it.
    /// * A path segment in the URL of the API begins with `:` or `*`. Routers would take the
    ///   segment for a parameter.
    /// * A scope is not a scope token, or is `offline_access`.
    /// * The name of the API is empty, or the list of the locations of tokens is empty.
    /// * The docs of a method of this builder say that `build` rejects the value.
    pub fn build(self) -> Result<ResourceMetadata, ConfigError> {
        let http = self.allows_http;
        let origin_len = check_resource(&self.resource, http)?;
        for issuer in &self.authorization_servers {
            check_url("authorization_servers", issuer, UrlRules { http, page: false })?;
        }
        let scopes_supported = check_scopes("scopes_supported", &self.scopes_supported)?;
        let challenge_scope = check_scopes("challenge_scopes", &self.challenge_scopes)?;
        check_methods(&self.bearer_methods_supported)?;
        if self.name.as_deref() == Some("") {
            return Err(ConfigError::new("resource_name", "is empty", "give a name, or remove the call"));
        }
        let mut members = other_members(self.members)?;
        for (name, url, is_page) in [
            ("jwks_uri", self.jwks_uri, false),
            ("resource_documentation", self.documentation, true),
            ("resource_policy_uri", self.policy_uri, true),
            ("resource_tos_uri", self.tos_uri, true),
        ] {
            if let Some(url) = url {
                check_url(name, &url, UrlRules { http: http || is_page, page: true })?;
                members.insert(name.to_owned(), Value::from(url));
            }
        }
        members.insert("resource".to_owned(), Value::from(self.resource.as_str()));
        // RFC 9728 section 3.2: a list without values must be absent.
        if !self.authorization_servers.is_empty() {
            members.insert("authorization_servers".to_owned(), Value::from(self.authorization_servers));
        }
        if let Some(scopes) = scopes_supported {
            members.insert("scopes_supported".to_owned(), scopes.iter().collect());
        }
        members.insert("bearer_methods_supported".to_owned(), Value::from(self.bearer_methods_supported));
        members.extend(self.name.map(|name| ("resource_name".to_owned(), Value::from(name))));

        let (origin, path) = self.resource.split_at(origin_len);
        // RFC 9728 section 3.1 removes a path that is only a slash.
        let url = format!("{origin}{WELL_KNOWN}{}", if path == "/" { "" } else { path });
        Ok(ResourceMetadata(Arc::new(Parts {
            url,
            path_at: origin_len,
            challenge_scope,
            document: Value::Object(members).to_string(),
            resource: self.resource,
        })))
    }
}

/// The rules for the URL of a setting.
#[derive(Clone, Copy)]
struct UrlRules {
    http: bool,
    /// True if the URL may have a query and a fragment.
    page: bool,
}

/// Checks the URL of the API. Returns the length of its scheme and authority.
fn check_resource(text: &str, http: bool) -> Result<usize, ConfigError> {
    let uri = check_url("resource", text, UrlRules { http, page: false })?;
    if uri.host().is_some_and(|host| host.bytes().any(|byte| byte.is_ascii_uppercase())) {
        return Err(ConfigError::new("resource", "has a host with capital letters", "write the host in lower case"));
    }
    let after_scheme = text.find("://").map_or(0, |at| at + 3);
    let authority = text.get(after_scheme..).unwrap_or_default().split('/').next().unwrap_or_default();
    let origin_len = after_scheme + authority.len();
    let path = text.get(origin_len..).unwrap_or_default();
    if path.split('/').any(|segment| segment == "." || segment == "..") {
        return Err(ConfigError::new(
            "resource",
            "has a path with `.` or `..`",
            "write the path without these segments",
        ));
    }
    if path.split('/').any(|segment| segment.starts_with([':', '*'])) {
        let problem = "has a path segment that begins with `:` or `*`, which routers take for a parameter";
        return Err(ConfigError::new("resource", problem, "encode the character as `%3A` or `%2A`"));
    }
    Ok(origin_len)
}

/// Checks a URL. The type `Uri` is not strict enough: it ignores a fragment, and allows `"`.
fn check_url(setting: &'static str, text: &str, rules: UrlRules) -> Result<Uri, ConfigError> {
    let wrong = |problem: &'static str, remedy: &'static str| Err(ConfigError::new(setting, problem, remedy));
    let malformed = || wrong("is not an absolute URL", "give one such as `https://api.example.com/v1`");
    if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:/?#[]@!$&'()*+,;=%".contains(&byte)) {
        return wrong("has a character that no URL may have", "encode the character as `%` and two hexadecimal digits");
    }
    let encoded = text.split('%').skip(1);
    if !encoded.clone().all(|after| after.bytes().take_while(u8::is_ascii_hexdigit).take(2).count() == 2) {
        return wrong("has a `%` without two hexadecimal digits", "encode `%` as `%25`");
    }
    if !rules.page && text.contains(['?', '#']) {
        return wrong("has a query or a fragment", "remove the part from `?` or `#` on");
    }
    let Ok(uri) = text.split('#').next().unwrap_or_default().parse::<Uri>() else { return malformed() };
    let Some((authority, host)) = uri.authority().zip(uri.host()) else { return malformed() };
    if authority.as_str().contains('@') {
        return wrong("has a user or a password", "remove the part before `@`");
    }
    // `Uri` accepts an empty port, and a number that is too large for a port.
    let port = authority.as_str().strip_prefix(host);
    let is_port = |port: &str| port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok_and(|it| it > 0));
    if host.is_empty() || !port.is_some_and(|port| port.is_empty() || is_port(port)) {
        return malformed();
    }
    if text.starts_with("https://") || (text.starts_with("http://") && (rules.http || is_loopback(host))) {
        return Ok(uri);
    }
    wrong("is not an `https` URL", "give an `https` URL, or call `allow_http(true)` in a test")
}

fn is_loopback(host: &str) -> bool {
    let v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    host == "localhost"
        || host.parse().is_ok_and(|address: Ipv4Addr| address.is_loopback())
        || v6.is_some_and(|host| host.parse().is_ok_and(|address: Ipv6Addr| address.is_loopback()))
}

/// Checks a list of scopes. Returns `None` for an empty list.
fn check_scopes(setting: &'static str, scopes: &[String]) -> Result<Option<Scope>, ConfigError> {
    if scopes.is_empty() {
        return Ok(None);
    }
    let scope = scope_tokens(setting, scopes)?;
    if scope.contains("offline_access") {
        return Err(ConfigError::new(
            setting,
            "contains `offline_access`, which gives no right at the API",
            "remove `offline_access`; a client that wants a refresh token requests it by itself",
        ));
    }
    Ok(Some(scope))
}

fn check_methods(methods: &[String]) -> Result<(), ConfigError> {
    if methods.is_empty() || methods.iter().any(|method| method != "header" && method != "query") {
        return Err(ConfigError::unsupported(
            "bearer_methods_supported",
            "is empty, or names a location from which the layer reads no tokens",
            "give `header`, `query` or both",
        ));
    }
    Ok(())
}

fn other_members(given: Vec<(String, Result<Value, serde_json::Error>)>) -> Result<Map<String, Value>, ConfigError> {
    let mut members = Map::new();
    for (name, value) in given {
        let value = value.map_err(|error| {
            ConfigError::new(
                "member",
                format!("`{name}` is not a JSON value"),
                "give a value that `serde_json` can serialize",
            )
            .with_source(error)
        })?;
        if OWN_MEMBERS.contains(&&*name) {
            let remedy = "call that method in place of `member`";
            return Err(ConfigError::conflict("member", format!("`{name}` has its own method"), remedy));
        }
        if value.is_null() || value.as_array().is_some_and(Vec::is_empty) {
            return Err(ConfigError::new(
                "member",
                format!("`{name}` is null or an empty array"),
                "remove this call of `member`",
            ));
        }
        if name.is_empty() || members.insert(name, value).is_some() {
            return Err(ConfigError::new(
                "member",
                "is called with an empty name, or twice with one name",
                "give each member its own name",
            ));
        }
    }
    Ok(members)
}
