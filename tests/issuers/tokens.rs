//! The tokens of well-known issuers, and what each preset refuses.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};
use tower_bearer::{
    Claims, Error, MemoryStore, SessionId, TokenService, TokenType,
    clock::{Clock, SystemClock, Timestamp},
    error::TokenError,
    issuers::{Issuer, IssuerPolicy, Preset, PublishedKeys},
    jwt::{Algorithm, KeySet, RawClaims, VerifyingKey},
};

use crate::support::{fixture::sign_with, test_keys, vectors};

/// The columns that the vectors lack: the preset, and the right scopes, subject, session, token id
/// and roles.
struct Expected {
    case: &'static str,
    preset: Preset,
    scopes: &'static str,
    subject: &'static str,
    session: Option<&'static str>,
    token_id: &'static str,
    roles: &'static [&'static str],
}

const fn row(case: &'static str, preset: Preset, scopes: &'static str, subject: &'static str) -> Expected {
    Expected { case, preset, scopes, subject, session: None, token_id: "", roles: &[] }
}

impl Expected {
    const fn session(self, session: &'static str) -> Self {
        Self { session: Some(session), ..self }
    }

    const fn token_id(self, token_id: &'static str) -> Self {
        Self { token_id, ..self }
    }

    const fn roles(self, roles: &'static [&'static str]) -> Self {
        Self { roles, ..self }
    }
}

const EXPECTED: [Expected; 31] = [
    row("entra v2 delegated", Preset::Entra, "Files.Read User.Read", "s-entra").token_id("u1"),
    row("entra v1 app-only", Preset::Entra, "Task.All", "o").token_id("u").roles(&["Task.All"]),
    row("auth0 default api token", Preset::Auth0, "openid read:things", "auth0|61").roles(&["read:things"]),
    row("okta custom as", Preset::Okta, "things.read openid", "a@example.org").token_id("AT.x").roles(&["Everyone"]),
    row("cognito access (no aud)", Preset::Cognito, "aws.cognito.signin.user.admin", "s").session("o").token_id("j"),
    row("firebase id token", Preset::Firebase, "", "u"),
    row("supabase user", Preset::Supabase, "", "u").session("s").roles(&["authenticated"]),
    row("keycloak user", Preset::Keycloak, "openid profile", "s").session("s1").token_id("onrtac:x").roles(&["admin"]),
    row("keycloak empty scope", Preset::Keycloak, "", "s").token_id("j"),
    row("keycloak lightweight (no sub)", Preset::Keycloak, "a", "").token_id("j"),
    row("duende scope array", Preset::Plain, "openid api1", "s").session("S1").token_id("J1"),
    row("google id token", Preset::Google, "", "1"),
    row("apple id token", Preset::Apple, "", "000.a.1"),
    row("github actions", Preset::GithubActions, "", "repo:o/r:ref:refs/heads/main").token_id("j"),
    row("kubernetes projected (exp 1 y)", Preset::Kubernetes, "", "system:serviceaccount:d:sa").token_id("j"),
    row("same, max_access 1 y", Preset::Kubernetes, "", "system:serviceaccount:d:sa").token_id("j"),
    row("kubernetes pre-1.29 (no jti)", Preset::Kubernetes, "", "system:serviceaccount:d:sa"),
    row("clerk session", Preset::Clerk, "", "user_1").session("sess_1"),
    row("zitadel", Preset::Plain, "", "123").token_id("V2_1-at_2"),
    row("type: user (issuer's own)", Preset::Plain, "", "1").token_id("j"),
    row("float exp/iat", Preset::Plain, "", "42").token_id("j"),
    row("exp 1.79e9 sci", Preset::Plain, "", "42").token_id("j"),
    row("nbf=iat slight future (2 s skew)", Preset::Plain, "", "42").token_id("j"),
    row("groups 300 (>8 KiB)", Preset::Plain, "", "42"),
    row("same, max_len 32 KiB", Preset::Plain, "", "42"),
    row("x5c one cert", Preset::Plain, "", "AC1").token_id("SK1-1"),
    row("kid w/ slash plus eq", Preset::Plain, "", "AC1").token_id("SK1-1"),
    row("kid is a URL of a vault", Preset::Plain, "", "AC1").token_id("SK1-1"),
    row("auth0 token, denylist policy", Preset::Auth0, "openid", "auth0|61"),
    // These two are the project's own: identifiers of another type and an empty scope claim.
    row("session as a number", Preset::Plain, "", "42").session("7").token_id("j"),
    row("roles of an app with a space", Preset::Entra, "Task.All", "o").roles(&["Task All", "Task.All"]),
];

