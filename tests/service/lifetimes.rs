//! Nodes with different settings share one store.
//!
//! If one node revokes a token, all nodes refuse it for as long as any node could accept it.

use std::time::Duration;

use tower_bearer::{
    Consistency, Error, MemoryStore, NewSession, NoClaims, TokenId, TokenPair, TokenService, TokenType,
    clock::{ManualClock, Timestamp},
    error::TokenError,
    issuers::IssuerPolicy,
    jwt::{JwtClaims, KeySet, encode_jwt},
    store::Checked,
    tokens::TokenServiceBuilder,
};

use crate::{
    access, pair,
    support::{
        AlteredStore, FaultyStore, Fixture,
        fixture::{AUDIENCE, ISSUER, IssuedElsewhere, SECRET, START, accepting, builder, issuer, key_of},
    },
};

const DAY: Duration = Duration::from_secs(86_400);
const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);

/// The settings that differ between nodes.
#[derive(Clone, Copy)]
struct Node {
    lifetime: Duration,
    leeway: Duration,
    staleness: Option<Duration>,
}

/// Two nodes that run from the beginning, and one that starts later.
const NODES: [Node; 3] = [
    Node { lifetime: Duration::from_secs(60), leeway: Duration::ZERO, staleness: None },
    Node {
        lifetime: Duration::from_secs(24 * 3600),
        leeway: Duration::from_secs(5),
        staleness: Some(Duration::from_millis(20)),
    },
    Node {
        lifetime: Duration::from_secs(48 * 3600),
        leeway: Duration::from_secs(30),
        staleness: Some(Duration::from_millis(50)),
    },
];

impl Node {
    fn start(self, builder: TokenServiceBuilder, store: &FaultyStore) -> TokenService {
        let mut builder = builder.leeway(self.leeway).store(store.clone());
        if let Some(staleness) = self.staleness {
            builder = builder.consistency(Consistency::BoundedStaleness(staleness));
        }
        builder.build().unwrap()
    }
}

async fn is_accepted(tokens: &TokenService, token: &str) -> bool {
    access(tokens, token).await.is_ok()
}

#[tokio::test]
async fn a_replay_on_a_node_with_another_access_lifetime_gives_the_same_expiry() {
    let fixture = Fixture::with(|builder| builder.access_lifetime(MINUTE));
    let other = builder(&fixture.clock).access_lifetime(2 * HOUR).store(fixture.store.clone()).build().unwrap();
    for [first, second] in [[&fixture.tokens, &other], [&other, &fixture.tokens]] {
        let start = pair(first).await;
        let expected = start.access().expires_at().saturating_since(fixture_now(&fixture));
        // The session keeps its access lifetime through all refreshes on all nodes.
        let mut last = start;
        for _ in 0..3 {
            fixture.advance(7);
            let successor = first.refresh(last.refresh().as_str()).await.unwrap();
            fixture.advance(1);
            let replayed = second.refresh(last.refresh().as_str()).await.unwrap();
            let claims = async |pair: &TokenPair| access(first, pair.access().as_str()).await.unwrap();
            let (one, two) = (claims(&successor).await, claims(&replayed).await);
            assert_eq!((one.token_id(), one.expires_at()), (two.token_id(), two.expires_at()));
            assert_eq!(one.expires_at().saturating_since(one.issued_at()), expected);
            let alone = second.refresh_access_token(successor.refresh().as_str()).await.unwrap();
            assert_eq!(alone.expires_at().saturating_since(fixture_now(&fixture).floor_to_secs()), expected);
            last = replayed;
        }
    }
}

fn fixture_now(fixture: &Fixture) -> Timestamp {
    use tower_bearer::clock::Clock;
    fixture.clock.now()
}

