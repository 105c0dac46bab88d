//! The observations of a service: each event once, with its labels, and without ids.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::FutureExt;
use tower_bearer::{
    Consistency, MemoryStore, NewSession, Renewal, TokenService, TokenType,
    error::StoreErrorKind,
    observe::{
        CacheLookup, CheckReason, CheckResult, Decider, Observation, RefreshResult, SessionEnd, StoreOperation,
        StoreOutcome, StreamCause,
    },
    tokens::Refreshing,
};

use crate::{
    access,
    support::{
        Behaviour, Fixture, HANG, Observations, bad_tokens, eventually,
        fixture::{AUDIENCE, ISSUER, SECRET, pair},
    },
};

fn observed() -> (Observations, Fixture) {
    let observations = Observations::default();
    let fixture = Fixture::with(|builder| builder.observer(observations.clone()).max_sessions(2));
    (observations, fixture)
}

/// Returns the checks: result, reason, decider, and true if the check waited.
fn checks(observations: &Observations) -> Vec<(CheckResult, CheckReason, Decider, bool)> {
    let all = observations.take().into_iter();
    all.filter_map(|observation| match observation {
        Observation::Check { result, reason, decided_by, duration, .. } => {
            Some((result, reason, decided_by, duration.is_some()))
        }
        _ => None,
    })
    .collect()
}

#[tokio::test]
async fn each_check_of_an_access_token_is_observed_with_its_reason() {
    let (observations, fixture) = observed();
    let login = pair(&fixture.tokens, "42").await;
    let text = login.access().as_str();
    let accepted = |waited| vec![(CheckResult::Accepted, CheckReason::None, Decider::Store, waited)];
    observations.take();

    access(&fixture.tokens, text).await.unwrap();
    let claims = access(&fixture.tokens, text).await.unwrap();
    assert_eq!(checks(&observations), [accepted(false), accepted(false)].concat(), "new, then cached");
    fixture.tokens.check(&claims).await.unwrap();
    assert_eq!(checks(&observations), accepted(false));
    fixture.store.answer(Behaviour::Late);
    access(&fixture.tokens, text).await.unwrap();
    assert_eq!(checks(&observations), accepted(true));
    fixture.tokens.validate_token(login.refresh().as_str(), TokenType::Refresh).await.unwrap();
    assert_eq!(checks(&observations), [], "a refresh token is no access token");

    for kind in [StoreErrorKind::Timeout, StoreErrorKind::Unavailable] {
        fixture.store.answer(Behaviour::Fails(kind));
        access(&fixture.tokens, text).await.unwrap_err();
        let failed = (CheckResult::Failed, CheckReason::Store(kind), Decider::None, true);
        assert_eq!(checks(&observations), [failed]);
    }
    fixture.store.answer(Behaviour::AtOnce);
    fixture.tokens.revoke_session("42", login.session_id()).await.unwrap();
    access(&fixture.tokens, text).await.unwrap_err();
    assert_eq!(checks(&observations), [(CheckResult::Refused, CheckReason::Revoked, Decider::Store, false)]);
    access(&fixture.tokens, "no token").await.unwrap_err();
    assert_eq!(checks(&observations), [(CheckResult::Refused, CheckReason::Malformed, Decider::None, false)]);
    fixture.advance(86_400);
    access(&fixture.tokens, text).await.unwrap_err();
    assert_eq!(checks(&observations), [(CheckResult::Refused, CheckReason::Expired, Decider::None, false)]);

    let hanging = pair(&fixture.tokens, "43").await;
    fixture.store.answer(Behaviour::Hangs);
    observations.take();
    assert!(access(&fixture.tokens, hanging.access().as_str()).now_or_never().is_none());
    assert_eq!(checks(&observations), [], "a check whose future is dropped has no result");
}

/// Returns the result and the cache lookup of each check.
fn lookups(observations: &Observations) -> Vec<(CheckResult, CacheLookup)> {
    let all = observations.take().into_iter();
    all.filter_map(|observation| match observation {
        Observation::Check { result, lookup, .. } => Some((result, lookup)),
        _ => None,
    })
    .collect()
}

