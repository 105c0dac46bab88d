//! The claims set (RFC 7519 section 4), and the verified claims in a request's extensions.

use std::{
    any::Any,
    fmt, mem,
    ops::Deref,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Duration,
};

use serde::{
    Deserialize, Serialize, Serializer,
    de::DeserializeOwned,
    ser::{self, SerializeMap},
};
use serde_json::Value;

use super::{
    keys::Algorithm,
    reserved::{REGISTERED, RESERVED},
    token::payload::{self, Payload, RawClaims, Scope, TokenType},
};
use crate::{
    clock::Timestamp,
    error::TokenError,
    ids::{SessionId, Subject, TokenId},
};

/// The claims type of an application without custom claims. It ignores all but the registered
/// claims of a token.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct NoClaims {}

/// A claims set: the registered claims and the application's own (`C`).
///
/// [`encode_jwt`](super::encode_jwt) signs it. A claims set alone proves nothing; the type of
/// verified claims is [`Claims`](super::Claims). Every claims set has `exp`, `iat`, `sub` and
/// `jti`.
#[derive(Clone)]
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
    pub(super) stamp: Option<Box<str>>,
    /// The properties of another issuer's token. `None` for an own token.
    pub(super) external: Option<Box<External>>,
    pub(super) custom: C,
}

/// The properties that only other issuers' tokens have.
#[derive(Clone, Debug)]
pub(crate) struct External {
    /// True if this service can revoke the token by its denylist.
    pub(crate) is_revocable: bool,
    /// The roles from the claims that the issuer's settings name.
    pub(crate) roles: Vec<String>,
    /// True if the token has `iat`.
    pub(crate) has_issued_at: bool,
    /// The name and the algorithm of the key that verified the token.
    pub(crate) key: (Option<Box<str>>, Algorithm),
}

/// An issuer, and the issuer's id of a user. The pair identifies the user among all issuers.
///
/// An issuer never uses a `sub` for two users (RFC 7519 section 4.1.2), but two issuers may both
/// have a user `1`. So compare and store both fields. Type and fields have the names of RFC 9493
/// section 3.2.3.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub struct IssuerSubject<'a> {
    /// The `iss` of the token. Empty if the service issues its own tokens without `iss`.
    pub issuer: &'a str,
    /// The `sub` of the token.
    pub subject: &'a Subject,
}

