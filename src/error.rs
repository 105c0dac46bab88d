//! The errors of this crate, with the party at fault and the response to the client.
//!
//! | type | fault | response |
//! |--|--|--|
//! | [`ConfigError`] | the developer's or the operator's: `build()` or `connect()` fails | none |
//! | [`TokenError`] | the client's: its token is refused | 401, `invalid_token` |
//! | [`StoreError`] | the store's: it failed, or its answer is not trustworthy | 503 |
//! | [`KeySourceError`] | another issuer's: its key server gave no usable keys | 503 |
//! | [`Error`] | any of these, from [`TokenService`](crate::TokenService) | by [`Error::fault`] |
//!
//! No message, `Debug` text or source contains a token, a password, a hash or key material. `Debug`
//! texts may contain ids (`sub`, `sid`, `jti`), because ids are not secret.
//! [`Error::fastcore_code`] returns the error codes of [the predecessor](crate::compat).

use std::{borrow::Cow, error::Error as StdError, fmt};

use crate::{clock::Timestamp, ids::TokenId};

/// Writes the text of an error and of its sources, separated by `: `. `Debug` of this crate's
/// errors uses this function, because `main` prints a returned error with `Debug`.
pub(crate) fn write_chain(error: &dyn StdError, f: &mut impl fmt::Write) -> fmt::Result {
    write!(f, "{error}")?;
    let mut source = error.source();
    while let Some(cause) = source {
        write!(f, ": {cause}")?;
        source = cause.source();
    }
    Ok(())
}

/// Returns the text of an error and of its sources, separated by `: `.
pub(crate) fn chain(error: &dyn StdError) -> String {
    let mut text = String::new();
    // Writing to a `String` cannot fail.
    let _ = write_chain(error, &mut text);
    text
}

macro_rules! debug_as_chain {
    ($($error:ty),+ $(,)?) => {
        $(impl fmt::Debug for $error {
            /// Formats the error and its sources as text.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_chain(self, f)
            }
        })+
    };
}

debug_as_chain!(ConfigError, StoreError, KeySourceError, Error);

