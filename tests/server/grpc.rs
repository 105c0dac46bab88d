//! `examples/grpc.rs`: an open `Watch` ends when another process revokes its session, and when the
//! server stops.

use std::str::FromStr;

use tokio::time::timeout;
use tonic::{Code, Request, Streaming, metadata::MetadataValue, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_client::HealthClient};

use crate::{
    Example, SECRET, Store,
    support::{HANG, RedisServer},
};

async fn watch(grpc: &Example, token: &str) -> Streaming<HealthCheckResponse> {
    let channel = Endpoint::from_shared(grpc.url().to_owned()).unwrap().connect().await.unwrap();
    let mut request = Request::new(HealthCheckRequest::default());
    let value = MetadataValue::from_str(&format!("Bearer {token}")).unwrap();
    request.metadata_mut().insert("authorization", value);
    let mut stream = HealthClient::new(channel).watch(request).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap().unwrap().status, 1);
    stream
}

#[tokio::test]
async fn a_logout_in_another_process_ends_a_watch_with_status_16() {
    let store = Store::redis();
    let server = store.server(&[]);
    let url = store.redis.as_ref().map(RedisServer::url).unwrap();
    for consistency in ["strong", "bounded:1000"] {
        let variables = [("JWT_SECRET_KEY", SECRET), ("REDIS_URL", &*url), ("CONSISTENCY", consistency)];
        let grpc = Example::start("grpc", &variables);
        let tokens = server.log_in("alice").await;
        let mut stream = watch(&grpc, &tokens.access).await;
        server.renew(&tokens).await;
        server.post("/logout", &tokens.access).await.expect(200);
        let end = timeout(HANG, stream.message()).await.expect("the stream is cut");
        let status = end.expect_err("an end by a status");
        assert_eq!((status.code(), status.message()), (Code::Unauthenticated, "revoked"), "{consistency}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn after_sigterm_a_watch_ends_cleanly() {
    let store = Store::redis();
    let url = store.redis.as_ref().map(RedisServer::url).unwrap();
    let grpc = Example::start("grpc", &[("JWT_SECRET_KEY", SECRET), ("REDIS_URL", &*url)]);
    let tokens = store.server(&[]).log_in("alice").await;
    let mut stream = watch(&grpc, &tokens.access).await;
    let ended = tokio::task::spawn_blocking(move || grpc.terminate());
    let end = timeout(HANG, stream.message()).await.expect("the stream ends");
    assert!(end.expect("a clean end").is_none());
    assert!(ended.await.unwrap().0.success());
}