#[tokio::test]
async fn the_lifetime_that_a_session_was_opened_with_holds_for_all_its_access_tokens() {
    let fixture = Fixture::new();
    let session = NewSession::new("42").access_lifetime(MINUTE);
    let first = fixture.tokens.create_token_pair(session).await.unwrap();
    let second = fixture.tokens.refresh(first.refresh().as_str()).await.unwrap();
    for pair in [&first, &second] {
        assert_eq!(pair.access().expires_at(), START.saturating_add(MINUTE));
        let refresh = fixture.tokens.decode_token(pair.refresh().as_str()).unwrap();
        assert_eq!(refresh.access_lifetime(), Some(MINUTE));
        let access = fixture.tokens.decode_token(pair.access().as_str()).unwrap();
        assert_eq!(access.access_lifetime(), None, "a resource server has no use for it");
    }
    // A node with a shorter maximum issues shorter lifetimes.
    let strict = builder(&fixture.clock).access_lifetime(MINUTE / 2).max_access_lifetime(MINUTE / 2);
    let strict = strict.store(fixture.store.clone()).build().unwrap();
    let third = strict.refresh(second.refresh().as_str()).await.unwrap();
    assert!(is_accepted(&strict, third.access().as_str()).await);
}

#[tokio::test]
async fn a_refresh_token_of_an_older_version_gives_access_tokens_of_the_configured_lifetime() {
    let fixture = Fixture::new();
    let first = pair(&fixture.tokens).await;
    let claims = fixture.tokens.decode_token(first.refresh().as_str()).unwrap();
    let older = JwtClaims::new("42", claims.token_id().clone(), TokenType::Refresh, START, HOUR, NoClaims {})
        .with_issuer(ISSUER)
        .with_audience([AUDIENCE])
        .with_session(first.session_id().clone(), claims.generation().unwrap());
    let older = encode_jwt(&KeySet::signing(key_of(ISSUER)), &older).unwrap();
    let second = fixture.tokens.refresh(&older).await.unwrap();
    assert_eq!(second.access().expires_at(), START.saturating_add(MINUTE * 30));
    let refresh = fixture.tokens.decode_token(second.refresh().as_str()).unwrap();
    assert_eq!(refresh.access_lifetime(), Some(MINUTE * 30));
}

#[tokio::test]
async fn a_token_of_ours_that_any_node_revoked_is_refused_by_all_for_as_long_as_it_lives() {
    for revoking in 0..2 {
        for issuing in 0..2 {
            for kind in ["token", "session", "all"] {
                let clock = ManualClock::at(START.saturating_sub(HOUR));
                let store = FaultyStore::new(clock.clone());
                clock.set(START);
                let start = |node: Node| node.start(builder(&clock).access_lifetime(node.lifetime), &store);
                let mut nodes = vec![start(NODES[0]), start(NODES[1])];
                let dead = pair(&nodes[issuing]).await;
                let live = nodes[issuing].create_token_pair(NewSession::new("43")).await.unwrap();
                let by = &nodes[revoking];
                match kind {
                    "token" => by.revoke_token(dead.access().as_str()).everywhere().await,
                    "session" => by.revoke_session("42", dead.session_id()).everywhere().await,
                    _ => by.revoke_all_for_subject("42").everywhere().await,
                }
                .unwrap();
                nodes.push(start(NODES[2]));
                let end = live.access().expires_at();
                let lifetime = end.saturating_since(START);
                for part in 0..=60 {
                    clock.set(START.saturating_add(lifetime / 50 * part));
                    let what = format!("{kind} of node {issuing} by node {revoking}, part {part} of its lifetime");
                    for tokens in &nodes {
                        assert!(!is_accepted(tokens, dead.access().as_str()).await, "{what}");
                        let is_over = part >= 50;
                        assert!(is_over || is_accepted(tokens, live.access().as_str()).await, "{what}: the other one");
                    }
                    // The store prunes expired records when it is written.
                    nodes[0].revoke_session("44", &part.to_string().into()).await.unwrap();
                }
            }
        }
    }
}

fn foreign(subject: &str, issued_at: Timestamp, lifetime: Duration) -> String {
    let (jti, sid) = (format!("{subject}-{}", lifetime.as_secs()), format!("session of {subject}"));
    IssuedElsewhere { lifetime, ..IssuedElsewhere::default() }.signed(&jti, subject, Some(&sid), issued_at)
}

