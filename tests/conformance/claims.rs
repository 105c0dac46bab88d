//! CLM: the claims about identity and authorization.
//!
//! See RFC 7519 section 4.1, RFC 9068 section 2.2 and RFC 6749 section 3.3.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tower::Layer;
use tower_bearer::{
    AuthLayer, Claims, Error, KeySet, NewSession, NoClaims, TokenService, TokenType,
    clock::{ManualClock, Timestamp},
    issuers::IssuerPolicy,
    jwt::{AccessTyp, Algorithm, JwtClaims, Scope, SigningKey, encode_jwt},
};

use crate::{
    subject::{Outcome, Subject, bearer},
    support::{
        FaultyStore, Fixture,
        fixture::{ISSUER, SECRET, START, builder, issuer_named, secret_of, sign_with},
        test_keys,
        token_parts::{HEADER, with, without},
    },
};

/// Returns a subject whose tokens have this issuer.
fn issued_by(issuer: &str) -> Subject {
    Subject::with(|builder| builder.issuer(issuer))
}

/// Returns a subject without a configured issuer or audience.
fn unnamed() -> Subject {
    bare(|builder| builder)
}

fn bare(
    configure: impl FnOnce(tower_bearer::tokens::TokenServiceBuilder) -> tower_bearer::tokens::TokenServiceBuilder,
) -> Subject {
    let clock = ManualClock::at(START);
    let store = FaultyStore::new(clock.clone());
    let builder = TokenService::builder().secret(SECRET).clock(clock.clone()).store(store.clone());
    let tokens = configure(builder).build().unwrap();
    Subject::of(Fixture { clock, store, tokens })
}

async fn accepts(subject: &Subject, claims: &Value, name: &str, value: &str) {
    subject.accepts_claims(&format!("{name}: {value}"), with(claims, name, value)).await;
}

async fn refuses(subject: &Subject, claims: &Value, name: &str, value: &str) {
    subject.refuses_claims(&format!("{name}: {value}"), with(claims, name, value)).await;
}

/// Returns the claims of the last token that the inner service got.
fn seen(subject: &Subject) -> Claims {
    subject.inner.last().extensions.get::<Claims>().expect("claims").clone()
}

#[tokio::test]
async fn clm_01_the_issuer_is_compared_to_the_letter() {
    for issuer in ["https://as", ISSUER] {
        let subject = issued_by(issuer);
        let claims = subject.claims().await;
        accepts(&subject, &claims, "iss", &format!("\"{issuer}\"")).await;
        assert_eq!(seen(&subject).issuer(), Some(issuer));
        for other in [
            format!("{issuer}/"),
            issuer.to_uppercase(),
            issuer.replace("https", "HTTPS"),
            issuer.replace("https", "http"),
            format!("{issuer}.evil"),
            format!("{issuer}.evil/"),
            format!("{issuer}@evil.example"),
            format!("https://evil.example/{issuer}"),
            format!("x{issuer}"),
            issuer[..issuer.len() - 1].to_owned(),
            issuer[1..].to_owned(),
            issuer.trim_start_matches("https://").to_owned(),
            format!("{issuer} "),
            format!(" {issuer}"),
            format!(r"{issuer}\t"),
            format!(r"{issuer}\n"),
            format!(r"{issuer}\u0000"),
            format!("{issuer}:443"),
            format!("{issuer}?"),
            format!("{issuer}#"),
            issuer.replace('s', "%73"),
            issuer.replacen('a', "\u{430}", 1).replacen('e', "\u{435}", 1),
            format!("{issuer},{issuer}"),
            format!("{issuer} {issuer}"),
            ".*".to_owned(),
            "*".to_owned(),
            String::new(),
        ] {
            refuses(&subject, &claims, "iss", &format!("\"{other}\"")).await;
        }
    }
}

