//! The locations of a token other than `Authorization`.

use http::{
    HeaderMap, HeaderName, Request,
    header::{AUTHORIZATION, COOKIE, SEC_WEBSOCKET_PROTOCOL},
};

use super::{
    cookie,
    credential::{Credential, in_header},
    query, websocket,
};
use crate::{cookies::check_cookie_name, error::ConfigError};

/// The credential in the locations other than `Authorization`.
pub(in crate::middleware) struct Found<'a> {
    pub(in crate::middleware) credential: Credential<'a>,
    /// True if only cookies contain the credential. A browser may have added it to a request that
    /// another site caused.
    pub(in crate::middleware) is_in_cookie: bool,
}

/// The locations that the application allows. It may allow several of each kind, but only one
/// WebSocket protocol.
#[derive(Clone, Debug, Default)]
pub(in crate::middleware) struct Locations {
    queries: Vec<String>,
    cookies: Vec<String>,
    /// Cookies that the layer does not read, but removes together with the credentials.
    other_cookies: Vec<String>,
    headers: Vec<HeaderName>,
    websocket_protocol: Option<String>,
}

impl Locations {
    /// Adds a query parameter by its decoded name.
    pub(in crate::middleware) fn allow_query(&mut self, name: String) -> Result<(), ConfigError> {
        let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        if name.is_empty() || !name.bytes().all(unreserved) {
            return Err(ConfigError::new(
                "allow_query",
                "has an empty name, or a name with characters that a query must escape",
                "use letters, digits, `-`, `.`, `_` and `~` (RFC 3986 section 2.3), as in `access_token`",
            ));
        }
        self.queries.push(name);
        Ok(())
    }

    /// Adds a cookie by its exact name.
    pub(in crate::middleware) fn allow_cookie(&mut self, name: String) -> Result<(), ConfigError> {
        check_cookie_name("allow_cookie", &name)?;
        self.cookies.push(name);
        Ok(())
    }

    /// Adds a cookie that the layer does not read, but removes with the credentials.
    pub(in crate::middleware) fn strip_cookie_too(&mut self, name: &str) {
        self.other_cookies.push(name.to_owned());
    }

    pub(in crate::middleware) fn allows_cookie(&self, name: &str) -> bool {
        self.cookies.iter().any(|own| own == name)
    }

    /// Adds a header that contains only the token, without a scheme.
    pub(in crate::middleware) fn allow_header(&mut self, name: HeaderName) -> Result<(), ConfigError> {
        if [AUTHORIZATION, COOKIE, SEC_WEBSOCKET_PROTOCOL].contains(&name) {
            return Err(ConfigError::new(
                "allow_header",
                "names `Authorization`, `Cookie` or `Sec-WebSocket-Protocol`, which contain more than a token",
                "remove the call (the layer always reads `Authorization`), or use `allow_cookie` or \
                 `allow_websocket_protocol`",
            ));
        }
        // Adds each name only once. If a name were twice in the list, `find` would read its header
        // twice, and take the header for two credentials.
        if !self.headers.contains(&name) {
            self.headers.push(name);
        }
        Ok(())
    }

    /// Sets the name of the WebSocket protocol after which the client lists the token.
    pub(in crate::middleware) fn allow_websocket_protocol(&mut self, name: String) -> Result<(), ConfigError> {
        websocket::check_name(&name)?;
        self.websocket_protocol = Some(name);
        Ok(())
    }

    /// Returns the name of the WebSocket protocol if the request offers that protocol.
    pub(in crate::middleware) fn offered_websocket_protocol(
        &self,
        headers: &HeaderMap,
        max_token_len: usize,
    ) -> Option<&str> {
        let name = self.websocket_protocol.as_deref()?;
        (websocket::read(headers, name, max_token_len) != Credential::Absent).then_some(name)
    }

    /// Returns the credential in these locations, or `Malformed` if they contain several.
    pub(in crate::middleware) fn find<'a, B>(&self, request: &'a Request<B>, max_token_len: usize) -> Found<'a> {
        let mut found = Credential::Absent;
        for name in &self.headers {
            found = found.and(in_header(request.headers(), name, max_token_len));
        }
        if let Some(name) = &self.websocket_protocol {
            found = found.and(websocket::read(request.headers(), name, max_token_len));
        }
        if let (false, Some(query)) = (self.queries.is_empty(), request.uri().query()) {
            found = found.and(query::read(query, &self.queries, max_token_len));
        }
        if self.cookies.is_empty() {
            return Found { credential: found, is_in_cookie: false };
        }
        let in_cookie = cookie::read(request.headers(), &self.cookies, max_token_len);
        let is_in_cookie = found == Credential::Absent && in_cookie != Credential::Absent;
        Found { credential: found.and(in_cookie), is_in_cookie }
    }

    /// Returns the names of the cookies.
    pub(in crate::middleware) fn cookies(&self) -> &[String] {
        &self.cookies
    }

    /// Marks headers as sensitive if they may contain a credential, so that `Debug` does not show
    /// them.
    pub(in crate::middleware) fn mark_sensitive(&self, headers: &mut HeaderMap) {
        for (name, value) in headers.iter_mut() {
            let is_ours = match name {
                name if name == COOKIE => !self.cookies.is_empty(),
                name if name == SEC_WEBSOCKET_PROTOCOL => self.websocket_protocol.is_some(),
                name => self.headers.contains(name),
            };
            if is_ours {
                value.set_sensitive(true);
            }
        }
    }

    /// Removes the credentials in these locations from the request.
    pub(in crate::middleware) fn strip<B>(&self, request: &mut Request<B>) {
        for name in &self.headers {
            request.headers_mut().remove(name);
        }
        if !self.cookies.is_empty() {
            cookie::strip(request.headers_mut(), &self.cookies);
        }
        if !self.other_cookies.is_empty() {
            cookie::strip(request.headers_mut(), &self.other_cookies);
        }
        if let Some(name) = &self.websocket_protocol {
            websocket::strip(request.headers_mut(), name);
        }
        if !self.queries.is_empty() {
            query::strip(request.uri_mut(), &self.queries);
        }
    }
}
