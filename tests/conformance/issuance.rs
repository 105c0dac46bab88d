//! ISU: issuance of tokens.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tower_bearer::{
    BoxError, Error, KeySet, MemoryStore, NewSession, NoClaims, Renewal, TokenService, TokenType,
    clock::{ManualClock, Timestamp},
    jwt::{Algorithm, JwtClaims, SigningKey, VerifyingKey, encode_jwt},
    store::Page,
};

use crate::{
    application::{Application, Tokens, assert_unavailable, form, password_of},
    subject::{Outcome, expect_on, send},
    support::{
        Behaviour, FaultyStore, Fixture, RESERVED, STORE_ERRORS,
        fixture::{AUDIENCE, ISSUER, SECRET, START, builder, read_part},
    },
};

fn hs256() -> SigningKey {
    SigningKey::from_secret(Algorithm::HS256, SECRET).unwrap()
}

fn pem(algorithm: Algorithm, file: &str) -> SigningKey {
    let path = format!("{}/tests/keys/{file}", env!("CARGO_MANIFEST_DIR"));
    SigningKey::from_pem(algorithm, std::fs::read(path).unwrap()).unwrap()
}

/// Issues tokens in every way that this crate has, and returns them with their types.
async fn issue_every_way<C>(tokens: &TokenService<C>, session: NewSession<C>) -> Vec<(&'static str, TokenType, String)>
where
    C: Clone + Serialize + Send + Sync + 'static,
{
    use TokenType::{Access, Refresh};
    let text = |token: &tower_bearer::tokens::IssuedToken| token.as_str().to_owned();
    let pair = tokens.create_token_pair(session.clone()).await.unwrap();
    let alone = tokens.refresh_access_token(pair.refresh().as_str()).await.unwrap();
    let next = tokens.refresh(pair.refresh().as_str()).await.unwrap();
    vec![
        ("a pair's access token", Access, text(pair.access())),
        ("a pair's refresh token", Refresh, text(pair.refresh())),
        ("an access token without rotation", Access, text(&alone)),
        ("the next access token", Access, text(next.access())),
        ("the next refresh token", Refresh, text(next.refresh())),
        ("an access token alone", Access, text(&tokens.create_access_token(session.clone()).await.unwrap())),
        ("a refresh token alone", Refresh, text(&tokens.create_refresh_token(session).await.unwrap())),
    ]
}

#[tokio::test]
async fn isu_01_every_token_says_who_for_whom_until_when_and_of_which_session() {
    for client in [None, Some("app")] {
        let fixture = Fixture::with(|builder| match client {
            Some(client) => builder.client_id(client),
            None => builder,
        });
        for (what, kind, token) in issue_every_way(&fixture.tokens, NewSession::new("42").scope("read")).await {
            let claims = read_part(&token, 1);
            for (name, expected) in [
                ("iss", json!(ISSUER)),
                ("sub", json!("42")),
                ("aud", json!(AUDIENCE)),
                ("type", json!(kind.as_str())),
                ("scope", json!("read")),
                ("iat", json!(START.as_secs())),
            ] {
                assert_eq!(claims[name], expected, "{what}: {name}");
            }
            // Integers, not 1.0e9: RFC 7519 section 2 allows fractions, and many readers do not.
            for name in ["iat", "exp", "gen"] {
                assert!(claims[name].is_u64(), "{what}: {name} is {}", claims[name]);
            }
            let (sid, jti) = (claims["sid"].as_str().unwrap(), claims["jti"].as_str().unwrap());
            assert!(sid.len() == 22 && jti.starts_with(sid) && jti.len() <= 255, "{what}: {jti}");
            assert_eq!(claims.get("client_id"), client.map(|client| json!(client)).as_ref(), "{what}");
            let mut names: Vec<_> = claims.as_object().unwrap().keys().map(String::as_str).collect();
            names.retain(|name| *name != "client_id");
            // Only refresh tokens carry the lifetime of access tokens.
            assert_eq!(claims.get("atl"), (kind == TokenType::Refresh).then(|| json!(1800)).as_ref(), "{what}");
            names.retain(|name| *name != "atl");
            names.sort_unstable();
            assert_eq!(names, ["aud", "exp", "gen", "iat", "iss", "jti", "scope", "sid", "sub", "type"], "{what}");
        }
    }
    // Settings without a value write no member, neither `null` nor empty.
    let tokens = TokenService::builder().secret(SECRET).store(MemoryStore::default()).build().unwrap();
    for (what, _, token) in issue_every_way(&tokens, NewSession::new("42")).await {
        let claims = read_part(&token, 1);
        for absent in ["iss", "aud", "scope", "client_id", "nbf"] {
            assert_eq!(claims.get(absent), None, "{what}: {absent}");
        }
    }
}

#[tokio::test]
async fn isu_02_the_header_has_the_type_the_keys_algorithm_and_its_name_and_nothing_else() {
    let named = |key: SigningKey| key.with_kid("2026-11").unwrap();
    for key in [
        named(hs256()),
        hs256().without_kid(),
        SigningKey::from_secret(Algorithm::HS512, SECRET).unwrap(),
        pem(Algorithm::RS256, "TEST-rsa-2048-pkcs8.pem"),
        named(pem(Algorithm::PS384, "TEST-rsa-2048-pkcs8.pem")),
        pem(Algorithm::ES256, "TEST-ec-p256-pkcs8.pem"),
        pem(Algorithm::ES384, "TEST-ec-p384-pkcs8.pem").without_kid(),
        named(pem(Algorithm::EdDSA, "TEST-ed25519-pkcs8.pem")),
    ] {
        let (algorithm, kid) = (key.algorithm(), key.kid().map(str::to_owned));
        let fixture = Fixture::with_keys(KeySet::signing(key), |builder| builder);
        for (what, kind, token) in issue_every_way(&fixture.tokens, NewSession::new("42")).await {
            let typ = if kind == TokenType::Access { "at+jwt" } else { "rt+jwt" };
            let mut expected = json!({ "alg": algorithm.as_str(), "typ": typ });
            if let Some(kid) = &kid {
                expected["kid"] = json!(kid);
            }
            assert_eq!(read_part(&token, 0), expected, "{algorithm}: {what}");
            if kind == TokenType::Access {
                expect_on(&fixture.tokens, what, &token, Outcome::Ok).await;
            }
        }
    }
    // The payload contains the application's claims under any name.
    let custom =
        json!({ "jku": "https://evil.example", "crit": ["x"], "jwk": {}, "kid": "other", "alg": "none", "typ": "x" });
    let tokens = builder(&ManualClock::at(START)).store(FaultyStore::new(ManualClock::at(START))).claims::<Value>();
    for (what, _, token) in issue_every_way(&tokens.build().unwrap(), NewSession::new("42").claims(custom)).await {
        let header = read_part(&token, 0);
        let names: Vec<_> = header.as_object().unwrap().keys().collect();
        assert!(names.iter().all(|name| ["alg", "typ", "kid"].contains(&name.as_str())), "{what}: {header}");
        assert_eq!(header["alg"], "HS256", "{what}");
    }
}

#[test]
fn isu_03_no_two_tokens_share_an_id_and_the_ids_are_random() {
    // The row asks for a million ids. A hundred thousand take some seconds without optimization,
    // and show the same: a generator that repeats, has equal seeds in all threads, or has too few
    // bits. 10^5 ids of 128 random bits collide once in 10^28 runs. The counts of bits below find
    // other faults.
    const THREADS: usize = 16;
    const EACH: usize = 6250;
    let tokens = TokenService::builder().secret(SECRET).store(MemoryStore::default()).build().unwrap();
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let tokens = tokens.clone();
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
                runtime.block_on(async {
                    let mut ids = Vec::new();
                    for n in 0..EACH {
                        // Few sessions a user, as a store is used.
                        let session = NewSession::new((thread * EACH + n / 2) as u64);
                        ids.push(read_id(tokens.create_access_token(session).await.unwrap().as_str()));
                    }
                    ids
                })
            })
        })
        .collect();
    let ids: Vec<String> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    let distinct: HashSet<&String> = ids.iter().collect();
    assert_eq!(distinct.len(), THREADS * EACH);

    let mut ones = [0_u32; 128];
    for id in &ids {
        let random = URL_SAFE_NO_PAD.decode(id.split('.').next().unwrap()).unwrap();
        assert_eq!(random.len(), 16, "{id}");
        for (bit, count) in ones.iter_mut().enumerate() {
            *count += u32::from(random[bit / 8] >> (bit % 8) & 1);
        }
    }
    // A random bit is set in half of the ids, with a standard deviation of 158. A deviation of nine
    // times that does not occur. A UUID version, a counter or a time would have constant bits.
    let half = u32::try_from(THREADS * EACH / 2).unwrap();
    for (bit, count) in ones.into_iter().enumerate() {
        assert!(count.abs_diff(half) < 1500, "bit {bit} is set {count} times of {}", half * 2);
    }
    // Access tokens beside a refresh token are many to one session: each has random bits of its
    // own.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let pair = tokens.create_token_pair(NewSession::new("many")).await.unwrap();
        let mut seen = HashSet::from([read_id(pair.access().as_str()), read_id(pair.refresh().as_str())]);
        for n in 0..1000 {
            let alone = tokens.refresh_access_token(pair.refresh().as_str()).await.unwrap();
            assert!(seen.insert(read_id(alone.as_str())), "{n}");
        }
    });
}

