//! The settings of one issuer.

use std::{collections::HashSet, fmt, sync::Arc, time::Duration};

#[cfg(feature = "jwks")]
use super::http::{HttpKeys, HttpKeysBuilder};
use super::{
    accepted::AcceptedIssuer,
    claim_names::{ClaimNames, RequiredClaim},
    issuer_keys::{FetchTimes, IssuerKeys},
    key_source::KeySource,
    preset::Preset,
};
use crate::{
    clock::Clock,
    error::ConfigError,
    jwt::{AccessTyp, Algorithm, KeySet, Validation},
};

/// The default of [`Issuer::max_access_lifetime`]. Several issuers allow 24 hours. Their `iat` is a
/// few seconds before the time of issue, so 24 hours would be too short.
const MAX_LIFETIME: Duration = Duration::from_secs(25 * 3600);

const TENANT: &str = "{tenantid}";

/// The policy of a service for the revocation of an issuer's tokens.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum IssuerPolicy {
    /// The service can revoke tokens of the issuer with
    /// [`TokenService::external`](crate::TokenService::external). It refuses a token if the store
    /// has a revocation of the token, of its session or of its subject. A token needs `iat`, and at
    /// least one of `jti`, `sub` and the session claim.
    ///
    /// The service also refuses tokens that are older than the store's data, because the store may
    /// have lost their revocations. See
    /// [`accept_older_than_store`](crate::tokens::TokenServiceBuilder::accept_older_than_store).
    #[default]
    Denylist,
    /// The service checks only signature and claims. It cannot revoke tokens of the issuer, and
    /// needs no store for them.
    Stateless,
}

/// Another issuer whose tokens a service accepts, for
/// [`accept`](crate::tokens::TokenServiceBuilder::accept).
///
/// | setting | default |
/// |--|--|
/// | [`preset`](Self::preset) | [`Preset::Plain`] |
/// | [`audience`](Self::audience) or [`any_audience`](Self::any_audience) | none: one is required |
/// | [`keys`](Self::keys), [`key_source`](Self::key_source) or another source | none: required |
/// | [`policy`](Self::policy) | [`IssuerPolicy::Denylist`] |
/// | [`algorithms`](Self::algorithms) | the preset's, mostly all with public keys |
/// | [`access_typ`](Self::access_typ) | [`AccessTyp::Unmarked`] |
/// | [`max_access_lifetime`](Self::max_access_lifetime) | 25 hours |
/// | [`cool_down`](Self::cool_down) | 60 s |
/// | [`max_stale`](Self::max_stale) | 24 hours |
///
/// ```
/// use tower_bearer::{
///     MemoryStore, TokenService,
///     issuers::{Issuer, IssuerPolicy, Preset},
///     jwt::KeySet,
/// };
///
/// # fn example(published: &str) -> Result<(), tower_bearer::error::ConfigError> {
/// let keycloak = Issuer::new("https://id.example.com/realms/main")
///     .preset(Preset::Keycloak)
///     .audience("api")
///     .policy(IssuerPolicy::Stateless)
///     .keys(KeySet::from_published_jwks(published)?);
/// let tokens = TokenService::builder().accept(keycloak).build()?;
/// # Ok(())
/// # }
/// ```
#[must_use = "an issuer does nothing until a service accepts it"]
pub struct Issuer {
    identifier: String,
    /// The ids of the accepted tenants. Each id replaces [`TENANT`] in the identifier.
    tenants: Option<Vec<String>>,
    preset: Preset,
    names: ClaimNames,
    audiences: Vec<String>,
    ignores_audience: bool,
    algorithms: Option<Vec<Algorithm>>,
    access_typ: AccessTyp,
    policy: IssuerPolicy,
    max_access_lifetime: Duration,
    max_token_age: Option<Duration>,
    source: Option<Source>,
    times: FetchTimes,
}

/// The source of an issuer's keys.
enum Source {
    Fixed(KeySet),
    Fetched(Arc<dyn KeySource>),
    #[cfg(feature = "jwks")]
    Http(Box<HttpKeysBuilder>),
    /// The identifier is also the address of the issuer. There the node finds the metadata
    /// document.
    #[cfg(feature = "jwks")]
    Discovery,
}

