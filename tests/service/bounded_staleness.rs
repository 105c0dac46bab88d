//! Bounded staleness, with a clock and a store that the test controls.
//!
//! `tests/replica/bounded_staleness` tests it with faults on a real Redis.

use std::{sync::Arc, time::Duration};

use serde_json::json;
use tower::{Layer, ServiceExt, service_fn};
use tower_bearer::{
    AuthLayer, Consistency, Error, MemoryStore, NewSession, TokenService, TokenType,
    clock::{Clock, ManualClock},
    error::{StoreErrorKind, TokenError},
    issuers::IssuerPolicy,
    store::{
        DenyRequest, Denylist, ExternalId, LogPage, LogPosition, LogQuery, Revocation, RevocationLog, SessionStore,
    },
    tokens::{ReplicaState, ReplicaStatus, SecurityEvent, TokenServiceBuilder},
};

use crate::{
    Events, access, assert_dead, assert_revoked, pair, refresh,
    support::{
        AlteredStore, Behaviour, FaultyStore, Fixture, STORE_ERRORS, eventually,
        fixture::{AUDIENCE, ISSUER, IssuedElsewhere, SECRET, START, accepting, builder, issuer, sign},
    },
};

const D: Duration = Duration::from_secs(1);

fn bounded(builder: TokenServiceBuilder) -> TokenServiceBuilder {
    builder.consistency(Consistency::BoundedStaleness(D))
}

/// Returns another node on the same store, with its own clock.
fn other_node(
    fixture: &Fixture,
    configure: impl FnOnce(TokenServiceBuilder) -> TokenServiceBuilder,
) -> (TokenService, ManualClock) {
    let clock = ManualClock::at(START);
    (configure(bounded(builder(&clock))).store(fixture.store.clone()).build().unwrap(), clock)
}

async fn replica(tokens: &TokenService) -> ReplicaStatus {
    tokens.status().await.replica.unwrap()
}

async fn replica_of(fixture: &Fixture) -> ReplicaStatus {
    replica(&fixture.tokens).await
}

async fn reaches(tokens: &TokenService, state: ReplicaState) -> ReplicaStatus {
    eventually(&format!("{state:?}"), async || Some(replica(tokens).await).filter(|replica| replica.state == state))
        .await
}

/// Returns a fixture whose node has a lease, at a time after all log entries.
async fn leased() -> Fixture {
    let fixture = Fixture::with(bounded);
    reaches(&fixture.tokens, ReplicaState::Leased).await;
    fixture.advance(1);
    reaches(&fixture.tokens, ReplicaState::Leased).await;
    fixture
}

/// Makes the reads of the log hang, after an answer to the read under way.
async fn cut_off(fixture: &Fixture) {
    fixture.store.answer_only("log", Behaviour::Hangs);
    eventually("the next read of the log hangs", async || (fixture.store.waiting() > 0).then_some(())).await;
}

#[tokio::test]
async fn neither_a_token_seen_before_nor_a_new_one_asks_the_store() {
    let fixture = leased().await;
    let before = fixture.store.checks();
    for _ in 0..10_000 {
        let pair = pair(&fixture.tokens).await;
        access(&fixture.tokens, pair.access().as_str()).await.unwrap();
        access(&fixture.tokens, pair.access().as_str()).await.unwrap();
    }
    assert_eq!(fixture.store.checks(), before);
    // Only the store knows whether a refresh token is the newest of its session.
    let pair = pair(&fixture.tokens).await;
    refresh(&fixture.tokens, pair.refresh().as_str()).await.unwrap();
    assert_eq!(fixture.store.checks(), before + 1);
}

