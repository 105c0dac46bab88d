//! The application's users: their authentication, and their lookup by the token's subject.
//!
//! The application implements [`UserAuthentication`] once. The login endpoint authenticates users
//! with it, and `CurrentUserLayer` looks up the [`CurrentUser`] of a request. [`renew_from`] looks
//! the user up at every refresh. So a deleted or disabled user gets no new tokens, and new tokens
//! lack a role that the user has lost.

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
/// value wipes the password from memory.
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
/// A missing user is `Ok(None)`. If a method returns an error, the lookup itself has failed. The
/// client gets 500, and its refresh token stays valid. An error of this crate has its own status:
/// for example, an overloaded password check causes a 503.
///
/// If the client disconnects, the server may drop a future. A panic in a future has the same effect
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

    /// Returns the user with these credentials, or `None` for an unknown user, a wrong password or
    /// a user who may not log in.
    ///
    /// All cases must take equally long. Otherwise the time reveals which users exist. Use
    /// `PasswordHasher::verify_or_dummy`, which computes a hash for unknown users too.
    ///
    /// If all of the user's sessions are revoked during the login, the login endpoint calls this
    /// method once more. The password may have changed together with the revocation.
    fn authenticate(
        &self,
        credentials: Credentials,
    ) -> impl Future<Output = Result<Option<Self::User>, BoxError>> + Send;

    /// Returns the user with this id, or `None` if the user was deleted or disabled.
    fn user_by_id(&self, id: &Subject) -> impl Future<Output = Result<Option<Self::User>, BoxError>> + Send;

    /// Returns the user with this id at another issuer, or `None`. A service that
    /// [accepts](crate::tokens::TokenServiceBuilder::accept) no other issuers never calls this.
    ///
    /// Default: `None`, because another issuer's `sub` does not identify a user of this
    /// application. Look up the user to which your application has linked the pair of issuer and
    /// subject. *If the `sub` of another issuer were an id here, that issuer could log in as each
    /// of your users.*
    fn user_by_issuer(
        &self,
        id: IssuerSubject<'_>,
    ) -> impl Future<Output = Result<Option<Self::User>, BoxError>> + Send {
        let _ = id;
        ready(Ok(None))
    }

    /// Returns the user's id, which tokens contain as `sub`. The id has 1 to 255 bytes without
    /// control characters, and no other user ever gets it. Convert text or a number with `into()`.
    fn user_id(&self, user: &Self::User) -> Subject;

    /// Returns the claims and the scope of the user's tokens. The endpoints call this at login and
    /// at every refresh.
    fn grant(&self, user: &Self::User) -> Grant<Self::Claims>;
}

/// The user of a request's token. `CurrentUserLayer` adds it to the request's extensions.
///
/// Only this crate can create this type. So if a handler gets a `CurrentUser`, the token was valid
/// and the lookup found the user.
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

/// Returns a hook for [`on_refresh`](crate::tokens::TokenServiceBuilder::on_refresh) that looks up
/// the user, and replaces the claims by the present claims of the user.
///
/// The new scope is the part of the token's scope that the user's grant still contains. A refresh
/// never extends the scope (RFC 6749 section 6). If a grant gets a further scope later, the user
/// must log in again to use it.
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
