//! The rejections of requests. The table of [`RejectionKind`] defines their responses over HTTP and
//! gRPC.

use std::{error::Error as StdError, fmt, num::NonZeroU32, sync::Arc, time::Duration};

use http::{Method, StatusCode};

use crate::{
    error::{Error, Fault},
    jwt::Scope,
    observe::{ChallengeError, Observation, SharedObserver},
};

/// The reason for the rejection of a request. The layer makes the response from it.
///
/// The layer adds the rejection to the response's extensions, for outer layers that log rejections.
/// A handler can return a rejection too: then the [`AuthService`](super::AuthService) around it
/// makes the response.
#[derive(Clone, Debug)]
pub struct Rejection {
    kind: RejectionKind,
    cause: Option<Arc<Error>>,
    scope: Option<Arc<str>>,
    allowed: &'static [Method],
    /// The seconds until the client may try again, if the rejection names them.
    retry_after: Option<NonZeroU32>,
    /// True if a layer has made the response. Outer layers then do not change it.
    is_rendered: bool,
}

/// The kind of a [`Rejection`]. The kind determines the response.
///
/// The layers use these kinds:
///
/// | kind | HTTP | `WWW-Authenticate: Bearer` with | gRPC |
/// |--|--|--|--|
/// | [`NoCredentials`] | 401 | `realm` | 16 |
/// | [`InvalidRequest`] | 400 | `realm`, `error="invalid_request"` | 16 |
/// | [`InvalidToken`] | 401 | `realm`, `error="invalid_token"` | 16 |
/// | [`InsufficientScope`] | 403 | `realm`, `error="insufficient_scope"`, `scope` | 7 |
/// | [`CrossSite`] | 403 | absent | 7 |
/// | [`Unavailable`] | 503, `Retry-After` | absent | 14 |
/// | [`Internal`] | 500 | absent | 13 |
///
/// The [`endpoints`](crate::endpoints) also use these kinds:
///
/// | kind | HTTP | `error` in the body | gRPC |
/// |--|--|--|--|
/// | [`InvalidCredentials`] | 401, challenge with `realm` | `invalid_grant` | 16 |
/// | [`InvalidGrant`] | 400 | `invalid_grant` | 16 |
/// | [`InvalidParameter`] | 400 | `invalid_request` | 3 |
/// | [`NotFound`] | 404 | `not_found` | 5 |
/// | [`MethodNotAllowed`] | 405, `Allow` | `invalid_request` | 12 |
/// | [`RequestTimeout`] | 408 | `invalid_request` | 4 |
/// | [`PayloadTooLarge`] | 413 | `invalid_request` | 8 |
/// | [`UnsupportedMediaType`] | 415 | `invalid_request` | 3 |
/// | [`TooManyRequests`] | 429, `Retry-After` | `too_many_requests` | 8 |
///
/// [`AuthLayer::resource`](super::AuthLayer::resource) adds `resource_metadata` to the challenges
/// of the layers, and may add `scope` to the challenge of a 401.
///
/// Status, codes and headers follow RFC 6750 section 3 and RFC 6749 section 5.2. Over gRPC a
/// malformed credential gets 16, because gRPC clients map an HTTP 400 to INTERNAL.
///
/// The responses to all bad tokens are the same. The layer writes the cause to the log and into the
/// response's extensions, but never sends it to the client.
///
/// [`NoCredentials`]: Self::NoCredentials
/// [`InvalidRequest`]: Self::InvalidRequest
/// [`InvalidToken`]: Self::InvalidToken
/// [`InsufficientScope`]: Self::InsufficientScope
/// [`CrossSite`]: Self::CrossSite
/// [`Unavailable`]: Self::Unavailable
/// [`Internal`]: Self::Internal
/// [`InvalidCredentials`]: Self::InvalidCredentials
/// [`InvalidGrant`]: Self::InvalidGrant
/// [`InvalidParameter`]: Self::InvalidParameter
/// [`NotFound`]: Self::NotFound
/// [`MethodNotAllowed`]: Self::MethodNotAllowed
/// [`RequestTimeout`]: Self::RequestTimeout
/// [`PayloadTooLarge`]: Self::PayloadTooLarge
/// [`UnsupportedMediaType`]: Self::UnsupportedMediaType
/// [`TooManyRequests`]: Self::TooManyRequests
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum RejectionKind {
    /// The request has no bearer credential.
    NoCredentials,
    /// The credential is malformed, or the request has more than one.
    InvalidRequest,
    /// The token is refused, for any reason.
    InvalidToken,
    /// The token is valid, but does not allow this request.
    ///
    /// If a scope is missing, the challenge names the required scope. If the application's rule
    /// refused the request, for example for a missing role, the challenge names no scope. RFC 6750
    /// section 3.1 has one code for both.
    InsufficientScope,
    /// Another site may have caused the request (CSRF). The token was not checked. See
    /// [`AuthLayerBuilder::allow_cookie`](super::AuthLayerBuilder::allow_cookie).
    CrossSite,
    /// The store or another issuer's key server did not answer, or the node is overloaded. The
    /// layer does not know if the token is valid.
    Unavailable,
    /// The application or its configuration failed.
    Internal,
    /// The user name or the password is wrong, or the user may not log in.
    InvalidCredentials,
    /// The refresh token is refused.
    InvalidGrant,
    /// A field or parameter of the request is missing, repeated or malformed.
    InvalidParameter,
    /// The resource does not exist, or belongs to another user.
    NotFound,
    /// The endpoint does not support this method.
    MethodNotAllowed,
    /// The body did not arrive in time.
    RequestTimeout,
    /// The body is too large.
    PayloadTooLarge,
    /// The body is neither a form nor JSON.
    UnsupportedMediaType,
    /// The client or the user has made too many attempts (RFC 6585 section 4).
    TooManyRequests,
}

