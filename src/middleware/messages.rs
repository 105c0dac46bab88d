//! The messages in a gRPC body, and the status that ends the body after a cutoff.
//!
//! A message is a flag byte, a length of four bytes and the data (gRPC over HTTP/2,
//! "Length-Prefixed Message"). A frame of the body can end at any byte of a message.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::cutoff::CutoffCause;

pub(super) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
pub(super) const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The status UNAUTHENTICATED: the client needs another token.
const UNAUTHENTICATED: &str = "16";
/// The flag of the gRPC-Web frame that contains the trailers.
const TRAILERS: u8 = 0x80;
/// The size of a message's prefix in bytes: 1 for the flag, and 4 for the length of the data.
const PREFIX: u8 = 5;

/// The position in a gRPC body: between two messages, or within one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Messages {
    /// The number of bytes of the prefix that were sent. 0 between two messages.
    prefix: u8,
    /// Within the prefix: the value of the length bytes that were sent so far. After the prefix:
    /// the number of data bytes that are not sent yet.
    left: u32,
    /// True once a gRPC-Web body has sent its trailers. Nothing may follow them.
    have_ended: bool,
}

impl Messages {
    /// Returns true if the position is between two messages.
    pub(super) fn is_between(self) -> bool {
        self.prefix == 0
    }

    /// Returns true once a gRPC-Web body has sent its trailers.
    pub(super) fn have_ended(self) -> bool {
        self.have_ended
    }

    /// Moves the position past `data`, the next bytes of the body.
    pub(super) fn pass(&mut self, mut data: &[u8]) {
        while let Some((&byte, rest)) = data.split_first() {
            if self.prefix < PREFIX {
                self.have_ended |= self.prefix == 0 && byte & TRAILERS != 0;
                // The first byte is the flag. The next four are the length, most significant first.
                self.left = if self.prefix == 0 { 0 } else { self.left << 8 | u32::from(byte) };
                self.prefix += 1;
                data = rest;
            } else {
                let passed = u32::try_from(data.len()).unwrap_or(u32::MAX).min(self.left);
                self.left -= passed;
                data = data.get(usize::try_from(passed).unwrap_or(usize::MAX)..).unwrap_or_default();
            }
            if self.prefix == PREFIX && self.left == 0 {
                self.prefix = 0;
            }
        }
    }
}

/// Returns the trailers that end a gRPC body.
pub(super) fn end_of_grpc(cause: CutoffCause) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    trailers.insert(GRPC_STATUS, HeaderValue::from_static(UNAUTHENTICATED));
    trailers.insert(GRPC_MESSAGE, HeaderValue::from_static(cause.as_str()));
    trailers
}

/// Returns the frame that ends a gRPC-Web body. In gRPC-Web the trailers are part of the body.
pub(super) fn end_frame_of_grpc_web(cause: CutoffCause) -> Bytes {
    let trailers = format!("grpc-status: {UNAUTHENTICATED}\r\ngrpc-message: {}\r\n", cause.as_str());
    let mut frame = BytesMut::with_capacity(usize::from(PREFIX) + trailers.len());
    frame.put_u8(TRAILERS);
    frame.put_u32(u32::try_from(trailers.len()).unwrap_or_default());
    frame.put_slice(trailers.as_bytes());
    frame.freeze()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_body_is_between_messages_exactly_at_their_ends(
            lengths in prop::collection::vec(0_usize..70_000, 0..5), cuts in prop::collection::vec(1_usize..30_000, 1..20),
        ) {
            let (mut body, mut ends) = (Vec::new(), vec![0]);
            for length in &lengths {
                body.push(1);
                body.extend(u32::try_from(*length).unwrap().to_be_bytes());
                body.resize(body.len() + length, 0xff);
                ends.push(body.len());
            }
            let (mut messages, mut at) = (Messages::default(), 0);
            for cut in cuts.iter().cycle() {
                prop_assert_eq!(messages.is_between(), ends.contains(&at), "{} of {:?}", at, ends);
                if at == body.len() {
                    break;
                }
                let end = (at + cut).min(body.len());
                messages.pass(&body[at..end]);
                at = end;
            }
        }
    }

    #[test]
    fn each_byte_of_a_prefix_is_within_a_message() {
        let mut messages = Messages::default();
        for byte in [0, 0, 0, 0, 2, b'a'] {
            messages.pass(&[byte]);
            assert!(!messages.is_between());
        }
        messages.pass(b"b");
        assert!(messages.is_between());
        messages.pass(&[0; 5]);
        assert!(messages.is_between(), "a message without data");
    }
}
