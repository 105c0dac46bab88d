//! STO: the token store and revocation.
//!
//! The nodes of a row are two services, each with its own store on one real Redis.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use redis::aio::MultiplexedConnection;
use serde_json::{Value, json};
use tower_bearer::{
    Consistency, Error, NewSession, RedisStore, SessionId, TokenPair, TokenService, TokenType,
    clock::{Clock, SystemClock},
    error::TokenError,
};

use crate::{
    application::{Application, Tokens, assert_unavailable, password_of},
    subject::{Outcome, Subject, expect_on, send},
    support::{
        Monitor, RedisServer, eventually,
        fixture::{ISSUER, SECRET, read_part, sign},
        monitor::unescaped,
        redis_fixture::{denylist_on, node, node_on},
        secrets::Secrets,
        token_parts::HEADER,
    },
};

/// The timeout of stores that must not fail. It is long, because a machine may be busy.
const PATIENCE: Duration = Duration::from_secs(30);
async fn two_nodes(server: &RedisServer) -> [TokenService; 2] {
    [node(&server.url(), |builder| builder).await, node(&server.url(), |builder| builder).await]
}

async fn log_in(tokens: &TokenService) -> TokenPair {
    tokens.create_token_pair(NewSession::new("alice").scope("read")).await.unwrap()
}

fn texts(pair: &TokenPair) -> Tokens {
    Tokens { access: pair.access().as_str().to_owned(), refresh: pair.refresh().as_str().to_owned() }
}

/// Returns the claims of a live token with these changes, signed with the service's real key.
fn minted(living: &str, changes: &[(&str, Value)]) -> String {
    let mut claims = read_part(living, 1);
    for (name, value) in changes {
        claims[*name] = value.clone();
    }
    sign(HEADER, &claims.to_string())
}

