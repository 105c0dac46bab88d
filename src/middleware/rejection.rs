//! Rejections: **one** table from the kind of a rejection to what HTTP and gRPC clients are told.
//!
//! | kind | HTTP | `WWW-Authenticate: Bearer` with | gRPC |
//! |--|--|--|--|
//! | [`NoCredentials`](RejectionKind::NoCredentials) | 401 | `realm` | 16 |
//! | [`InvalidRequest`](RejectionKind::InvalidRequest) | 400 | `realm`, `error="invalid_request"` | 16 |
//! | [`InvalidToken`](RejectionKind::InvalidToken) | 401 | `realm`, `error="invalid_token"` | 16 |
//! | [`InsufficientScope`](RejectionKind::InsufficientScope) | 403 | `realm`, `error="insufficient_scope"`, `scope` | 7 |
//! | [`Unavailable`](RejectionKind::Unavailable) | 503, `Retry-After` | absent | 14 |
//! | [`Internal`](RejectionKind::Internal) | 500 | absent | 13 |
//!
//! Status, codes and headers are RFC 6750 section 3. A 400 over gRPC would become INTERNAL in clients, hence 16. The
//! answer to every bad token is the same to the byte: why it was refused goes to the log and, as a [`Rejection`], into the
//! response's extensions, never to the client.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};

use crate::error::{ConfigError, Error, Fault};

/// After how many seconds a client may try again when the store was not available.
pub(crate) const RETRY_AFTER_SECONDS: u16 = 1;

/// Why a request was refused. It stands in the extensions of the response, for layers outside that log or count.
#[derive(Clone, Debug)]
pub struct Rejection {
    kind: RejectionKind,
    cause: Option<Arc<Error>>,
    scope: Option<Arc<str>>,
}

/// What a client is told.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum RejectionKind {
    /// The request carries no bearer credential.
    NoCredentials,
    /// The credential is malformed, or there is more than one.
    InvalidRequest,
    /// The token is no good, for whatever reason.
    InvalidToken,
    /// The token is good, but does not allow this.
    InsufficientScope,
    /// The store could not be asked. Nothing is known about the token.
    Unavailable,
    /// The application or its configuration failed.
    Internal,
}

impl Rejection {
    pub(crate) fn new(kind: RejectionKind) -> Self {
        Self { kind, cause: None, scope: None }
    }

    pub(super) fn insufficient_scope(required: Arc<str>) -> Self {
        Self { kind: RejectionKind::InsufficientScope, cause: None, scope: Some(required) }
    }

    /// What the client is told.
    #[must_use]
    pub fn kind(&self) -> RejectionKind {
        self.kind
    }

    /// What happened. The client is not told.
    #[must_use]
    pub fn cause(&self) -> Option<&Error> {
        self.cause.as_deref()
    }

    #[cfg(feature = "tonic")]
    pub(crate) fn into_cause(self) -> Option<Arc<Error>> {
        self.cause
    }

    /// The scope that the request needs, if that is what it lacks.
    #[must_use]
    pub fn required_scope(&self) -> Option<&str> {
        self.scope.as_deref()
    }
}

impl From<Error> for Rejection {
    fn from(error: Error) -> Self {
        let kind = match error.fault() {
            Fault::Client => RejectionKind::InvalidToken,
            Fault::Store => RejectionKind::Unavailable,
            Fault::Internal => RejectionKind::Internal,
        };
        Self { kind, cause: Some(Arc::new(error)), scope: None }
    }
}