#[tokio::test]
async fn a_revocation_made_on_this_node_holds_for_the_next_request() {
    let fixture = leased().await;
    let tokens = &fixture.tokens;
    for round in 0..50 {
        let pair = pair(tokens).await;
        access(tokens, pair.access().as_str()).await.unwrap();
        match round % 3 {
            0 => tokens.revoke_session("42", pair.session_id()).await.unwrap(),
            1 => tokens.revoke_token(pair.access().as_str()).await.unwrap(),
            _ => tokens.revoke_all_for_subject("42").await.unwrap(),
        };
        assert_revoked(access(tokens, pair.access().as_str()).await);
    }
    // The same holds for sessions that reuse or the session cap has ended.
    let stolen = pair(tokens).await;
    let successor = tokens.refresh(stolen.refresh().as_str()).await.unwrap();
    fixture.advance(31);
    reaches(tokens, ReplicaState::Leased).await;
    access(tokens, successor.access().as_str()).await.unwrap();
    assert!(tokens.refresh(stolen.refresh().as_str()).await.is_err());
    assert_revoked(access(tokens, successor.access().as_str()).await);
    let capped = Fixture::with(|builder| bounded(builder).max_sessions(1));
    reaches(&capped.tokens, ReplicaState::Leased).await;
    capped.advance(1);
    let evicted = pair(&capped.tokens).await;
    pair(&capped.tokens).await;
    assert_revoked(access(&capped.tokens, evicted.access().as_str()).await);
}

#[tokio::test]
async fn a_node_that_is_cut_off_decides_for_so_long_and_then_asks() {
    let fixture = leased().await;
    let tokens = &fixture.tokens;
    let (here, gone) = (pair(tokens).await, pair(tokens).await);
    let (other, _) = other_node(&fixture, |builder| builder);
    cut_off(&fixture).await;
    other.revoke_session("42", gone.session_id()).await.unwrap();
    // The lease counts by the node's clock from the start of the last answered read.
    fixture.clock.advance(Duration::from_millis(999));
    let asked = fixture.store.checks();
    access(tokens, here.access().as_str()).await.unwrap();
    access(tokens, gone.access().as_str()).await.unwrap();
    assert_eq!(fixture.store.checks(), asked, "the lease lives");
    fixture.clock.advance(Duration::from_millis(1));
    access(tokens, here.access().as_str()).await.unwrap();
    assert_revoked(access(tokens, gone.access().as_str()).await);
    assert_eq!(fixture.store.checks(), asked + 2);
    for kind in STORE_ERRORS {
        fixture.store.answer(Behaviour::Fails(kind));
        assert!(matches!(access(tokens, here.access().as_str()).await, Err(Error::Store(_))), "{kind:?}");
    }
}

#[tokio::test]
async fn what_was_refused_once_is_refused_without_being_asked_about() {
    let fixture = leased().await;
    let gone = pair(&fixture.tokens).await;
    let (other, _) = other_node(&fixture, |builder| builder);
    cut_off(&fixture).await;
    other.revoke_session("42", gone.session_id()).await.unwrap();
    fixture.clock.advance(D);
    fixture.store.answer_only("check", Behaviour::Late);
    assert_revoked(access(&fixture.tokens, gone.access().as_str()).await);
    let asked = fixture.store.checks();
    assert_revoked(access(&fixture.tokens, gone.access().as_str()).await);
    assert_eq!(fixture.store.checks(), asked);
}

#[tokio::test]
async fn a_node_sees_at_once_what_it_is_told_to_see() {
    let fixture = leased().await;
    let gone = pair(&fixture.tokens).await;
    let (other, _) = other_node(&fixture, |builder| builder);
    cut_off(&fixture).await;
    let revoked = other.revoke_session("42", gone.session_id()).await.unwrap();
    access(&fixture.tokens, gone.access().as_str()).await.unwrap();
    assert!(!fixture.tokens.has_applied(revoked.position().unwrap()));
    // Applications pass a position as text.
    let position: LogPosition = revoked.position().unwrap().to_string().parse().unwrap();
    assert_eq!(position, *revoked.position().unwrap());
    fixture.tokens.require_position(&position);
    assert_revoked(access(&fixture.tokens, gone.access().as_str()).await);
    fixture.store.answer(Behaviour::AtOnce);
    eventually("the log is read again", async || fixture.tokens.has_applied(&position).then_some(())).await;
    // A position that the node has read needs no store call.
    reaches(&fixture.tokens, ReplicaState::Leased).await;
    fixture.tokens.require_position(&position);
    assert_eq!(replica(&fixture.tokens).await.state, ReplicaState::Leased);
    for text in ["", "0", "0.1", "x.1.inc", "0.x.inc", "0.1.", "-1.1.inc", "0.1.a b"] {
        assert!(text.parse::<LogPosition>().is_err(), "{text}");
    }
}

