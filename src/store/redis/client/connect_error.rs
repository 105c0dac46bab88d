//! The error of connecting.

use std::{error::Error as StdError, fmt};

use crate::{
    error::{ConfigError, StoreError, StoreErrorKind, write_chain},
    store::redis::client::{answer::cause_of, cause::RedisCause, credentials::CredentialsError},
};

/// The error of connecting a store to its servers.
///
/// The variant shows if a setting is wrong. [`kind`](Self::kind) returns the cause.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// A setting of the store or of the server is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The server did not answer as expected. A later attempt may succeed.
    #[error("the Redis server cannot be reached or did not answer as expected; see the source of this error")]
    Store(#[from] StoreError),
}

/// The kinds of [`ConnectError`].
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum ConnectErrorKind {
    /// No server answered in time, no server can serve calls now, or the sentinels name no primary.
    /// A later attempt may succeed.
    Unreachable,
    /// The credentials provider gave no credentials. The source is a
    /// [`CredentialsError`](crate::store::redis::CredentialsError). A later attempt may succeed.
    Credentials,
    /// TLS failed: a certificate of the server or of this node is wrong, or the server has no TLS.
    Tls,
    /// The server refused the user or password.
    Unauthenticated,
    /// The user lacks a right that the store needs.
    Forbidden,
    /// The server's version is too old.
    Version,
    /// The server's eviction policy may delete keys, and so revocations.
    Eviction,
    /// The keys under the prefix have another layout, or another number of buckets.
    Layout,
    /// A setting of the store is wrong.
    Configuration,
    /// The server answered with any other error, or the answer does not fit the command.
    Server,
}

/// A property for which the store rejects the server. It is the source of a [`ConfigError`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unfit {
    /// The server's version.
    #[error("the Redis server has version {0:.20}, which is too old; use Redis 7.0 or later, or Valkey")]
    Version(String),
    /// The server's eviction policy.
    #[error(
        "the eviction policy {0:.20} of the Redis server may delete revocations; set `maxmemory-policy` to `noeviction`"
    )]
    Eviction(String),
    /// Commands to which the user has no right.
    #[error("the Redis user has no right to {0}; grant the right with ACL SETUSER")]
    Rights(String),
}

impl fmt::Debug for ConnectError {
    /// Formats the error and its sources as text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_chain(self, f)
    }
}

impl ConnectError {
    /// Returns true if a later attempt may succeed without a changed setting.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self.kind() {
            ConnectErrorKind::Unreachable | ConnectErrorKind::Credentials => true,
            ConnectErrorKind::Server => {
                matches!(self, Self::Store(error) if error.kind() == StoreErrorKind::OutOfMemory)
            }
            ConnectErrorKind::Tls
            | ConnectErrorKind::Unauthenticated
            | ConnectErrorKind::Forbidden
            | ConnectErrorKind::Version
            | ConnectErrorKind::Eviction
            | ConnectErrorKind::Layout
            | ConnectErrorKind::Configuration => false,
        }
    }

    /// Returns the kind of the error.
    #[must_use]
    pub fn kind(&self) -> ConnectErrorKind {
        match self {
            Self::Config(error) => kind_of_config(error),
            Self::Store(error) => kind_of_store(error),
        }
    }
}

/// Returns the kind of a configuration error. If the store found the error in a server's answer,
/// the source is an [`Unfit`] or a [`StoreError`].
fn kind_of_config(error: &ConfigError) -> ConnectErrorKind {
    let Some(source) = error.source() else { return ConnectErrorKind::Configuration };
    match source.downcast_ref() {
        Some(Unfit::Version(_)) => return ConnectErrorKind::Version,
        Some(Unfit::Eviction(_)) => return ConnectErrorKind::Eviction,
        Some(Unfit::Rights(_)) => return ConnectErrorKind::Forbidden,
        None => {}
    }
    source.downcast_ref().map_or(ConnectErrorKind::Configuration, kind_of_store)
}

