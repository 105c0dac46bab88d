//! The application's users: their authentication, and their lookup by the token's subject.
//!
//! The application implements [`UserAuthentication`]. The crate uses it in three places:
//!
//! * The login endpoint authenticates users.
//! * `CurrentUserLayer` looks up the [`CurrentUser`] of a request.
//! * [`renew_from`] looks up the user at every refresh. A deleted or disabled user then gets no new
//!   tokens. If a user has lost a role, the new tokens lack the role.

use std::{
    fmt,
    future::{Future, ready},
    ops::Deref,
    sync::Arc,
};

use crate::{
    error::BoxError,
    ids::Subject,
    jwt::IssuerSubject,
    tokens::{OnRefresh, Refreshing, Renewal},
};
use zeroize::Zeroizing;

/// The credentials that a client sends to log in. `Debug` does not show the password. Dropping the
/// value overwrites the password in memory.
#[derive(Clone)]
pub struct Credentials {
    username: String,
    password: Zeroizing<String>,
}

impl Credentials {
    /// Creates credentials from a user name and a password.
    #[must_use]
    pub fn new(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self { username: username.into(), password: Zeroizing::new(password.into()) }
    }

    /// Returns the user name that the client sent.
    #[must_use]
    pub fn username(&self) -> &str {
        &self.username
    }

    /// Returns the password that the client sent. It is a secret.
    #[must_use]
    pub fn password(&self) -> &str {
        &self.password
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("username", &self.username).finish_non_exhaustive()
    }
}

/// The claims and the scope of a user's tokens.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Grant<C> {
    /// The application's own claims.
    pub claims: C,
    /// The scope of the tokens, as in [`NewSession::scope`](crate::NewSession::scope).
    pub scope: String,
}

impl<C> Grant<C> {
    /// Creates a grant with these claims and an empty scope.
    #[must_use]
    pub fn new(claims: C) -> Self {
        Self { claims, scope: String::new() }
    }

    /// Sets the scope.
    #[must_use]
    pub fn scope(self, scope: impl Into<String>) -> Self {
        Self { scope: scope.into(), ..self }
    }
}

