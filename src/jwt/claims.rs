//! The claims of a token (RFC 7519 section 4), before and after verification.

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

/// The claims type of an application without claims of its own. It ignores every claim of a token
/// except the registered claims.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct NoClaims {}

/// A claims set: the registered claims of a token and the application's own claims (`C`).
///
/// [`encode_jwt`](super::encode_jwt) signs a claims set. Anyone can create a claims set, so it does
/// not prove that a token was verified. The type [`Claims`](super::Claims) proves it.
///
/// Every claims set of a token of this crate has `exp`, `iat`, `sub` and `jti`.
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
    /// The properties of a token of another issuer. `None` for a token of this service.
    pub(super) external: Option<Box<External>>,
    pub(super) custom: C,
}

/// The properties that only a token of another issuer has.
#[derive(Clone, Debug)]
pub(crate) struct External {
    /// True if this service can revoke the token, because the policy for its issuer is `Denylist`.
    pub(crate) is_revocable: bool,
    /// The roles of the user. The settings of the issuer name the claims that contain the roles.
    pub(crate) roles: Vec<String>,
    /// True if the token has `iat`.
    pub(crate) has_issued_at: bool,
    /// The `kid` and the algorithm of the key that verified the token.
    pub(crate) key: (Option<Box<str>>, Algorithm),
}

/// The issuer of a token and its `sub`, which together identify a user.
///
/// Compare and store both fields, because two issuers can use the same `sub` for different users.
/// One issuer never uses a `sub` for two users (RFC 7519 section 4.1.2).
///
/// The names of the type and its fields are those of RFC 9493 section 3.2.3.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub struct IssuerSubject<'a> {
    /// The `iss` of the token. Empty if the service's own tokens have no `iss`.
    pub issuer: &'a str,
    /// The `sub` of the token.
    pub subject: &'a Subject,
}

impl<C> JwtClaims<C> {
    /// Creates a claims set with `sub`, `jti`, `type`, `iat` and `exp`. `exp` is `issued_at +
    /// lifetime`. Both times are rounded down to whole seconds.
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

    /// Sets `aud`, a list of audiences. If the list is empty, the token has no `aud`. A single
    /// audience is written as a string instead of an array.
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

    /// Sets `sid` to the session, and `gen` to the subject's generation when the session was
    /// opened.
    #[must_use]
    pub fn with_session(mut self, session_id: SessionId, generation: u64) -> Self {
        self.session_id = Some(session_id);
        self.generation = Some(generation);
        self
    }

    /// Sets `scope`. If the scope is empty, the token has no `scope`.
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

    /// Sets `atl` in a refresh token: the lifetime of the access tokens that a client gets for it.
    /// The lifetime is rounded down to whole seconds.
    #[must_use]
    pub fn with_access_lifetime(mut self, lifetime: Duration) -> Self {
        self.access_lifetime = Some(Duration::from_secs(lifetime.as_secs()));
        self
    }

    /// Sets `tb_stamp`: a short name of the subject's latest revocation.
    #[must_use]
    pub(crate) fn with_stamp(mut self, stamp: Option<String>) -> Self {
        self.stamp = stamp.map(Into::into);
        self
    }

    /// Replaces the application's claims by `custom`, which can have another type.
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

    /// Returns `sub`: the subject. Returns an empty subject if a token of another issuer has no
    /// `sub`.
    ///
    /// If the service accepts tokens of several issuers, identify the user by
    /// [`issuer_subject`](Self::issuer_subject).
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Returns the issuer and the subject, or `None` if the token has no `sub`.
    ///
    /// If the service accepts tokens of several issuers, identify a user by this pair, and never by
    /// the subject alone:
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

    /// Returns true if another issuer issued the token: see [`issuers`](crate::issuers). The store
    /// has no session of such a token.
    #[must_use]
    pub fn is_external(&self) -> bool {
        self.external.is_some()
    }

    /// Returns the roles in a token of another issuer. The settings of that issuer name the claims
    /// with the roles. For a token of this service, returns an empty slice.
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

    /// Returns `iat`: the time of issue. Returns the Unix epoch if a token of another issuer has no
    /// `iat`.
    #[must_use]
    pub fn issued_at(&self) -> Timestamp {
        self.issued_at
    }

    /// Returns `nbf`: the time before which the token is not valid.
    #[must_use]
    pub fn not_before(&self) -> Option<Timestamp> {
        self.not_before
    }

    /// Returns `jti`: the token's id. Returns an empty id if a token of another issuer has no
    /// `jti`.
    #[must_use]
    pub fn token_id(&self) -> &TokenId {
        &self.token_id
    }

    /// Returns `type`: access or refresh. Returns `None` if the token has no `type`, as tokens of
    /// other issuers.
    #[must_use]
    pub fn token_type(&self) -> Option<TokenType> {
        self.token_type
    }

    /// Returns `sid`: the session of the token.
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

    /// Returns `atl` of a refresh token: the lifetime of the access tokens that a client gets for
    /// it.
    #[must_use]
    pub fn access_lifetime(&self) -> Option<Duration> {
        self.access_lifetime
    }

    /// Returns `tb_stamp`: any text, because validation does not check the value.
    pub(crate) fn stamp(&self) -> Option<&str> {
        self.stamp.as_deref()
    }

    /// Returns the application's claims.
    #[must_use]
    pub fn custom(&self) -> &C {
        &self.custom
    }

