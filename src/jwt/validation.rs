//! The rules that a token with a valid signature must also pass: issuer, audience, token type and
//! times.

use std::time::Duration;

use serde::{Serialize, de::DeserializeOwned};

use super::{
    claims::{Claims, JwtClaims, Mapped},
    keys::{KeySet, VerifyingKey},
    token::{
        compact::{DEFAULT_MAX_TOKEN_LEN, Header, UnverifiedToken, VerifiedJws, typ_is, verify_token},
        payload::{Payload, RawClaims, TokenType},
    },
};
use crate::{
    clock::{COARSE_LAG, Clock, Timestamp},
    error::{ConfigError, TokenError},
};

/// The maximum of configured lifetimes and ages. With this maximum, sums of times do not overflow.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// The maximum leeway. A longer leeway would only let clients use expired tokens for longer.
const LONGEST_LEEWAY: Duration = Duration::from_secs(86_400);

/// The rules for accepting a token.
///
/// | rule | default |
/// |--|--|
/// | `iss` | must be absent, unless [`issuer`](Self::issuer) is set |
/// | `aud` | must be absent, unless [`audience`](Self::audience) is set (RFC 7519 section 4.1.3) |
/// | leeway | 5 s, for clocks that differ between nodes |
/// | lifetime (`exp - iat`) of an access token | at most 24 h |
/// | lifetime (`exp - iat`) of a refresh token | at most 30 days |
/// | age of an access token | no limit except its lifetime |
/// | required claims | `sub`, `exp`, `iat`, `jti`; also `iss` and `aud` if they are set |
/// | claim `type` and header `typ` of an access token | [`AccessTyp::Compatible`] |
/// | length of a token | at most 8 KiB, of which the header has at most 3 KiB |
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
    /// True if validation accepts any `aud`, and tokens without `aud`.
    ignores_audience: bool,
}

/// The required values of the header's `typ` and of the claim `type` in an access token.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum AccessTyp {
    /// For tokens of this crate. The claim `type` must be `access`. The header's `typ` must be
    /// absent, `at+jwt`, or `JWT` (the value of [`fastcore.security`](crate::compat)).
    #[default]
    Compatible,
    /// For an issuer that follows RFC 9068. The header's `typ` must be `at+jwt`. The claim `type`
    /// can be absent.
    AtJwt,
    /// For an issuer that does not mark its access tokens. Configure an audience that the issuer's
    /// ID tokens do not have. Otherwise the service would accept ID tokens as access tokens.
    Unmarked,
}

impl Default for Validation {
    fn default() -> Self {
        Self::new()
    }
}

