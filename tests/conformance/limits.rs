//! DOS: the work that a client without a key can cause.
//!
//! Counts show it, and the reason of the rejection shows how far a token was read.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::json;
use tower_bearer::{Error, NewSession, TokenType, error::TokenError};

use crate::{
    subject::{Outcome, Subject, bearer, send},
    support::{
        Behaviour, bad_tokens,
        fixture::{SECRET, sign},
        token_parts::HEADER,
    },
};

// The reasons of rejections, in the order of the steps of validation.
const TOO_LONG: &str = "it is longer than allowed";
const SEGMENTS: &str = "it is not three segments of base64url";
const BASE64: &str = "a segment is not canonical base64url";
const JOSE_HEADER: &str = "its header is not valid JSON, or a parameter is missing or not supported";

/// The default of `max_token_len`.
const LONGEST: usize = 8 * 1024;

fn plain(request: http::request::Builder) -> Request<Full<Bytes>> {
    request.body(Full::default()).unwrap()
}

/// Returns the reason for the refusal of a token, from the response's extensions.
async fn cause(subject: &Subject, token: &str) -> TokenError {
    let rejection = subject.send(plain(bearer(token))).await.rejection.expect("a rejection");
    match rejection.cause() {
        Some(Error::Token(error)) => error.clone(),
        other => panic!("{other:?}"),
    }
}

