//! Issuer, audience, kind and times: what makes verified claims acceptable here and now.

use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};

use super::{
    Claims, JwtClaims, KeySet, TokenType,
    compact::{DEFAULT_MAX_TOKEN_LEN, Verified, verify_token},
    header::typ_is,
    members::Members,
};
use crate::{
    clock::{COARSE_LAG, Clock, Timestamp},
    error::{ConfigError, TokenError},
};

/// Longer than any token's life and any clock's error that makes sense. Below it no sum of times overflows.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// More is no difference between clocks: it would keep expired tokens alive.
const LONGEST_LEEWAY: Duration = Duration::from_secs(86_400);

/// What a token must be to be accepted.
///
/// | rule | default |
/// |--|--|
/// | `iss` | none configured: a token that has one is another issuer's, and refused |
/// | `aud` | none configured: a token that has one is for someone else, and refused (RFC 7519 section 4.1.3) |
/// | leeway | 5 s, for clocks that differ between nodes |
/// | life (`exp - iat`) of an access token | at most 24 h |
/// | life of a refresh token | at most 30 days |
/// | age of an access token | no bound but its life |
/// | claims that must be there | `sub`, `exp`, `iat`, `jti`; `type` by [`AccessTyp`]; `iss` and `aud` where configured |
/// | length of the text | at most 8 KiB, three eighths of it for the header |
/// | header `typ` of an access token | [`AccessTyp::Compatible`] |
#[derive(Clone, Debug)]
pub struct Validation {
    issuer: Option<String>,
    audiences: Vec<String>,
    leeway: Duration,
    max_access_lifetime: Duration,
    max_refresh_lifetime: Duration,
    max_token_age: Option<Duration>,
    required: Vec<String>,
    max_token_len: usize,
    access_typ: AccessTyp,
}

/// What the header's `typ` and the claim `type` of an access token must be.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum AccessTyp {
    /// For our own tokens: the claim `type` must say `access`; `typ` may be absent, `JWT` (as the predecessor wrote) or
    /// `at+jwt`.
    #[default]
    Compatible,
    /// For an issuer that keeps RFC 9068: `typ` must be `at+jwt`; the claim `type` may be absent.
    AtJwt,
    /// For an issuer that marks its access tokens in no way. Its ID tokens then differ from access tokens by their audience alone:
    /// configure one that no ID token has.
    Unmarked,
}

impl Default for Validation {
    fn default() -> Self {
        Self::new()
    }
}