impl Validation {
    /// Creates the default rules.
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
            ignores_audience: false,
        }
    }

    /// Accepts tokens with any `aud`, and tokens without `aud`.
    pub(crate) fn ignore_audience(mut self) -> Self {
        self.ignores_audience = true;
        self
    }

    /// Accepts only tokens whose `iss` is exactly `issuer`.
    #[must_use]
    pub fn issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuer = Some(issuer.into());
        self
    }

    /// Adds an accepted audience. The `aud` of a token must contain at least one accepted audience.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// Sets the largest accepted difference between the clocks of issuer and verifier (default: 5
    /// s). The maximum is one day: [`check`](Self::check) refuses more, and validation uses one day
    /// instead.
    #[must_use]
    pub fn leeway(mut self, leeway: Duration) -> Self {
        self.leeway = leeway;
        self
    }

    /// Sets the longest lifetime of an access token, from `iat` to `exp` (default: 24 h).
    #[must_use]
    pub fn max_access_lifetime(mut self, max: Duration) -> Self {
        self.max_access_lifetime = max;
        self
    }

    /// Sets the longest lifetime of a refresh token, from `iat` to `exp` (default: 30 days).
    #[must_use]
    pub fn max_refresh_lifetime(mut self, max: Duration) -> Self {
        self.max_refresh_lifetime = max;
        self
    }

    /// Sets the maximum age of an access token since `iat`. Use it if the issuer gives tokens too
    /// long a lifetime. By default, the lifetime is the only limit.
    ///
    /// The age is this node's time minus `iat`, without leeway. So if the issuer's clock is 1 s
    /// behind, this node refuses the token 1 s too early. If the issuer's clock is ahead, this node
    /// accepts the token for too long, by at most the leeway.
    #[must_use]
    pub fn max_token_age(mut self, max: Duration) -> Self {
        self.max_token_age = Some(max);
        self
    }

    /// Requires that access and refresh tokens have these claims. Each name is a registered claim
    /// or a claim of the application. The rule checks only that the claim is present.
    #[must_use]
    pub fn require_claims(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.required.extend(names.into_iter().map(Into::into));
        self
    }

    /// Sets the maximum length of a token in bytes (default: 8192). The header can have at most
    /// three eighths of this length.
    #[must_use]
    pub fn max_token_len(mut self, bytes: usize) -> Self {
        self.max_token_len = bytes;
        self
    }

    /// Sets the required `typ` and `type` of an access token (default: [`AccessTyp::Compatible`]).
    #[must_use]
    pub fn access_typ(mut self, typ: AccessTyp) -> Self {
        self.access_typ = typ;
        self
    }

    /// Checks that a token can satisfy these rules, and that each limit is in its range.
    ///
    /// # Errors
    ///
    /// * The issuer or an audience is empty.
    /// * The leeway is over one day.
    /// * A lifetime or age is zero or over 100 years.
    /// * The maximum length of a token is below 64 bytes.
    /// * A required claim has an empty name or is `cnf`, because no accepted token can have such a
    ///   claim.
    /// * A required claim is `iss` without a configured issuer, or `aud` without a configured
    ///   audience.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.issuer.as_deref() == Some("") {
            return Err(ConfigError::new(
                "issuer",
                "is empty",
                "give the URL of your service, or remove the call of `issuer`",
            ));
        }
        if self.audiences.iter().any(String::is_empty) {
            return Err(ConfigError::new(
                "audience",
                "is empty",
                "give the name of your service, or remove this audience",
            ));
        }
        if self.leeway > LONGEST_LEEWAY {
            return Err(ConfigError::out_of_range(
                "leeway",
                "is over a day",
                "give the largest difference between your nodes' clocks, usually a few seconds",
            ));
        }
        for (setting, lifetime) in [
            ("max_access_lifetime", self.max_access_lifetime),
            ("max_refresh_lifetime", self.max_refresh_lifetime),
            ("max_token_age", self.max_token_age.unwrap_or(LONGEST)),
        ] {
            if lifetime.is_zero() || lifetime > LONGEST {
                return Err(ConfigError::out_of_range(
                    setting,
                    "is zero or over 100 years",
                    "give more than zero and at most 100 years",
                ));
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
                format!("contains `{name}`, which no accepted token can have"),
                "remove the claim, or, for `iss` or `aud`, also configure the issuer or an audience",
            ));
        }
        if self.max_token_len < 64 {
            return Err(ConfigError::out_of_range(
                "max_token_len",
                "is below 64 bytes, which is too short for any token",
                "give about 8192 bytes",
            ));
        }
        Ok(())
    }

    /// Returns the only accepted issuer, or `None` if tokens must have no `iss`.
    pub(crate) fn accepted_issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    /// Returns the maximum length of a token in bytes.
    pub(crate) fn longest_token(&self) -> usize {
        self.max_token_len
    }

    /// Returns the leeway that validation uses: the configured leeway, but at most one day.
    pub(crate) fn leeway_in_force(&self) -> Duration {
        self.leeway.min(LONGEST_LEEWAY)
    }

    /// Returns the maximum age of an access token, or 100 years if no maximum is set.
    pub(crate) fn max_token_age_in_force(&self) -> Duration {
        self.max_token_age.unwrap_or(LONGEST)
    }

    /// Returns the maximum lifetime of access tokens.
    pub(crate) fn max_access_lifetime_in_force(&self) -> Duration {
        self.max_access_lifetime
    }

    /// Checks `exp`, `nbf`, `iat` and the age of a token against the clock.
    ///
    /// [`Clock::now_coarse`] is cheaper than [`Clock::now`], but lags by up to [`COARSE_LAG`]. If
    /// the token is valid during this whole lag, the coarse time is enough. Otherwise the function
    /// reads the exact time.
    pub(crate) fn check_times<C>(&self, claims: &JwtClaims<C>, clock: &dyn Clock) -> Result<(), TokenError> {
        let earliest = clock.now_coarse();
        let is_in_force = self.check_between(claims, earliest, earliest.saturating_add(COARSE_LAG));
        is_in_force.or_else(|_| {
            let now = clock.now();
            self.check_between(claims, now, now)
        })
    }

    /// Returns an error unless the token is valid during the whole time from `earliest` to
    /// `latest`.
    fn check_between<C>(
        &self,
        claims: &JwtClaims<C>,
        earliest: Timestamp,
        latest: Timestamp,
    ) -> Result<(), TokenError> {
        if latest >= claims.expires_at.saturating_add(self.leeway_in_force()) {
            return Err(TokenError::Expired { at: claims.expires_at });
        }
        if !matches!(claims.token_type, Some(TokenType::Refresh))
            && self.max_token_age.is_some_and(|max| latest.saturating_since(claims.issued_at) > max)
        {
            return Err(TokenError::Claims("the token is older than allowed"));
        }
        let newest = earliest.saturating_add(self.leeway_in_force());
        for at in claims.not_before.into_iter().chain([claims.issued_at]) {
            if at > newest {
                return Err(TokenError::NotYetValid { at });
            }
        }
        Ok(())
    }

    /// Returns true if the claims contain every claim of [`require_claims`](Self::require_claims).
    pub(crate) fn has_required<C: Serialize>(&self, claims: &JwtClaims<C>) -> bool {
        self.required.is_empty()
            || serde_json::to_value(claims)
                .is_ok_and(|claims| self.required.iter().all(|name| claims.get(name).is_some()))
    }

    /// Checks all rules except those about the current time, and returns the token type.
    fn check_claims<C>(&self, header_typ: Option<&str>, claims: &JwtClaims<C>) -> Result<TokenType, TokenError> {
        if claims.issuer != self.issuer {
            return Err(TokenError::Claims("`iss` is missing or not the configured issuer"));
        }
        self.check_claims_of_issuer(header_typ, claims, claims.issued_at)
    }

    /// Checks all rules except those about the current time and `iss`, and returns the token type.
    /// `issued_at` is the token's `iat`. For a token without `iat`, the caller passes the latest
    /// time at which the issuer can have issued it. The lifetime is counted from `issued_at`.
    fn check_claims_of_issuer<C>(
        &self,
        header_typ: Option<&str>,
        claims: &JwtClaims<C>,
        issued_at: Timestamp,
    ) -> Result<TokenType, TokenError> {
        let for_us = if self.ignores_audience {
            true
        } else if self.audiences.is_empty() {
            claims.audience.is_empty()
        } else {
            claims.audience.iter().any(|audience| self.audiences.contains(audience))
        };
        if !for_us {
            return Err(TokenError::Claims("`aud` is missing or names no configured audience"));
        }
        let kind = self.kind(header_typ, claims.token_type)?;
        let begins_late = (claims.has_issued_at() && claims.issued_at >= claims.expires_at)
            || claims.not_before.is_some_and(|nbf| nbf >= claims.expires_at);
        if begins_late {
            return Err(TokenError::Claims("`exp` is not after `iat` and `nbf`"));
        }
        let max = match kind {
            TokenType::Access => self.max_access_lifetime,
            TokenType::Refresh => self.max_refresh_lifetime,
        };
        if claims.expires_at.saturating_since(issued_at) > max {
            return Err(TokenError::Claims("the lifetime from `iat` to `exp` is longer than allowed"));
        }
        Ok(kind)
    }

    /// Derives the token type from the header's `typ` and the claim `type`. Fails if they
    /// contradict each other, so that no token passes as the other type (RFC 8725 sections 3.11 and
    /// 3.12).
    fn kind(&self, header_typ: Option<&str>, claim: Option<TokenType>) -> Result<TokenType, TokenError> {
        const WRONG_TYP: TokenError = TokenError::Claims("the header's `typ` does not fit the token type");

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

    /// Verifies the signature, claims and type of a token of another issuer. If `now` is given,
    /// also verifies the times. Does not check if the token is revoked.
    ///
    /// * `keys`: the keys of the issuer in the token's unverified `iss`. The caller must compare
    ///   this `iss` with the `iss` of the result.
    /// * `allows`: returns true for each key that may verify this token.
    /// * `map`: reads the claims that each issuer can write under names of its own.
    pub(crate) fn verify_external(
        &self,
        token: &UnverifiedToken<'_>,
        keys: &KeySet,
        allows: impl Fn(&VerifyingKey) -> bool,
        map: impl FnOnce(&Payload, &Header) -> Result<Mapped, TokenError>,
        now: Option<Timestamp>,
    ) -> Result<JwtClaims<RawClaims>, TokenError> {
        let (header, payload) = token.verify(keys, allows)?;
        let payload = Payload::parse_external(payload)?;
        if !self.required.iter().all(|name| payload.contains(name)) {
            return Err(TokenError::Claims("a claim that `require_claims` demands is missing"));
        }
        let mapped = map(&payload, &header)?;
        let claims = JwtClaims::of_external(payload, mapped)?;
        if let Some(now) = now {
            self.check_between(&claims, now, now)?;
        }
        // Without `iat`, the lifetime is unknown. It is at least the time from now until `exp`.
        let issued_at = if claims.has_issued_at() { claims.issued_at } else { now.unwrap_or(claims.expires_at) };
        self.check_claims_of_issuer(header.typ.as_deref(), &claims, issued_at)?;
        Ok(claims)
    }

    /// Verifies the form and the signature of a token, and the presence of the required claims.
    /// Returns the header's `typ` and the claims.
    fn verify(&self, token: &str, keys: &KeySet) -> Result<(Option<String>, JwtClaims<RawClaims>), TokenError> {
        let VerifiedJws { header, payload } = verify_token(keys, token.as_bytes(), self.max_token_len)?;
        let claims = Payload::parse(&payload)?;
        if !self.required.iter().all(|name| claims.contains(name)) {
            return Err(TokenError::Claims("a claim that `require_claims` demands is missing"));
        }
        Ok((header.typ, JwtClaims::of(claims)?))
    }
}

