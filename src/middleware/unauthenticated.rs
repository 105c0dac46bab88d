//! Requests that a layer passed on without claims.

use http::Extensions;

use super::rejection::{Rejection, RejectionKind};

/// Marks a request that an [`AuthLayer`](super::AuthLayer) passed on without claims, because it is
/// optional, the request exempt, or the layer switched off.
///
/// The layer puts it into the request's extensions. By it an extractor distinguishes an anonymous
/// client (401) from a route without a layer (500).
#[derive(Clone, Debug)]
pub struct Unauthenticated(());

impl Unauthenticated {
    pub(super) fn mark(extensions: &mut Extensions) {
        extensions.insert(Self(()));
    }
}

/// Returns the rejection of a request that should have claims and has none. Its client is
/// anonymous, or the application lacks the layer that puts claims there.
pub(crate) fn missing_claims(extensions: &Extensions) -> Rejection {
    if extensions.get::<Unauthenticated>().is_some() {
        return Rejection::new(RejectionKind::NoCredentials);
    }
    #[cfg(feature = "tracing")]
    tracing::error!(
        "claims are needed, but the request has none: put it behind an `AuthLayer` of the same claims type"
    );
    Rejection::new(RejectionKind::Internal)
}
