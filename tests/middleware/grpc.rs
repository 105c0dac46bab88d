//! A real gRPC client against a real server behind the layer.

use std::{pin::Pin, sync::Arc};

use futures_util::Stream;
use tonic::{
    Code, Request, Response, Status,
    metadata::{Ascii, MetadataValue},
    service::LayerExt,
    transport::Server,
};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_server::{Health, HealthServer},
};
use tower::Layer;
use tower_bearer::{
    AuthLayer, Error, NewSession, NoClaims,
    error::{StoreErrorKind, TokenError},
    middleware::CurrentUserLayer,
    tonic::RequestClaims,
};

use crate::support::{
    Behaviour, Fixture, Users, bad_tokens,
    grpc_server::{GrpcServer, run_grpc},
};

/// The stream type of the generated trait.
type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// A health service: SERVING for user 42, `NOT_SERVING` for others, UNKNOWN without claims.
#[derive(Clone, Default)]
struct ByClaims {
    optional: bool,
}

impl ByClaims {
    #[allow(clippy::result_large_err, reason = "tonic's own error type is large")]
    fn answer<T>(&self, request: &Request<T>) -> Result<HealthCheckResponse, Status> {
        let claims =
            if self.optional { request.optional_claims::<NoClaims>()? } else { Some(request.claims::<NoClaims>()?) };
        let status = claims.map_or(0, |claims| if claims.subject() == "42" { 1 } else { 2 });
        Ok(HealthCheckResponse { status })
    }
}

#[tonic::async_trait]
impl Health for ByClaims {
    type WatchStream = BoxStream<HealthCheckResponse>;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        self.answer(&request).map(Response::new)
    }

    async fn watch(&self, request: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let message = self.answer(&request)?;
        Ok(Response::new(Box::pin(futures_util::stream::iter([Ok(message), Ok(message)]))))
    }
}

fn ask(token: Option<&str>) -> Request<HealthCheckRequest> {
    let mut request = Request::new(HealthCheckRequest::default());
    if let Some(token) = token {
        let value: MetadataValue<Ascii> = format!("Bearer {token}").parse().unwrap();
        request.metadata_mut().insert("authorization", value);
    }
    request
}

impl GrpcServer {
    async fn check(&self, token: Option<&str>) -> Result<i32, Code> {
        match self.client.clone().check(ask(token)).await {
            Ok(response) => Ok(response.into_inner().status),
            Err(status) => Err(status.code()),
        }
    }
}

#[tokio::test]
async fn a_client_is_answered_or_refused_by_code() {
    let fixture = Fixture::new();
    let (_reporter, health) = tonic_health::server::health_reporter();
    let running = run_grpc!(Server::builder().layer(AuthLayer::new(fixture.tokens.clone())).add_service(health));
    let token = fixture.access("").await;
    for behaviour in [Behaviour::AtOnce, Behaviour::Late] {
        fixture.store.answer(behaviour);
        assert_eq!(running.check(Some(&token)).await, Ok(1), "{behaviour:?}");
        assert_eq!(running.check(None).await, Err(Code::Unauthenticated));
        assert_eq!(running.check(Some("a b")).await, Err(Code::Unauthenticated));
    }
    for kind in [StoreErrorKind::Unavailable, StoreErrorKind::Timeout] {
        fixture.store.answer(Behaviour::Fails(kind));
        assert_eq!(running.check(Some(&token)).await, Err(Code::Unavailable));
    }
    fixture.store.answer(Behaviour::AtOnce);
    for (fault, token) in bad_tokens(&fixture).await {
        assert_eq!(running.check(Some(&token)).await, Err(Code::Unauthenticated), "{fault}");
    }
    assert_eq!(running.check(Some(&fixture.access("").await)).await, Ok(1), "the connection still serves");
}

