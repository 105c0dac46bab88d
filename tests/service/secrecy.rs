//! No `Debug` output and no error message shows a token, secret or password.

use std::fmt::{Debug, Write};

use tower::Layer;
use tower_bearer::{
    AuthLayer, KeySet, MemoryStore, NewSession, TokenService,
    compat::Settings,
    jwt::{Algorithm, SigningKey},
    middleware::Rejection,
    users::Credentials,
};

use crate::{
    access, pair, refresh,
    support::{
        Fixture, bad_tokens,
        fixture::{SECRET, builder},
    },
};

const PASSWORD: &str = "a TEST password that nobody may see";

#[derive(Default)]
struct Shown(String);

impl Shown {
    fn add(&mut self, value: &impl Debug) {
        write!(self.0, "{value:?}\n{value:#?}\n").unwrap();
    }

    fn add_error(&mut self, error: &(dyn std::error::Error + 'static)) {
        write!(self.0, "{error:?}\n{error:#?}\n{error}\n").unwrap();
        if let Some(source) = error.source() {
            self.add_error(source);
        }
    }

    fn assert_hides(&self, what: &str, secret: &str) {
        for window in secret.as_bytes().windows(16) {
            let window = std::str::from_utf8(window).unwrap();
            assert!(!self.0.contains(window), "{what}: {window:?} is shown");
        }
    }
}

#[tokio::test]
async fn no_debug_or_error_text_shows_sixteen_bytes_of_a_secret() {
    let fixture = Fixture::new();
    let tokens = &fixture.tokens;
    let mut shown = Shown::default();

    let pair = pair(tokens).await;
    let issued = tokens.create_access_token(NewSession::new("42")).await.unwrap();
    shown.add(&tokens);
    shown.add(&builder(&fixture.clock).store(MemoryStore::default()));
    shown.add(&pair);
    shown.add(&issued);
    shown.add(&NewSession::new("42").scope("read").label("phone"));
    shown.add(&access(tokens, pair.access().as_str()).await.unwrap());
    shown.add(&refresh(tokens, pair.refresh().as_str()).await.unwrap());
    shown.add(&tokens.decode_token(pair.refresh().as_str()).unwrap());
    shown.add(&tokens.status().await);
    shown.add(&tokens.revoke_token(pair.access().as_str()));
    shown.add(&tokens.revoke_token(issued.as_str()).await.unwrap());
    shown.add(&tokens.sessions("42", tower_bearer::store::Page::default()).await.unwrap());
    shown.add(&Credentials::new("alice", PASSWORD));
    shown.add(&Settings::from_vars([("JWT_SECRET_KEY", SECRET)]).unwrap());

    let key = SigningKey::from_secret(Algorithm::HS256, SECRET).unwrap();
    shown.add(&key);
    shown.add(key.verifying_key());
    shown.add(&KeySet::signing(key));

    let auth = AuthLayer::new(tokens.clone());
    shown.add(&auth);
    shown.add(&auth.layer(()));
    shown.add(&auth.require_scope("read").unwrap());
    shown.add(&auth.require_scope("read").unwrap().layer(()));

    let bad = bad_tokens(&fixture).await;
    for (_, token) in &bad {
        let error = access(tokens, token).await.unwrap_err();
        shown.add_error(&error);
        shown.add(&Rejection::from(error));
        if let Err(error) = tokens.refresh(token).await {
            shown.add_error(&error);
        }
    }
    for builder in [
        TokenService::builder().secret(SECRET),
        TokenService::builder().secret(SECRET).algorithm(Algorithm::RS256).store(MemoryStore::default()),
        TokenService::builder().secret(&SECRET[..20]).store(MemoryStore::default()),
    ] {
        shown.add_error(&builder.build().unwrap_err());
    }

    shown.assert_hides("secret", SECRET);
    shown.assert_hides("password", PASSWORD);
    shown.assert_hides("access token", pair.access().as_str());
    shown.assert_hides("refresh token", pair.refresh().as_str());
    shown.assert_hides("issued token", issued.as_str());
    for (fault, token) in &bad {
        shown.assert_hides(fault, token);
    }
}
