//! Issuing, checking, refreshing and revoking tokens: [`TokenService`].
//!
//! | call | what happens |
//! |--|--|
//! | [`create_token_pair`] | opens a session in the store, and signs its tokens |
//! | [`validate_token`] | verifies the token's text, then checks that the token is not revoked |
//! | [`refresh`] | asks the application for claims, rotates the session, and signs a new pair |
//! | [`revoke_token`], [`revoke_session`], [`revoke_all_for_subject`] | revoke in one atomic step |
//!
//! A check asks the store, or this node's copy of the store's revocation log: see [`Consistency`].
//! If the store does not confirm a revocation, the call returns an error.
//!
//! [`create_token_pair`]: TokenService::create_token_pair
//! [`validate_token`]: TokenService::validate_token
//! [`refresh`]: TokenService::refresh
//! [`revoke_token`]: TokenService::revoke_token
//! [`revoke_session`]: TokenService::revoke_session
//! [`revoke_all_for_subject`]: TokenService::revoke_all_for_subject
//!
//! # Refresh tokens
//!
//! A client exchanges a refresh token once, for a new pair of tokens: the *successor* of the old
//! token. If the client uses the old token again, for example from two tabs or after a lost
//! response:
//!
//! - Within [`TokenServiceBuilder::reuse_grace`], while the successor is unused, the service
//!   returns **the same successor again**. It computes the successor's `jti`, `iat` and `exp` from
//!   the session's record, so the store saves no tokens and no responses.
//! - Otherwise the service takes the use for theft (RFC 9700 section 4.14.2). The store ends the
//!   session with all its tokens, and the service emits [`SecurityEvent::ReuseDetected`].
//!
//! The service asks the application for claims, checks them and chooses the key *before* the store
//! rotates the session. If one of these steps fails, the refresh token stays unused, and the client
//! can try again.
//!
//! # Times
//!
//! The `iat` of a token is the store's time of its login or refresh. If it were the time of a node
//! whose clock is fast, the token could expire after the store has dropped the token's revocation.
//! The same could happen if the node stalls (`docs/protocol.md`, section 3).
//!
//! # Changing your claims
//!
//! After you deploy a new version of your claims type, clients still send tokens with old claims:
//! access tokens for minutes, refresh tokens for weeks. For a while, nodes of both versions run.
//!
//! | change | tokens with the old claims |
//! |--|--|
//! | a field is removed | are accepted without the field |
//! | a field is added with `#[serde(default)]` | are accepted and renewed with the default |
//! | a field is added without a default | are refused: [`TokenError::CustomClaims`] |
//! | a field is renamed, or has another type | are refused: [`TokenError::CustomClaims`] |
//!
//! So prefer `#[serde(default)]`. If a field has no good default, set an
//! [`on_refresh`](TokenServiceBuilder::on_refresh) hook. The hook gets the old claims of a refresh
//! token and returns new claims. If a node then refuses a client's access token, the client
//! refreshes and continues. Without a hook, the service refuses the refresh too, and the user must
//! log in again. A refusal because of old claims does not use up the refresh token. The refresh
//! endpoint has its own hook ([`renew_from`](crate::users::renew_from)), which builds the claims
//! from your user data.
//!
//! A new field must not have a reserved name, such as `scope`: see
//! [`claims`](TokenServiceBuilder::claims). `build` finds reserved names in a struct with derived
//! `Deserialize`, but not in flattened fields, maps, untagged enums and manual implementations. If
//! `build` misses a reserved name, the first login fails. So add a test that logs in once.
//!
//! A revocation never reads your claims, so [`revoke_token`](TokenService::revoke_token) accepts
//! tokens with claims of any version.
//!
//! [`TokenError::CustomClaims`]: crate::error::TokenError::CustomClaims
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use tower_bearer::{
//!     BoxError, MemoryStore, NewSession, Renewal, TokenService, tokens::Refreshing,
//! };
//!
//! # #[derive(Serialize)]
//! # struct Old { role: String }
//! #[derive(Clone, Serialize, Deserialize)]
//! struct MyClaims {
//!     role: String,
//!     #[serde(default)]
//!     beta: bool, // new: `false` in old tokens
//!     tenant: String, // new, without a good default
//! }
//!
//! async fn renew(session: Refreshing<MyClaims>) -> Result<Renewal<MyClaims>, BoxError> {
//!     if session.custom().is_some() {
//!         return Ok(Renewal::Keep);
//!     }
//!     // Claims of an older version. Ask your user database here.
//!     let old = session.raw_custom();
//!     let role = old.get("role").and_then(|role| role.as_str()).unwrap_or("guest").into();
//!     let claims = MyClaims { role, beta: false, tenant: "acme".to_owned() };
//!     Ok(Renewal::Replace { claims, scope: session.claims().scope().to_string() })
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), BoxError> {
//! # let store = std::sync::Arc::new(MemoryStore::default());
//! # let base = || {
//! #     TokenService::builder()
//! #         .secret("a test secret that is long enough for HS256")
//! #         .shared_store(store.clone())
//! # };
//! # let before = base().claims::<serde_json::Value>().build()?;
//! # let old = NewSession::new("42").claims(serde_json::to_value(Old { role: "owner".into() })?);
//! # let pair = before.create_token_pair(old).await?;
//! let tokens = base().claims::<MyClaims>().on_refresh(renew).build()?;
//!
//! let renewed = tokens.refresh(pair.refresh().as_str()).await?;
//! let access = renewed.access().as_str();
//! let claims = tokens.validate_token(access, tower_bearer::TokenType::Access).await?;
//! assert_eq!(claims.custom().role, "owner");
//! assert_eq!(claims.custom().tenant, "acme");
//! # Ok(())
//! # }
//! ```

mod auth_time;
mod builder;
mod cache;
mod check;
mod conditions;
mod consistency;
mod events;
mod external;
mod issue;
mod judge;
mod keyring;
mod lifetimes;
mod mint;
mod origin;
mod policy;
mod readiness;
mod refresh;
mod revoke;
mod sampler;
mod service;
mod session;
mod status;
mod store_clock;
mod streams;
mod validator;
mod verify;

pub use self::{
    auth_time::AuthTime,
    builder::TokenServiceBuilder,
    conditions::{Condition, ConditionKind},
    consistency::Consistency,
    events::SecurityEvent,
    external::ExternalTokens,
    readiness::Readiness,
    refresh::{OnRefresh, Refreshing, Renewal},
    revoke::Revoke,
    service::TokenService,
    session::{IssuedToken, NewSession, TokenPair},
    status::{ConsistencyStatus, KeyStatus, ServiceHealth, Status},
    validator::Validity,
};
pub(crate) use self::{
    check::{AccessCheck, Freshness, Lookup, Pending},
    mint::random_id,
};
pub use crate::{
    cutoff::StreamStatus,
    replica::{ReplicaState, ReplicaStatus},
};