async fn hello(_: http::Request<()>) -> Result<http::Response<()>, std::convert::Infallible> {
    Ok(http::Response::new(()))
}

#[tokio::test]
async fn strong_asks_the_store_whatever_is_configured() {
    let fixture = leased().await;
    let gone = pair(&fixture.tokens).await;
    let (other, _) = other_node(&fixture, |builder| builder);
    cut_off(&fixture).await;
    other.revoke_session("42", gone.session_id()).await.unwrap();
    let token = gone.access().as_str();
    access(&fixture.tokens, token).await.unwrap();
    let hello = service_fn(hello);
    let request = || http::Request::get("/").header("authorization", format!("Bearer {token}")).body(()).unwrap();
    let layer = AuthLayer::new(fixture.tokens.clone());
    assert_eq!(layer.layer(hello).oneshot(request()).await.unwrap().status(), 200);
    assert_eq!(layer.strong().layer(hello).oneshot(request()).await.unwrap().status(), 401);
    // All layers of a service share what one of them has read.
    assert_revoked(access(&fixture.tokens, token).await);
    assert_revoked(fixture.tokens.validate_token_strong(token, TokenType::Access).await);
}

#[tokio::test]
async fn a_route_that_demands_freshness_decides_within_it_and_asks_beyond_it() {
    let fixture = leased().await;
    let (here, gone) = (pair(&fixture.tokens).await, pair(&fixture.tokens).await);
    let (other, _) = other_node(&fixture, |builder| builder);
    cut_off(&fixture).await;
    other.revoke_session("42", gone.session_id()).await.unwrap();
    let layer = AuthLayer::new(fixture.tokens.clone());
    let age = Duration::from_millis(300);
    let status = async |layer: &AuthLayer, token: &str| {
        let request = http::Request::get("/").header("authorization", format!("Bearer {token}")).body(()).unwrap();
        layer.layer(service_fn(hello)).oneshot(request).await.unwrap().status().as_u16()
    };
    // Each call twice: the second one takes the path of a token that was accepted before.
    let here = here.access().as_str();
    let asked = fixture.store.checks();
    fixture.clock.advance(age);
    for _ in 0..2 {
        assert_eq!(status(&layer.clone().fresher_than(age), here).await, 200);
    }
    assert_eq!(fixture.store.checks(), asked, "just within");
    fixture.clock.advance(Duration::from_millis(1));
    for asks in 1..=2 {
        assert_eq!(status(&layer.clone().fresher_than(age), here).await, 200);
        assert_eq!(fixture.store.checks(), asked + asks, "just beyond");
    }
    // Other routes still decide by the lease, and so does a route whose demand is weaker.
    for lax in [layer.clone(), layer.clone().fresher_than(D), layer.clone().strong().fresher_than(Duration::MAX)] {
        assert_eq!(status(&lax, gone.access().as_str()).await, 200);
    }
    assert_eq!(fixture.store.checks(), asked + 2);
    let strong = AuthLayer::builder(fixture.tokens.clone()).fresher_than(Duration::ZERO).build().unwrap();
    assert_eq!(status(&strong, here).await, 200);
    assert_eq!(fixture.store.checks(), asked + 3);
    let demanding = AuthLayer::builder(fixture.tokens.clone()).fresher_than(age).build().unwrap();
    assert_eq!(status(&demanding, gone.access().as_str()).await, 401);
}