#[tokio::test]
async fn sto_01_a_token_that_is_signed_well_and_was_never_stored_is_invalid() {
    // The store knows sessions, so a thief of the key can only create tokens of a live session
    // whose id and user the thief knows. The store refuses all others.
    let server = RedisServer::start();
    let redis = node(&server.url(), |builder| builder).await;
    let subject = Subject::new();
    for (store, tokens) in [("memory", &subject.fixture.tokens), ("redis", &redis)] {
        let alice = tokens.create_token_pair(NewSession::new("alice")).await.unwrap();
        let bob = tokens.create_token_pair(NewSession::new("bob")).await.unwrap();
        let stranger = "AAAAAAAAAAAAAAAAAAAAAA";
        let living = alice.access().as_str();
        expect_on(tokens, store, &minted(living, &[]), Outcome::Ok).await;
        for (what, changes) in [
            (
                "a session that was never opened",
                vec![("sid", json!(stranger)), ("jti", json!(format!("{stranger}.0.a")))],
            ),
            ("another user's session", vec![("sid", json!(bob.session_id()))]),
            ("a user who has no session", vec![("sub", json!("carol"))]),
            (
                "a session id in another case",
                vec![("sid", json!(alice.session_id().as_str().to_lowercase().to_uppercase()))],
            ),
            ("the session id and more", vec![("sid", json!(format!("{} ", alice.session_id())))]),
            ("the session id cut", vec![("sid", json!(&alice.session_id().as_str()[..21]))]),
            // The names of the store's own fields in a user's hash are no sessions.
            ("the field of the generation", vec![("sid", json!("g"))]),
            ("the field of the highest generation", vec![("sid", json!("o"))]),
            ("the record's name in the store", vec![("sid", json!(format!("={}", alice.session_id())))]),
            ("the mark of a revoked token", vec![("sid", json!(format!("!{}", alice.session_id())))]),
        ] {
            let what = format!("{store}: {what}");
            expect_on(tokens, &what, &minted(living, &changes), Outcome::InvalidToken).await;
        }
        let mut without = read_part(living, 1);
        without.as_object_mut().unwrap().remove("sid");
        expect_on(tokens, "no session at all", &sign(HEADER, &without.to_string()), Outcome::InvalidToken).await;

        let mut refresh = read_part(alice.refresh().as_str(), 1);
        refresh["sid"] = json!(stranger);
        refresh["jti"] = json!(format!("{stranger}.0.r"));
        let refresh = sign(r#"{"alg":"HS256","typ":"rt+jwt"}"#, &refresh.to_string());
        Application::of(tokens).refuses_refresh(store, &refresh).await;
        expect_on(tokens, store, living, Outcome::Ok).await;
    }
    // The same under the subject, which also sees that nothing is written or logged.
    let claims = subject.claims().await;
    for (name, value) in [("sid", "AAAAAAAAAAAAAAAAAAAAAA"), ("sub", "43")] {
        let mut claims = claims.clone();
        claims[name] = json!(value);
        subject.expect_token(name, &sign(HEADER, &claims.to_string()), Outcome::InvalidToken).await;
    }
}

#[tokio::test]
async fn sto_02_a_revoked_token_is_invalid_at_the_very_next_request_on_every_node() {
    let server = RedisServer::start();
    let [here, there] = two_nodes(&server).await;
    for (way, session_too) in
        [("token", false), ("refresh token", true), ("session", true), ("all", true), ("logout", true)]
    {
        let pair = log_in(&here).await;
        let tokens = texts(&pair);
        for node in [&here, &there] {
            expect_on(node, way, &tokens.access, Outcome::Ok).await;
        }
        match way {
            "token" => drop(here.revoke_token(&tokens.access).await.unwrap()),
            "refresh token" => drop(here.revoke_token(&tokens.refresh).await.unwrap()),
            "session" => drop(here.revoke_session("alice", pair.session_id()).await.unwrap()),
            "all" => drop(here.revoke_all_for_subject("alice").await.unwrap()),
            _ => assert_eq!(Application::of(&here).log_out(&tokens.access).await.status, 200),
        }
        // The other node first: it has heard of nothing.
        for (place, node) in [("the other node", &there), ("the same node", &here)] {
            let what = format!("{way}, on {place}");
            expect_on(node, &what, &tokens.access, Outcome::InvalidToken).await;
            if session_too {
                let refused = node.validate_token(&tokens.refresh, TokenType::Refresh).await;
                assert!(matches!(refused, Err(Error::Token(TokenError::Revoked { .. }))), "{what}: {refused:?}");
            } else {
                node.validate_token(&tokens.refresh, TokenType::Refresh)
                    .await
                    .expect("only the access token was revoked");
            }
        }
    }
    // On memory the subject also sees that a rejection writes and logs nothing.
    let subject = Subject::new();
    let token = subject.valid().await;
    subject.expect_token("V", &token, Outcome::Ok).await;
    subject.fixture.tokens.revoke_token(&token).await.unwrap();
    subject.expect_token("revoked", &token, Outcome::InvalidToken).await;
}

#[tokio::test]
async fn sto_05_without_redis_nobody_is_let_in_and_nobody_is_called_invalid_until_it_is_back() {
    // A Redis that keeps its data, so that what comes back is not only the connection.
    let mut server = RedisServer::start_with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let store = RedisStore::builder(server.url()).timeout(Duration::from_secs(1)).connect().await.unwrap();
    let tokens = node_on(store, |builder| builder);
    let app = Application::of(&tokens);
    let pair = texts(&log_in(&tokens).await);
    let forged = format!("{}.{}", pair.access.rsplit_once('.').unwrap().0, pair.refresh.rsplit_once('.').unwrap().1);
    let down = async |what: &str| {
        expect_on(&tokens, what, &pair.access, Outcome::Unavailable).await;
        // What the signature alone decides is no 503.
        expect_on(&tokens, what, &forged, Outcome::InvalidToken).await;
        // Optional means that a token may be absent, not that it may go unchecked.
        let optional = tower_bearer::AuthLayer::new(tokens.clone()).optional();
        for (grpc, media) in [(false, "application/json"), (true, "application/grpc")] {
            let inner = crate::subject::Inner::default();
            let request = crate::subject::bearer(&pair.access).header("content-type", media);
            let request = request.body(http_body_util::Full::<bytes::Bytes>::default()).unwrap();
            let answer = send(tower::Layer::layer(&optional, inner.clone()), request).await;
            answer.assert_refused(what, Outcome::Unavailable, grpc);
            assert_eq!(inner.calls(), 0, "{what}");
        }
        assert_unavailable(what, &app.try_login("alice", &password_of("alice")).await);
        assert_unavailable(what, &app.try_refresh(&pair.refresh).await);
        let revoked = tokens.revoke_token(&pair.access).await;
        assert!(matches!(revoked, Err(Error::Store(_))), "{what}: a revocation that was not made: {revoked:?}");
    };
    let up = async |what: &str| {
        eventually(what, async || tokens.validate_token(&pair.access, TokenType::Access).await.ok()).await;
        expect_on(&tokens, what, &pair.access, Outcome::Ok).await;
    };
    server.kill();
    down("killed").await;
    server.restart();
    up("started again").await;

    // A Redis that hangs may do later what it was asked meanwhile, so only what changes nothing is
    // asked.
    server.pause();
    expect_on(&tokens, "paused", &pair.access, Outcome::Unavailable).await;
    server.resume();
    up("resumed").await;
    app.log_in("alice").await;
}

#[tokio::test]
async fn sto_07_after_a_flush_no_session_is_known_and_a_denylist_takes_nothing_older_than_its_memory() {
    let server = RedisServer::start();
    let [tokens, other] = two_nodes(&server).await;
    let mut admin = server.admin().await;
    let first = texts(&log_in(&tokens).await);
    expect_on(&tokens, "before", &first.access, Outcome::Ok).await;
    flush(&mut admin).await;
    for node in [&tokens, &other] {
        expect_on(node, "after the flush", &first.access, Outcome::InvalidToken).await;
        Application::of(node).refuses_refresh("after the flush", &first.refresh).await;
    }
    let again = texts(&log_in(&tokens).await);
    expect_on(&other, "a login after the flush", &again.access, Outcome::Ok).await;
    Application::of(&other).renew(&again).await;

    // A lost denylist contains no revocation. As documented, it refuses every token from before its
    // creation, so that no revoked token becomes valid again.
    let store = RedisStore::builder(server.url()).prefix("deny").timeout(PATIENCE).connect().await.unwrap();
    let deny = denylist_on(store, |builder| builder.leeway(Duration::ZERO));
    let issued_in = |seconds: i64, id: &str| {
        let now = i64::try_from(SystemClock.now().as_secs()).unwrap() + seconds;
        let changes = [("iat", json!(now)), ("exp", json!(now + 600)), ("sub", json!(id)), ("jti", json!(id))];
        minted(&first.access, &changes)
    };
    // The first question makes the memory, which then begins with that second.
    let _ = deny.validate_token(&issued_in(0, "first"), TokenType::Access).await;
    let (revoked, token) = eventually("a token that is younger than the memory", async || {
        let (revoked, token) = (issued_in(0, "revoked"), issued_in(0, "free"));
        deny.validate_token(&token, TokenType::Access).await.ok().map(|_| (revoked, token))
    })
    .await;
    deny.revoke_token(&revoked).await.unwrap();
    expect_on(&deny, "denied", &revoked, Outcome::InvalidToken).await;
    expect_on(&deny, "not denied", &token, Outcome::Ok).await;
    flush(&mut admin).await;
    for (what, token) in [("denied before the flush", &revoked), ("not denied before the flush", &token)] {
        expect_on(&deny, what, token, Outcome::InvalidToken).await;
    }
    eventually("tokens of after the flush are taken", async || {
        deny.validate_token(&issued_in(0, "late"), TokenType::Access).await.ok()
    })
    .await;
}

/// The row's bound is that of a cache. Here it is what is configured: none, or that of a replica of
/// the log; and none in either case on the node that revoked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sto_14_a_request_that_starts_after_a_revocation_returned_and_the_bound_is_refused_on_every_node() {
    let server = RedisServer::start();
    let bounded = Consistency::BoundedStaleness(Duration::from_millis(250));
    for (consistency, bound) in [(Consistency::Strong, Duration::ZERO), (bounded, Duration::from_millis(250))] {
        let node = async || node(&server.url(), |builder| builder.consistency(consistency)).await;
        let [here, there] = [node().await, node().await];
        for round in 0..30 {
            let token = log_in(&there).await.access().as_str().to_owned();
            // Requests are under way on both nodes all the time, so that one that joined an answer
            // already asked for would be seen.
            let returned = Arc::new(OnceLock::<Instant>::new());
            let mut requests = tokio::task::JoinSet::new();
            for (node, bound) in [(&here, bound), (&there, Duration::ZERO), (&here, bound), (&there, Duration::ZERO)] {
                let (node, token, returned) = (node.clone(), token.clone(), Arc::clone(&returned));
                requests.spawn(async move {
                    let (mut accepted, mut refused_after) = (0, 0);
                    while refused_after < 5 {
                        let after = returned.get().map(Instant::elapsed);
                        match node.validate_token(&token, TokenType::Access).await {
                            Ok(_) if after.is_some_and(|after| after >= bound) => {
                                panic!("{consistency:?}, round {round}: accepted {after:?} after the revocation had returned")
                            }
                            Ok(_) => accepted += 1,
                            Err(Error::Token(TokenError::Revoked { .. })) => refused_after += usize::from(after.is_some()),
                            Err(error) => panic!("{consistency:?}, round {round}: {error}"),
                        }
                        // What is decided here never waits.
                        tokio::task::yield_now().await;
                    }
                    accepted
                });
            }
            for node in [&here, &there] {
                node.validate_token(&token, TokenType::Access).await.expect("it lives, and both nodes have seen it");
            }
            there.revoke_token(&token).await.unwrap();
            returned.set(Instant::now()).unwrap();
            let accepted: usize = requests.join_all().await.into_iter().sum();
            assert!(accepted > 0 || round > 0, "nobody ever asked before the revocation");
            expect_on(&there, "the node that revoked", &token, Outcome::InvalidToken).await;
            expect_on(&here, "the other node", &token, Outcome::InvalidToken).await;
        }
    }
}

