//! Protected resource metadata, and the scopes that challenges name.

use std::{convert::Infallible, sync::Arc};

use axum::{Router, routing::get};
use bytes::Bytes;
use http::{HeaderValue, Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};
use tower::{Layer, ServiceExt, service_fn};
use tower_bearer::{
    AuthLayer, Claims,
    endpoints::Endpoints,
    middleware::{Rejection, ResourceMetadata, ResourceMetadataBuilder},
};

use crate::{
    scopes::{bearer, challenge, hello, layer, send},
    support::{Fixture, Users, http_client::HttpClient, wire::WireServer},
};

const RESOURCE: &str = "https://api.example/mcp";
const URL: &str = "https://api.example/.well-known/oauth-protected-resource/mcp";

fn builder() -> ResourceMetadataBuilder {
    ResourceMetadata::builder(RESOURCE)
}

#[test]
fn the_well_known_path_stands_between_host_and_path() {
    for (resource, path) in [
        ("https://api.example", ""),
        ("https://api.example/", ""),
        ("https://api.example/mcp", "/mcp"),
        ("https://api.example/a/b/", "/a/b/"),
        ("https://api.example:8443/a%2Fb", "/a%2Fb"),
        ("https://api.example//a", "//a"),
        ("http://localhost:3001/x", "/x"),
        ("http://127.0.0.2", ""),
        ("http://[::1]:80/x", "/x"),
        ("https://[2001:db8::1]/x", "/x"),
    ] {
        let metadata = ResourceMetadata::builder(resource).build().unwrap();
        let expected = format!("/.well-known/oauth-protected-resource{path}");
        assert_eq!(metadata.path(), expected);
        let origin = resource.strip_suffix(if path.is_empty() { "/" } else { path }).unwrap_or(resource);
        assert_eq!(metadata.url(), format!("{origin}{expected}"));
        assert_eq!(metadata.resource(), resource);
        let document: Value = serde_json::from_str(metadata.document()).unwrap();
        assert_eq!(document, json!({ "resource": resource, "bearer_methods_supported": ["header"] }), "to the byte");
    }
}

#[test]
fn every_member_stands_in_the_document() {
    let metadata = builder()
        .authorization_servers(["https://a.example", "https://b.example/tenant"])
        .scopes_supported(["read", "write"])
        .challenge_scopes(["read"])
        .bearer_methods_supported(["header", "query"])
        .jwks_uri("https://api.example/jwks?v=1")
        .resource_name("The API")
        .resource_documentation("http://docs.example/?page=1#begin")
        .resource_policy_uri("https://api.example/policy")
        .resource_tos_uri("https://api.example/tos")
        .member("resource_name#de", "Die API")
        .member("dpop_bound_access_tokens_required", false)
        .build()
        .unwrap();
    let document: Value = serde_json::from_str(metadata.document()).unwrap();
    let expected = json!({
        "resource": RESOURCE,
        "authorization_servers": ["https://a.example", "https://b.example/tenant"],
        "scopes_supported": ["read", "write"],
        "bearer_methods_supported": ["header", "query"],
        "jwks_uri": "https://api.example/jwks?v=1",
        "resource_name": "The API",
        "resource_documentation": "http://docs.example/?page=1#begin",
        "resource_policy_uri": "https://api.example/policy",
        "resource_tos_uri": "https://api.example/tos",
        "resource_name#de": "Die API",
        "dpop_bound_access_tokens_required": false,
    });
    assert_eq!(document, expected);
}

