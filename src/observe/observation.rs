//! The observations: events, measurements, and their labels.

use std::time::Duration;

use crate::error::{Error, PasswordError, StoreErrorKind, TokenError};

/// An event or a measurement. It contains no id and no secret.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Observation {
    /// The service has checked an access token: for a request, for
    /// [`validate_token`](crate::TokenService::validate_token) or for
    /// [`check`](crate::TokenService::check). A check whose future is dropped is not observed.
    #[non_exhaustive]
    Check {
        /// The result.
        result: CheckResult,
        /// The reason for a result other than `Accepted`.
        reason: CheckReason,
        /// The source that decided about the revocation.
        decided_by: Decider,
        /// The time for which the check waited for the store. `None` if it did not wait: reading
        /// the clock would take longer than the rest of such a check.
        duration: Option<Duration>,
    },
    /// A layer has rejected a request with a challenge: 401, or 400 for a malformed credential.
    #[non_exhaustive]
    Challenge {
        /// The `error` of the challenge.
        error: ChallengeError,
    },
    /// A layer has rejected a request with 403. Its token lacks a scope or breaks a rule, or is in
    /// a cookie of a request that another site may have caused.
    Forbid,
    /// The service has opened a session: a login.
    SessionOpened,
    /// A session has ended before its expiry, or all sessions of a user have.
    #[non_exhaustive]
    SessionEnded {
        /// The cause. One observation of a cause that ends all sessions of a user counts them all,
        /// because the store does not return their number.
        cause: SessionEnd,
    },
    /// The login endpoint has refused a login, or could not serve it.
    #[non_exhaustive]
    LoginFailed {
        /// The reason.
        reason: LoginFailure,
    },
    /// The service has handled a refresh token.
    #[non_exhaustive]
    Refresh {
        /// The result.
        result: RefreshResult,
    },
    /// This node has read a revocation from the log and applied it.
    ///
    /// The node observes entries while it follows the log for requests or open streams. It does
    /// not observe the first page after a start or a break, and entries that it reads backwards.
    /// Its own revocations are included, although they hold here from their confirmation on.
    #[non_exhaustive]
    RevocationPropagated {
        /// The time from the revocation to its application, by this node's estimate of the store's
        /// clock.
        delay: Duration,
    },
    /// The state of this node's replica, once a second. Only under
    /// [`BoundedStaleness`](crate::Consistency::BoundedStaleness).
    #[non_exhaustive]
    Replica {
        /// The time since the node had read the whole log of each bucket (partition of the users).
        /// It grows while reads fail.
        age: Duration,
        /// The staleness that the service allows. At a greater age, the node asks the store.
        bound: Duration,
        /// The count of buckets with a lease.
        leased_buckets: usize,
        /// The count of all buckets.
        buckets: usize,
        /// The count of revocations in memory.
        revocations: usize,
        /// The memory of these revocations, in bytes.
        bytes: usize,
    },
    /// This node has lost its lease of some or all buckets, and asks the store about their users.
    #[non_exhaustive]
    LeaseLost {
        /// The reason.
        reason: LeaseLoss,
    },
    /// The store has lost revocations that this node has, and which it now republishes.
    #[non_exhaustive]
    RevocationsLost {
        /// The count of revocations that the node found first, all in one bucket.
        count: usize,
    },
    /// This node has republished revocations that the store had lost.
    #[non_exhaustive]
    RevocationsRestored {
        /// The count of revocations.
        count: usize,
    },
    /// The store has answered a call.
    #[non_exhaustive]
    StoreCall {
        /// The operation.
        operation: StoreOperation,
        /// The outcome.
        outcome: StoreOutcome,
        /// The time until the answer. `None` if the store answered without waiting, as the memory
        /// store does.
        duration: Option<Duration>,
    },
    /// A response, socket or task with a token of this service is open, and the service watches it.
    StreamOpened,
    /// The owner of an open stream has dropped it, after a cutoff or at its own end.
    StreamClosed,
    /// The service has cut an open stream.
    #[non_exhaustive]
    StreamCut {
        /// The cause.
        cause: StreamCause,
    },
    /// The state of the verified-token cache, once a second.
    #[non_exhaustive]
    Cache {
        /// The count of cached tokens.
        entries: usize,
        /// Their weight in bytes, which
        /// [`verified_cache`](crate::tokens::TokenServiceBuilder::verified_cache) limits.
        bytes: u64,
    },
    /// A password was hashed.
    #[non_exhaustive]
    PasswordHashed {
        /// The time of the call, with the wait for a free worker.
        duration: Duration,
    },
    /// A password was compared with a hash, or with nothing for an unknown user.
    #[non_exhaustive]
    PasswordVerified {
        /// The time of the call, with the wait for a free worker.
        duration: Duration,
    },
}

/// Defines a fixed set of labels with their texts.
macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        #[non_exhaustive]
        pub enum $name {
            $($(#[$variant_doc])* $variant),+
        }

        impl $name {
            /// All labels of this set.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Returns the text of the label.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text),+
                }
            }
        }
    };
}