/// Verifies a token without a store: form, signature, times, claims and type.
///
/// Accepts revoked tokens. [`TokenService::validate_token`](crate::TokenService::validate_token)
/// refuses them.
///
/// # Errors
///
/// The function checks these rules in this order, and returns the error of the first broken rule:
///
/// 1. form and signature,
/// 2. presence and types of the registered claims,
/// 3. times,
/// 4. issuer, audience, token type, and the lifetime from `iat` to `exp`,
/// 5. the application's claims ([`TokenError::CustomClaims`]).
pub fn validate_jwt_stateless<C: DeserializeOwned>(
    token: &str,
    keys: &KeySet,
    rules: &Validation,
    expected: TokenType,
    now: Timestamp,
) -> Result<Claims<C>, TokenError> {
    let (typ, claims) = rules.verify(token, keys)?;
    rules.check_between(&claims, now, now)?;
    if rules.check_claims(typ.as_deref(), &claims)? != expected {
        return Err(TokenError::WrongType);
    }
    claims.parse_custom().map(Claims::verified)
}

/// Verifies an access or refresh token without checking its times, and returns its claims. Use the
/// function for revocations and audits.
///
/// The result is [`JwtClaims`] and not [`Claims`], because an expired token must not give access.
///
/// If the application's claims type has changed, old tokens may no longer fit it. Then read them
/// with [`NoClaims`](super::NoClaims) or [`RawClaims`] as `C`:
///
/// ```
/// # use std::time::Duration;
/// # use tower_bearer::{TokenId, TokenType, clock::Timestamp};
/// # use tower_bearer::jwt::{Algorithm, JwtClaims, KeySet, SigningKey, Validation, encode_jwt};
/// use serde::Deserialize;
/// use tower_bearer::{
///     error::TokenError,
///     jwt::{RawClaims, decode_token},
/// };
///
/// #[derive(Deserialize)]
/// struct MyClaims {
///     tenant: String, // a new field, without `#[serde(default)]`
/// }
///
/// # let secret = b"a test key that nobody else must know";
/// # let key = SigningKey::from_secret(Algorithm::HS256, secret)?;
/// # let (keys, rules, now) = (KeySet::signing(key), Validation::new(), Timestamp::from_secs(1));
/// # let (id, day) = (TokenId::new("t"), Duration::from_secs(86_400));
/// # let role = serde_json::json!({ "role": "admin" });
/// # let old = encode_jwt(&keys, &JwtClaims::new("42", id, TokenType::Access, now, day, role))?;
/// let error = decode_token::<MyClaims>(&old, &keys, &rules).err();
/// let Some(TokenError::CustomClaims { claim, .. }) = error else { panic!() };
/// assert_eq!(claim, Some("tenant"));
///
/// let claims = decode_token::<RawClaims>(&old, &keys, &rules)?;
/// assert_eq!(claims.custom()["role"], "admin");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// The errors of [`validate_jwt_stateless`], except those about times and the expected type.
pub fn decode_token<C: DeserializeOwned>(
    token: &str,
    keys: &KeySet,
    rules: &Validation,
) -> Result<JwtClaims<C>, TokenError> {
    let (typ, claims) = rules.verify(token, keys)?;
    rules.check_claims(typ.as_deref(), &claims)?;
    claims.parse_custom()
}

