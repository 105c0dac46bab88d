//! Each route with a good token, a bad token, no token, and another method.

use http::Method;
use serde_json::json;

use crate::{Store, claims_in, forged, is_invalid_token, is_unauthorized, on_each_store};

on_each_store!(
    login_answers_a_token_response_and_every_wrong_pair_is_one_refusal,
    each_route_answers_as_the_contract_says,
    each_protected_route_refuses_what_is_no_good_token,
    another_method_is_405_and_names_those_allowed,
);

async fn login_answers_a_token_response_and_every_wrong_pair_is_one_refusal(store: Store) {
    let server = store.server(&[]);
    let form = server.post_form("/login", &[("username", "alice"), ("password", "alice-password")]).await;
    let json = server.post_json("/login", json!({ "username": "bob", "password": "bob-password", "more": 1 })).await;
    for (answer, scope) in [(form, "read write admin"), (json, "read")] {
        let answer = answer.expect(200);
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("pragma"), Some("no-cache"));
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let body = answer.json();
        assert_eq!(body["token_type"], "bearer");
        assert_eq!(body["scope"], scope);
        // The remaining lifetime in whole seconds, rounded down, because `iat` is the beginning of
        // the second of issue.
        for (member, lifetime) in
            [("expires_in", 1800), ("access_expires_in", 1800), ("refresh_expires_in", 7 * 86_400)]
        {
            let seconds = body[member].as_u64().unwrap();
            assert!((lifetime - 1..=lifetime).contains(&seconds), "{member}: {seconds}");
        }
        assert_eq!(body.as_object().unwrap().len(), 7, "{body}");
    }

    let refusal = |user: &str, password: &str| {
        let fields = [("username", user.to_owned()), ("password", password.to_owned())];
        let client = server.client.clone();
        async move { client.post_form("/login", &fields.each_ref().map(|(name, value)| (*name, value.as_str()))).await }
    };
    let wrong = refusal("alice", "not her password").await.expect(401);
    assert_eq!(wrong.header("www-authenticate"), Some(r#"Bearer realm="api""#));
    assert_eq!(wrong.header("cache-control"), Some("no-store"));
    assert_eq!(&wrong.body[..], br#"{"error":"invalid_grant"}"#);
    let over_71_bytes = format!("alice-password{}", "x".repeat(58));
    for (user, password) in [
        ("nobody", "alice-password"),
        ("Alice", "alice-password"),
        ("", ""),
        ("alice", over_71_bytes.as_str()),
        ("alice", "alice-password\0"),
    ] {
        let other = refusal(user, password).await;
        assert_eq!((other.status, &other.body), (wrong.status, &wrong.body), "{user:?} {password:?}");
        let without_date = |answer: &crate::Answer| {
            let mut headers = answer.headers.clone();
            headers.remove("date");
            headers
        };
        assert_eq!(without_date(&other), without_date(&wrong), "{user:?} {password:?}");
    }
}

async fn each_route_answers_as_the_contract_says(store: Store) {
    let server = store.server(&[]);
    let alice = server.log_in("alice").await;
    let bob = server.log_in("bob").await;

    server.call(Method::GET, "/").send().await.expect(200);
    let optional = server.call(Method::GET, "/optional").send().await.expect(200).json();
    assert_eq!(optional, json!({ "subject": null }));
    assert_eq!(server.get("/optional", &alice.access).await.expect(200).json(), json!({ "subject": "1" }));
    let health = server.call(Method::GET, "/health").send().await.expect(200).json();
    assert_eq!(health["status"], "ok");
    assert_eq!(health["store"], if store.redis.is_none() { "memory" } else { "redis" });
    assert_eq!(health["consistency"].as_str(), store.consistency.split(':').next());

    let me = server.get("/me", &alice.access).await.expect(200).json();
    assert_eq!(me, json!({ "user_id": "1", "username": "alice" }));
    let me = server.get("/me", &bob.access).await.expect(200).json();
    assert_eq!(me, json!({ "user_id": "2", "username": "bob" }));

    let claims = server.get("/claims", &alice.access).await.expect(200).json();
    assert_eq!(claims, claims_in(&alice.access));
    for (claim, value) in [("sub", "1"), ("type", "access"), ("scope", "read write admin")] {
        assert_eq!(claims[claim], value);
    }
    for claim in ["iss", "aud"] {
        assert_eq!(claims[claim], "tower-bearer-example");
    }
    for claim in ["exp", "iat", "gen"] {
        assert!(claims[claim].is_u64(), "{claim}: {claims}");
    }

    server.get("/admin", &alice.access).await.expect(200);
    let forbidden = server.get("/admin", &bob.access).await.expect(403);
    assert_eq!(forbidden.error().as_deref(), Some("insufficient_scope"));
    let challenge = r#"Bearer realm="api", error="insufficient_scope", scope="admin""#;
    assert_eq!(forbidden.header("www-authenticate"), Some(challenge));

    server.get("/no-such-path", &alice.access).await.expect(404);
    server.call(Method::GET, "/no-such-path").send().await.expect(404);
}

/// The routes that need a token, with their methods.
const PROTECTED: [(Method, &str); 8] = [
    (Method::GET, "/claims"),
    (Method::GET, "/me"),
    (Method::GET, "/admin"),
    (Method::POST, "/logout"),
    (Method::POST, "/logout-all"),
    (Method::POST, "/logout-all?keep_current=true"),
    (Method::GET, "/sessions"),
    (Method::DELETE, "/sessions/AAAAAAAAAAAAAAAAAAAAAA"),
];

async fn each_protected_route_refuses_what_is_no_good_token(store: Store) {
    let server = store.server(&[]);
    let alice = server.log_in("alice").await;
    let bad = [alice.refresh.clone(), forged(&alice.access), "abc".to_owned(), "a".repeat(9000), "a.b.c".to_owned()];
    for (method, path) in PROTECTED {
        let call = || server.call(method.clone(), path);
        for no_credential in [call(), call().header("authorization", ""), call().header("authorization", "Basic YTpi")]
        {
            let answer = no_credential.send().await;
            assert!(is_unauthorized(&answer), "{method} {path}: {answer:?}");
        }
        for token in &bad {
            let answer = call().bearer(token).send().await;
            assert!(is_invalid_token(&answer), "{method} {path} {token}: {answer:?}");
        }
        let twice = call().bearer(&alice.access).bearer(&alice.access);
        for malformed in [call().header("authorization", "Bearer"), call().header("authorization", "Bearer a b"), twice]
        {
            let answer = malformed.send().await.expect(400);
            let challenge = r#"Bearer realm="api", error="invalid_request""#;
            assert_eq!(answer.header("www-authenticate"), Some(challenge), "{method} {path}");
            assert_eq!(&answer.body[..], br#"{"error":"invalid_request"}"#, "{method} {path}");
        }
    }
    for token in &bad {
        let answer = server.get("/optional", token).await;
        assert!(is_invalid_token(&answer), "/optional {token}: {answer:?}");
    }
    for in_query in ["/me?access_token=", "/me?token="] {
        let answer = server.call(Method::GET, &format!("{in_query}{}", alice.access)).send().await;
        assert!(is_unauthorized(&answer), "{answer:?}");
    }
    // None of these requests has changed the session.
    server.accepts(&alice).await;
    server.renew(&alice).await;
}

async fn another_method_is_405_and_names_those_allowed(store: Store) {
    let server = store.server(&[]);
    let alice = server.log_in("alice").await;
    for (method, path, allowed) in [
        (Method::GET, "/login", &["POST"][..]),
        (Method::PUT, "/refresh", &["POST"]),
        (Method::GET, "/logout", &["POST"]),
        (Method::DELETE, "/logout-all", &["POST"]),
        (Method::POST, "/sessions", &["GET", "HEAD"]),
        (Method::GET, "/sessions/AAAAAAAAAAAAAAAAAAAAAA", &["DELETE"]),
        (Method::POST, "/health", &["GET", "HEAD"]),
        (Method::POST, "/me", &["GET", "HEAD"]),
        (Method::POST, "/", &["GET", "HEAD"]),
    ] {
        let answer = server.call(method.clone(), path).bearer(&alice.access).send().await.expect(405);
        let allow = answer.header("allow").unwrap_or_else(|| panic!("{method} {path}: {answer:?}"));
        let mut named: Vec<_> = allow.split(',').map(str::trim).collect();
        named.sort_unstable();
        assert_eq!(named, allowed, "{method} {path}");
    }
    server.accepts(&alice).await;
}