impl Validation {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self {
            issuer: None,
            audiences: Vec::new(),
            leeway: Duration::from_secs(5),
            max_access_lifetime: Duration::from_secs(86_400),
            max_refresh_lifetime: Duration::from_secs(30 * 86_400),
            max_token_age: None,
            required: Vec::new(),
            max_token_len: DEFAULT_MAX_TOKEN_LEN,
            access_typ: AccessTyp::default(),
        }
    }

    /// `iss` must be present and exactly this.
    #[must_use]
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// `aud` must be present and have this or another audience that was added.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// How much the clocks of issuer and verifier may differ. More than a day is cut to a day, and [`check`](Self::check) calls it an error.
    #[must_use]
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// The longest life of an access token, from `iat` to `exp`.
    #[must_use]
    pub fn max_access_lifetime(mut self, max: Duration) -> Self {
        self.max_access_lifetime = max;
        self
    }

    /// The longest life of a refresh token, from `iat` to `exp`.
    #[must_use]
    pub fn max_refresh_lifetime(mut self, max: Duration) -> Self {
        self.max_refresh_lifetime = max;
        self
    }

    /// The longest time since `iat` at which an access token is accepted, whatever its `exp`: for an issuer whose tokens live longer than
    /// they should. The leeway is not added: by this node's clock a token never grows older, however far its issuer's clock lags. Where that is ahead,
    /// the time until its `iat` is reached comes on top, which the leeway bounds.
    #[must_use]
    pub fn max_token_age(mut self, max: Duration) -> Self {
        self.max_token_age = Some(max);
        self
    }

    /// These claims must be there too, in tokens of both kinds: registered ones, or the application's own. Which values they have is not looked
    /// at, but that a registered one is of its type.
    #[must_use]
    pub fn require_claims(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.required.extend(names.into_iter().map(Into::into));
        self
    }

    /// The longest text in bytes that is looked at at all. Three eighths of it may be the header's.
    #[must_use]
    pub fn max_token_len(mut self, bytes: usize) -> Self {
        self.max_token_len = bytes;
        self
    }

    /// What marks an access token.
    #[must_use]
    pub fn access_typ(mut self, typ: AccessTyp) -> Self {
        self.access_typ = typ;
        self
    }

    /// Whether these rules can work.
    ///
    /// # Errors
    ///
    /// An issuer or audience that is empty; a leeway over one day; a lifetime or age of zero or over 100 years; a required claim with which no token is
    /// accepted (one without a name, `cnf`, `iss` without an issuer, `aud` without an audience); a maximal length below that of the shortest token.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.issuer.as_deref() == Some("") {
            return Err(ConfigError::new("issuer", "is empty", "give the URL of your service, or leave it out"));
        }
        if self.audiences.iter().any(String::is_empty) {
            return Err(ConfigError::new("audience", "is empty", "give your service's name, or leave it out"));
        }
        if self.leeway > LONGEST_LEEWAY {
            return Err(ConfigError::new("leeway", "is over a day", "give seconds: how far your nodes' clocks differ"));
        }
        for (setting, life) in [
            ("max_access_lifetime", self.max_access_lifetime),
            ("max_refresh_lifetime", self.max_refresh_lifetime),
            ("max_token_age", self.max_token_age.unwrap_or(LONGEST)),
        ] {
            if life.is_zero() || life > LONGEST {
                return Err(ConfigError::new(setting, "is zero or over 100 years", "give a life that tokens have"));
            }
        }
        let is_impossible = |name: &String| match name.as_str() {
            "" | "cnf" => true,
            "iss" => self.issuer.is_none(),
            "aud" => self.audiences.is_empty(),
            _ => false,
        };
        if let Some(name) = self.required.iter().find(|name| is_impossible(name)) {
            return Err(ConfigError::new(
                "require_claims",
                format!("has `{name}`, with which no token is accepted"),
                "leave it out; for `iss` and `aud` configure an issuer and an audience, which then are required",
            ));
        }
        if self.max_token_len < 64 {
            return Err(ConfigError::new("max_token_len", "is shorter than any token", "give 8192 or so"));
        }
        Ok(())
    }

    /// The leeway in force.
    pub(crate) fn leeway_in_force(&self) -> Duration {
        self.leeway.min(LONGEST_LEEWAY)
    }

    /// The life of access tokens in force.
    pub(crate) fn max_access_lifetime_in_force(&self) -> Duration {
        self.max_access_lifetime
    }

    /// Exp, nbf and iat against the time: what has to be looked at again at every use of a token.
    pub(crate) fn check_times<C>(&self, claims: &JwtClaims<C>, clock: &dyn Clock) -> Result<(), TokenError> {
        let earliest = clock.now_coarse();
        let is_in_force = self.check_between(claims, earliest, earliest.saturating_add(COARSE_LAG));
        is_in_force.or_else(|_| self.check_times_at(claims, clock.now()))
    }

    fn check_times_at<C>(&self, claims: &JwtClaims<C>, now: Timestamp) -> Result<(), TokenError> {
        self.check_between(claims, now, now)
    }

    /// Whether a token is in force at every moment from `earliest` to `latest`.
    fn check_between<C>(
        &self,
        claims: &JwtClaims<C>,
        earliest: Timestamp,
        latest: Timestamp,
    ) -> Result<(), TokenError> {
        if latest >= claims.expires_at.saturating_add(self.leeway_in_force()) {
            return Err(TokenError::Expired { at: claims.expires_at });
        }
        if claims.token_type != Some(TokenType::Refresh)
            && self.max_token_age.is_some_and(|max| latest.saturating_since(claims.issued_at) > max)
        {
            return Err(TokenError::Claims("it was issued longer ago than allowed"));
        }
        let newest = earliest.saturating_add(self.leeway_in_force());
        for at in claims.not_before.into_iter().chain([claims.issued_at]) {
            if at > newest {
                return Err(TokenError::NotYetValid { at });
            }
        }
        Ok(())
    }

    /// Whether a token with these claims has those that are required.
    pub(crate) fn has_required<C: Serialize>(&self, claims: &JwtClaims<C>) -> bool {
        self.required.is_empty()
            || serde_json::to_value(claims)
                .is_ok_and(|claims| self.required.iter().all(|name| claims.get(name).is_some()))
    }

    /// Everything about the claims that does not change with time.
    fn check_claims<C>(&self, header_typ: Option<&str>, claims: &JwtClaims<C>) -> Result<TokenType, TokenError> {
        if claims.issuer != self.issuer {
            return Err(TokenError::Claims("`iss` is missing or not the configured issuer"));
        }
        let for_us = if self.audiences.is_empty() {
            claims.audience.is_empty()
        } else {
            claims.audience.iter().any(|audience| self.audiences.contains(audience))
        };
        if !for_us {
            return Err(TokenError::Claims("`aud` is missing or names no configured audience"));
        }
        let kind = self.kind(header_typ, claims.token_type)?;
        if claims.issued_at >= claims.expires_at || claims.not_before.is_some_and(|nbf| nbf >= claims.expires_at) {
            return Err(TokenError::Claims("`exp` is not after `iat` and `nbf`"));
        }
        let max = match kind {
            TokenType::Access => self.max_access_lifetime,
            TokenType::Refresh => self.max_refresh_lifetime,
        };
        if claims.expires_at.saturating_since(claims.issued_at) > max {
            return Err(TokenError::Claims("its life from `iat` to `exp` is longer than allowed"));
        }
        Ok(kind)
    }

    /// Of which kind a token is, by its header's `typ` and its claim `type` together: a token of the one kind never has both marks of
    /// the other (RFC 8725 sections 3.11 and 3.12).
    fn kind(&self, header_typ: Option<&str>, claim: Option<TokenType>) -> Result<TokenType, TokenError> {
        const WRONG_TYP: TokenError = TokenError::Claims("the header's `typ` does not fit");

        let plain = header_typ.is_none_or(|typ| typ_is(typ, "JWT"));
        let at_jwt = header_typ.is_some_and(|typ| typ_is(typ, "at+jwt"));
        let rt_jwt = header_typ.is_some_and(|typ| typ_is(typ, "rt+jwt"));
        if claim == Some(TokenType::Refresh) {
            return if plain || rt_jwt { Ok(TokenType::Refresh) } else { Err(WRONG_TYP) };
        }
        let fits = match self.access_typ {
            AccessTyp::Compatible if claim.is_none() => return Err(TokenError::Claims("`type` is missing")),
            AccessTyp::Compatible | AccessTyp::Unmarked => plain || at_jwt,
            AccessTyp::AtJwt => at_jwt,
        };
        if fits { Ok(TokenType::Access) } else { Err(WRONG_TYP) }
    }

    fn verify<C: DeserializeOwned>(
        &self,
        token: &str,
        keys: &KeySet,
    ) -> Result<(Option<String>, JwtClaims<C>), TokenError> {
        let Verified { header, payload } = verify_token(keys, token.as_bytes(), self.max_token_len)?;
        let members = Members::parse(&payload)?;
        if !self.required.iter().all(|name| members.contains(name)) {
            return Err(TokenError::Claims("one that is required is missing"));
        }
        Ok((header.typ, JwtClaims::of(members)?))
    }
}

