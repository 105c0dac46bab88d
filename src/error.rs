//! The errors of this crate, their faults and their remedies.
//!
//! | type | fault | on the wire |
//! |--|--|--|
//! | [`ConfigError`] | the developer's or the operator's: found by `build()` or `connect()` | never |
//! | [`TokenError`] | the client's: its token is no good | 401, `invalid_token` |
//! | [`StoreError`] | ours: the store did not do as asked | 503 |
//! | [`Error`] | any of these, as [`TokenService`](crate::TokenService) returns them | by [`Error::fault`] |
//!
//! No message, `Debug` text or source holds a token, a password, a hash or key material. Ids (`sub`,
//! `sid`, `jti`) are no secrets and may appear in `Debug`.
//! [`Error::fastcore_code`] gives the codes of [the predecessor](crate::compat).

use std::{borrow::Cow, error::Error as StdError, fmt};

use crate::{clock::Timestamp, ids::TokenId};

/// A boxed error of any type: that of an application's own callbacks.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// A setting that cannot work, found when the service or the store is built.
///
/// The message names the setting, says what is wrong with it and what to do.
/// [`kind`](Self::kind) is for code that has to tell the faults apart.
#[derive(Debug)]
pub struct ConfigError {
    kind: ConfigErrorKind,
    setting: &'static str,
    problem: Cow<'static, str>,
    remedy: Cow<'static, str>,
    source: Option<BoxError>,
}

/// The kinds of [`ConfigError`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ConfigErrorKind {
    /// A setting has to be given, and is not.
    Missing,
    /// A value cannot be read or used: a malformed name, key or URL, a weak secret, a server that
    /// is not fit.
    Invalid,
    /// A number or a duration is too small or too large.
    OutOfRange,
    /// A setting contradicts another one, or has no effect beside it.
    Conflict,
    /// This build, or this crate, cannot do it. A feature may be missing.
    Unsupported,
}

type Text = Cow<'static, str>;

impl ConfigError {
    fn of(kind: ConfigErrorKind, setting: &'static str, problem: Text, remedy: Text) -> Self {
        Self { kind, setting, problem, remedy, source: None }
    }

    /// Creates an error about an [`Invalid`](ConfigErrorKind::Invalid) value.
    pub(crate) fn new(setting: &'static str, problem: impl Into<Text>, remedy: impl Into<Text>) -> Self {
        Self::of(ConfigErrorKind::Invalid, setting, problem.into(), remedy.into())
    }

    /// Creates an error about a [`Missing`](ConfigErrorKind::Missing) setting.
    pub(crate) fn missing(setting: &'static str, problem: impl Into<Text>, remedy: impl Into<Text>) -> Self {
        Self::of(ConfigErrorKind::Missing, setting, problem.into(), remedy.into())
    }

    /// Creates an error about a value that is [`OutOfRange`](ConfigErrorKind::OutOfRange).
    pub(crate) fn out_of_range(setting: &'static str, problem: impl Into<Text>, remedy: impl Into<Text>) -> Self {
        Self::of(ConfigErrorKind::OutOfRange, setting, problem.into(), remedy.into())
    }

    /// Creates an error about settings in [`Conflict`](ConfigErrorKind::Conflict).
    pub(crate) fn conflict(setting: &'static str, problem: impl Into<Text>, remedy: impl Into<Text>) -> Self {
        Self::of(ConfigErrorKind::Conflict, setting, problem.into(), remedy.into())
    }

    /// Creates an error about an [`Unsupported`](ConfigErrorKind::Unsupported) demand.
    pub(crate) fn unsupported(setting: &'static str, problem: impl Into<Text>, remedy: impl Into<Text>) -> Self {
        Self::of(ConfigErrorKind::Unsupported, setting, problem.into(), remedy.into())
    }

    pub(crate) fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Names the setting `name`, by which the value was set, if the error names it `found`.
    pub(crate) fn set_by(mut self, found: &'static str, name: &'static str) -> Self {
        if self.setting == found {
            self.setting = name;
        }
        self
    }

    /// Names a part of the setting `name`, for example one key of a set, as the faulty one.
    pub(crate) fn of_part(mut self, name: &'static str, part: &str) -> Self {
        self.setting = name;
        self.problem = format!("{part} {}", self.problem).into();
        self
    }

    /// Returns the kind of the fault.
    #[must_use]
    pub fn kind(&self) -> ConfigErrorKind {
        self.kind
    }

    /// Returns the setting's name: that of the builder's method or of the environment variable.
    #[must_use]
    pub fn setting(&self) -> &'static str {
        self.setting
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}; {}", self.setting, self.problem, self.remedy)
    }
}