impl Issuer {
    /// The algorithms with public keys. A key that names no algorithm gets the first algorithm of
    /// this list that fits its type. For RSA this is RS256, as `OpenID` Connect prescribes.
    pub(super) const ASYMMETRIC: &'static [Algorithm] = &[
        Algorithm::RS256,
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::EdDSA,
        Algorithm::Ed25519,
        Algorithm::PS256,
        Algorithm::RS384,
        Algorithm::RS512,
        Algorithm::PS384,
        Algorithm::PS512,
    ];

    /// Creates the settings of an issuer. The identifier must equal the `iss` of its tokens
    /// exactly.
    ///
    /// If one key set serves several tenants, write `{tenantid}` in the identifier. See
    /// [`tenants`](Self::tenants).
    pub fn new(identifier: impl Into<String>) -> Self {
        Self {
            identifier: identifier.into(),
            tenants: None,
            preset: Preset::Plain,
            names: Preset::Plain.claim_names(),
            audiences: Vec::new(),
            ignores_audience: false,
            algorithms: None,
            access_typ: AccessTyp::Unmarked,
            policy: IssuerPolicy::default(),
            max_access_lifetime: MAX_LIFETIME,
            max_token_age: None,
            source: None,
            times: FetchTimes::default(),
        }
    }

    /// Sets the claim names, required claims and algorithms of a well-known issuer. Call this
    /// method first, because it replaces the settings of [`require_claim`](Self::require_claim) and
    /// of the methods whose names end in `_from`.
    pub fn preset(mut self, preset: Preset) -> Self {
        self.preset = preset;
        self.names = preset.claim_names();
        self
    }

    /// Accepts the tokens of these tenants. Each id replaces `{tenantid}` in the identifier.
    ///
    /// ```
    /// use tower_bearer::issuers::{Issuer, Preset};
    ///
    /// let entra = Issuer::new("https://login.microsoftonline.com/{tenantid}/v2.0")
    ///     .preset(Preset::Entra)
    ///     .tenants(["72f988bf-86f1-41af-91ab-2d7cd011db47"])
    ///     .audience("api://my-api");
    /// ```
    pub fn tenants(mut self, ids: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.tenants.get_or_insert_default().extend(ids.into_iter().map(Into::into));
        self
    }

    /// Adds an audience. The `aud` of a token must contain at least one of the added audiences.
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// Accepts tokens with any `aud`, and tokens without `aud`.
    ///
    /// The service then also accepts the issuer's tokens for other applications. Call this method
    /// only if the issuer writes no `aud`. [Require](Self::require_claim) another claim that names
    /// your application.
    pub fn any_audience(mut self) -> Self {
        self.ignores_audience = true;
        self
    }

    /// Sets the accepted signature algorithms of fetched keys. Default: those of the preset.
    ///
    /// A key that names no algorithm gets the first of these algorithms that fits its type. A key
    /// on the curve Ed25519 gets [`Algorithm::EdDSA`] if the list contains it, or else
    /// [`Algorithm::Ed25519`].
    pub fn algorithms(mut self, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        self.algorithms = Some(algorithms.into_iter().collect());
        self
    }

    /// Sets the value that `typ` in the header of an access token must have. Use
    /// [`AccessTyp::AtJwt`] for an issuer that follows RFC 9068. Default: [`AccessTyp::Unmarked`].
    pub fn access_typ(mut self, typ: AccessTyp) -> Self {
        self.access_typ = typ;
        self
    }

    /// Sets the policy for the revocation of the tokens. Default: [`IssuerPolicy::Denylist`].
    pub fn policy(mut self, policy: IssuerPolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Sets the claims that contain scope tokens, as a text with spaces or as an array. The scope
    /// of a token is the union of these claims.
    ///
    /// A name can be a path with dots, such as `realm_access.roles`. If a claim has exactly this
    /// name, dots included, the service reads that claim instead.
    pub fn scopes_from(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.names.scopes = names.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the claims that contain [roles](crate::jwt::JwtClaims::roles): a text, or an array of
    /// texts. A name can be a path, as in [`scopes_from`](Self::scopes_from).
    pub fn roles_from(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.names.roles = names.into_iter().map(Into::into).collect();
        self
    }

    /// Sets the claim that contains the id of the session, as a text or a whole number. A token
    /// without this claim has no session.
    pub fn session_from(mut self, name: impl Into<String>) -> Self {
        self.names.session = Some(name.into());
        self
    }

    /// Sets the claim that contains the token's id. Default: `jti`, or the claim of the preset.
    pub fn token_id_from(mut self, name: impl Into<String>) -> Self {
        self.names.token_id = Some(name.into());
        self
    }

    /// Requires a claim whose value is one of these texts. If there are no texts, accepts any value
    /// except `null`. Each call adds a required claim.
    ///
    /// ```
    /// use tower_bearer::issuers::{Issuer, Preset};
    ///
    /// let pool = Issuer::new("https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_abc")
    ///     .preset(Preset::Cognito)
    ///     .any_audience()
    ///     .require_claim("client_id", ["my-client"]);
    /// ```
    pub fn require_claim(
        mut self,
        name: impl Into<String>,
        values: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        let values = values.into_iter().map(Into::into).collect();
        self.names.required.push(RequiredClaim { names: vec![name.into()], values });
        self
    }

    /// Sets the longest accepted lifetime of a token: the time from `iat` to `exp`. Default: 25
    /// hours.
    ///
    /// The store saves each revocation for this time. So do not set a longer lifetime than the
    /// issuer uses.
    pub fn max_access_lifetime(mut self, max: Duration) -> Self {
        self.max_access_lifetime = max;
        self
    }

    /// Sets the maximum age of a token: the time since `iat`. A token can be too old before its
    /// `exp`. Default: no limit.
    pub fn max_token_age(mut self, max: Duration) -> Self {
        self.max_token_age = Some(max);
        self
    }

    /// Sets fixed keys. If you call several methods that set the source of keys, the last call
    /// applies.
    pub fn keys(mut self, keys: KeySet) -> Self {
        self.source = Some(Source::Fixed(keys));
        self
    }

    /// Fetches the keys from this URL, the issuer's `jwks_uri`. For a proxy and further settings,
    /// use [`HttpKeys`](super::HttpKeys).
    #[cfg(feature = "jwks")]
    pub fn jwks_url(mut self, url: impl Into<String>) -> Self {
        self.source = Some(Source::Http(Box::new(HttpKeys::jwks_url(url))));
        self
    }

    /// Fetches the keys by `OpenID` Connect Discovery 1.0 or RFC 8414. The identifier is the
    /// address of the issuer. For another address, a proxy and further settings, use
    /// [`HttpKeys`](super::HttpKeys).
    ///
    /// ```
    /// use tower_bearer::issuers::{Issuer, Preset};
    ///
    /// let keycloak = Issuer::new("https://id.example.com/realms/main")
    ///     .preset(Preset::Keycloak)
    ///     .audience("api")
    ///     .discover();
    /// ```
    #[cfg(feature = "jwks")]
    pub fn discover(mut self) -> Self {
        self.source = Some(Source::Discovery);
        self
    }

    /// Sets your own source from which the service fetches the keys.
    pub fn key_source(mut self, source: impl KeySource) -> Self {
        self.source = Some(Source::Fetched(Arc::new(source)));
        self
    }

    /// Sets the shortest time between two fetches of the keys: one second to an hour. Tokens with
    /// an unknown `kid` cause at most one fetch in this time. Default: 60 s.
    pub fn cool_down(mut self, time: Duration) -> Self {
        self.times.cool_down = time;
        self
    }

    /// Sets the time for which the node uses its keys after the last successful fetch. After this
    /// time, requests with tokens of this issuer get 503. The time must be at least the
    /// [`cool_down`](Self::cool_down), and at most a year. Default: 24 hours.
    pub fn max_stale(mut self, time: Duration) -> Self {
        self.times.max_stale = time;
        self
    }

    pub(crate) fn is_revocable(&self) -> bool {
        self.policy == IssuerPolicy::Denylist
    }

    /// Checks the settings, and returns the issuer. `leeway` and `max_token_len` are settings of
    /// the service. `clock` is the node's clock.
    pub(crate) fn accepted(
        self,
        leeway: Duration,
        max_token_len: usize,
        clock: &Arc<dyn Clock>,
    ) -> Result<AcceptedIssuer, ConfigError> {
        let identifiers = self.identifiers()?;
        self.times.check()?;
        let is_revocable = self.is_revocable();
        let mut validation = Validation::new()
            .leeway(leeway)
            .max_access_lifetime(self.max_access_lifetime)
            .max_token_len(max_token_len)
            .access_typ(self.access_typ);
        if let Some(max) = self.max_token_age {
            validation = validation.max_token_age(max);
        }
        match (self.audiences.is_empty(), self.ignores_audience) {
            (true, true) => validation = validation.ignore_audience(),
            (false, false) => validation = self.audiences.iter().fold(validation, Validation::audience),
            (true, false) => {
                return Err(ConfigError::missing(
                    "audience",
                    format!("of the issuer `{}` is missing", self.identifier),
                    "give the `aud` that the issuer's tokens have for your service, or call `any_audience()`",
                ));
            }
            (false, true) => {
                return Err(ConfigError::conflict(
                    "any_audience",
                    format!("is set for the issuer `{}`, which has an `audience` too", self.identifier),
                    "remove one of the two calls",
                ));
            }
        }
        if self.access_typ == AccessTyp::Compatible {
            return Err(ConfigError::new(
                "access_typ",
                format!(
                    "of the issuer `{}` is `Compatible`, which applies only to this crate's own tokens",
                    self.identifier
                ),
                "give `AccessTyp::AtJwt` or `AccessTyp::Unmarked`",
            ));
        }
        validation.check()?;
        if let (Some(_), Some(Source::Fixed(_))) = (&self.algorithms, &self.source) {
            return Err(ConfigError::conflict(
                "algorithms",
                format!(
                    "of the issuer `{}` are set beside `keys`, although each key has its own algorithm",
                    self.identifier
                ),
                "remove the call of `algorithms`",
            ));
        }
        let by_preset = || self.preset.algorithms().unwrap_or(Self::ASYMMETRIC).to_vec();
        let algorithms = self.algorithms.unwrap_or_else(by_preset);
        KeySet::check_published_algorithms(&algorithms)?;
        let has_tenants = self.tenants.is_some();
        let clock = Arc::clone(clock);
        let keys = match self.source {
            Some(Source::Fixed(keys)) => IssuerKeys::fixed(self.identifier.clone(), keys),
            Some(Source::Fetched(source)) => {
                IssuerKeys::fetched(self.identifier.clone(), clock, source, algorithms, self.times)
            }
            #[cfg(feature = "jwks")]
            Some(Source::Discovery) if has_tenants => {
                return Err(ConfigError::conflict(
                    "discover",
                    format!("is called for the issuer `{}`, whose tenants have different addresses", self.identifier),
                    "call `key_source` with an `HttpKeys` whose `metadata_url` serves all tenants",
                ));
            }
            #[cfg(feature = "jwks")]
            Some(Source::Discovery) => {
                let source = Arc::new(HttpKeys::discovery(&self.identifier).build()?);
                IssuerKeys::fetched(self.identifier.clone(), clock, source, algorithms, self.times)
            }
            #[cfg(feature = "jwks")]
            Some(Source::Http(source)) => {
                let source = Arc::new(source.build()?);
                IssuerKeys::fetched(self.identifier.clone(), clock, source, algorithms, self.times)
            }
            None => {
                return Err(ConfigError::missing(
                    "keys",
                    format!("of the issuer `{}` are missing", self.identifier),
                    "give `keys`, `key_source` or, with the feature `jwks`, `discover` or `jwks_url`",
                ));
            }
        };
        let (names, keys) = (self.names, Arc::new(keys));
        Ok(AcceptedIssuer { identifiers, has_tenants, validation, names, is_revocable, keys })
    }

    /// Returns the accepted values of `iss`: one for each tenant, or the identifier.
    fn identifiers(&self) -> Result<Vec<String>, ConfigError> {
        if self.identifier.is_empty() {
            return Err(ConfigError::new("issuer", "of an `Issuer` is empty", "give the `iss` of the issuer's tokens"));
        }
        match (self.identifier.contains(TENANT), &self.tenants) {
            (false, None) => Ok(vec![self.identifier.clone()]),
            (true, Some(tenants)) if !tenants.is_empty() && !tenants.iter().any(String::is_empty) => {
                let distinct: HashSet<_> = tenants.iter().collect();
                Ok(distinct.into_iter().map(|tenant| self.identifier.replace(TENANT, tenant)).collect())
            }
            (true, _) => Err(ConfigError::missing(
                "tenants",
                format!("of the issuer `{}` are missing, or one of them is empty", self.identifier),
                "give the ids of the tenants whose tokens you accept",
            )),
            (false, Some(_)) => Err(ConfigError::conflict(
                "tenants",
                format!("are given, but the issuer `{}` does not contain `{TENANT}`", self.identifier),
                "write `{tenantid}` in place of the tenant's id in the issuer, or remove the call of `tenants`",
            )),
        }
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuer")
            .field("identifier", &self.identifier)
            .field("preset", &self.preset)
            .field("audiences", &self.audiences)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}