/// Returns the vectors, and two cases that they lack.
fn cases() -> Vec<Value> {
    let mut cases: Vec<Value> = serde_json::from_slice(&vectors::read("issuers/tokens.json")).unwrap();
    let mut own = |case: &str, claims: Value| {
        let mut whole = json!({ "iss": "https://x.example.org", "aud": "api", "iat": "now+0", "exp": "now+65" });
        whole.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        cases.push(json!({
            "case": case, "header": { "alg": "RS256", "kid": "k1" }, "issuer": "https://x.example.org",
            "audience": ["api"], "policy": "stateless", "claims": whole, "right": "accept",
        }));
    };
    own("session as a number", json!({ "sub": "42", "jti": "j", "sid": 7, "gen": "z", "client_id": 1, "atl": "x" }));
    own("roles of an app with a space", json!({ "sub": "o", "appid": "a", "roles": ["Task All", "Task.All"] }));
    cases
}

/// The base of the times in the vectors: a few seconds ago, as the tokens of a client are.
fn base() -> f64 {
    f64::from(u32::try_from(SystemClock.now().as_secs()).unwrap()) - 6.0
}

/// Replaces `now+5` and `now-0.5 as a fraction` by times.
fn with_times(claims: &Value) -> Value {
    let time = |text: &str| {
        let (offset, is_fraction) = match text.strip_suffix(" as a fraction") {
            Some(offset) => (offset, true),
            None => (text, false),
        };
        let at = base() + offset.strip_prefix("now")?.parse::<f64>().ok()?;
        #[allow(clippy::cast_possible_truncation, reason = "whole seconds")]
        Some(if is_fraction { json!(at) } else { json!(at as i64) })
    };
    let resolved = claims.as_object().unwrap().iter().map(|(name, value)| {
        let resolved = value.as_str().and_then(time).unwrap_or_else(|| value.clone());
        (name.clone(), resolved)
    });
    Value::Object(resolved.collect())
}

/// Returns the claims of a token with 300 groups.
fn many_groups(issuer: &str, audience: &str) -> Value {
    let groups: Vec<String> = (0..300).map(|n| format!("{n:08}-0000-4000-8000-000000000000")).collect();
    json!({ "iss": issuer, "sub": "42", "aud": audience, "iat": "now+0", "exp": "now+65", "groups": groups })
}

fn encode(json: &Value) -> String {
    URL_SAFE_NO_PAD.encode(json.to_string())
}

/// Signs with the TEST key of RS256.
fn signed(header: &Value, claims: &Value) -> String {
    let (header, claims) = (header.to_string(), claims.to_string());
    let key = test_keys::encoding(Algorithm::RS256);
    sign_with(jsonwebtoken::Algorithm::RS256, &key, header.as_bytes(), claims.as_bytes())
}

/// Returns a set with the public TEST key of RS256 under this name.
fn keys(kid: &str) -> KeySet {
    let pem = test_keys::text("TEST-rsa-2048-public.pem");
    KeySet::verifying(VerifyingKey::from_pem(Algorithm::RS256, pem).unwrap().with_kid(kid).unwrap())
}

fn kid(case: &Value) -> &str {
    case["header"]["kid"].as_str().unwrap()
}

fn issuer_of(case: &Value, preset: Preset) -> Issuer {
    let issuer = Issuer::new(case["issuer"].as_str().unwrap()).preset(preset).keys(keys(kid(case)));
    let audiences = case["audience"].as_array().unwrap();
    let issuer = if audiences.is_empty() { issuer.any_audience() } else { issuer };
    audiences.iter().fold(issuer, |issuer, audience| issuer.audience(audience.as_str().unwrap()))
}

async fn check<C>(tokens: &TokenService<C>, token: &str) -> Result<Claims<C>, Error>
where
    C: Send + Sync + 'static,
{
    tokens.validate_token(token, TokenType::Access).await
}