#[test]
fn a_wrong_member_is_an_error_of_build() {
    let of = |resource: &str| ResourceMetadata::builder(resource);
    for url in [
        "",
        "api.example",
        "/mcp",
        "https:/api.example",
        "https://",
        "https:///x",
        "https://:443/x",
        "HTTPS://api.example",
        "ftp://api.example",
        "http://api.example",
        "http://localhost.example",
        "http://[::2]",
        "https://user@api.example",
        "https://user:word@api.example",
        "https://api.example:0",
        "https://api.example:",
        "https://api.example:65536",
        "https://api.example/a b",
        "https://api.example/a\"b",
        "https://api.example/a\\b",
        "https://api.example/{id}",
        "https://api.example/\u{e4}",
        "https://api.example/a\r\nb",
        "https://api.example/%4",
        "https://api.example/%zz",
        "https://api.example/a?b=c",
        "https://api.example/a#b",
        "https://api.example#",
    ] {
        let error = of(url).build().expect_err(url);
        assert_eq!(error.setting(), "resource", "{url}: {error}");
        let error = builder().authorization_servers(["https://good.example", url]).build().expect_err(url);
        assert_eq!(error.setting(), "authorization_servers", "{url}: {error}");
    }
    for url in [
        "https://API.example",
        "https://api.example/a/../b",
        "https://api.example/.",
        "https://api.example/..",
        "https://api.example/:id",
        "https://api.example/*all",
    ] {
        assert_eq!(of(url).build().expect_err(url).setting(), "resource", "{url}");
    }
    for (setting, wrong) in [
        ("jwks_uri", builder().jwks_uri("http://api.example/jwks")),
        ("resource_documentation", builder().resource_documentation("docs")),
        ("resource_policy_uri", builder().resource_policy_uri("javascript:alert(1)")),
        ("resource_tos_uri", builder().resource_tos_uri("https://api.example/<>")),
        ("resource_name", builder().resource_name("")),
        ("scopes_supported", builder().scopes_supported(["a b"])),
        ("scopes_supported", builder().scopes_supported([""])),
        ("scopes_supported", builder().scopes_supported(["a\"b"])),
        ("scopes_supported", builder().scopes_supported(["read", "offline_access"])),
        ("challenge_scopes", builder().challenge_scopes(["offline_access"])),
        ("challenge_scopes", builder().challenge_scopes(["a\r\nb"])),
        ("bearer_methods_supported", builder().bearer_methods_supported([""; 0])),
        ("bearer_methods_supported", builder().bearer_methods_supported(["header", "body"])),
        ("member", builder().member("resource", "https://evil.example")),
        ("member", builder().member("scopes_supported", ["x"])),
        ("member", builder().member("", 1)),
        ("member", builder().member("x", 1).member("x", 2)),
        ("member", builder().member("x", Option::<u8>::None)),
        ("member", builder().member("x", [0_u8; 0])),
        ("member", builder().member("x", std::collections::BTreeMap::from([((), 1)]))),
    ] {
        let error = wrong.build().expect_err(setting);
        assert_eq!(error.setting(), setting, "{error}");
    }
    let plain =
        of("http://api.example").authorization_servers(["http://login.example"]).jwks_uri("http://api.example/k");
    let metadata = plain.allow_http(true).build().unwrap();
    assert_eq!(metadata.url(), "http://api.example/.well-known/oauth-protected-resource");
}

