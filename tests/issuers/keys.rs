//! The keys of an issuer over time: fetches, rotation, withdrawal and outages, by the time of a
//! paused runtime.

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{Request, Response};
use serde_json::json;
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceExt, service_fn};
use tower_bearer::{
    AuthLayer, Error, TokenService, TokenType,
    error::{ConfigErrorKind, TokenError},
    issuers::{Issuer, IssuerPolicy, KeySourceError, KeySourceErrorKind, PublishedKeys},
    jwt::{Algorithm, KeySet, VerifyingKey},
    observe::{CacheLookup, CheckResult, KeyFetchResult, Observation},
    tokens::TokenServiceBuilder,
};

use crate::{
    status,
    support::{
        Log, Observations, TokioClock,
        fixture::{START, sign_with},
        secrets::Secrets,
        test_keys,
    },
};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Behaviour {
    Serves,
    Fails,
    Hangs,
    Panics,
    SendsNonsense,
    /// Publishes a secret beside its keys.
    SendsSecret,
    /// Answers after two seconds.
    IsSlow,
}

/// The behaviour, the names of the keys, and the time that caches may keep them.
type State = (Behaviour, Vec<&'static str>, Option<Duration>);

/// An issuer's key server, whose keys all have the same numbers and different names.
#[derive(Clone)]
struct Provider {
    state: Arc<Mutex<State>>,
    fetches: Arc<AtomicU64>,
}

impl Provider {
    fn new(kids: &[&'static str]) -> Self {
        let state = (Behaviour::Serves, kids.to_vec(), None);
        Self { state: Arc::new(Mutex::new(state)), fetches: Arc::default() }
    }

    fn publish(&self, kids: &[&'static str]) {
        self.state.lock().unwrap().1 = kids.to_vec();
    }

    fn behave(&self, behaviour: Behaviour) {
        self.state.lock().unwrap().0 = behaviour;
    }

    fn let_caches_keep(&self, time: Duration) {
        self.state.lock().unwrap().2 = Some(time);
    }

    fn fetches(&self) -> u64 {
        self.fetches.load(Ordering::Relaxed)
    }

    async fn answer(self) -> Result<PublishedKeys, KeySourceError> {
        self.fetches.fetch_add(1, Ordering::Relaxed);
        let (behaviour, kids, max_age) = self.state.lock().unwrap().clone();
        match behaviour {
            Behaviour::Serves | Behaviour::SendsSecret => {}
            Behaviour::IsSlow => sleep(Duration::from_secs(2)).await,
            Behaviour::Fails => return Err(KeySourceError::new(KeySourceErrorKind::Status).with_source("status 500")),
            Behaviour::Hangs => pending().await,
            Behaviour::Panics => panic!("as a test wants"),
            Behaviour::SendsNonsense => return Ok(PublishedKeys::new("<html>")),
        }
        let pem = test_keys::text("TEST-ec-p256-public.pem");
        let mut jwks: Vec<_> = kids
            .iter()
            .map(|kid| {
                let key = VerifyingKey::from_pem(Algorithm::ES256, &pem).unwrap().with_kid(*kid).unwrap();
                let set: serde_json::Value = serde_json::from_str(&KeySet::verifying(key).to_jwks()).unwrap();
                set["keys"][0].clone()
            })
            .collect();
        if behaviour == Behaviour::SendsSecret {
            jwks.push(json!({ "kty": "oct", "k": "AAAA" }));
        }
        let published = PublishedKeys::new(json!({ "keys": jwks }).to_string());
        Ok(max_age.into_iter().fold(published, PublishedKeys::with_max_age))
    }

    fn issuer(&self, name: &str) -> Issuer {
        let provider = self.clone();
        let issuer = Issuer::new(name).audience("api").policy(IssuerPolicy::Stateless);
        let issuer = issuer.max_access_lifetime(48 * HOUR);
        issuer.key_source(move || provider.clone().answer())
    }
}

const ISSUER: &str = "https://id.example";

/// Returns a token that lives for two days from the start of the clock.
fn token_of(issuer: &str, kid: &str) -> String {
    let now = START.as_secs();
    let header = json!({ "alg": "ES256", "kid": kid }).to_string();
    let claims = json!({ "iss": issuer, "aud": "api", "sub": "42", "jti": kid, "iat": now, "exp": now + 2 * 86_400 });
    let key = test_keys::encoding(Algorithm::ES256);
    sign_with(jsonwebtoken::Algorithm::ES256, &key, header.as_bytes(), claims.to_string().as_bytes())
}

fn token(kid: &str) -> String {
    token_of(ISSUER, kid)
}

/// Returns a builder whose clock goes with the timers.
fn builder() -> TokenServiceBuilder {
    TokenService::builder().clock(TokioClock::new())
}

async fn connected(issuer: Issuer) -> TokenService {
    builder().accept(issuer).connect().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_new_key_is_fetched_by_the_first_request_that_needs_it() {
    let provider = Provider::new(&["old"]);
    let tokens = connected(provider.issuer(ISSUER)).await;
    assert_eq!((status(&tokens, &token("old")).await, provider.fetches()), (200, 1));
    provider.publish(&["old", "new"]);
    assert_eq!((status(&tokens, &token("new")).await, provider.fetches()), (401, 1), "within the cool-down");
    sleep(MINUTE).await;
    assert_eq!((status(&tokens, &token("new")).await, provider.fetches()), (200, 2));
    assert_eq!((status(&tokens, &token("old")).await, provider.fetches()), (200, 2));
}

#[tokio::test(start_paused = true)]
async fn each_fetch_is_observed_with_its_result_and_its_time() {
    let failed = KeyFetchResult::Failed;
    for (behaviour, result, seconds) in [
        (Behaviour::Serves, KeyFetchResult::Ok, 0),
        (Behaviour::IsSlow, KeyFetchResult::Ok, 2),
        (Behaviour::Fails, failed(KeySourceErrorKind::Status), 0),
        (Behaviour::Hangs, failed(KeySourceErrorKind::Timeout), 5),
        (Behaviour::Panics, failed(KeySourceErrorKind::Unreadable), 0),
        (Behaviour::SendsNonsense, failed(KeySourceErrorKind::Unreadable), 0),
        (Behaviour::SendsSecret, failed(KeySourceErrorKind::Unreadable), 0),
    ] {
        let (provider, observations) = (Provider::new(&["k"]), Observations::default());
        provider.behave(behaviour);
        let builder = builder().observer(observations.clone()).accept(provider.issuer(ISSUER));
        let fetches = || {
            let all = observations.take().into_iter();
            let fetches = all.filter_map(|observation| match observation {
                Observation::KeysFetched { result, duration, .. } => Some((result, duration.as_secs())),
                _ => None,
            });
            fetches.collect::<Vec<_>>()
        };
        let tokens = builder.build().unwrap();
        sleep(Duration::from_secs(6)).await;
        assert_eq!(fetches(), [(result, seconds)], "{behaviour:?}");
        provider.behave(Behaviour::Serves);
        sleep(15 * MINUTE).await;
        let later = fetches();
        let is_good = later.iter().all(|fetch| *fetch == (KeyFetchResult::Ok, 0));
        assert!(is_good && !later.is_empty(), "{behaviour:?}: {later:?}");
        drop(tokens);
    }
}

#[tokio::test(start_paused = true)]
async fn a_check_that_waits_for_a_key_is_one_miss_and_a_withdrawn_key_makes_another() {
    let (provider, observations) = (Provider::new(&["old"]), Observations::default());
    let builder = builder().observer(observations.clone()).accept(provider.issuer(ISSUER));
    let tokens = builder.connect().await.unwrap();
    let (old, new) = (token("old"), token("new"));
    let lookups = async |token: &str| {
        observations.take();
        drop(tokens.validate_token(token, TokenType::Access).await);
        let all = observations.take().into_iter();
        let lookups = all.filter_map(|observation| match observation {
            Observation::Check { result, lookup, .. } => Some((result, lookup)),
            _ => None,
        });
        lookups.collect::<Vec<_>>()
    };
    assert_eq!(lookups(&old).await, [(CheckResult::Accepted, CacheLookup::Miss)]);
    assert_eq!(lookups(&old).await, [(CheckResult::Accepted, CacheLookup::Hit)]);
    sleep(MINUTE).await;
    provider.publish(&["old", "new"]);
    assert_eq!(lookups(&new).await, [(CheckResult::Accepted, CacheLookup::Miss)], "after the wait for its key");
    assert_eq!(lookups(&new).await, [(CheckResult::Accepted, CacheLookup::Hit)]);
    provider.publish(&["new"]);
    sleep(15 * MINUTE).await;
    assert_eq!(lookups(&old).await, [(CheckResult::Refused, CacheLookup::Miss)], "its key is withdrawn");
}

#[tokio::test(start_paused = true)]
async fn a_withdrawn_key_stops_at_the_next_fetch_also_for_tokens_that_were_verified_before() {
    for max_age in [None, Some(Duration::ZERO), Some(10 * MINUTE), Some(365 * 24 * HOUR)] {
        let provider = Provider::new(&["stays", "leaves"]);
        if let Some(max_age) = max_age {
            provider.let_caches_keep(max_age);
        }
        let tokens = connected(provider.issuer(ISSUER)).await;
        let (stays, leaves) = (token("stays"), token("leaves"));
        for token in [&stays, &leaves, &leaves] {
            assert_eq!(status(&tokens, token).await, 200);
        }
        assert_eq!(tokens.status().await.verified_tokens, 2, "they are warm");
        provider.publish(&["stays"]);
        let interval = max_age.unwrap_or(15 * MINUTE).clamp(5 * MINUTE, 24 * HOUR);
        sleep(interval.mul_f64(0.79)).await;
        assert_eq!((provider.fetches(), status(&tokens, &leaves).await), (1, 200), "{max_age:?}");
        sleep(interval.mul_f64(0.13)).await;
        assert_eq!(provider.fetches(), 2, "{max_age:?}: before the keys are out of date");
        assert_eq!((status(&tokens, &leaves).await, status(&tokens, &stays).await), (401, 200), "{max_age:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_unknown_keys_causes_one_fetch_in_a_cool_down() {
    let provider = Provider::new(&["known"]);
    let tokens = connected(provider.issuer(ISSUER)).await;
    let known = token("known");
    let forged: Vec<_> = (0..10_000).map(|n| token(&format!("unknown-{n}"))).collect();
    for round in 0..3 {
        for token in &forged {
            assert_eq!(status(&tokens, token).await, 401);
        }
        // They come all at once too.
        let all = forged.iter().map(|token| status(&tokens, token));
        assert!(futures_util::future::join_all(all).await.iter().all(|status| *status == 401));
        assert_eq!(provider.fetches(), 1 + round, "one more in each cool-down");
        assert_eq!(status(&tokens, &known).await, 200);
        assert_eq!(tokens.status().await.verified_tokens, 1, "nothing of the flood is kept");
        sleep(MINUTE).await;
    }
}

#[tokio::test(start_paused = true)]
async fn jwk_17_a_key_server_that_fails_leaves_the_keys_in_use_for_a_bounded_time() {
    for behaviour in [Behaviour::Fails, Behaviour::Hangs, Behaviour::Panics, Behaviour::SendsNonsense] {
        let provider = Provider::new(&["known"]);
        let tokens = connected(provider.issuer(ISSUER).max_stale(6 * HOUR)).await;
        let (known, unknown) = (token("known"), token("unknown"));
        let began = Instant::now();
        assert_eq!(status(&tokens, &known).await, 200);
        provider.behave(behaviour);
        sleep(2 * MINUTE).await;
        let asked = Instant::now();
        // A fetch that hangs may still bring the key.
        let refused = if behaviour == Behaviour::Hangs { 503 } else { 401 };
        assert_eq!(status(&tokens, &unknown).await, refused, "{behaviour:?}: the keys are fresh");
        assert!(asked.elapsed() <= Duration::from_secs(1), "{behaviour:?}: {:?}", asked.elapsed());
        let asked = Instant::now();
        assert_eq!((status(&tokens, &known).await, asked.elapsed()), (200, Duration::ZERO), "{behaviour:?}: no wait");
        // No longer fresh.
        sleep(20 * MINUTE).await;
        assert_eq!((status(&tokens, &unknown).await, status(&tokens, &known).await), (503, 200), "{behaviour:?}");
        let of_issuer = tokens.status().await.issuers.remove(0);
        assert!(!of_issuer.is_fresh && of_issuer.last_error.is_some() && of_issuer.keys == 1, "{of_issuer:?}");
        let conditions = tokens.readiness().await.conditions;
        assert!(conditions[0].text.contains(ISSUER) && conditions[0].kind.as_str() == "issuer_keys", "{conditions:?}");
        assert!(tokens.readiness().await.is_ready, "an issuer's outage does not take the node away");
        sleep((6 * HOUR).saturating_sub(began.elapsed() + MINUTE)).await;
        assert_eq!(status(&tokens, &known).await, 200, "{behaviour:?}");
        sleep(2 * MINUTE).await;
        assert_eq!(status(&tokens, &known).await, 503, "{behaviour:?}: too old, also when warm");
        assert_eq!(tokens.status().await.issuers[0].keys, 0);
        provider.behave(Behaviour::Serves);
        sleep(6 * MINUTE).await;
        assert_eq!((status(&tokens, &known).await, status(&tokens, &unknown).await), (200, 401), "{behaviour:?}");
        assert!(tokens.readiness().await.conditions.is_empty());
        // A minute of cool-down, then more and more, up to five minutes.
        let most = 5 + began.elapsed().as_secs() / (5 * 60 - 1);
        assert!(provider.fetches() <= most + 5, "{behaviour:?}: {} fetches", provider.fetches());
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_of_one_issuer_leaves_the_others_alone() {
    let (up, down) = (Provider::new(&["k"]), Provider::new(&["k"]));
    down.behave(Behaviour::Hangs);
    let builder = builder().accept(up.issuer(ISSUER)).accept(down.issuer("https://down.example"));
    let tokens = builder.build().unwrap();
    sleep(Duration::from_millis(1)).await;
    let asked = Instant::now();
    assert_eq!(status(&tokens, &token("k")).await, 200);
    assert_eq!(asked.elapsed(), Duration::ZERO);
    assert_eq!(status(&tokens, &token_of("https://down.example", "k")).await, 503);
    assert!(asked.elapsed() <= Duration::from_millis(1001));
    let unknown = tokens.validate_token(&token_of("https://other.example", "k"), TokenType::Access).await;
    assert!(matches!(unknown, Err(Error::Token(TokenError::UnknownIssuer))), "{unknown:?}");
    assert_eq!((up.fetches(), down.fetches()), (1, 1), "nobody is asked about a stranger");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_starts_before_its_key_server_serves_once_the_keys_are_there() {
    let provider = Provider::new(&["k"]);
    provider.behave(Behaviour::Fails);
    let tokens = builder().accept(provider.issuer(ISSUER)).build().unwrap();
    assert_eq!(status(&tokens, &token("k")).await, 503);
    provider.behave(Behaviour::Serves);
    assert_eq!(status(&tokens, &token("k")).await, 503, "within the cool-down");
    sleep(MINUTE).await;
    assert_eq!(status(&tokens, &token("k")).await, 200);
}

#[tokio::test(start_paused = true)]
async fn connect_names_the_issuer_whose_keys_cannot_be_fetched() {
    for (behaviour, kind) in [
        (Behaviour::Fails, KeySourceErrorKind::Status),
        (Behaviour::Hangs, KeySourceErrorKind::Timeout),
        (Behaviour::Panics, KeySourceErrorKind::Unreadable),
        (Behaviour::SendsNonsense, KeySourceErrorKind::Unreadable),
    ] {
        let (good, provider) = (Provider::new(&["k"]), Provider::new(&["k"]));
        provider.behave(behaviour);
        let builder = builder().accept(good.issuer(ISSUER)).accept(provider.issuer("https://bad.example"));
        let error = builder.connect().await.unwrap_err();
        assert_eq!((error.kind(), error.setting()), (ConfigErrorKind::Unreachable, "accept"));
        assert!(format!("{error:?}").contains("https://bad.example"), "{error:?}");
        let source = std::error::Error::source(&error).unwrap().downcast_ref::<KeySourceError>().unwrap();
        assert_eq!(source.kind(), kind, "{source:?}");
    }
}

#[test]
fn a_service_whose_runtime_has_ended_accepts_nothing_more() {
    let provider = Provider::new(&["k"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let tokens = runtime.block_on(connected(provider.issuer(ISSUER)));
    assert_eq!(runtime.block_on(status(&tokens, &token("k"))), 200);
    drop(runtime);
    let other = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert_eq!(other.block_on(status(&tokens, &token("k"))), 503, "nobody would notice that the key is withdrawn");
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_its_service() {
    let provider = Provider::new(&["k"]);
    let tokens = connected(provider.issuer(ISSUER)).await;
    let clone = tokens.clone();
    drop(tokens);
    sleep(HOUR).await;
    let fetched = provider.fetches();
    assert!(fetched >= 4);
    drop(clone);
    sleep(HOUR).await;
    assert_eq!(provider.fetches(), fetched);
    assert_eq!(Arc::strong_count(&provider.fetches), 1, "nothing keeps the source");
}

#[tokio::test(start_paused = true)]
async fn a_key_that_names_no_algorithm_serves_the_one_that_the_issuer_uses() {
    let pem = test_keys::text("TEST-rsa-2048-public.pem");
    let key = VerifyingKey::from_pem(Algorithm::RS256, pem).unwrap().with_kid("k").unwrap();
    let mut set: serde_json::Value = serde_json::from_str(&KeySet::verifying(key).to_jwks()).unwrap();
    set["keys"][0].as_object_mut().unwrap().remove("alg");
    let text = set.to_string();
    let issuer = |algorithms: &[Algorithm]| {
        let text = text.clone();
        let issuer = Issuer::new(ISSUER).audience("api").policy(IssuerPolicy::Stateless);
        let issuer = issuer.key_source(move || {
            let published = PublishedKeys::new(text.clone());
            async move { Ok(published) }
        });
        if algorithms.is_empty() { issuer } else { issuer.algorithms(algorithms.iter().copied()) }
    };
    let signed = |algorithm: Algorithm, of: jsonwebtoken::Algorithm| {
        let now = START.as_secs();
        let header = json!({ "alg": algorithm.as_str(), "kid": "k" }).to_string();
        let claims = json!({ "iss": ISSUER, "aud": "api", "iat": now, "exp": now + 60 }).to_string();
        sign_with(of, &test_keys::encoding(algorithm), header.as_bytes(), claims.as_bytes())
    };
    let rs256 = signed(Algorithm::RS256, jsonwebtoken::Algorithm::RS256);
    let rs512 = signed(Algorithm::RS512, jsonwebtoken::Algorithm::RS512);
    let by_default = connected(issuer(&[])).await;
    assert_eq!((status(&by_default, &rs256).await, status(&by_default, &rs512).await), (200, 401));
    let chosen = connected(issuer(&[Algorithm::RS512])).await;
    assert_eq!((status(&chosen, &rs256).await, status(&chosen, &rs512).await), (401, 200));
}

#[tokio::test(start_paused = true)]
async fn a_set_without_usable_keys_or_with_a_secret_withdraws_all_keys() {
    for behaviour in [Behaviour::Serves, Behaviour::SendsSecret] {
        let provider = Provider::new(&["k"]);
        let tokens = connected(provider.issuer(ISSUER)).await;
        assert_eq!(status(&tokens, &token("k")).await, 200);
        if behaviour == Behaviour::Serves {
            provider.publish(&[]);
        }
        provider.behave(behaviour);
        sleep(15 * MINUTE).await;
        assert!(provider.fetches() >= 2);
        assert_eq!(status(&tokens, &token("k")).await, 401, "{behaviour:?}");
        let of_issuer = tokens.status().await.issuers.remove(0);
        assert!(of_issuer.keys == 0 && of_issuer.last_error.is_some(), "{of_issuer:?}");
        provider.publish(&["k"]);
        provider.behave(Behaviour::Serves);
        sleep(2 * MINUTE).await;
        assert_eq!(status(&tokens, &token("k")).await, 200, "{behaviour:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_before_the_first_fetch_causes_no_second_one() {
    let provider = Provider::new(&["k"]);
    let tokens = builder().accept(provider.issuer(ISSUER)).build().unwrap();
    assert_eq!(status(&tokens, &token("k")).await, 200);
    sleep(MINUTE / 2).await;
    assert_eq!(provider.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_again_before_they_are_too_old_and_dropped_ones_are_not_fresh() {
    let provider = Provider::new(&["k"]);
    let tokens = connected(provider.issuer(ISSUER).max_stale(2 * MINUTE)).await;
    sleep(10 * MINUTE).await;
    assert_eq!(status(&tokens, &token("k")).await, 200);
    provider.behave(Behaviour::Fails);
    sleep(3 * MINUTE).await;
    assert_eq!(status(&tokens, &token("k")).await, 503);
    assert!(!tokens.status().await.issuers[0].is_fresh);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_takes_longer_than_a_request_waits_is_no_reason_to_refuse_the_token() {
    let provider = Provider::new(&["old"]);
    let tokens = connected(provider.issuer(ISSUER)).await;
    provider.publish(&["old", "new"]);
    provider.behave(Behaviour::IsSlow);
    sleep(MINUTE).await;
    assert_eq!(status(&tokens, &token("new")).await, 503);
    sleep(2 * Duration::from_secs(1)).await;
    assert_eq!((status(&tokens, &token("new")).await, provider.fetches()), (200, 2));
}

#[tokio::test(start_paused = true)]
async fn verified_claims_are_refused_once_their_key_is_withdrawn() {
    let provider = Provider::new(&["leaves", "stays"]);
    let tokens = connected(provider.issuer(ISSUER)).await;
    let claims = async |kid: &str| tokens.validate_token(&token(kid), TokenType::Access).await.unwrap();
    let (leaves, stays) = (claims("leaves").await, claims("stays").await);
    provider.publish(&["stays", "new"]);
    sleep(15 * MINUTE).await;
    assert!(matches!(tokens.check(&leaves).await, Err(Error::Token(TokenError::UnknownKey))));
    tokens.check(&stays).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn claims_of_another_service_are_not_taken_for_those_of_this_one() {
    let provider = Provider::new(&["k"]);
    let (one, other) = (connected(provider.issuer(ISSUER)).await, connected(provider.issuer(ISSUER)).await);
    let claims = one.validate_token(&token("k"), TokenType::Access).await.unwrap();
    one.check(&claims).await.unwrap();
    assert!(matches!(other.check(&claims).await, Err(Error::Token(TokenError::UnknownIssuer))));
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_for_nothing_after_the_task_has_ended() {
    let provider = Provider::new(&["k"]);
    let issuer = provider.issuer(ISSUER);
    let tokens = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { TokenService::builder().accept(issuer).connect().await.unwrap() })
    })
    .join()
    .unwrap();
    let asked = Instant::now();
    let refused = tokens.validate_token(&token("k"), TokenType::Access).await;
    assert!(matches!(refused, Err(Error::IssuerKeys(_))), "{refused:?}");
    assert_eq!(asked.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_token_without_kid_causes_a_fetch_if_the_only_key_may_have_been_replaced() {
    let published = Arc::new(Mutex::new(text_of("TEST-ec-p384-public.pem", Algorithm::ES384)));
    let (source, fetches) = (Arc::clone(&published), Arc::new(AtomicU64::new(0)));
    let counted = Arc::clone(&fetches);
    let issuer = Issuer::new(ISSUER).audience("api").policy(IssuerPolicy::Stateless).key_source(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        let published = PublishedKeys::new(source.lock().unwrap().clone());
        async move { Ok(published) }
    });
    let tokens = connected(issuer.max_access_lifetime(48 * HOUR)).await;
    sleep(MINUTE).await;
    *published.lock().unwrap() = text_of("TEST-ec-p256-public.pem", Algorithm::ES256);
    let (header, now) = (json!({ "alg": "ES256" }).to_string(), START.as_secs());
    let claims = json!({ "iss": ISSUER, "aud": "api", "iat": now, "exp": now + 3600 }).to_string();
    let key = test_keys::encoding(Algorithm::ES256);
    let good = sign_with(jsonwebtoken::Algorithm::ES256, &key, header.as_bytes(), claims.as_bytes());
    assert_eq!(status(&tokens, &good).await, 200);
    assert_eq!(fetches.load(Ordering::Relaxed), 2);
    // The key is there and does not verify, so only another key could.
    let (start, _) = good.rsplit_once('.').unwrap();
    let forged = format!("{start}.{}", "A".repeat(86));
    sleep(MINUTE).await;
    assert_eq!((status(&tokens, &forged).await, fetches.load(Ordering::Relaxed)), (401, 3));
    assert_eq!((status(&tokens, &forged).await, fetches.load(Ordering::Relaxed)), (401, 3), "within the cool-down");
}

/// Returns the set of one key without a name.
fn text_of(file: &str, algorithm: Algorithm) -> String {
    let key = VerifyingKey::from_pem(algorithm, test_keys::text(file)).unwrap().without_kid();
    KeySet::verifying(key).to_jwks()
}

#[tokio::test(start_paused = true)]
async fn nothing_of_another_issuers_token_is_in_logs_or_errors() {
    let (log, mut secrets) = (Log::capture(), Secrets::default());
    let provider = Provider::new(&["k"]);
    let tokens = connected(provider.issuer(ISSUER)).await;
    let layer = AuthLayer::new(tokens.clone())
        .layer(service_fn(async |_: Request<()>| Ok::<_, std::convert::Infallible>(Response::new(String::new()))));
    let good = token("k");
    let mut all = vec![good.clone(), token("unknown"), token_of("https://another.example", "k")];
    all.push(good[..good.len() - 2].to_owned());
    all.push(format!("{}.{}", good.rsplit_once('.').unwrap().0, "A".repeat(86)));
    let mut errors = Vec::new();
    for behaviour in [Behaviour::Serves, Behaviour::Fails, Behaviour::SendsNonsense, Behaviour::Panics] {
        provider.behave(behaviour);
        sleep(20 * MINUTE).await;
        for token in &all {
            secrets.add("a token", token);
            let request = Request::get("/").header("authorization", format!("Bearer {token}")).body(()).unwrap();
            let response = layer.clone().oneshot(request).await.unwrap();
            errors.push(format!("{response:?}"));
            if let Err(error) = tokens.validate_token(token, TokenType::Access).await {
                errors.push(format!("{error} {error:?}"));
            }
        }
        errors.push(format!("{:?} {tokens:?}", tokens.status().await));
    }
    let text = log.text();
    assert!(text.contains("cannot be fetched") && text.contains("rejected"), "{text}");
    secrets.must_not_be_in("a log", text);
    secrets.must_not_be_in("an error", errors.concat());
}