impl StdError for ConfigError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// The reason why a token is refused.
///
/// It is for logs and for the application. The client learns only that its token is invalid: a more
/// exact answer would help an attacker who probes (RFC 6750 section 5.3).
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The text is no compact JWS with a header and claims that keep the rules. The field names the
    /// rule.
    #[error("the token is malformed: {0}; send it as it was issued")]
    Malformed(&'static str),
    /// No configured key has verified the signature.
    #[error("no key of this service verifies the token's signature; add the issuer's key or log in again")]
    Signature,
    /// A claim is missing, of the wrong type or not acceptable. The field names it.
    #[error("the token's claims are not acceptable: {0}; compare them with the settings of this service")]
    Claims(&'static str),
    /// The token is good, but its claims do not fit the application's claims type. Most often the
    /// type has changed since the token was issued: give new fields `#[serde(default)]`. See
    /// [Changing your claims](crate::tokens#changing-your-claims).
    #[error("{}", custom_claims_text(*claim, *problem))]
    CustomClaims {
        /// The name of the claim, if it is known: that of a field of the type, never text of a token.
        claim: Option<&'static str>,
        /// The reason why it does not fit.
        problem: ClaimProblem,
    },
    /// An access token where a refresh token is needed, or the other way round.
    #[error("the token is of the wrong kind; send an access token with requests, a refresh token to refresh")]
    WrongType,
    /// `exp` has passed.
    #[error("the token expired at {at}; refresh it or log in again")]
    Expired {
        /// That moment, in seconds since the Unix epoch.
        at: Timestamp,
    },
    /// `nbf` or `iat` lies in the future.
    #[error("the token is not valid before {at}; compare the issuer's clock with this node's")]
    NotYetValid {
        /// The moment from which it is valid.
        at: Timestamp,
    },
    /// The signature is good, but the store knows no such session: it ended long ago, or was never
    /// opened.
    #[error("the store does not know the token's session; log in again")]
    UnknownSession,
    /// The session's lifetime is over, though the token's is not.
    #[error("the token's session has expired; log in again")]
    SessionExpired,
    /// The token, its session or all of its user's sessions were revoked.
    #[error("the token has been revoked; log in again")]
    Revoked {
        /// The token's `jti`.
        token_id: TokenId,
        /// The time of the revocation by the store's clock, if the store still knows it.
        revoked_at: Option<Timestamp>,
    },
    /// A refresh token was used again after its successor. Its session is now revoked (RFC 9700
    /// section 4.14.2).
    #[error("the refresh token was used before, so its session is now revoked; log in again")]
    Reused,
    /// The user does not exist or may not log in any more, so no new token is issued.
    #[error("the token's user may not have new tokens; check that the user exists and may log in")]
    UserRefused,
    /// The application's [`validator`](crate::tokens::TokenServiceBuilder::validator) refused it.
    #[error("the application's validator refused the token; log in again if its rule allows it")]
    Refused,
}

/// The reason why a token's claims do not fit the application's claims type.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ClaimProblem {
    /// The token lacks it.
    Missing,
    /// It is of another type, or the type does not accept its value.
    Unreadable,
}

fn custom_claims_text(claim: Option<&str>, problem: ClaimProblem) -> String {
    let subject = claim.map_or_else(|| "the application's own claims".to_owned(), |claim| format!("`{claim}`"));
    match problem {
        ClaimProblem::Missing => {
            format!("the token's claims are not the application's: {subject} is missing; give it `#[serde(default)]`")
        }
        ClaimProblem::Unreadable => format!(
            "the token's claims are not the application's: {subject} cannot be read as its type; accept older forms"
        ),
    }
}

/// A failure of the store, or an answer of it that cannot be trusted. Ask again later.
///
/// After [`StoreErrorKind::Timeout`] or [`StoreErrorKind::Unavailable`] a change may or may not have
/// been made. A revocation is idempotent: repeat it until it succeeds.
#[derive(Debug)]
pub struct StoreError {
    kind: StoreErrorKind,
    source: Option<BoxError>,
}

/// The kinds of [`StoreError`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// No connection, or the server cannot serve now (loading, read-only, cluster down). Fault: the
    /// store's.
    Unavailable,
    /// No answer in time. Fault: the store's or the network's.
    Timeout,
    /// The server is out of memory, so nothing new can be stored. Revocations still work. Fault: the
    /// operator's.
    OutOfMemory,
    /// An answer that does not belong to the question, or a record that cannot be read. It was not
    /// used. In the first case its connection was dropped as well.
    Untrusted,
    /// The store was set up by a deployment with other settings (layout version or number of
    /// buckets). Fault: the operator's.
    Layout,
    /// The server refused a command: for example rights that are missing. Fault: the operator's.
    Rejected,
    /// The node has used up its questions of this second. It asks the store about each token that was
    /// issued before its horizon: see
    /// [`max_questions`](crate::tokens::TokenServiceBuilder::max_questions). It passes by itself.
    Overloaded,
}

