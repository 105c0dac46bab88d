//! The observations: events, measurements, and their labels.

use std::time::Duration;

use crate::error::{Error, KeySourceErrorKind, PasswordError, StoreErrorKind, TokenError};

/// An event or a measurement. It contains no id and no secret.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Observation {
    /// The service has checked an access token: for a request, or in a call of
    /// [`validate_token`](crate::TokenService::validate_token) or
    /// [`check`](crate::TokenService::check). If the caller drops a check, there is no observation.
    #[non_exhaustive]
    Check {
        /// The result.
        result: CheckResult,
        /// The reason for a result other than `Accepted`.
        reason: CheckReason,
        /// The source that decided whether the token is revoked.
        decided_by: Decider,
        /// The outcome of the lookup in the verified-token cache.
        lookup: CacheLookup,
        /// The time that the check waited for the store. `None` if it did not wait: reading the
        /// clock would take longer than such a check.
        duration: Option<Duration>,
    },
    /// A layer has rejected a request with a challenge: 401, or 400 for a malformed credential.
    #[non_exhaustive]
    Challenge {
        /// The parameter `error` of the challenge.
        error: ChallengeError,
    },
    /// A layer has rejected a request with 403. Either the token does not meet a requirement, such
    /// as a scope. Or the token is in a cookie, and another site may have caused the request.
    Forbid,
    /// A login has opened a session.
    SessionOpened,
    /// A call has ended a session before its expiry, or all sessions of a user. A repeated call
    /// makes another observation.
    #[non_exhaustive]
    SessionEnded {
        /// The cause. If a call ends all sessions of a user, there is only one observation, because
        /// the store does not return their number.
        cause: SessionEnd,
    },
    /// The login endpoint has refused a login, or could not serve it.
    #[non_exhaustive]
    LoginFailed {
        /// The reason.
        reason: LoginFailure,
    },
    /// The service has processed a refresh request.
    #[non_exhaustive]
    Refresh {
        /// The result.
        result: RefreshResult,
    },
    /// This node has read a revocation from the log and applied it.
    ///
    /// The node reports the entries that it reads while it follows the log for requests or open
    /// streams, including those of its own revocations.
    ///
    /// After a start or a break of the log, the node begins at the newest entry, and then reads the
    /// older ones. It reports none of these entries.
    #[non_exhaustive]
    RevocationPropagated {
        /// The time from the revocation to the read, by this node's estimate of the store's clock.
        delay: Duration,
    },
    /// The state of this node's replica, once a second. Only under
    /// [`BoundedStaleness`](crate::Consistency::BoundedStaleness).
    #[non_exhaustive]
    Replica {
        /// The time since the last complete read of the log, for the bucket (partition of the
        /// users) with the oldest read. It grows while reads fail.
        age: Duration,
        /// The staleness that the service allows. If the age is greater, the node asks the store.
        bound: Duration,
        /// The count of buckets with a lease.
        leased_buckets: usize,
        /// The count of all buckets.
        buckets: usize,
        /// The count of revocations in the replica.
        revocations: usize,
        /// The memory of these revocations, in bytes.
        bytes: usize,
    },
    /// This node has lost its lease of some or all buckets. It now asks the store about the tokens
    /// of their users.
    #[non_exhaustive]
    LeaseLost {
        /// The reason.
        reason: LeaseLoss,
    },
    /// The store has lost revocations that this node has. The node now republishes them.
    #[non_exhaustive]
    RevocationsLost {
        /// The count of lost revocations in one bucket (partition of the users), at most 4096. The
        /// bucket may have lost more. Each bucket with a loss makes its own observation.
        count: usize,
    },
    /// This node has republished revocations that the store had lost.
    #[non_exhaustive]
    RevocationsRestored {
        /// The count of revocations.
        count: usize,
    },
    /// A call of the store has ended.
    #[non_exhaustive]
    StoreCall {
        /// The operation.
        operation: StoreOperation,
        /// The outcome.
        outcome: StoreOutcome,
        /// The time until the end of the call. `None` if the store answered without waiting, as the
        /// memory store does.
        duration: Option<Duration>,
    },
    /// A fetch of another issuer's keys has ended. The service makes a fetch for each issuer with a
    /// [`KeySource`](crate::issuers::KeySource). If the service is dropped during a fetch, there is
    /// no observation.
    ///
    /// The observation does not name the issuer, because names are not a fixed set of labels. The
    /// log and [`Status::issuers`](crate::tokens::Status::issuers) name it.
    #[non_exhaustive]
    KeysFetched {
        /// The result.
        result: KeyFetchResult,
        /// The time of the fetch, including the time to read the keys.
        duration: Duration,
    },
    /// The service has begun to watch an open response, connection or task (a stream).
    StreamOpened,
    /// A stream was dropped, after a cutoff or at its own end.
    StreamClosed,
    /// The service has cut a stream: the stream ends.
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
        /// The memory of these tokens, in bytes, as the cache counts it. The setting
        /// [`verified_cache`](crate::tokens::TokenServiceBuilder::verified_cache) limits it.
        bytes: u64,
    },
    /// A call has hashed a password.
    #[non_exhaustive]
    PasswordHashed {
        /// The time of the call, including the wait for a free worker.
        duration: Duration,
    },
    /// A call has compared a password with a hash. For an unknown user, that is a dummy hash.
    #[non_exhaustive]
    PasswordVerified {
        /// The time of the call, including the wait for a free worker.
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
        /// The token is refused. The response is 401.
        Refused = "refused",
        /// The node could not decide. The response is 503, or 500 if the application's code failed.
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
        /// No source: the service refused the token before it looked for a revocation, or the store
        /// failed, or the issuer has the policy
        /// [`Stateless`](crate::issuers::IssuerPolicy::Stateless).
        None = "none",
    }
}