fn read_id(token: &str) -> String {
    read_part(token, 1)["jti"].as_str().unwrap().to_owned()
}

/// Claims with members from two structs, which can write one name twice.
#[derive(Clone, Deserialize, Serialize)]
struct Flattened {
    role: String,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[tokio::test]
async fn isu_04_custom_claims_never_replace_or_repeat_a_claim_of_ours() {
    let fixture = Fixture::new();
    let tokens = builder(&fixture.clock).store(fixture.store.clone()).claims::<Value>().build().unwrap();
    let mut attempts =
        vec![("the row's own".to_owned(), json!({ "exp": 9e9, "iss": "x", "sub": "root", "jti": "1", "cnf": {} }))];
    for name in RESERVED {
        for value in [json!("x"), json!(null), json!(9_999_999_999_u64), json!({}), json!([])] {
            attempts.push((format!("{name}: {value}"), json!({ "role": "guest", name: value })));
        }
    }
    for (what, custom) in attempts {
        let session = || NewSession::new("42").claims(custom.clone());
        for (way, result) in [
            ("pair", tokens.create_token_pair(session()).await.map(drop)),
            ("access", tokens.create_access_token(session()).await.map(drop)),
            ("refresh", tokens.create_refresh_token(session()).await.map(drop)),
        ] {
            assert!(matches!(result, Err(Error::Issue(_))), "{what}: {way}: {result:?}");
        }
        let claims = JwtClaims::new(
            "42",
            tower_bearer::TokenId::new("j"),
            TokenType::Access,
            START,
            Duration::from_secs(60),
            custom.clone(),
        );
        let encoded = encode_jwt(&KeySet::signing(hs256()), &claims);
        assert!(matches!(encoded, Err(Error::Issue(_))), "{what}: encode_jwt: {encoded:?}");
    }
    assert_eq!(fixture.store.calls(), 0, "no session was opened for a token that cannot be");

    // A hook that is asked at a refresh is no way around it either.
    let good = tokens.create_token_pair(NewSession::new("42").claims(json!({ "role": "guest" }))).await.unwrap();
    for name in RESERVED {
        let hooked = builder(&fixture.clock).store(fixture.store.clone()).claims::<Value>();
        let hooked = hooked
            .on_refresh(move |_: tower_bearer::tokens::Refreshing<Value>| async move {
                Ok::<_, BoxError>(Renewal::Replace { claims: json!({ name: "root" }), scope: String::new() })
            })
            .build()
            .unwrap();
        for result in [
            hooked.refresh(good.refresh().as_str()).await.map(drop),
            hooked.refresh_access_token(good.refresh().as_str()).await.map(drop),
        ] {
            assert!(matches!(result, Err(Error::Issue(_))), "{name}: {result:?}");
        }
    }
    tokens.refresh(good.refresh().as_str()).await.expect("none of them has used it up");

    // Names that only look like ours are the application's own; and what serde writes twice stands
    // there once.
    let flattened = builder(&fixture.clock).store(fixture.store.clone()).claims::<Flattened>().build().unwrap();
    let rest = |name: &str| BTreeMap::from([(name.to_owned(), json!("twice"))]);
    for name in ["Exp", "EXP", "exp ", " sub", "su\u{62}_", "iss\u{0}", "role"] {
        let session = NewSession::new("42").claims(Flattened { role: "owner".to_owned(), rest: rest(name) });
        for (what, _, token) in issue_every_way(&flattened, session).await {
            let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
            let members = members_of(&payload);
            for (member, count) in &members {
                assert_eq!(*count, 1, "{name:?}: {what}: {member:?} stands there {count} times");
            }
            let claims = read_part(&token, 1);
            assert_eq!((&claims["sub"], &claims["iss"]), (&json!("42"), &json!(ISSUER)), "{name:?}: {what}");
        }
    }
    // The same over `flatten`: a reserved name is found wherever it comes from.
    for name in RESERVED {
        let session = NewSession::new("42").claims(Flattened { role: "owner".to_owned(), rest: rest(name) });
        let result = flattened.create_token_pair(session).await;
        assert!(matches!(result, Err(Error::Issue(_))), "{name}: {result:?}");
    }
}

/// Returns how often each name occurs at the top level of an object.
fn members_of(json: &[u8]) -> HashMap<String, usize> {
    struct Names(HashMap<String, usize>);

    impl<'de> Deserialize<'de> for Names {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Visitor;

            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Names;

                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }

                fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                    let mut names = HashMap::new();
                    while let Some((name, _)) = map.next_entry::<String, Value>()? {
                        *names.entry(name).or_default() += 1;
                    }
                    Ok(Names(names))
                }
            }

            deserializer.deserialize_map(Visitor)
        }
    }

    serde_json::from_slice::<Names>(json).unwrap().0
}