#[cfg(all(test, any(feature = "aws-lc-rs", feature = "rust-crypto")))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::{
        error::ClaimProblem,
        ids::TokenId,
        jwt::{Algorithm, NoClaims, SigningKey, encode_jwt},
    };

    #[derive(Debug, Deserialize, PartialEq)]
    struct Old {
        role: String,
    }

    #[derive(Debug, Deserialize)]
    #[allow(dead_code, reason = "only its presence matters")]
    struct New {
        role: String,
        tenant: String,
    }

    const NOW: Timestamp = Timestamp::from_secs(1_767_225_660);
    const HOUR: Duration = Duration::from_secs(3600);

    fn keys() -> KeySet {
        let secret = b"a TEST secret that is long enough for HS256";
        KeySet::signing(SigningKey::from_secret(Algorithm::HS256, secret).unwrap())
    }

    fn old_token() -> String {
        let custom = json!({ "role": "admin" });
        let claims = JwtClaims::new("42", TokenId::new("t"), TokenType::Refresh, NOW, HOUR, custom);
        encode_jwt(&keys(), &claims).unwrap()
    }

    #[test]
    fn the_applications_claims_are_read_last_and_their_fault_has_a_cause_of_its_own() {
        let token = old_token();
        let judge = |rules: Validation, expected, now| {
            validate_jwt_stateless::<New>(&token, &keys(), &rules, expected, now).unwrap_err()
        };
        let misfit = TokenError::CustomClaims { claim: Some("tenant"), problem: ClaimProblem::Missing };
        assert_eq!(judge(Validation::new(), TokenType::Refresh, NOW), misfit);
        assert_eq!(judge(Validation::new(), TokenType::Access, NOW), TokenError::WrongType);
        let later = NOW.saturating_add(2 * HOUR);
        assert!(matches!(judge(Validation::new(), TokenType::Refresh, later), TokenError::Expired { .. }));
        let another = Validation::new().audience("another");
        assert!(matches!(judge(another, TokenType::Refresh, NOW), TokenError::Claims(_)));
        assert_eq!(decode_token::<New>(&token, &keys(), &Validation::new()).unwrap_err(), misfit);
    }

    #[test]
    fn a_token_can_be_read_without_the_applications_claims_type_and_converted() {
        let (token, keys, rules) = (old_token(), keys(), Validation::new());
        assert_eq!(decode_token::<NoClaims>(&token, &keys, &rules).unwrap().subject(), "42");
        let raw = decode_token::<RawClaims>(&token, &keys, &rules).unwrap();
        assert_eq!(raw.custom().get("role"), Some(&json!("admin")));
        assert_eq!(raw.custom().len(), 1, "no registered claim");
        assert!(raw.clone().parse_custom::<New>().is_err());
        let old: JwtClaims<Old> = raw.parse_custom().unwrap();
        assert_eq!((old.custom().role.as_str(), old.token_id().as_str()), ("admin", "t"));

        let verified: Claims<RawClaims> =
            validate_jwt_stateless(&token, &keys, &rules, TokenType::Refresh, NOW).unwrap();
        assert!(verified.parse_custom::<New>().is_err());
        let old: Claims<Old> = verified.parse_custom().unwrap();
        assert_eq!((old.custom().role.as_str(), old.subject().as_str()), ("admin", "42"));
    }
}