/// A boxed error of any type. The application's callbacks return this type.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// An error in a setting. The application gets it when it builds the service or the store.
///
/// The message names the setting, the problem and the remedy. [`kind`](Self::kind) lets code
/// distinguish the problems.
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
    /// A required setting is absent.
    Missing,
    /// A value is not usable. Examples are a malformed URL, a weak secret and an unsuitable server.
    Invalid,
    /// A number or a duration is too small or too large.
    OutOfRange,
    /// A setting contradicts another setting, or has no effect because of it.
    Conflict,
    /// This crate or this build does not support the setting. A Cargo feature may be missing.
    Unsupported,
    /// The keys of an issuer could not be fetched. The source of the error is a [`KeySourceError`].
    Unreachable,
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

    /// Creates an error of the kind [`Conflict`](ConfigErrorKind::Conflict): two settings
    /// contradict each other.
    pub(crate) fn conflict(setting: &'static str, problem: impl Into<Text>, remedy: impl Into<Text>) -> Self {
        Self::of(ConfigErrorKind::Conflict, setting, problem.into(), remedy.into())
    }

    /// Creates an error about an [`Unsupported`](ConfigErrorKind::Unsupported) setting.
    pub(crate) fn unsupported(setting: &'static str, problem: impl Into<Text>, remedy: impl Into<Text>) -> Self {
        Self::of(ConfigErrorKind::Unsupported, setting, problem.into(), remedy.into())
    }

    /// Creates an error about an issuer whose keys are
    /// [`Unreachable`](ConfigErrorKind::Unreachable).
    pub(crate) fn unreachable(setting: &'static str, issuer: &str, error: KeySourceError) -> Self {
        let problem = format!("names the issuer `{issuer}`, whose keys were not fetched");
        let remedy = "correct the cause after this text, or call `build`, which does not wait for keys";
        Self::of(ConfigErrorKind::Unreachable, setting, problem.into(), remedy.into()).with_source(error)
    }

    pub(crate) fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Renames the setting `found` to `name` in this error. Changes nothing if the error is about
    /// another setting. Use the method if the operator knows `found` under another name, such as
    /// that of an environment variable.
    pub(crate) fn set_by(mut self, found: &'static str, name: &'static str) -> Self {
        if self.setting == found {
            self.setting = name;
        }
        self
    }

    /// Replaces the setting's name in the error by `name`, and puts `part` before the problem.
    /// `part` names a part of the setting, such as one key of a set.
    pub(crate) fn of_part(mut self, name: &'static str, part: &str) -> Self {
        self.setting = name;
        self.problem = format!("{part} {}", self.problem).into();
        self
    }

    /// Returns the kind of the problem.
    #[must_use]
    pub fn kind(&self) -> ConfigErrorKind {
        self.kind
    }

    /// Returns the name of the wrong setting: a method of the builder or an environment variable.
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
/// The reason is for logs and for the application. The client learns only that its token is
/// invalid, because details would help an attacker. RFC 6750 section 3.1 has one code for all these
/// reasons.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// The token is not a compact JWS, or its header or payload breaks a rule. The field names the
    /// rule.
    #[error("the token is malformed: {0}; send the token unchanged, as it was issued")]
    Malformed(&'static str),
    /// The token has no `iss`, or its `iss` is an issuer that the service does not accept.
    #[error(
        "the service does not accept the token's issuer (`iss`); log in at another issuer, or add this one with `accept`"
    )]
    UnknownIssuer,
    /// The signature is wrong, although the service has a key with the token's `kid` and algorithm.
    /// Someone changed or forged the token, or replaced the key under the same `kid`.
    #[error("the token's signature is wrong; send the token unchanged, or log in again")]
    Signature,
    /// The service has no key with the token's `kid` and algorithm. The issuer's key is missing or
    /// was removed, or the token comes from another issuer.
    ///
    /// A token without `kid` gets this error in two cases:
    ///
    /// * Several keys have the token's algorithm, and each of these keys has a `kid`.
    /// * Another issuer signed the token, and no key verifies the signature.
    #[error("the service has no key with the token's `kid` and algorithm; add the issuer's key or log in again")]
    UnknownKey,
    /// A claim is missing, has the wrong type or has a value that is not acceptable. The field
    /// names the claim.
    #[error("the token's claims are not acceptable: {0}; compare the claims with the settings of this service")]
    Claims(&'static str),
    /// The token is valid, but its claims do not fit the application's claims type. Usually the
    /// application has changed the type since it issued the token. See
    /// [Changing your claims](crate::tokens#changing-your-claims).
    #[error("{}", custom_claims_text(*claim, *problem))]
    CustomClaims {
        /// The name of the field in the claims type, if known. The name never contains text of the
        /// token.
        claim: Option<&'static str>,
        /// The reason why the claim does not fit.
        problem: ClaimProblem,
    },
    /// The call needs a refresh token, but got an access token, or the other way round.
    #[error(
        "the call got a refresh token in place of an access token, or the reverse; use the refresh token only to refresh"
    )]
    WrongType,
    /// `exp` has passed.
    #[error("the token expired at {at}; refresh it or log in again")]
    Expired {
        /// The value of `exp`.
        at: Timestamp,
    },
    /// `nbf` or `iat` lies in the future.
    #[error("the token is not valid before {at}; compare the clock of the token's issuer with the clock of this node")]
    NotYetValid {
        /// The value of `nbf` or `iat`.
        at: Timestamp,
    },
    /// The store has no record of the token's session. The session ended long ago, or the store has
    /// lost it.
    #[error("the store has no record of the token's session; log in again")]
    UnknownSession,
    /// The session has expired, although the token has not.
    #[error("the token's session has expired; log in again")]
    SessionExpired,
    /// The token, its session or all of its user's sessions were revoked.
    #[error("the token has been revoked; log in again")]
    Revoked {
        /// The token's `jti`.
        token_id: TokenId,
        /// The time of the revocation by the store's clock, if the store returned it.
        revoked_at: Option<Timestamp>,
    },
    /// The refresh token was used before, and the reuse grace does not cover this second use. The
    /// store has revoked the session (RFC 9700 section 4.14.2).
    #[error("the refresh token was used before, so its session is now revoked; log in again")]
    Reused,
    /// The user does not exist or may not log in any more, so no new token is issued.
    #[error("the application gives the token's user no new tokens; check that the user exists and may log in")]
    UserRefused,
    /// The application's [`validator`](crate::tokens::TokenServiceBuilder::validator) refused the
    /// token.
    #[error("the application's `validator` refused the token; log in again, or change the validator")]
    Refused,
}

/// The reason why a token's claims do not fit the application's claims type.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ClaimProblem {
    /// The token lacks the claim.
    Missing,
    /// The claim has another JSON type, or the application's type does not accept its value.
    Unreadable,
}

fn custom_claims_text(claim: Option<&str>, problem: ClaimProblem) -> String {
    let subject = claim.map_or_else(|| "a claim of the application".to_owned(), |claim| format!("the claim `{claim}`"));
    match problem {
        ClaimProblem::Missing => {
            format!("the token lacks {subject}; give each new field of the claims type `#[serde(default)]`")
        }
        ClaimProblem::Unreadable => {
            format!("{subject} in the token does not fit the claims type; make the type accept older tokens too")
        }
    }
}