#[tokio::test]
async fn isu_07_a_lifetime_of_nothing_or_beyond_bounds_is_an_error_and_no_token_ends_before_it_begins() {
    let seconds = Duration::from_secs;
    let bad = [
        ("nothing", Duration::ZERO),
        ("a nanosecond", Duration::from_nanos(1)),
        ("half a second", Duration::from_millis(500)),
        ("a second and a half", Duration::from_millis(1500)),
        ("over a century", seconds(101 * 365 * 86_400)),
        ("as many seconds as i64 holds", seconds(i64::MAX as u64)),
        ("as many milliseconds as u64 holds", Duration::from_millis(u64::MAX)),
        ("as many seconds as u64 holds", seconds(u64::MAX)),
        ("Duration::MAX", Duration::MAX),
    ];
    let fixture = Fixture::new();
    for (what, lifetime) in bad {
        let of = || NewSession::new("42");
        for (setting, session) in
            [("access", of().access_lifetime(lifetime)), ("session", of().session_lifetime(lifetime))]
        {
            for result in [
                fixture.tokens.create_token_pair(session.clone()).await.map(drop),
                fixture.tokens.create_access_token(session.clone()).await.map(drop),
                fixture.tokens.create_refresh_token(session).await.map(drop),
            ] {
                assert!(matches!(result, Err(Error::Issue(_))), "{setting}: {what}: {result:?}");
            }
        }
        let good = || TokenService::builder().secret(SECRET).store(MemoryStore::default());
        for (setting, builder) in [
            ("access_lifetime", good().access_lifetime(lifetime)),
            ("refresh_lifetime", good().refresh_lifetime(lifetime)),
            ("session_lifetime", good().session_lifetime(lifetime)),
        ] {
            assert_eq!(builder.build().expect_err(what).setting(), setting, "{what}");
        }
    }
    // Longer than is accepted: a day, unless it is configured otherwise.
    let longer = NewSession::new("42").access_lifetime(seconds(86_401));
    assert!(matches!(fixture.tokens.create_access_token(longer).await, Err(Error::Issue(_))));
    assert_eq!(fixture.store.calls(), 0);
    let longest = NewSession::new("42").access_lifetime(seconds(86_400));
    assert_eq!(fixture.tokens.create_access_token(longest).await.unwrap().expires_in(), 86_400);

    // Below the service: an end that is not after the beginning, or that no calendar has.
    let keys = KeySet::signing(hs256());
    let claims = |lifetime| {
        JwtClaims::new("42", tower_bearer::TokenId::new("j"), TokenType::Access, START, lifetime, NoClaims {})
    };
    let at = |seconds: u64| Timestamp::from_secs(START.as_secs() - 10 + seconds);
    for (what, claims) in [
        ("no lifetime", claims(Duration::ZERO)),
        ("less than a second", claims(Duration::from_millis(999))),
        ("Duration::MAX", claims(Duration::MAX)),
        ("exp before iat", claims(seconds(60)).with_expiry(at(9))),
        ("exp at iat", claims(seconds(60)).with_expiry(at(10))),
        ("exp at 0", claims(seconds(60)).with_expiry(Timestamp::default())),
        ("exp before nbf", claims(seconds(60)).with_not_before(at(80))),
        ("exp at nbf", claims(seconds(60)).with_not_before(at(70))),
        ("exp in the year 10 000", claims(seconds(60)).with_expiry(Timestamp::END_OF_TIME)),
        ("exp at the end of numbers", claims(seconds(60)).with_expiry(Timestamp::from_millis(u64::MAX))),
    ] {
        let result = encode_jwt(&keys, &claims);
        assert!(matches!(result, Err(Error::Issue(_))), "{what}: {result:?}");
    }

    // A clock that shows an absurd time gives an error or a token that has a lifetime, never one
    // that wraps.
    for moment in [
        Timestamp::default(),
        Timestamp::from_millis(999),
        Timestamp::END_OF_TIME.saturating_sub(seconds(86_400)),
        Timestamp::END_OF_TIME.saturating_sub(seconds(1)),
        Timestamp::END_OF_TIME,
        Timestamp::from_millis(u64::MAX - 1),
        Timestamp::from_millis(u64::MAX),
    ] {
        let fixture = Fixture::new();
        fixture.clock.set(moment);
        let session = || NewSession::new("42");
        let mut given = Vec::new();
        if let Ok(pair) = fixture.tokens.create_token_pair(session()).await {
            given.extend([pair.access().as_str().to_owned(), pair.refresh().as_str().to_owned()]);
            if let Ok(next) = fixture.tokens.refresh(pair.refresh().as_str()).await {
                given.extend([next.access().as_str().to_owned(), next.refresh().as_str().to_owned()]);
            }
        }
        given.extend(fixture.tokens.create_access_token(session()).await.ok().map(|token| token.as_str().to_owned()));
        for token in given {
            let claims = read_part(&token, 1);
            let (iat, exp) = (claims["iat"].as_u64().unwrap(), claims["exp"].as_u64().unwrap());
            assert!(exp > iat, "at {moment}: {claims}");
        }
    }
}