#[tokio::test]
#[ignore = "reads third-party vectors, which are no part of the tree: see CONTRIBUTING.md"]
async fn each_issuers_tokens_have_their_right_verdict_and_meaning() {
    let cases = cases();
    assert_eq!(cases.len(), EXPECTED.len(), "a new case needs its columns");
    for (case, expected) in cases.iter().zip(&EXPECTED) {
        let name = case["case"].as_str().unwrap();
        assert_eq!(name, expected.case);
        let (mut issuer, mut builder) = (issuer_of(case, expected.preset), TokenService::builder());
        if name == "same, max_access 1 y" {
            issuer = issuer.max_access_lifetime(std::time::Duration::from_secs(366 * 86_400));
        }
        if name == "same, max_len 32 KiB" {
            builder = builder.max_token_len(32 * 1024);
        }
        let claims = match case["claims"]["text"].as_str() {
            Some(_) => many_groups(case["issuer"].as_str().unwrap(), case["audience"][0].as_str().unwrap()),
            None => case["claims"].clone(),
        };
        let builder = if case["policy"] == "denylist" {
            // As the example `resource_server` does.
            builder.store(MemoryStore::default()).accept_older_than_store(true)
        } else {
            issuer = issuer.policy(IssuerPolicy::Stateless);
            builder
        };
        let tokens = builder.claims::<RawClaims>().accept(issuer).build().unwrap();
        let verdict = check(&tokens, &signed(&case["header"], &with_times(&claims))).await;
        if case["right"] != "accept" {
            assert!(matches!(verdict, Err(Error::Token(_))), "{name}: {verdict:?}");
            continue;
        }
        let accepted = verdict.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        if let Some(scopes) = case["scopes"].as_array() {
            let scopes: Vec<_> = scopes.iter().map(|scope| scope.as_str().unwrap()).collect();
            assert_eq!(scopes.join(" "), expected.scopes, "{name}: the column of the vectors");
        }
        assert_eq!(accepted.scope().as_str(), expected.scopes, "{name}");
        assert_eq!(accepted.subject().as_str(), expected.subject, "{name}");
        assert_eq!(accepted.issuer_subject().is_some(), !expected.subject.is_empty(), "{name}");
        assert_eq!(accepted.session_id().map(SessionId::as_str), expected.session, "{name}");
        assert_eq!(accepted.token_id().as_str(), expected.token_id, "{name}");
        if !name.contains("32 KiB") {
            assert_eq!(accepted.roles(), expected.roles, "{name}");
        }
        assert!(accepted.is_external(), "{name}");
        assert_eq!(accepted.issuer(), case["issuer"].as_str(), "{name}");
        // Every claim but the registered ones is there as the issuer wrote it.
        let registered = ["iss", "sub", "aud", "exp", "iat", "nbf", "jti"];
        let others = with_times(&claims).as_object().unwrap().clone().into_iter();
        let others: Map<_, _> = others.filter(|(name, _)| !registered.contains(&name.as_str())).collect();
        assert_eq!(accepted.custom(), &others, "{name}");
        let shown = serde_json::to_value(&accepted).unwrap_or_else(|error| panic!("{name}: {error}"));
        for (claim, value) in claims.as_object().unwrap() {
            let is_time = value.as_str().is_some_and(|text| text.starts_with("now"));
            assert!(is_time || shown.get(claim) == Some(value) || claim == "aud", "{name}: {claim}: {shown}");
        }
    }
}