    /// Returns true if the token has `iat`. Only tokens of other issuers can lack `iat`.
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

/// The values of those claims whose names differ between issuers. The settings of each issuer
/// contain the names.
#[derive(Debug)]
pub(crate) struct Mapped {
    pub(crate) scope: Scope,
    pub(crate) session_id: Option<SessionId>,
    /// The token's id. `None` if the issuer writes the id in `jti`.
    pub(crate) token_id: Option<TokenId>,
    pub(crate) external: External,
}

impl<C> fmt::Debug for JwtClaims<C> {
    /// Shows ids, times and the scope. Omits the application's claims, because they may contain
    /// personal data.
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
    /// Serializes the claims as one JSON object. Fails if the custom claims are no object, or if
    /// one of them has a reserved name. Otherwise a name could occur twice in the object.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Value::Object(custom) = serde_json::to_value(&self.custom).map_err(ser::Error::custom)? else {
            return Err(ser::Error::custom("the custom claims do not serialize to an object"));
        };
        let reserved: &[&str] = if self.is_external() { &REGISTERED } else { &RESERVED };
        if let Some(name) = custom.keys().find(|name| reserved.contains(&name.as_str())) {
            return Err(ser::Error::custom(format_args!("the custom claims use the reserved name `{name}`")));
        }

        let mut map = serializer.serialize_map(None)?;
        // If another issuer issued the token, its `sid` and `scope` are also custom claims. This
        // check keeps each name from being written twice.
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
    /// Converts the application's claims from JSON to the type `C`.
    ///
    /// # Errors
    ///
    /// [`TokenError::CustomClaims`] if the application's claims do not fit `C`.
    pub fn parse_custom<C: DeserializeOwned>(mut self) -> Result<JwtClaims<C>, TokenError> {
        let custom = payload::parse_custom(mem::take(&mut self.custom))?;
        Ok(self.with_custom(custom))
    }

    /// Creates the claims set of a token of another issuer. The caller has verified the signature.
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

    /// Creates the claims set of a token. The caller has verified the signature. Fails if `sub`,
    /// `exp`, `iat` or `jti` is missing.
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

/// The verified claims of a token: signature, times, issuer, audience and type. If a
/// [`TokenService`](crate::TokenService) created the `Claims`, the token is also not revoked.
///
/// Only verification creates `Claims`, so a handler can trust the `Claims` in a request's
/// extensions. A clone copies a pointer and not the claims. The methods of [`JwtClaims`] return the
/// registered claims, and [`custom`](JwtClaims::custom) returns the application's claims:
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
    /// `None` for most requests. The pointer keeps `Claims` small.
    notes: Option<Arc<RequestNotes>>,
}

/// The settings that a layer adds to the claims for one request. Other requests with the same token
/// do not get these settings.
#[derive(Debug)]
pub(crate) struct RequestNotes {
    /// True if the sockets and tasks of the request also end when the token expires.
    pub(crate) cut_at_expiry: bool,
    /// Present if the request asks for an HTTP upgrade. The flag becomes true when the handler
    /// creates a [`Cutoff`](crate::Cutoff) from the claims.
    pub(crate) upgrade: Option<Arc<AtomicBool>>,
}

/// The data that all clones of a [`Claims`] share.
struct Shared<C> {
    claims: JwtClaims<C>,
    memo: AtomicU64,
    verifier: OnceLock<Verifier>,
}

/// A reference to the service that verified the claims. It has no concrete type, because this
/// module must not import the type of the service.
pub(crate) type Verifier = Arc<dyn Any + Send + Sync>;

/// The claims that decide if a token is revoked or expired.
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

/// Verified claims, without the type parameter for the application's claims.
pub(crate) trait Admitted: Send + Sync {
    fn names(&self) -> TokenNames<'_>;

    /// Returns the service that verified the claims. Returns `None` if a function without a service
    /// verified them.
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
    /// The size in bytes of the allocation that clones share, without the heap data of the claims.
    pub(crate) const BYTES: usize = size_of::<Shared<C>>() + 2 * size_of::<usize>();

    /// Creates `Claims` from claims that the caller has verified. Call this only after
    /// verification, because handlers trust every `Claims`.
    pub(crate) fn verified(claims: JwtClaims<C>) -> Self {
        let shared = Shared { claims, memo: AtomicU64::new(0), verifier: OnceLock::new() };
        Self { shared: Arc::new(shared), notes: None }
    }

    /// Sets the service that verified the claims. Does nothing if a service is already set.
    pub(crate) fn set_verifier(&self, verifier: Verifier) {
        _ = self.shared.verifier.set(verifier);
    }

    pub(crate) fn notes(&self) -> Option<&RequestNotes> {
        self.notes.as_deref()
    }

    pub(crate) fn set_notes(&mut self, notes: RequestNotes) {
        self.notes = Some(Arc::new(notes));
    }

    /// Returns true if the service `verifier` verified the claims.
    pub(crate) fn is_verified_by(&self, verifier: &Verifier) -> bool {
        self.shared.verifier.get().is_some_and(|own| Arc::ptr_eq(own, verifier))
    }

    /// Returns an integer in which the revocation check caches its last result. The integer starts
    /// at 0, and all clones share it.
    ///
    /// The integer is stored next to the claims, because the check reads that memory anyway.
    pub(crate) fn memo(&self) -> &AtomicU64 {
        &self.shared.memo
    }
}

impl<C: Send + Sync + 'static> Claims<C> {
    /// Returns the claims without the type parameter `C`. The result shares the allocation of the
    /// claims.
    pub(crate) fn admitted(&self) -> Arc<dyn Admitted> {
        Arc::clone(&self.shared) as Arc<dyn Admitted>
    }
}

impl Claims<RawClaims> {
    /// Returns the same verified claims, with the application's claims converted from JSON to the
    /// type `C`.
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

    /// Gives access to the methods of [`JwtClaims`], but not to the fields of `C`. A field of `C`
    /// with the name of a registered claim could otherwise be mistaken for that claim.
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
