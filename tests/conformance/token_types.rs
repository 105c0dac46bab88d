//! TYP: a token of one kind never passes for one of another.
//!
//! See RFC 8725 sections 2.7, 3.11 and 3.12, and RFC 9068 section 5.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use tower_bearer::{
    Error, NewSession, TokenType, endpoints::Endpoints, error::TokenError, jwt::AccessTyp, tokens::TokenPair,
};

use crate::{
    subject::{Outcome, Subject, send},
    support::{
        Users,
        fixture::read_part,
        token_parts::{HEADER, with, without},
    },
};

const TYPS: [AccessTyp; 3] = [AccessTyp::Compatible, AccessTyp::AtJwt, AccessTyp::Unmarked];

fn marked(typ: AccessTyp) -> Subject {
    Subject::with(|builder| builder.access_typ(typ))
}

async fn pair(subject: &Subject) -> TokenPair {
    subject.fixture.tokens.create_token_pair(NewSession::new("42").scope("read")).await.unwrap()
}

fn header(typ: &str) -> String {
    format!(r#"{{"alg":"HS256","typ":"{typ}"}}"#)
}

#[tokio::test]
async fn typ_01_a_refresh_token_opens_nothing() {
    for typ in TYPS {
        let subject = marked(typ);
        let pair = pair(&subject).await;
        let refresh = pair.refresh().as_str();
        subject.expect_token("access", pair.access().as_str(), Outcome::Ok).await;
        subject.refuses_token(&format!("{typ:?}: refresh"), refresh).await;
        // It is a good one, though: it has been refused for its kind.
        subject.fixture.tokens.validate_token(refresh, TokenType::Refresh).await.unwrap();
        let as_access = subject.fixture.tokens.validate_jwt_stateless(refresh, TokenType::Access);
        assert!(matches!(as_access, Err(Error::Token(TokenError::WrongType))), "{as_access:?}");
        // Mixtures of the marks of both types are refused too.
        let claims = read_part(refresh, 1).to_string();
        for header_typ in ["at+jwt", "AT+JWT", "application/at+jwt", "rt+jwt", "JWT", "", "x"] {
            subject.refuses_token(header_typ, &subject.signed(header(header_typ), &claims)).await;
        }
        subject.refuses_token("no typ", &subject.signed(r#"{"alg":"HS256"}"#, &claims)).await;
        let access = subject.claims_text().await;
        subject.refuses_token("access under rt+jwt", &subject.signed(header("rt+jwt"), access)).await;
        for kind in
            [r#""refresh""#, r#""Access""#, r#""ACCESS""#, r#""access ""#, r#""id""#, r#""""#, r#"["access"]"#, "null"]
        {
            let claims = with(&subject.claims().await, "type", kind);
            subject.refuses_claims(kind, claims).await;
        }
    }
}

fn form(token: &str) -> Request<Full<Bytes>> {
    let request = Request::post("/refresh").header("content-type", "application/x-www-form-urlencoded");
    request.body(Full::from(format!("refresh_token={token}"))).unwrap()
}

#[tokio::test]
async fn typ_02_an_access_token_refreshes_nothing() {
    for typ in TYPS {
        let subject = marked(typ);
        let pair = pair(&subject).await;
        let access = pair.access().as_str();
        let claims = read_part(access, 1);
        let refresh = read_part(pair.refresh().as_str(), 1);
        let endpoints = Endpoints::new(&subject.layer, Arc::new(Users));
        let (calls, writes) = (subject.fixture.store.calls(), subject.fixture.store.writes());
        for (what, token) in [
            ("as issued", access.to_owned()),
            ("under the header of a refresh token", subject.signed(header("rt+jwt"), claims.to_string())),
            ("under a plain header", subject.signed(r#"{"alg":"HS256"}"#, claims.to_string())),
            ("with a refresh token's id", subject.signed(HEADER, with(&claims, "jti", &refresh["jti"].to_string()))),
            ("of type refresh, under its own header", subject.signed(HEADER, with(&claims, "type", r#""refresh""#))),
            ("without a type", subject.signed(header("rt+jwt"), without(&claims, "type"))),
            ("a refresh token without a type", subject.signed(header("rt+jwt"), without(&refresh, "type"))),
        ] {
            let answers = [
                send(endpoints.refresh(), form(&token)).await,
                send(endpoints.refresh_without_rotation(), form(&token)).await,
            ];
            for answer in answers {
                let header = |name: &str| answer.headers.get(name).map(|value| value.to_str().unwrap());
                assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{what}: {answer:?}");
                let body: Value = serde_json::from_slice(&answer.body).unwrap();
                assert_eq!(body, json!({ "error": "invalid_grant" }), "{what}");
                assert_eq!((header("cache-control"), header("pragma")), (Some("no-store"), Some("no-cache")), "{what}");
                assert_eq!(header("www-authenticate"), None, "{what}");
            }
            // Over gRPC an application's own service calls the library, and answers with the status
            // of its error: 16.
            let error = subject.fixture.tokens.refresh(&token).await.unwrap_err();
            assert_eq!(tonic::Status::from(error).code(), tonic::Code::Unauthenticated, "{what}");
        }
        assert_eq!(
            (subject.fixture.store.calls(), subject.fixture.store.writes()),
            (calls, writes),
            "the store was asked"
        );
        // The refresh token was not used up, and nothing counted as theft.
        let answer = send(endpoints.refresh(), form(pair.refresh().as_str())).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    }
}

/// `OpenID` Connect Core section 2: an ID token is for the client, has no scope, and says nothing
/// of its kind.
#[tokio::test]
async fn typ_03_an_id_token_opens_nothing() {
    for typ in TYPS {
        let subject = marked(typ);
        let access = subject.claims().await;
        let id_token = |audience: Value| {
            let mut claims = access.clone();
            let members = claims.as_object_mut().unwrap();
            for name in ["type", "scope", "gen"] {
                members.remove(name);
            }
            for (name, value) in [
                ("aud", audience),
                ("azp", json!("client")),
                ("nonce", json!("n-0S6_WzA2Mj")),
                ("at_hash", json!("MTIzNDU2Nzg5MDEyMzQ1Ng")),
                ("auth_time", access["iat"].clone()),
                ("email", json!("alice@example.com")),
            ] {
                members.insert(name.to_owned(), value);
            }
            claims.to_string()
        };
        let plain = r#"{"alg":"HS256"}"#.to_owned();
        for (what, claims) in
            [("for the client", id_token(json!("client"))), ("for both", id_token(json!(["client", "api"])))]
        {
            for header in [header("JWT"), header("id+jwt"), header("application/id+jwt"), plain.clone()] {
                let (what, token) = (format!("{typ:?}: {what}, {header}"), subject.signed(&header, &claims));
                // `Unmarked` is for an issuer whose access tokens have no mark: there the audience
                // must tell them apart, as its documentation says.
                if typ == AccessTyp::Unmarked && what.contains("for both") && !header.contains("id+jwt") {
                    subject.expect_token(&what, &token, Outcome::Ok).await;
                } else {
                    subject.refuses_token(&what, &token).await;
                }
            }
        }
        // Under an access token's header it has only its audience left to be told by.
        subject.refuses_token("for the client, at+jwt", &subject.signed(HEADER, id_token(json!("client")))).await;
    }
    // By default a token for our audience without `type` is refused, even if all other claims are
    // right.
    let subject = Subject::new();
    let claims = subject.claims().await;
    subject.refuses_claims("no type", without(&claims, "type")).await;
    for header in [header("JWT"), r#"{"alg":"HS256"}"#.to_owned()] {
        subject.refuses_token(&header, &subject.signed(&header, without(&claims, "type"))).await;
    }
}

/// Other JWTs that the same issuer may sign with the same key, each marked by its `typ`.
#[tokio::test]
async fn no_other_kind_of_token_opens_anything() {
    for typ in TYPS {
        let subject = marked(typ);
        let claims = subject.claims().await;
        for kind in [
            "dpop+jwt",
            "logout+jwt",
            "secevent+jwt",
            "token-introspection+jwt",
            "oauth-authz-req+jwt",
            "client-authentication+jwt",
            "kb+jwt",
            "vc+sd-jwt",
            "entity-statement+jwt",
            "jwk-set+jwt",
            "JOSE",
            "mdoc",
        ] {
            for claims in [claims.to_string(), without(&claims, "type")] {
                subject.refuses_token(&format!("{typ:?}: {kind}"), &subject.signed(header(kind), claims)).await;
            }
        }
    }
}

/// A key-bound token is no bearer token, with any binding (RFC 7800, RFC 8705, RFC 9449 section
/// 7.2) and under every rule for `typ`.
#[tokio::test]
async fn dpp_07_a_token_that_is_bound_to_a_key_is_no_bearer_token() {
    for typ in [AccessTyp::Compatible, AccessTyp::AtJwt, AccessTyp::Unmarked] {
        let subject = marked(typ);
        let claims = subject.claims().await;
        subject.accepts_claims("V", claims.to_string()).await;
        for cnf in [r#"{"jkt":"x"}"#, r#"{"x5t#S256":"x"}"#, r#"{"jwk":{}}"#, "{}", "null", "[]", r#""x""#, "1"] {
            subject.refuses_claims(cnf, with(&claims, "cnf", cnf)).await;
        }
    }
}

/// The audience separates two services that share a secret.
#[tokio::test]
async fn typ_09_an_access_token_for_another_service_opens_nothing() {
    let ours = Subject::new();
    let claims = ours.claims().await;
    for audience in [r#""billing""#, r#"["billing"]"#, r#"["billing","shop"]"#, r#""api.billing""#] {
        ours.refuses_claims(audience, with(&claims, "aud", audience)).await;
    }
    // Issued by the other service itself, and the other way round.
    let billing = crate::support::Fixture::with(|builder| builder.audience("billing"));
    ours.refuses_token("billing's", &billing.access("read").await).await;
    let verdict = billing.tokens.validate_token(&ours.valid().await, TokenType::Access).await;
    assert!(matches!(verdict, Err(Error::Token(TokenError::Claims(_)))), "{verdict:?}");
}