#[tokio::test]
async fn sto_16_after_a_thousand_issues_every_key_of_a_user_ends_and_the_log_is_trimmed() {
    let server = RedisServer::start();
    let mut admin = server.admin().await;
    let store = RedisStore::builder(server.url()).buckets(4).timeout(PATIENCE).connect().await.unwrap();
    let tokens = node_on(store, |builder| builder.max_sessions(20));
    // What was revoked a month ago is in every bucket's log.
    let long_ago = SystemClock.now().saturating_sub(Duration::from_secs(30 * 86_400)).as_millis();
    for bucket in 0..4 {
        for n in 0..300 {
            let mut add = redis::cmd("XADD");
            add.arg(format!("tb:{{{bucket}}}:log")).arg(format!("{}-0", long_ago + n)).arg("n").arg("1");
            add.exec_async(&mut admin).await.unwrap();
        }
    }
    for n in 0..1000 {
        let user = format!("user-{}", n % 40);
        let label = if n % 3 == 0 { "Firefox" } else { "" };
        let session = NewSession::new(&user).label(label).session_lifetime(Duration::from_secs(3600 + n));
        match n % 5 {
            0 => drop(tokens.create_access_token(session).await.unwrap()),
            1 => {
                let token = tokens.create_access_token(session).await.unwrap();
                tokens.revoke_token(token.as_str()).await.unwrap();
            }
            2 => {
                let pair = tokens.create_token_pair(session).await.unwrap();
                tokens.refresh(pair.refresh().as_str()).await.unwrap();
            }
            3 => {
                let pair = tokens.create_token_pair(session).await.unwrap();
                tokens.revoke_session(&user, pair.session_id()).await.unwrap();
            }
            _ => drop(tokens.create_refresh_token(session).await.unwrap()),
        }
    }
    for n in 0..40 {
        tokens.revoke_all_for_subject(format!("nobody-{n}")).await.unwrap();
    }
    // Revocations of another issuer's tokens are keys too.
    let store = RedisStore::builder(server.url()).buckets(4).timeout(PATIENCE).connect().await.unwrap();
    let deny = denylist_on(store, |builder| builder);
    for n in 0..10 {
        deny.external(ISSUER).revoke_session(&format!("session-{n}").into()).await.unwrap();
    }

    let keys = scan(&mut admin).await;
    assert!(keys.iter().filter(|key| key.contains(":u:user-")).count() == 40, "{keys:?}");
    assert!(keys.iter().any(|key| key.contains(":i:user-")) && keys.iter().any(|key| key.contains(":d:")), "{keys:?}");
    for key in &keys {
        let ttl: i64 = redis::cmd("PTTL").arg(key).query_async(&mut admin).await.unwrap();
        if key.ends_with("}:m") {
            assert_eq!(ttl, -1, "{key} says what the others mean and must not go away before them");
        } else {
            // The longest session of a user ends within the configured 30 days; nothing has to be
            // remembered for longer.
            assert!((1..=32 * 86_400_000).contains(&ttl), "{key}: {ttl}");
        }
    }
    for bucket in 0..4 {
        let log = format!("tb:{{{bucket}}}:log");
        let mut range = redis::cmd("XRANGE");
        range.arg(&log).arg("-").arg(long_ago + 1000);
        let old: Vec<redis::Value> = range.query_async(&mut admin).await.unwrap();
        // Redis trims by whole nodes of its stream, of a hundred entries each.
        assert!(old.len() <= 100, "{log} still has {} of 300 entries of a month ago", old.len());
    }
}