impl StoreError {
    /// Creates an error of this kind, for a store of your own.
    #[must_use]
    pub fn new(kind: StoreErrorKind) -> Self {
        Self { kind, source: None }
    }

    /// Adds the cause. It must not contain keys, tokens or credentials.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns the kind of the failure.
    #[must_use]
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            StoreErrorKind::Unavailable => "the token store is unavailable; check that it runs and can be reached",
            StoreErrorKind::Timeout => "the token store did not answer in time; check its load and the network",
            StoreErrorKind::OutOfMemory => "the token store is out of memory; raise maxmemory (revocations still work)",
            StoreErrorKind::Untrusted => {
                "the token store gave an answer that cannot be trusted; see the source and try again"
            }
            StoreErrorKind::Layout => {
                "the token store was set up with another layout; give every node the same prefix, version and buckets"
            }
            StoreErrorKind::Rejected => "the token store refused the command; check the rights of its user",
            StoreErrorKind::Overloaded => {
                "too many tokens have to be asked of the token store at once; it passes, or raise `max_questions`"
            }
        })
    }
}

impl StdError for StoreError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

impl From<StoreErrorKind> for StoreError {
    fn from(kind: StoreErrorKind) -> Self {
        Self::new(kind)
    }
}

/// A failure of an operation of [`TokenService`](crate::TokenService) or of its users.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The token is no good.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The store failed. Nothing may be concluded about the token.
    #[error("the token store failed; see the source and try again")]
    Store(#[from] StoreError),
    /// The user name or the password is wrong, or the user may not log in. The error does not say
    /// which of these.
    #[error("the credentials are not valid; check user name and password")]
    InvalidCredentials,
    /// All of the user's sessions were revoked while this login was under way. Log in again.
    #[error("the user's sessions were revoked during this login; log in again")]
    LoginSuperseded,
    /// The session cannot be issued as requested: a subject, scope, lifetime or claim is not allowed.
    #[error("the session cannot be issued: {0}")]
    Issue(Cow<'static, str>),
    /// An id that no token can have. Nothing was sent to the store.
    #[error("the {id} must be 1 to 255 bytes without control characters; give it as the token or the listing has it")]
    InvalidId {
        /// The kind of the id: `subject`, `session id` or `token id`.
        id: &'static str,
    },
    /// The signing key failed.
    #[error("the token could not be signed; check the signing key and its backend")]
    Signing,
    /// The application's own code (its user lookup, for example) failed.
    #[error("the application's own code failed; see the source")]
    Application(#[source] BoxError),
    /// A password could not be hashed. See [`PasswordError`].
    #[error(transparent)]
    Password(#[from] PasswordError),
}

/// The party at fault for an [`Error`]: it decides between 401, 503 and 500.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// The client's: its token or its credentials are no good (401; at the token endpoint 400 or
    /// 401), or an id that it named is none (400).
    Client,
    /// The store's: try again later (503).
    Store,
    /// The application's or this crate's (500).
    Internal,
}

impl Error {
    /// Returns the party at fault.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Token(_) | Self::InvalidCredentials | Self::LoginSuperseded | Self::InvalidId { .. } => Fault::Client,
            Self::Store(_) | Self::Password(PasswordError::Overloaded) => Fault::Store,
            Self::Issue(_) | Self::Signing | Self::Application(_) | Self::Password(_) => Fault::Internal,
        }
    }

    /// Wraps an error of the application's own code. If that code only passes on an error of this
    /// crate (a password check that was overloaded, a store that failed), it stays that error, and
    /// so keeps its fault.
    pub(crate) fn of_application(error: BoxError) -> Self {
        let error = match error.downcast::<Self>() {
            Ok(own) => return *own,
            Err(other) => other,
        };
        let error = match error.downcast::<StoreError>() {
            Ok(own) => return Self::Store(*own),
            Err(other) => other,
        };
        match error.downcast::<PasswordError>() {
            Ok(own) => Self::Password(*own),
            Err(other) => Self::Application(other),
        }
    }
}

/// A password that cannot be hashed or checked.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PasswordError {
    /// bcrypt reads at most 72 bytes, the last of which is its own end mark. It would cut anything
    /// longer silently (CVE-2025-22228). Ask for a shorter password.
    #[error("the password is longer than 71 bytes, which bcrypt cannot hold; ask for a shorter one")]
    TooLong,
    /// bcrypt ends at a NUL byte: `pass` and `pass\0junk` would be the same password.
    #[error("the password contains a NUL byte, which bcrypt cannot hold; ask for another one")]
    ContainsNul,
    /// An empty password is never hashed.
    #[error("the password is empty; ask for one")]
    Empty,
    /// Too many passwords are being hashed already. Ask again later.
    #[error("too many passwords are being checked at once; ask again later")]
    Overloaded,
    /// The hash function itself failed: no randomness, or its worker thread ended.
    #[error("the password could not be hashed; try again")]
    Failed,
}
