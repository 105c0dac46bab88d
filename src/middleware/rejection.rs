//! Rejections: **one** table from the kind of a rejection to the response over HTTP and gRPC.
//!
//! [`RejectionKind`] has the table.

use std::{error::Error as StdError, fmt, sync::Arc};

use http::{Method, StatusCode};

use crate::{
    error::{Error, Fault},
    jwt::Scope,
};

/// A request that is not passed on, and the reason.
///
/// Each response that rejects a request has it in its extensions, for layers outside that log or
/// count. A handler can return one, too: [`AuthService`](super::AuthService) answers it as one of
/// its own.
#[derive(Clone, Debug)]
pub struct Rejection {
    kind: RejectionKind,
    cause: Option<Arc<Error>>,
    scope: Option<Arc<str>>,
    allowed: &'static [Method],
    /// A layer has made the response for it: layers outside leave that as it is.
    is_rendered: bool,
}

/// The kinds of [`Rejection`], which decide the response.
///
/// The layers have these kinds:
///
/// | kind | HTTP | `WWW-Authenticate: Bearer` with | gRPC |
/// |--|--|--|--|
/// | [`NoCredentials`] | 401 | `realm` | 16 |
/// | [`InvalidRequest`] | 400 | `realm`, `error="invalid_request"` | 16 |
/// | [`InvalidToken`] | 401 | `realm`, `error="invalid_token"` | 16 |
/// | [`InsufficientScope`] | 403 | `realm`, `error="insufficient_scope"`, `scope` | 7 |
/// | [`Unavailable`] | 503, `Retry-After` | absent | 14 |
/// | [`Internal`] | 500 | absent | 13 |
///
/// The [`endpoints`](crate::endpoints) have these beside:
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
///
/// Status, codes and headers are those of RFC 6750 section 3 and RFC 6749 section 5.2. gRPC
/// clients would take a 400 for INTERNAL, hence 16 for a malformed credential. The response to
/// every bad token is the same to the byte. The cause goes to the log and, as a [`Rejection`],
/// into the response's extensions, never to the client.
///
/// [`NoCredentials`]: Self::NoCredentials
/// [`InvalidRequest`]: Self::InvalidRequest
/// [`InvalidToken`]: Self::InvalidToken
/// [`InsufficientScope`]: Self::InsufficientScope
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
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum RejectionKind {
    /// The request carries no bearer credential.
    NoCredentials,
    /// The credential is malformed, or there is more than one.
    InvalidRequest,
    /// The token is no good, for whatever reason.
    InvalidToken,
    /// The token is good, but does not allow this request.
    ///
    /// The challenge names the scope where a scope is missing. It names none where a rule of the
    /// application is not met, such as a role. RFC 6750 section 3.1 has one code for both: "higher
    /// privileges than provided by the access token".
    InsufficientScope,
    /// The store could not be asked. Nothing is known about the token.
    Unavailable,
    /// The application or its configuration failed.
    Internal,
    /// A user name or password is wrong, or the user may not log in.
    InvalidCredentials,
    /// A refresh token is no good.
    InvalidGrant,
    /// A field or parameter of the request is missing, repeated or malformed.
    InvalidParameter,
    /// The resource does not exist, or belongs to another user.
    NotFound,
    /// The endpoint does not answer this method.
    MethodNotAllowed,
    /// The body did not arrive in time.
    RequestTimeout,
    /// The body is too large.
    PayloadTooLarge,
    /// The body is neither a form nor JSON.
    UnsupportedMediaType,
}

impl Rejection {
    /// Returns a rejection of this kind.
    #[must_use]
    pub fn new(kind: RejectionKind) -> Self {
        Self { kind, cause: None, scope: None, allowed: &[], is_rendered: false }
    }

    /// Returns the rejection of a good token that does not allow this request: 403.
    ///
    /// The kind is [`RejectionKind::InsufficientScope`], without a scope.
    #[must_use]
    pub fn forbidden() -> Self {
        Self::new(RejectionKind::InsufficientScope)
    }