/// Returns the kind of an error of the store.
fn kind_of_store(error: &StoreError) -> ConnectErrorKind {
    if error.source().is_some_and(<dyn StdError>::is::<CredentialsError>) {
        return ConnectErrorKind::Credentials;
    }
    if let Some(kind) = cause_of(error).and_then(kind_of_cause) {
        return kind;
    }
    match error.kind() {
        StoreErrorKind::Unavailable | StoreErrorKind::Timeout | StoreErrorKind::Overloaded => {
            ConnectErrorKind::Unreachable
        }
        StoreErrorKind::Layout => ConnectErrorKind::Layout,
        StoreErrorKind::Rejected | StoreErrorKind::OutOfMemory | StoreErrorKind::Untrusted => ConnectErrorKind::Server,
    }
}

/// Returns the kind for a cause; `None` if the cause does not determine the kind.
fn kind_of_cause(cause: &RedisCause) -> Option<ConnectErrorKind> {
    match cause {
        RedisCause::Credentials => Some(ConnectErrorKind::Unauthenticated),
        RedisCause::MissingRight(_) => Some(ConnectErrorKind::Forbidden),
        RedisCause::UntrustedCertificate
        | RedisCause::UnusableCertificate(_)
        | RedisCause::WrongCertificateName
        | RedisCause::CertificateTime
        | RedisCause::ClientCertificate
        | RedisCause::PlainServer
        | RedisCause::Tls => Some(ConnectErrorKind::Tls),
        RedisCause::ClusterNode | RedisCause::ClusterDatabase | RedisCause::Sentinel | RedisCause::NotRedis => {
            Some(ConnectErrorKind::Configuration)
        }
        // An operator must change the server, so a later attempt does not help.
        RedisCause::ProtectedMode => Some(ConnectErrorKind::Server),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::redis::client::answer::CommandError;

    fn of_setting(source: impl Into<crate::error::BoxError>) -> ConnectError {
        ConfigError::new("url", "is x", "do y").with_source(source).into()
    }

    fn of_code(kind: StoreErrorKind, code: &str) -> ConnectError {
        let error = CommandError::new(kind, true, code);
        let cause = RedisCause::of_answer(code, "");
        StoreError::from(cause.map_or(error.clone(), |cause| error.because(cause))).into()
    }

    #[test]
    fn an_error_of_a_setting_has_the_kind_of_what_the_server_showed() {
        let rows = [
            (ConfigError::new("url", "is x", "do y").into(), ConnectErrorKind::Configuration),
            (of_setting("some other cause"), ConnectErrorKind::Configuration),
            (of_setting(Unfit::Version("6.2.5".to_owned())), ConnectErrorKind::Version),
            (of_setting(Unfit::Eviction("allkeys-lru".to_owned())), ConnectErrorKind::Eviction),
            (of_setting(Unfit::Rights("PERSIST".to_owned())), ConnectErrorKind::Forbidden),
            (of_setting(StoreError::new(StoreErrorKind::Layout)), ConnectErrorKind::Layout),
        ];
        for (error, kind) in rows {
            assert_eq!(error.kind(), kind, "{error}");
        }
    }

    #[test]
    fn an_error_of_the_server_has_the_kind_of_its_code() {
        let rows = [
            (of_code(StoreErrorKind::Unavailable, "LOADING"), ConnectErrorKind::Unreachable),
            (of_code(StoreErrorKind::Timeout, "no answer"), ConnectErrorKind::Unreachable),
            (of_code(StoreErrorKind::Rejected, "WRONGPASS"), ConnectErrorKind::Unauthenticated),
            (of_code(StoreErrorKind::Rejected, "NOAUTH"), ConnectErrorKind::Unauthenticated),
            (of_code(StoreErrorKind::Rejected, "NOPERM"), ConnectErrorKind::Forbidden),
            (of_code(StoreErrorKind::Rejected, "an error without a code"), ConnectErrorKind::Server),
            (of_code(StoreErrorKind::Untrusted, "WRONGTYPE"), ConnectErrorKind::Server),
        ];
        for (error, kind) in rows {
            assert_eq!(error.kind(), kind, "{error:?}");
        }
    }
}