/// A failure of the store, or an answer that is not trustworthy. The caller may try again later.
///
/// After any error the store may or may not have made the change. A revocation is idempotent:
/// repeat the call until it succeeds.
pub struct StoreError {
    kind: StoreErrorKind,
    source: Option<BoxError>,
}

/// The kinds of [`StoreError`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The node has no connection, or the server cannot serve now (loading, read-only, cluster
    /// down). Fault: the store's.
    Unavailable,
    /// The store did not answer in time. Fault: the store's or the network's.
    Timeout,
    /// The server is out of memory, so it refuses new sessions. Revocations still work. Fault: the
    /// operator's.
    OutOfMemory,
    /// The answer does not match the request, or a record is unreadable. The node did not use the
    /// answer. If the answer did not match, the node also closed the connection.
    Untrusted,
    /// Another deployment has set up the store with other settings (layout version or number of
    /// buckets). Fault: the operator's.
    Layout,
    /// The server refused a command, for example because the user lacks rights. Fault: the
    /// operator's.
    Rejected,
    /// This node has reached the limit
    /// [`max_questions`](crate::tokens::TokenServiceBuilder::max_questions), so it did not ask the
    /// store. The limit applies to tokens from before the node's horizon. Try again later.
    Overloaded,
}

impl StoreError {
    /// Creates an error of this kind. Call this in your own implementation of a store.
    #[must_use]
    pub fn new(kind: StoreErrorKind) -> Self {
        Self { kind, source: None }
    }

    /// Adds the cause, which must not contain keys, tokens or credentials.
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
    /// Formats the failure. Adds a remedy only if the error has no source, because the text of a
    /// source contains a remedy.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (problem, remedy) = match self.kind {
            StoreErrorKind::Unavailable => ("the token store is unavailable", "check that it runs and can be reached"),
            StoreErrorKind::Timeout => ("the token store did not answer in time", "check its load and the network"),
            StoreErrorKind::OutOfMemory => {
                ("the token store is out of memory", "raise its limit (revocations still work)")
            }
            StoreErrorKind::Untrusted => ("the token store sent an unusable answer", "try again"),
            StoreErrorKind::Layout => (
                "the token store was set up with another layout",
                "give every node the same prefix, version and buckets",
            ),
            StoreErrorKind::Rejected => ("the token store refused the command", "check the rights of its user"),
            StoreErrorKind::Overloaded => {
                ("this node sends too many questions to the token store", "try again later, or raise `max_questions`")
            }
        };
        match self.source {
            Some(_) => f.write_str(problem),
            None => write!(f, "{problem}; {remedy}"),
        }
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

/// A failure to fetch the keys of another issuer.
///
/// The error texts of this crate never contain the credentials of a URL or a proxy.
pub struct KeySourceError {
    kind: KeySourceErrorKind,
    source: Option<BoxError>,
}

/// The kinds of [`KeySourceError`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum KeySourceErrorKind {
    /// The node could not connect to the server, or the connection broke. The host name, the port,
    /// TLS or the proxy is wrong, or the server is down.
    Unreachable,
    /// The answer did not arrive within [`FETCH_DEADLINE`](crate::issuers::FETCH_DEADLINE). A
    /// request also gets this kind if it has waited for a fetch for 1 second.
    Timeout,
    /// The server answered with another status than 200, or with a redirect that the crate does not
    /// follow.
    Status,
    /// The answer is longer than the limit of 512 KiB.
    TooLarge,
    /// The answer is not a JWK Set or a metadata document. Or the set is larger than 256 KiB,
    /// contains a secret or private key, or contains no usable key.
    Unreadable,
    /// The metadata document names another issuer (`OpenID` Connect Discovery 1.0 section 4.3, RFC
    /// 8414 section 3.3).
    WrongIssuer,
}

impl KeySourceError {
    /// Creates an error of this kind.
    #[must_use]
    pub fn new(kind: KeySourceErrorKind) -> Self {
        Self { kind, source: None }
    }

    /// Adds the cause, which must not contain credentials.
    #[must_use]
    pub fn with_source(self, source: impl Into<BoxError>) -> Self {
        Self { source: Some(source.into()), ..self }
    }

    /// Returns the kind of the failure.
    #[must_use]
    pub fn kind(&self) -> KeySourceErrorKind {
        self.kind
    }
}