#[tokio::test]
async fn a_token_of_another_issuer_that_any_node_revoked_is_refused_by_all_for_as_long_as_it_lives() {
    let lifetimes = [Duration::from_secs(50), HOUR, 23 * HOUR, 47 * HOUR];
    for revoking in 0..2 {
        for kind in ["token", "session", "all"] {
            let clock = ManualClock::at(START.saturating_sub(HOUR));
            let store = FaultyStore::new(clock.clone());
            let denylist = |node: Node| {
                let issuer = issuer(IssuerPolicy::Denylist).max_access_lifetime(node.lifetime);
                let builder = TokenService::builder().clock(clock.clone()).accept(issuer);
                node.start(builder, &store)
            };
            let mut nodes = vec![denylist(NODES[0]), denylist(NODES[1])];
            clock.set(START);
            let tokens = |subject| lifetimes.map(|lifetime| (lifetime, foreign(subject, START, lifetime)));
            let (dead, live) = (tokens("42"), tokens("43"));
            clock.advance(MINUTE / 2);
            let by = &nodes[revoking];
            match kind {
                "token" => {
                    // A node refuses tokens that live longer than it allows, so it cannot revoke
                    // them.
                    for (_, token) in dead.iter().filter(|(lifetime, _)| *lifetime <= NODES[revoking].lifetime) {
                        by.revoke_token(token).everywhere().await.unwrap();
                    }
                }
                "session" => {
                    let revoke = by.external(ISSUER).revoke_session(&"session of 42".into());
                    drop(revoke.everywhere().await.unwrap());
                }
                _ => drop(by.external(ISSUER).revoke_subject("42").everywhere().await.unwrap()),
            }
            for hour in 0..50 {
                if hour == 2 {
                    nodes.push(denylist(NODES[2]));
                }
                for (number, tokens) in nodes.iter().enumerate() {
                    for ((lifetime, dead), (_, live)) in dead.iter().zip(&live) {
                        let what = format!("{kind} of {lifetime:?} by node {revoking}, on node {number}, hour {hour}");
                        let is_revoked = kind != "token" || *lifetime <= NODES[revoking].lifetime;
                        assert!(!is_revoked || !is_accepted(tokens, dead).await, "{what}");
                        // Before the last node started, the store kept revocations for one day.
                        let is_known = *lifetime < 24 * HOUR || hour <= 24;
                        let lives =
                            hour * HOUR + MINUTE / 2 < *lifetime && *lifetime <= NODES[number].lifetime && is_known;
                        assert_eq!(is_accepted(tokens, live).await, lives, "{what}: the other one");
                    }
                }
                clock.advance(HOUR);
                nodes[0].external(ISSUER).revoke_session(&hour.to_string().into()).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_token_of_another_issuer_that_has_expired_is_not_logged() {
    let clock = ManualClock::at(START.saturating_sub(HOUR));
    let store = FaultyStore::new(clock.clone());
    let tokens = accepting(&clock, IssuerPolicy::Denylist).store(store.clone()).build().unwrap();
    let token = foreign("42", START, HOUR);
    clock.set(START.saturating_add(3 * HOUR));
    for expected in [0, 0] {
        let revoked = tokens.revoke_token(&token).await.unwrap();
        assert_eq!((revoked.found, revoked.position().unwrap().sequence), (false, expected));
    }
}

#[tokio::test]
async fn the_stores_answer_ends_a_token_whose_end_the_estimate_has_not_reached() {
    // As after a suspension of the machine: the estimate is that of before.
    let later = |_: &TokenId, mut checked: Checked| {
        checked.now = checked.now.saturating_add(DAY);
        checked
    };
    for (checked, is_valid) in [((|_, checked| checked) as fn(&TokenId, Checked) -> Checked, true), (later, false)] {
        let store = AlteredStore { checked, ..AlteredStore::new(MemoryStore::default()) };
        let tokens: TokenService = TokenService::builder().secret(SECRET).store(store).build().unwrap();
        let access = tokens.create_token_pair(NewSession::new("42")).await.unwrap();
        let outcome = tokens.validate_token(access.access().as_str(), TokenType::Access).await;
        match outcome {
            Err(error) => assert!(!is_valid && matches!(error, Error::Token(TokenError::Expired { .. })), "{error:?}"),
            Ok(_) => assert!(is_valid),
        }
    }
}
