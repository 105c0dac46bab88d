//! The application's own users: their authentication, and the way from a token back to its user.
//!
//! The application implements [`UserAuthentication`] once. The login and refresh endpoints ask it,
//! and a `CurrentUserLayer` puts [`CurrentUser`] into requests. [`renew_from`] asks it at every
//! refresh. So a user who was deleted or disabled gets no new token, and a user who lost a role
//! gets none with that role.

use std::{fmt, future::Future, ops::Deref, sync::Arc};

use crate::{
    error::BoxError,
    ids::Subject,
    tokens::{OnRefresh, Refreshing, Renewal},
};
use zeroize::Zeroizing;

/// The credentials that a client presents to log in. Their `Debug` text shows no password, and
/// their memory is wiped.
#[derive(Clone)]
pub struct Credentials {
    username: String,
    password: Zeroizing<String>,
}

impl Credentials {
    /// Creates credentials of a user name and a password.
    #[must_use]
    pub fn new(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self { username: username.into(), password: Zeroizing::new(password.into()) }
    }

    /// Returns the name that the client gives.
    #[must_use]
    pub fn username(&self) -> &str {
        &self.username
    }

    /// Returns the password that the client gives: a secret.
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

/// The content of a user's tokens beside the user's id.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub struct Grant<C> {
    /// The application's own claims.
    pub claims: C,
    /// The scope of the tokens, as in [`NewSession::scope`](crate::NewSession::scope).
    pub scope: String,
}

impl<C> Grant<C> {
    /// Creates a grant of these claims, with an empty scope.
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
/// A missing user is `Ok(None)`. An error of any method means that the lookup itself failed: the
/// client gets 500, and its refresh token stays good. An error of this crate keeps its own
/// status if a method passes it on. For example, an overloaded password check is a 503.
///
/// The futures are dropped when the client goes away. A panic in one is caught and taken as an
/// error.
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
///     all: Vec<User>, // stands for your database
/// }
///
/// impl UserAuthentication for Users {
///     type User = User;
///     type Claims = MyClaims;
///
///     async fn authenticate(&self, login: Credentials) -> Result<Option<User>, BoxError> {
///         let user = self.all.iter().find(|user| user.name == login.username());
///         let hash = user.map(|user| user.password_hash.as_str());
///         // An unknown user costs as much as a known one.
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
/// [`Endpoints`](crate::endpoints::Endpoints) takes such users, and needs `Serialize` and
/// `DeserializeOwned` of their claims.
pub trait UserAuthentication: Send + Sync + 'static {
    /// A user.
    type User: Send + Sync + 'static;
    /// The application's own claims in tokens: [`NoClaims`](crate::NoClaims) if there are none.
    type Claims: Send + Sync + 'static;

    /// Returns the user with these credentials, or `None` if there is none, the password is wrong
    /// or the user may not log in.
    ///
    /// All of these must cost the same: use `PasswordHasher::verify_or_dummy`, which hashes for
    /// unknown users too.
    ///
    /// The login endpoint asks a second time if all of the user's sessions were revoked since it
    /// asked, or just before: the account may have changed with them.
    fn authenticate(
        &self,
        credentials: Credentials,
    ) -> impl Future<Output = Result<Option<Self::User>, BoxError>> + Send;

    /// Returns the user of a token's `sub`, or `None` if the user was deleted or disabled.
    fn user_by_id(&self, id: &Subject) -> impl Future<Output = Result<Option<Self::User>, BoxError>> + Send;

    /// Returns the id that tokens carry as `sub`: 1 to 255 bytes, never given to another user. Text
    /// and numbers convert to it.
    fn user_id(&self, user: &Self::User) -> Subject;

    /// Returns the content of the user's tokens. Called at login and at every refresh.
    fn grant(&self, user: &Self::User) -> Grant<Self::Claims>;
}

/// The user of the request's token, put into the request's extensions by `CurrentUserLayer`.
///
/// It cannot be made outside of this crate: a handler that has it knows that the token was valid
/// and the user found.
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

/// Returns a hook for [`on_refresh`](crate::tokens::TokenServiceBuilder::on_refresh) that looks the
/// user up again, and builds the claims anew.
///
/// The new tokens allow what the session was opened with *and* the user is still granted. A scope
/// that was taken away is gone. A session that was opened with less than the user's grant never
/// gets more (RFC 6749 section 6), so a scope newly granted needs a new login.
pub fn renew_from<U: UserAuthentication>(users: Arc<U>) -> impl OnRefresh<U::Claims> {
    move |session: Refreshing<U::Claims>| {
        let users = Arc::clone(&users);
        async move {
            let claims = session.claims();
            Ok(match users.user_by_id(claims.subject()).await? {
                Some(user) => {
                    let grant = users.grant(&user);
                    let still: Vec<_> =
                        grant.scope.split(' ').filter(|&token| claims.scope().contains(token)).collect();
                    Renewal::Replace { scope: still.join(" "), claims: grant.claims }
                }
                None => Renewal::Refuse,
            })
        }
    }
}
