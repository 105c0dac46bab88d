//! The responses to rejected requests.

use std::{
    fmt, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response,
    header::{
        ACCEPT_RANGES, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_LENGTH, CONTENT_LOCATION,
        CONTENT_RANGE, CONTENT_TYPE, ETAG, EXPIRES, LAST_MODIFIED, PRAGMA, RETRY_AFTER, TRAILER, TRANSFER_ENCODING,
        WWW_AUTHENTICATE,
    },
};

use super::{
    body::ResponseBody,
    messages::{GRPC_MESSAGE, GRPC_STATUS, Messages},
    rejection::{Rejection, RejectionKind},
    resource::ResourceMetadata,
    watch::Framing,
};
use crate::error::ConfigError;

/// The default of `Retry-After`, in seconds.
pub(crate) const RETRY_AFTER_SECONDS: u16 = 1;

const DEFAULT_REALM: &str = "api";

/// The header fields that the layer does not keep when it replaces a handler's response. They
/// describe the old body or the old rejection.
const REPLACED: [HeaderName; 19] = [
    ACCEPT_RANGES,
    ALLOW,
    CACHE_CONTROL,
    CONTENT_ENCODING,
    CONTENT_LANGUAGE,
    CONTENT_LENGTH,
    CONTENT_LOCATION,
    CONTENT_RANGE,
    CONTENT_TYPE,
    ETAG,
    EXPIRES,
    GRPC_MESSAGE,
    GRPC_STATUS,
    LAST_MODIFIED,
    PRAGMA,
    RETRY_AFTER,
    TRAILER,
    TRANSFER_ENCODING,
    WWW_AUTHENTICATE,
];

type Hook = dyn Fn(&Rejection, Response<Bytes>) -> Response<Bytes> + Send + Sync;

/// The maker of responses to rejected requests. The future of each request contains a clone.
///
/// `None` means the default settings. A clone of `None` is cheap. A clone of an `Arc` changes a
/// reference count that all cores share.
#[derive(Clone, Default)]
pub(crate) struct Responder(Option<Arc<ResponderSettings>>);

#[derive(Clone)]
struct ResponderSettings {
    realm: String,
    hook: Option<Arc<Hook>>,
    resource: Option<ResourceMetadata>,
}

impl Default for ResponderSettings {
    fn default() -> Self {
        Self { realm: DEFAULT_REALM.to_owned(), hook: None, resource: None }
    }
}

/// The properties of a request that determine the form of the response.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    /// True if the method is safe: the client asks for no change (RFC 9110 section 9.2.1).
    pub(super) is_safe: bool,
    /// True for HEAD: the response has the headers of a GET, and no body (RFC 9110 section 9.3.2).
    is_head: bool,
    protocol: Protocol,
    /// True if an endpoint makes the response. No cache may store that response (RFC 6749 section
    /// 5.1). The HTTP server sets its length, and drops its body for a HEAD.
    is_endpoint: bool,
}

#[derive(Clone, Copy, Debug)]
enum Protocol {
    Http,
    Grpc,
    GrpcWeb,
}

impl Form {
    #[inline]
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        let protocol = Protocol::of(request.headers());
        let method = request.method();
        Self { is_safe: method.is_safe(), is_head: method == Method::HEAD, protocol, is_endpoint: false }
    }

    /// Returns the structure of the response's body. A handler may answer a gRPC request with a
    /// body that is not gRPC.
    #[inline]
    pub(super) fn framing(self, response: &HeaderMap) -> Framing {
        if let Protocol::Http = self.protocol {
            return Framing::Bytes;
        }
        let media = response.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
        match Protocol::of(response) {
            // The body is base64 text. A status frame could break a group of base64 characters.
            Protocol::GrpcWeb if media.starts_with(b"application/grpc-web-text") => Framing::Bytes,
            Protocol::GrpcWeb => Framing::GrpcWeb(Messages::default()),
            Protocol::Grpc => Framing::Grpc(Messages::default()),
            Protocol::Http => Framing::Bytes,
        }
    }

    /// The form of an endpoint's responses. Endpoints support only HTTP.
    pub(crate) const ENDPOINT: Self =
        Self { is_safe: false, is_head: false, protocol: Protocol::Http, is_endpoint: true };
}

impl Protocol {
    #[inline]
    fn of(headers: &HeaderMap) -> Self {
        match headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes) {
            Some(media) if media.starts_with(b"application/grpc-web") => Self::GrpcWeb,
            Some(media) if media.starts_with(b"application/grpc") => Self::Grpc,
            _ => Self::Http,
        }
    }
}

impl Responder {
    fn settings_mut(&mut self) -> &mut ResponderSettings {
        Arc::make_mut(self.0.get_or_insert_default())
    }

    fn realm(&self) -> &str {
        self.0.as_ref().map_or(DEFAULT_REALM, |settings| &settings.realm)
    }

