//! Algorithms, keys and audiences from environment variables.

use crate::{Store, claims_in, forged, header_in, is_invalid_token, on_each_store};

on_each_store!(a_private_key_signs_by_its_algorithm, a_secret_signs_by_its_algorithm);

fn key_file(name: &str) -> String {
    format!("{}/tests/keys/{name}", env!("CARGO_MANIFEST_DIR"))
}

async fn a_private_key_signs_by_its_algorithm(store: Store) {
    for (algorithm, file) in [
        ("RS256", "TEST-rsa-2048-pkcs8.pem"),
        ("PS256", "TEST-rsa-2048-pkcs1.pem"),
        ("ES256", "TEST-ec-p256-pkcs8.pem"),
        ("ES384", "TEST-ec-p384-pkcs8.pem"),
        ("EdDSA", "TEST-ed25519-pkcs8.pem"),
    ] {
        let file = key_file(file);
        let variables = [("JWT_ALGORITHM", algorithm), ("JWT_PRIVATE_KEY_FILE", &file), ("JWT_SECRET_KEY", "")];
        works(&store, &variables, algorithm).await;
    }
}

async fn a_secret_signs_by_its_algorithm(store: Store) {
    let secret = "TEST-secret-long-enough-for-a-hash-of-512-bits-0123456789abcdefghij";
    for algorithm in ["HS384", "HS512"] {
        works(&store, &[("JWT_ALGORITHM", algorithm), ("JWT_SECRET_KEY", secret)], algorithm).await;
    }
}

async fn works(store: &Store, variables: &[(&str, &str)], algorithm: &str) {
    let server = store.server(variables);
    let tokens = server.log_in("bob").await;
    for token in [&tokens.access, &tokens.refresh] {
        assert_eq!(header_in(token)["alg"], algorithm);
    }
    server.accepts(&tokens).await;
    assert!(is_invalid_token(&server.get("/me", &forged(&tokens.access)).await), "{algorithm}");
    let renewed = server.renew(&tokens).await;
    server.accepts(&renewed).await;
    let replayed = server.renew(&tokens).await;
    assert_eq!(claims_in(&replayed.refresh)["jti"], claims_in(&renewed.refresh)["jti"], "{algorithm}");
    server.post("/logout", &renewed.access).await.expect(200);
    server.refuses(&renewed).await;
}

#[tokio::test]
async fn an_audience_is_accepted_only_where_it_is_allowed() {
    let store = Store::redis();
    let web = store.server(&[("JWT_AUDIENCE", "web")]);
    let both = store.server(&[("JWT_AUDIENCE", "api"), ("JWT_ALLOWED_AUDIENCES", r#"["web"]"#)]);
    let listed = store.server(&[("JWT_AUDIENCE", "api"), ("JWT_ALLOWED_AUDIENCES", "mobile, web")]);
    let api = store.server(&[("JWT_AUDIENCE", "api")]);
    let other_issuer = store.server(&[("JWT_AUDIENCE", "web"), ("JWT_ISSUER", "https://other.example")]);

    let tokens = web.log_in("bob").await;
    assert_eq!(claims_in(&tokens.access)["aud"], "web");
    for server in [&web, &both, &listed] {
        server.accepts(&tokens).await;
    }
    for server in [&api, &other_issuer] {
        server.refuses(&tokens).await;
    }
    // The refused token has the wrong audience, and was not used up.
    web.renew(&tokens).await;
}
