//! LEK: no 16 bytes of a token, secret, key or password appear where they do not belong.
//!
//! LEK-02 and LEK-09 are in `tests/service/no_secrets.rs`, which runs whole processes at TRACE.

use std::{
    error::Error as StdError,
    fmt::Write,
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};
use tower_bearer::{
    AuthLayer, BoxError, Error, KeySet, MemoryStore, NewSession, NoClaims, RedisStore, Renewal, TokenService,
    TokenType,
    compat::Settings,
    endpoints::Endpoints,
    error::{ConfigError, PasswordError, StoreError, StoreErrorKind, TokenError},
    jwt::{Algorithm, JwtClaims, SigningKey, VerifyingKey, encode_jwt},
    middleware::Rejection,
    store::Page,
};

use crate::{
    application::{Application, form, password_of},
    subject::{Outcome, Subject, authorization, bearer, expect_on, send},
    support::{
        self, Behaviour, Fixture, RESERVED, RedisServer, STORE_ERRORS, bad_tokens,
        fixture::{SECRET, START, builder, sign},
        redis_fixture::node_on,
        redis_server::free_port,
        secrets::Secrets,
    },
};

/// TEST password.
const REDIS_PASSWORD: &str = "TEST-password-of-the-Redis-server";

/// The panics during the test. Only the application's code may panic, never the crate's.
static PANICS: Mutex<String> = Mutex::new(String::new());

fn record_panics() {
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if let Ok(mut text) = PANICS.lock() {
            let _ = writeln!(text, "{info}");
        }
        before(info);
    }));
}

fn a_request(method: &Method, path: &str, token: &str) -> Request<Full<Bytes>> {
    let mut request = bearer(token).body(Full::default()).unwrap();
    *request.method_mut() = method.clone();
    *request.uri_mut() = path.parse().unwrap();
    request
}