impl Rejection {
    /// Returns a rejection of this kind.
    #[must_use]
    pub fn new(kind: RejectionKind) -> Self {
        Self { kind, cause: None, scope: None, allowed: &[], retry_after: None, is_rendered: false }
    }

    /// Returns the rejection of a valid token that does not allow the request: 403.
    ///
    /// The kind is [`RejectionKind::InsufficientScope`], without a scope.
    #[must_use]
    pub fn forbidden() -> Self {
        Self::new(RejectionKind::InsufficientScope)
    }

    /// Returns the rejection of a valid token that lacks a scope: 403. The challenge names the
    /// scope.
    ///
    /// `required` is a space-delimited list of scope tokens (RFC 6749 section 3.3). For any other
    /// text, the challenge names no scope.
    #[must_use]
    pub fn insufficient_scope(required: impl AsRef<str>) -> Self {
        let scope = Scope::parse(required.as_ref()).filter(|scope| !scope.is_empty());
        Self { scope: scope.map(|scope| Arc::from(scope.as_str())), ..Self::forbidden() }
    }

    /// Returns the same as [`insufficient_scope`](Self::insufficient_scope), for a scope that the
    /// builder of the layer has validated.
    pub(super) fn lacks_scope(required: Arc<str>) -> Self {
        Self { scope: Some(required), ..Self::forbidden() }
    }

    /// Returns the rejection of a method that the resource does not support: 405, with `Allow`.
    ///
    /// `allowed` lists the supported methods. If the list is empty, `Allow` is empty too (RFC 9110
    /// section 10.2.1). A rejection made by [`new`](Self::new) has an empty list.
    ///
    /// ```
    /// use http::{Method, Response};
    /// use tower_bearer::middleware::Rejection;
    ///
    /// let rejection = Rejection::method_not_allowed(&[Method::GET, Method::HEAD]);
    /// let response: Response<bytes::Bytes> = rejection.into_response();
    /// assert_eq!(response.headers()["allow"], "GET, HEAD");
    /// ```
    #[must_use]
    pub fn method_not_allowed(allowed: &'static [Method]) -> Self {
        Self { allowed, ..Self::new(RejectionKind::MethodNotAllowed) }
    }

