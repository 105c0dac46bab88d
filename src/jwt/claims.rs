//! The claims set (RFC 7519 section 4): what it holds, and how it is written.

use std::{
    fmt,
    ops::Deref,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use serde::{
    Deserialize, Serialize, Serializer,
    de::{self, DeserializeOwned, Deserializer},
    ser::{self, SerializeMap},
};
use serde_json::Value;

use super::{Scope, json::Name, members::Members};
use crate::{
    clock::Timestamp,
    error::{ClaimProblem, TokenError},
    ids::{SessionId, Subject, TokenId},
};

/// Names that the crate writes and reads itself: custom claims cannot have them.
pub(super) const RESERVED: [&str; 14] =
    ["iss", "sub", "aud", "exp", "iat", "nbf", "jti", "type", "sid", "gen", "scope", "client_id", "atl", "cnf"];

/// The claims of a token that was verified: its signature, times, issuer, audience and kind, and with
/// [`TokenService`](crate::TokenService) also that it is not revoked.
///
/// It is a cheap handle, and it cannot be made but by verification: whoever finds it in a request's extensions can rely
/// on it. The registered claims are read by the methods of [`JwtClaims`], the application's own through
/// [`custom`](JwtClaims::custom) or directly:
///
/// ```
/// # use tower_bearer::jwt::Claims;
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct MyClaims {
///     role: String,
/// }
///
/// fn may_delete(claims: &Claims<MyClaims>) -> bool {
///     claims.role == "owner" && claims.scope().contains("write")
/// }
/// ```
pub struct Claims<C = NoClaims>(Arc<Shared<C>>);

/// What all clones share.
struct Shared<C> {
    claims: JwtClaims<C>,
    note: AtomicU64,
}

impl<C> Claims<C> {
    /// The bytes that they take, but for those of their texts.
    pub(crate) const BYTES: usize = size_of::<Shared<C>>() + 2 * size_of::<usize>();

    pub(super) fn verified(claims: JwtClaims<C>) -> Self {
        Self(Arc::new(Shared { claims, note: AtomicU64::new(0) }))
    }

    /// What whoever checks these claims has noted to check them faster the next time; 0 at first. It stands here because these bytes are in
    /// reach of the core that serves the request anyway.
    pub(crate) fn note(&self) -> &AtomicU64 {
        &self.0.note
    }
}

impl<C> Clone for Claims<C> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<C> Deref for Claims<C> {
    type Target = JwtClaims<C>;

    fn deref(&self) -> &JwtClaims<C> {
        &self.0.claims
    }
}

impl<C> fmt::Debug for Claims<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.claims.fmt(f)
    }
}

impl<C: Serialize> Serialize for Claims<C> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.claims.serialize(serializer)
    }
}

/// The application has no claims of its own. Members that a token has beyond the registered ones are ignored.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct NoClaims {}

/// What a token is for. An access token never passes for a refresh token, nor the other way round.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum TokenType {
    /// Opens protected routes.
    Access,
    /// Is exchanged for new tokens, and opens nothing else.
    Refresh,
}

impl TokenType {
    /// As the `type` claim spells it: `access` or `refresh`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Refresh => "refresh",
        }
    }
}

impl Serialize for TokenType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for TokenType {
    /// From its text alone: a derived implementation would take `{"refresh":null}` too.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match &*Name::deserialize(deserializer)?.0 {
            "access" => Ok(Self::Access),
            "refresh" => Ok(Self::Refresh),
            _ => Err(de::Error::custom("neither access nor refresh")),
        }
    }
}

impl fmt::Display for TokenType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A claims set: the registered claims and the application's own (`C`).
///
/// Make one to sign it with [`encode_jwt`](super::encode_jwt). Having one proves nothing: a verified one is a [`Claims`].
/// It cannot be made without `exp`, `iat`, `sub`, `jti` and `type`.
pub struct JwtClaims<C = NoClaims> {
    pub(super) issuer: Option<String>,
    pub(super) subject: Subject,
    pub(super) audience: Vec<String>,
    pub(super) expires_at: Timestamp,
    pub(super) issued_at: Timestamp,
    pub(super) not_before: Option<Timestamp>,
    pub(super) token_id: TokenId,
    pub(super) token_type: Option<TokenType>,
    pub(super) session_id: Option<SessionId>,
    pub(super) generation: Option<u64>,
    pub(super) scope: Scope,
    pub(super) client_id: Option<String>,
    pub(super) access_lifetime: Option<Duration>,
    pub(super) custom: C,
}