#[tokio::test]
async fn isu_08_exp_is_iat_and_exactly_the_configured_lifetime() {
    for (access, refresh) in [(1, 1), (59, 3600), (1800, 7 * 86_400), (86_399, 86_401), (86_400, 30 * 86_400)] {
        // Between two whole seconds too: `iat` is cut to the second, and the lifetime is not
        // shorter or longer for that.
        for fraction in [0, 1, 499, 999] {
            let fixture = Fixture::with(|builder| {
                builder.access_lifetime(Duration::from_secs(access)).refresh_lifetime(Duration::from_secs(refresh))
            });
            fixture.clock.advance(Duration::from_millis(fraction));
            for (what, kind, token) in issue_every_way(&fixture.tokens, NewSession::new("42")).await {
                let claims = read_part(&token, 1);
                // No token outlives its session.
                let access = if what == "an access token alone" { access } else { access.min(refresh) };
                let expected = if kind == TokenType::Access { access } else { refresh };
                assert_eq!(claims["iat"], START.as_secs(), "{what}");
                assert_eq!(claims["exp"], START.as_secs() + expected, "{what}: {access}, {refresh}, {fraction} ms");
            }
            let own = NewSession::new("42").access_lifetime(Duration::from_secs(7));
            let token = fixture.tokens.create_access_token(own).await.unwrap();
            assert_eq!(read_part(token.as_str(), 1)["exp"], START.as_secs() + 7, "of the session's own");
        }
    }
}

