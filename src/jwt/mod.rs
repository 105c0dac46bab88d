//! Signs claims as tokens, and verifies tokens. The module uses no store and no HTTP. The caller
//! passes the time or a clock.
//!
//! A token must pass these rules, in this order:
//!
//! 1. `token::compact`: three canonical base64url segments, at most [`Validation::max_token_len`]
//!    bytes (RFC 7515 section 7.1).
//! 2. The header: an object without duplicate members, with a supported `alg`, and without `crit`,
//!    `b64`, `zip`, `enc` and `cty`.
//! 3. `keys::key`: one key, one algorithm. The signature is checked before any claim is read (RFC
//!    8725 section 3.1).
//! 4. `token::payload`: an object without duplicate members. Each registered claim that is present
//!    has the type of its RFC.
//! 5. `validation`: times, issuer, audience and token type. The application's claims come last.
//!
//! The crate uses `jsonwebtoken` for keys and signatures only. The library's checks of headers and
//! claims are too weak. They ignore `crit`, treat `aud` and `iss` of a wrong type as absent, and
//! accept a token whose `exp` is now. They accept arrays as claims sets, and have no size limit and
//! no replaceable clock.
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
