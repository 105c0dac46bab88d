//! Writes claims as a signed token.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;

use super::{
    claims::JwtClaims,
    keys::{KeySet, SigningKey},
    token::payload::TokenType,
};
use crate::{
    clock::Timestamp,
    error::Error,
    ids::{SessionId, is_id},
};

/// Signs a claims set with the signing key of `keys`, and returns the token.
///
/// The header contains `alg`, `typ` and, if the key has a name, `kid`. `typ` is `at+jwt` for access
/// tokens (RFC 9068 section 2.1), and `rt+jwt` for refresh tokens.
///
/// # Errors
///
/// [`Error::Signing`] if the set has no signing key, or the key fails.
///
/// [`Error::Issue`] if no verifier would accept the claims:
///
/// * `sub`, `jti` or `sid` is empty, has over 255 bytes or has control characters,
/// * `exp` is not after `iat` and `nbf`, or not before the year 10 000,
/// * the custom claims do not serialize to an object, or one of them has a reserved name.
pub fn encode_jwt<C: Serialize>(keys: &KeySet, claims: &JwtClaims<C>) -> Result<String, Error> {
    let session_id = claims.session_id().map(SessionId::as_str);
    let ids = [Some(claims.subject.as_str()), Some(claims.token_id.as_str()), session_id];
    if !ids.into_iter().flatten().all(is_id) {
        return Err(Error::Issue(
            "`sub`, `jti` or `sid` is empty, over 255 bytes long or has control characters; correct the id".into(),
        ));
    }
    let begins = claims.issued_at.max(claims.not_before.unwrap_or_default());
    if claims.expires_at <= begins || claims.expires_at >= Timestamp::END_OF_TIME {
        return Err(Error::Issue(
            "`exp` is not after `iat` and `nbf`, or lies after the year 9999; correct the times".into(),
        ));
    }
    let key = keys.signing_key().ok_or(Error::Signing)?;
    Encoder::new(key, claims.token_type.unwrap_or(TokenType::Access)).encode(key, claims)
}

/// The first segment of a token: the encoded header. All tokens of one type and key share it.
#[derive(Debug)]
pub(crate) struct Encoder {
    header: String,
}

impl Encoder {
    /// Creates an encoder for tokens of `token_type` that `key` signs.
    pub(crate) fn new(key: &SigningKey, token_type: TokenType) -> Self {
        let typ = match token_type {
            TokenType::Access => "at+jwt",
            TokenType::Refresh => "rt+jwt",
        };
        let mut header = serde_json::json!({ "alg": key.algorithm().as_str(), "typ": typ });
        if let (Some(kid), Some(members)) = (key.kid(), header.as_object_mut()) {
            members.insert("kid".to_owned(), kid.into());
        }
        Self { header: URL_SAFE_NO_PAD.encode(header.to_string()) }
    }

    /// Returns the length of the encoded header segment in bytes.
    pub(crate) fn header_len(&self) -> usize {
        self.header.len()
    }

    /// Returns the length in bytes that the signed token would have. Does not sign, and otherwise
    /// fails like [`encode`](Self::encode).
    pub(crate) fn encoded_len<C: Serialize>(&self, claims: &C, signature_len: usize) -> Result<usize, Error> {
        let len = |bytes: usize| base64::encoded_len(bytes, false).unwrap_or(usize::MAX);
        let payload = payload(claims)?;
        Ok(self.header.len().saturating_add(len(payload.len())).saturating_add(len(signature_len)).saturating_add(2))
    }

    /// Encodes and signs the claims, and returns the token. Unlike [`encode_jwt`], does not check
    /// ids and times.
    pub(crate) fn encode<C: Serialize>(&self, key: &SigningKey, claims: &C) -> Result<String, Error> {
        let payload = payload(claims)?;
        let mut token = String::with_capacity(self.header.len() + payload.len() * 4 / 3 + 128);
        token.push_str(&self.header);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(&payload, &mut token);
        let signature = key.sign(token.as_bytes())?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(&signature, &mut token);
        Ok(token)
    }
}

fn payload<C: Serialize>(claims: &C) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(claims).map_err(|error| {
        Error::Issue(format!("the claims cannot be written as JSON ({error}); correct the claims").into())
    })
}
