//! The claims of an expired token, with which its user can still log out.

use crate::jwt::{JwtClaims, NoClaims};

/// The claims of an expired access token in the extensions of a logout request. Nothing else reads
/// this type, so an expired token gives no other right.
#[derive(Clone, Debug)]
pub(crate) struct ExpiredClaims(pub(crate) JwtClaims<NoClaims>);