#[tokio::test]
async fn freshness_counts_for_tokens_of_other_issuers_and_changes_nothing_where_the_store_decides() {
    let fixture = Fixture::with(bounded);
    let clock = ManualClock::at(START);
    let node = bounded(accepting(&clock, IssuerPolicy::Denylist)).store(fixture.store.clone()).build().unwrap();
    reaches(&node, ReplicaState::Leased).await;
    // Later than the creation of the store plus the leeway.
    for clock in [&fixture.clock, &clock] {
        clock.advance(60 * D);
    }
    reaches(&node, ReplicaState::Leased).await;
    reaches(&fixture.tokens, ReplicaState::Leased).await;
    let pair = pair(&fixture.tokens).await;
    fixture.store.answer_only("log", Behaviour::Hangs);
    eventually("the next reads of the log hang", async || (fixture.store.waiting() > 1).then_some(())).await;
    let age = Duration::from_millis(300);
    let status = async |layer: AuthLayer| {
        let token = pair.access().as_str();
        let request = http::Request::get("/").header("authorization", format!("Bearer {token}")).body(()).unwrap();
        layer.layer(service_fn(hello)).oneshot(request).await.unwrap().status().as_u16()
    };
    let layer = AuthLayer::new(node.clone()).fresher_than(age);
    let asked = fixture.store.checks();
    clock.advance(age);
    assert_eq!(status(layer.clone()).await, 200);
    assert_eq!(fixture.store.checks(), asked, "just within");
    clock.advance(Duration::from_millis(1));
    assert_eq!(status(layer).await, 200);
    assert_eq!(fixture.store.checks(), asked + 1, "just beyond");

    let stateless = accepting(&clock, IssuerPolicy::Stateless).build().unwrap();
    assert_eq!(status(AuthLayer::new(stateless).fresher_than(age)).await, 200);
    let strong = Fixture::with(|builder| builder);
    let token = crate::pair(&strong.tokens).await;
    let request = http::Request::get("/").header("authorization", format!("Bearer {}", token.access().as_str()));
    let layer = AuthLayer::new(strong.tokens.clone()).fresher_than(Duration::MAX);
    let asked = strong.store.checks();
    let response = layer.layer(service_fn(hello)).oneshot(request.body(()).unwrap()).await.unwrap();
    assert_eq!((response.status().as_u16(), strong.store.checks()), (200, asked + 1));
}

#[tokio::test(start_paused = true)]
async fn everywhere_waits_as_long_as_any_node_may_decide_by_old_knowledge() {
    let store = Arc::new(MemoryStore::default());
    let node = |staleness: Duration| {
        let builder = TokenService::builder().secret(SECRET).shared_store(store.clone());
        builder.consistency(Consistency::BoundedStaleness(staleness)).build().unwrap()
    };
    let strong = TokenService::builder().secret(SECRET).shared_store(store.clone()).build().unwrap();
    let began = tokio::time::Instant::now();
    strong.revoke_all_for_subject("42").everywhere().await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO, "no node has a replica");
    let _nodes = [node(D), node(3 * D), node(2 * D)];
    strong.revoke_session("42", &"s".into()).everywhere().await.unwrap();
    assert!(began.elapsed() >= 3 * D, "{:?}", began.elapsed());
    assert!(began.elapsed() < 4 * D, "{:?}", began.elapsed());
    let began = tokio::time::Instant::now();
    strong.revoke_session("42", &"s".into()).await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO);
    // An error is returned at once.
    let stateless = TokenService::builder().accept(issuer(IssuerPolicy::Stateless)).build().unwrap();
    assert!(stateless.revoke_session("42", &"s".into()).everywhere().await.is_err());
    assert!(stateless.external(ISSUER).revoke_subject("42").everywhere().await.is_err());
}

#[tokio::test]
async fn tokens_of_before_the_horizon_are_asked_about_once_and_those_that_live_too_long_each_time() {
    let fixture = Fixture::with(|builder| builder);
    let old = pair(&fixture.tokens).await;
    fixture.tokens.revoke_session("1", &"x".into()).await.unwrap();
    fixture.advance(3700);
    // The log keeps an hour, so it begins after `old` was issued.
    fixture.tokens.revoke_session("1", &"y".into()).await.unwrap();
    let (node, clock) = other_node(&fixture, |builder| builder.max_access_lifetime(Duration::from_secs(86_400)));
    reaches(&node, ReplicaState::Leased).await;
    let long = NewSession::new("42").access_lifetime(Duration::from_secs(7200));
    fixture.advance(1);
    let long = node.create_access_token(long).await.unwrap();
    let young = pair(&fixture.tokens).await;
    clock.set(fixture.store.now());
    let asked = fixture.store.checks();
    access(&node, young.access().as_str()).await.unwrap();
    assert_eq!(fixture.store.checks(), asked);
    access(&node, long.as_str()).await.unwrap();
    assert_eq!(fixture.store.checks(), asked + 1);
    // At this time the token has not expired.
    clock.set(START);
    access(&node, old.access().as_str()).await.unwrap();
    assert_eq!(fixture.store.checks(), asked + 2);
    // The session was alive after the horizon, so the store need not be asked again.
    access(&node, old.access().as_str()).await.unwrap();
    assert_eq!(fixture.store.checks(), asked + 2);
    // The log does not cover the whole life of a token that lives too long.
    clock.set(fixture.store.now());
    access(&node, long.as_str()).await.unwrap();
    assert_eq!(fixture.store.checks(), asked + 3);
    // The log contains revocations from now on.
    clock.set(START);
    let revoked = fixture.tokens.revoke_session("42", old.session_id()).await.unwrap();
    node.require_position(revoked.position().unwrap());
    eventually("the node has read it", async || node.has_applied(revoked.position().unwrap()).then_some(())).await;
    let asked = fixture.store.checks();
    assert_revoked(access(&node, old.access().as_str()).await);
    assert_eq!(fixture.store.checks(), asked);
}