#[tokio::test]
async fn sto_17_neither_keys_nor_values_nor_commands_hold_any_part_of_a_token() {
    let server = RedisServer::start();
    let mut admin = server.admin().await;
    let monitor = Monitor::start(server.port(), None);
    let tokens = node(&server.url(), |builder| builder.reuse_grace(Duration::ZERO)).await;
    let app = Application::of(&tokens);
    let mut secrets = Secrets::default();
    secrets.add("the signing secret", SECRET);
    secrets.add("a password", password_of("alice"));
    let mut given: Vec<String> = Vec::new();
    let mut saw = |pair: &Tokens| given.extend([pair.access.clone(), pair.refresh.clone()]);

    let (lives, rotated, reused) = (app.log_in("alice").await, app.log_in("alice").await, app.log_in("bob").await);
    let next = app.renew(&rotated).await;
    let successor = app.renew(&reused).await;
    for pair in [&lives, &rotated, &reused, &next, &successor] {
        saw(pair);
    }
    let sid = read_part(&next.access, 1)["sid"].as_str().unwrap().to_owned();
    app.accepts("lives", &lives).await;
    app.refuses_refresh("reused", &reused.refresh).await;
    app.refuses("reused", &reused).await;
    app.refuses("the successor of a reused one", &successor).await;
    tokens.revoke_token(&next.access).await.unwrap();
    app.log_out(&lives.access).await;
    let alone = tokens.refresh_access_token(&next.refresh).await.unwrap();
    tokens.revoke_token(alone.as_str()).await.unwrap();
    given.push(alone.as_str().to_owned());
    let deny = RedisStore::builder(server.url()).prefix("deny").timeout(PATIENCE).connect().await.unwrap();
    let deny = denylist_on(deny, |builder| builder);
    deny.revoke_token(&lives.access).await.unwrap();
    expect_on(&deny, "denied", &lives.access, Outcome::InvalidToken).await;

    for token in &given {
        secrets.add("a token", token);
        // Nor the signature's own bytes, of which a store could have made its key.
        secrets.add("a signature", URL_SAFE_NO_PAD.decode(token.rsplit('.').next().unwrap()).unwrap());
    }
    let mut everything = Vec::new();
    let keys = scan(&mut admin).await;
    assert!(keys.len() > 4, "{keys:?}");
    for key in &keys {
        everything.extend_from_slice(key.as_bytes());
        everything.push(b'\n');
        everything.extend(values(&mut admin, key).await);
    }
    assert!(everything.windows(sid.len()).any(|window| window == sid.as_bytes()), "it holds the session {sid}");
    secrets.must_not_be_in("a key or a value", &everything);
    let told = monitor.until(&sid).await;
    secrets.must_not_be_in("a command", &told);
    secrets.must_not_be_in("a command, byte for byte", unescaped(&told));
}

