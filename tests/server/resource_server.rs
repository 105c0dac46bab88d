//! The example `resource_server` with a fake identity provider.

use http::Method;
use serde_json::{Value, json};
use tower_bearer::{
    clock::{Clock, SystemClock},
    jwt::Algorithm,
};

use crate::support::{
    Example, HttpClient,
    fake_provider::{FakeProvider, public_jwk},
    fixture::sign_with,
    test_keys,
};

fn token(provider: &FakeProvider, changes: &Value) -> String {
    let now = SystemClock.now().as_secs();
    let mut claims = json!({
        "iss": provider.url(), "aud": "api", "sub": "42", "sid": "s1", "scope": "read other", "iat": now, "exp": now + 600,
    });
    claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    let header = json!({ "alg": "ES256", "kid": "k1" }).to_string();
    let key = test_keys::encoding(Algorithm::ES256);
    sign_with(jsonwebtoken::Algorithm::ES256, &key, header.as_bytes(), claims.to_string().as_bytes())
}

/// Starts the example with the keys of the provider.
fn start(provider: &FakeProvider, variables: &[(&str, &str)]) -> Example {
    let common = [("ISSUER", provider.url()), ("AUDIENCE", "api"), ("DISCOVER", "1"), ("ALLOW_HTTP", "1")];
    Example::start("resource_server", &[&common, variables].concat())
}

fn provider() -> FakeProvider {
    let provider = FakeProvider::start_http();
    provider.add_key(&public_jwk(Algorithm::ES256, "k1"));
    provider
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_answers_with_claims_and_scopes_and_names_its_metadata() {
    let provider = provider();
    let server = start(&provider, &[("RESOURCE", "http://127.0.0.1:3001/api")]);
    let client = HttpClient::of(server.url());
    let good = token(&provider, &json!({}));
    let claims = client.get("/claims", &good).await;
    assert_eq!(
        (claims.status.as_u16(), &claims.json()["sid"], &claims.json()["scope"]),
        (200, &json!("s1"), &json!("read other"))
    );
    assert_eq!(client.get("/scopes", &good).await.json(), json!({ "scopes": ["read", "other"] }));
    assert_eq!(client.get("/read", &good).await.status.as_u16(), 200);
    let metadata = "resource_metadata=\"http://127.0.0.1:3001/.well-known/oauth-protected-resource/api\"";
    for (answer, expected) in [
        (client.get("/read", &token(&provider, &json!({ "scope": "" }))).await, 403),
        (client.get("/read", &token(&provider, &json!({ "aud": "another" }))).await, 401),
        (client.call(Method::GET, "/claims").send().await, 401),
    ] {
        assert_eq!(answer.status.as_u16(), expected);
        assert!(answer.header("www-authenticate").unwrap_or_default().contains(metadata), "{expected}");
    }
    for path in ["/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/api"] {
        let document = client.call(Method::GET, path).send().await.json();
        assert_eq!(document["authorization_servers"], json!([provider.url()]), "{path}");
    }
    let health = client.call(Method::GET, "/health").send().await.json();
    assert_eq!((&health["issuers"][0]["keys"], &health["issuers"][0]["fetches"]), (&json!(1), &json!(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_denial_holds_from_the_next_request_on() {
    let provider = provider();
    let server = start(&provider, &[("POLICY", "denylist")]);
    let client = HttpClient::of(server.url());
    for (form, of_denied, of_other) in [
        (("jti", "j1"), json!({ "jti": "j1" }), json!({ "jti": "j2" })),
        (("sid", "s2"), json!({ "sid": "s2" }), json!({ "sid": "s3" })),
        (("sub", "43"), json!({ "sub": "43", "sid": "s4" }), json!({ "sub": "44", "sid": "s4" })),
    ] {
        let (denied, other) = (token(&provider, &of_denied), token(&provider, &of_other));
        assert_eq!(client.get("/claims", &denied).await.status.as_u16(), 200, "{form:?}");
        assert_eq!(client.post_form("/deny", &[form]).await.status.as_u16(), 200, "{form:?}");
        assert_eq!(client.get("/claims", &denied).await.status.as_u16(), 401, "{form:?}");
        assert_eq!(client.get("/claims", &other).await.status.as_u16(), 200, "{form:?}");
    }
}

#[test]
fn settings_that_cannot_work_end_the_start() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _entered = runtime.enter();
    let provider = provider();
    let url = provider.url();
    for (variables, expected) in [
        (vec![], "ISSUER"),
        (vec![("ISSUER", url)], "JWKS_URL"),
        (vec![("ISSUER", url), ("DISCOVER", "1"), ("AUDIENCE", "api")], "https"),
        (vec![("ISSUER", url), ("DISCOVER", "1"), ("ALLOW_HTTP", "1"), ("POLICY", "none")], "POLICY"),
        (vec![("ISSUER", url), ("DISCOVER", "1"), ("ALLOW_HTTP", "1"), ("PRESET", "other")], "PRESET"),
        (
            vec![("ISSUER", "https://another.example"), ("JWKS_URL", "http://127.0.0.1:9/"), ("ALLOW_HTTP", "1")],
            "reached",
        ),
    ] {
        let (status, output) = Example::run_to_end("resource_server", &variables);
        assert!(!status.success() && output.contains(expected), "{variables:?}: {output}");
    }
}