#[tokio::test]
async fn each_check_is_observed_with_its_cache_lookup() {
    for behaviour in [Behaviour::AtOnce, Behaviour::Late] {
        let (observations, fixture) = observed();
        let login = pair(&fixture.tokens, "42").await;
        let text = login.access().as_str();
        fixture.store.answer_only("check", behaviour);
        observations.take();
        access(&fixture.tokens, text).await.unwrap();
        let claims = access(&fixture.tokens, text).await.unwrap();
        let accepted = |lookup| (CheckResult::Accepted, lookup);
        assert_eq!(lookups(&observations), [CacheLookup::Miss, CacheLookup::Hit].map(accepted), "{behaviour:?}");
        fixture.tokens.check(&claims).await.unwrap();
        assert_eq!(lookups(&observations), [accepted(CacheLookup::None)], "{behaviour:?}: claims in place of a token");
        fixture.tokens.revoke_session("42", login.session_id()).await.unwrap();
        access(&fixture.tokens, text).await.unwrap_err();
        fixture.advance(86_400);
        access(&fixture.tokens, text).await.unwrap_err();
        let refused = |lookup| (CheckResult::Refused, lookup);
        assert_eq!(lookups(&observations), [CacheLookup::Hit; 2].map(refused), "{behaviour:?}: revoked, then expired");
        access(&fixture.tokens, "no token").await.unwrap_err();
        access(&fixture.tokens, &"a".repeat(100_000)).await.unwrap_err();
        assert_eq!(lookups(&observations), [CacheLookup::Miss, CacheLookup::None].map(refused), "{behaviour:?}: bad");
    }
}

#[tokio::test]
async fn a_service_without_a_cache_makes_no_lookup() {
    let observations = Observations::default();
    let fixture = Fixture::with(|builder| builder.observer(observations.clone()).verified_cache(0, 0));
    let login = pair(&fixture.tokens, "42").await;
    observations.take();
    for _ in 0..2 {
        access(&fixture.tokens, login.access().as_str()).await.unwrap();
    }
    assert_eq!(lookups(&observations), [(CheckResult::Accepted, CacheLookup::None); 2]);
}

#[tokio::test]
async fn every_bad_token_is_observed_once_as_refused() {
    let observations = Observations::default();
    let fixture = Fixture::with(|builder| builder.observer(observations.clone()));
    let texts = bad_tokens(&fixture).await;
    for (name, text) in &texts {
        observations.take();
        access(&fixture.tokens, text).await.unwrap_err();
        let checks = checks(&observations);
        assert_eq!(checks.len(), 1, "{name}: {checks:?}");
        assert_eq!(checks[0].0, CheckResult::Refused, "{name}");
    }
}

#[tokio::test]
async fn sessions_and_refreshes_are_observed_with_their_causes() {
    let (observations, fixture) = observed();
    let tokens = &fixture.tokens;
    let sessions = |observations: &Observations| {
        let all = observations.take().into_iter();
        let kept = all.filter(|observation| {
            matches!(
                observation,
                Observation::SessionOpened | Observation::SessionEnded { .. } | Observation::Refresh { .. }
            )
        });
        kept.map(|observation| match observation {
            Observation::SessionOpened => "opened",
            Observation::SessionEnded { cause, .. } => cause.as_str(),
            Observation::Refresh { result, .. } => result.as_str(),
            _ => "",
        })
        .collect::<Vec<_>>()
    };
    let first = pair(tokens, "42").await;
    // A later use, so that the first session is the one to evict.
    fixture.advance(1);
    let second = pair(tokens, "42").await;
    assert_eq!(sessions(&observations), ["opened", "opened"]);
    pair(tokens, "42").await;
    assert_eq!(sessions(&observations), ["evicted", "opened"], "of three sessions two stay");

    tokens.refresh(first.refresh().as_str()).await.unwrap_err();
    assert_eq!(sessions(&observations), ["refused"]);
    let renewed = tokens.refresh(second.refresh().as_str()).await.unwrap();
    tokens.refresh(second.refresh().as_str()).await.unwrap();
    assert_eq!(sessions(&observations), ["rotated", "replayed"]);
    fixture.advance(60);
    tokens.refresh_access_token(renewed.refresh().as_str()).await.unwrap();
    tokens.refresh(second.refresh().as_str()).await.unwrap_err();
    assert_eq!(sessions(&observations), ["not_rotated", "reused", "reused"], "the session's end, and the result");
    fixture.store.answer_only("rotate", Behaviour::Fails(StoreErrorKind::OutOfMemory));
    let third = pair(tokens, "44").await;
    tokens.refresh(third.refresh().as_str()).await.unwrap_err();
    assert_eq!(sessions(&observations), ["opened", "failed"]);

    tokens.revoke_session("44", third.session_id()).await.unwrap();
    tokens.revoke_all_for_subject("44").await.unwrap();
    tokens.revoke_token(third.access().as_str()).await.unwrap();
    assert_eq!(sessions(&observations), ["revoked", "revoked_all"], "a token is no session");
    fixture.store.answer(Behaviour::Fails(StoreErrorKind::Timeout));
    tokens.revoke_all_for_subject("44").await.unwrap_err();
    assert_eq!(sessions(&observations), [""; 0], "nothing is revoked");
}