#[tokio::test]
async fn sto_20_revoking_all_of_a_user_ends_every_session_of_that_user_and_nobody_elses() {
    let server = RedisServer::start();
    let [here, there] = two_nodes(&server).await;
    let app = Application::of(&here);
    let other = Application::sharing(&there, &app.users);
    let bob = app.log_in("bob").await;
    let sessions = [app.log_in("alice").await, other.log_in("alice").await, app.log_in("alice").await];
    // One session has rotated, so both of its access tokens must end. Another one has a further
    // access token.
    let rotated = other.renew(&sessions[0]).await;
    let beside = here.refresh_access_token(&sessions[1].refresh).await.unwrap();
    for tokens in sessions.iter().chain([&rotated, &bob]) {
        other.accepts("before", tokens).await;
    }

    here.revoke_all_for_subject("alice").await.unwrap();
    for node in [&other, &app] {
        for tokens in sessions.iter().chain([&rotated]) {
            node.refuses("after", tokens).await;
        }
        expect_on(&node.tokens, "beside", beside.as_str(), Outcome::InvalidToken).await;
        node.accepts("bob", &bob).await;
    }
    other.accepts("bob, renewed", &other.renew(&bob).await).await;
    // It ends sessions, not the account.
    let again = other.log_in("alice").await;
    app.accepts("alice, logged in again", &again).await;
    app.renew(&again).await;

    // All but the current one.
    let gone = app.log_in("alice").await;
    let kept = read_part(&again.access, 1)["sid"].as_str().unwrap().into();
    there.revoke_all_for_subject_except("alice", &kept).await.unwrap();
    app.refuses("not the one that is kept", &gone).await;
    app.accepts("the one that is kept", &again).await;
}

