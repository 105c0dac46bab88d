//! Issuing, checking, refreshing and revoking tokens: [`TokenService`].
//!
//! | step | what happens |
//! |--|--|
//! | [`create_token_pair`](TokenService::create_token_pair) | opens a session in the store, signs an access and a refresh token for it |
//! | [`validate_token`](TokenService::validate_token) | verifies the text, then finds out whether session and token are alive: from the store, or from a [replica](Consistency) of its log |
//! | [`refresh`](TokenService::refresh) | looks the user up again, moves the session's counter on in one atomic step, signs the successors |
//! | [`revoke_token`](TokenService::revoke_token), [`revoke_session`](TokenService::revoke_session), [`revoke_all_for_subject`](TokenService::revoke_all_for_subject) | one atomic step each, an error if the store has not confirmed it |
//!
//! # Refresh tokens
//!
//! A refresh token is good once. Whoever repeats it within [`TokenServiceBuilder::reuse_grace`] (two tabs, a lost answer) gets **the
//! same successor again**: the successor's identity (`jti`, `iat`, `exp`) is a function of the session's record, so no
//! sibling exists and nothing has to be kept. Any other repetition is taken as theft (RFC 9700 section 4.14.2): the
//! session ends with all its tokens, and [`SecurityEvent::ReuseDetected`] is emitted.
//!
//! Everything that can fail for the application's reasons (the user lookup, building claims, choosing the key) is done *before*
//! the counter moves, and only signing after it: a user database that is down for a minute must not turn the client's next try into
//! "theft".
//!
//! # Times
//!
//! `iat` is the store's time of the answer that allowed the token to be made, not this node's: a node that stalls, or
//! whose clock is fast, cannot make a token that outlives the record of its revocation.

mod auth_time;
mod builder;
mod cache;
mod check;
mod consistency;
mod events;
mod issue;
mod keyring;
mod lifetimes;
mod mint;
mod policy;
mod refresh;
mod revoke;
mod service;
mod session;
mod status;
mod validator;

pub use self::{
    auth_time::AuthTime,
    builder::TokenServiceBuilder,
    consistency::Consistency,
    events::SecurityEvent,
    policy::TokenPolicy,
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
pub use crate::replica::{ReplicaState, ReplicaStatus};
