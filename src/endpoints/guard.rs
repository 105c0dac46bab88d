//! The guard of the login. It decides if a client may try a password, before the endpoint hashes
//! the password.

use std::{
    fmt,
    future::{Future, ready},
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use futures_util::FutureExt;
use http::request::Parts;
use tokio::time::timeout;

use super::answer::of_operation;
use crate::{
    error::{BoxError, Error, Fault},
    middleware::{Rejection, RejectionKind},
    observe::LoginFailure,
};

/// The longest time for one call of the guard. Without this limit, a guard that waits for a slow
/// server would keep logins and their connections waiting.
const MAX_TIME: Duration = Duration::from_secs(5);

/// An application's protection of the login against guessed passwords. Set it with
/// [`Endpoints::guard_login`](super::Endpoints::guard_login).
///
/// The login endpoint calls [`admit`](Self::admit) before it checks a password, and
/// [`finished`](Self::finished) after the check. If `admit` refuses the login, the endpoint
/// computes no hash. Rules for a guard:
///
/// * **Count the attempt in `admit`**, and uncount it in `finished` after a success. If a guard
///   counted failures only in `finished`, it would admit all guesses that arrive at the same time.
/// * **Count unknown names like known ones.** Otherwise a 429 reveals which users exist.
/// * **Normalize the name** as your user lookup does, for example to lower case. Otherwise each
///   spelling has its own allowance. The name can be 16 KiB long: use its hash as the key.
/// * **Bound your memory.** The client can invent any number of names.
/// * **Limit by name and address together, and less strictly by each alone.** With a strict limit
///   by name alone, anybody could lock a user out.
///
/// The endpoint refuses the login if `admit` fails:
///
/// * with 503 if `admit` takes longer than 5 seconds,
/// * with 503 if `admit` returns the error of a failed store, of missing issuer keys or of an
///   overload (see [`Error::fault`]),
/// * with 500 if `admit` returns any other error, or panics.
///
/// A guard must not block its thread.
///
/// The example `login_limits` is a complete guard.
///
/// ```
/// use std::{sync::atomic::{AtomicU32, Ordering}, time::Duration};
/// use tower_bearer::{
///     BoxError,
///     endpoints::{Admission, LoginAttempt, LoginGuard},
///     observe::LoginFailure,
/// };
///
/// /// Ten attempts of all users together after each success, to keep this short.
/// #[derive(Default)]
/// struct Ten(AtomicU32);
///
/// impl LoginGuard for Ten {
///     async fn admit(&self, _: &LoginAttempt) -> Result<Admission, BoxError> {
///         let attempts = self.0.fetch_add(1, Ordering::Relaxed);
///         let wait = Admission::RetryAfter(Duration::from_secs(60));
///         Ok(if attempts < 10 { Admission::Admit } else { wait })
///     }
///
///     async fn finished(&self, _: &LoginAttempt, outcome: Result<(), LoginFailure>) {
///         if outcome.is_ok() {
///             self.0.store(0, Ordering::Relaxed);
///         }
///     }
/// }
/// ```
pub trait LoginGuard: Send + Sync + 'static {
    /// Decides about an attempt, before the endpoint checks the password.
    ///
    /// If the client disconnects, the server may drop the future.
    ///
    /// # Errors
    ///
    /// If the guard returns an error, the endpoint refuses the login.
    fn admit(&self, attempt: &LoginAttempt) -> impl Future<Output = Result<Admission, BoxError>> + Send;

    /// Receives the outcome of an admitted attempt, before the endpoint answers. Default: ignores
    /// the outcome.
    ///
    /// A panic, or a delay of over 5 seconds, does not change the response. If the client
    /// disconnects during the check of the password, the endpoint does not call this method.
    fn finished(&self, attempt: &LoginAttempt, outcome: Result<(), LoginFailure>) -> impl Future<Output = ()> + Send {
        let _ = (attempt, outcome);
        ready(())
    }
}

/// The decision of a [`LoginGuard`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Admission {
    /// The endpoint checks the password.
    Admit,
    /// The endpoint answers 429. `Retry-After` is this time, rounded up to a whole second.
    RetryAfter(Duration),
}

/// A request to log in, without its password. `Debug` shows the user name only.
pub struct LoginAttempt {
    username: String,
    parts: Parts,
}

