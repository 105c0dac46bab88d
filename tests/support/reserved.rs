//! The names that custom claims must not use, as a list that does not depend on the crate's.

/// The claims that the crate itself reads or writes.
pub const RESERVED: [&str; 15] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "iat",
    "nbf",
    "jti",
    "type",
    "sid",
    "gen",
    "scope",
    "client_id",
    "atl",
    "cnf",
    "tb_stamp",
];