#[tokio::test]
async fn a_user_whom_the_application_refuses_gets_no_tokens_and_no_reuse_is_counted() {
    let observations = Observations::default();
    let fixture = Fixture::with(|builder| {
        let refuse = |_: Refreshing| async { Ok::<_, tower_bearer::BoxError>(Renewal::Refuse) };
        builder.observer(observations.clone()).on_refresh(refuse)
    });
    let login = pair(&fixture.tokens, "42").await;
    fixture.tokens.refresh(login.refresh().as_str()).await.unwrap_err();
    let is_refused =
        |observation: &Observation| matches!(observation, Observation::Refresh { result: RefreshResult::Refused, .. });
    assert_eq!(observations.count(is_refused), 1);
}

#[tokio::test]
async fn each_call_of_the_store_is_observed() {
    let (observations, fixture) = observed();
    let calls = |observations: &Observations| {
        let all = observations.take().into_iter();
        all.filter_map(|observation| match observation {
            Observation::StoreCall { operation, outcome, duration, .. } => {
                Some((operation, outcome, duration.is_some()))
            }
            _ => None,
        })
        .collect::<Vec<_>>()
    };
    let login = pair(&fixture.tokens, "42").await;
    assert_eq!(calls(&observations), [(StoreOperation::Open, StoreOutcome::Ok, false)]);
    fixture.store.answer(Behaviour::Late);
    access(&fixture.tokens, login.access().as_str()).await.unwrap();
    fixture.tokens.refresh(login.refresh().as_str()).await.unwrap();
    let late = [(StoreOperation::Check, StoreOutcome::Ok, true), (StoreOperation::Rotate, StoreOutcome::Ok, true)];
    assert_eq!(calls(&observations), late);
    fixture.store.answer(Behaviour::Fails(StoreErrorKind::Layout));
    fixture.tokens.status().await;
    let failed = StoreOutcome::Failed(StoreErrorKind::Layout);
    assert_eq!(calls(&observations), [(StoreOperation::Ping, failed, true)]);
    fixture.store.answer(Behaviour::Hangs);
    assert!(access(&fixture.tokens, login.access().as_str()).now_or_never().is_none());
    assert_eq!(calls(&observations), [(StoreOperation::Check, StoreOutcome::Dropped, true)]);
}

#[tokio::test]
async fn an_observer_that_panics_changes_no_result() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let fixture = Fixture::with(|builder| {
        builder.observer(move |_: &Observation| {
            counted.fetch_add(1, Ordering::SeqCst);
            panic!("a test's panic, which is caught");
        })
    });
    let login = pair(&fixture.tokens, "42").await;
    access(&fixture.tokens, login.access().as_str()).await.unwrap();
    let renewed = fixture.tokens.refresh(login.refresh().as_str()).await.unwrap();
    fixture.tokens.revoke_session("42", renewed.session_id()).await.unwrap();
    access(&fixture.tokens, renewed.access().as_str()).await.unwrap_err();
    assert!(calls.load(Ordering::SeqCst) >= 8, "the observer is called again after a panic");
}

fn node(store: &Arc<MemoryStore>, observations: &Observations) -> TokenService {
    TokenService::builder()
        .secret(SECRET)
        .issuer(ISSUER)
        .audience(AUDIENCE)
        .shared_store(store.clone())
        .consistency(Consistency::BoundedStaleness(Duration::from_secs(60)))
        .poll_interval(Duration::from_millis(20))
        .observer(observations.clone())
        .build()
        .unwrap()
}