#[tokio::test]
async fn challenges_name_the_metadata_and_the_scope_to_begin_with() {
    let fixture = Fixture::new();
    let token = fixture.access("read").await;
    let metadata = builder().challenge_scopes(["read", "list"]).build().unwrap();
    let by_builder = layer(&fixture, |builder| builder.realm("mine").resource(metadata.clone()));
    let by_layer = layer(&fixture, |builder| builder.realm("mine")).resource(metadata);
    let with = format!(r#", resource_metadata="{URL}""#);
    for auth in [by_builder, by_layer] {
        let require = auth.require_all_scopes(["write", "delete"]).unwrap();
        let service = || auth.layer(require.layer(service_fn(hello)));
        for (request, status, parameters) in [
            (Request::get("/"), 401, r#", scope="read list""#),
            (bearer("abc"), 401, r#", error="invalid_token", scope="read list""#),
            (bearer("a b"), 400, r#", error="invalid_request""#),
            (bearer(&token), 403, r#", error="insufficient_scope", scope="write delete""#),
        ] {
            let answer = send(service(), request).await;
            let expected = format!(r#"Bearer realm="mine"{parameters}{with}"#);
            assert_eq!(challenge(&answer), (status, &*expected));
        }
        // gRPC has no challenge.
        let (_, headers, _) = send(service(), bearer("abc").header("content-type", "application/grpc")).await;
        assert!(!headers.contains_key("www-authenticate") && headers["grpc-status"] == "16", "{headers:?}");

        // Handlers, and the rule of an application.
        let forbidden = service_fn(async |_: Request<Full<Bytes>>| {
            Ok::<_, Infallible>(Rejection::forbidden().into_response::<Full<Bytes>>())
        });
        let expected = format!(r#"Bearer realm="mine", error="insufficient_scope"{with}"#);
        let answer = send(auth.layer(forbidden), bearer(&token)).await;
        assert_eq!(challenge(&answer), (403, &*expected));
        let rule = auth.require(|_| false);
        let answer = send(auth.layer(rule.layer(service_fn(hello))), bearer(&token)).await;
        assert_eq!(challenge(&answer), (403, &*expected));
        let app: Router = Router::new().route("/", get(async |_: Claims| ())).layer(auth.clone().optional());
        let answer = send(app, Request::get("/")).await;
        assert_eq!(challenge(&answer), (401, &*format!(r#"Bearer realm="mine", scope="read list"{with}"#)));

        // A wrong password is no matter of another issuer.
        let form = Request::post("/").header("content-type", "application/x-www-form-urlencoded");
        let login = form.body(Full::<Bytes>::from("username=alice&password=wrong")).unwrap();
        let response = Endpoints::new(&auth, Arc::new(Users)).login().oneshot(login).await.unwrap();
        assert_eq!(response.status(), 401);
        assert_eq!(response.headers()["www-authenticate"], r#"Bearer realm="mine""#);
        // The endpoints behind the layer are resources.
        let answer = send(Endpoints::new(&auth, Arc::new(Users)).sessions(), Request::get("/")).await;
        assert_eq!(challenge(&answer), (401, &*format!(r#"Bearer realm="mine", scope="read list"{with}"#)));
    }
}

#[tokio::test]
async fn the_document_is_served_to_scripts_of_every_site() {
    let metadata = builder().build().unwrap();
    for method in [Method::GET, Method::HEAD] {
        let (status, headers, body) = send(metadata.service(), Request::builder().method(method)).await;
        assert_eq!((status, &*body), (200, metadata.document().as_bytes()), "the server drops the body for a HEAD");
        assert_eq!(headers["content-type"], "application/json");
        assert_eq!(headers["access-control-allow-origin"], "*");
        assert_eq!(headers["cache-control"], "public, max-age=300");
    }
    let preflight = Request::options("/")
        .header("origin", "https://app.example")
        .header("access-control-request-method", "GET")
        .header("access-control-request-headers", "mcp-protocol-version");
    let (status, headers, body) = send(metadata.service(), preflight).await;
    assert_eq!((status, body.len()), (204, 0));
    assert_eq!(headers["access-control-allow-origin"], "*");
    assert_eq!(headers["access-control-allow-methods"], "GET, HEAD");
    assert_eq!(headers["access-control-allow-headers"], "*");
    for method in [Method::POST, Method::PUT, Method::DELETE] {
        let (status, headers, _) = send(metadata.service(), Request::builder().method(method)).await;
        assert_eq!((status, &headers["allow"]), (405, &HeaderValue::from_static("GET, HEAD, OPTIONS")));
    }
}

#[tokio::test]
async fn a_client_finds_the_document_over_the_wire_from_the_challenge() {
    let fixture = Fixture::new();
    // A test server has no name to configure before it runs, so the port is wrong.
    let metadata = ResourceMetadata::builder("http://127.0.0.1:3001/mcp")
        .authorization_servers(["https://login.example"])
        .build()
        .unwrap();
    let auth = AuthLayer::new(fixture.tokens.clone()).resource(metadata.clone());
    let app = Router::new()
        .route("/mcp", get(async || "hello"))
        .route_layer(auth)
        .route_service(metadata.path(), metadata.service());
    let server = WireServer::start(app).await;
    let client = HttpClient::of(&format!("http://{}", server.address()));

    let refused = client.call(Method::GET, "/mcp").send().await;
    assert_eq!(refused.status, 401);
    let field = refused.headers["www-authenticate"].to_str().unwrap();
    let url = field.split_once(r#"resource_metadata=""#).unwrap().1.strip_suffix('"').unwrap();
    assert_eq!(url, "http://127.0.0.1:3001/.well-known/oauth-protected-resource/mcp");
    let path = url.strip_prefix("http://127.0.0.1:3001").unwrap();
    let answer = client.call(Method::GET, path).send().await;
    let document: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!((answer.status.as_u16(), &document["resource"]), (200, &json!("http://127.0.0.1:3001/mcp")));
    let head = client.call(Method::HEAD, path).send().await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    assert_eq!(head.headers["content-length"], answer.body.len().to_string());
    assert_eq!(client.call(Method::POST, path).send().await.status, 405);
    assert_eq!(client.call(Method::OPTIONS, path).send().await.status, 204);
    let token = fixture.access("").await;
    assert_eq!(client.get("/mcp", &token).await.status, 200);
}