#[tokio::test]
async fn what_a_store_has_lost_stays_in_force_and_is_told_to_it_again() {
    let events = Events::default();
    let fixture = Fixture::with(|builder| bounded(builder).on_event(events.hook()));
    let tokens = &fixture.tokens;
    reaches(tokens, ReplicaState::Leased).await;
    fixture.advance(1);
    let gone = pair(tokens).await;
    let revoked = tokens.revoke_session("42", gone.session_id()).await.unwrap();
    eventually("it is read", async || tokens.has_applied(revoked.position().unwrap()).then_some(())).await;
    fixture.store.lose_everything();
    assert_dead_or_unknown(tokens, gone.access().as_str()).await;
    assert!(tokens.refresh(gone.refresh().as_str()).await.is_err());
    let log = async || fixture.store.read(0, LogQuery::from_start()).await.unwrap();
    eventually("it is told again", async || (log().await.sequence == 1).then_some(())).await;
    assert_eq!(
        log().await.entries[0].revocation,
        Revocation::Session { subject: "42".into(), sid: gone.session_id().clone() }
    );
    let told = eventually("the application is told", async || Some(events.take()).filter(|told| told.len() == 2)).await;
    let expected = [SecurityEvent::RevocationsLost { count: 1 }, SecurityEvent::RevocationsRepublished { count: 1 }];
    assert_eq!(told, expected);
    // One check by the store is enough.
    reaches(tokens, ReplicaState::Leased).await;
    assert_eq!(log().await.sequence, 1);
}

#[tokio::test]
async fn what_this_node_has_revoked_holds_though_the_store_loses_it_before_anybody_has_read_it() {
    let events = Events::default();
    let fixture = Fixture::with(|builder| bounded(builder).on_event(events.hook()));
    let tokens = &fixture.tokens;
    reaches(tokens, ReplicaState::Leased).await;
    fixture.advance(1);
    let (gone, stolen) = (pair(tokens).await, pair(tokens).await);
    let next = tokens.refresh(stolen.refresh().as_str()).await.unwrap();
    tokens.refresh(next.refresh().as_str()).await.unwrap();
    cut_off(&fixture).await;
    tokens.revoke_session("42", gone.session_id()).await.unwrap();
    assert!(matches!(tokens.refresh(stolen.refresh().as_str()).await, Err(Error::Token(TokenError::Reused))));
    let asked = fixture.store.checks();
    for pair in [&gone, &stolen] {
        assert_revoked(access(tokens, pair.access().as_str()).await);
    }
    assert_eq!(fixture.store.checks(), asked);
    drop(events.take());
    fixture.store.lose_everything();
    fixture.store.answer(Behaviour::AtOnce);
    let log = async || fixture.store.read(0, LogQuery::from_start()).await.unwrap();
    eventually("it is told again", async || (log().await.sequence == 2).then_some(())).await;
    let told = eventually("the application is told", async || Some(events.take()).filter(|told| told.len() == 2)).await;
    let expected = [SecurityEvent::RevocationsLost { count: 2 }, SecurityEvent::RevocationsRepublished { count: 2 }];
    assert_eq!(told, expected);
}

async fn assert_dead_or_unknown(tokens: &TokenService, token: &str) {
    assert!(matches!(access(tokens, token).await, Err(Error::Token(_))));
}

