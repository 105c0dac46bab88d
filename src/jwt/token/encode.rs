//! The text of a token from its claims.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;

use crate::{
    error::Error,
    jwt::{keys::SigningKey, token_type::TokenType},
};

/// The header segment of the tokens of one type and key. It is encoded once, not at every mint.
#[derive(Debug)]
pub(crate) struct Encoder {
    header: String,
}

impl Encoder {
    /// Creates the encoder of tokens of this type, signed by `key`.
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

    /// Returns the length of the header segment.
    pub(crate) fn header_len(&self) -> usize {
        self.header.len()
    }

    /// Returns the length that the token would have. Fails as [`encode`](Self::encode) would,
    /// except that it does not sign.
    pub(crate) fn encoded_len<C: Serialize>(&self, claims: &C, signature_len: usize) -> Result<usize, Error> {
        let len = |bytes: usize| base64::encoded_len(bytes, false).unwrap_or(usize::MAX);
        let payload = payload(claims)?;
        Ok(self.header.len().saturating_add(len(payload.len())).saturating_add(len(signature_len)).saturating_add(2))
    }

    /// Signs the claims and returns the token.
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
    serde_json::to_vec(claims).map_err(|error| Error::Issue(error.to_string().into()))
}