/// The application's users.
///
/// * If the user does not exist, a lookup returns `Ok(None)`.
/// * If the lookup itself fails, it returns an error. The client gets 500, and its refresh token
///   stays valid. An error of this crate keeps its own status: an overloaded password check causes
///   a 503.
///
/// The server may drop a future if the client disconnects. A panic in a future has the same effect
/// as an error.
///
/// ```
/// # #[cfg(feature = "bcrypt")]
/// # mod example {
/// use tower_bearer::{
///     BoxError, Subject,
///     password::PasswordHasher,
///     users::{Credentials, Grant, UserAuthentication},
/// };
///
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct MyClaims {
///     role: String,
/// }
///
/// #[derive(Clone)]
/// struct User {
///     id: u64,
///     name: String,
///     role: String,
///     password_hash: String,
/// }
///
/// struct Users {
///     hasher: PasswordHasher,
///     all: Vec<User>, // in place of your database
/// }
///
/// impl UserAuthentication for Users {
///     type User = User;
///     type Claims = MyClaims;
///
///     async fn authenticate(&self, login: Credentials) -> Result<Option<User>, BoxError> {
///         let user = self.all.iter().find(|user| user.name == login.username());
///         let hash = user.map(|user| user.password_hash.as_str());
///         // With `None`, it hashes as long as for a known user.
///         let is_right = self.hasher.verify_or_dummy(login.password(), hash).await?;
///         Ok(user.filter(|_| is_right).cloned())
///     }
///
///     async fn user_by_id(&self, id: &Subject) -> Result<Option<User>, BoxError> {
///         Ok(self.all.iter().find(|user| *id == Subject::from(user.id)).cloned())
///     }
///
///     fn user_id(&self, user: &User) -> Subject {
///         user.id.into()
///     }
///
///     fn grant(&self, user: &User) -> Grant<MyClaims> {
///         Grant::new(MyClaims { role: user.role.clone() }).scope("read")
///     }
/// }
/// # }
/// ```
///
/// For [`Endpoints`](crate::endpoints::Endpoints), the claims must be `Serialize` and
/// `DeserializeOwned`.
pub trait UserAuthentication: Send + Sync + 'static {
    /// A user.
    type User: Send + Sync + 'static;
    /// The application's own claims in tokens, or [`NoClaims`](crate::NoClaims).
    type Claims: Send + Sync + 'static;

    /// Returns the user with these credentials. Returns `None` for an unknown user, a wrong
    /// password or a user who may not log in.
    ///
    /// All these cases must take the same time. Otherwise an attacker can measure which users
    /// exist. Use `PasswordHasher::verify_or_dummy`, which computes a hash for unknown users too.
    ///
    /// If all sessions of the user are revoked during the login, the login endpoint calls this
    /// method once more, because the password may have changed too.
    fn authenticate(
        &self,
        credentials: Credentials,
    ) -> impl Future<Output = Result<Option<Self::User>, BoxError>> + Send;

    /// Returns the user with this id, or `None` if the user was deleted or disabled.
    fn user_by_id(&self, id: &Subject) -> impl Future<Output = Result<Option<Self::User>, BoxError>> + Send;

    /// Returns the user with this id at another issuer, or `None`. The service calls this method
    /// only if it [accepts](crate::tokens::TokenServiceBuilder::accept) other issuers.
    ///
    /// Default: `None`, because the `sub` of another issuer is not an id of this application. Look
    /// up the user whom your application has linked to this pair of issuer and subject. *Do not use
    /// the subject alone as a user's id: the other issuer could then log in as any of your users.*
    fn user_by_issuer(
        &self,
        id: IssuerSubject<'_>,
    ) -> impl Future<Output = Result<Option<Self::User>, BoxError>> + Send {
        let _ = id;
        ready(Ok(None))
    }

    /// Returns the user's id, which becomes the `sub` of tokens. The id must have 1 to 255 bytes
    /// without control characters. Never give the id of a deleted user to another user. Convert
    /// text or a number with `into()`.
    fn user_id(&self, user: &Self::User) -> Subject;

    /// Returns the claims and the scope of the user's tokens. The endpoints call this method at
    /// login and at every refresh.
    fn grant(&self, user: &Self::User) -> Grant<Self::Claims>;
}

/// The user of a request's token. `CurrentUserLayer` adds it to the request's extensions.
///
/// Only this crate can create a `CurrentUser`. A handler that gets one can rely on a valid token,
/// and on a user whom the lookup has found.
pub struct CurrentUser<U>(Arc<U>);

impl<U> CurrentUser<U> {
    pub(crate) fn found(user: U) -> Self {
        Self(Arc::new(user))
    }
}

impl<U> Clone for CurrentUser<U> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<U> Deref for CurrentUser<U> {
    type Target = U;

    fn deref(&self) -> &U {
        &self.0
    }
}

impl<U: fmt::Debug> fmt::Debug for CurrentUser<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CurrentUser").field(&self.0).finish()
    }
}

/// Returns a hook for [`on_refresh`](crate::tokens::TokenServiceBuilder::on_refresh). The hook
/// looks up the user, and puts the user's present claims into the new tokens. If the user does not
/// exist, the hook refuses the refresh.
///
/// The new scope is the part of the old scope that the user's grant still contains. A refresh never
/// extends the scope (RFC 6749 section 6). To use a new scope, the user must log in again.
pub fn renew_from<U: UserAuthentication>(users: Arc<U>) -> impl OnRefresh<U::Claims> {
    move |session: Refreshing<U::Claims>| {
        let users = Arc::clone(&users);
        async move {
            let claims = session.claims();
            Ok(match users.user_by_id(claims.subject()).await? {
                Some(user) => {
                    let grant = users.grant(&user);
                    let kept: Vec<_> = grant.scope.split(' ').filter(|&token| claims.scope().contains(token)).collect();
                    Renewal::Replace { scope: kept.join(" "), claims: grant.claims }
                }
                None => Renewal::Refuse,
            })
        }
    }
}
