//! Open streams: `ended`, `check`, and what `status` counts.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use futures_util::FutureExt;
use tokio::time::{Instant, sleep, timeout};
use tower_bearer::{
    Claims, Consistency, Cutoff, CutoffCause, Error, MemoryStore, NewSession, SessionId, SessionStore, TokenService,
    TokenType,
    clock::{Clock, ManualClock},
    error::StoreErrorKind,
    issuers::IssuerPolicy,
    tokens::{StreamStatus, TokenPair, TokenServiceBuilder},
};

use crate::{
    access, assert_revoked,
    support::{
        AlteredStore, Behaviour, FaultyStore, HANG, TokioClock, eventually,
        fixture::{self, AUDIENCE, ISSUER, SECRET, START, accepting, issuer},
    },
};

/// So long that nothing in a test is cut or asked about because of it.
const DAY: Duration = Duration::from_secs(86_400);
const S: Duration = Duration::from_secs(32);

fn builder() -> TokenServiceBuilder {
    TokenService::builder().secret(SECRET).issuer(ISSUER).audience(AUDIENCE).stream_staleness(DAY)
}

/// Returns the configuration of a service that accepts only another issuer's tokens.
fn accepting_now() -> TokenServiceBuilder {
    TokenService::builder().accept(issuer(IssuerPolicy::Denylist)).stream_staleness(DAY)
}

fn service(store: &Arc<MemoryStore>, consistency: Consistency) -> TokenService {
    builder().shared_store(store.clone()).consistency(consistency).build().unwrap()
}

const BOUNDED: Consistency = Consistency::BoundedStaleness(Duration::from_secs(3600));

async fn claims_of(tokens: &TokenService, pair: &TokenPair) -> Claims {
    access(tokens, pair.access().as_str()).await.unwrap()
}

async fn log_in(tokens: &TokenService, subject: &str) -> (TokenPair, Claims) {
    let pair = tokens.create_token_pair(NewSession::new(subject)).await.unwrap();
    let claims = claims_of(tokens, &pair).await;
    (pair, claims)
}

async fn open(tokens: &TokenService, subject: &str) -> (TokenPair, Cutoff) {
    let (pair, claims) = log_in(tokens, subject).await;
    let ended = tokens.ended(&claims);
    (pair, ended)
}

async fn cause_of(ended: &mut Cutoff) -> CutoffCause {
    timeout(HANG, ended).await.expect("the stream is not cut")
}

fn is_open(ended: &mut Cutoff) -> bool {
    ended.now_or_never().is_none()
}

async fn counts(tokens: &TokenService) -> StreamStatus {
    tokens.status().await.streams
}

#[tokio::test]
async fn a_revocation_cuts_the_streams_that_it_concerns_and_no_others() {
    for consistency in [Consistency::Strong, BOUNDED] {
        let store = Arc::new(MemoryStore::default());
        // The second service learns of it from the store's log alone.
        let (first, second) = (service(&store, consistency), service(&store, consistency));
        for tokens in [&first, &second] {
            let (token, mut by_token) = open(tokens, "1").await;
            let mut of_session = tokens.ended(&claims_of(tokens, &token).await);
            let successor = tokens.refresh(token.refresh().as_str()).await.unwrap();
            let mut after_refresh = tokens.ended(&claims_of(tokens, &successor).await);
            let (_, mut same_subject) = open(tokens, "1").await;
            let (_, mut other) = open(tokens, "2").await;

            first.revoke_token(token.access().as_str()).await.unwrap();
            assert_eq!(cause_of(&mut by_token).await, CutoffCause::Revoked);
            assert_eq!(cause_of(&mut of_session).await, CutoffCause::Revoked, "it is of the same token");
            assert!(is_open(&mut after_refresh), "another token of the session is not revoked");

            first.revoke_session("1", token.session_id()).await.unwrap();
            assert_eq!(cause_of(&mut after_refresh).await, CutoffCause::Revoked);
            assert!(is_open(&mut same_subject));

            let (spared, mut is_spared) = open(tokens, "1").await;
            first.revoke_all_for_subject_except("1", spared.session_id()).await.unwrap();
            assert_eq!(cause_of(&mut same_subject).await, CutoffCause::Revoked);
            // A later entry of the log has its effect after that of the earlier one.
            let (last, mut last_cutoff) = open(tokens, "3").await;
            first.revoke_session("3", last.session_id()).await.unwrap();
            assert_eq!(cause_of(&mut last_cutoff).await, CutoffCause::Revoked);
            assert!(is_open(&mut is_spared), "{consistency:?}");
            first.revoke_all_for_subject("1").await.unwrap();
            assert_eq!(cause_of(&mut is_spared).await, CutoffCause::Revoked);
            assert!(is_open(&mut other));
            assert_eq!(counts(tokens).await.open, 7);
        }
        let expected = (0, 6, 0, 0);
        for tokens in [first, second] {
            let StreamStatus { open, revoked, expired, unconfirmed, .. } = counts(&tokens).await;
            assert_eq!((open, revoked, expired, unconfirmed), expected);
        }
    }
}