impl LoginAttempt {
    /// Creates an attempt, for tests of a guard and for a login of your own.
    #[must_use]
    pub fn new(username: impl Into<String>, parts: Parts) -> Self {
        Self { username: username.into(), parts }
    }

    /// Returns the user name that the client sent.
    #[must_use]
    pub fn username(&self) -> &str {
        &self.username
    }

    /// Returns the head of the request.
    ///
    /// The server may put the peer's address into the extensions: Axum does so with `ConnectInfo`.
    /// Behind a proxy, that address is the proxy's. Trust `X-Forwarded-For` only if your proxy
    /// overwrites the header, because clients can send it too.
    #[must_use]
    pub fn parts(&self) -> &Parts {
        &self.parts
    }
}

impl fmt::Debug for LoginAttempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoginAttempt").field("username", &self.username).finish_non_exhaustive()
    }
}

type Answer<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// An object-safe [`LoginGuard`]. With it, `Endpoints` needs no type parameter for the guard.
trait AnyGuard: Send + Sync {
    fn admit<'a>(&'a self, attempt: &'a LoginAttempt) -> Answer<'a, Result<Admission, BoxError>>;
    fn finished<'a>(&'a self, attempt: &'a LoginAttempt, outcome: Result<(), LoginFailure>) -> Answer<'a, ()>;
}

impl<G: LoginGuard> AnyGuard for G {
    fn admit<'a>(&'a self, attempt: &'a LoginAttempt) -> Answer<'a, Result<Admission, BoxError>> {
        Box::pin(async move { LoginGuard::admit(self, attempt).await })
    }

    fn finished<'a>(&'a self, attempt: &'a LoginAttempt, outcome: Result<(), LoginFailure>) -> Answer<'a, ()> {
        Box::pin(async move { LoginGuard::finished(self, attempt, outcome).await })
    }
}

/// The application's guard, or `None`. If the guard fails, the endpoint refuses the login.
#[derive(Clone, Default)]
pub(super) struct Guard(Option<Arc<dyn AnyGuard>>);

impl Guard {
    pub(super) fn new(guard: impl LoginGuard) -> Self {
        Self(Some(Arc::new(guard)))
    }

    /// Asks the guard about an attempt. If the guard does not admit the attempt, returns the reason
    /// and the rejection.
    pub(super) async fn admit(&self, attempt: &LoginAttempt) -> Result<(), (LoginFailure, Rejection)> {
        let Some(guard) = &self.0 else { return Ok(()) };
        let failed = |error: Error| (LoginFailure::of(&error), of_operation(error));
        match timeout(MAX_TIME, AssertUnwindSafe(guard.admit(attempt)).catch_unwind()).await {
            Ok(Ok(Ok(Admission::Admit))) => Ok(()),
            Ok(Ok(Ok(Admission::RetryAfter(time)))) => Err((LoginFailure::Limited, Rejection::too_many_requests(time))),
            Ok(Ok(Err(error))) => Err(failed(match Error::of_application(error) {
                // The error comes from the guard's own work, so the client is not at fault.
                error if error.fault() == Fault::Client => Error::Application(error.into()),
                error => error,
            })),
            Ok(Err(_)) => {
                Err(failed(Error::Application("`LoginGuard::admit` panicked; see the panic message and fix it".into())))
            }
            Err(_) => {
                let error = "`LoginGuard::admit` gave no answer within 5 s; check what the guard waits for";
                let rejection = Rejection::new(RejectionKind::Unavailable);
                Err((LoginFailure::Internal, rejection.with_cause(Error::Application(error.into()))))
            }
        }
    }

    /// Passes the outcome of an admitted attempt to the guard.
    pub(super) async fn finished(&self, attempt: &LoginAttempt, outcome: Result<(), LoginFailure>) {
        let Some(guard) = &self.0 else { return };
        let call = AssertUnwindSafe(guard.finished(attempt, outcome)).catch_unwind();
        // A failure here does not change the response. After a correct login, a refusal would leave
        // an open session that no client uses.
        if !matches!(timeout(MAX_TIME, call).await, Ok(Ok(()))) {
            #[cfg(feature = "tracing")]
            tracing::warn!(
                "`LoginGuard::finished` panicked or took over 5 s, so its count may be too high; fix the guard"
            );
        }
    }
}
