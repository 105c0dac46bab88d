//! Tokens that carry the stamp of their subject's last revocation, on a node that has not read it.
//!
//! `tests/replica/causal.rs` tests them on a real Redis.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tower_bearer::{
    Consistency, Error, NewSession, NoClaims, TokenPair, TokenService, TokenType,
    clock::{Clock, ManualClock, Timestamp},
    store::{LogStamp, OpenSession, Opened, SessionStore},
    tokens::{ReplicaState, TokenServiceBuilder},
};

use crate::{
    access, assert_revoked, log_in,
    support::{
        Behaviour, Fixture, eventually,
        fixture::{START, builder, read_part, sign},
    },
};

const D: Duration = Duration::from_secs(60);
const CLAIM: &str = "tb_stamp";

fn bounded(builder: TokenServiceBuilder) -> TokenServiceBuilder {
    builder.consistency(Consistency::BoundedStaleness(D))
}

async fn pair_of(tokens: &TokenService, subject: &str) -> TokenPair {
    tokens.create_token_pair(NewSession::new(subject).scope("read")).await.unwrap()
}

async fn is_leased(tokens: &TokenService) -> bool {
    tokens.status().await.replica.unwrap().state == ReplicaState::Leased
}

async fn wait_until_leased(tokens: &TokenService) {
    eventually("a lease", async || is_leased(tokens).await.then_some(())).await;
}

/// Waits until the node has read the log again.
async fn wait_for_a_read(fixture: &Fixture) {
    let calls = fixture.store.calls();
    // The second read starts when the first one has ended.
    eventually("two reads of the log", async || (fixture.store.calls() >= calls + 3).then_some(())).await;
}

/// Returns a fixture whose node has a lease, at a time after all log entries.
async fn leased_with(configure: impl FnOnce(TokenServiceBuilder) -> TokenServiceBuilder) -> Fixture {
    let fixture = Fixture::with(|builder| configure(bounded(builder)));
    wait_until_leased(&fixture.tokens).await;
    fixture.clock.advance(D);
    wait_until_leased(&fixture.tokens).await;
    fixture
}

/// Returns another node on the same store. It always asks the store, so it reads no log.
fn other_node(fixture: &Fixture) -> TokenService {
    builder(&fixture.clock).store(fixture.store.clone()).build().unwrap()
}

/// The number of users of a bucket that a node holds at most.
const MOST_HELD: u32 = 4096;

/// Makes the reads of the log hang, after an answer to the read under way.
async fn cut_off(fixture: &Fixture) {
    fixture.store.answer_only("log", Behaviour::Hangs);
    eventually("the next read of the log hangs", async || (fixture.store.waiting() > 0).then_some(())).await;
}

fn stamp_of(token: &str) -> Option<String> {
    read_part(token, 1).get(CLAIM).map(|stamp| stamp.as_str().unwrap().to_owned())
}