#[tokio::test]
async fn isu_10_a_store_that_cannot_write_gives_an_error_and_no_token() {
    let fixture = Fixture::new();
    let app = Application::of(&fixture.tokens);
    let session = || NewSession::new("alice");
    for kind in STORE_ERRORS {
        let what = format!("{kind:?}");
        fixture.store.answer_only("open", Behaviour::Fails(kind));
        for result in [
            fixture.tokens.create_token_pair(session()).await.map(drop),
            fixture.tokens.create_access_token(session()).await.map(drop),
            fixture.tokens.create_refresh_token(session()).await.map(drop),
        ] {
            let Err(error) = result else { panic!("{what}: a token was made") };
            assert!(matches!(&error, Error::Store(own) if own.kind() == kind), "{what}: {error:?}");
            let status = tonic::Status::from(error);
            assert_eq!(
                (status.code(), status.message()),
                (tonic::Code::Unavailable, "temporarily_unavailable"),
                "{what}"
            );
        }
        assert_unavailable(&what, &app.try_login("alice", &password_of("alice")).await);
        fixture.store.answer(Behaviour::AtOnce);
        let sessions = fixture.tokens.sessions("alice", Page::default()).await.unwrap().sessions;
        assert!(sessions.is_empty(), "{what}: something was left behind");
    }
    app.accepts("once it writes again", &app.log_in("alice").await).await;
}

