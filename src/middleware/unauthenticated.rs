//! The mark of requests that a layer passed on without claims.

use http::Extensions;

use super::rejection::{Rejection, RejectionKind};

/// The mark of a request that an [`AuthLayer`](super::AuthLayer) passed on without claims. The
/// layer is optional or switched off, or the request is exempt.
///
/// An extractor of claims answers 401 to a request with this mark. Without the mark the route has
/// no layer, and the extractor answers 500.
#[derive(Clone, Debug)]
pub struct Unauthenticated(());

impl Unauthenticated {
    pub(super) fn mark(extensions: &mut Extensions) {
        extensions.insert(Self(()));
    }
}

/// Returns true if a layer has passed on the request without claims.
pub(crate) fn is_unauthenticated(extensions: &Extensions) -> bool {
    extensions.get::<Unauthenticated>().is_some()
}

/// Returns the rejection of a request without claims: 401 if the client is anonymous, 500 if no
/// layer has checked the request.
pub(crate) fn missing_claims(extensions: &Extensions) -> Rejection {
    if is_unauthenticated(extensions) {
        return Rejection::new(RejectionKind::NoCredentials);
    }
    #[cfg(feature = "tracing")]
    tracing::error!("the request has no claims; put the route inside an `AuthLayer` with the same claims type");
    Rejection::new(RejectionKind::Internal)
}