    /// Sets the realm, which the challenge contains as a quoted string (RFC 9110 section 5.6.4).
    pub(super) fn set_realm(&mut self, realm: &str) -> Result<(), ConfigError> {
        let plain = |byte: u8| matches!(byte, 0x20 | 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        if realm.is_empty() || realm.len() > 255 || !realm.bytes().all(plain) {
            return Err(ConfigError::new(
                "realm",
                "is empty, over 255 bytes, or has characters that a quoted string must escape",
                "give printable ASCII without `\"` and `\\`",
            ));
        }
        realm.clone_into(&mut self.settings_mut().realm);
        Ok(())
    }

    pub(super) fn set_hook(
        &mut self,
        hook: impl Fn(&Rejection, Response<Bytes>) -> Response<Bytes> + Send + Sync + 'static,
    ) {
        self.settings_mut().hook = Some(Arc::new(hook));
    }

    pub(super) fn set_resource(&mut self, metadata: ResourceMetadata) {
        self.settings_mut().resource = Some(metadata);
    }

    /// Returns the metadata that a challenge of this kind names. Returns `None` for a failed login,
    /// because a token would not help the client.
    fn resource_for(&self, kind: RejectionKind) -> Option<&ResourceMetadata> {
        let resource = self.0.as_ref()?.resource.as_ref();
        resource.filter(|_| kind != RejectionKind::InvalidCredentials)
    }

    /// Logs the rejection and makes the response for it.
    pub(crate) fn respond(&self, rejection: Rejection, form: Form) -> Response<Bytes> {
        #[cfg(feature = "tracing")]
        super::rejection_log::log(&rejection);
        self.render(rejection, form)
    }

    /// Replaces a handler's response with the layer's own response to the [`Rejection`] in it.
    #[cold]
    pub(super) fn rerender<B>(&self, response: &mut Response<ResponseBody<B>>, form: Form) {
        let headers = mem::take(response.headers_mut());
        let mut extensions = mem::take(response.extensions_mut());
        let rejection = extensions.remove::<Rejection>();
        let rejection = rejection.unwrap_or_else(|| Rejection::new(RejectionKind::Internal));
        // Does not log: `Rejection::into_response` or the caller has already logged the rejection.
        let mut rendered = self.render(rejection, form);
        // Keeps the fields that inner layers added, such as cookies, request ids and CORS.
        for (name, value) in &headers {
            if !REPLACED.contains(name) {
                rendered.headers_mut().append(name, value.clone());
            }
        }
        restrict_caching(rendered.headers_mut(), &headers);
        rendered.extensions_mut().extend(extensions);
        *response = rendered.map(ResponseBody::rejection);
    }

    fn render(&self, rejection: Rejection, form: Form) -> Response<Bytes> {
        let mut response = match form.protocol {
            Protocol::Http => self.http_response(&rejection, form),
            Protocol::Grpc => grpc_response(&rejection, "application/grpc"),
            Protocol::GrpcWeb => grpc_response(&rejection, "application/grpc-web+proto"),
        };
        response.extensions_mut().insert(rejection.rendered(true));
        response
    }

    fn http_response(&self, rejection: &Rejection, form: Form) -> Response<Bytes> {
        let mut response = self.default_response(rejection, form);
        if let Some(hook) = self.0.as_ref().and_then(|settings| settings.hook.as_deref()) {
            response = catch_unwind(AssertUnwindSafe(|| hook(rejection, response))).unwrap_or_else(|_| {
                #[cfg(feature = "tracing")]
                tracing::error!("`on_rejection` panicked; the default response was sent");
                self.default_response(rejection, form)
            });
        }
        *response.status_mut() = rejection.kind().status();
        response.headers_mut().remove(TRANSFER_ENCODING);
        if form.is_endpoint {
            response.headers_mut().remove(CONTENT_LENGTH);
        } else {
            let length = HeaderValue::from(response.body().len());
            response.headers_mut().insert(CONTENT_LENGTH, length);
        }
        if form.is_head {
            response.body_mut().clear();
        }
        response
    }

    /// Returns the response before the application's hook changes it.
    fn default_response(&self, rejection: &Rejection, form: Form) -> Response<Bytes> {
        let kind = rejection.kind();
        let body = Bytes::from_static(default_body(kind).as_bytes());
        let length = HeaderValue::from(body.len());
        let mut response = Response::new(body);
        *response.status_mut() = kind.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if form.is_endpoint {
            no_store(headers);
        } else {
            headers.insert(CONTENT_LENGTH, length);
        }
        if kind.challenges() {
            headers.insert(WWW_AUTHENTICATE, self.challenge(rejection));
        }
        if matches!(kind, RejectionKind::Unavailable | RejectionKind::TooManyRequests) {
            let named = rejection.retry_after().map(|time| HeaderValue::from(time.as_secs()));
            headers.insert(RETRY_AFTER, named.unwrap_or_else(|| HeaderValue::from(RETRY_AFTER_SECONDS)));
        }
        // RFC 9110 section 15.5.6 requires the field in a 405.
        if kind == RejectionKind::MethodNotAllowed {
            let allow = rejection.allowed_methods().iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
            headers.extend(HeaderValue::try_from(allow).ok().map(|allow| (ALLOW, allow)));
        }
        response
    }

    /// Returns the challenge of RFC 6750 section 3: the scheme, then comma-separated parameters.
    fn challenge(&self, rejection: &Rejection) -> HeaderValue {
        let mut text = format!("Bearer realm=\"{}\"", self.realm());
        if let Some(error) = rejection.kind().challenge_error() {
            text.push_str(", error=\"");
            text.push_str(error);
            text.push('"');
        }
        let resource = self.resource_for(rejection.kind());
        // A 401 names the scopes that a new client should request, and a 403 names the required
        // scopes. A 400 names no scopes.
        let initial = match rejection.kind() {
            RejectionKind::NoCredentials | RejectionKind::InvalidToken => resource.and_then(|it| it.challenge_scope()),
            _ => None,
        };
        if let Some(scope) = rejection.required_scope().or(initial) {
            text.push_str(", scope=\"");
            text.push_str(scope);
            text.push('"');
        }
        if let Some(resource) = resource {
            text.push_str(", resource_metadata=\"");
            text.push_str(resource.url());
            text.push('"');
        }
        // The setters have validated all parts, so the conversion cannot fail.
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("Bearer"))
    }
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder").field("realm", &self.realm()).finish_non_exhaustive()
    }
}