impl<C> JwtClaims<C> {
    /// Creates a claims set with the claims that every token has. `exp` is `issued_at + lifetime`.
    /// Both times are rounded down to whole seconds.
    pub fn new(
        subject: impl Into<Subject>,
        token_id: TokenId,
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
            token_id,
            token_type: Some(token_type),
            session_id: None,
            generation: None,
            scope: Scope::default(),
            client_id: None,
            access_lifetime: None,
            stamp: None,
            external: None,
            custom,
        }
    }

    /// Sets `iss`.
    #[must_use]
    pub fn with_issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// Sets `aud`: a string for one audience, an array for several. Without an audience, the token
    /// has no `aud`.
    #[must_use]
    pub fn with_audience(mut self, audience: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.audience = audience.into_iter().map(Into::into).collect();
        self
    }

    /// Sets `exp`, rounded down to whole seconds.
    #[must_use]
    pub fn with_expiry(mut self, expires_at: Timestamp) -> Self {
        self.expires_at = expires_at.floor_to_secs();
        self
    }

    /// Sets `nbf`, rounded down to whole seconds.
    #[must_use]
    pub fn with_not_before(mut self, not_before: Timestamp) -> Self {
        self.not_before = Some(not_before.floor_to_secs());
        self
    }

    /// Sets `sid` (the session) and `gen` (the subject's generation when the session was opened).
    #[must_use]
    pub fn with_session(mut self, session_id: SessionId, generation: u64) -> Self {
        self.session_id = Some(session_id);
        self.generation = Some(generation);
        self
    }

    /// Sets `scope`. With an empty scope, the token has no `scope`.
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

    /// Sets `atl`, rounded down to whole seconds. It is the lifetime of each access token that a
    /// client gets for this refresh token.
    #[must_use]
    pub fn with_access_lifetime(mut self, lifetime: Duration) -> Self {
        self.access_lifetime = Some(Duration::from_secs(lifetime.as_secs()));
        self
    }

    /// Sets `tb_stamp`: an opaque text about the subject's last revocation.
    #[must_use]
    pub(crate) fn with_stamp(mut self, stamp: Option<String>) -> Self {
        self.stamp = stamp.map(Into::into);
        self
    }

    /// Replaces the application's claims. The new claims can be of another type.
    #[must_use]
    pub fn with_custom<D>(self, custom: D) -> JwtClaims<D> {
        JwtClaims {
            issuer: self.issuer,
            subject: self.subject,
            audience: self.audience,
            expires_at: self.expires_at,
            issued_at: self.issued_at,
            not_before: self.not_before,
            token_id: self.token_id,
            token_type: self.token_type,
            session_id: self.session_id,
            generation: self.generation,
            scope: self.scope,
            client_id: self.client_id,
            access_lifetime: self.access_lifetime,
            stamp: self.stamp,
            external: self.external,
            custom,
        }
    }

    /// Returns `iss`: the issuer.
    #[must_use]
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// Returns `sub`: the subject. Empty if a token of another issuer has none.
    ///
    /// If a service accepts the tokens of several issuers, use
    /// [`issuer_subject`](Self::issuer_subject) to find a user.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Returns the issuer and the subject, or `None` if the token has no `sub`.
    ///
    /// If the service accepts tokens of several issuers, use the pair as the key of a user, and
    /// never the subject alone:
    ///
    /// ```
    /// use tower_bearer::Claims;
    ///
    /// /// Returns the key of the user in a database with the columns `issuer` and `subject`.
    /// fn user_key(claims: &Claims) -> Option<(String, String)> {
    ///     let user = claims.issuer_subject()?;
    ///     Some((user.issuer.to_owned(), user.subject.to_string()))
    /// }
    /// ```
    #[must_use]
    pub fn issuer_subject(&self) -> Option<IssuerSubject<'_>> {
        let has_subject = !self.subject.as_str().is_empty();
        has_subject.then(|| IssuerSubject { issuer: self.issuer().unwrap_or_default(), subject: &self.subject })
    }

    /// Returns true if another issuer has issued the token: see [`issuers`](crate::issuers). The
    /// store has no session of such a token.
    #[must_use]
    pub fn is_external(&self) -> bool {
        self.external.is_some()
    }

    /// Returns the roles in the claims that the settings of the token's issuer name. Empty for own
    /// tokens, whose roles are custom claims.
    #[must_use]
    pub fn roles(&self) -> &[String] {
        self.external.as_ref().map_or(&[], |external| &external.roles)
    }

    pub(crate) fn external(&self) -> Option<&External> {
        self.external.as_deref()
    }

    /// Returns `aud`: the audience.
    #[must_use]
    pub fn audience(&self) -> &[String] {
        &self.audience
    }

    /// Returns `exp`: the time from which the token is no longer valid.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Returns `iat`: the time of issue. The Unix epoch if a token of another issuer has none.
    #[must_use]
    pub fn issued_at(&self) -> Timestamp {
        self.issued_at
    }

    /// Returns `nbf`: the time before which the token is not valid.
    #[must_use]
    pub fn not_before(&self) -> Option<Timestamp> {
        self.not_before
    }

    /// Returns `jti`: the token's id. Empty if a token of another issuer has none.
    #[must_use]
    pub fn token_id(&self) -> &TokenId {
        &self.token_id
    }

    /// Returns `type`: access or refresh. Only tokens of other issuers can lack the claim.
    #[must_use]
    pub fn token_type(&self) -> Option<TokenType> {
        self.token_type
    }

    /// Returns `sid`: the session that the token belongs to.
    #[must_use]
    pub fn session_id(&self) -> Option<&SessionId> {
        self.session_id.as_ref()
    }

    /// Returns `gen`: the subject's generation when the session was opened.
    #[must_use]
    pub fn generation(&self) -> Option<u64> {
        self.generation
    }

    /// Returns `scope`: the rights of the token.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Returns `client_id`: the client to which the token was issued.
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        self.client_id.as_deref()
    }

    /// Returns `atl`: the lifetime of each access token that a client gets for this refresh token.
    #[must_use]
    pub fn access_lifetime(&self) -> Option<Duration> {
        self.access_lifetime
    }

    /// Returns `tb_stamp`. Validation does not check its value.
    pub(crate) fn stamp(&self) -> Option<&str> {
        self.stamp.as_deref()
    }

    /// Returns the application's claims.
    #[must_use]
    pub fn custom(&self) -> &C {
        &self.custom
    }

    /// Returns true if the token has `iat`. All tokens of this crate have it.
    pub(crate) fn has_issued_at(&self) -> bool {
        self.external.as_ref().is_none_or(|external| external.has_issued_at)
    }

    pub(crate) fn names(&self) -> TokenNames<'_> {
        TokenNames {
            issuer: self.issuer().unwrap_or_default(),
            subject: &self.subject,
            session_id: self.session_id(),
            token_id: &self.token_id,
            generation: self.generation.unwrap_or_default(),
            issued_at: self.issued_at,
            expires_at: self.expires_at,
        }
    }
}