labels! {
    /// The result of a check.
    CheckResult {
        /// The token is accepted.
        Accepted = "accepted",
        /// The token is refused: the response is 401.
        Refused = "refused",
        /// The node could not decide: the response is 503, or 500 for a failure of the application.
        Failed = "failed",
    }
}

labels! {
    /// The source that decided whether a token is revoked.
    Decider {
        /// This node's replica.
        Replica = "replica",
        /// The store.
        Store = "store",
        /// Nothing. The service refused the token before it asked about revocations, or the issuer
        /// has the policy [`Stateless`](crate::issuers::IssuerPolicy::Stateless).
        None = "none",
    }
}

labels! {
    /// The `error` of a challenge (RFC 6750 section 3.1).
    ChallengeError {
        /// The request has no credential: the challenge has no `error`.
        None = "none",
        /// `invalid_request`: the credential is malformed, or there are several.
        InvalidRequest = "invalid_request",
        /// `invalid_token`.
        InvalidToken = "invalid_token",
    }
}

labels! {
    /// The cause of a session's end.
    SessionEnd {
        /// The logout endpoint.
        Logout = "logout",
        /// A call that revokes one session, or the endpoint that ends one session.
        Revoked = "revoked",
        /// A call that revokes all sessions of a user, or all but one. Also the endpoint for that.
        RevokedAll = "revoked_all",
        /// A used refresh token was sent again: a thief may have a copy.
        Reused = "reused",
        /// A login above `max_sessions` ended an older session.
        Evicted = "evicted",
    }
}

labels! {
    /// The reason for a failed login.
    LoginFailure {
        /// The user name or the password is wrong, or the user may not log in.
        Credentials = "credentials",
        /// All sessions of the user were revoked during both attempts.
        Superseded = "superseded",
        /// The [`LoginGuard`](crate::endpoints::LoginGuard) refused the attempt.
        Limited = "limited",
        /// Too many passwords are being hashed.
        Overloaded = "overloaded",
        /// The store failed.
        Store = "store",
        /// The application's code failed, or another fault of the server.
        Internal = "internal",
    }
}

labels! {
    /// The result of a refresh.
    RefreshResult {
        /// The client got a new pair of tokens.
        Rotated = "rotated",
        /// The client repeated its request within the grace, and got the same pair again.
        Replayed = "replayed",
        /// The client got an access token from an endpoint that does not rotate.
        NotRotated = "not_rotated",
        /// The refresh token was used before: a thief may have a copy. Its session has ended.
        Reused = "reused",
        /// The refresh token is not valid, or its user may not have new tokens.
        Refused = "refused",
        /// The store or the application failed.
        Failed = "failed",
    }
}

labels! {
    /// An operation of the store.
    StoreOperation {
        /// Opens a session.
        Open = "open",
        /// Checks a token.
        Check = "check",
        /// Exchanges a refresh token.
        Rotate = "rotate",
        /// Revokes a session.
        RevokeSession = "revoke_session",
        /// Revokes a token.
        RevokeToken = "revoke_token",
        /// Revokes all sessions of a user.
        RevokeAll = "revoke_all",
        /// Lists sessions.
        Sessions = "sessions",
        /// Asks for the store's time.
        Ping = "ping",
        /// Makes the write of a readiness check.
        Probe = "probe",
        /// Reads pages of the revocation log.
        ReadLog = "read_log",
        /// Republishes a lost revocation.
        Republish = "republish",
        /// Revokes another issuer's token, session or user.
        Deny = "deny",
        /// Checks another issuer's token.
        Denied = "denied",
    }
}

labels! {
    /// The cause for which the service has cut a stream.
    StreamCause {
        /// The token was revoked.
        Revoked = "revoked",
        /// The token has expired.
        Expired = "expired",
        /// The store did not confirm the token in time.
        Unconfirmed = "unconfirmed",
    }
}

/// The outcome of a call to the store.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum StoreOutcome {
    /// The store has answered.
    Ok,
    /// The store has failed.
    Failed(StoreErrorKind),
    /// The caller has dropped the call before the answer: a client that went away, or a deadline.
    Dropped,
}

/// The reason for the result of a check.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum CheckReason {
    /// The token is accepted.
    None,
    /// The text is not a token.
    Malformed,
    /// The service accepts no tokens of the token's issuer.
    UnknownIssuer,
    /// The key that fits the token does not verify the signature.
    Signature,
    /// No key fits the `kid` and the algorithm of the token.
    UnknownKey,
    /// A claim is missing or not acceptable.
    Claims,
    /// The claims do not fit the application's claims type.
    CustomClaims,
    /// The token is a refresh token.
    WrongType,
    /// The token has expired.
    Expired,
    /// The token is not valid yet.
    NotYetValid,
    /// The store has no record of the session.
    UnknownSession,
    /// The session has expired.
    SessionExpired,
    /// The token, its session or all sessions of its user were revoked.
    Revoked,
    /// The application's validator refused the token.
    Validator,
    /// The store failed, or this node has asked it too often.
    Store(StoreErrorKind),
    /// The node has no key for the token, and could not fetch the issuer's keys.
    IssuerKeys,
    /// The application's code failed, or another fault of the server.
    Internal,
}