    /// Returns the rejection of a client that has made too many attempts: 429, with `Retry-After`.
    ///
    /// The header has whole seconds, rounded up, and at least 1. A rejection made by
    /// [`new`](Self::new) has `Retry-After: 1`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use http::Response;
    /// use tower_bearer::middleware::Rejection;
    ///
    /// let rejection = Rejection::too_many_requests(Duration::from_millis(59_001));
    /// let response: Response<bytes::Bytes> = rejection.into_response();
    /// assert_eq!(response.status(), 429);
    /// assert_eq!(response.headers()["retry-after"], "60");
    /// ```
    #[must_use]
    pub fn too_many_requests(retry_after: Duration) -> Self {
        let seconds = retry_after.as_secs().saturating_add(u64::from(retry_after.subsec_nanos() > 0));
        let seconds = u32::try_from(seconds).unwrap_or(u32::MAX);
        let retry_after = Some(NonZeroU32::new(seconds).unwrap_or(NonZeroU32::MIN));
        Self { retry_after, ..Self::new(RejectionKind::TooManyRequests) }
    }

    /// Adds a cause, for the log and for outer layers. The client does not get the cause.
    ///
    /// ```
    /// use tower_bearer::{Error, middleware::{Rejection, RejectionKind}};
    ///
    /// fn not_found(error: Error) -> Rejection {
    ///     Rejection::new(RejectionKind::NotFound).with_cause(error)
    /// }
    /// # assert!(not_found(Error::Signing).cause().is_some());
    /// ```
    #[must_use]
    pub fn with_cause(self, cause: impl Into<Error>) -> Self {
        Self { cause: Some(Arc::new(cause.into())), ..self }
    }

    /// Returns the kind, which determines the response.
    #[must_use]
    pub fn kind(&self) -> RejectionKind {
        self.kind
    }

    /// Returns the cause, which the client does not get.
    #[must_use]
    pub fn cause(&self) -> Option<&Error> {
        self.cause.as_deref()
    }

    #[cfg(feature = "tonic")]
    pub(crate) fn into_cause(self) -> Option<Arc<Error>> {
        self.cause
    }

    /// Returns the required scope, if the rejection names one.
    #[must_use]
    pub fn required_scope(&self) -> Option<&str> {
        self.scope.as_deref()
    }

    /// Returns the methods that the resource supports, for [`RejectionKind::MethodNotAllowed`].
    #[must_use]
    pub fn allowed_methods(&self) -> &[Method] {
        self.allowed
    }

    /// Returns the time until the client may try again, for a rejection by
    /// [`too_many_requests`](Self::too_many_requests).
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after.map(|seconds| Duration::from_secs(seconds.get().into()))
    }

    /// Reports a missing or bad credential, or a 403, to the observer. Ignores other kinds.
    pub(super) fn report(&self, observer: &SharedObserver) {
        let observation = match self.kind {
            RejectionKind::NoCredentials => Observation::Challenge { error: ChallengeError::None },
            RejectionKind::InvalidRequest => Observation::Challenge { error: ChallengeError::InvalidRequest },
            RejectionKind::InvalidToken => Observation::Challenge { error: ChallengeError::InvalidToken },
            RejectionKind::InsufficientScope | RejectionKind::CrossSite => Observation::Forbid,
            _ => return,
        };
        observer.observe(|| observation);
    }

    pub(super) fn is_rendered(&self) -> bool {
        self.is_rendered
    }

    pub(super) fn rendered(self, is_rendered: bool) -> Self {
        Self { is_rendered, ..self }
    }
}