#[cfg(feature = "redis")]
#[tokio::test]
async fn isu_10_a_redis_that_is_down_or_full_gives_no_token() {
    use crate::support::{RedisServer, redis_fixture::node};

    let mut server = RedisServer::start();
    let tokens = node(&server.url(), |builder| builder).await;
    let app = Application::of(&tokens);
    app.log_in("alice").await;
    let mut admin = server.admin().await;
    redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg("1").exec_async(&mut admin).await.unwrap();
    let assert_refused = async |what: &str| {
        assert_unavailable(what, &app.try_login("alice", &password_of("alice")).await);
        let result = tokens.create_access_token(NewSession::new("alice")).await;
        assert!(matches!(result, Err(Error::Store(_))), "{what}: {result:?}");
    };
    assert_refused("full").await;
    redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg("0").exec_async(&mut admin).await.unwrap();
    assert_eq!(tokens.sessions("alice", Page::default()).await.unwrap().sessions.len(), 1, "only the first");
    server.kill();
    assert_refused("down").await;
}

#[tokio::test]
async fn isu_12_a_token_response_says_bearer_how_long_and_that_nobody_keeps_it() {
    for fraction in [0, 1, 500, 999] {
        let fixture = Fixture::new();
        fixture.clock.advance(Duration::from_millis(fraction));
        let app = Application::of(&fixture.tokens);
        let login = app.try_login("alice", &password_of("alice")).await;
        let first = Tokens::of(&login, "login");
        fixture.clock.advance(Duration::from_millis(10_300));
        let refresh = app.try_refresh(&first.refresh).await;
        // A replay of the lost answer: its tokens have less time left by now.
        fixture.clock.advance(Duration::from_millis(20_400));
        let replay = app.try_refresh(&first.refresh).await;
        let request = form(&[("refresh_token", &Tokens::of(&replay, "replay").refresh)]);
        let alone = send(app.endpoints.refresh_without_rotation(), request).await;

        let issued = [0, 10_300, 10_300, 30_700];
        let answered = [0, 10_300, 30_700, 30_700];
        for (index, (what, answer)) in
            [("login", &login), ("refresh", &refresh), ("replay", &replay), ("without rotation", &alone)]
                .into_iter()
                .enumerate()
        {
            let what = format!("{what} at {fraction} ms");
            assert_eq!(answer.status, 200, "{what}");
            for (name, value) in
                [("cache-control", "no-store"), ("pragma", "no-cache"), ("content-type", "application/json")]
            {
                let values: Vec<_> = answer.headers.get_all(name).iter().collect();
                assert_eq!(values, [value], "{what}: {name}");
            }
            let body: Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(body["token_type"], "bearer", "{what}");
            let now = START.as_millis() + fraction + answered[index];
            let claims = read_part(body["access_token"].as_str().unwrap(), 1);
            assert_eq!(claims["iat"], (START.as_millis() + fraction + issued[index]) / 1000, "{what}");
            for (lifetime, token) in [
                ("expires_in", "access_token"),
                ("access_expires_in", "access_token"),
                ("refresh_expires_in", "refresh_token"),
            ] {
                let Some(token) = body.get(token) else { continue };
                let left = body[lifetime].as_u64().unwrap_or_else(|| panic!("{what}: {lifetime} in {body}"));
                let exp = read_part(token.as_str().unwrap(), 1)["exp"].as_u64().unwrap();
                assert!(left * 1000 <= exp * 1000 - now, "{what}: {lifetime} {left}, but {exp} - {now} ms");
                assert!(left * 1000 + 1000 > exp * 1000 - now, "{what}: {lifetime} {left} is more than a second short");
            }
        }
    }
}

