//! Other issuers whose tokens a service accepts, and the sources of their keys.
//!
//! An *issuer* is the party that signs a token, such as Entra ID, Auth0, Okta, Keycloak or Cognito.
//! It writes its name into the claim `iss`. A service [accepts] any number of issuers, with or
//! without tokens of its own. It finds the issuer of a token by `iss`.
//!
//! ```
//! use tower_bearer::{
//!     Error, MemoryStore, TokenService, TokenType, error::TokenError, issuers::Issuer,
//!     jwt::KeySet,
//! };
//!
//! # use std::time::Duration;
//! # use tower_bearer::clock::{Clock, SystemClock};
//! # use tower_bearer::jwt::{JwtClaims, NoClaims, Scope, SigningKey, encode_jwt};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), tower_bearer::BoxError> {
//! # // The issuer, which has the private key of RFC 8037, appendix A.
//! # let key = SigningKey::from_jwk(
//! #     r#"{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
//! #         "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
//! # )?;
//! # let published = KeySet::verifying(key.verifying_key().clone()).to_jwks();
//! # let (id, now, hour) = ("t1".into(), SystemClock.now(), Duration::from_secs(3600));
//! # let claims = JwtClaims::new("42", id, TokenType::Access, now, hour, NoClaims {})
//! #     .with_issuer("https://id.example.com")
//! #     .with_audience(["https://api.example.com"])
//! #     .with_scope(Scope::parse("read").unwrap_or_default());
//! # let token = encode_jwt(&KeySet::signing(key), &claims)?;
//! let idp = Issuer::new("https://id.example.com")
//!     .audience("https://api.example.com")
//!     .keys(KeySet::from_published_jwks(&published)?);
//! let tokens = TokenService::builder()
//!     .accept(idp)
//!     .store(MemoryStore::default()) // of the revocations
//!     .accept_older_than_store(true) // also tokens from before this process
//!     .build()?;
//!
//! let claims = tokens.validate_token(&token, TokenType::Access).await?;
//! assert!(claims.is_external() && claims.scope().contains("read"));
//! let user = claims.issuer_subject().ok_or("the token has no `sub`")?;
//! assert_eq!((user.issuer, user.subject.as_str()), ("https://id.example.com", "42"));
//!
//! tokens.external("https://id.example.com").revoke_subject("42").await?;
//! let refused = tokens.validate_token(&token, TokenType::Access).await;
//! assert!(matches!(refused, Err(Error::Token(TokenError::Revoked { .. }))));
//! # Ok(())
//! # }
//! ```
//!
//! With the feature `jwks`, the service fetches the keys itself, and fetches them again when they
//! change. Under [`IssuerPolicy::Stateless`] the service cannot revoke tokens, so it needs no
//! store:
//!
//! ```no_run
//! # #[cfg(feature = "jwks")]
//! # async fn example() -> Result<(), tower_bearer::BoxError> {
//! use tower_bearer::{
//!     AuthLayer, TokenService,
//!     issuers::{Issuer, IssuerPolicy, Preset},
//! };
//!
//! let keycloak = Issuer::new("https://id.example.com/realms/main")
//!     .preset(Preset::Keycloak)
//!     .audience("api")
//!     .policy(IssuerPolicy::Stateless)
//!     .discover(); // asks the issuer for the address of its keys
//! let tokens = TokenService::builder().accept(keycloak).connect().await?;
//! let auth: AuthLayer = AuthLayer::new(tokens);
//! # Ok(())
//! # }
//! ```
//!
//! `docs/guide.md` shows a service with other issuers and own sessions, users of several issuers,
//! and custom claims. The example `resource_server` is a complete service.
//!
//! # The path of a token
//!
//! | token or event | effect |
//! |--|--|
//! | `iss` is absent or not accepted | 401 before any key is tried ([`UnknownIssuer`]) |
//! | the node has the token's key | the node verifies the token without a fetch |
//! | the node does not have the key | the request waits for a fetch: see the next table |
//! | the issuer withdraws a key | after the next fetch 401, also for tokens in the cache |
//! | fetches fail | the present keys verify tokens until [`max_stale`], then 503 |
//! | a set has no usable key, or has a secret | the node drops all keys of the issuer: 401 |
//!
//! All requests with an unknown key share one fetch, and wait for it at most 1 second. If the last
//! fetch began less than a [`cool_down`] ago, these requests start no new fetch, and wait only if a
//! fetch is under way. If the key is still unknown after the wait, the answer depends on the keys
//! that the node has. Keys are *fresh* while the issuer lets caches use them.
//!
//! | keys of the node | answer |
//! |--|--|
//! | fresh, or the last finished fetch succeeded | 401 ([`UnknownKey`]) |
//! | not fresh, and the last fetch failed | 503: the key may exist |
//! | never fetched | 503 |
//! | any, and the fetch is still under way after 1 second | 503 |
//!
//! A slow key server delays no token of another issuer, and no token whose key is known.
//!
//! [`connect`] waits for the keys of all issuers, and fails if it cannot get them. [`build`] does
//! not wait. In [`Status`](crate::tokens::Status), the condition `issuer_keys` names each issuer
//! whose last fetch failed.
//!
//! [accepts]: crate::tokens::TokenServiceBuilder::accept
//! [`build`]: crate::tokens::TokenServiceBuilder::build
//! [`connect`]: crate::tokens::TokenServiceBuilder::connect
//! [`cool_down`]: Issuer::cool_down
//! [`max_stale`]: Issuer::max_stale
//! [`UnknownIssuer`]: crate::error::TokenError::UnknownIssuer
//! [`UnknownKey`]: crate::error::TokenError::UnknownKey
//!
//! # Bounds
//!
//! | bound | value |
//! |--|--|
//! | fresh time | `max-age` of the issuer, 5 minutes to 24 hours; default 15 minutes |
//! | next fetch | after 85 to 90 % of the fresh time |
//! | fetches because of unknown keys | one per `cool_down`: default 60 s, 1 second to an hour |
//! | pause after failed fetches | first the `cool_down`, then doubled each time, up to 5 minutes |
//! | age of keys while fetches fail | `max_stale`: default 24 hours, `cool_down` to a year |
//! | one fetch | 5 s ([`FETCH_DEADLINE`]) |
//! | one HTTP response (`jwks`) | 512 KiB; 3 redirects within the same scheme, host and port |
//! | key set | 256 KiB |
//! | keys tried for one token | 16 of its `kid` and algorithm |
//! | requests that wait for a fetch | 1024 per issuer; further requests get their answer at once |
//!
//! If the issuer withdraws a key, the node still uses the key for at most 90 % of the fresh time.
//! If fetches fail, the node uses it for at most `max_stale`. Choose a `max_stale` that is at least
//! as long as the fresh time.
//!
//! # Claims
//!
//! * The registered claims `iss`, `sub`, `aud`, `exp`, `nbf`, `iat` and `jti` must have the types
//!   that RFC 7519 requires. All other claims are custom claims, as the issuer wrote them. Even
//!   `scope`, `sid` and `type` are custom claims.
//! * `exp` is required. [`IssuerPolicy::Denylist`] also requires `iat`, and at least one of token
//!   id, session and `sub`. Times may have fractions of a second.
//! * The [`Preset`] or the issuer's settings name the claims with the scopes, the roles, the
//!   session and the token id. A claim with scopes can be a text or an array. A value of another
//!   type has no effect.
//! * The lifetime from `iat` to `exp` may be 25 hours: see [`Issuer::max_access_lifetime`]. Without
//!   `iat`, the lifetime is the time from now to `exp`.
//! * The header's `typ` must be absent, `JWT` or `at+jwt`. With [`AccessTyp::AtJwt`] it must be
//!   `at+jwt`.
//! * The service refuses tokens with `cnf`, because it cannot check that the client has the key. It
//!   also refuses tokens with `events` (logout tokens), and tokens whose claim `type` is `refresh`.
//!
//! The settings `leeway`, `max_token_len`, `verified_cache` and `validator` of the service apply to
//! all tokens. The settings `audience`, `access_typ`, `max_access_lifetime`, `max_token_age` and
//! `require_claims` of the service apply only to own tokens. Each [`Issuer`] has its own settings.
//!
//! # Revocation
//!
//! Under [`IssuerPolicy::Denylist`], the service can revoke tokens of another issuer with
//! [`TokenService::external`]:
//!
//! | call | the service refuses from then on | needs in the token |
//! |--|--|--|
//! | [`revoke_token_id`] | the token with this id | `jti`, or the claim of [`token_id_from`] |
//! | [`revoke_session`] | the tokens of the session that exist now | the session claim |
//! | [`revoke_subject`] | the tokens of the subject that exist now | `sub` |
//!
//! The issuer does not learn of a revocation, and may give the user new tokens. The service accepts
//! these tokens, with one exception. After [`revoke_session`] or [`revoke_subject`], it also
//! refuses tokens that the issuer signs in the next 6 s or so (the leeway, with rounding). So let
//! the user log in again after that time.
//!
//! The service also refuses each token whose `iat` is before the creation of the store's data, or
//! less than the leeway after it. With a `MemoryStore`, this concerns all tokens from before a
//! restart. [`accept_older_than_store`] accepts these tokens: its docs describe the risk.
//!
//! [`accept_older_than_store`]: crate::tokens::TokenServiceBuilder::accept_older_than_store
//! [`revoke_session`]: crate::tokens::ExternalTokens::revoke_session
//! [`revoke_subject`]: crate::tokens::ExternalTokens::revoke_subject
//! [`revoke_token_id`]: crate::tokens::ExternalTokens::revoke_token_id
//! [`token_id_from`]: Issuer::token_id_from
//! [`TokenService::external`]: crate::TokenService::external
//!
//! # Clocks
//!
//! The node checks `exp`, `nbf` and `iat` of other issuers' tokens by its own clock. It checks own
//! tokens by the clock of the store. The time of a revocation is also that of the store.
//! Synchronize the node's clock by NTP. The `leeway` (5 s) covers the differences between these
//! clocks and the issuer's clock.
//!
//! # Security
//!
//! * **Set an audience.** Otherwise the service also accepts tokens for any other application of
//!   the issuer. With [`Issuer::any_audience`], require a claim that names your application.
//! * **ID tokens are not access tokens.** The presets for Entra ID, Okta, Keycloak and Cognito
//!   refuse ID tokens. With the other presets, only the audience separates the two kinds. So use an
//!   audience that is not the id of a client.
//! * **An unusable key is left out.** The other keys of a published set stay usable: see
//!   [`KeySet::from_published_jwks`](crate::jwt::KeySet::from_published_jwks).
//! * **Keys are public.** If a published set has a secret or a private key, the service refuses the
//!   whole set. It also refuses a token whose HMAC uses the text of a public key as the secret.
//! * **A subject is not unique.** Two issuers can use the same `sub` for two users. Use
//!   [`issuer_subject`](crate::jwt::JwtClaims::issuer_subject), and never the subject alone.
//! * **List the tenants.** `{tenantid}` in an identifier stands only for the ids in
//!   [`Issuer::tenants`]. If a key has the member `issuer` with the id of a tenant, the key
//!   verifies only tokens of that tenant. Without `tenants`, the service ignores this member.
//!   `Issuer::discover` does not work for an identifier with `{tenantid}`. Instead, pass an
//!   `HttpKeys` with `metadata_url` to [`Issuer::key_source`].
//! * **An open response outlives its key.** If the issuer withdraws a key, open responses continue.
//!   A revocation ends them. With the setting
//!   [`AuthLayer::cut_at_expiry`](crate::AuthLayer::cut_at_expiry), the expiry of the token also
//!   ends them. [`TokenService::check`](crate::TokenService::check) refuses claims whose key the
//!   issuer has withdrawn.
//!
//! [`AccessTyp::AtJwt`]: crate::jwt::AccessTyp::AtJwt

mod accepted;
mod claim_names;
#[cfg(feature = "jwks")]
mod http;
mod issuer;
mod issuer_keys;
mod key_source;
mod preset;

pub(crate) use self::accepted::{AcceptedIssuer, AcceptedIssuers};
#[cfg(feature = "jwks")]
pub use self::http::{HttpKeys, HttpKeysBuilder};
pub use self::{
    issuer::{Issuer, IssuerPolicy},
    issuer_keys::IssuerStatus,
    key_source::{FETCH_DEADLINE, KeySource, PublishedKeys},
    preset::Preset,
};
pub use crate::error::{KeySourceError, KeySourceErrorKind};