#[tokio::test]
async fn lek_01_nothing_that_succeeds_or_fails_writes_a_secret_to_the_log() {
    record_panics();
    let subject = Subject::with(|builder| builder.on_event(|_| panic!("a test's panic, which is caught")));
    let (tokens, store) = (subject.fixture.tokens.clone(), subject.fixture.store.clone());
    let app = Application::of(&tokens);
    let mut secrets = Secrets::default();
    secrets.add("the signing secret", SECRET);
    secrets.add("the password of Redis", REDIS_PASSWORD);
    for user in ["alice", "bob"] {
        secrets.add("a password", password_of(user));
    }
    secrets.add("a wrong password", "TEST-password-that-is-wrong");

    // Good tokens.
    let (alice, bob) = (app.log_in("alice").await, app.log_in("bob").await);
    let next = app.renew(&alice).await;
    for pair in [&alice, &bob, &next] {
        secrets.add("an access token", &pair.access);
        secrets.add("a refresh token", &pair.refresh);
        subject.expect_token("good", &pair.access, Outcome::Ok).await;
    }
    // Bad tokens of every kind, in every place.
    let bad = bad_tokens(&subject.fixture).await;
    let optional = AuthLayer::new(tokens.clone()).optional();
    for (what, token) in &bad {
        if token.len() > 3 {
            secrets.add(what, &token[..token.len().min(4000)]);
        }
        subject.expect_token(what, token, Outcome::InvalidToken).await;
        // Where a token is too long, its length may be what is looked at first.
        let short = token.len() <= 4000;
        for malformed in [format!("Bearer {token} {token}"), format!("Bearer\t{token}"), format!("Bearer {token},")] {
            if short {
                subject.expect(what, authorization(malformed), Outcome::InvalidRequest).await;
            }
        }
        for none in [format!("Basic {token}"), token.clone()] {
            subject.expect(what, authorization(none), Outcome::NoCredentials).await;
        }
        subject
            .expect_of(
                tower::Layer::layer(&optional, subject.inner.clone()),
                what,
                bearer(token),
                Outcome::InvalidToken,
            )
            .await;
        let _ = tokens.revoke_token(token).await;
        let _ = tokens.validate_token(token, TokenType::Refresh).await;
        let _ = app.try_refresh(token).await;
        let without = form(&[("refresh_token", token)]);
        let _ = send(app.endpoints.refresh_without_rotation(), without).await;
        for method in [Method::POST, Method::GET, Method::DELETE] {
            let _ = send(app.endpoints.logout(), a_request(&method, "/logout", token)).await;
            let _ = send(app.endpoints.logout_all(), a_request(&method, "/logout-all?keep_current=x", token)).await;
            let _ = send(app.endpoints.sessions(), a_request(&method, "/sessions", token)).await;
            let _ = send(app.endpoints.revoke_session(), a_request(&method, "/sessions/x", token)).await;
        }
        let query = Request::get(format!("/?access_token={}", &token[..token.len().min(4000)]));
        subject.expect(what, query, Outcome::NoCredentials).await;
    }
    let living = subject.valid().await;
    secrets.add("a living token", &living);
    let scoped = subject.layer.require_scope("admin").unwrap();
    let service = tower::Layer::layer(&subject.layer, tower::Layer::layer(&scoped, subject.inner.clone()));
    subject.expect_of(service, "scope", bearer(&living), Outcome::InsufficientScope("admin")).await;

    logins_that_fail(&app, &bob.refresh).await;
    // Reuse, an event whose hook panics, users that are gone, lookups that fail or panic.
    let reuse = app.renew(&next).await;
    secrets.add("a refresh token", &reuse.refresh);
    app.refuses_refresh("reuse", &alice.refresh).await;
    app.users.disable("bob");
    crate::application::assert_invalid_grant("disabled", &app.try_refresh(&bob.refresh).await);
    let failing = Endpoints::new(&AuthLayer::new(tokens.clone()), Arc::new(support::Users));
    for user in ["500", "666", "7"] {
        let pair = tokens.create_token_pair(NewSession::new(user)).await.unwrap();
        secrets.add("a token of a user whose lookup fails", pair.refresh().as_str());
        let answer = send(failing.refresh(), form(&[("refresh_token", pair.refresh().as_str())])).await;
        assert_ne!(answer.status, 200, "{user}");
    }
    // A store that fails in each way, and one that is a Redis.
    for kind in
        [StoreErrorKind::Unavailable, StoreErrorKind::Timeout, StoreErrorKind::Untrusted, StoreErrorKind::Rejected]
    {
        store.answer(Behaviour::Fails(kind));
        subject.expect_token("store", &living, Outcome::Unavailable).await;
        assert_eq!(app.try_login("alice", &password_of("alice")).await.status, 503);
        let _ = app.try_refresh(&reuse.refresh).await;
        let _ = app.log_out(&living).await;
        let _ = tokens.revoke_token(&living).await;
    }
    store.answer(Behaviour::AtOnce);
    through_a_redis_that_fails(&mut secrets).await;

    let log = subject.log();
    assert!(!cfg!(feature = "tracing") || (log.contains("refused") && log.contains("fail")), "the log is empty: {log}");
    secrets.must_not_be_in("the log", &log);
    let panics = PANICS.lock().unwrap().clone();
    assert!(panics.contains("a test's panic"), "the hook has heard of none");
    secrets.must_not_be_in("a panic", &panics);
}

