//! The errors that follow from the clock, the replica's verdict and the store's answers.

use crate::{
    clock::{Clock, Timestamp},
    cutoff::{DenialRules, Refusal, refusal},
    error::{Error, StoreError, StoreErrorKind, TokenError},
    ids::SessionId,
    jwt::{Claims, JwtClaims, TokenType},
    replica::{Alive, Bearer, Replica, Verdict},
    store::{Checked, Denial, ServerId, SessionState},
};

use super::conditions::Conditions;

/// Returns the error for a token whose text or times are refused. If the store has not answered
/// yet, the node does not know the store's time. A token that is refused for its times then gets
/// the error [`StoreErrorKind::Unavailable`].
#[cold]
pub(super) fn refusal_by(error: TokenError, clock: &dyn Clock, conditions: &Conditions) -> Error {
    let is_about_time = matches!(error, TokenError::NotYetValid { .. } | TokenError::Expired { .. });
    let epoch = Timestamp::default();
    if is_about_time && clock.now() == epoch && conditions.clock().now() != epoch {
        return StoreError::new(StoreErrorKind::Unavailable)
            .with_source("the store has not reported its time yet; try again, and check that it runs")
            .into();
    }
    error.into()
}

/// Returns an error if the deny set of this node contains a revocation of this refresh token. The
/// store may have lost the revocation.
pub(super) fn refuse_if_revoked<C>(replica: &Replica, claims: &Claims<C>) -> Result<(), TokenError> {
    let bearer = bearer(claims)?;
    match replica.verdict(&replica.route(&bearer), &bearer, Alive::default(), claims.memo()) {
        Verdict::Refused => Err(revoked(claims, None)),
        Verdict::Accepted | Verdict::BeforeHorizon | Verdict::Unknown => Ok(()),
    }
}

pub(super) const NO_SESSION: TokenError = TokenError::Claims("`sid` is missing");

/// Returns the ids and times with which the replica finds revocations of an own token.
pub(super) fn bearer<C>(claims: &JwtClaims<C>) -> Result<Bearer<'_>, TokenError> {
    claims.session_id().map(|session_id| bearer_of(claims, session_id.as_str())).ok_or(NO_SESSION)
}

/// Returns the ids and times of another issuer's token, which may have no session.
pub(super) fn external_bearer<C>(claims: &JwtClaims<C>) -> Bearer<'_> {
    bearer_of(claims, claims.session_id().map_or("", SessionId::as_str))
}

fn bearer_of<'a, C>(claims: &'a JwtClaims<C>, session_id: &'a str) -> Bearer<'a> {
    Bearer {
        issuer: claims.issuer().unwrap_or_default(),
        subject: claims.subject(),
        session_id,
        token_id: claims.token_id().as_str(),
        generation: claims.generation().unwrap_or_default(),
        issued_at: claims.issued_at(),
        expires_at: claims.expires_at(),
    }
}

/// The store's time in an answer that does not refuse the token, and the server that answered.
pub(super) type Confirmation = (Timestamp, Option<ServerId>);

/// Returns the verdict on an own token by the store's answer about the token's session.
pub(super) fn judge_session<C>(claims: &JwtClaims<C>, checked: &Checked) -> Result<Confirmation, Error> {
    match checked.state {
        SessionState::Active { counter, .. } => match claims.token_type() {
            // A refresh token with a successor is used up.
            Some(TokenType::Refresh) if refresh_counter(claims)? < counter => Err(revoked(claims, None).into()),
            _ => Ok((checked.now, checked.server)),
        },
        SessionState::Revoked { at } => Err(revoked(claims, at).into()),
        SessionState::Unknown => Err(TokenError::UnknownSession.into()),
        SessionState::Expired => Err(TokenError::SessionExpired.into()),
    }
}

/// Judges another issuer's token by the store's answer (`docs/protocol.md`, section 6).
pub(super) fn judge_denial<C>(
    claims: &JwtClaims<C>,
    denial: &Denial,
    rules: DenialRules,
) -> Result<Confirmation, Error> {
    match refusal(claims.issued_at(), denial, rules) {
        None => Ok((denial.now, denial.server)),
        Some(Refusal::Revoked(before)) => Err(revoked(claims, before).into()),
        Some(Refusal::BeforeMemory) => {
            Err(TokenError::Claims("the token was issued before the store began to record revocations").into())
        }
        Some(Refusal::BeyondMemory) => {
            Err(TokenError::Claims("the token is older than the time for which the store keeps revocations").into())
        }
    }
}

pub(super) fn revoked<C>(claims: &JwtClaims<C>, revoked_at: Option<Timestamp>) -> TokenError {
    TokenError::Revoked { token_id: claims.token_id().clone(), revoked_at }
}

/// Returns the counter of a refresh token from its `jti`: `<sid>.<counter>.r`.
pub(super) fn refresh_counter<C>(claims: &JwtClaims<C>) -> Result<u32, TokenError> {
    claims
        .session_id()
        .and_then(|sid| {
            claims.token_id().as_str().strip_prefix(sid.as_str())?.strip_prefix('.')?.strip_suffix(".r")?.parse().ok()
        })
        .ok_or(TokenError::Claims("`jti` and `sid` are not those of a refresh token of this service"))
}