impl RejectionKind {
    /// The HTTP status.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::NoCredentials | Self::InvalidToken => StatusCode::UNAUTHORIZED,
            Self::InvalidRequest => StatusCode::BAD_REQUEST,
            Self::InsufficientScope => StatusCode::FORBIDDEN,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The `error` parameter of the challenge (RFC 6750 section 3.1): none where no credential was sent, or where a better one would not
    /// help.
    #[must_use]
    pub fn challenge_error(self) -> Option<&'static str> {
        match self {
            Self::InvalidRequest => Some("invalid_request"),
            Self::InvalidToken => Some("invalid_token"),
            Self::InsufficientScope => Some("insufficient_scope"),
            Self::NoCredentials | Self::Unavailable | Self::Internal => None,
        }
    }

    /// The member `error` of the default body.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::NoCredentials => "unauthorized",
            Self::Unavailable => "temporarily_unavailable",
            Self::Internal => "server_error",
            other => other.challenge_error().unwrap_or("server_error"),
        }
    }

    /// The gRPC status code.
    #[must_use]
    pub fn grpc_code(self) -> u8 {
        match self {
            Self::NoCredentials | Self::InvalidRequest | Self::InvalidToken => 16,
            Self::InsufficientScope => 7,
            Self::Unavailable => 14,
            Self::Internal => 13,
        }
    }

    /// Whether the answer asks for a (better) credential.
    fn challenges(self) -> bool {
        !matches!(self, Self::Unavailable | Self::Internal)
    }
}

/// Makes the body of rejections over HTTP. Any closure from a [`Rejection`] to a media type and a body is one.
///
/// Status and headers stay as the table says. Do not tell a client more than [`Rejection::kind`]: the cause helps whoever probes.
///
/// ```
/// use bytes::Bytes;
/// use http::HeaderValue;
/// use tower_bearer::middleware::Rejection;
///
/// fn problem(rejection: &Rejection) -> (HeaderValue, Bytes) {
///     let body = format!(r#"{{"title":"{}"}}"#, rejection.kind().code());
///     (HeaderValue::from_static("application/problem+json"), body.into())
/// }
/// ```
pub trait RejectionBody: Send + Sync + 'static {
    /// The media type and the body. A panic is caught, and the default body sent.
    fn body(&self, rejection: &Rejection) -> (HeaderValue, Bytes);
}

impl<F: Fn(&Rejection) -> (HeaderValue, Bytes) + Send + Sync + 'static> RejectionBody for F {
    fn body(&self, rejection: &Rejection) -> (HeaderValue, Bytes) {
        self(rejection)
    }
}

/// `{"error":"<code>"}`.
fn default_body(rejection: &Rejection) -> (HeaderValue, Bytes) {
    let body: &'static str = match rejection.kind.code() {
        "unauthorized" => r#"{"error":"unauthorized"}"#,
        "invalid_request" => r#"{"error":"invalid_request"}"#,
        "invalid_token" => r#"{"error":"invalid_token"}"#,
        "insufficient_scope" => r#"{"error":"insufficient_scope"}"#,
        "temporarily_unavailable" => r#"{"error":"temporarily_unavailable"}"#,
        _ => r#"{"error":"server_error"}"#,
    };
    (HeaderValue::from_static("application/json"), Bytes::from_static(body.as_bytes()))
}

/// Everything about rejections that is known when a layer is built.
#[derive(Clone)]
pub(crate) struct Rejections {
    realm: String,
    body: Arc<dyn RejectionBody>,
}

impl Rejections {
    pub(crate) fn new() -> Self {
        Self { realm: "api".to_owned(), body: Arc::new(default_body) }
    }