/// Sends failing logins, and bodies with a password or a token that are no login.
async fn logins_that_fail(app: &Application, refresh: &str) {
    let password = password_of("alice");
    for (name, password) in [("alice", "TEST-password-that-is-wrong"), ("nobody", password.as_str())] {
        assert_eq!(app.try_login(name, password).await.status, 401);
    }
    for (media, body) in [
        ("application/json", format!(r#"{{"username":"alice","password":["{password}"]}}"#)),
        ("application/json", format!(r#"{{"username":"alice","password":"{password}"#)),
        ("application/json", format!(r#"{{"refresh_token":"{refresh}"}} x"#)),
        ("application/x-www-form-urlencoded", format!("refresh_token={refresh}&refresh_token={refresh}")),
        ("text/plain", format!("password={password}&refresh_token={refresh}")),
    ] {
        for login in [true, false] {
            let request = Request::post("/").header("content-type", media).body(Full::from(body.clone())).unwrap();
            let answer = if login {
                send(app.endpoints.login(), request).await
            } else {
                send(app.endpoints.refresh(), request).await
            };
            assert!(answer.status.is_client_error(), "{media} {body}");
        }
    }
}

/// Uses a node on a Redis whose password is changed, which is then made a replica, filled, and
/// killed.
async fn through_a_redis_that_fails(secrets: &mut Secrets) {
    let mut server = RedisServer::start();
    let mut admin = server.admin().await;
    redis::cmd("CONFIG").arg("SET").arg("requirepass").arg(REDIS_PASSWORD).exec_async(&mut admin).await.unwrap();
    let url = server.url().replace("127.0.0.1", &format!(":{REDIS_PASSWORD}@127.0.0.1"));
    let store = RedisStore::builder(url).timeout(Duration::from_secs(1)).connect().await.unwrap();
    let tokens = node_on(store, |builder| builder);
    let app = Application::of(&tokens);
    let pair = app.log_in("alice").await;
    secrets.add("an access token", &pair.access);
    secrets.add("a refresh token", &pair.refresh);
    let everything = async || {
        let (revoke, password) = (tokens.revoke_token(&pair.access), password_of("alice"));
        // All at once: each of them may wait for its deadline.
        let _ = tokio::join!(
            tokens.validate_token(&pair.access, TokenType::Access),
            app.try_refresh(&pair.refresh),
            app.try_login("alice", &password),
            revoke.into_future(),
            tokens.sessions("alice", Page::default()),
            tokens.status(),
        );
    };
    redis::cmd("REPLICAOF").arg("127.0.0.1").arg(free_port()).exec_async(&mut admin).await.unwrap();
    everything().await;
    redis::cmd("REPLICAOF").arg("NO").arg("ONE").exec_async(&mut admin).await.unwrap();
    redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg("1").exec_async(&mut admin).await.unwrap();
    everything().await;
    redis::cmd("CONFIG")
        .arg("SET")
        .arg("requirepass")
        .arg("another TEST password")
        .exec_async(&mut admin)
        .await
        .unwrap();
    redis::cmd("CLIENT").arg("KILL").arg("SKIPME").arg("yes").exec_async(&mut admin).await.unwrap();
    everything().await;
    server.kill();
    expect_on(&tokens, "killed", &pair.access, Outcome::Unavailable).await;
    everything().await;
}

/// The texts of errors and their sources.
#[derive(Default)]
struct Texts(String);

impl Texts {
    fn add(&mut self, error: &(dyn StdError + 'static)) {
        let mut next = Some(error);
        while let Some(error) = next {
            writeln!(self.0, "{error} | {error:#} | {error:?} | {error:#?}").unwrap();
            if let Some(error) = error.downcast_ref::<StoreError>() {
                writeln!(self.0, "kind: {:?}", error.kind()).unwrap();
            }
            next = error.source();
        }
    }

    /// Adds an operation's error in all its forms: itself, as a rejection, and as a gRPC status.
    fn add_own(&mut self, error: Error) {
        self.add(&error);
        if let Error::Token(error) = &error {
            writeln!(self.0, "{error:?}").unwrap();
        }
        writeln!(self.0, "{}", error.fastcore_code()).unwrap();
        let rejection = Rejection::from(error);
        writeln!(self.0, "{rejection:?} {rejection:#?}").unwrap();
        let status = tonic::Status::from(rejection);
        self.add(&status);
    }
}

#[tokio::test]
async fn lek_03_no_error_nor_any_of_its_sources_shows_a_token_a_claim_a_key_or_a_url() {
    let mut texts = Texts::default();
    let mut secrets = Secrets::default();
    secrets.add("the signing secret", SECRET);
    secrets.add("the password of Redis", REDIS_PASSWORD);

    token_errors(&mut texts, &mut secrets).await;
    errors_of_the_service(&mut texts, &mut secrets).await;
    configuration_errors(&mut texts, &mut secrets);
    store_errors(&mut texts).await;
    for error in [
        PasswordError::TooLong,
        PasswordError::ContainsNul,
        PasswordError::Empty,
        PasswordError::Overloaded,
        PasswordError::Failed,
    ] {
        texts.add(&error);
        texts.add_own(error.into());
    }
    // The scanner would find what it looks for.
    assert!(secrets.find_in(SECRET.as_bytes()).is_some());
    secrets.must_not_be_in("an error", &texts.0);
}

/// Adds every variant of [`TokenError`], from tokens with marked claims, because errors of serde
/// can quote values.
async fn token_errors(texts: &mut Texts, secrets: &mut Secrets) {
    let fixture = Fixture::new();
    let tokens = &fixture.tokens;
    let mut given = bad_tokens(&fixture).await;
    for (_, token) in &given {
        texts.add_own(tokens.validate_token(token, TokenType::Access).await.unwrap_err());
    }
    let claims = support::fixture::read_part(&fixture.access("read").await, 1);
    let marker = "a marked claim that no error may show";
    secrets.add("a claim", marker);
    for name in RESERVED {
        for value in [json!(marker), json!({ marker: marker }), json!([marker, 1]), json!([[marker]])] {
            let mut claims = claims.clone();
            claims[name] = value;
            given.push(("a marked claim", sign(r#"{"alg":"HS256","typ":"at+jwt"}"#, &claims.to_string())));
        }
    }
    for header in [
        json!({ "alg": marker }),
        json!({ "alg": "HS256", "typ": marker }),
        json!({ "alg": "HS256", "kid": marker }),
        json!({ "alg": "HS256", "crit": [marker] }),
        json!({ "alg": "HS256", "jku": marker, "x5c": [marker], "jwk": { "k": marker } }),
    ] {
        given.push(("a marked header", sign(&header.to_string(), &claims.to_string())));
    }
    for text in [format!(r#"{{"a":"{marker}"#), format!(r#"{{"a":"{marker}","a":1}}"#), format!(r#""{marker}""#)] {
        given.push(("marked JSON", sign(r#"{"alg":"HS256"}"#, &text)));
    }
    given.push(("no base64url", format!("{marker}.{marker}.{marker}")));
    given.push(("two segments", format!("{}.{}", "SECRETSEGMENT1234567890", "SECRETSEGMENT0987654321")));

    let pair = tokens.create_token_pair(NewSession::new("42")).await.unwrap();
    tokens.refresh(pair.refresh().as_str()).await.unwrap();
    fixture.advance(60);
    let reused = tokens.refresh(pair.refresh().as_str()).await.unwrap_err();
    assert!(matches!(reused, Error::Token(TokenError::Reused)), "{reused:?}");
    texts.add_own(reused);
    given.push(("reused", pair.refresh().as_str().to_owned()));
    let refusing = builder(&fixture.clock)
        .store(fixture.store.clone())
        .on_refresh(|_| async { Ok::<_, BoxError>(Renewal::<NoClaims>::Refuse) });
    let fresh = tokens.create_token_pair(NewSession::new("42")).await.unwrap();
    texts.add_own(refusing.build().unwrap().refresh(fresh.refresh().as_str()).await.unwrap_err());
    let idle = tokens.create_token_pair(NewSession::new("42").session_lifetime(Duration::from_secs(10))).await.unwrap();
    fixture.advance(11);
    texts.add_own(tokens.refresh(idle.refresh().as_str()).await.unwrap_err());
    given.push(("of a user who is refused", fresh.refresh().as_str().to_owned()));
    given.push(("of a session that has expired", idle.refresh().as_str().to_owned()));

    // A service with claims of its own, which these tokens do not have.
    let typed = builder(&fixture.clock).store(fixture.store.clone()).claims::<Vec<String>>().build().unwrap();
    for (what, token) in &given {
        if token.len() >= 16 {
            secrets.add(what, &token[..token.len().min(4000)]);
        }
        for kind in [TokenType::Access, TokenType::Refresh] {
            for result in
                [tokens.validate_token(token, kind).await.map(drop), typed.validate_token(token, kind).await.map(drop)]
            {
                if let Err(error) = result {
                    texts.add_own(error);
                }
            }
            if let Err(error) = tokens.validate_jwt_stateless(token, kind) {
                texts.add(&error);
            }
        }
        if let Err(error) = tokens.decode_token(token) {
            texts.add(&error);
        }
        for result in [
            tokens.refresh(token).await.map(drop),
            tokens.refresh_access_token(token).await.map(drop),
            tokens.revoke_token(token).await.map(drop),
        ] {
            if let Err(error) = result {
                texts.add_own(error);
            }
        }
    }
    // Every variant was among them.
    for expected in [
        "Malformed",
        "Signature",
        "UnknownKey",
        "Claims(",
        "WrongType",
        "Expired",
        "NotYetValid",
        "UnknownSession",
        "SessionExpired",
        "Revoked",
        "Reused",
        "UserRefused",
    ] {
        assert!(texts.0.contains(expected), "no error was {expected}");
    }
}

/// Adds every other variant of [`Error`].
async fn errors_of_the_service(texts: &mut Texts, secrets: &mut Secrets) {
    let fixture = Fixture::new();
    let marker = "a marked custom claim that no error may show";
    secrets.add("a custom claim", marker);
    let custom = builder(&fixture.clock).store(fixture.store.clone()).claims::<Value>().build().unwrap();
    for claims in [
        json!({ "exp": marker }),
        json!({ "role": marker.repeat(300) }),
        json!([marker]),
        json!(marker),
        json!({ "cnf": { marker: marker } }),
    ] {
        texts.add_own(custom.create_token_pair(NewSession::new("42").claims(claims.clone())).await.unwrap_err());
        let claims = JwtClaims::new(
            "42",
            tower_bearer::TokenId::new("j"),
            TokenType::Access,
            START,
            Duration::from_secs(60),
            claims,
        );
        let key = SigningKey::from_secret(Algorithm::HS256, SECRET).unwrap();
        if let Err(error) = encode_jwt(&KeySet::signing(key), &claims) {
            texts.add_own(error);
        }
    }
    for session in [
        NewSession::new(format!("{marker}\n")),
        NewSession::new(marker.repeat(10)),
        NewSession::new("42").scope(format!("{marker}\"")),
        NewSession::new("42").label(marker.repeat(100)),
        NewSession::new("42").access_lifetime(Duration::MAX),
    ] {
        texts.add_own(fixture.tokens.create_token_pair(session).await.unwrap_err());
    }
    let key = SigningKey::from_secret(Algorithm::HS256, SECRET).unwrap();
    let verifying = KeySet::verifying(key.verifying_key().clone());
    let claims = JwtClaims::new(
        "42",
        tower_bearer::TokenId::new("j"),
        TokenType::Access,
        START,
        Duration::from_secs(60),
        NoClaims {},
    );
    texts.add_own(encode_jwt(&verifying, &claims).unwrap_err());
    texts.add_own(Error::InvalidCredentials);
    let began = fixture.tokens.auth_time();
    fixture.tokens.revoke_all_for_subject("42").await.unwrap();
    texts.add_own(fixture.tokens.create_token_pair(NewSession::new("42").auth_time(began)).await.unwrap_err());
    for kind in STORE_ERRORS {
        texts.add_own(StoreError::new(kind).into());
    }
    // Errors of the application are shown unchanged, so it must keep secrets out of them.
    let failing = builder(&fixture.clock).store(fixture.store.clone());
    let failing = failing.on_refresh(|_| async { Err::<Renewal<NoClaims>, BoxError>("the database is down".into()) });
    let pair = fixture.tokens.create_token_pair(NewSession::new("43")).await.unwrap();
    secrets.add("a refresh token", pair.refresh().as_str());
    texts.add_own(failing.build().unwrap().refresh(pair.refresh().as_str()).await.unwrap_err());
    for expected in [
        "the operation is not possible",
        "could not be signed",
        "the credentials are not valid",
        "revoked during this login",
        "the application's own code failed",
        "the token store failed",
    ] {
        assert!(texts.0.contains(expected), "no error was {expected}");
    }
}

/// Adds the errors of unusable keys, secrets and settings, and of swapped settings.
fn configuration_errors(texts: &mut Texts, secrets: &mut Secrets) {
    errors_of_json_web_keys(texts, secrets);
    let mut refused = |what: &str, result: Result<(), ConfigError>| {
        let error = result.expect_err(what);
        texts.add(&error);
    };
    let read = |name: &str| fs::read_to_string(format!("{}/tests/keys/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let algorithms =
        [Algorithm::HS256, Algorithm::RS256, Algorithm::PS512, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA];
    for name in [
        "TEST-rsa-2048-pkcs8.pem",
        "TEST-rsa-2048-pkcs1.pem",
        "TEST-rsa-1024-pkcs8.pem",
        "TEST-ec-p256-pkcs8.pem",
        "TEST-ec-p256-sec1.pem",
        "TEST-ed25519-pkcs8.pem",
        "TEST-ec-secp256k1-pkcs8.pem",
    ] {
        let pem = read(name);
        for line in pem.lines().filter(|line| !line.starts_with('-')) {
            secrets.add("a private key", line);
        }
        let middle = pem.len() / 2;
        let mut broken = pem.clone();
        broken.replace_range(middle..=middle, "*");
        for text in [
            pem.as_str(),
            &broken,
            &pem[..middle],
            &pem.replace("PRIVATE", "PUBLIC"),
            &format!("{pem}{pem}"),
            &pem.replace('-', ""),
        ] {
            for algorithm in algorithms {
                for result in [
                    SigningKey::from_pem(algorithm, text).map(drop),
                    SigningKey::from_der(algorithm, text).map(drop),
                    VerifyingKey::from_pem(algorithm, text).map(drop),
                    VerifyingKey::from_der(algorithm, text).map(drop),
                    SigningKey::from_jwk_with(algorithm, text).map(drop),
                ] {
                    if result.is_err() {
                        refused(name, result);
                    }
                }
            }
        }
    }
    for (algorithm, secret) in [
        (Algorithm::HS512, &SECRET[..40]),
        (Algorithm::HS256, &SECRET[..20]),
        (Algorithm::RS256, SECRET),
        (Algorithm::EdDSA, SECRET),
    ] {
        refused("secret", SigningKey::from_secret(algorithm, secret).map(drop));
        refused(
            "secret",
            TokenService::builder().secret(secret).algorithm(algorithm).store(MemoryStore::default()).build().map(drop),
        );
    }
    // The secret in every variable's place, which is how one gets into a log.
    for name in [
        "JWT_ALGORITHM",
        "JWT_ACCESS_TOKEN_EXPIRE_MINUTES",
        "JWT_REFRESH_TOKEN_EXPIRE_DAYS",
        "JWT_AUDIENCE",
        "JWT_ISSUER",
        "JWT_ALLOWED_AUDIENCES",
    ] {
        for value in [SECRET.to_owned(), format!("[{SECRET}"), format!(r#"["{SECRET}", 1]"#)] {
            let service = || {
                let settings = Settings::from_vars([(name, value.as_str()), ("JWT_SECRET_KEY", "short")])?;
                TokenService::builder().settings(&settings).store(MemoryStore::default()).build().map(drop)
            };
            refused(name, service());
        }
    }
    if let Err(error) = SECRET.parse::<Algorithm>() {
        refused("algorithm", Err(error));
    }
    let service = TokenService::builder().secret(SECRET).store(MemoryStore::default()).build().unwrap();
    if let Err(error) = AuthLayer::builder(service).realm(format!("{SECRET}\r\n")).build() {
        texts.add(&error);
    }
}

/// A JWK is JSON, and jsonwebtoken's own type shows its secret part.
fn errors_of_json_web_keys(texts: &mut Texts, secrets: &mut Secrets) {
    let jwk = include_str!("../keys/RFC-7515-A.2.jwk.json");
    let private: Value = serde_json::from_str(jwk).unwrap();
    for name in ["d", "p", "q", "dp", "dq", "qi"] {
        secrets.add("a private JWK", private[name].as_str().unwrap());
    }
    let octets = "VEVTVC1rZXktb2YtYS1KV0stdGhhdC1uby1lcnJvci1tYXktc2hvdw";
    secrets.add("a secret JWK", octets);
    for text in [
        jwk.replace("\"AQAB\"", "\"AQAB"),
        jwk.replace("RSA", "EC"),
        jwk.replace("\"d\"", "\"e\""),
        jwk.replace("\"p\"", "\"oth\""),
        format!(r#"{{"kty":"oct","k":"{octets}"}}"#),
        format!(r#"{{"kty":"oct","k":"{octets}","alg":"{octets}"}}"#),
        format!(r#"{{"kty":"oct","k":["{octets}"],"alg":"HS256"}}"#),
        format!(r#"{{"kty":"oct","k":"{octets}","k":"{octets}","alg":"HS256"}}"#),
        format!(r#"{{"kty":"oct","k":"{octets}","alg":"HS256","use":"enc"}}"#),
        format!(r#"{{"keys":[{{"kty":"oct","k":"{octets}"}}]}}"#),
        format!(r#""{octets}""#),
        octets.to_owned(),
    ] {
        texts.add(&SigningKey::from_jwk(&text).expect_err(&text));
        if let Err(error) = VerifyingKey::from_jwk(&text) {
            texts.add(&error);
        }
    }
}

/// Adds every kind of [`StoreError`] that a Redis can cause, with a password in the URL.
async fn store_errors(texts: &mut Texts) {
    let port = free_port();
    for url in [
        format!("redis://:{REDIS_PASSWORD}@127.0.0.1:{port}/"),
        format!("redis://user:{REDIS_PASSWORD}@127.0.0.1:{port}/"),
        format!("redis://:{REDIS_PASSWORD}@127.0.0.1:{port}/no-number"),
        format!("redis://:{REDIS_PASSWORD}@127.0.0.1:no-port/"),
        format!("redis://:{REDIS_PASSWORD}@127.0.0.1:99999/"),
        format!("redis://:{REDIS_PASSWORD}@/"),
        format!("redis://{REDIS_PASSWORD}"),
        format!("http://:{REDIS_PASSWORD}@127.0.0.1/"),
        format!("rediss://:{REDIS_PASSWORD}@127.0.0.1:{port}/#insecure"),
        format!("unix:///no/such/socket?pass={REDIS_PASSWORD}"),
        format!("redis://:{REDIS_PASSWORD}@127.0.0.1:{port}/?protocol={REDIS_PASSWORD}"),
        format!(":{REDIS_PASSWORD}@127.0.0.1"),
        REDIS_PASSWORD.to_owned(),
    ] {
        let error = RedisStore::builder(&url).timeout(Duration::from_millis(300)).connect().await.expect_err(&url);
        texts.add(&error);
    }
    let server = RedisServer::start();
    let mut admin = server.admin().await;
    let mut set = async |setting: &str, value: &str| {
        redis::cmd("CONFIG").arg("SET").arg(setting).arg(value).exec_async(&mut admin).await.unwrap();
    };
    set("requirepass", REDIS_PASSWORD).await;
    let url = server.url().replace("127.0.0.1", &format!(":{REDIS_PASSWORD}@127.0.0.1"));
    for wrong in [server.url(), url.replace("server@", "nobody@"), url.replace("://:", "://nobody:")] {
        texts.add(&RedisStore::connect(&wrong).await.expect_err(&wrong));
    }
    let store = RedisStore::builder(&url).timeout(Duration::from_secs(1)).connect().await.unwrap();
    let tokens = node_on(store, |builder| builder);
    let pair = tokens.create_token_pair(NewSession::new("42")).await.unwrap();
    set("maxmemory", "1").await;
    texts.add_own(tokens.create_token_pair(NewSession::new("42")).await.unwrap_err());
    texts.add_own(tokens.refresh(pair.refresh().as_str()).await.unwrap_err());
    set("maxmemory", "0").await;
    let other = RedisStore::builder(&url).buckets(3).connect().await;
    texts.add(&other.expect_err("another number of buckets"));
    let mut admin = server_admin(&url).await;
    let mut run = async |words: &[&str]| {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.exec_async(&mut admin).await.unwrap();
    };
    run(&["ACL", "SETUSER", "default", "-evalsha", "-eval"]).await;
    texts.add_own(tokens.revoke_all_for_subject("42").await.unwrap_err());
    run(&["ACL", "SETUSER", "default", "+@all"]).await;
    for bucket in 0..16 {
        let key = format!("tb:{{{bucket}}}:u:42");
        run(&["DEL", &key]).await;
        run(&["SET", &key, "no hash"]).await;
    }
    texts.add_own(tokens.validate_token(pair.access().as_str(), TokenType::Access).await.unwrap_err());
    server.pause();
    texts.add_own(tokens.validate_token(pair.access().as_str(), TokenType::Access).await.unwrap_err());
    server.resume();
    for expected in ["Unavailable", "Timeout", "OutOfMemory", "Rejected", "Untrusted", "Layout"] {
        assert!(texts.0.contains(&format!("kind: {expected}")), "no error was {expected}");
    }
}

async fn server_admin(url: &str) -> redis::aio::MultiplexedConnection {
    redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap()
}