#[tokio::test]
async fn isu_13_a_retired_or_public_key_never_signs() {
    // With only a public key nothing can be signed, which is an error of `build`.
    let pairs = [
        (Algorithm::RS256, "TEST-rsa-2048-pkcs8.pem", "TEST-rsa-2048-public.pem"),
        (Algorithm::ES256, "TEST-ec-p256-pkcs8.pem", "TEST-ec-p256-public.pem"),
        (Algorithm::EdDSA, "TEST-ed25519-pkcs8.pem", "TEST-ed25519-public.pem"),
    ];
    for (algorithm, private, public) in pairs {
        let path = format!("{}/tests/keys/{public}", env!("CARGO_MANIFEST_DIR"));
        let public_pem = std::fs::read(path).unwrap();
        let public = VerifyingKey::from_pem(algorithm, &public_pem).unwrap();
        let with = |keys: KeySet| TokenService::builder().keys(keys).store(MemoryStore::default());
        let error = with(KeySet::verifying(public.clone())).build().expect_err("it cannot issue");
        assert_eq!(error.setting(), "keys", "{algorithm}: {error}");
        let error = SigningKey::from_pem(algorithm, &public_pem).expect_err("half a pair");
        assert!(!error.to_string().is_empty());
        // Built to verify only, it issues nothing, by whatever way it is asked.
        let verifier = with(KeySet::verifying(public.clone())).verify_only().build().unwrap();
        let issuer = with(KeySet::signing(pem(algorithm, private))).build().unwrap();
        let refresh = issuer.create_refresh_token(NewSession::new("42")).await.unwrap();
        for result in [
            verifier.create_token_pair(NewSession::new("42")).await.map(drop),
            verifier.create_access_token(NewSession::new("42")).await.map(drop),
            verifier.create_refresh_token(NewSession::new("42")).await.map(drop),
            verifier.refresh(refresh.as_str()).await.map(drop),
            verifier.refresh_access_token(refresh.as_str()).await.map(drop),
        ] {
            assert!(matches!(result, Err(Error::Issue(_))), "{algorithm}: {result:?}");
        }
        let claims = JwtClaims::new(
            "42",
            tower_bearer::TokenId::new("j"),
            TokenType::Access,
            START,
            Duration::from_secs(60),
            NoClaims {},
        );
        assert!(matches!(encode_jwt(&KeySet::verifying(public), &claims), Err(Error::Signing)), "{algorithm}");
    }

    // A retired key in the set only verifies. The other key signs all new tokens.
    let old = SigningKey::from_secret(Algorithm::HS256, SECRET.replace("TEST", "old TEST")).unwrap();
    let (old, new) = (old.with_kid("old").unwrap(), hs256().with_kid("new").unwrap());
    let clock = ManualClock::at(START);
    let store = FaultyStore::new(clock.clone());
    let service = |keys: KeySet| {
        TokenService::builder().issuer(ISSUER).audience(AUDIENCE).clock(clock.clone()).keys(keys).store(store.clone())
    };
    let before = service(KeySet::signing(old.clone())).build().unwrap();
    let after =
        service(KeySet::signing(new.clone()).and_verifying(old.verifying_key().clone()).unwrap()).build().unwrap();
    let pair = before.create_token_pair(NewSession::new("42")).await.unwrap();
    assert_eq!(read_part(pair.access().as_str(), 0)["kid"], "old");
    expect_on(&after, "signed by the retired key", pair.access().as_str(), Outcome::Ok).await;
    let renewed = after.refresh(pair.refresh().as_str()).await.expect("a session of before");
    let mut issued = issue_every_way(&after, NewSession::new("42")).await;
    issued.push(("renewed", TokenType::Access, renewed.access().as_str().to_owned()));
    issued.push(("renewed", TokenType::Refresh, renewed.refresh().as_str().to_owned()));
    let only_new = service(KeySet::signing(new)).build().unwrap();
    for (what, kind, token) in issued {
        assert_eq!(read_part(&token, 0)["kid"], "new", "{what}");
        only_new.validate_jwt_stateless(&token, kind).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(before.validate_jwt_stateless(&token, kind).is_err(), "{what}: it was signed by the retired key");
    }
}