/// CVE-2024-53861: a library asked whether the one was a part of the other.
#[tokio::test]
async fn clm_02_a_part_of_the_issuer_is_another_issuer() {
    let subject = issued_by("abc");
    let claims = subject.claims().await;
    accepts(&subject, &claims, "iss", r#""abc""#).await;
    for part in ["a", "b", "c", "ab", "bc", "ac", "abcd", "xabc", "abcabc", "cba", ""] {
        refuses(&subject, &claims, "iss", &format!("\"{part}\"")).await;
    }
}

#[tokio::test]
async fn clm_04_an_issuer_of_another_type_is_refused_configured_or_not() {
    let plain = unnamed();
    let configured = Subject::new();
    let strict = Subject::with(|builder| builder.access_typ(AccessTyp::AtJwt));
    let own = format!("[\"{ISSUER}\"]");
    let with_others = format!("[\"evil\",\"{ISSUER}\"]");
    let member = format!("{{\"iss\":\"{ISSUER}\"}}");
    for subject in [&configured, &strict, &plain] {
        let claims = subject.claims().await;
        subject.accepts_claims("V", claims.to_string()).await;
        for wrong in
            ["1", "null", "true", "{}", "[]", r#"["evil",1]"#, "[1]", "[null]", "1e3", &own, &with_others, &member]
        {
            refuses(subject, &claims, "iss", wrong).await;
        }
    }
    // Without a configured issuer, a token with `iss` belongs to another issuer.
    let claims = plain.claims().await;
    for other in [ISSUER, "evil", ""] {
        refuses(&plain, &claims, "iss", &format!("\"{other}\"")).await;
    }
}

#[tokio::test]
async fn clm_05_an_issuer_that_is_configured_must_be_named() {
    for typ in [AccessTyp::Compatible, AccessTyp::AtJwt, AccessTyp::Unmarked] {
        let subject = Subject::with(|builder| builder.access_typ(typ));
        let claims = subject.claims().await;
        subject.refuses_claims("no iss", without(&claims, "iss")).await;
        for name in ["ISS", "Iss", "iss ", "issuer"] {
            let renamed: Value = serde_json::from_str(&without(&claims, "iss")).unwrap();
            refuses(&subject, &renamed, name, &format!("\"{ISSUER}\"")).await;
        }
    }
}

/// A service has one issuer, and its keys are that issuer's: the name in the token chooses no key,
/// and the key no name.
#[tokio::test]
async fn clm_06_a_key_speaks_for_its_own_issuer_only() {
    let secret = |name: &str| SECRET.replace("TEST", &format!("TEST {name}"));
    let subject = |name: &str| {
        let key = SigningKey::from_secret(Algorithm::HS256, secret(name)).unwrap().with_kid("k").unwrap();
        let issuer = format!("https://{name}.example");
        Subject::of(Fixture::with_keys(KeySet::signing(key), |builder| builder.issuer(issuer)))
    };
    let (a, b) = (subject("a"), subject("b"));
    for header in [HEADER, r#"{"alg":"HS256","typ":"at+jwt","kid":"k"}"#] {
        for (verifier, own, other) in [(&a, "a", "b"), (&b, "b", "a")] {
            let claims = verifier.claims().await;
            for (issuer, key) in [(own, own), (own, other), (other, own), (other, other)] {
                let claims = with(&claims, "iss", &format!("\"https://{issuer}.example\""));
                let signer = jsonwebtoken::EncodingKey::from_secret(secret(key).as_bytes());
                let algorithm = jsonwebtoken::Algorithm::HS256;
                let token = sign_with(algorithm, &signer, header.as_bytes(), claims.as_bytes());
                let what = format!("at {own}: issuer {issuer}, signed by {key}");
                if (issuer, key) == (own, own) {
                    verifier.expect_token(&what, &token, Outcome::Ok).await;
                } else {
                    verifier.refuses_token(&what, &token).await;
                }
            }
        }
    }
}

#[tokio::test]
async fn clm_06_a_key_speaks_for_its_own_issuer_only_if_one_service_accepts_several() {
    const ISSUERS: [&str; 3] = [ISSUER, "https://a.example", "https://b.example"];
    for policy in [IssuerPolicy::Denylist, IssuerPolicy::Stateless] {
        let subject = Subject::with(|builder| {
            ISSUERS[1..].iter().fold(builder, |all, name| all.accept(issuer_named(name, policy)))
        });
        subject.fixture.advance(60);
        let claims = subject.claims().await;
        for (issuer, key) in ISSUERS.iter().flat_map(|issuer| ISSUERS.map(|key| (*issuer, key))) {
            let claims = with(&claims, "iss", &format!("\"{issuer}\""));
            let signer = jsonwebtoken::EncodingKey::from_secret(secret_of(key).as_bytes());
            let algorithm = jsonwebtoken::Algorithm::HS256;
            let token = sign_with(algorithm, &signer, HEADER.as_bytes(), claims.as_bytes());
            let what = format!("issuer {issuer}, signed by {key}");
            if issuer == key {
                subject.expect_token(&what, &token, Outcome::Ok).await;
                assert_eq!(seen(&subject).issuer_subject().unwrap().issuer, issuer);
            } else {
                subject.refuses_token(&what, &token).await;
            }
        }
        // No key makes an issuer known.
        for key in ISSUERS {
            let claims = with(&claims, "iss", r#""https://c.example""#);
            let signer = jsonwebtoken::EncodingKey::from_secret(secret_of(key).as_bytes());
            let token = sign_with(jsonwebtoken::Algorithm::HS256, &signer, HEADER.as_bytes(), claims.as_bytes());
            subject.refuses_token(&format!("an unknown issuer, signed by {key}"), &token).await;
        }
    }
}

#[tokio::test]
async fn clm_07_an_audience_is_one_text_or_several_of_which_one_is_ours() {
    let subject = Subject::new();
    let claims = subject.claims().await;
    for (audience, read) in [
        (r#""api""#, vec!["api"]),
        (r#"["api"]"#, vec!["api"]),
        (r#"["x","api"]"#, vec!["x", "api"]),
        (r#"["api","x","y",""]"#, vec!["api", "x", "y", ""]),
        (r#"["api","api"]"#, vec!["api", "api"]),
        (r#""\u0061pi""#, vec!["api"]),
    ] {
        accepts(&subject, &claims, "aud", audience).await;
        assert_eq!(seen(&subject).audience(), read);
    }
    let several = Subject::with(|builder| builder.also_accept_audience("web"));
    let claims = several.claims().await;
    for audience in [r#""api""#, r#""web""#, r#"["x","web"]"#, r#"["web","api"]"#] {
        accepts(&several, &claims, "aud", audience).await;
    }
    for other in [r#""x""#, r#""apiweb""#, r#""api web""#, r#""api,web""#] {
        refuses(&several, &claims, "aud", other).await;
    }
}

/// CVE-2023-22482.
#[tokio::test]
async fn clm_08_another_audience_is_refused() {
    let subject = Subject::new();
    let claims = subject.claims().await;
    for other in [r#""other""#, r#"["other"]"#, r#"["x","y","z"]"#, "[]", r#""""#, r#"[""]"#] {
        refuses(&subject, &claims, "aud", other).await;
    }
    // Values of another type are refused even if they contain our audience, because their meaning
    // is undefined.
    let wrong =
        ["null", "true", "1", "{}", r#"{"api":1}"#, r#"{"aud":"api"}"#, r#"["api",1]"#, r#"["api",null]"#, "[1]"];
    for wrong in wrong.into_iter().chain([r#"[["api"]]"#, r#"["x",["api"]]"#, r#"[{"aud":"api"}]"#, r#"["api",{}]"#]) {
        refuses(&subject, &claims, "aud", wrong).await;
    }
}

/// CVE-2020-26160.
#[tokio::test]
async fn clm_09_an_audience_that_is_configured_must_be_named() {
    for typ in [AccessTyp::Compatible, AccessTyp::AtJwt, AccessTyp::Unmarked] {
        let subject = Subject::with(|builder| builder.access_typ(typ));
        let claims = subject.claims().await;
        subject.refuses_claims("no aud", without(&claims, "aud")).await;
        for name in ["AUD", "aud ", "audience", "azp", "client_id"] {
            let renamed: Value = serde_json::from_str(&without(&claims, "aud")).unwrap();
            refuses(&subject, &renamed, name, r#""api""#).await;
        }
    }
}

#[tokio::test]
async fn clm_10_an_audience_is_refused_where_none_is_configured() {
    let subject = bare(|builder| builder.issuer(ISSUER));
    let claims = subject.claims().await;
    assert!(claims.get("aud").is_none());
    subject.accepts_claims("no aud", claims.to_string()).await;
    let audiences =
        [r#""x""#, r#""api""#, r#"["x"]"#, r#"["x","y"]"#, r#""""#, r#"[""]"#, "[]", "5", "null", "true", "{}"];
    for audience in audiences.into_iter().chain([r#"["x",5]"#, "[5]"]) {
        refuses(&subject, &claims, "aud", audience).await;
    }
}

#[tokio::test]
async fn clm_12_the_audience_is_compared_to_the_letter() {
    let subject = Subject::new();
    let claims = subject.claims().await;
    for other in [
        "API",
        "Api",
        "api ",
        " api",
        r"api\n",
        r"api\u0000",
        "api/",
        "api,x",
        "x,api",
        "api x",
        "api;x",
        "ap",
        "pi",
        "apis",
        "https://api",
        "ap%69",
        "\u{430}pi",
        "*",
        "a*",
        ".*",
    ] {
        refuses(&subject, &claims, "aud", &format!("\"{other}\"")).await;
        refuses(&subject, &claims, "aud", &format!("[\"{other}\",\"{other}\"]")).await;
    }
    // A URL is compared as text too.
    let subject = Subject::with(|builder| builder.audience("https://api.example/v1"));
    let claims = subject.claims().await;
    accepts(&subject, &claims, "aud", r#""https://api.example/v1""#).await;
    for other in
        ["https://api.example/v1/", "https://api.example/", "https://API.example/v1", "https://api.example:443/v1"]
    {
        refuses(&subject, &claims, "aud", &format!("\"{other}\"")).await;
    }
}

/// Returns valid ids.
fn ids() -> [String; 5] {
    ["a".to_owned(), "a".repeat(255), r"\u00fc \\ ' : * {}".to_owned(), "4 2".to_owned(), "\u{1f600}".repeat(63)]
}

/// Returns JSON values that are no id, which has 1 to 255 bytes without control characters.
fn invalid_ids() -> Vec<String> {
    let text = ["", r"a\u0000b", r"\n", r"a\r\nb", r"\u007f", r"a\u0085", r"\u009f", r"\u0000"].map(str::to_owned);
    let long = ["a".repeat(256), "a".repeat(4000), "\u{1f600}".repeat(64), "\u{fc}".repeat(128)];
    let texts = text.into_iter().chain(long).map(|text| format!("\"{text}\""));
    texts.chain(NON_STRINGS.map(str::to_owned)).collect()
}

const NON_STRINGS: [&str; 14] = [
    "null",
    "true",
    "false",
    "0",
    "42",
    "-1",
    "4.2",
    "1e3",
    "[]",
    r#"["42"]"#,
    "{}",
    r#"{"sub":"42"}"#,
    "[null]",
    "[[]]",
];

/// Asserts that a member must be present and an id, both for the layer and for the service.
async fn assert_is_an_id(name: &str) {
    for typ in [AccessTyp::Compatible, AccessTyp::AtJwt] {
        let subject = Subject::with(|builder| builder.access_typ(typ));
        let claims = subject.claims().await;
        subject.refuses_claims(&format!("no {name}"), without(&claims, name)).await;
        for bad in invalid_ids() {
            refuses(&subject, &claims, name, &bad).await;
        }
        for good in ids() {
            // The token is valid, but the store knows no session with this id.
            let token = subject.signed(HEADER, with(&claims, name, &format!("\"{good}\"")));
            subject.fixture.tokens.validate_jwt_stateless(&token, TokenType::Access).unwrap();
        }
    }
}

#[tokio::test]
async fn clm_14_the_subject_is_an_id_and_must_be_there() {
    assert_is_an_id("sub").await;
}

#[tokio::test]
async fn clm_19_the_tokens_id_must_be_there() {
    assert_is_an_id("jti").await;
}

/// And its session's, without which the store cannot be asked.
#[tokio::test]
async fn the_session_must_be_there() {
    assert_is_an_id("sid").await;
}

#[tokio::test]
async fn clm_23_a_scope_is_a_list_with_one_space_between_two_tokens() {
    let subject = Subject::new();
    let claims = subject.claims().await;
    for (scope, read) in [
        ("read", vec!["read"]),
        ("read write", vec!["read", "write"]),
        ("write read write", vec!["write", "read", "write"]),
        ("a:b https://x.example/y !#[]^~", vec!["a:b", "https://x.example/y", "!#[]^~"]),
    ] {
        accepts(&subject, &claims, "scope", &format!("\"{scope}\"")).await;
        assert_eq!(seen(&subject).scope().iter().collect::<Vec<_>>(), read);
    }
    // Without one nothing is allowed.
    subject.accepts_claims("no scope", without(&claims, "scope")).await;
    assert!(seen(&subject).scope().is_empty());
    for bad in [
        "",
        " ",
        "  ",
        "read  write",
        " read",
        "read ",
        " read write ",
        r"read\twrite",
        r"read\nwrite",
        r"read\r\nwrite",
        r"read\u0000",
        r"read\u007f",
        r"read\u00a0write",
        "read\u{2003}write",
        "l\u{e4}sen",
        r#"a\"b"#,
        r"a\\b",
    ] {
        refuses(&subject, &claims, "scope", &format!("\"{bad}\"")).await;
    }
    let arrays = ["[]", r#"["read"]"#, r#"["read","write"]"#, r#"[["read"]]"#];
    for wrong in arrays.into_iter().chain(["null", "true", "1", "{}", r#"{"read":true}"#]) {
        refuses(&subject, &claims, "scope", wrong).await;
    }
    // The names that other issuers have for it grant nothing.
    let without_scope: Value = serde_json::from_str(&without(&claims, "scope")).unwrap();
    for other in
        [r#""scp":"read""#, r#""scp":["read"]"#, r#""scopes":"read""#, r#""Scope":"read""#, r#""roles":["read"]"#]
    {
        let (name, value) = other.split_once(':').unwrap();
        accepts(&subject, &without_scope, name.trim_matches('"'), value).await;
        assert!(seen(&subject).scope().is_empty(), "{other}");
    }
}

/// CWE-863.
#[tokio::test]
async fn clm_24_a_part_of_a_scope_is_another_scope() {
    let subject = Subject::new();
    let claims = subject.claims().await;
    let cases: [(&'static str, &[&str]); 3] = [
        (
            "admin",
            &[
                "administrator",
                "x:admin",
                "admin:x",
                "Admin",
                "ADMIN",
                "adm",
                "min",
                "admin.read",
                "noadmin",
                "admin,x",
                "*",
            ],
        ),
        (
            "read",
            &["thread", "reader", "read:all", "bread", "Read", "rea", "read/write", "read+write", "read,write", "."],
        ),
        ("read:all", &["read", "all", "read:", ":all", "read:al", "read:all2"]),
    ];
    for (needed, others) in cases {
        let guard = subject.layer.require_scope(needed).unwrap();
        let service = subject.layer.layer(guard.layer(subject.inner.clone()));
        let send = async |what: &str, claims: String, outcome: Outcome| {
            let token = subject.signed(HEADER, claims);
            subject.expect_of(service.clone(), what, bearer(&token), outcome).await;
        };
        for good in [needed.to_owned(), format!("x {needed}"), format!("{needed} x"), format!("x {needed} y")] {
            send(&good, with(&claims, "scope", &format!("\"{good}\"")), Outcome::Ok).await;
        }
        let all = others.join(" ");
        for other in others.iter().copied().chain([all.as_str()]) {
            let claims = with(&claims, "scope", &format!("\"{other}\""));
            send(&format!("{other} for {needed}"), claims, Outcome::InsufficientScope(needed)).await;
        }
        send("none", without(&claims, "scope"), Outcome::InsufficientScope(needed)).await;
    }
}

#[tokio::test]
async fn clm_26_one_of_several_scopes_or_all_of_them() {
    let subject = Subject::new();
    let claims = subject.claims().await;
    for needed in ["a", "a b", "b a", "a b c"] {
        let tokens: Vec<&str> = needed.split(' ').collect();
        let any = subject.layer.require_any_scope(&tokens).unwrap();
        let all = subject.layer.require_all_scopes(&tokens).unwrap();
        for subset in 0..16_u32 {
            let own: Vec<&str> = ["a", "b", "c", "d"]
                .into_iter()
                .enumerate()
                .filter(|(at, _)| subset >> at & 1 == 1)
                .map(|(_, s)| s)
                .collect();
            let claims = match own.as_slice() {
                [] => without(&claims, "scope"),
                own => with(&claims, "scope", &format!("\"{}\"", own.join(" "))),
            };
            let token = subject.signed(HEADER, claims);
            let has = |token: &&str| own.contains(token);
            for (name, guard, enough) in [("any", &any, tokens.iter().any(has)), ("all", &all, tokens.iter().all(has))]
            {
                let outcome = if enough { Outcome::Ok } else { Outcome::InsufficientScope(needed) };
                let service = subject.layer.layer(guard.layer(subject.inner.clone()));
                let what = format!("{name} of {needed}: has {own:?}");
                subject.expect_of(service, &what, bearer(&token), outcome).await;
            }
        }
    }
    // One guard inside another: both count.
    let (a, b) = (subject.layer.require_scope("a").unwrap(), subject.layer.require_scope("b").unwrap());
    let service = subject.layer.layer(a.layer(b.layer(subject.inner.clone())));
    for (own, outcome) in
        [("a b", Outcome::Ok), ("a", Outcome::InsufficientScope("b")), ("b", Outcome::InsufficientScope("a"))]
    {
        let token = subject.signed(HEADER, with(&claims, "scope", &format!("\"{own}\"")));
        subject.expect_of(service.clone(), own, bearer(&token), outcome).await;
    }
    // An empty or invalid scope is an error when the layer is created.
    for nothing in [&[][..], &[""], &["a", ""], &["a b"], &["a\"b"], &["\u{e4}"], &["a\n"]] {
        assert!(subject.layer.require_any_scope(nothing).is_err(), "{nothing:?}");
        assert!(subject.layer.require_all_scopes(nothing).is_err(), "{nothing:?}");
    }
}

/// The claims of an application.
#[derive(Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Shop {
    role: Role,
    tenant: String,
    level: u8,
    #[serde(default)]
    tags: Vec<String>,
}

#[derive(Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Role {
    Owner,
    Clerk,
}

/// Returns the layer of an application with custom claims, on the store of a subject.
fn layer_of<C>(subject: &Subject) -> AuthLayer<C>
where
    C: Serialize + serde::de::DeserializeOwned + Send + Sync + 'static,
{
    let fixture = &subject.fixture;
    AuthLayer::new(builder(&fixture.clock).store(fixture.store.clone()).claims::<C>().build().unwrap())
}

#[tokio::test]
async fn clm_29_claims_that_the_application_cannot_read_are_an_invalid_token() {
    let subject = Subject::new();
    let mut claims = subject.claims().await;
    for (name, value) in [("role", json!("owner")), ("tenant", json!("t1")), ("level", json!(7))] {
        claims[name] = value;
    }
    let layer = layer_of::<Shop>(&subject);
    let send = async |what: &str, claims: String, outcome: Outcome| {
        let token = subject.signed(HEADER, claims);
        let calls = subject.fixture.store.calls();
        subject.expect_of(layer.layer(subject.inner.clone()), what, bearer(&token), outcome).await;
        assert_eq!(subject.fixture.store.calls() == calls, !matches!(outcome, Outcome::Ok), "{what}: the store");
    };
    send("all of them", claims.to_string(), Outcome::Ok).await;
    let shop = Shop { role: Role::Owner, tenant: "t1".to_owned(), level: 7, tags: Vec::new() };
    assert_eq!(subject.inner.last().extensions.get::<Claims<Shop>>().unwrap().custom(), &shop);
    for name in ["role", "tenant", "level"] {
        send(&format!("no {name}"), without(&claims, name), Outcome::InvalidToken).await;
        send(&format!("{name} is null"), with(&claims, name, "null"), Outcome::InvalidToken).await;
        send(&format!("{name} is an array"), with(&claims, name, "[]"), Outcome::InvalidToken).await;
        send(&format!("{name} is an object"), with(&claims, name, "{}"), Outcome::InvalidToken).await;
    }
    for (name, wrong) in [
        ("role", r#""admin""#),
        ("role", r#""Owner""#),
        ("role", "1"),
        ("tenant", "1"),
        ("tenant", "true"),
        ("level", "256"),
        ("level", "-1"),
        ("level", "1.5"),
        ("level", "1e400"),
        ("level", r#""7""#),
        ("tags", "null"),
        ("tags", r#""a""#),
        ("tags", r#"["a",1]"#),
    ] {
        send(&format!("{name} is {wrong}"), with(&claims, name, wrong), Outcome::InvalidToken).await;
    }
    // Claims of a type that no object is: every token is refused, and none is a fault of the
    // server.
    let list = layer_of::<Vec<String>>(&subject);
    let token = subject.signed(HEADER, claims.to_string());
    subject.expect_of(list.layer(subject.inner.clone()), "a list", bearer(&token), Outcome::InvalidToken).await;
}

#[tokio::test]
async fn clm_31_claims_that_nobody_knows_are_ignored() {
    let subject = Subject::new();
    let mut claims = subject.claims().await;
    let members = claims.as_object_mut().unwrap();
    for n in 0..50 {
        members.insert(format!("unknown_{n}"), json!({ "n": n, "of": ["any", null, 1.5, true, { "shape": {} }] }));
    }
    for name in [
        "",
        " ",
        "SUB",
        "Exp",
        "exp ",
        "EXP",
        "AUD",
        "__proto__",
        "constructor",
        "$serde_json::private::Number",
        "\u{e4}",
    ] {
        members.insert(name.to_owned(), json!(null));
    }
    // Those of OpenID Connect and of RFC 9068, of whatever shape.
    for name in
        ["azp", "nonce", "acr", "amr", "auth_time", "at_hash", "groups", "roles", "entitlements", "act", "may_act"]
    {
        members.insert(name.to_owned(), json!([1]));
    }
    subject.accepts_claims("many", claims.to_string()).await;
    let seen = seen(&subject);
    assert_eq!((seen.subject().as_str(), seen.scope().as_str(), seen.issuer()), ("42", "read", Some(ISSUER)));
}

/// A present claim of a wrong type is refused, even if it is not required (rule 5 of the
/// catalogue).
#[tokio::test]
async fn every_registered_claim_has_its_type_or_the_token_is_refused() {
    let subject = Subject::new();
    let claims = subject.claims().await;
    for name in ["iss", "sub", "aud", "jti", "type", "sid", "gen", "scope", "client_id", "exp", "iat", "nbf"] {
        // A number that is none of these claims' type is refused with the others.
        for wrong in ["null", "true", "{}", "[1]", r#"["a",1]"#, "-1", "-0", "1e400", r#"{"access":null}"#] {
            refuses(&subject, &claims, name, wrong).await;
        }
    }
    for text in ["sub", "jti", "sid", "iss", "aud", "scope", "client_id", "type"] {
        refuses(&subject, &claims, text, "5").await;
    }
    for number in ["exp", "iat", "nbf", "gen"] {
        refuses(&subject, &claims, number, r#""9999999999""#).await;
    }
    for fraction in ["1.5", "18446744073709551616"] {
        refuses(&subject, &claims, "gen", fraction).await;
    }
}

/// The crate does not sign claims that a verifier would refuse.
#[test]
fn nothing_is_signed_that_a_verifier_refuses() {
    let keys = KeySet::signing(test_keys::signing(Algorithm::HS256));
    let claims = |subject: &str, lifetime: Duration| {
        JwtClaims::new(subject, tower_bearer::TokenId::new("t"), TokenType::Access, START, lifetime, NoClaims {})
    };
    let minute = Duration::from_secs(60);
    encode_jwt(&keys, &claims("42", minute)).unwrap();
    let refused = [
        claims("", minute),
        claims(&"a".repeat(256), minute),
        claims("a\0b", minute),
        claims("42", Duration::ZERO),
        claims("42", Duration::MAX),
        claims("42", minute).with_not_before(Timestamp::from_secs(START.as_secs() + 60)),
        claims("42", minute).with_session(tower_bearer::SessionId::new(""), 0),
    ];
    for claims in refused {
        let signed = encode_jwt(&keys, &claims);
        assert!(matches!(signed, Err(Error::Issue(_))), "{claims:?} is signed");
    }
    assert!(Scope::parse("a  b").is_none());
}

/// The subjects of two users never mix: a session is found by both names.
#[tokio::test]
async fn a_session_of_another_subject_is_unknown() {
    let subject = Subject::new();
    let claims = subject.claims().await;
    let other = subject.fixture.tokens.create_access_token(NewSession::new("7")).await.unwrap();
    let other = crate::support::fixture::read_part(other.as_str(), 1);
    for (name, value) in [("sub", &other["sub"]), ("sid", &other["sid"])] {
        let token = subject.signed(HEADER, with(&claims, name, &value.to_string()));
        subject.expect_token(name, &token, Outcome::InvalidToken).await;
    }
}
