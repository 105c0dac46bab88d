//! The users of an application, for tests of the layers.

use tower_bearer::{
    BoxError, NoClaims, Subject,
    users::{Credentials, Grant, UserAuthentication},
};

/// User 42 is alice. The lookup fails for user 500, panics for 666, and finds no other user. Nobody
/// can log in.
pub struct Users;

impl UserAuthentication for Users {
    type User = String;
    type Claims = NoClaims;

    async fn authenticate(&self, _: Credentials) -> Result<Option<String>, BoxError> {
        Ok(None)
    }

    async fn user_by_id(&self, id: &Subject) -> Result<Option<String>, BoxError> {
        match id.as_str() {
            "42" => Ok(Some("alice".to_owned())),
            "500" => Err("the database is down".into()),
            "666" => panic!("a test's panic, which is caught"),
            _ => Ok(None),
        }
    }

    fn user_id(&self, user: &String) -> Subject {
        user.into()
    }

    fn grant(&self, _: &String) -> Grant<NoClaims> {
        Grant::default()
    }
}