/// Signs the claims of a token once more, with another stamp.
fn with_stamp(token: &str, stamp: impl Into<Value>) -> String {
    let mut claims = read_part(token, 1);
    claims[CLAIM] = stamp.into();
    sign(r#"{"alg":"HS256","typ":"at+jwt"}"#, &claims.to_string())
}

/// Returns a stamp of this time, of an entry that no log has.
fn stamp_at(at: Timestamp, name: u32) -> String {
    let bytes: Vec<u8> = at.as_millis().to_be_bytes().into_iter().chain(name.to_be_bytes()).collect();
    URL_SAFE_NO_PAD.encode(bytes)
}

#[tokio::test]
async fn from_the_first_use_of_a_new_token_a_node_refuses_the_old_one() {
    for round in 0..5 {
        let fixture = leased_with(|builder| builder).await;
        let here = &fixture.tokens;
        let other = builder(&fixture.clock).store(fixture.store.clone());
        let other = if round == 3 { other.max_sessions(2) } else { other }.build().unwrap();
        let (old, stranger) = (pair_of(here, "42").await, pair_of(here, "7").await);
        fixture.clock.advance(Duration::from_millis(1));
        let spare = pair_of(here, "42").await;
        let old_token = old.access().as_str();
        cut_off(&fixture).await;
        match round {
            0 => drop(other.revoke_all_for_subject("42").await.unwrap()),
            1 => drop(other.revoke_session("42", old.session_id()).await.unwrap()),
            2 => drop(other.revoke_token(old_token).await.unwrap()),
            // The next login evicts the session that was used longest ago.
            3 => {}
            _ => {
                other.refresh(old.refresh().as_str()).await.unwrap();
                fixture.clock.advance(Duration::from_secs(31));
                assert!(other.refresh(old.refresh().as_str()).await.is_err(), "reuse");
            }
        }
        // A login and a refresh give tokens of after the revocation.
        let new = match round {
            2 => other.refresh(spare.refresh().as_str()).await.unwrap(),
            _ => pair_of(&other, "42").await,
        };
        let asked = fixture.store.checks();
        for _ in 0..2 {
            access(here, old_token).await.unwrap();
            access(here, stranger.access().as_str()).await.unwrap();
        }
        assert_eq!(fixture.store.checks(), asked, "round {round}: the node does not know yet");
        access(here, new.access().as_str()).await.unwrap();
        assert_eq!(fixture.store.checks(), asked + 1, "round {round}");
        assert_revoked(access(here, old_token).await);
        assert_eq!(fixture.store.checks(), asked + 2, "round {round}");
        // Only this user costs questions, and only until the log was read.
        access(here, stranger.access().as_str()).await.unwrap();
        assert!(is_leased(here).await);
        assert_eq!(fixture.store.checks(), asked + 2, "round {round}");
        fixture.store.answer(Behaviour::AtOnce);
        wait_for_a_read(&fixture).await;
        let asked = fixture.store.checks();
        for _ in 0..3 {
            access(here, new.access().as_str()).await.unwrap();
            assert_revoked(access(here, old_token).await);
        }
        assert_eq!(fixture.store.checks(), asked, "round {round}: the log says all");
    }
}

/// A handler may check claims that this service has not admitted.
#[tokio::test]
async fn a_check_of_claims_is_a_first_use_too() {
    for by_this_service in [false, true] {
        let fixture = leased_with(|builder| builder).await;
        let (here, other) = (&fixture.tokens, other_node(&fixture));
        let old = pair_of(here, "42").await;
        let old_token = old.access().as_str();
        fixture.clock.advance(Duration::from_millis(1));
        cut_off(&fixture).await;
        other.revoke_session("42", old.session_id()).await.unwrap();
        let new = pair_of(&other, "42").await;
        access(here, old_token).await.expect("the node does not know yet");
        let claims = if by_this_service {
            here.validate_jwt_stateless(new.access().as_str(), TokenType::Access).unwrap()
        } else {
            access(&other, new.access().as_str()).await.unwrap()
        };
        here.check(&claims).await.unwrap();
        assert_revoked(access(here, old_token).await);
        fixture.store.answer(Behaviour::AtOnce);
    }
}

#[tokio::test]
async fn the_store_is_away_when_a_stamp_is_seen_first() {
    let fixture = leased_with(|builder| builder).await;
    let (here, other) = (&fixture.tokens, other_node(&fixture));
    let old = pair_of(here, "42").await;
    let stranger = pair_of(here, "7").await;
    cut_off(&fixture).await;
    other.revoke_session("42", old.session_id()).await.unwrap();
    let new = pair_of(&other, "42").await;
    fixture.store.answer(Behaviour::Fails(tower_bearer::error::StoreErrorKind::Unavailable));
    for _ in 0..3 {
        for token in [&new, &old] {
            assert!(matches!(access(here, token.access().as_str()).await, Err(Error::Store(_))));
        }
        access(here, stranger.access().as_str()).await.unwrap();
    }
    fixture.store.answer(Behaviour::AtOnce);
    access(here, new.access().as_str()).await.unwrap();
    assert_revoked(access(here, old.access().as_str()).await);
}

#[tokio::test]
async fn a_read_that_began_before_the_first_sight_settles_nothing() {
    let fixture = leased_with(|builder| builder).await;
    let (here, other) = (&fixture.tokens, other_node(&fixture));
    let old = pair_of(here, "42").await;
    access(here, old.access().as_str()).await.unwrap();
    // The read has its page, without the entry, and the node does not have it yet.
    fixture.store.answer_only("log", Behaviour::DoneThenHeld);
    eventually("a read waits", async || (fixture.store.waiting() > 0).then_some(())).await;
    other.revoke_session("42", old.session_id()).await.unwrap();
    let new = pair_of(&other, "42").await;
    access(here, new.access().as_str()).await.unwrap();
    fixture.store.answer_only("log", Behaviour::Hangs);
    let calls = fixture.store.calls();
    fixture.store.release();
    // The task applies the page before it reads the next one.
    eventually("the page was applied", async || (fixture.store.calls() > calls).then_some(())).await;
    assert_revoked(access(here, old.access().as_str()).await);
}

#[tokio::test]
async fn a_stamp_that_no_log_has_costs_one_question_and_not_one_a_request() {
    // Also without the cache of verified tokens, in which each request is a first sight of the
    // text.
    for entries in [1000, 0] {
        let fixture = leased_with(|builder| builder.verified_cache(entries, 1_000_000)).await;
        let token = pair_of(&fixture.tokens, "42").await;
        let now = fixture.clock.now();
        let hour = Duration::from_secs(3600);
        let stamps = [
            ("far ahead", json!(stamp_at(now.saturating_add(hour), 1))),
            ("of a lost tail", json!(stamp_at(now, 2))),
            ("at the end of time", json!(stamp_at(Timestamp::from_millis(u64::MAX), 3))),
            ("malformed", json!("no stamp")),
            ("empty", json!("")),
            ("a number", json!(7)),
            ("an object", json!({ "at": [1] })),
        ];
        for (what, stamp) in stamps {
            let token = with_stamp(token.access().as_str(), stamp);
            let asked = fixture.store.checks();
            access(&fixture.tokens, &token).await.unwrap();
            assert_eq!(fixture.store.checks(), asked + 1, "{what}");
            wait_for_a_read(&fixture).await;
            for _ in 0..100 {
                access(&fixture.tokens, &token).await.unwrap();
            }
            assert_eq!(fixture.store.checks(), asked + 1, "{what}");
        }
        // Whatever an old stamp names, the node has read the log since.
        let token = with_stamp(token.access().as_str(), stamp_at(START, 1));
        let asked = fixture.store.checks();
        access(&fixture.tokens, &token).await.unwrap();
        assert_eq!(fixture.store.checks(), asked);
    }
}

#[tokio::test]
async fn a_stamp_whose_entry_was_read_costs_nothing() {
    let fixture = leased_with(|builder| builder).await;
    let other = other_node(&fixture);
    for _ in 0..10 {
        let old = pair_of(&other, "42").await;
        let revoked = other.revoke_session("42", old.session_id()).await.unwrap();
        let new = pair_of(&other, "42").await;
        assert!(stamp_of(new.access().as_str()).is_some());
        let position = revoked.position().unwrap();
        eventually("the entry is read", async || fixture.tokens.has_applied(position).then_some(())).await;
        let asked = fixture.store.checks();
        access(&fixture.tokens, new.access().as_str()).await.unwrap();
        assert_revoked(access(&fixture.tokens, old.access().as_str()).await);
        assert_eq!(fixture.store.checks(), asked);
    }
}

#[tokio::test]
async fn the_stamp_of_an_own_revocation_does_not_settle_those_before_it() {
    let fixture = leased_with(|builder| builder).await;
    let (here, other) = (&fixture.tokens, other_node(&fixture));
    let (old, spare) = (pair_of(here, "42").await, pair_of(here, "42").await);
    access(here, old.access().as_str()).await.unwrap();
    cut_off(&fixture).await;
    other.revoke_session("42", old.session_id()).await.unwrap();
    here.revoke_token(spare.access().as_str()).await.unwrap();
    let new = pair_of(here, "42").await;
    access(here, old.access().as_str()).await.unwrap();
    access(here, new.access().as_str()).await.unwrap();
    assert_revoked(access(here, old.access().as_str()).await);
}

#[tokio::test]
async fn many_stamps_at_once_cost_the_lease_and_no_more_memory() {
    let fixture = leased_with(|builder| builder).await;
    let (here, stranger) = (&fixture.tokens, pair_of(&fixture.tokens, "7").await);
    let mut pairs = Vec::new();
    for user in 0..=MOST_HELD {
        pairs.push(pair_of(here, &format!("user-{user}")).await);
    }
    cut_off(&fixture).await;
    for (number, pair) in (0..).zip(&pairs) {
        if number % 512 == 0 {
            assert!(is_leased(here).await, "{number} users are held");
        }
        let ahead = with_stamp(pair.access().as_str(), stamp_at(fixture.clock.now(), number));
        access(here, &ahead).await.unwrap();
    }
    assert!(!is_leased(here).await);
    let asked = fixture.store.checks();
    access(here, stranger.access().as_str()).await.unwrap();
    assert_eq!(fixture.store.checks(), asked + 1);
}

#[tokio::test]
async fn a_stamp_shows_its_time_and_no_count() {
    const OTHERS: u32 = 500;
    let fixture = leased_with(|builder| builder).await;
    let tokens = &fixture.tokens;
    let mut names = Vec::new();
    for count in [0, 1, OTHERS] {
        for user in 0..count {
            tokens.revoke_session(format!("other-{user}").as_str(), &"x".into()).await.unwrap();
        }
        tokens.revoke_session("42", &format!("s{count}").as_str().into()).await.unwrap();
        let text = stamp_of(pair_of(tokens, "42").await.access().as_str()).unwrap();
        assert_eq!(text.len(), 16);
        let bytes = URL_SAFE_NO_PAD.decode(text).unwrap();
        assert_eq!(bytes[..8], fixture.clock.now().as_millis().to_be_bytes(), "the user knows when");
        names.push(u32::from_be_bytes(bytes[8..].try_into().unwrap()));
    }
    // The entries are 1, 3 and 504. A counter would be small, or would grow by these steps.
    assert_ne!(names[1].wrapping_sub(names[0]), 2);
    assert_ne!(names[2].wrapping_sub(names[1]), OTHERS + 1);
    assert!(names.iter().any(|name| *name > 1_000_000));
}

#[tokio::test]
async fn only_access_tokens_of_shortly_after_a_revocation_carry_a_stamp() {
    let fixture = leased_with(|builder| builder).await;
    let tokens = &fixture.tokens;
    let first = pair_of(tokens, "42").await;
    let bystander = pair_of(tokens, "7").await;
    assert_eq!(stamp_of(first.access().as_str()), None, "nothing was revoked");
    tokens.revoke_session("42", &"x".into()).await.unwrap();
    let second = tokens.refresh(first.refresh().as_str()).await.unwrap();
    assert!(stamp_of(second.access().as_str()).is_some());
    let single = tokens.create_access_token(NewSession::new("42")).await.unwrap();
    assert_eq!(stamp_of(single.as_str()), stamp_of(second.access().as_str()));
    for refresh in [first.refresh(), second.refresh()] {
        assert_eq!(stamp_of(refresh.as_str()), None);
    }
    let bystander = tokens.refresh(bystander.refresh().as_str()).await.unwrap();
    assert_eq!(stamp_of(bystander.access().as_str()), None, "another user");
    // The staleness, and a thousandth.
    fixture.clock.advance(Duration::from_millis(60_060));
    let third = tokens.refresh(second.refresh().as_str()).await.unwrap();
    assert!(stamp_of(third.access().as_str()).is_some());
    fixture.clock.advance(Duration::from_millis(1));
    let fourth = tokens.refresh(third.refresh().as_str()).await.unwrap();
    assert_eq!(stamp_of(fourth.access().as_str()), None, "each node must have read it");
    assert_eq!(stamp_of(pair_of(tokens, "42").await.access().as_str()), None);
    // If no node decides by its copy of the log, no node needs it.
    let strong = Fixture::new();
    strong.tokens.revoke_session("42", &"x".into()).await.unwrap();
    assert_eq!(stamp_of(pair_of(&strong.tokens, "42").await.access().as_str()), None);
}

#[tokio::test]
async fn a_stamp_is_no_claim_of_the_application() {
    let clock = ManualClock::at(START);
    let fixture = leased_with(|builder| builder).await;
    let builder = builder(&clock).store(fixture.store.clone());
    let any = bounded(builder).claims::<Value>().build().unwrap();
    fixture.tokens.revoke_session("42", &"x".into()).await.unwrap();
    clock.set(fixture.clock.now());
    let pair = log_in(&any, json!({ "role": "guest" })).await;
    assert!(stamp_of(pair.access().as_str()).is_some());
    let claims = access(&any, pair.access().as_str()).await.unwrap();
    assert_eq!(claims.custom(), &json!({ "role": "guest" }));
    let custom = json!({ CLAIM: "mine" });
    match any.create_token_pair(NewSession::new("42").claims(custom)).await {
        Err(Error::Issue(why)) => assert!(why.contains(CLAIM), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_stamp_of_the_store_is_that_of_the_last_entry() {
    let fixture = leased_with(|builder| builder).await;
    let revoked = fixture.tokens.revoke_session("42", &"x".into()).await.unwrap();
    assert!(revoked.position().is_some());
    let hour = Duration::from_secs(3600);
    let open = OpenSession::new("42", "new".into(), hour, hour);
    let Opened::Opened { last_revocation, .. } = fixture.store.open(open).await.unwrap() else { panic!("not open") };
    let log = std::sync::Arc::new(fixture.store.clone()).revocation_log().unwrap();
    let page = log.read(0, tower_bearer::store::LogQuery::newest()).await.unwrap();
    assert_eq!(last_revocation, Some(LogStamp::from(&page.entries[0])));
    let _: NoClaims =
        *access(&fixture.tokens, pair_of(&fixture.tokens, "42").await.access().as_str()).await.unwrap().custom();
}