#[tokio::test]
async fn the_status_tells_who_decides_and_why() {
    let fixture = leased().await;
    let status = fixture.tokens.status().await;
    assert_eq!(status.consistency, tower_bearer::tokens::ConsistencyStatus::Bounded);
    let replica = status.replica.unwrap();
    assert_eq!((replica.leased_buckets, replica.buckets, replica.staleness_bound_ms), (1, 1, 1000));
    assert_eq!(replica.reason, None);
    cut_off(&fixture).await;
    fixture.clock.advance(D);
    let replica = reaches(&fixture.tokens, ReplicaState::Unavailable).await;
    assert_eq!((replica.leased_buckets, replica.reason), (0, Some("the store does not answer in time")));
    for kind in STORE_ERRORS {
        fixture.store.answer(Behaviour::Fails(kind));
        let reason = match kind {
            StoreErrorKind::Timeout => "the store does not answer in time",
            StoreErrorKind::Layout => "the store was set up with another layout",
            StoreErrorKind::Untrusted => "the store's log cannot be understood",
            StoreErrorKind::Rejected => "the store refuses to be read: check the rights of its user",
            _ => "the store is unavailable",
        };
        eventually(reason, async || (replica_of(&fixture).await.reason == Some(reason)).then_some(())).await;
        assert_eq!(replica_of(&fixture).await.state, ReplicaState::Unavailable);
    }
    fixture.store.answer(Behaviour::AtOnce);
    reaches(&fixture.tokens, ReplicaState::Leased).await;
    let json = serde_json::to_value(fixture.tokens.status().await).unwrap();
    assert_eq!((&json["consistency"], &json["replica"]["state"]), (&"bounded".into(), &"leased".into()));
    let strong = serde_json::to_value(Fixture::new().tokens.status().await).unwrap();
    assert_eq!((&strong["consistency"], strong.get("replica")), (&"strong".into(), None));
}

#[tokio::test]
async fn the_task_ends_with_the_last_handle() {
    let clock = ManualClock::at(START);
    let store: Arc<dyn SessionStore> = Arc::new(FaultyStore::new(clock.clone()));
    let tokens = bounded(builder(&clock)).shared_store(Arc::clone(&store)).build().unwrap();
    reaches(&tokens, ReplicaState::Leased).await;
    let last = tokens.clone();
    drop(tokens);
    reaches(&last, ReplicaState::Leased).await;
    drop(last);
    eventually("the task lets go of the store", async || (Arc::strong_count(&store) == 1).then_some(())).await;
}

#[test]
fn outside_of_a_runtime_the_error_says_so() {
    let clock = ManualClock::at(START);
    let error = bounded(builder(&clock)).store(FaultyStore::new(clock.clone())).build().unwrap_err();
    assert_eq!(error.setting(), "consistency");
    assert!(error.to_string().contains("runtime"), "{error}");
    // Without a log to follow, the service needs no runtime.
    builder(&clock).store(MemoryStore::default()).build().unwrap();
}

#[test]
fn a_service_that_outlives_its_runtime_asks_the_store() {
    let clock = ManualClock::at(START);
    let store = FaultyStore::new(clock.clone());
    let first = tokio::runtime::Runtime::new().unwrap();
    let tokens = first.block_on(async {
        let tokens = bounded(builder(&clock)).store(store.clone()).build().unwrap();
        reaches(&tokens, ReplicaState::Leased).await;
        tokens
    });
    drop(first);
    clock.advance(D);
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let replica = replica(&tokens).await;
        assert_eq!(replica.state, ReplicaState::Unavailable);
        assert!(replica.reason.unwrap().contains("runtime"), "{replica:?}");
        let asked = store.checks();
        let pair = pair(&tokens).await;
        access(&tokens, pair.access().as_str()).await.unwrap();
        tokens.revoke_session("42", pair.session_id()).await.unwrap();
        assert_dead(&tokens, &pair).await;
        assert!(store.checks() > asked);
    });
}