fn base64(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// Returns a good token of exactly this length, padded by white space in the claims and, where
/// base64 lengths do not fit, in the header.
async fn good_of_length(subject: &Subject, length: usize) -> String {
    let claims = subject.claims_text().await;
    for in_header in 0..4 {
        let header = format!("{HEADER}{}", " ".repeat(in_header));
        let rest = length - sign(&header, "").len();
        let bytes = rest / 4 * 3 + [0, 0, 1, 2][rest % 4];
        let token = sign(&header, &format!("{claims}{}", " ".repeat(bytes - claims.len())));
        if token.len() == length {
            return token;
        }
    }
    panic!("no token of length {length}");
}

#[tokio::test]
async fn dos_01_the_length_is_looked_at_before_anything_else() {
    let subject = Subject::new();
    for length in [LONGEST - 1, LONGEST] {
        let token = good_of_length(&subject, length).await;
        subject.expect_token(&format!("{length} good bytes"), &token, Outcome::Ok).await;
    }
    for length in [LONGEST + 1, LONGEST + 2, 3 * LONGEST] {
        let token = good_of_length(&subject, length).await;
        subject.expect_token(&format!("{length} good bytes"), &token, Outcome::InvalidToken).await;
        assert_eq!(cause(&subject, &token).await, TokenError::Malformed(TOO_LONG));
    }
    // Whatever the text is, it is refused for its length: no grammar, no base64, no JSON, no key
    // and no store has been asked.
    let hostile_header = base64(&format!(r#"{{"alg":"HS256","x":{}"#, "[".repeat(LONGEST)));
    let calls = subject.fixture.store.calls();
    for (what, piece) in [
        ("letters", "a"),
        ("padding", "="),
        ("no base64", "*"),
        ("no b64token", "{"),
        ("two words", "a b"),
        ("segments", "a.b.c"),
        ("a hostile header", &*hostile_header),
    ] {
        for length in [LONGEST + 1, 1 << 20, 10 << 20] {
            let text = &piece.repeat(length / piece.len() + 1)[..length.max(piece.len())];
            let what = format!("{length} bytes: {what}");
            assert_eq!(cause(&subject, text).await, TokenError::Malformed(TOO_LONG), "{what}");
            if length < 1 << 20 {
                subject.expect_token(&what, text, Outcome::InvalidToken).await;
            }
        }
    }
    subject.expect_token("10 MiB", &"a".repeat(10 << 20), Outcome::InvalidToken).await;
    assert_eq!((subject.fixture.store.calls(), subject.inner.calls()), (calls, 4));

    // The library's own functions have the bound too, and the bound is the application's to set.
    let subject = Subject::with(|builder| builder.max_token_len(1000));
    let tokens = &subject.fixture.tokens;
    let (fits, too_long) = (good_of_length(&subject, 1000).await, good_of_length(&subject, 1001).await);
    subject.expect_token("as long as configured", &fits, Outcome::Ok).await;
    subject.expect_token("longer than configured", &too_long, Outcome::InvalidToken).await;
    let malformed = TokenError::Malformed(TOO_LONG);
    let refused = tokens.validate_jwt_stateless(&too_long, TokenType::Access);
    assert!(matches!(&refused, Err(Error::Token(error)) if *error == malformed), "{refused:?}");
    assert_eq!(tokens.decode_token(&too_long).unwrap_err(), malformed);
    for error in [
        tokens.refresh(&too_long).await.unwrap_err(),
        tokens.revoke_token(&too_long).await.unwrap_err(),
        tokens.validate_token(&too_long, TokenType::Refresh).await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::Token(error) if error == malformed));
    }
}

#[tokio::test]
async fn dos_04_a_flood_of_dots_ends_at_the_first_segment_that_is_none() {
    let subject = Subject::new();
    let dots = ".".repeat(1 << 20);
    subject.expect_token("1 MiB of dots", &dots, Outcome::InvalidToken).await;
    assert_eq!(cause(&subject, &dots).await, TokenError::Malformed(TOO_LONG));
    subject.expect_token("as many as are looked at", &dots[..LONGEST], Outcome::InvalidToken).await;
    // Where such texts are let in, a text is cut twice, and the rest is one segment that is no
    // base64.
    let subject = Subject::with(|builder| builder.max_token_len(2 << 20));
    let good = subject.valid().await;
    let good: Vec<_> = good.split('.').collect();
    for (what, text, why) in [
        ("dots", dots.clone(), SEGMENTS),
        ("a dot after each letter", "a.".repeat(1 << 19), BASE64),
        ("dots after a good header and claims", format!("{}.{}.{dots}", good[0], good[1]), BASE64),
        ("dots after a good token", format!("{}{dots}", good.join(".")), BASE64),
        ("dots within a good token", format!("{}{dots}{}.{}", good[0], good[1], good[2]), SEGMENTS),
        ("a good token after dots", format!("{dots}{}", good.join(".")), SEGMENTS),
        ("dots after a header that is none", format!("e30.e30.{dots}"), JOSE_HEADER),
    ] {
        assert_eq!(cause(&subject, &text).await, TokenError::Malformed(why), "{what}");
    }
    subject.expect_token("dots", &dots, Outcome::InvalidToken).await;
}

#[tokio::test]
async fn dos_05_the_store_is_not_asked_about_forged_tokens() {
    const FORGED: usize = 10_000;
    let subject = Subject::new();
    let token = subject.valid().await;
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let mut bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let before = subject.fixture.store.calls();
    for number in 0..FORGED {
        // Each another one, so that nothing can be remembered of the last.
        bytes[..8].copy_from_slice(&(number as u64 + 1).to_be_bytes());
        let forged = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(&bytes));
        let answer = subject.send(plain(bearer(&forged))).await;
        assert_eq!(answer.status, 401, "{number}");
    }
    assert_eq!((subject.fixture.store.calls(), subject.inner.calls()), (before, 0));
    // Other bad tokens cause no store call either, except those that only the store can refuse.
    for (fault, token) in bad_tokens(&subject.fixture).await {
        let before = subject.fixture.store.calls();
        subject.send(plain(bearer(&token))).await;
        let asked = usize::from(["revoked", "logged out", "unknown session"].contains(&fault));
        assert_eq!(subject.fixture.store.calls() - before, asked, "{fault}");
    }
}

