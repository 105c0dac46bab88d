//! The user and password for the servers, from a provider of the application.

use std::{error::Error as StdError, fmt, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::{error::BoxError, store::BoxFuture};

/// The user and password for Redis servers, as a
/// [provider](crate::store::redis::RedisStoreBuilder::credentials_provider) returns them.
///
/// `Debug` shows neither of them. Dropping this value erases its copy of the password.
#[derive(Clone)]
pub struct Credentials {
    user: Option<String>,
    password: Zeroizing<String>,
}

impl Credentials {
    /// Creates the credentials of a user.
    #[must_use]
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self { user: Some(user.into()), password: Zeroizing::new(password.into()) }
    }

    /// Creates the credentials of the user `default`, whose password `requirepass` sets.
    #[must_use]
    pub fn password(password: impl Into<String>) -> Self {
        Self { user: None, password: Zeroizing::new(password.into()) }
    }

    /// Returns the settings with these credentials.
    pub(crate) fn apply(&self, settings: redis::RedisConnectionInfo) -> redis::RedisConnectionInfo {
        let settings = match &self.user {
            Some(user) => settings.set_username(user),
            None => settings,
        };
        settings.set_password(self.password.as_str())
    }
}

impl fmt::Debug for Credentials {
    /// Formats the type's name only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

/// The reason why a [provider] gave no credentials.
///
/// It is a source of [`ConnectError`](crate::store::redis::ConnectError) and of
/// [`StoreError`](crate::error::StoreError).
///
/// [provider]: crate::store::redis::RedisStoreBuilder::credentials_provider
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// The provider returned an error, which is the source of this error.
    #[error("the credentials provider returned an error; see the source of this error, and correct the provider")]
    Provider(#[source] Arc<dyn StdError + Send + Sync>),
    /// The provider did not answer within this time.
    #[error("the credentials provider did not answer within {0:?}; let it cache the credentials, or raise `timeout`")]
    Timeout(Duration),
    /// The provider panicked.
    #[error("the credentials provider panicked; read the panic message on stderr, and correct the provider")]
    Panic,
}

/// The provider function of the application, with a boxed future.
type Ask = dyn Fn() -> BoxFuture<Result<Credentials, BoxError>> + Send + Sync;

/// The source of credentials for each new connection.
#[derive(Clone)]
pub(crate) struct CredentialsProvider(Arc<Ask>);

impl CredentialsProvider {
    /// Creates a provider from the application's function.
    pub(crate) fn new<P, F>(provider: P) -> Self
    where
        P: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<Credentials, BoxError>> + Send + 'static,
    {
        Self(Arc::new(move || Box::pin(provider())))
    }

    /// Asks the provider for credentials, and waits for at most `limit`.
    pub(crate) async fn ask(&self, limit: Duration) -> Result<Credentials, CredentialsError> {
        // Callers share an attempt to connect. After a panic, the attempt would never end.
        let asked = AssertUnwindSafe(async { (self.0)().await }).catch_unwind();
        match timeout(limit, asked).await {
            Ok(Ok(Ok(credentials))) => Ok(credentials),
            Ok(Ok(Err(error))) => Err(CredentialsError::Provider(error.into())),
            Ok(Err(_)) => Err(CredentialsError::Panic),
            Err(_) => Err(CredentialsError::Timeout(limit)),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(1);

    #[test]
    fn credentials_do_not_show_themselves() {
        assert_eq!(format!("{:?}", Credentials::new("alice", "hunter2")), "Credentials { .. }");
    }

    #[tokio::test(start_paused = true)]
    async fn each_way_to_fail_has_a_cause_of_its_own() {
        let failing = CredentialsProvider::new(async || Err("no token".into()));
        let Err(CredentialsError::Provider(source)) = failing.ask(LIMIT).await else { panic!("no failure") };
        assert_eq!(source.to_string(), "no token");
        let silent = CredentialsProvider::new(std::future::pending);
        assert!(matches!(silent.ask(LIMIT).await, Err(CredentialsError::Timeout(LIMIT))));
        let panicking = CredentialsProvider::new(async || panic!("TEST panic of a provider"));
        assert!(matches!(panicking.ask(LIMIT).await, Err(CredentialsError::Panic)));
    }
}
