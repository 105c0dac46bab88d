//! The endpoints for monitors and load balancers: health, readiness and liveness.

use std::fmt;

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header::RETRY_AFTER, request::Parts};
use http_body_util::Full;
use serde::Serialize;

use super::{answer::json, endpoint::Handle, fields::Fields};
use crate::{
    middleware::{RETRY_AFTER_SECONDS, Rejection},
    tokens::{Condition, ConditionKind, ServiceHealth, TokenService},
};

/// The handler of [`Endpoints::health`](super::Endpoints::health).
pub struct Health<C> {
    pub(super) tokens: TokenService<C>,
    pub(super) shows_details: bool,
}

/// The handler of [`Endpoints::ready`](super::Endpoints::ready).
pub struct Ready<C> {
    pub(super) tokens: TokenService<C>,
    pub(super) shows_details: bool,
}

/// The handler of [`Endpoints::live`](super::Endpoints::live).
#[derive(Debug)]
pub struct Live;

/// The body of a response without details.
#[derive(Serialize)]
struct Brief {
    status: ServiceHealth,
}

/// The body of a response about readiness.
#[derive(Serialize)]
struct WithReasons {
    status: ServiceHealth,
    reasons: Vec<ConditionKind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    conditions: Option<Vec<Condition>>,
}

impl<C: Send + Sync + 'static> Handle for Health<C> {
    const METHODS: &'static [Method] = &[Method::GET, Method::HEAD];
    const READS_BODY: bool = false;

    async fn handle(&self, _: Parts, _: Fields) -> Result<Response<Full<Bytes>>, Rejection> {
        let readiness = self.tokens.readiness().await;
        let mut status = self.tokens.status().await;
        if !readiness.is_ready {
            status.note_unready();
        }
        Ok(if self.shows_details {
            respond(status.status, &status)
        } else {
            respond(status.status, &Brief { status: status.status })
        })
    }
}

impl<C: Send + Sync + 'static> Handle for Ready<C> {
    const METHODS: &'static [Method] = &[Method::GET, Method::HEAD];
    const READS_BODY: bool = false;

    async fn handle(&self, _: Parts, _: Fields) -> Result<Response<Full<Bytes>>, Rejection> {
        let readiness = self.tokens.readiness().await;
        let status = if readiness.is_ready { ServiceHealth::Ok } else { ServiceHealth::Unavailable };
        let reasons = readiness.conditions.iter().map(|condition| condition.kind).collect();
        let conditions = self.shows_details.then_some(readiness.conditions);
        Ok(respond(status, &WithReasons { status, reasons, conditions }))
    }
}

impl Handle for Live {
    const METHODS: &'static [Method] = &[Method::GET, Method::HEAD];
    const READS_BODY: bool = false;

    async fn handle(&self, _: Parts, _: Fields) -> Result<Response<Full<Bytes>>, Rejection> {
        Ok(respond(ServiceHealth::Ok, &Brief { status: ServiceHealth::Ok }))
    }
}

/// Returns the response 200 if the service is healthy, and 503 with `Retry-After` otherwise.
fn respond(status: ServiceHealth, body: &impl Serialize) -> Response<Full<Bytes>> {
    if status == ServiceHealth::Ok {
        return json(StatusCode::OK, body);
    }
    let mut response = json(StatusCode::SERVICE_UNAVAILABLE, body);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
    response
}

impl<C> fmt::Debug for Health<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Health").finish_non_exhaustive()
    }
}

impl<C> fmt::Debug for Ready<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ready").finish_non_exhaustive()
    }
}