#[tokio::test]
async fn dos_11_a_request_asks_the_store_once() {
    const REQUESTS: usize = 100;
    let subject = Subject::new();
    let token = subject.valid().await;
    for behaviour in [Behaviour::AtOnce, Behaviour::Late] {
        subject.fixture.store.answer(behaviour);
        let before = subject.fixture.store.calls();
        for _ in 0..REQUESTS {
            assert_eq!(subject.send(plain(bearer(&token))).await.status, 200);
        }
        assert_eq!(subject.fixture.store.calls() - before, REQUESTS, "{behaviour:?}");
    }
    // Under layers within layers too; and a store that fails is not asked again for the same
    // request.
    let users =
        tower_bearer::middleware::CurrentUserLayer::new(&subject.layer, std::sync::Arc::new(crate::support::Users));
    let scope = subject.layer.require_scope("read").unwrap();
    let service = || {
        use tower::Layer;
        subject.layer.layer(scope.layer(users.layer(subject.inner.clone())))
    };
    let before = subject.fixture.store.calls();
    assert_eq!(send(service(), plain(bearer(&token))).await.status, 200);
    subject.fixture.store.answer(Behaviour::Fails(tower_bearer::error::StoreErrorKind::Unavailable));
    assert_eq!(send(service(), plain(bearer(&token))).await.status, 503);
    assert_eq!(subject.fixture.store.calls() - before, 2);
}

/// Returns a JWE: five segments, the first a header with `alg` and `enc` (RFC 7516 section 7.1).
fn encrypted(header: &serde_json::Value, ciphertext: usize) -> String {
    format!(
        "{}.{}.{}.{}.{}",
        base64(&header.to_string()),
        base64("key"),
        base64("iv"),
        "A".repeat(ciphertext),
        base64("tag")
    )
}

