//! The compact serialization of a JWS (RFC 7515 sections 3.1 and 7.1).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::{KeySet, header::Header};
use crate::error::TokenError;

/// A token's header and payload, after its signature was verified.
pub(super) struct Verified {
    pub(super) header: Header,
    pub(super) payload: Vec<u8>,
}

/// Verifies a compact JWS: text, header, key and signature; the payload may be anything.
///
/// The order keeps hostile input cheap: the length first, then the segments, then the header, and the payload is not decoded
/// before its signature is known to be good.
pub(super) fn verify_compact(keys: &KeySet, token: &[u8], max_len: usize) -> Result<Verified, TokenError> {
    if token.len() > max_len {
        return Err(TokenError::Malformed("it is longer than allowed"));
    }
    let Segments { signing_input, header, payload, signature } = split(token)?;
    let header = Header::parse(&decode_segment(header)?)?;
    let signature = decode_segment(signature)?;
    if !keys.candidates(header.kid.as_deref(), header.alg).any(|key| key.verify(signing_input, &signature)) {
        return Err(TokenError::Signature);
    }
    Ok(Verified { header, payload: decode_segment(payload)? })
}

struct Segments<'a> {
    signing_input: &'a [u8],
    header: &'a [u8],
    payload: &'a [u8],
    signature: &'a [u8],
}

/// Exactly three segments, none of them empty. More dots than two are not looked for: they are not base64url.
fn split(token: &[u8]) -> Result<Segments<'_>, TokenError> {
    const NOT_COMPACT: TokenError = TokenError::Malformed("it is not three segments of base64url");

    let mut segments = token.splitn(3, |&byte| byte == b'.');
    let (Some(header), Some(payload), Some(signature)) = (segments.next(), segments.next(), segments.next()) else {
        return Err(NOT_COMPACT);
    };
    if header.is_empty() || payload.is_empty() || signature.is_empty() {
        return Err(NOT_COMPACT);
    }
    // The signing input is everything before the dot before the signature.
    let end = token.len().saturating_sub(signature.len() + 1);
    let signing_input = token.get(..end).ok_or(NOT_COMPACT)?;
    Ok(Segments { signing_input, header, payload, signature })
}

/// Canonical unpadded base64url (RFC 7515 section 2, appendix C): no padding, no other alphabet, no stray bits at the end,
/// so that no two texts are the same token.
fn decode_segment(segment: &[u8]) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(segment).map_err(|_| TokenError::Malformed("a segment is not canonical base64url"))
}
