//! Repeated revocations by one client harm neither the user nor other nodes.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use tower::ServiceExt;
use tower_bearer::{
    AuthLayer, BoxError, NewSession, NoClaims, Subject, TokenService,
    endpoints::Endpoints,
    password::PasswordHasher,
    store::{LogQuery, MemoryStore, SessionStore},
    tokens::SecurityEvent,
    users::{Credentials, Grant, UserAuthentication},
};

use crate::support::{
    self, Events,
    fixture::{AUDIENCE, ISSUER, SECRET},
};

/// The only user is 42.
struct Users {
    hasher: PasswordHasher,
    hash: String,
}

impl Users {
    async fn new() -> Self {
        let hasher = PasswordHasher::new(4).unwrap();
        let hash = hasher.hash("right").await.unwrap();
        Self { hasher, hash }
    }
}

impl UserAuthentication for Users {
    type User = String;
    type Claims = NoClaims;

    async fn authenticate(&self, credentials: Credentials) -> Result<Option<String>, BoxError> {
        let is_right = self.hasher.verify(credentials.password(), &self.hash).await?;
        // A real password check takes a quarter of a second, in which a thief can call many times.
        // Real time, because the store's clock decides the order.
        tokio::time::sleep(Duration::from_millis(60)).await;
        Ok(is_right.then(|| "42".to_owned()))
    }

    async fn user_by_id(&self, id: &Subject) -> Result<Option<String>, BoxError> {
        Ok(Some(id.to_string()))
    }

    fn user_id(&self, user: &String) -> Subject {
        user.into()
    }

    fn grant(&self, _: &String) -> Grant<NoClaims> {
        Grant::default()
    }
}

fn service(store: Arc<dyn SessionStore>, events: &Events) -> TokenService {
    let builder = TokenService::builder().secret(SECRET).issuer(ISSUER).audience(AUDIENCE);
    builder.shared_store(store).on_event(events.hook()).build().unwrap()
}

async fn entries(store: &Arc<dyn SessionStore>) -> u64 {
    let log = store.clone().revocation_log().unwrap();
    log.read(log.bucket_of(&"42".into()), LogQuery::from_start()).await.unwrap().sequence
}

async fn the_owner_can_always_log_in(store: Arc<dyn SessionStore>) {
    let events = Events::default();
    let tokens = service(store.clone(), &events);
    let endpoints = Endpoints::new(&AuthLayer::new(tokens.clone()), Arc::new(Users::new().await));
    let stolen = tokens.create_token_pair(NewSession::new("42")).await.unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let thief = tokio::spawn({
        let (tokens, over, sid) = (tokens.clone(), over.clone(), stolen.session_id().to_owned());
        async move {
            let (mut interval, mut calls) = (tokio::time::interval(Duration::from_millis(20)), 0_u32);
            while !over.load(Ordering::SeqCst) {
                interval.tick().await;
                tokens.revoke_all_for_subject_except("42", &sid).await.unwrap();
                calls += 1;
            }
            calls
        }
    });
    let mut logged_in = 0;
    for _ in 0..15 {
        // Lets the thief call between two logins by the store's clock.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let request = Request::post("/")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::<Bytes>::from("username=u&password=right"))
            .unwrap();
        let response = endpoints.login().oneshot(request).await.unwrap();
        logged_in += u32::from(response.status() == StatusCode::OK);
    }
    over.store(true, Ordering::SeqCst);
    let calls = thief.await.unwrap();
    assert_eq!(logged_in, 15, "of 15 logins with the right password, while the thief made {calls} calls");
    let superseded = |event: &SecurityEvent| matches!(event, SecurityEvent::LoginSuperseded { .. });
    assert!(!events.take().iter().any(superseded));
    // Each login opened a session, which a call of the thief ended.
    let logged = entries(&store).await;
    assert!(logged <= 16, "{calls} calls and 15 logins wrote {logged} entries");
}

async fn logout_all_at_full_speed_hardly_writes(store: Arc<dyn SessionStore>) {
    let tokens = service(store.clone(), &Events::default());
    let layer = AuthLayer::new(tokens.clone());
    let endpoints = Endpoints::new(&layer, Arc::new(Users::new().await));
    let logout_all = tower::ServiceBuilder::new().layer(layer).service(endpoints.logout_all());
    let pair = tokens.create_token_pair(NewSession::new("42")).await.unwrap();
    let bearer = format!("Bearer {}", pair.access().as_str());
    let (started, mut calls) = (Instant::now(), 0_u32);
    // Real time, because the number of allowed writes depends on the store's clock. A slow machine
    // may write more.
    while started.elapsed() < Duration::from_secs(2) {
        let request = Request::post("/?keep_current=true")
            .header(header::AUTHORIZATION, &bearer)
            .body(Full::<Bytes>::default())
            .unwrap();
        let response = logout_all.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        calls += 1;
    }
    let (logged, most) = (entries(&store).await, 2 * started.elapsed().as_secs() + 2);
    assert!(logged <= most, "{calls} calls wrote {logged} entries, {most} at most are allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_memory_the_owner_can_always_log_in_beside_a_thief_who_revokes_all_other_sessions() {
    the_owner_can_always_log_in(Arc::new(MemoryStore::default())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_memory_logout_all_at_full_speed_writes_two_entries_a_second_at_most() {
    logout_all_at_full_speed_hardly_writes(Arc::new(MemoryStore::default())).await;
}

#[cfg(feature = "redis")]
#[tokio::test(flavor = "multi_thread")]
async fn on_redis_the_owner_can_always_log_in_beside_a_thief_who_revokes_all_other_sessions() {
    let server = support::RedisServer::start();
    let store = tower_bearer::RedisStore::connect(server.url()).await.unwrap();
    the_owner_can_always_log_in(Arc::new(store)).await;
}

#[cfg(feature = "redis")]
#[tokio::test(flavor = "multi_thread")]
async fn on_redis_logout_all_at_full_speed_writes_two_entries_a_second_at_most() {
    let server = support::RedisServer::start();
    let store = tower_bearer::RedisStore::connect(server.url()).await.unwrap();
    logout_all_at_full_speed_hardly_writes(Arc::new(store)).await;
}