#[tokio::test]
async fn the_replica_reports_its_state_and_the_delay_of_revocations() {
    let store = Arc::new(MemoryStore::default());
    // The first page of both nodes will contain this revocation.
    let earlier = TokenService::builder().secret(SECRET).shared_store(store.clone()).build().unwrap();
    earlier.revoke_session("42", &"an-earlier-session".into()).await.unwrap();
    let (near, far) = (Observations::default(), Observations::default());
    let (here, there) = (node(&store, &near), node(&store, &far));
    let leased = |observation: &Observation| matches!(observation, Observation::Replica { leased_buckets, buckets, .. } if leased_buckets == buckets);
    for observations in [&near, &far] {
        eventually("a leased replica is reported", async || (observations.count(leased) > 0).then_some(())).await;
    }
    let is_propagation = |observation: &Observation| matches!(observation, Observation::RevocationPropagated { .. });
    assert_eq!(far.count(is_propagation), 0, "the first page of a start is not observed");
    let login = pair(&here, "42").await;
    access(&there, login.access().as_str()).await.unwrap();
    here.revoke_session("42", login.session_id()).await.unwrap();
    eventually("the revocation is read", async || (far.count(is_propagation) > 0).then_some(())).await;
    access(&there, login.access().as_str()).await.unwrap_err();
    let all = far.take();
    let delays: Vec<_> = all
        .iter()
        .filter_map(|observation| match observation {
            Observation::RevocationPropagated { delay, .. } => Some(*delay),
            _ => None,
        })
        .collect();
    assert_eq!(delays.len(), 1, "one revocation is observed once: {delays:?}");
    assert!(delays[0] < HANG);
    let refused = |observation: &&Observation| {
        matches!(observation, Observation::Check { reason: CheckReason::Revoked, decided_by: Decider::Replica, .. })
    };
    assert_eq!(all.iter().filter(refused).count(), 1);
    let is_cache = |observation: &Observation| matches!(observation, Observation::Cache { .. });
    eventually("the cache is reported", async || (far.count(is_cache) > 0).then_some(())).await;
}

#[tokio::test]
async fn open_and_cut_streams_are_observed() {
    let (observations, fixture) = observed();
    let login = pair(&fixture.tokens, "42").await;
    let claims = access(&fixture.tokens, login.access().as_str()).await.unwrap();
    let streams = |observations: &Observations| {
        let is_stream = |observation: &Observation| {
            matches!(observation, Observation::StreamOpened | Observation::StreamClosed | Observation::StreamCut { .. })
        };
        observations.take().into_iter().filter(is_stream).collect::<Vec<_>>()
    };
    drop(fixture.tokens.ended(&claims));
    assert_eq!(streams(&observations), [Observation::StreamOpened, Observation::StreamClosed]);
    let ended = fixture.tokens.ended(&claims);
    fixture.tokens.revoke_session("42", login.session_id()).await.unwrap();
    tokio::time::timeout(HANG, ended).await.unwrap();
    let seen = streams(&observations);
    assert_eq!((seen.len(), seen[0], seen[2]), (3, Observation::StreamOpened, Observation::StreamClosed), "{seen:?}");
    assert!(matches!(seen[1], Observation::StreamCut { cause: StreamCause::Revoked, .. }), "{seen:?}");
    // A revocation is a session's end, and not one for each stream.
    let ends =
        |observation: &Observation| matches!(observation, Observation::SessionEnded { cause: SessionEnd::Revoked, .. });
    assert_eq!(observations.count(ends), 0, "taken with the streams");
}

#[cfg(feature = "bcrypt")]
#[tokio::test]
async fn hashes_and_comparisons_of_passwords_are_measured() {
    let observations = Observations::default();
    let hasher = tower_bearer::password::PasswordHasher::new(4).unwrap();
    let hasher = hasher.observer(observations.clone()).max_concurrent(std::num::NonZeroUsize::MIN);
    let hash = hasher.hash("right").await.unwrap();
    for (password, hash) in [("right", Some(hash.as_str())), ("wrong", Some(&hash)), ("unknown", None)] {
        hasher.verify_or_dummy(password, hash).await.unwrap();
    }
    let is_hash = |observation: &Observation| matches!(observation, Observation::PasswordHashed { .. });
    let is_verify = |observation: &Observation| matches!(observation, Observation::PasswordVerified { .. });
    assert_eq!((observations.count(is_hash), observations.count(is_verify)), (1, 3));
}

/// Observations are `Copy`, so they contain no text but that of labels.
#[tokio::test]
async fn no_observation_shows_an_id() {
    let (observations, fixture) = observed();
    let login = fixture.tokens.create_token_pair(NewSession::new("the-subject")).await.unwrap();
    access(&fixture.tokens, login.access().as_str()).await.unwrap();
    fixture.tokens.refresh(login.refresh().as_str()).await.unwrap();
    fixture.tokens.revoke_all_for_subject("the-subject").await.unwrap();
    let text = format!("{:?}", observations.take());
    assert!(text.contains("SessionOpened"), "{text}");
    assert!(!text.contains("the-subject") && !text.contains(login.session_id().as_str()), "{text}");
}