#[tokio::test]
async fn every_layer_keeps_the_name_of_its_service() {
    let fixture = Fixture::new();
    let auth = AuthLayer::new(fixture.tokens.clone());
    let users = CurrentUserLayer::new(&auth, Arc::new(Users));
    let service =
        auth.layer(auth.require_scope("read").unwrap().layer(users.layer(HealthServer::new(ByClaims::default()))));
    let by_name = run_grpc!(Server::builder().add_service(service));
    let layered = run_grpc!(Server::builder().add_service(auth.named_layer(HealthServer::new(ByClaims::default()))));
    let token = fixture.access("read").await;
    for running in [by_name, layered] {
        assert_eq!(running.check(Some(&token)).await, Ok(1));
        assert_eq!(running.check(None).await, Err(Code::Unauthenticated));
    }
}

#[tokio::test]
async fn the_handler_gets_the_claims_nobody_or_a_fault_of_ours() {
    let fixture = Fixture::new();
    let auth = || AuthLayer::new(fixture.tokens.clone()).optional();
    let other = fixture.tokens.create_access_token(NewSession::new("43")).await.unwrap();
    let service = |optional| HealthServer::new(ByClaims { optional });
    let optional = run_grpc!(Server::builder().layer(auth()).add_service(service(true)));
    assert_eq!(optional.check(Some(other.as_str())).await, Ok(2));
    assert_eq!(optional.check(None).await, Ok(0));
    let required = run_grpc!(Server::builder().layer(auth()).add_service(service(false)));
    assert_eq!(required.check(Some(other.as_str())).await, Ok(2));
    assert_eq!(required.check(None).await, Err(Code::Unauthenticated));
    for optional in [true, false] {
        let bare = run_grpc!(Server::builder().add_service(service(optional)));
        assert_eq!(bare.check(Some(other.as_str())).await, Err(Code::Internal), "under no layer nobody may pass");
    }
}

#[test]
fn an_error_becomes_the_status_that_the_layer_would_answer() {
    for (error, code, message) in [
        (Error::from(TokenError::Signature), Code::Unauthenticated, "invalid_token"),
        (Error::from(TokenError::Reused), Code::Unauthenticated, "invalid_token"),
        (Error::InvalidCredentials, Code::Unauthenticated, "invalid_grant"),
        (Error::LoginSuperseded, Code::Unauthenticated, "invalid_grant"),
        (
            tower_bearer::error::StoreError::new(StoreErrorKind::Layout).into(),
            Code::Unavailable,
            "temporarily_unavailable",
        ),
        (Error::Signing, Code::Internal, "server_error"),
        (Error::Application("the database is down".into()), Code::Internal, "server_error"),
    ] {
        let cause = error.to_string();
        let status = Status::from(error);
        assert_eq!((status.code(), status.message()), (code, message));
        let source = std::error::Error::source(&status).expect("the cause, for logs");
        assert_eq!(source.to_string(), cause);
        let sent = status.into_http::<tonic::body::Body>();
        assert!(!format!("{:?}", sent.headers()).contains(&cause), "the cause is not sent");
    }
}

#[tonic::async_trait]
impl Health for Users {
    type WatchStream = BoxStream<HealthCheckResponse>;

    async fn check(&self, request: Request<HealthCheckRequest>) -> Result<Response<HealthCheckResponse>, Status> {
        assert_eq!(*request.current_user::<String>()?, "alice");
        Ok(Response::new(HealthCheckResponse { status: 1 }))
    }

    async fn watch(&self, _: Request<HealthCheckRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("not needed"))
    }
}

#[tokio::test]
async fn the_handler_gets_the_user() {
    let fixture = Fixture::new();
    let auth = AuthLayer::new(fixture.tokens.clone());
    let users = CurrentUserLayer::new(&auth, Arc::new(Users));
    let both = run_grpc!(Server::builder().layer(auth.clone()).layer(users).add_service(HealthServer::new(Users)));
    let token = fixture.access("").await;
    assert_eq!(both.check(Some(&token)).await, Ok(1));
    let only_auth = run_grpc!(Server::builder().layer(auth).add_service(HealthServer::new(Users)));
    assert_eq!(only_auth.check(Some(&token)).await, Err(Code::Internal));
}