    /// Sets the realm: it stands in a quoted string (RFC 9110 section 5.6.4).
    pub(super) fn set_realm(&mut self, realm: &str) -> Result<(), ConfigError> {
        let plain = |byte: u8| matches!(byte, 0x20 | 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        if realm.is_empty() || realm.len() > 255 || !realm.bytes().all(plain) {
            return Err(ConfigError::new(
                "realm",
                "is empty, over 255 bytes, or has characters that a quoted string would have to escape",
                "give printable ASCII without `\"` and `\\`",
            ));
        }
        realm.clone_into(&mut self.realm);
        Ok(())
    }

    pub(super) fn set_body(&mut self, body: impl RejectionBody) {
        self.body = Arc::new(body);
    }

    /// The answer to a request that is refused.
    pub(crate) fn respond<B>(&self, rejection: Rejection, request: &Request<B>) -> Response<Bytes> {
        self.respond_to(rejection, request.method(), request.headers())
    }

    /// The answer to a request with this method and these headers.
    pub(crate) fn respond_to(&self, rejection: Rejection, method: &Method, headers: &HeaderMap) -> Response<Bytes> {
        trace(&rejection);
        let mut response = match grpc_content_type(headers) {
            Some(content_type) => grpc_response(&rejection, content_type),
            None => self.http_response(&rejection, method),
        };
        response.extensions_mut().insert(rejection);
        response
    }

    fn http_response(&self, rejection: &Rejection, method: &Method) -> Response<Bytes> {
        let (content_type, body) = catch_unwind(AssertUnwindSafe(|| self.body.body(rejection))).unwrap_or_else(|_| {
            #[cfg(feature = "tracing")]
            tracing::error!("the application's rejection body panicked; the default was sent");
            default_body(rejection)
        });
        // The length that a GET would have; a HEAD has the headers of one, and no body (RFC 9110 section 9.3.2).
        let length = HeaderValue::from(body.len());
        let mut response = Response::new(if method == Method::HEAD { Bytes::new() } else { body });
        *response.status_mut() = rejection.kind.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, content_type);
        headers.insert(CONTENT_LENGTH, length);
        if rejection.kind.challenges() {
            headers.insert(WWW_AUTHENTICATE, self.challenge(rejection));
        }
        if rejection.kind == RejectionKind::Unavailable {
            headers.insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        }
        response
    }

    /// RFC 6750 section 3: the scheme, then comma-separated parameters.
    pub(crate) fn challenge(&self, rejection: &Rejection) -> HeaderValue {
        let mut text = format!("Bearer realm=\"{}\"", self.realm);
        if let Some(error) = rejection.kind.challenge_error() {
            text.push_str(", error=\"");
            text.push_str(error);
            text.push('"');
        }
        if let Some(scope) = &rejection.scope {
            text.push_str(", scope=\"");
            text.push_str(scope);
            text.push('"');
        }
        // Realm and scopes were checked when they were configured.
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("Bearer"))
    }
}

impl fmt::Debug for Rejections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejections").field("realm", &self.realm).finish_non_exhaustive()
    }
}

/// The content type of the answer, if the request is gRPC or gRPC-Web.
fn grpc_content_type(headers: &HeaderMap) -> Option<HeaderValue> {
    let content_type = headers.get(CONTENT_TYPE)?.as_bytes();
    if content_type.starts_with(b"application/grpc-web") {
        Some(HeaderValue::from_static("application/grpc-web+proto"))
    } else if content_type.starts_with(b"application/grpc") {
        Some(HeaderValue::from_static("application/grpc"))
    } else {
        None
    }
}

/// Trailers-only: the status stands in the headers and there is no body.
fn grpc_response(rejection: &Rejection, content_type: HeaderValue) -> Response<Bytes> {
    const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
    const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(rejection.kind.grpc_code())));
    headers.insert(GRPC_MESSAGE, HeaderValue::from_static(rejection.kind.code()));
    response
}

/// A client's fault is everyday; ours is not.
fn trace(rejection: &Rejection) {
    #[cfg(feature = "tracing")]
    {
        use std::error::Error as _;

        let cause = rejection.cause.as_deref().map(tracing::field::display);
        let source = rejection.cause.as_deref().and_then(|cause| cause.source()).map(tracing::field::display);
        match rejection.kind {
            RejectionKind::Unavailable => tracing::warn!(cause, source, "request refused: it cannot be checked now"),
            RejectionKind::Internal => tracing::error!(cause, source, "request refused: internal fault"),
            kind => tracing::debug!(?kind, cause, "request refused"),
        }
    }
    #[cfg(not(feature = "tracing"))]
    let _ = rejection;
}
