//! Signs claims as tokens, and verifies tokens. The module uses no store and no HTTP. The caller
//! passes the time or a clock.
//!
//! The module checks a token in this order:
//!
//! 1. `token::compact`: the text has three canonical base64url segments and at most
//!    [`Validation::max_token_len`] bytes (RFC 7515 section 7.1).
//! 2. `token::compact`: the header is an object without duplicate members. It has a supported
//!    `alg`, and none of `crit`, `b64`, `zip`, `enc` and `cty`.
//! 3. `keys::key`: a key with the header's algorithm verifies the signature. No claim is trusted
//!    before this step (RFC 8725 section 3.1).
//! 4. `token::payload`: the payload is an object without duplicate members. Each registered claim
//!    that is present has the type of its RFC.
//! 5. `validation`: times, issuer, audience and token type are acceptable.
//! 6. The application's claims fit the application's type.
//!
//! The crate uses `jsonwebtoken` only for keys and signatures, because the library's checks of
//! headers and claims are too weak:
//!
//! * It ignores `crit`.
//! * It treats an `aud` or `iss` of a wrong type as absent.
//! * It accepts a token whose `exp` is the current second, and a claims set that is an array.
//! * It has no size limit and no replaceable clock.
//!
//! ```
//! use std::time::Duration;
//! use tower_bearer::{
//!     TokenId,
//!     clock::Timestamp,
//!     jwt::{
//!         Algorithm, JwtClaims, KeySet, NoClaims, SigningKey, TokenType, Validation,
//!         encode_jwt, validate_jwt_stateless,
//!     },
//! };
//!
//! let key = SigningKey::from_secret(Algorithm::HS256, b"a test key that nobody else must know")?;
//! let keys = KeySet::signing(key);
//! let now = Timestamp::from_secs(1_767_225_660);
//!
//! let (id, lifetime) = (TokenId::new("token-1"), Duration::from_secs(1800));
//! let claims = JwtClaims::new("42", id, TokenType::Access, now, lifetime, NoClaims {})
//!     .with_issuer("https://api.example.com")
//!     .with_audience(["api"]);
//! let token = encode_jwt(&keys, &claims)?;
//!
//! let rules = Validation::new().issuer("https://api.example.com").audience("api");
//! let claims = validate_jwt_stateless::<NoClaims>(&token, &keys, &rules, TokenType::Access, now)?;
//! assert_eq!(claims.subject(), "42");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod claims;
mod encode;
mod json;
mod keys;
mod reserved;
mod token;
mod validation;
#[cfg(all(test, any(feature = "aws-lc-rs", feature = "rust-crypto")))]
mod vectors;

pub(crate) use self::{
    claims::{Admitted, External, Mapped, RequestNotes, TokenNames, Verifier},
    encode::Encoder,
    keys::NoKeys,
    reserved::reserved_member_of,
    token::{
        compact::{DEFAULT_MAX_TOKEN_LEN, Header, UnverifiedToken, longest_header},
        payload::Payload,
    },
};
pub use self::{
    claims::{Claims, IssuerSubject, JwtClaims, NoClaims},
    encode::encode_jwt,
    keys::{Algorithm, KeySet, SigningKey, VerifyingKey},
    token::{
        compact::verify_compact,
        payload::{RawClaims, Scope, TokenType},
    },
    validation::{AccessTyp, Validation, decode_token, validate_jwt_stateless},
};