impl fmt::Display for KeySourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            KeySourceErrorKind::Unreachable => {
                "the issuer's key server cannot be reached; check its address, TLS and the proxy"
            }
            KeySourceErrorKind::Timeout => {
                "the issuer's key server did not answer in time; check its load and the network"
            }
            KeySourceErrorKind::Status => {
                "the issuer's key server did not answer with the keys; check the URL in a browser"
            }
            KeySourceErrorKind::TooLarge => "the answer of the issuer's key server is too long; check the URL",
            KeySourceErrorKind::Unreadable => {
                "the issuer's key server sent no usable keys; check the URL, and the `algorithms` of the issuer"
            }
            KeySourceErrorKind::WrongIssuer => {
                "the metadata document names another issuer; configure exactly the `issuer` of the document"
            }
        })
    }
}

impl StdError for KeySourceError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// A failure of [`TokenService`](crate::TokenService), or of the code that calls or extends it.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The token is refused.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The store failed. The node does not know if the token is valid.
    #[error("the token store failed; see the source of this error")]
    Store(#[from] StoreError),
    /// The node has no key for the token of another issuer, and could not fetch the issuer's keys.
    /// The node does not know if the token is valid.
    #[error("the keys of the token's issuer are not available; see the source of this error")]
    IssuerKeys(#[from] KeySourceError),
    /// The user name or the password is wrong, or the user may not log in. The error does not say
    /// which, because the reason would reveal user names.
    #[error("the credentials are not valid; check the user name and the password")]
    InvalidCredentials,
    /// All of the user's sessions were revoked during this login. The client must log in again.
    #[error("the user's sessions were revoked during this login; log in again")]
    LoginSuperseded,
    /// A subject, label, scope, lifetime or claim is not allowed, or the service's configuration
    /// does not allow the operation.
    #[error("the operation is not possible: {0}")]
    Issue(Cow<'static, str>),
    /// The id is empty, has more than 255 bytes or contains control characters. The node did not
    /// send the id to the store.
    #[error(
        "the {id} must be 1 to 255 bytes without control characters; copy it unchanged from a token or a list of sessions"
    )]
    InvalidId {
        /// The kind of the id: `subject`, `session id` or `token id`.
        id: &'static str,
    },
    /// The service has no signing key, the key failed, or the system returned no random bytes.
    #[error(
        "the token could not be signed; check that the service has a signing key, and that the system gives random bytes"
    )]
    Signing,
    /// The application's own code failed. An example is its user lookup.
    #[error("the application's own code failed; see the source of this error and correct the code")]
    Application(#[source] BoxError),
    /// A password could not be hashed. See [`PasswordError`].
    #[error(transparent)]
    Password(#[from] PasswordError),
}

/// The party at fault for an [`Error`]. The fault decides the HTTP status.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Fault {
    /// The client: its token or its credentials are refused (401; at the refresh endpoint 400), or
    /// an id is malformed (400).
    Client,
    /// The store, or an overload of the node. The client may try again later (503).
    Store,
    /// Another issuer: its key server gave no usable keys. The client may try again later (503).
    Issuer,
    /// The application or this crate (500).
    Internal,
}

impl Error {
    /// Returns the party at fault.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self {
            Self::Token(_) | Self::InvalidCredentials | Self::LoginSuperseded | Self::InvalidId { .. } => Fault::Client,
            Self::Store(_) | Self::Password(PasswordError::Overloaded) => Fault::Store,
            Self::IssuerKeys(_) => Fault::Issuer,
            Self::Issue(_) | Self::Signing | Self::Application(_) | Self::Password(_) => Fault::Internal,
        }
    }

    /// Wraps an error of the application's code. Returns an error of this crate unchanged, so that
    /// its [`fault`](Error::fault) stays the same. An example is the error of an overloaded
    /// password check.
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
    /// The password has more than 71 bytes. bcrypt would ignore the rest without an error
    /// (CVE-2025-22228).
    #[error("the password is longer than the 71 bytes that bcrypt can hash; ask the user for a shorter password")]
    TooLong,
    /// The password contains a NUL byte. bcrypt would ignore the text after it, so `pass` and
    /// `pass\0junk` would be the same password.
    #[error("the password contains a NUL byte, which bcrypt cannot hash; ask the user for another password")]
    ContainsNul,
    /// The password is empty.
    #[error("the password is empty; ask the user for a password")]
    Empty,
    /// Too many computations are running or waiting. Try again later.
    #[error("the node is already hashing as many passwords as it may; try again later, or raise `max_concurrent`")]
    Overloaded,
    /// The system returned no random bytes, or the computation ended early.
    #[error(
        "the password could not be hashed, because the system gave no random bytes or the computation ended early; \
         try again, and restart the node if this repeats"
    )]
    Failed,
}