#[tokio::test]
async fn a_refresh_cuts_nothing_and_reuse_cuts_the_session() {
    let store = Arc::new(MemoryStore::default());
    for consistency in [Consistency::Strong, BOUNDED] {
        let tokens =
            builder().shared_store(store.clone()).consistency(consistency).reuse_grace(Duration::ZERO).build().unwrap();
        let (pair, mut ended) = open(&tokens, "1").await;
        tokens.refresh(pair.refresh().as_str()).await.unwrap();
        sleep(Duration::from_millis(30)).await;
        assert!(is_open(&mut ended));
        tokens.refresh(pair.refresh().as_str()).await.unwrap_err();
        assert_eq!(cause_of(&mut ended).await, CutoffCause::Revoked);
    }
}

#[tokio::test]
async fn an_evicted_session_loses_its_streams() {
    for consistency in [Consistency::Strong, BOUNDED] {
        let tokens = builder().store(MemoryStore::default()).consistency(consistency).max_sessions(1).build().unwrap();
        let (_, mut first) = open(&tokens, "1").await;
        let (_, mut second) = open(&tokens, "1").await;
        assert_eq!(cause_of(&mut first).await, CutoffCause::Revoked);
        assert!(is_open(&mut second));
    }
}

#[tokio::test]
async fn a_store_without_a_log_is_asked_at_once_after_a_revocation_of_this_node() {
    let tokens = builder().store(AlteredStore::new(MemoryStore::default()).without_log()).build().unwrap();
    let (pair, mut by_session) = open(&tokens, "1").await;
    let (_, mut by_subject) = open(&tokens, "1").await;
    let (_, mut other) = open(&tokens, "2").await;
    tokens.revoke_session("1", pair.session_id()).await.unwrap();
    assert_eq!(cause_of(&mut by_session).await, CutoffCause::Revoked);
    assert!(is_open(&mut by_subject));
    tokens.revoke_all_for_subject("1").await.unwrap();
    assert_eq!(cause_of(&mut by_subject).await, CutoffCause::Revoked);
    assert!(is_open(&mut other));
}

/// Returns a token that another issuer issues now.
fn foreign(jti: &str, subject: &str, sid: Option<&str>) -> String {
    fixture::foreign(jti, subject, sid, tower_bearer::clock::SystemClock.now())
}

#[tokio::test]
async fn streams_of_other_issuers_are_cut_by_token_session_and_subject() {
    for (has_log, consistency) in [(true, Consistency::Strong), (true, BOUNDED), (false, Consistency::Strong)] {
        // Tokens of the moment in which a store was born may have been denied before.
        let clock = ManualClock::at(tower_bearer::clock::SystemClock.now().saturating_sub(Duration::from_secs(60)));
        let memory = AlteredStore::new(MemoryStore::with_clock(clock.clone()));
        clock.advance(Duration::from_secs(60));
        let memory = if has_log { memory } else { memory.without_log() };
        let store: Arc<dyn SessionStore> = Arc::new(memory);
        let build = || {
            let builder = accepting_now().shared_store(Arc::clone(&store));
            builder.consistency(consistency).build().unwrap()
        };
        let (tokens, other_node) = (build(), build());
        let mut streams = Vec::new();
        for (jti, subject, sid) in
            [("j1", "1", Some("s1")), ("j2", "2", Some("s2")), ("j3", "3", None), ("j4", "4", Some("s4"))]
        {
            let token = foreign(jti, subject, sid);
            let claims = access(&tokens, &token).await.unwrap();
            streams.push((token, tokens.ended(&claims)));
        }
        assert!(streams.iter_mut().all(|(_, ended)| is_open(ended)));
        // Over a store without a log only this node's own revocations are known at once.
        let revoker = if has_log { &other_node } else { &tokens };
        revoker.revoke_token(&streams[0].0).await.unwrap();
        revoker.external(ISSUER).revoke_session(&SessionId::new("s2")).await.unwrap();
        revoker.external(ISSUER).revoke_subject("3").await.unwrap();
        for (_, ended) in &mut streams[..3] {
            assert_eq!(cause_of(ended).await, CutoffCause::Revoked, "{has_log} {consistency:?}");
        }
        assert!(is_open(&mut streams[3].1));
        drop(streams);
        assert_eq!(counts(&tokens).await.open, 0);
    }
}