impl<C> JwtClaims<C> {
    /// The claims that every token has. Times are cut to whole seconds.
    pub fn new(
        subject: impl Into<Subject>,
        token_id: impl Into<TokenId>,
        token_type: TokenType,
        issued_at: Timestamp,
        lifetime: Duration,
        custom: C,
    ) -> Self {
        let issued_at = issued_at.floor_to_secs();
        Self {
            issuer: None,
            subject: subject.into(),
            audience: Vec::new(),
            expires_at: issued_at.saturating_add(lifetime).floor_to_secs(),
            issued_at,
            not_before: None,
            token_id: token_id.into(),
            token_type: Some(token_type),
            session_id: None,
            generation: None,
            scope: Scope::default(),
            client_id: None,
            access_lifetime: None,
            custom,
        }
    }

    /// Sets `iss`.
    #[must_use]
    pub fn with_issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// Sets `aud`: one is written as a string, several as an array.
    #[must_use]
    pub fn with_audience(mut self, audience: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.audience = audience.into_iter().map(Into::into).collect();
        self
    }

    /// Sets `exp`, cut to whole seconds.
    #[must_use]
    pub fn with_expiry(mut self, expires_at: Timestamp) -> Self {
        self.expires_at = expires_at.floor_to_secs();
        self
    }

    /// Sets `nbf`, cut to whole seconds.
    #[must_use]
    pub fn with_not_before(mut self, not_before: Timestamp) -> Self {
        self.not_before = Some(not_before.floor_to_secs());
        self
    }

    /// Sets `sid` and `gen`: the session, and the user's generation in which it was opened.
    #[must_use]
    pub fn with_session(mut self, session_id: impl Into<SessionId>, generation: u64) -> Self {
        self.session_id = Some(session_id.into());
        self.generation = Some(generation);
        self
    }

    /// Sets `scope`; the empty scope is not written.
    #[must_use]
    pub fn with_scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Sets `client_id` (RFC 9068 section 2.2).
    #[must_use]
    pub fn with_client_id(mut self, client_id: impl Into<String>) -> Self {
        self.client_id = Some(client_id.into());
        self
    }

    /// Sets `atl`, cut to whole seconds: how long the access tokens live that a refresh token is
    /// exchanged for.
    #[must_use]
    pub fn with_access_lifetime(mut self, lifetime: Duration) -> Self {
        self.access_lifetime = Some(Duration::from_secs(lifetime.as_secs()));
        self
    }

    /// `iss`: who issued the token.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// `sub`: whom it speaks of.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// `aud`: for whom it is.
    #[must_use]
    pub fn audience(&self) -> &[String] {
        &self.audience
    }

    /// `exp`: the moment from which it is not valid.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// `iat`: when it was issued.
    #[must_use]
    pub fn issued_at(&self) -> Timestamp {
        self.issued_at
    }

    /// `nbf`: the moment before which it is not valid.
    #[must_use]
    pub fn not_before(&self) -> Option<Timestamp> {
        self.not_before
    }

    /// `jti`: the token's own id.
    #[must_use]
    pub fn token_id(&self) -> &TokenId {
        &self.token_id
    }

    /// `type`. Only a token of another issuer may lack it.
    #[must_use]
    pub fn token_type(&self) -> Option<TokenType> {
        self.token_type
    }

    /// `sid`: the session that the token belongs to.
    #[must_use]
    pub fn session_id(&self) -> Option<&SessionId> {
        self.session_id.as_ref()
    }

    /// `gen`: the user's generation when the session was opened.
    #[must_use]
    pub fn generation(&self) -> Option<u64> {
        self.generation
    }