impl Rejection {
    /// Returns the response with which a handler rejects its request.
    ///
    /// If an [`AuthService`](super::AuthService) is around the handler, the service replaces this
    /// response:
    ///
    /// * Over HTTP, the new response has the layer's realm, and the changes of the layer's hook
    ///   ([`on_rejection`](super::AuthLayerBuilder::on_rejection)).
    /// * For a gRPC request, the new response is a gRPC response.
    /// * The new response keeps restrictions in `Cache-Control`, and headers that describe neither
    ///   the body nor the rejection, such as cookies.
    ///
    /// Without an `AuthService`, the client gets this response, with the realm `api`.
    ///
    /// ```
    /// use bytes::Bytes;
    /// use http::Response;
    /// use http_body_util::Full;
    /// use tower_bearer::middleware::Rejection;
    ///
    /// let response: Response<Full<Bytes>> = Rejection::forbidden().into_response();
    /// assert_eq!(response.status(), 403);
    /// ```
    #[must_use]
    pub fn into_response<B: From<Bytes>>(self) -> Response<B> {
        let form = Form { is_endpoint: false, ..Form::ENDPOINT };
        let mut response = Responder::default().respond(self.clone(), form);
        response.extensions_mut().insert(self.rendered(false));
        response.map(B::from)
    }
}

/// Returns `{"error":"<code>"}`. The text is static, so a rejection allocates no memory for it.
fn default_body(kind: RejectionKind) -> &'static str {
    match kind.code() {
        "unauthorized" => r#"{"error":"unauthorized"}"#,
        "invalid_request" => r#"{"error":"invalid_request"}"#,
        "invalid_token" => r#"{"error":"invalid_token"}"#,
        "insufficient_scope" => r#"{"error":"insufficient_scope"}"#,
        "forbidden" => r#"{"error":"forbidden"}"#,
        "invalid_grant" => r#"{"error":"invalid_grant"}"#,
        "not_found" => r#"{"error":"not_found"}"#,
        "too_many_requests" => r#"{"error":"too_many_requests"}"#,
        "temporarily_unavailable" => r#"{"error":"temporarily_unavailable"}"#,
        _ => r#"{"error":"server_error"}"#,
    }
}

/// Forbids all caches to store a response (RFC 6749 section 5.1).
pub(crate) fn no_store(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
}

/// Copies the restrictions of the inner response's `Cache-Control`. Otherwise a cache could store a
/// 404 or a 405 (RFC 9110 section 15.1). Replaces `max-age` and `Expires` with `no-cache`, because
/// they apply to the inner body. Does not copy directives that give caches more rights.
fn restrict_caching(headers: &mut HeaderMap, inner: &HeaderMap) {
    let (mut no_store, mut private, mut no_cache) = (false, false, inner.contains_key(EXPIRES));
    let lines = inner.get_all(CACHE_CONTROL).iter();
    for directive in lines.flat_map(|line| line.as_bytes().split(|&byte| byte == b',')) {
        // Drops an argument such as `private="set-cookie"`, which limits the directive to some
        // fields (RFC 9111 section 5.2.2.4). The directive then covers the whole response.
        let name = directive.split(|&byte| byte == b'=').next().unwrap_or_default().trim_ascii();
        no_store |= name.eq_ignore_ascii_case(b"no-store");
        private |= name.eq_ignore_ascii_case(b"private");
        no_cache |= name.eq_ignore_ascii_case(b"no-cache") || name.eq_ignore_ascii_case(b"max-age");
    }
    for (applies, directive) in [(no_store, "no-store"), (private, "private"), (no_cache, "no-cache")] {
        if applies {
            headers.append(CACHE_CONTROL, HeaderValue::from_static(directive));
        }
    }
}

/// Returns a trailers-only response: the headers contain the gRPC status, and there is no body.
fn grpc_response(rejection: &Rejection, content_type: &'static str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(rejection.kind().grpc_code())));
    headers.insert(GRPC_MESSAGE, HeaderValue::from_static(rejection.kind().code()));
    response
}
