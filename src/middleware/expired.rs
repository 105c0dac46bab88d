//! The claims of an expired token. The user of the token can still log out with them.

use crate::jwt::{JwtClaims, NoClaims};

/// The claims of an expired access token in the extensions of a logout request. Only a logout reads
/// this type, so an expired token gives no other right.
#[derive(Clone, Debug)]
pub(crate) struct ExpiredClaims(pub(crate) JwtClaims<NoClaims>);