/// Derives the kind from the error:
///
/// | error | kind |
/// |--|--|
/// | [`Error::Token`] | [`InvalidToken`](RejectionKind::InvalidToken) |
/// | [`Error::InvalidId`] | [`InvalidParameter`](RejectionKind::InvalidParameter) |
/// | a refused login | [`InvalidCredentials`](RejectionKind::InvalidCredentials) |
/// | [fault](Error::fault) `Store` or `Issuer` | [`Unavailable`](RejectionKind::Unavailable) |
/// | any other | [`Internal`](RejectionKind::Internal) |
impl From<Error> for Rejection {
    fn from(error: Error) -> Self {
        let kind = match error.fault() {
            Fault::Client => match error {
                Error::InvalidId { .. } => RejectionKind::InvalidParameter,
                Error::InvalidCredentials | Error::LoginSuperseded => RejectionKind::InvalidCredentials,
                _ => RejectionKind::InvalidToken,
            },
            Fault::Store | Fault::Issuer => RejectionKind::Unavailable,
            Fault::Internal => RejectionKind::Internal,
        };
        Self::new(kind).with_cause(error)
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the request was rejected: {}", self.kind)
    }
}

impl StdError for Rejection {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_deref().map(|cause| cause as &(dyn StdError + 'static))
    }
}

/// Writes the [`code`](RejectionKind::code).
impl fmt::Display for RejectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.code())
    }
}

impl RejectionKind {
    /// Returns the HTTP status.
    #[must_use]
    pub fn status(self) -> StatusCode {
        match self {
            Self::NoCredentials | Self::InvalidToken | Self::InvalidCredentials => StatusCode::UNAUTHORIZED,
            Self::InvalidRequest | Self::InvalidGrant | Self::InvalidParameter => StatusCode::BAD_REQUEST,
            Self::InsufficientScope | Self::CrossSite => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooManyRequests => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Returns the `error` parameter of the challenge (RFC 6750 section 3.1). Returns `None` for a
    /// challenge without this parameter, and for a response without a challenge.
    #[must_use]
    pub fn challenge_error(self) -> Option<&'static str> {
        match self {
            Self::InvalidRequest => Some("invalid_request"),
            Self::InvalidToken => Some("invalid_token"),
            Self::InsufficientScope => Some("insufficient_scope"),
            _ => None,
        }
    }

    /// Returns the `error` member of the default body, which is also the message over gRPC.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::NoCredentials => "unauthorized",
            Self::InvalidToken => "invalid_token",
            Self::InsufficientScope => "insufficient_scope",
            Self::CrossSite => "forbidden",
            Self::InvalidCredentials | Self::InvalidGrant => "invalid_grant",
            Self::NotFound => "not_found",
            Self::TooManyRequests => "too_many_requests",
            Self::InvalidRequest
            | Self::InvalidParameter
            | Self::MethodNotAllowed
            | Self::RequestTimeout
            | Self::PayloadTooLarge
            | Self::UnsupportedMediaType => "invalid_request",
            Self::Unavailable => "temporarily_unavailable",
            Self::Internal => "server_error",
        }
    }

    /// Returns the gRPC status code.
    #[must_use]
    pub fn grpc_code(self) -> u8 {
        match self {
            Self::InvalidParameter | Self::UnsupportedMediaType => 3,
            Self::RequestTimeout => 4,
            Self::NotFound => 5,
            Self::InsufficientScope | Self::CrossSite => 7,
            Self::PayloadTooLarge | Self::TooManyRequests => 8,
            Self::MethodNotAllowed => 12,
            Self::Internal => 13,
            Self::Unavailable => 14,
            Self::NoCredentials
            | Self::InvalidRequest
            | Self::InvalidToken
            | Self::InvalidCredentials
            | Self::InvalidGrant => 16,
        }
    }

    /// Returns `true` if the credential is malformed or the token is refused.
    pub(super) fn blames_credential(self) -> bool {
        matches!(self, Self::InvalidRequest | Self::InvalidToken)
    }

    /// Returns `true` if the response has a challenge.
    pub(super) fn challenges(self) -> bool {
        self.challenge_error().is_some() || matches!(self, Self::NoCredentials | Self::InvalidCredentials)
    }
}