/// The claims of another issuer's token whose names the issuer has chosen.
#[derive(Debug)]
pub(crate) struct Mapped {
    pub(crate) scope: Scope,
    pub(crate) session_id: Option<SessionId>,
    /// The token's id, if the issuer writes it in another claim than `jti`.
    pub(crate) token_id: Option<TokenId>,
    pub(crate) external: External,
}

impl<C> fmt::Debug for JwtClaims<C> {
    /// Shows ids, times and the scope. Leaves out the application's claims, because they may
    /// contain personal data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtClaims")
            .field("subject", &self.subject.as_str())
            .field("token_id", &self.token_id.as_str())
            .field("token_type", &self.token_type)
            .field("session_id", &self.session_id().map(SessionId::as_str))
            .field("issued_at", &self.issued_at)
            .field("expires_at", &self.expires_at)
            .field("scope", &self.scope)
            .finish_non_exhaustive()
    }
}

impl<C: Serialize> Serialize for JwtClaims<C> {
    /// Serializes as a JSON object. Fails if the custom claims do not serialize to an object, or
    /// use a reserved name. Otherwise a member could occur twice.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Value::Object(custom) = serde_json::to_value(&self.custom).map_err(ser::Error::custom)? else {
            return Err(ser::Error::custom("the custom claims do not serialize to an object"));
        };
        let reserved: &[&str] = if self.is_external() { &REGISTERED } else { &RESERVED };
        if let Some(name) = custom.keys().find(|name| reserved.contains(&name.as_str())) {
            return Err(ser::Error::custom(format_args!("the custom claims use the reserved name `{name}`")));
        }

        let mut map = serializer.serialize_map(None)?;
        // The custom claims of another issuer's token already have its `sid` and `scope`.
        let mut member = |name: &str, value: Option<&str>| match value {
            Some(value) if !custom.contains_key(name) => map.serialize_entry(name, value),
            _ => Ok(()),
        };
        let present = |text: &'_ str| !text.is_empty();
        member("iss", self.issuer())?;
        member("sub", Some(self.subject.as_str()).filter(|text| present(text)))?;
        member("jti", Some(self.token_id.as_str()).filter(|text| present(text)))?;
        member("type", self.token_type.map(TokenType::as_str))?;
        member("sid", self.session_id().map(SessionId::as_str))?;
        member("scope", Some(self.scope.as_str()).filter(|scope| !scope.is_empty()))?;
        member("client_id", self.client_id())?;
        member("tb_stamp", self.stamp())?;
        match self.audience.as_slice() {
            [] => {}
            [one] => map.serialize_entry("aud", one)?,
            several => map.serialize_entry("aud", several)?,
        }
        if self.has_issued_at() {
            map.serialize_entry("iat", &self.issued_at.as_secs())?;
        }
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

impl JwtClaims<RawClaims> {
    /// Converts the application's claims to type `C`. [`decode_token`](super::decode_token) returns
    /// claims sets with [`RawClaims`].
    ///
    /// # Errors
    ///
    /// [`TokenError::CustomClaims`] if the application's claims do not fit `C`.
    pub fn parse_custom<C: DeserializeOwned>(mut self) -> Result<JwtClaims<C>, TokenError> {
        let custom = payload::parse_custom(mem::take(&mut self.custom))?;
        Ok(self.with_custom(custom))
    }