#[tokio::test]
async fn a_token_that_was_revoked_before_has_no_stream() {
    let store = Arc::new(MemoryStore::default());
    let tokens = service(&store, BOUNDED);
    let (pair, claims) = log_in(&tokens, "1").await;
    tokens.revoke_session("1", pair.session_id()).await.unwrap();
    assert_eq!(tokens.ended(&claims).now_or_never(), Some(CutoffCause::Revoked));
    assert_eq!(counts(&tokens).await.open, 0);
}

#[tokio::test]
async fn without_revocations_a_stream_is_pending_and_may_end_with_its_token() {
    let clock = ManualClock::at(START);
    let issuing = builder().clock(clock.clone()).store(MemoryStore::with_clock(clock.clone())).build().unwrap();
    let stateless = accepting(&clock, IssuerPolicy::Stateless).build().unwrap();
    for tokens in [&stateless, &issuing] {
        let session = NewSession::new("1").access_lifetime(Duration::from_secs(60));
        let token = issuing.create_access_token(session).await.unwrap();
        let claims = access(tokens, token.as_str()).await.unwrap();
        let (mut ended, mut by_expiry) = (tokens.ended(&claims), tokens.ended(&claims).at_expiry());
        let waiting = tokio::spawn(tokens.ended(&claims).at_expiry());
        tokio::task::yield_now().await;
        // The leeway is 5 s.
        clock.advance(Duration::from_millis(64_999));
        assert!(is_open(&mut ended) && is_open(&mut by_expiry));
        drop(by_expiry);
        clock.advance(Duration::from_millis(1));
        let cause = timeout(HANG, waiting).await.expect("a clock that jumps is not noticed").unwrap();
        assert_eq!(cause, CutoffCause::Expired);
        assert!(is_open(&mut ended));
        assert_eq!(counts(tokens).await.expired, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_its_token_and_not_a_moment_later() {
    let clock = TokioClock::new();
    let tokens = builder().clock(clock.clone()).store(MemoryStore::with_clock(clock.clone())).build().unwrap();
    let (_, claims) = log_in(&tokens, "1").await;
    let end = claims.expires_at().saturating_add(Duration::from_secs(5));
    assert_eq!(tokens.ended(&claims).at_expiry().await, CutoffCause::Expired);
    let late = clock.now().saturating_since(end);
    assert!(clock.now() >= end && late <= Duration::from_millis(2), "{late:?}");
}

/// The times, after the store went away, at which streams are cut.
async fn cutoffs_without_a_store(tokens: &TokenService, store: &FaultyStore) -> Vec<Duration> {
    let mut streams = Vec::new();
    for number in 0..200 {
        streams.push(open(tokens, &format!("{number}")).await.1);
    }
    sleep(S).await;
    let asked = store.checks();
    sleep(3 * S).await;
    assert_eq!(store.checks(), asked, "the log proves those that it covers");
    assert!(streams.iter_mut().all(is_open), "a store that answers cuts nothing");
    let away = Instant::now();
    store.answer(Behaviour::Fails(StoreErrorKind::Unavailable));
    let mut times = Vec::new();
    for ended in streams {
        let cut = ended.map(|cause| (cause, Instant::now()));
        times.push(tokio::spawn(cut));
    }
    let mut cut = Vec::new();
    for time in times {
        let (cause, at) = time.await.unwrap();
        assert_eq!(cause, CutoffCause::Unconfirmed);
        cut.push(at - away);
    }
    assert_eq!(counts(tokens).await.unconfirmed, 200);
    cut.sort();
    cut
}

#[tokio::test(start_paused = true)]
async fn without_the_store_streams_are_cut_in_the_second_half_of_their_staleness() {
    for consistency in [Consistency::Strong, Consistency::BoundedStaleness(Duration::from_secs(1))] {
        let clock = TokioClock::new();
        let store = FaultyStore::new(clock.clone());
        let builder = builder().clock(clock).store(store.clone()).stream_staleness(S);
        let tokens = builder.consistency(consistency).build().unwrap();
        let cut = cutoffs_without_a_store(&tokens, &store).await;
        let (first, last) = (cut[0], cut[cut.len() - 1]);
        assert!(first >= S / 2 && last <= S, "{first:?} to {last:?}");
        assert!(last > first + S / 4, "they are spread: {first:?} to {last:?}");
    }
}

/// A lease proves a token only up to the time of the log. A request at the end of a lease must not
/// start the staleness of its stream anew.
#[tokio::test(start_paused = true)]
async fn a_stream_that_a_lease_admitted_is_cut_by_the_age_of_the_log() {
    let clock = TokioClock::new();
    let store = FaultyStore::new(clock.clone());
    let builder = builder().clock(clock).store(store.clone()).stream_staleness(S);
    let tokens = builder.consistency(Consistency::BoundedStaleness(S)).build().unwrap();
    let pair = tokens.create_token_pair(NewSession::new("1")).await.unwrap();
    // The node reads the log, and the horizon passes the token.
    sleep(S).await;
    claims_of(&tokens, &pair).await;
    let away = Instant::now();
    store.answer(Behaviour::Fails(StoreErrorKind::Unavailable));
    sleep(Duration::from_secs(30)).await;
    let claims = claims_of(&tokens, &pair).await;
    let cause = tokens.ended(&claims).await;
    assert_eq!(cause, CutoffCause::Unconfirmed);
    assert!(away.elapsed() <= S, "cut {:?} after the last read", away.elapsed());
}

/// The claims remember a verdict with the version of one replica's data. Another replica may come
/// to the same version.
#[tokio::test]
async fn a_check_of_another_services_claims_does_not_mislead_that_service() {
    let (store, elsewhere) = (Arc::new(MemoryStore::default()), Arc::new(MemoryStore::default()));
    let (one, other) = (service(&store, BOUNDED), service(&elsewhere, BOUNDED));
    // A node decides only about tokens that are newer than its start.
    let decides = async || {
        let (pair, claims) = log_in(&one, "1").await;
        other.check(&claims).await.is_ok().then_some((pair, claims))
    };
    let (pair, claims) = eventually("the other service has a lease", decides).await;
    access(&one, pair.access().as_str()).await.unwrap();
    one.revoke_session("1", pair.session_id()).await.unwrap();
    for round in 0..100 {
        other.check(&claims).await.expect("the other service knows no revocation");
        assert_revoked(access(&one, pair.access().as_str()).await);
        // The version of the other replica's data moves on.
        let (other_pair, _) = log_in(&other, &format!("{round}")).await;
        other.revoke_session(format!("{round}"), other_pair.session_id()).await.unwrap();
    }
}

/// Both services watch the token in the store of the one that verified it.
#[tokio::test]
async fn a_stream_of_another_services_claims_is_cut_by_the_store_of_that_service() {
    let (store, elsewhere) = (Arc::new(MemoryStore::default()), Arc::new(MemoryStore::default()));
    let (one, other) = (service(&store, BOUNDED), service(&elsewhere, BOUNDED));
    let (pair, claims) = log_in(&one, "1").await;
    let mut ended = other.ended(&claims);
    one.revoke_session("1", pair.session_id()).await.unwrap();
    assert_eq!(cause_of(&mut ended).await, CutoffCause::Revoked);
}

#[tokio::test(start_paused = true)]
async fn a_store_without_a_log_is_asked_twice_in_the_staleness_and_then_missed() {
    let clock = TokioClock::new();
    let store = FaultyStore::new(clock.clone());
    let tokens = builder().clock(clock).store(LogLess(store.clone())).stream_staleness(S).build().unwrap();
    let mut streams = Vec::new();
    for number in 0..50 {
        streams.push(open(&tokens, &format!("{number}")).await.1);
    }
    let asked = store.checks();
    sleep(10 * S).await;
    let questions = store.checks() - asked;
    assert!((50 * 19..=50 * 26).contains(&questions), "{questions} questions about 50 streams in 10 S");
    assert!(streams.iter_mut().all(is_open));
    let away = Instant::now();
    store.answer(Behaviour::Hangs);
    let (mut first, mut last) = (S, Duration::ZERO);
    for cut in streams.into_iter().map(|ended| tokio::spawn(ended.map(|cause| (cause, Instant::now())))) {
        let (cause, at) = cut.await.unwrap();
        assert_eq!(cause, CutoffCause::Unconfirmed);
        (first, last) = (first.min(at - away), last.max(at - away));
    }
    assert!(first + S / 16 >= S / 4 && last <= S, "{first:?} to {last:?}");
}

#[tokio::test(start_paused = true)]
async fn a_revocation_by_another_node_over_a_store_without_a_log_is_found_within_the_staleness() {
    let clock = TokioClock::new();
    let store = FaultyStore::new(clock.clone());
    let build = || {
        let builder = builder().clock(clock.clone()).store(LogLess(store.clone())).stream_staleness(S);
        builder.build().unwrap()
    };
    let (tokens, other) = (build(), build());
    let mut streams = Vec::new();
    for number in 0..20 {
        let (pair, ended) = open(&tokens, &format!("{number}")).await;
        other.revoke_session(format!("{number}"), pair.session_id()).await.unwrap();
        streams.push(ended);
    }
    let revoked = Instant::now();
    for ended in streams {
        assert_eq!(ended.await, CutoffCause::Revoked);
        assert!(revoked.elapsed() <= S / 2 + S / 16, "{:?}", revoked.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_revocation_in_the_unread_part_of_a_log_cuts_its_streams() {
    let clock = TokioClock::new();
    let store = FaultyStore::new(clock.clone());
    let tokens = builder().clock(clock.clone()).store(store.clone()).stream_staleness(S);
    let tokens = tokens.consistency(Consistency::BoundedStaleness(Duration::from_secs(1))).build().unwrap();
    let (pair, mut ended) = open(&tokens, "1").await;
    sleep(S).await;
    assert!(is_open(&mut ended));
    // The store comes back empty: the session is gone, and no entry says so.
    store.lose_everything();
    let lost = Instant::now();
    assert_eq!(timeout(3 * S, ended).await, Ok(CutoffCause::Revoked));
    assert!(lost.elapsed() <= S / 2 + S / 8, "{:?}", lost.elapsed());
    drop(pair);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_stream_is_counted_and_asked_about_no_more() {
    let clock = TokioClock::new();
    let store = FaultyStore::new(clock.clone());
    let tokens = builder().clock(clock).store(LogLess(store.clone())).stream_staleness(S).build().unwrap();
    let (_, first) = open(&tokens, "1").await;
    let (_, second) = open(&tokens, "1").await;
    assert_eq!(counts(&tokens).await.open, 2);
    drop(first);
    assert_eq!(counts(&tokens).await.open, 1);
    drop(second);
    assert_eq!(counts(&tokens).await.open, 0);
    let asked = store.checks();
    sleep(3 * S).await;
    assert_eq!(store.checks(), asked);
}

#[tokio::test]
async fn ten_thousand_streams_of_one_subject_are_cut_together() {
    let store = Arc::new(MemoryStore::default());
    let tokens = service(&store, BOUNDED);
    let (_, claims) = log_in(&tokens, "1").await;
    let streams: Vec<_> = (0..10_000).map(|_| tokens.ended(&claims)).collect();
    tokens.revoke_all_for_subject("1").await.unwrap();
    for ended in streams {
        assert_eq!(ended.now_or_never(), Some(CutoffCause::Revoked));
    }
    let counted = counts(&tokens).await;
    assert_eq!((counted.open, counted.revoked), (0, 10_000));
}

/// A waker that drops another stream, as a task does that holds several.
struct Drops {
    streams: Mutex<Vec<Cutoff>>,
    woken: AtomicUsize,
}

impl Wake for Drops {
    fn wake(self: Arc<Self>) {
        self.woken.fetch_add(1, Ordering::SeqCst);
        let streams = std::mem::take(&mut *self.streams.lock().unwrap());
        drop(streams);
    }
}

#[tokio::test]
async fn a_waker_may_drop_and_open_streams() {
    let store = Arc::new(MemoryStore::default());
    let tokens = service(&store, BOUNDED);
    let (_, claims) = log_in(&tokens, "1").await;
    let others: Vec<_> = (0..10).map(|_| tokens.ended(&claims)).collect();
    let drops = Arc::new(Drops { streams: Mutex::new(others), woken: AtomicUsize::new(0) });
    let waker = Waker::from(Arc::clone(&drops));
    let mut ended = pin!(tokens.ended(&claims));
    let mut late = pin!(tokens.ended(&claims));
    for stream in [ended.as_mut(), late.as_mut()] {
        assert_eq!(stream.poll(&mut Context::from_waker(&waker)), Poll::Pending);
    }
    timeout(HANG, tokens.revoke_all_for_subject("1").into_future()).await.unwrap().unwrap();
    assert_eq!(drops.woken.load(Ordering::SeqCst), 2);
    assert_eq!(counts(&tokens).await.open, 2);
}

#[test]
fn streams_are_cut_when_the_runtime_of_their_watcher_ends_and_later_ones_have_another() {
    let store = Arc::new(MemoryStore::default());
    let tokens = builder().shared_store(store).build().unwrap();
    let run = || tokio::runtime::Runtime::new().unwrap();
    let first = run();
    let (pair, mut ended) = first.block_on(open(&tokens, "1"));
    assert!(is_open(&mut ended));
    drop(first);
    assert_eq!(ended.now_or_never(), Some(CutoffCause::Unconfirmed));
    run().block_on(async {
        let mut ended = tokens.ended(&claims_of(&tokens, &pair).await);
        tokens.revoke_session("1", pair.session_id()).await.unwrap();
        assert_eq!(cause_of(&mut ended).await, CutoffCause::Revoked);
    });
}

#[tokio::test]
async fn an_open_stream_and_claims_keep_the_tasks_and_nothing_else_does() {
    let store = Arc::new(MemoryStore::default());
    let (tokens, other) = (service(&store, BOUNDED), service(&store, Consistency::Strong));
    let (pair, mut ended) = open(&tokens, "1").await;
    drop(tokens);
    other.revoke_session("1", pair.session_id()).await.unwrap();
    assert_eq!(cause_of(&mut ended).await, CutoffCause::Revoked);
    drop((ended, other));
    eventually("the tasks end", async || (Arc::strong_count(&store) == 1).then_some(())).await;
}

#[tokio::test]
async fn a_check_of_claims_sees_every_revocation() {
    for (is_own, consistency) in
        [(true, Consistency::Strong), (true, BOUNDED), (false, Consistency::Strong), (false, BOUNDED)]
    {
        let clock = ManualClock::at(tower_bearer::clock::SystemClock.now().saturating_sub(Duration::from_secs(60)));
        let store = MemoryStore::with_clock(clock.clone());
        clock.advance(Duration::from_secs(60));
        let tokens = if is_own { builder() } else { accepting_now() };
        let tokens = tokens.store(store).consistency(consistency).build().unwrap();
        for revoke in [0, 1, 2] {
            let (token, sid) = if is_own {
                let pair = tokens.create_token_pair(NewSession::new("1")).await.unwrap();
                (pair.access().as_str().to_owned(), pair.session_id().clone())
            } else {
                let sid = format!("s{revoke}");
                (foreign(&format!("j{revoke}"), "1", Some(&sid)), SessionId::new(sid))
            };
            let claims = access(&tokens, &token).await.unwrap();
            tokens.check(&claims).await.unwrap();
            let revocation = match revoke {
                0 => tokens.revoke_token(&token),
                1 if is_own => tokens.revoke_session("1", &sid),
                1 => tokens.external(ISSUER).revoke_session(&sid),
                _ if is_own => tokens.revoke_all_for_subject("1"),
                _ => tokens.external(ISSUER).revoke_subject("1"),
            };
            revocation.await.unwrap();
            assert_revoked(tokens.check(&claims).await);
        }
    }
}

#[tokio::test]
async fn a_check_of_claims_sees_times_and_a_store_that_fails() {
    let clock = ManualClock::at(START);
    let store = FaultyStore::new(clock.clone());
    let tokens = builder().clock(clock.clone()).store(store.clone()).build().unwrap();
    let (pair, claims) = log_in(&tokens, "1").await;
    store.answer(Behaviour::Late);
    tokens.check(&claims).await.unwrap();
    let refresh = tokens.validate_token(pair.refresh().as_str(), TokenType::Refresh).await.unwrap();
    tokens.check(&refresh).await.unwrap();
    store.answer(Behaviour::Fails(StoreErrorKind::Unavailable));
    assert!(matches!(tokens.check(&claims).await, Err(Error::Store(_))));
    store.answer(Behaviour::AtOnce);
    clock.advance(Duration::from_secs(30 * 60 + 5));
    let error = crate::token_error(tokens.check(&claims).await);
    assert!(matches!(error, tower_bearer::error::TokenError::Expired { .. }), "{error}");
}

#[test]
fn a_stream_staleness_that_cannot_work_is_refused() {
    let build = |staleness: Duration| {
        let builder = TokenService::builder().secret(SECRET).store(MemoryStore::default());
        builder.stream_staleness(staleness).build().map_err(|error| error.setting()).err()
    };
    for staleness in [Duration::ZERO, Duration::from_millis(499), DAY + Duration::from_millis(1), Duration::MAX] {
        assert_eq!(build(staleness), Some("stream_staleness"), "{staleness:?}");
    }
    for staleness in [Duration::from_millis(500), DAY] {
        assert_eq!(build(staleness), None, "{staleness:?}");
    }
}

#[tokio::test]
async fn a_stream_staleness_below_that_of_requests_is_refused() {
    let build = |streams, requests| {
        let builder = TokenService::builder().secret(SECRET).store(MemoryStore::default());
        builder.stream_staleness(streams).consistency(Consistency::BoundedStaleness(requests)).build()
    };
    let second = Duration::from_secs(1);
    assert_eq!(build(second, 2 * second).unwrap_err().setting(), "stream_staleness");
    build(second, second).unwrap();
}

/// A store that hides the log of another.
struct LogLess(FaultyStore);

mod log_less {
    use tower_bearer::{
        SessionId, SessionStore, Subject, TokenId,
        clock::Timestamp,
        store::{Checked, OpenSession, Opened, Page, Revoked, RotateRefresh, Rotated, SessionPage, StoreAnswer},
    };

    impl SessionStore for super::LogLess {
        fn open(&self, open: OpenSession) -> StoreAnswer<Opened> {
            self.0.open(open)
        }

        fn check(&self, subject: &Subject, sid: &SessionId, jti: &TokenId) -> StoreAnswer<Checked> {
            self.0.check(subject, sid, jti)
        }

        fn rotate(&self, rotate: RotateRefresh) -> StoreAnswer<Rotated> {
            self.0.rotate(rotate)
        }

        fn revoke_session(&self, subject: &Subject, sid: &SessionId) -> StoreAnswer<Revoked> {
            self.0.revoke_session(subject, sid)
        }

        fn revoke_token(&self, subject: &Subject, jti: &TokenId, until: Timestamp) -> StoreAnswer<Revoked> {
            self.0.revoke_token(subject, jti, until)
        }

        fn revoke_all(&self, subject: &Subject, except: Option<&SessionId>) -> StoreAnswer<Revoked> {
            self.0.revoke_all(subject, except)
        }

        fn sessions(&self, subject: &Subject, page: Page) -> StoreAnswer<SessionPage> {
            self.0.sessions(subject, page)
        }

        fn ping(&self) -> StoreAnswer<Timestamp> {
            self.0.ping()
        }

        fn now(&self) -> Timestamp {
            self.0.now()
        }
    }
}