#[tokio::test]
async fn sto_23_ending_one_session_leaves_its_siblings_as_they_are() {
    let server = RedisServer::start();
    let redis = node(&server.url(), |builder| builder).await;
    let subject = Subject::new();
    for (store, tokens) in [("memory", &subject.fixture.tokens), ("redis", &redis)] {
        let app = Application::of(tokens);
        for way in ["revoke_session", "revoke_token of the refresh token", "logout", "DELETE /sessions"] {
            let what = format!("{store}: {way}");
            let (phone, lost, desk) = (app.log_in("alice").await, app.log_in("alice").await, app.log_in("alice").await);
            let sid = SessionId::from(read_part(&lost.access, 1)["sid"].as_str().unwrap());
            match way {
                "revoke_session" => assert!(tokens.revoke_session("alice", &sid).await.unwrap().found, "{what}"),
                "logout" => assert_eq!(app.log_out(&lost.access).await.status, 200, "{what}"),
                "DELETE /sessions" => {
                    let mut request =
                        crate::subject::bearer(&phone.access).body(http_body_util::Full::default()).unwrap();
                    *request.method_mut() = http::Method::DELETE;
                    *request.uri_mut() = format!("/sessions/{sid}").parse().unwrap();
                    assert_eq!(send(app.endpoints.revoke_session(), request).await.status, 204, "{what}");
                }
                _ => assert!(tokens.revoke_token(&lost.refresh).await.unwrap().found, "{what}"),
            }
            app.refuses(&what, &lost).await;
            for sibling in [&phone, &desk] {
                app.accepts(&what, sibling).await;
                app.accepts(&what, &app.renew(sibling).await).await;
            }
        }
    }
}