    /// Creates the claims set of another issuer's payload, whose signature the caller has verified.
    /// Fails if `exp` is missing.
    pub(super) fn of_external(payload: Payload, mapped: Mapped) -> Result<Self, TokenError> {
        let absent = || Timestamp::default();
        let Mapped { scope, session_id, token_id, external } = mapped;
        Ok(Self {
            issuer: payload.iss,
            subject: payload.sub.unwrap_or_else(|| Subject::new("")),
            audience: payload.aud.unwrap_or_default(),
            expires_at: payload.exp.ok_or(TokenError::Claims("`exp` is missing"))?,
            issued_at: payload.iat.unwrap_or_else(absent),
            not_before: payload.nbf,
            token_id: token_id.or(payload.jti).unwrap_or_else(|| TokenId::new("")),
            token_type: None,
            session_id,
            generation: None,
            scope,
            client_id: None,
            access_lifetime: None,
            stamp: None,
            external: Some(Box::new(external)),
            custom: payload.custom,
        })
    }

    /// Creates the claims set of a payload whose signature was verified. Fails if `sub`, `exp`,
    /// `iat` or `jti` is missing.
    pub(super) fn of(payload: Payload) -> Result<Self, TokenError> {
        Ok(Self {
            issuer: payload.iss,
            subject: payload.sub.ok_or(TokenError::Claims("`sub` is missing"))?,
            audience: payload.aud.unwrap_or_default(),
            expires_at: payload.exp.ok_or(TokenError::Claims("`exp` is missing"))?,
            issued_at: payload.iat.ok_or(TokenError::Claims("`iat` is missing"))?,
            not_before: payload.nbf,
            token_id: payload.jti.ok_or(TokenError::Claims("`jti` is missing"))?,
            token_type: payload.token_type,
            session_id: payload.sid,
            generation: payload.generation,
            scope: payload.scope.unwrap_or_default(),
            client_id: payload.client_id,
            access_lifetime: payload.access_lifetime,
            stamp: payload.stamp,
            external: None,
            custom: payload.custom,
        })
    }
}

/// The claims of a token whose signature, times, issuer, audience and type were verified. A
/// [`TokenService`](crate::TokenService) has also checked that the token is not revoked.
///
/// Clones share one allocation. Only verification creates `Claims`, so a handler can trust the
/// `Claims` in a request's extensions. The methods of [`JwtClaims`] return the registered claims.
/// [`custom`](JwtClaims::custom) returns the application's claims:
///
/// ```
/// # use tower_bearer::jwt::Claims;
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct MyClaims {
///     role: String,
/// }
///
/// fn may_delete(claims: &Claims<MyClaims>) -> bool {
///     claims.custom().role == "owner" && claims.scope().contains("write")
/// }
/// ```
pub struct Claims<C = NoClaims> {
    shared: Arc<Shared<C>>,
    /// A pointer, because most requests have no notes and each copy of the claims moves them.
    notes: Option<Arc<RequestNotes>>,
}

/// The settings that a layer adds for one request. Requests with the same token share the claims,
/// but not these settings.
#[derive(Debug)]
pub(crate) struct RequestNotes {
    /// True if the expiry of the token also cuts the sockets and tasks of the request.
    pub(crate) cut_at_expiry: bool,
    /// Present if the request asks for an upgrade. The flag is true once the handler has made a
    /// `Cutoff`.
    pub(crate) upgrade: Option<Arc<AtomicBool>>,
}

/// The data that all clones of a [`Claims`] share.
struct Shared<C> {
    claims: JwtClaims<C>,
    memo: AtomicU64,
    verifier: OnceLock<Verifier>,
}

/// A handle of the service that verified the claims. This module must not import the service's
/// type.
pub(crate) type Verifier = Arc<dyn Any + Send + Sync>;

/// The claims that determine if a token is revoked or expired.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TokenNames<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) subject: &'a Subject,
    pub(crate) session_id: Option<&'a SessionId>,
    pub(crate) token_id: &'a TokenId,
    pub(crate) generation: u64,
    pub(crate) issued_at: Timestamp,
    pub(crate) expires_at: Timestamp,
}