#[tokio::test]
async fn isu_14_no_token_is_issued_without_an_end() {
    // The only constructor of claims requires a lifetime. No setter removes `exp`, and there is no
    // public field and no `Default`. So the test shows that every way writes `exp`, and that custom
    // claims neither write nor hide it.
    let fixture = Fixture::new();
    for (what, _, token) in issue_every_way(&fixture.tokens, NewSession::new("42")).await {
        assert!(read_part(&token, 1)["exp"].is_u64(), "{what}");
    }
    let keys = KeySet::signing(hs256());
    let lifetime = Duration::from_secs(60);
    let with = |custom: Value| {
        JwtClaims::new("42", tower_bearer::TokenId::new("j"), TokenType::Access, START, lifetime, custom)
    };
    let plain = encode_jwt(&keys, &with(json!({ "role": "guest" }))).unwrap();
    assert_eq!(read_part(&plain, 1)["exp"], START.as_secs() + 60);
    for custom in [json!({ "exp": null }), json!({ "exp": 0 }), json!({ "exp": "never" }), json!(null), json!("text")] {
        let result = encode_jwt(&keys, &with(custom.clone()));
        assert!(matches!(result, Err(Error::Issue(_))), "{custom}: {result:?}");
    }
    // Whatever is read back and signed anew has an end: without one it cannot be read.
    let read = fixture.tokens.decode_token(&fixture.access("read").await).unwrap();
    assert_eq!(read.expires_at(), START.saturating_add(Duration::from_secs(1800)));
}