/// The reason for the loss of a lease.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum LeaseLoss {
    /// The node cannot read the store's log.
    Store(StoreErrorKind),
    /// The store has lost or replaced its log, or another server answers.
    Resync,
    /// The task that reads the log has ended.
    Stopped,
    /// The node has no lease for another reason, such as a slow read.
    Late,
}

/// All kinds of store errors, each of which has a series from the start.
#[cfg(feature = "metrics")]
pub(super) const STORE_ERRORS: [StoreErrorKind; 7] = [
    StoreErrorKind::Unavailable,
    StoreErrorKind::Timeout,
    StoreErrorKind::OutOfMemory,
    StoreErrorKind::Untrusted,
    StoreErrorKind::Layout,
    StoreErrorKind::Rejected,
    StoreErrorKind::Overloaded,
];

/// Returns the label of a store error.
const fn store_label(kind: StoreErrorKind) -> &'static str {
    match kind {
        StoreErrorKind::Unavailable => "unavailable",
        StoreErrorKind::Timeout => "timeout",
        StoreErrorKind::OutOfMemory => "out_of_memory",
        StoreErrorKind::Untrusted => "untrusted",
        StoreErrorKind::Layout => "layout",
        StoreErrorKind::Rejected => "rejected",
        StoreErrorKind::Overloaded => "overloaded",
    }
}

impl StoreOutcome {
    /// Returns the text of the label: `ok`, `dropped` or the kind of the error.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed(kind) => store_label(kind),
            Self::Dropped => "dropped",
        }
    }
}

impl CheckReason {
    /// Returns the text of the label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Malformed => "malformed",
            Self::UnknownIssuer => "unknown_issuer",
            Self::Signature => "signature",
            Self::UnknownKey => "unknown_key",
            Self::Claims => "claims",
            Self::CustomClaims => "custom_claims",
            Self::WrongType => "wrong_type",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::UnknownSession => "unknown_session",
            Self::SessionExpired => "session_expired",
            Self::Revoked => "revoked",
            Self::Validator => "validator",
            Self::Store(kind) => store_label(kind),
            Self::IssuerKeys => "issuer_keys",
            Self::Internal => "internal",
        }
    }
}

impl LeaseLoss {
    /// Returns the text of the label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Store(kind) => store_label(kind),
            Self::Resync => "resync",
            Self::Stopped => "stopped",
            Self::Late => "late",
        }
    }
}

impl CheckResult {
    /// Returns the result and the reason of a failed check.
    pub(crate) fn of(error: &Error) -> (Self, CheckReason) {
        match error {
            Error::Token(error) => (Self::Refused, CheckReason::of(error)),
            Error::Store(error) => (Self::Failed, CheckReason::Store(error.kind())),
            Error::IssuerKeys(_) => (Self::Failed, CheckReason::IssuerKeys),
            _ => (Self::Failed, CheckReason::Internal),
        }
    }
}

impl CheckReason {
    fn of(error: &TokenError) -> Self {
        match error {
            TokenError::Malformed(_) => Self::Malformed,
            TokenError::UnknownIssuer => Self::UnknownIssuer,
            TokenError::Signature => Self::Signature,
            TokenError::UnknownKey => Self::UnknownKey,
            TokenError::Claims(_) => Self::Claims,
            TokenError::CustomClaims { .. } => Self::CustomClaims,
            TokenError::WrongType => Self::WrongType,
            TokenError::Expired { .. } => Self::Expired,
            TokenError::NotYetValid { .. } => Self::NotYetValid,
            TokenError::UnknownSession => Self::UnknownSession,
            TokenError::SessionExpired => Self::SessionExpired,
            // No check of an access token reports a reuse.
            TokenError::Revoked { .. } | TokenError::Reused => Self::Revoked,
            TokenError::UserRefused | TokenError::Refused => Self::Validator,
        }
    }
}

impl RefreshResult {
    /// Returns the result of a failed refresh.
    pub(crate) fn of(error: &Error) -> Self {
        match error {
            Error::Token(TokenError::Reused) => Self::Reused,
            Error::Token(_) | Error::InvalidId { .. } => Self::Refused,
            _ => Self::Failed,
        }
    }
}

impl LoginFailure {
    /// Returns the reason of a failed login.
    pub(crate) fn of(error: &Error) -> Self {
        match error {
            Error::InvalidCredentials | Error::Token(_) | Error::InvalidId { .. } => Self::Credentials,
            Error::LoginSuperseded => Self::Superseded,
            Error::Password(PasswordError::Overloaded) => Self::Overloaded,
            Error::Store(_) => Self::Store,
            _ => Self::Internal,
        }
    }
}