    /// `scope`: what it allows.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// `client_id`: the client to which it was issued.
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }

    /// `atl`: how long the access tokens live that a refresh token of this crate is exchanged for.
    #[must_use]
    pub fn access_lifetime(&self) -> Option<Duration> {
        self.access_lifetime
    }

    /// The application's own claims.
    #[must_use]
    pub fn custom(&self) -> &C {
        &self.custom
    }
}

impl<C> Deref for JwtClaims<C> {
    type Target = C;

    fn deref(&self) -> &C {
        &self.custom
    }
}

impl<C> fmt::Debug for JwtClaims<C> {
    /// Ids and times. Custom claims are left out: they may be anyone's address.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtClaims")
            .field("subject", &self.subject)
            .field("token_id", &self.token_id)
            .field("token_type", &self.token_type)
            .field("session_id", &self.session_id)
            .field("issued_at", &self.issued_at)
            .field("expires_at", &self.expires_at)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

impl<C: Serialize> Serialize for JwtClaims<C> {
    /// As a JSON object. A custom claim that has a reserved name, or custom claims that are no object, are an error: no
    /// member is ever written twice.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Value::Object(custom) = serde_json::to_value(&self.custom).map_err(ser::Error::custom)? else {
            return Err(ser::Error::custom("custom claims must serialize to an object"));
        };
        if let Some(name) = custom.keys().find(|name| RESERVED.contains(&name.as_str())) {
            return Err(ser::Error::custom(format_args!("custom claims may not have the reserved name `{name}`")));
        }

        let mut map = serializer.serialize_map(None)?;
        let mut member = |name: &str, value: Option<&str>| match value {
            Some(value) => map.serialize_entry(name, value),
            None => Ok(()),
        };
        member("iss", self.issuer())?;
        member("sub", Some(self.subject.as_str()))?;
        member("jti", Some(self.token_id.as_str()))?;
        member("type", self.token_type.map(TokenType::as_str))?;
        member("sid", self.session_id().map(SessionId::as_str))?;
        member("scope", Some(self.scope.as_str()).filter(|scope| !scope.is_empty()))?;
        member("client_id", self.client_id())?;
        match self.audience.as_slice() {
            [] => {}
            [one] => map.serialize_entry("aud", one)?,
            several => map.serialize_entry("aud", several)?,
        }
        map.serialize_entry("iat", &self.issued_at.as_secs())?;
        map.serialize_entry("exp", &self.expires_at.as_secs())?;
        if let Some(not_before) = self.not_before {
            map.serialize_entry("nbf", &not_before.as_secs())?;
        }
        if let Some(generation) = self.generation {
            map.serialize_entry("gen", &generation)?;
        }
        if let Some(lifetime) = self.access_lifetime {
            map.serialize_entry("atl", &lifetime.as_secs())?;
        }
        for (name, value) in &custom {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<C: DeserializeOwned> JwtClaims<C> {
    /// The members of a payload whose signature is good.
    pub(super) fn of(members: Members) -> Result<Self, TokenError> {
        let custom = C::deserialize(Value::Object(members.custom))
            .map_err(|_| TokenError::CustomClaims { claim: None, problem: ClaimProblem::Unreadable })?;
        Ok(Self {
            issuer: members.iss,
            subject: members.sub.ok_or(TokenError::Claims("`sub` is missing"))?.into(),
            audience: members.aud.unwrap_or_default(),
            expires_at: members.exp.ok_or(TokenError::Claims("`exp` is missing"))?,
            issued_at: members.iat.ok_or(TokenError::Claims("`iat` is missing"))?,
            not_before: members.nbf,
            token_id: members.jti.ok_or(TokenError::Claims("`jti` is missing"))?.into(),
            token_type: members.token_type,
            session_id: members.sid.map(SessionId::from),
            generation: members.generation,
            scope: members.scope.unwrap_or_default(),
            client_id: members.client_id,
            access_lifetime: members.access_lifetime,
            custom,
        })
    }
}
