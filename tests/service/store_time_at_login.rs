//! The store calls of a login before its password is verified.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use tower::ServiceExt;
use tower_bearer::{
    AuthLayer, BoxError, NoClaims, Subject,
    endpoints::Endpoints,
    users::{Credentials, Grant, UserAuthentication},
};

use crate::support::Fixture;

struct Nobody;

impl UserAuthentication for Nobody {
    type User = ();
    type Claims = NoClaims;

    async fn authenticate(&self, _: Credentials) -> Result<Option<()>, BoxError> {
        Ok(None)
    }

    async fn user_by_id(&self, _: &Subject) -> Result<Option<()>, BoxError> {
        Ok(None)
    }

    fn user_id(&self, (): &()) -> Subject {
        "".into()
    }

    fn grant(&self, (): &()) -> Grant<NoClaims> {
        Grant::default()
    }
}

#[tokio::test]
async fn a_login_asks_for_the_time_if_nobody_did_lately_and_guessing_passwords_does_not_load_the_store() {
    let f = Fixture::new();
    let login = Endpoints::new(&AuthLayer::new(f.tokens.clone()), Arc::new(Nobody)).login();
    let refused = async || {
        let body = Full::new(Bytes::from_static(b"username=a&password=b"));
        let request = Request::post("/login").header("content-type", "application/x-www-form-urlencoded").body(body);
        login.clone().oneshot(request.unwrap()).await.unwrap().status()
    };
    for (seconds, calls) in [(0, 1), (0, 1), (29, 1), (2, 2), (0, 2)] {
        f.advance(seconds);
        assert_eq!(refused().await, StatusCode::UNAUTHORIZED);
        assert_eq!(f.store.calls(), calls, "after {seconds} s");
    }
}