/// A change of good claims that makes a token bad.
type Fault = (&'static str, fn(&mut Map<String, Value>));

const FAULTS: [Fault; 6] = [
    ("another audience", |claims| drop(claims.insert("aud".to_owned(), json!("https://another.example")))),
    ("another issuer", |claims| drop(claims.insert("iss".to_owned(), json!("https://another.example")))),
    ("expired", |claims| drop(claims.insert("exp".to_owned(), json!("now-60")))),
    ("without exp", |claims| drop(claims.remove("exp"))),
    ("bound to a key", |claims| drop(claims.insert("cnf".to_owned(), json!({ "jkt": "x" })))),
    ("a logout token", |claims| drop(claims.insert("events".to_owned(), json!({ "x": {} })))),
];

/// For each preset whose issuer has access tokens, the changes that make an ID token of a good
/// access token. Its audience stays that of the API, although real ID tokens have the client's.
const ID_TOKENS: [(&str, Fault); 5] = [
    ("entra v2 delegated", ("an ID token", |claims| drop((claims.remove("azp"), claims.remove("scp"))))),
    ("okta custom as", ("an ID token", |claims| drop((claims.remove("cid"), claims.remove("scp"))))),
    ("cognito access (no aud)", ("an ID token", |claims| drop(claims.insert("token_use".to_owned(), json!("id"))))),
    ("keycloak user", ("an ID token", |claims| drop(claims.insert("typ".to_owned(), json!("ID"))))),
    // Auth0 writes nothing but the audience that tells the two apart.
    ("auth0 default api token", ("an ID token", |claims| drop(claims.insert("aud".to_owned(), json!("client"))))),
];

#[tokio::test]
#[ignore = "reads third-party vectors, which are no part of the tree: see CONTRIBUTING.md"]
async fn each_preset_refuses_what_is_not_meant_for_the_api() {
    let mut tried = Vec::new();
    for (case, expected) in cases().iter().zip(&EXPECTED) {
        let name = case["case"].as_str().unwrap();
        if case["right"] != "accept" || case["claims"]["text"].is_string() || name == "same, max_access 1 y" {
            continue;
        }
        tried.push(expected.preset);
        let issuer = issuer_of(case, expected.preset).policy(IssuerPolicy::Stateless);
        let tokens = TokenService::builder().accept(issuer).build().unwrap();
        let good = case["claims"].as_object().unwrap();
        check(&tokens, &signed(&case["header"], &with_times(&case["claims"]))).await.unwrap();
        let id_token = ID_TOKENS.iter().filter(|(of, _)| *of == name).map(|(_, fault)| fault);
        for (fault, change) in FAULTS.iter().chain(id_token) {
            if *fault == "another audience" && case["audience"].as_array().unwrap().is_empty() {
                continue;
            }
            let mut claims = good.clone();
            change(&mut claims);
            let refused = check(&tokens, &signed(&case["header"], &with_times(&Value::Object(claims)))).await;
            assert!(matches!(refused, Err(Error::Token(_))), "{name}, {fault}: {refused:?}");
        }
        // The public key is no secret, so anybody could sign so (RFC 8725 section 2.1).
        let header = json!({ "alg": "HS256", "kid": kid(case) }).to_string();
        let claims = with_times(&case["claims"]).to_string();
        for public in ["TEST-rsa-2048-public.pem", "TEST-rsa-2048-public-pkcs1.pem"] {
            let key = jsonwebtoken::EncodingKey::from_secret(test_keys::text(public).as_bytes());
            let forged = sign_with(jsonwebtoken::Algorithm::HS256, &key, header.as_bytes(), claims.as_bytes());
            let refused = check(&tokens, &forged).await;
            assert!(matches!(refused, Err(Error::Token(TokenError::UnknownKey))), "{name}: {refused:?}");
        }
        // A token without any signature.
        let unsigned = format!("{}.{}.", encode(&json!({ "alg": "none" })), encode(&with_times(&case["claims"])));
        assert!(check(&tokens, &unsigned).await.is_err(), "{name}");
    }
    assert!(ID_TOKENS.iter().all(|(of, _)| EXPECTED.iter().any(|expected| expected.case == *of)));
    assert_eq!(tried.iter().collect::<std::collections::HashSet<_>>().len(), 13, "every preset has a case");
}

#[tokio::test]
async fn one_issuer_of_many_tenants_accepts_the_listed_ones() {
    let issuer = Issuer::new("https://login.example/{tenantid}/v2.0")
        .tenants(["one", "two"])
        .audience("api")
        .policy(IssuerPolicy::Stateless)
        .keys(keys("k1"));
    let tokens = TokenService::builder().accept(issuer).build().unwrap();
    let token = |tenant: &str| {
        let iss = format!("https://login.example/{tenant}/v2.0");
        let claims = json!({ "iss": iss, "aud": "api", "sub": "42", "iat": "now+0", "exp": "now+65" });
        signed(&json!({ "alg": "RS256", "kid": "k1" }), &with_times(&claims))
    };
    assert_eq!(check(&tokens, &token("one")).await.unwrap().issuer(), Some("https://login.example/one/v2.0"));
    check(&tokens, &token("two")).await.unwrap();
    for other in ["three", "", "{tenantid}", "one/v2.0/two", "ONE"] {
        let error = check(&tokens, &token(other)).await.unwrap_err();
        assert!(matches!(error, Error::Token(TokenError::UnknownIssuer)), "{other}: {error:?}");
    }
    assert_ne!(
        check(&tokens, &token("one")).await.unwrap().issuer_subject(),
        check(&tokens, &token("two")).await.unwrap().issuer_subject(),
        "the same subject of two tenants is not the same user"
    );
}

#[tokio::test]
async fn settings_that_cannot_work_are_errors_of_build() {
    let good = || Issuer::new("https://x.example.org").audience("api").policy(IssuerPolicy::Stateless).keys(keys("k1"));
    let fetched = || {
        let issuer = Issuer::new("https://x.example.org").audience("api").policy(IssuerPolicy::Stateless);
        issuer.key_source(async || Ok(PublishedKeys::new("{}")))
    };
    let setting =
        |issuer: Issuer| TokenService::builder().accept(issuer).build().map(drop).map_err(|error| error.setting());
    let day = std::time::Duration::from_secs(86_400);
    assert_eq!(setting(good()), Ok(()));
    for (issuer, expected) in [
        (Issuer::new("").audience("api").keys(keys("k1")), "issuer"),
        (Issuer::new("x").keys(keys("k1")), "audience"),
        (Issuer::new("x").audience("api"), "keys"),
        (good().any_audience(), "any_audience"),
        (good().audience(""), "audience"),
        (good().tenants(["one"]), "tenants"),
        (Issuer::new("x/{tenantid}").audience("api").keys(keys("k1")), "tenants"),
        (Issuer::new("x/{tenantid}").tenants([""]).audience("api").keys(keys("k1")), "tenants"),
        (good().algorithms([Algorithm::RS256]), "algorithms"),
        (fetched().algorithms([]), "algorithms"),
        (fetched().algorithms([Algorithm::HS256]), "algorithms"),
        (good().cool_down(std::time::Duration::ZERO), "cool_down"),
        (good().cool_down(day), "cool_down"),
        (good().max_stale(std::time::Duration::from_secs(1)), "max_stale"),
        (good().max_access_lifetime(std::time::Duration::ZERO), "max_access_lifetime"),
        (good().access_typ(tower_bearer::jwt::AccessTyp::Compatible), "access_typ"),
        (good().policy(IssuerPolicy::Denylist), "store"),
    ] {
        assert_eq!(setting(issuer), Err(expected), "{expected}");
    }
    let twice = TokenService::builder().accept(good()).accept(good()).build().unwrap_err();
    assert_eq!(twice.setting(), "accept");
    let secret = "a TEST secret that is long enough for HS256";
    let own = || TokenService::builder().secret(secret).store(MemoryStore::default());
    assert_eq!(own().issuer("https://x.example.org").accept(good()).build().unwrap_err().setting(), "accept");
    assert_eq!(own().accept(good()).build().unwrap_err().setting(), "issuer", "own tokens need a name");
    let forgotten = TokenService::builder().issuer("https://own.example").accept(good()).build().unwrap_err();
    assert_eq!(forgotten.setting(), "secret");
    let unused = TokenService::builder().store(MemoryStore::default()).accept(good()).build().unwrap_err();
    assert_eq!(unused.setting(), "store");
}

#[tokio::test]
async fn a_token_lacks_only_what_its_policy_does_not_need() {
    let header = json!({ "alg": "RS256", "kid": "k1" });
    let issuer = |policy| Issuer::new("https://x.example.org").audience("api").policy(policy).keys(keys("k1"));
    let stateless = TokenService::builder().accept(issuer(IssuerPolicy::Stateless)).build().unwrap();
    let denylist = TokenService::builder()
        .store(MemoryStore::default())
        .accept_older_than_store(true)
        .accept(issuer(IssuerPolicy::Denylist))
        .build()
        .unwrap();
    for (claims, by_denylist) in [
        (json!({ "iat": "now+0", "sub": "1", "jti": "j" }), true),
        (json!({ "iat": "now+0", "sub": "1" }), true),
        (json!({ "iat": "now+0", "sid": "1" }), true),
        (json!({ "iat": "now+0", "jti": "1" }), true),
        (json!({ "iat": "now+0" }), false),
        (json!({ "sub": "1", "jti": "j" }), false),
        (json!({}), false),
    ] {
        let mut whole = json!({ "iss": "https://x.example.org", "aud": "api", "exp": "now+65" });
        whole.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        let token = signed(&header, &with_times(&whole));
        let accepted = check(&stateless, &token).await.unwrap_or_else(|error| panic!("{claims}: {error:?}"));
        assert_eq!(accepted.issued_at() == Timestamp::default(), claims["iat"].is_null());
        assert_eq!(check(&denylist, &token).await.is_ok(), by_denylist, "{claims}");
    }
    // The leeway also extends a token without `iat`.
    let leeway = std::time::Duration::from_secs(60);
    let patient = TokenService::builder().leeway(leeway).accept(issuer(IssuerPolicy::Stateless)).build().unwrap();
    for (exp, is_accepted) in [("now-5", true), ("now-100", false)] {
        let ended = json!({ "iss": "https://x.example.org", "aud": "api", "exp": exp });
        let token = signed(&header, &with_times(&ended));
        assert_eq!(check(&patient, &token).await.is_ok(), is_accepted, "{exp}");
    }
    // Without `iat`, the time that is left counts as the lifetime.
    let long = json!({ "iss": "https://x.example.org", "aud": "api", "sub": "1", "exp": "now+100000" });
    // Otherwise a logout token would be an access token.
    let event = json!({ "iss": "https://x.example.org", "aud": "api", "sub": "1", "exp": "now+65", "events": {} });
    for refused in [&long, &event] {
        let refused = check(&stateless, &signed(&header, &with_times(refused))).await;
        assert!(matches!(refused, Err(Error::Token(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn a_key_of_one_tenant_verifies_no_token_of_another() {
    let pem = test_keys::text("TEST-rsa-2048-public.pem");
    let key = VerifyingKey::from_pem(Algorithm::RS256, pem).unwrap().with_kid("k1").unwrap();
    let own: Value = serde_json::from_str(&KeySet::verifying(key).to_jwks()).unwrap();
    let issuer_of = |tenant: &str| format!("https://login.example/{tenant}/v2.0");
    for (of_key, accepted) in [
        (None, [true, true]),
        (Some("https://login.example/{tenantid}/v2.0"), [true, true]),
        (Some("https://login.example/one/v2.0"), [true, false]),
        (Some("https://login.example/three/v2.0"), [false, false]),
        (Some("https://other.example/{tenantid}/v2.0"), [false, false]),
    ] {
        let mut set = own.clone();
        set["keys"][0]["issuer"] = json!(of_key);
        let issuer = Issuer::new(issuer_of("{tenantid}"))
            .tenants(["one", "two"])
            .audience("api")
            .policy(IssuerPolicy::Stateless)
            .keys(KeySet::from_published_jwks(&set.to_string()).unwrap());
        let tokens = TokenService::builder().accept(issuer).build().unwrap();
        for (tenant, accepted) in ["one", "two"].into_iter().zip(accepted) {
            let claims = json!({ "iss": issuer_of(tenant), "aud": "api", "iat": "now+0", "exp": "now+65" });
            let token = signed(&json!({ "alg": "RS256", "kid": "k1" }), &with_times(&claims));
            assert_eq!(check(&tokens, &token).await.is_ok(), accepted, "{of_key:?}: {tenant}");
        }
    }
}

#[tokio::test]
#[ignore = "reads third-party vectors, which are no part of the tree: see CONTRIBUTING.md"]
async fn without_an_audience_another_claim_can_name_the_application() {
    let all = cases();
    for (name, claim, value) in [("cognito access (no aud)", "client_id", "c"), ("clerk session", "azp", "https://a")] {
        let place = EXPECTED.iter().position(|expected| expected.case == name).unwrap();
        let case = &all[place];
        let verdict = async |wanted: &str| {
            let issuer = issuer_of(case, EXPECTED[place].preset).policy(IssuerPolicy::Stateless);
            let tokens = TokenService::builder().accept(issuer.require_claim(claim, [wanted])).build().unwrap();
            check(&tokens, &signed(&case["header"], &with_times(&case["claims"]))).await.is_ok()
        };
        assert!(verdict(value).await && !verdict("another").await, "{name}");
    }
}