#[tokio::test]
async fn sto_26_a_changed_password_or_a_disabled_account_ends_every_session() {
    let server = RedisServer::start();
    let redis = node(&server.url(), |builder| builder).await;
    let subject = Subject::new();
    for (store, tokens) in [("memory", &subject.fixture.tokens), ("redis", &redis)] {
        for disabled in [false, true] {
            let what = format!("{store}, disabled: {disabled}");
            let app = Application::of(tokens);
            let bob = app.log_in("bob").await;
            let sessions = [app.log_in("alice").await, app.log_in("alice").await, app.log_in("alice").await];
            let rotated = app.renew(&sessions[2]).await;
            // What the docs of `revoke_all_for_subject` ask for: first the new state of the
            // account, then the revocation.
            if disabled {
                app.users.disable("alice");
            } else {
                app.users.set_password("alice", "another TEST password");
            }
            tokens.revoke_all_for_subject("alice").await.unwrap();
            for tokens in sessions.iter().chain([&rotated]) {
                app.refuses(&what, tokens).await;
            }
            subject.fixture.advance(1);
            assert_eq!(app.try_login("alice", &password_of("alice")).await.status, 401, "{what}");
            let new = app.try_login("alice", "another TEST password").await;
            assert_eq!(new.status, if disabled { 401 } else { 200 }, "{what}");
            app.accepts(&what, &bob).await;
            app.renew(&bob).await;
        }
    }
}

async fn flush(admin: &mut MultiplexedConnection) {
    redis::cmd("FLUSHALL").exec_async(admin).await.unwrap();
}

/// Returns all keys of the server.
async fn scan(admin: &mut MultiplexedConnection) -> Vec<String> {
    let (mut keys, mut cursor) = (Vec::new(), 0_u64);
    loop {
        let (next, page): (u64, Vec<String>) =
            redis::cmd("SCAN").arg(cursor).arg("COUNT").arg(1000).query_async(admin).await.unwrap();
        keys.extend(page);
        cursor = next;
        if cursor == 0 {
            return keys;
        }
    }
}

/// Returns all names and values under a key, one after the other.
async fn values(admin: &mut MultiplexedConnection, key: &str) -> Vec<u8> {
    let kind: String = redis::cmd("TYPE").arg(key).query_async(admin).await.unwrap();
    let mut read = match kind.as_str() {
        "hash" => redis::cmd("HGETALL"),
        "string" => redis::cmd("GET"),
        "stream" => redis::cmd("XRANGE"),
        other => panic!("{key} is a {other}"),
    };
    read.arg(key);
    if kind == "stream" {
        read.arg("-").arg("+");
    }
    let mut bytes = Vec::new();
    collect(&read.query_async(admin).await.unwrap(), &mut bytes);
    bytes
}

fn collect(value: &redis::Value, bytes: &mut Vec<u8>) {
    match value {
        redis::Value::BulkString(text) => bytes.extend_from_slice(text),
        redis::Value::SimpleString(text) => bytes.extend_from_slice(text.as_bytes()),
        redis::Value::Array(values) => values.iter().for_each(|value| collect(value, bytes)),
        redis::Value::Map(pairs) => {
            for (name, value) in pairs {
                collect(name, bytes);
                collect(value, bytes);
            }
        }
        other => bytes.extend_from_slice(format!("{other:?}").as_bytes()),
    }
    bytes.push(b'\n');
}