#[tokio::test]
async fn dos_14_an_encrypted_token_is_refused_by_its_header_and_nothing_is_decompressed() {
    let subject = Subject::new();
    let claims = subject.claims_text().await;
    for alg in ["dir", "A128KW", "A256GCMKW", "RSA-OAEP", "RSA-OAEP-256", "RSA1_5", "ECDH-ES", "ECDH-ES+A128KW"] {
        let header = json!({"alg": alg, "enc": "A256GCM", "zip": "DEF", "typ": "at+jwt"});
        // 10 kB, which could be a GB of zeros, is longer than is looked at at all.
        let bomb = encrypted(&header, 10_000);
        subject.expect_token(alg, &bomb, Outcome::InvalidToken).await;
        assert_eq!(cause(&subject, &bomb).await, TokenError::Malformed(TOO_LONG), "{alg}");
        for ciphertext in [0, 4, 7000] {
            let small = encrypted(&header, ciphertext);
            subject.expect_token(alg, &small, Outcome::InvalidToken).await;
            assert_eq!(cause(&subject, &small).await, TokenError::Malformed(JOSE_HEADER), "{alg}, {ciphertext}");
        }
    }
    // Nor in what is signed by our own key: a header that says that the claims are compressed or
    // encrypted is refused.
    for member in [json!({"zip": "DEF"}), json!({"zip": "GZIP"}), json!({"enc": "A256GCM"}), json!({"cty": "JWT"})] {
        let mut header = member;
        header["alg"] = "HS256".into();
        header["typ"] = "at+jwt".into();
        let token = sign(&header.to_string(), &claims);
        subject.expect_token(&header.to_string(), &token, Outcome::InvalidToken).await;
        assert_eq!(cause(&subject, &token).await, TokenError::Malformed(JOSE_HEADER), "{header}");
    }
    // Five segments whose header is that of a good token.
    let five = encrypted(&json!({"alg": "HS256", "typ": "at+jwt"}), 100);
    subject.expect_token("five segments", &five, Outcome::InvalidToken).await;
    assert_eq!(cause(&subject, &five).await, TokenError::Malformed(BASE64));
    // The general and flattened JSON serializations are no b64token at all.
    subject.expect("JSON", bearer(r#"{"protected":"e30","ciphertext":"AA"}"#), Outcome::InvalidRequest).await;
}

#[tokio::test]
async fn dos_15_no_key_is_derived_from_a_password_however_often_the_header_says() {
    let subject = Subject::new();
    let claims = subject.claims_text().await;
    let counts = [json!(2_147_483_648_u64), json!(u64::MAX), json!(-1), json!(1e308), json!("2147483648"), json!(null)];
    for alg in ["PBES2-HS256+A128KW", "PBES2-HS384+A192KW", "PBES2-HS512+A256KW"] {
        for count in &counts {
            let header = json!({"alg": alg, "enc": "A128CBC-HS256", "p2s": base64("salt"), "p2c": count});
            let what = header.to_string();
            for token in [encrypted(&header, 64), sign(&what, &claims)] {
                subject.expect_token(&what, &token, Outcome::InvalidToken).await;
                // Before any key is used: the signature of the second one is good.
                assert_eq!(cause(&subject, &token).await, TokenError::Malformed(JOSE_HEADER), "{what}");
            }
            let unencrypted = sign(&json!({"alg": alg, "p2c": count, "p2s": "c2FsdA"}).to_string(), &claims);
            assert_eq!(cause(&subject, &unencrypted).await, TokenError::Malformed(JOSE_HEADER), "{what}");
        }
    }
    // With an `alg` of ours the members mean nothing, as any that is not known (RFC 7515 section
    // 4): nobody counts to them.
    for count in &counts {
        let header = json!({"alg": "HS256", "typ": "at+jwt", "p2s": base64("salt"), "p2c": count}).to_string();
        subject.expect_token(&header, &sign(&header, &claims), Outcome::Ok).await;
    }
}

#[cfg(feature = "redis")]
mod on_redis {
    use std::time::Duration;

    use tower::Layer;
    use tower_bearer::{AuthLayer, RedisStore, TokenService, store::redis::RedisStoreBuilder};

    use super::*;
    use crate::{
        subject::Inner,
        support::{Monitor, Proxy, RedisServer, eventually, redis_fixture},
    };

    /// Returns a layer on a store behind a proxy, and a good token.
    async fn behind(
        proxy: &Proxy,
        configure: impl FnOnce(RedisStoreBuilder) -> RedisStoreBuilder,
    ) -> (AuthLayer, String) {
        let store = configure(RedisStore::builder(proxy.url())).connect().await.unwrap();
        let tokens = TokenService::builder().secret(SECRET).store(store).build().unwrap();
        let token = tokens.create_access_token(NewSession::new("42")).await.unwrap().as_str().to_owned();
        (AuthLayer::new(tokens), token)
    }

    fn request(token: &str, grpc: bool) -> Request<Full<Bytes>> {
        let request = bearer(token);
        plain(if grpc { request.header("content-type", "application/grpc") } else { request })
    }

    async fn recovers(layer: &AuthLayer, token: &str) {
        eventually("requests pass again", async || {
            let answer = send(layer.layer(Inner::default()), request(token, false)).await;
            (answer.status == 200).then_some(())
        })
        .await;
    }

    #[tokio::test]
    async fn dos_09_a_redis_that_does_not_answer_in_time_is_503_and_then_it_recovers() {
        let server = RedisServer::start();
        let proxy = Proxy::start(server.port()).await;
        for timeout in [None, Some(Duration::from_millis(100))] {
            let (layer, token) = behind(&proxy, |builder| match timeout {
                Some(timeout) => builder.timeout(timeout),
                // The default, which is what most have.
                None => builder,
            })
            .await;
            let inner = Inner::default();
            assert_eq!(send(layer.layer(inner.clone()), request(&token, false)).await.status, 200);
            // All replies of Redis are held back, like an endless latency. Any answer shows that
            // the layer does not wait for them.
            proxy.freeze_replies();
            // The clock that the store's deadline goes by moves only while nothing else happens, so
            // its time is exact.
            tokio::time::pause();
            for grpc in [false, true] {
                let asked = tokio::time::Instant::now();
                let refused = send(layer.layer(inner.clone()), request(&token, grpc)).await;
                refused.assert_refused(&format!("{timeout:?}"), Outcome::Unavailable, grpc);
                let waited = asked.elapsed();
                let most = timeout.unwrap_or(Duration::from_secs(1)) + Duration::from_millis(2);
                assert!(waited <= most, "{timeout:?}: {waited:?}");
            }
            tokio::time::resume();
            // What needs no store is answered as ever.
            let forged = send(layer.layer(inner.clone()), request("abc", false)).await;
            assert_eq!((forged.status.as_u16(), inner.calls()), (401, 1));
            proxy.resume();
            recovers(&layer, &token).await;
        }
    }

    #[tokio::test]
    async fn dos_10_two_hundred_requests_on_two_connections_to_a_paused_redis_fail_together_and_it_recovers() {
        const REQUESTS: usize = 200;
        let f = redis_fixture::Fixture::new().await;
        let proxy = Proxy::start(f.server.port()).await;
        let (layer, token) = behind(&proxy, |builder| builder.buckets(1).connections(2)).await;
        let inner = Inner::default();
        f.server.pause();
        let requests = (0..REQUESTS).map(|number| {
            let (service, token) = (layer.layer(inner.clone()), token.clone());
            async move {
                let grpc = number % 2 == 1;
                (send(service, request(&token, grpc)).await, grpc)
            }
        });
        // Redis stays paused until all requests have failed, so none waits for Redis or for earlier
        // requests.
        for (answer, grpc) in futures_util::future::join_all(requests).await {
            answer.assert_refused("on a paused Redis", Outcome::Unavailable, grpc);
        }
        assert_eq!(inner.calls(), 0);
        f.server.resume();
        recovers(&layer, &token).await;
        let clients: String = f.redis(&["CLIENT", "LIST", "TYPE", "normal"]).await;
        assert!(clients.lines().count() < 12, "connections do not pile up: {clients}");
        let requests = (0..REQUESTS).map(|_| send(layer.layer(inner.clone()), request(&token, false)));
        for answer in futures_util::future::join_all(requests).await {
            assert_eq!(answer.status, 200);
        }
    }

    #[tokio::test]
    async fn dos_11_a_request_is_one_command_on_redis() {
        const REQUESTS: usize = 100;
        let f = redis_fixture::Fixture::new().await;
        let proxy = Proxy::start(f.server.port()).await;
        let (layer, token) = behind(&proxy, |builder| builder.buckets(1).connections(1)).await;
        let ask = async |what: &str, token: &str, status: u16| {
            let answer = send(layer.layer(Inner::default()), request(token, false)).await;
            assert_eq!(answer.status, status, "{what}");
        };
        ask("warm", &token, 200).await;
        let monitor = Monitor::start(f.server.port(), None);
        for _ in 0..REQUESTS {
            ask("good", &token, 200).await;
            ask("forged", "abc", 401).await;
        }
        let _: String = f.redis(&["ECHO", "the end"]).await;
        let told = monitor.until("the end").await;
        // The task that follows the log asks about that, and its subscription listens: on
        // connections of their own.
        let own = |line: &&str| {
            let command = line.to_ascii_lowercase();
            let shared = [
                "\"time\"",
                "\"role\"",
                "\"echo\"",
                "\"info\"",
                "\"ping\"",
                "monitor",
                "+ok",
                "\"quit\"",
                "ssubscribe",
                ":log\"",
                ":m\"",
            ];
            !shared.iter().any(|other| command.contains(other))
        };
        let own: Vec<_> = told.lines().filter(own).collect();
        assert_eq!(own.len(), REQUESTS, "{own:#?}");
        assert!(own.iter().all(|line| line.contains("HMGET") && line.contains(":u:42")), "{own:#?}");
    }
}
