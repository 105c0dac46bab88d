//! Other issuers, whose tokens a service accepts, and the sources of their keys.
//!
//! An *issuer* is the party that signs a token and names itself in the claim `iss`. Examples are
//! Entra ID, Auth0, Okta, Keycloak and Cognito. A service [accepts] any number of issuers, beside
//! its own tokens or alone, behind one [`AuthLayer`](crate::AuthLayer). The `iss` of a token
//! chooses its issuer.
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
//! With the feature `jwks`, the service fetches the keys itself and follows their rotation. Nothing
//! revokes tokens under [`IssuerPolicy::Stateless`], so no store is needed:
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
//! `docs/guide.md` shows issuers beside own sessions, the users of several issuers, and own claims.
//! The example `resource_server` is a whole service.
//!
//! # The path of a token
//!
//! | token or event | answer |
//! |--|--|
//! | `iss` is absent or not accepted | 401 before any key is tried ([`UnknownIssuer`]) |
//! | the node has the token's key | the node verifies the token, and asks no key server |
//! | the node does not have the key | the request waits for a fetch: see the next table |
//! | the issuer withdraws a key | 401 after the next fetch, also for tokens in the cache |
//! | fetches fail | the present keys verify tokens until [`max_stale`], then 503 |
//! | a set has no usable key, or has a secret | the node drops all keys of the issuer: 401 |
//!
//! Requests with an unknown key share one fetch, and wait for it at most one second. If the last
//! fetch began less than a [`cool_down`] ago, they start no new fetch, but wait for one under way.
//! If the key is still unknown after that, the answer depends on the node's keys. Keys are *fresh*
//! for the time that the issuer lets caches use them.
//!
//! | keys of the node | answer |
//! |--|--|
//! | fresh, or the last finished fetch succeeded | 401 ([`UnknownKey`]) |
//! | not fresh, and the last fetch failed | 503: the key may exist |
//! | never fetched | 503 |
//! | any, and the fetch is still under way after one second | 503 |
//!
//! The key server of one issuer cannot delay the tokens of another, nor tokens whose keys are
//! known. [`connect`] waits until the service has the keys of all issuers, and fails if it cannot
//! get them. [`build`] does not wait for them. The condition `issuer_keys` of
//! [`Status`](crate::tokens::Status) names each issuer whose last fetch failed.
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
//! | fresh time | the issuer's `max-age` within 5 minutes to 24 hours; without it 15 minutes |
//! | next fetch | after 85 to 90 % of the fresh time |
//! | fetches because of unknown keys | one in a `cool_down`: 60 s, or one second to an hour |
//! | pause after failed fetches | the `cool_down`, then twice as long each time, up to 5 minutes |
//! | age of keys whose fetches fail | `max_stale`: 24 hours, or the `cool_down` to a year |
//! | one fetch | 5 s ([`FETCH_DEADLINE`]) |
//! | one HTTP response (`jwks`) | 512 KiB; 3 redirects, to the same scheme, host and port only |
//! | key set | 256 KiB |
//! | keys tried for one token | 16 of its `kid` and algorithm |
//! | requests that wait for a fetch | 1024 for each issuer; others get their answer at once |
//!
//! So a withdrawn key verifies tokens for at most 90 % of the fresh time while fetches succeed. It
//! verifies them for `max_stale` while fetches fail. Choose a `max_stale` that is not shorter than
//! the fresh time.
//!
//! # Claims
//!
//! * Only the registered claims of RFC 7519 have a type: `iss`, `sub`, `aud`, `exp`, `nbf`, `iat`
//!   and `jti`. All others are custom claims as the issuer wrote them, also `scope`, `sid` and
//!   `type`.
//! * `exp` is required. [`IssuerPolicy::Denylist`] also needs `iat`, and at least one of token id,
//!   session and `sub`. Times may have fractions.
//! * The service reads scopes, roles, session and token id from the claims that the [`Preset`] or
//!   the issuer's settings name. A scope claim can be a text or an array. Values of other types
//!   count as absent.
//! * The lifetime from `iat` to `exp` may be 25 hours: see [`Issuer::max_access_lifetime`]. Without
//!   `iat`, the service counts the time until `exp`.
//! * The header's `typ` must be absent, `JWT` or `at+jwt`. With [`AccessTyp::AtJwt`] it must be
//!   `at+jwt`.
//! * The service refuses tokens with `cnf`, because it cannot check that the client has the key. It
//!   refuses tokens with `events` (logout tokens), and those whose claim `type` is `refresh`.
//!
//! Of the service's settings, `leeway`, `max_token_len`, `verified_cache` and `validator` apply to
//! all tokens. `audience`, `access_typ`, `max_access_lifetime`, `max_token_age` and
//! `require_claims` apply to own tokens only: an [`Issuer`] has its own.
//!
//! # Revocation
//!
//! Under [`IssuerPolicy::Denylist`], [`TokenService::external`] revokes here what the issuer
//! signed:
//!
//! | call | refused from then on | needs in the token |
//! |--|--|--|
//! | [`revoke_token_id`] | the token with this id | `jti`, or the claim of [`token_id_from`] |
//! | [`revoke_session`] | the session's tokens that were issued up to now | the session claim |
//! | [`revoke_subject`] | the subject's tokens that were issued up to now | `sub` |
//!
//! A revocation does not reach the issuer, which may give the user new tokens. The nodes accept
//! them, with one exception. For a session or a subject, the nodes also refuse a token that the
//! issuer signs less than the leeway after the revocation. By default this is about 6 s, with
//! rounding. So let the user log in again after that time.
//!
//! The service refuses each token that is older than the store's data set, or was issued less than
//! the leeway after the data set's creation. With a `MemoryStore` this concerns all tokens from
//! before a restart. [`accept_older_than_store`] accepts them: see its docs for the risk.
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
//! The clock of the node judges `exp`, `nbf` and `iat` of other issuers' tokens. The clock of the
//! store judges own tokens, and gives a revocation its time. Synchronize the node's clock by NTP.
//! The `leeway` (5 s) covers the differences between these clocks and that of the issuer.
//!
//! # Security
//!
//! * **Name an audience.** Otherwise the service accepts a token for any other application of the
//!   issuer. With [`Issuer::any_audience`], require a claim that names your application.
//! * **ID tokens are no access tokens.** Presets for Entra ID, Okta, Keycloak and Cognito refuse
//!   them. With other presets only the audience separates the two kinds, so use an audience that
//!   is no client's id.
//! * **Keys are public.** The service refuses the whole published set if it has a secret or a
//!   private key. It refuses a token that is signed by HMAC with the text of a public key.
//! * **A subject is not unique.** Two issuers can use the same `sub` for two people. Use
//!   [`issuer_subject`](crate::jwt::JwtClaims::issuer_subject), and never the subject alone.
//! * **Tenants are listed.** `{tenantid}` in an identifier stands only for the ids in
//!   [`Issuer::tenants`]. A key whose member `issuer` names one tenant then verifies only that
//!   tenant's tokens. Without `tenants`, the service does not read this member. An identifier with
//!   `{tenantid}` is no address: pass `HttpKeys` with `metadata_url` as the source.
//! * **An open response outlives its key.** The withdrawal of a key ends no open response. Only a
//!   revocation ends it, or the expiry if the layer says so.
//!   [`TokenService::check`](crate::TokenService::check) refuses claims whose key the issuer has
//!   withdrawn.
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