/// Verified claims with any type of application claims.
pub(crate) trait Admitted: Send + Sync {
    fn names(&self) -> TokenNames<'_>;

    /// Returns the verifier, or `None` if no service verified the claims.
    fn verifier(&self) -> Option<&Verifier>;
}

impl<C: Send + Sync> Admitted for Shared<C> {
    fn names(&self) -> TokenNames<'_> {
        self.claims.names()
    }

    fn verifier(&self) -> Option<&Verifier> {
        self.verifier.get()
    }
}

impl<C> Claims<C> {
    /// The size in bytes of the shared allocation, without the heap data of its claims.
    pub(crate) const BYTES: usize = size_of::<Shared<C>>() + 2 * size_of::<usize>();

    /// Creates the claims of a token that the caller has verified. Handlers rely on the
    /// verification, so no other code may call this.
    pub(crate) fn verified(claims: JwtClaims<C>) -> Self {
        let shared = Shared { claims, memo: AtomicU64::new(0), verifier: OnceLock::new() };
        Self { shared: Arc::new(shared), notes: None }
    }

    /// Sets the service that verified the claims. Later calls change nothing.
    pub(crate) fn set_verifier(&self, verifier: Verifier) {
        _ = self.shared.verifier.set(verifier);
    }

    pub(crate) fn notes(&self) -> Option<&RequestNotes> {
        self.notes.as_deref()
    }

    pub(crate) fn set_notes(&mut self, notes: RequestNotes) {
        self.notes = Some(Arc::new(notes));
    }

    /// Returns true if this service verified the claims.
    pub(crate) fn is_verified_by(&self, verifier: &Verifier) -> bool {
        self.shared.verifier.get().is_some_and(|own| Arc::ptr_eq(own, verifier))
    }

    /// Returns an integer in which the revocation check caches its last result. It starts at 0, and
    /// all clones share it. This module never reads the integer.
    ///
    /// The integer is in the claims' allocation, because the check reads that memory anyway.
    /// Elsewhere it would cost another allocation and another pointer to follow.
    pub(crate) fn memo(&self) -> &AtomicU64 {
        &self.shared.memo
    }
}

impl<C: Send + Sync + 'static> Claims<C> {
    /// Returns a handle that does not depend on the application's claims type. The handle shares
    /// the allocation of the claims.
    pub(crate) fn admitted(&self) -> Arc<dyn Admitted> {
        Arc::clone(&self.shared) as Arc<dyn Admitted>
    }
}

impl Claims<RawClaims> {
    /// Returns the same verified claims, with the application's claims converted to type `C`.
    ///
    /// # Errors
    ///
    /// [`TokenError::CustomClaims`] if the application's claims do not fit `C`.
    pub fn parse_custom<C: DeserializeOwned>(&self) -> Result<Claims<C>, TokenError> {
        JwtClaims::clone(self).parse_custom().map(Claims::verified)
    }
}

impl<C> Clone for Claims<C> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), notes: self.notes.clone() }
    }
}

impl<C> Deref for Claims<C> {
    type Target = JwtClaims<C>;

    /// Gives direct access to the registered claims only. If it also gave access to the fields of
    /// `C`, a field could have the name of a registered claim. One of the two would then hide the
    /// other.
    ///
    /// ```compile_fail,E0609
    /// struct MyClaims {
    ///     role: String,
    /// }
    ///
    /// fn role(claims: &tower_bearer::Claims<MyClaims>) -> &str {
    ///     &claims.role
    /// }
    /// ```
    ///
    /// [`custom`](JwtClaims::custom) returns the application's claims:
    ///
    /// ```
    /// struct MyClaims {
    ///     role: String,
    /// }
    ///
    /// fn role(claims: &tower_bearer::Claims<MyClaims>) -> &str {
    ///     &claims.custom().role
    /// }
    /// ```
    fn deref(&self) -> &JwtClaims<C> {
        &self.shared.claims
    }
}

impl<C> fmt::Debug for Claims<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.claims.fmt(f)
    }
}

impl<C: Serialize> Serialize for Claims<C> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.shared.claims.serialize(serializer)
    }
}
