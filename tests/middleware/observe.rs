//! The challenges and 403s that an observer learns, each exactly once.

use std::{convert::Infallible, future::ready};

use http::{Request, Response, header::AUTHORIZATION};
use http_body_util::Empty;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_bearer::{
    AuthLayer, NewSession,
    error::StoreErrorKind,
    middleware::{CurrentUserLayer, Rejection},
    observe::{ChallengeError, Observation},
};

use crate::support::{Behaviour, Fixture, Observations, Users};

type Body = Empty<bytes::Bytes>;

fn is_rejection(observation: &Observation) -> bool {
    matches!(observation, Observation::Challenge { .. } | Observation::Forbid)
}

/// Sends a request. Returns the status, and the rejections that the observer learned.
async fn call<S, B>(
    service: S,
    authorization: Option<&str>,
    observations: &Observations,
) -> (u16, Vec<Option<ChallengeError>>)
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible>,
{
    observations.take();
    let mut request = Request::get("/").body(Body::new()).unwrap();
    if let Some(text) = authorization {
        request.headers_mut().insert(AUTHORIZATION, text.parse().unwrap());
    }
    let status = service.oneshot(request).await.unwrap().status().as_u16();
    let rejections = observations.take().into_iter().filter(is_rejection).map(|observation| match observation {
        Observation::Challenge { error, .. } => Some(error),
        _ => None,
    });
    (status, rejections.collect())
}

#[tokio::test]
async fn each_rejection_is_observed_once() {
    const FORBID: Option<ChallengeError> = None;
    let observations = Observations::default();
    let fixture = Fixture::with(|builder| builder.observer(observations.clone()));
    let auth = AuthLayer::new(fixture.tokens.clone());
    let hello = service_fn(|_: Request<Body>| ready(Ok::<_, Infallible>(Response::new(Body::new()))));
    let forbids =
        service_fn(|_: Request<Body>| ready(Ok::<_, Infallible>(Rejection::forbidden().into_response::<BodyOf>())));
    let token = format!("Bearer {}", fixture.access("read").await);
    let token = Some(token.as_str());

    let plain = auth.layer(hello);
    assert_eq!(call(plain.clone(), token, &observations).await, (200, vec![]));
    assert_eq!(call(plain.clone(), None, &observations).await, (401, vec![Some(ChallengeError::None)]));
    let (status, seen) = call(plain.clone(), Some("Bearer a b"), &observations).await;
    assert_eq!((status, seen), (400, vec![Some(ChallengeError::InvalidRequest)]));
    let (status, seen) = call(plain.clone(), Some("Bearer a.b.c"), &observations).await;
    assert_eq!((status, seen), (401, vec![Some(ChallengeError::InvalidToken)]));

    // A layer inside, alone and inside two.
    let scoped = auth.require_scope("admin").unwrap().layer(hello);
    assert_eq!(call(auth.layer(scoped.clone()), token, &observations).await, (403, vec![FORBID]));
    assert_eq!(call(auth.layer(auth.layer(scoped)), token, &observations).await, (403, vec![FORBID]));
    // A handler that returns a rejection, with a cutoff and without one.
    for cutoff in [true, false] {
        let layer = auth.clone().cutoff(cutoff);
        assert_eq!(call(layer.layer(forbids), token, &observations).await, (403, vec![FORBID]), "{cutoff}");
        let nested = auth.layer(layer.layer(forbids));
        assert_eq!(call(nested, token, &observations).await, (403, vec![FORBID]), "{cutoff}");
    }
    // Requests without claims: the handler and the lookup of the user need some.
    let optional = auth.clone().optional();
    assert_eq!(call(optional.layer(forbids), None, &observations).await, (403, vec![FORBID]));
    let users = CurrentUserLayer::new(&auth, std::sync::Arc::new(Users));
    let user = optional.layer(users.layer(hello));
    assert_eq!(call(user.clone(), None, &observations).await, (401, vec![Some(ChallengeError::None)]));
    let gone = fixture.tokens.create_access_token(NewSession::new("43")).await.unwrap();
    let gone = format!("Bearer {}", gone.as_str());
    assert_eq!(call(user, Some(&gone), &observations).await, (401, vec![Some(ChallengeError::InvalidToken)]));

    // An answer of the store that comes later.
    fixture.store.answer(Behaviour::Late);
    fixture.tokens.revoke_all_for_subject("42").await.unwrap();
    let (status, seen) = call(plain.clone(), token, &observations).await;
    assert_eq!((status, seen), (401, vec![Some(ChallengeError::InvalidToken)]));
    fixture.store.answer(Behaviour::Fails(StoreErrorKind::Timeout));
    assert_eq!(call(plain, token, &observations).await, (503, vec![]), "a 503 is no rejection of the token");
}

type BodyOf = http_body_util::Full<bytes::Bytes>;
