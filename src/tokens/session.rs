//! The parameters of a new session, and its tokens.

use std::{fmt, time::Duration};

use serde::{Serialize, Serializer, ser::SerializeStruct};
use zeroize::Zeroizing;

use super::auth_time::AuthTime;
use crate::{
    clock::Timestamp,
    ids::{SessionId, Subject},
    jwt::{NoClaims, Scope},
};

/// The parameters of a session that the service opens after a successful login.
///
/// ```
/// use tower_bearer::NewSession;
///
/// let session = NewSession::new("42").scope("read write").label("Firefox on Linux");
/// ```
#[derive(Clone)]
pub struct NewSession<C = NoClaims> {
    pub(super) subject: Subject,
    pub(super) custom: C,
    pub(super) scope: String,
    pub(super) label: String,
    pub(super) auth_time: Option<Timestamp>,
    pub(super) access_lifetime: Option<Duration>,
    pub(super) session_lifetime: Option<Duration>,
}

impl NewSession<NoClaims> {
    /// Creates parameters for the user with this id: 1 to 255 bytes without control characters.
    #[must_use]
    pub fn new(subject: impl Into<Subject>) -> Self {
        Self {
            subject: subject.into(),
            custom: NoClaims {},
            scope: String::new(),
            label: String::new(),
            auth_time: None,
            access_lifetime: None,
            session_lifetime: None,
        }
    }
}

impl<C> NewSession<C> {
    /// Sets the application's own claims. Every token of the session contains them, unless
    /// [`on_refresh`](super::TokenServiceBuilder::on_refresh) replaces them.
    #[must_use]
    pub fn claims<D>(self, custom: D) -> NewSession<D> {
        NewSession {
            subject: self.subject,
            custom,
            scope: self.scope,
            label: self.label,
            auth_time: self.auth_time,
            access_lifetime: self.access_lifetime,
            session_lifetime: self.session_lifetime,
        }
    }

    /// Sets the scope of the session's tokens: scope tokens separated by single spaces (RFC 6749
    /// section 3.3). Default: empty.
    #[must_use]
    pub fn scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = scope.into();
        self
    }

    /// Sets the text that lists of sessions show for this session, such as a device. At most 1 KiB.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Sets the time at which the authentication began. Get it from
    /// [`TokenService::auth_time`](super::TokenService::auth_time) **before** you check the
    /// password. The login endpoint of this crate does so.
    ///
    /// If all of the user's sessions were revoked after this time, the login fails with
    /// [`Error::LoginSuperseded`](crate::Error::LoginSuperseded). So a login that checked the old
    /// password just before a password change does not succeed.
    #[must_use]
    pub fn auth_time(mut self, auth_time: AuthTime) -> Self {
        self.auth_time = Some(auth_time.timestamp());
        self
    }

    /// Sets the lifetime of the session's access tokens until the session ends. Whole seconds, at
    /// most [`max_access_lifetime`](super::TokenServiceBuilder::max_access_lifetime). Default: the
    /// configured [`access_lifetime`](super::TokenServiceBuilder::access_lifetime).
    ///
    /// The log keeps revocations only as long as the configured lifetimes require. If this lifetime
    /// is longer than the configured lifetimes of all nodes, the nodes ask the store about the
    /// session's tokens at each request.
    #[must_use]
    pub fn access_lifetime(mut self, lifetime: Duration) -> Self {
        self.access_lifetime = Some(lifetime);
        self
    }

    /// Sets the lifetime of the session. Whole seconds. Default: the configured
    /// [`session_lifetime`](super::TokenServiceBuilder::session_lifetime). The configured lifetime
    /// also applies if `lifetime` is longer.
    #[must_use]
    pub fn session_lifetime(mut self, lifetime: Duration) -> Self {
        self.session_lifetime = Some(lifetime);
        self
    }
}

impl<C> fmt::Debug for NewSession<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewSession")
            .field("subject", &self.subject)
            .field("scope", &self.scope)
            .field("label", &self.label)
            .finish_non_exhaustive()
    }
}

/// An issued token. `Debug` does not show its text. Dropping the value wipes the text from memory.
#[derive(Clone)]
pub struct IssuedToken {
    pub(super) token: Zeroizing<String>,
    pub(super) expires_at: Timestamp,
    pub(super) now: Timestamp,
    pub(super) scope: Scope,
}

impl IssuedToken {
    /// Returns the token's text, which is a secret.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.token
    }

    /// Returns the token's `exp`.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Returns the token's scope.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Returns the time from the store's answer to the login or refresh until the token's `exp`, in
    /// seconds, rounded down.
    #[must_use]
    pub fn expires_in(&self) -> u64 {
        self.expires_at.saturating_since(self.now).as_secs()
    }
}

impl fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedToken").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// An access token and a refresh token of one session.
///
/// Serializes to a token response (RFC 6749 section 5.1) with the members of `fastcore.security`:
/// `access_token`, `refresh_token`, `token_type` (`"bearer"`), `expires_in`, `access_expires_in`,
/// `refresh_expires_in` (whole seconds) and, if not empty, `scope`. Send the response with
/// `Cache-Control: no-store`.
#[derive(Clone, Debug)]
pub struct TokenPair {
    pub(super) access: IssuedToken,
    pub(super) refresh: IssuedToken,
    pub(super) session_id: SessionId,
}

impl TokenPair {
    /// Returns the access token.
    #[must_use]
    pub fn access(&self) -> &IssuedToken {
        &self.access
    }

    /// Returns the refresh token.
    #[must_use]
    pub fn refresh(&self) -> &IssuedToken {
        &self.refresh
    }

    /// Returns the session's id (`sid`), for listings and revocations. The id is not secret.
    #[must_use]
    pub fn session_id(&self) -> &SessionId {
        &self.session_id
    }

    /// Returns the scope of the tokens.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        self.access.scope()
    }
}

impl Serialize for TokenPair {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let with_scope = !self.scope().is_empty();
        let mut response = serializer.serialize_struct("TokenPair", 6 + usize::from(with_scope))?;
        response.serialize_field("access_token", self.access.as_str())?;
        response.serialize_field("refresh_token", self.refresh.as_str())?;
        response.serialize_field("token_type", "bearer")?;
        response.serialize_field("expires_in", &self.access.expires_in())?;
        response.serialize_field("access_expires_in", &self.access.expires_in())?;
        response.serialize_field("refresh_expires_in", &self.refresh.expires_in())?;
        if with_scope {
            response.serialize_field("scope", self.scope().as_str())?;
        }
        response.end()
    }
}