#[tokio::test]
async fn bounds_and_intervals_that_cannot_work_are_refused() {
    let clock = ManualClock::at(START);
    let setting = |configure: &dyn Fn(TokenServiceBuilder) -> TokenServiceBuilder| {
        configure(builder(&clock).store(FaultyStore::new(clock.clone()))).build().map_err(|error| error.setting()).err()
    };
    let millis = Duration::from_millis;
    for staleness in [Duration::ZERO, millis(19), Duration::from_secs(3601), Duration::MAX] {
        let refused = setting(&|builder| builder.consistency(Consistency::BoundedStaleness(staleness)));
        assert_eq!(refused, Some("consistency"), "{staleness:?}");
    }
    for interval in [Duration::ZERO, millis(501), Duration::MAX] {
        assert_eq!(setting(&|builder| bounded(builder).poll_interval(interval)), Some("poll_interval"), "{interval:?}");
    }
    for (staleness, interval) in [(millis(20), millis(10)), (Duration::from_secs(3600), Duration::from_secs(1800))] {
        let consistency = Consistency::BoundedStaleness(staleness);
        assert_eq!(setting(&|builder| builder.consistency(consistency).poll_interval(interval)), None);
    }
    let stateless = bounded(accepting(&clock, IssuerPolicy::Stateless)).build().unwrap_err();
    assert_eq!(stateless.setting(), "consistency");
}

#[tokio::test]
async fn tokens_of_other_issuers_are_decided_by_the_log_as_well() {
    let fixture = Fixture::of(|clock| bounded(accepting(clock, IssuerPolicy::Denylist)));
    let tokens = &fixture.tokens;
    reaches(tokens, ReplicaState::Leased).await;
    // Later than the creation of the store plus the leeway.
    fixture.advance(60);
    let foreign = |jti: &str, sub: &str, sid: &str| {
        let token = IssuedElsewhere { lifetime: Duration::from_secs(600), ..IssuedElsewhere::default() };
        token.signed(jti, sub, Some(sid), fixture.store.now())
    };
    let all =
        [foreign("j1", "u1", "s1"), foreign("j2", "u2", "s2"), foreign("j3", "u3", "s3"), foreign("j4", "u4", "s4")];
    reaches(tokens, ReplicaState::Leased).await;
    let asked = fixture.store.checks();
    for token in &all {
        access(tokens, token).await.unwrap();
    }
    assert_eq!(fixture.store.checks(), asked, "none is asked about");
    tokens.revoke_token(&all[0]).await.unwrap();
    tokens.external(ISSUER).revoke_session(&"s2".into()).await.unwrap();
    tokens.external(ISSUER).revoke_subject("u3").await.unwrap();
    for revoked in &all[..3] {
        assert_revoked(access(tokens, revoked).await);
    }
    reaches(tokens, ReplicaState::Leased).await;
    let asked = fixture.store.checks();
    for revoked in &all[..3] {
        assert_revoked(access(tokens, revoked).await);
    }
    access(tokens, &all[3]).await.unwrap();
    assert_eq!(fixture.store.checks(), asked, "what the log says needs no store");
    // Tokens are valid if they are later than the revocation by more than the leeway.
    fixture.advance(20);
    let later = foreign("j5", "u3", "s5");
    reaches(tokens, ReplicaState::Leased).await;
    access(tokens, &later).await.unwrap();
}

#[tokio::test]
async fn a_confirmation_counts_for_no_older_token_of_the_same_subject() {
    let clock = ManualClock::at(START);
    let later = || clock.advance(60 * D);
    // Neither token has a `jti` or a `sid`.
    let token = || {
        let now = clock.now().as_secs();
        let claims = json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": "u1", "iat": now, "exp": now + 600 });
        sign(r#"{"alg":"HS256","typ":"at+jwt"}"#, &claims.to_string())
    };
    // The log was trimmed, so the node learns of the denial only from the store.
    let page = |mut page: LogPage| {
        page.entries.clear();
        page
    };
    let store = Arc::new(AlteredStore { page, ..AlteredStore::new(MemoryStore::with_clock(clock.clone())) });
    later();
    let older = token();
    later();
    store.deny(DenyRequest::new(ISSUER, ExternalId::Subject("u1".into()), 3600 * D)).await.unwrap();
    later();
    let newer = token();
    later();
    let node = bounded(accepting(&clock, IssuerPolicy::Denylist)).shared_store(store).build().unwrap();
    reaches(&node, ReplicaState::Leased).await;
    access(&node, &newer).await.unwrap();
    assert_revoked(access(&node, &older).await);
    access(&node, &newer).await.unwrap();
}