labels! {
    /// The outcome of a check's lookup in the verified-token cache.
    CacheLookup {
        /// The cache has the token, so the check did not verify its signature again. The check may
        /// still refuse the token, for example because it has expired.
        Hit = "hit",
        /// The cache does not have the token, or an issuer has replaced the keys that verified it.
        /// A forged token is a miss too.
        Miss = "miss",
        /// No lookup: the cache is off, or the text is longer than a token may be, or
        /// [`check`](crate::TokenService::check) got claims in place of a token.
        None = "none",
    }
}

labels! {
    /// The parameter `error` of a challenge (RFC 6750 section 3.1).
    ChallengeError {
        /// No `error`, because the request has no credential.
        None = "none",
        /// `invalid_request`: the credential is malformed, or the request has several.
        InvalidRequest = "invalid_request",
        /// `invalid_token`: the token is refused.
        InvalidToken = "invalid_token",
    }
}

labels! {
    /// The cause of a session's end.
    SessionEnd {
        /// The client called the logout endpoint.
        Logout = "logout",
        /// The application or an endpoint revoked one session.
        Revoked = "revoked",
        /// The application or an endpoint revoked all sessions of a user, or all but one.
        RevokedAll = "revoked_all",
        /// A client sent a used refresh token again. A thief may have a copy.
        Reused = "reused",
        /// A login ended an older session, because the user had `max_sessions` sessions.
        Evicted = "evicted",
    }
}

labels! {
    /// The reason for a failed login.
    LoginFailure {
        /// The user name or the password is wrong, or the user may not log in.
        Credentials = "credentials",
        /// All sessions of the user were revoked during the login. The endpoint tried again, and
        /// all sessions were revoked again.
        Superseded = "superseded",
        /// The [`LoginGuard`](crate::endpoints::LoginGuard) refused the attempt.
        Limited = "limited",
        /// Too many passwords are being hashed at the same time.
        Overloaded = "overloaded",
        /// The store failed.
        Store = "store",
        /// The application's code or another part of the server failed.
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
        /// The client got an access token, and keeps its refresh token.
        NotRotated = "not_rotated",
        /// The refresh token was used before, so the store ended its session. A thief may have a
        /// copy.
        Reused = "reused",
        /// The refresh token is not valid, or the application refuses new tokens to the user.
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
        /// Exchanges a refresh token for its successor.
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
        /// Makes a harmless write, to check the readiness of the store.
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
    /// The reason why the service has cut a stream.
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
    /// The caller has dropped the call before the answer. Its client left, or a deadline passed.
    Dropped,
}

/// The result of a fetch of another issuer's keys.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum KeyFetchResult {
    /// The issuer has published usable keys. They may be those that the node had before.
    Ok,
    /// The node could not get usable keys.
    Failed(KeySourceErrorKind),
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
    /// The signature of the token is wrong.
    Signature,
    /// No key fits the `kid` and the algorithm of the token.
    UnknownKey,
    /// A claim is missing, or its value is not acceptable.
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
    /// The store failed, or this node has reached its limit of questions to the store.
    Store(StoreErrorKind),
    /// The node has no key for the token, and could not fetch the issuer's keys.
    IssuerKeys,
    /// The application's code or another part of the server failed.
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

/// All kinds of store errors. `MetricsObserver` registers a series for each kind.
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

/// All kinds of failed fetches. `MetricsObserver` registers a series for each kind.
#[cfg(feature = "metrics")]
pub(super) const KEY_SOURCE_ERRORS: [KeySourceErrorKind; 6] = [
    KeySourceErrorKind::Unreachable,
    KeySourceErrorKind::Timeout,
    KeySourceErrorKind::Status,
    KeySourceErrorKind::TooLarge,
    KeySourceErrorKind::Unreadable,
    KeySourceErrorKind::WrongIssuer,
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

impl KeyFetchResult {
    /// Returns the text of the label: `ok` or the kind of the failure.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed(KeySourceErrorKind::Unreachable) => "unreachable",
            Self::Failed(KeySourceErrorKind::Timeout) => "timeout",
            Self::Failed(KeySourceErrorKind::Status) => "status",
            Self::Failed(KeySourceErrorKind::TooLarge) => "too_large",
            Self::Failed(KeySourceErrorKind::Unreadable) => "unreadable",
            Self::Failed(KeySourceErrorKind::WrongIssuer) => "wrong_issuer",
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
            // A check of an access token never returns `Reused`.
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
    /// Returns the reason for a failed login.
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