/// Verifies everything about a token that needs no store: form, signature, claims, kind and times.
///
/// A revoked token passes: use [`TokenService::validate_token`](crate::TokenService::validate_token) to refuse those.
///
/// # Errors
///
/// The first rule that the token breaks, in the order: form, signature, the claims' types and that they are there, times, issuer and audience, kind,
/// the claims' own consistency.
pub fn validate_jwt_stateless<C: DeserializeOwned>(
    token: &str,
    keys: &KeySet,
    rules: &Validation,
    expected: TokenType,
    now: Timestamp,
) -> Result<Claims<C>, TokenError> {
    let (typ, claims) = rules.verify(token, keys)?;
    rules.check_times_at(&claims, now)?;
    if rules.check_claims(typ.as_deref(), &claims)? != expected {
        return Err(TokenError::WrongType);
    }
    Ok(Claims::verified(claims))
}

/// Like [`validate_jwt_stateless`], for a token of either kind and of any age: what a revocation or an audit needs to read.
///
/// It gives no [`Claims`]: nothing may be opened with an expired token.
///
/// # Errors
///
/// The first rule that the token breaks; never its times.
pub fn decode_token<C: DeserializeOwned>(
    token: &str,
    keys: &KeySet,
    rules: &Validation,
) -> Result<JwtClaims<C>, TokenError> {
    let (typ, claims) = rules.verify(token, keys)?;
    rules.check_claims(typ.as_deref(), &claims)?;
    Ok(claims)
}
