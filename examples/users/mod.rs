//! The users of the examples. A real service asks its database here.

use tower_bearer::{
    BoxError, NoClaims, Subject,
    observe::Observer,
    password::PasswordHasher,
    users::{Credentials, Grant, UserAuthentication},
};

#[derive(Clone, Copy)]
pub(crate) struct User {
    pub(crate) id: &'static str,
    pub(crate) name: &'static str,
    scope: &'static str,
    /// The bcrypt hash of `<name>-password` at cost 12. It is test data.
    password_hash: &'static str,
}

const USERS: [User; 2] = [
    User {
        id: "1",
        name: "alice",
        scope: "read write admin",
        password_hash: "$2b$12$Fgx0U1bmcIr4xnJmGBPHRe5NQ3T/96MboE0fmloi12UgBYHqKU/g.",
    },
    User {
        id: "2",
        name: "bob",
        scope: "read",
        password_hash: "$2b$12$csX04Rk3qLgPcQt8dNtcYucbPG4GltOPV5YDjWqjWOfOHMU13qPNC",
    },
];

#[derive(Default)]
pub(crate) struct Users {
    passwords: PasswordHasher,
}

impl Users {
    /// Creates the users. The observer receives the duration of each password check.
    pub(crate) fn observed_by(observer: impl Observer) -> Self {
        Self { passwords: PasswordHasher::default().observer(observer) }
    }
}

impl UserAuthentication for Users {
    type User = User;
    type Claims = NoClaims;

    async fn authenticate(&self, credentials: Credentials) -> Result<Option<Self::User>, BoxError> {
        let user = USERS.iter().find(|user| user.name == credentials.username());
        // Also computes a hash for an unknown name. So the response time does not reveal which
        // names exist.
        let hash = user.map(|user| user.password_hash);
        let correct = self.passwords.verify_or_dummy(credentials.password(), hash).await?;
        Ok(user.filter(|_| correct).copied())
    }

    async fn user_by_id(&self, id: &Subject) -> Result<Option<Self::User>, BoxError> {
        Ok(USERS.iter().find(|user| *id == user.id).copied())
    }

    fn user_id(&self, user: &Self::User) -> Subject {
        user.id.into()
    }

    fn grant(&self, user: &Self::User) -> Grant<NoClaims> {
        Grant::new(NoClaims {}).scope(user.scope)
    }
}