    /// Returns the rejection of a good token that lacks a scope: 403, with a challenge that names
    /// it.
    ///
    /// `required` is a space-delimited list of scope tokens (RFC 6749 section 3.3). A challenge
    /// cannot carry any other text, so it names none then.
    #[must_use]
    pub fn insufficient_scope(required: impl AsRef<str>) -> Self {
        let scope = Scope::parse(required.as_ref()).filter(|scope| !scope.is_empty());
        Self { scope: scope.map(|scope| Arc::from(scope.as_str())), ..Self::forbidden() }
    }

    /// Returns the same for a scope that was checked when the layer was configured.
    pub(super) fn lacks_scope(required: Arc<str>) -> Self {
        Self { scope: Some(required), ..Self::forbidden() }
    }

    /// Returns the rejection of a method that the resource does not answer: 405, with `Allow`.
    ///
    /// `allowed` has the methods that it answers. There may be none, as for
    /// [`new`](Self::new): the field is then empty (RFC 9110 section 10.2.1).
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

    /// Returns this rejection with a cause, for the log and for layers outside. The client does not
    /// learn it.
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

    /// Returns the kind. The client learns no more than that.
    #[must_use]
    pub fn kind(&self) -> RejectionKind {
        self.kind
    }

    /// Returns the cause. The client does not learn it.
    #[must_use]
    pub fn cause(&self) -> Option<&Error> {
        self.cause.as_deref()
    }

    #[cfg(feature = "tonic")]
    pub(crate) fn into_cause(self) -> Option<Arc<Error>> {
        self.cause
    }

    /// Returns the scope that the request needs, if it lacks one.
    #[must_use]
    pub fn required_scope(&self) -> Option<&str> {
        self.scope.as_deref()
    }

    /// Returns the methods that the endpoint answers, if it does not answer the request's.
    #[must_use]
    pub fn allowed_methods(&self) -> &[Method] {
        self.allowed
    }

    pub(super) fn is_rendered(&self) -> bool {
        self.is_rendered
    }

    pub(super) fn rendered(self, is_rendered: bool) -> Self {
        Self { is_rendered, ..self }
    }
}

/// Takes the kind from the error: a bad token is [`RejectionKind::InvalidToken`], a failing store
/// [`RejectionKind::Unavailable`], and an id that no token can have
/// [`RejectionKind::InvalidParameter`]. A login that failed is
/// [`RejectionKind::InvalidCredentials`]. Anything else is [`RejectionKind::Internal`].
impl From<Error> for Rejection {
    fn from(error: Error) -> Self {
        let kind = match error.fault() {
            Fault::Client => match error {
                Error::InvalidId { .. } => RejectionKind::InvalidParameter,
                Error::InvalidCredentials | Error::LoginSuperseded => RejectionKind::InvalidCredentials,
                _ => RejectionKind::InvalidToken,
            },
            Fault::Store => RejectionKind::Unavailable,
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
            Self::InsufficientScope => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::RequestTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Returns the `error` parameter of the challenge (RFC 6750 section 3.1). There is none where
    /// the client sent no bearer credential, or where a better one would not help.
    #[must_use]
    pub fn challenge_error(self) -> Option<&'static str> {
        match self {
            Self::InvalidRequest => Some("invalid_request"),
            Self::InvalidToken => Some("invalid_token"),
            Self::InsufficientScope => Some("insufficient_scope"),
            _ => None,
        }
    }

    /// Returns the member `error` of the default body, and the message over gRPC.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::NoCredentials => "unauthorized",
            Self::InvalidToken => "invalid_token",
            Self::InsufficientScope => "insufficient_scope",
            Self::InvalidCredentials | Self::InvalidGrant => "invalid_grant",
            Self::NotFound => "not_found",
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
            Self::InsufficientScope => 7,
            Self::PayloadTooLarge => 8,
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

    /// Returns `true` if the response asks for a (better) credential.
    pub(super) fn challenges(self) -> bool {
        self.challenge_error().is_some() || matches!(self, Self::NoCredentials | Self::InvalidCredentials)
    }
}
