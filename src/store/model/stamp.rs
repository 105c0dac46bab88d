//! The stamp of a log entry.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::clock::Timestamp;

/// The length of a stamp in bytes: time and name. Its text (base64) is a third longer, without
/// padding.
const LEN: usize = 12;

/// The time and the name of a log entry, in a short form for access tokens.
///
/// With the stamp, a node can check if it has read the log up to that entry. A stamp does not
/// contain the sequence, so clients cannot derive the number of revocations. See
/// `docs/protocol.md`, section 5.6.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct LogStamp {
    at: Timestamp,
    /// A hash of the entry's nonce.
    name: u32,
}

impl LogStamp {
    /// Creates the stamp of the entry with this time and [`nonce`](super::LogEntry::nonce).
    #[must_use]
    pub fn new(at: Timestamp, nonce: &str) -> Self {
        Self { at, name: fnv(nonce.as_bytes()) }
    }

    /// Returns the time at which the entry was written.
    #[must_use]
    pub fn at(self) -> Timestamp {
        self.at
    }

    /// Returns the text for a token. The texts of all stamps have the same length.
    pub(crate) fn to_text(self) -> String {
        let mut bytes = [0; LEN];
        let content = self.at.as_millis().to_be_bytes().into_iter().chain(self.name.to_be_bytes());
        bytes.iter_mut().zip(content).for_each(|(byte, value)| *byte = value);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads the text in a token. An invalid text becomes a stamp that belongs to no log entry. So
    /// a node with an invalid stamp asks the store, as for the stamp of an entry that it lacks.
    pub(crate) fn of_text(text: &str) -> Self {
        let mut bytes = [0; LEN];
        if text.len() == LEN / 3 * 4 && URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) == Ok(LEN) {
            let [a, b, c, d, e, f, g, h, name @ ..] = bytes;
            let at = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
            return Self { at: Timestamp::from_millis(at), name: u32::from_be_bytes(name) };
        }
        Self { at: Timestamp::from_millis(u64::MAX), name: fnv(text.as_bytes()) }
    }
}

/// Returns a hash that is the same on every node (FNV-1a). A cryptographic hash is not necessary:
/// a nonce is random, so a client learns nothing useful from its hash.
fn fnv(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_comes_back_from_its_text_and_all_texts_are_equally_long() {
        for at in [0, 1, 1_767_225_660_123, u64::MAX] {
            let stamp = LogStamp::new(Timestamp::from_millis(at), "a nonce");
            assert_eq!(LogStamp::of_text(&stamp.to_text()), stamp);
            assert_eq!(stamp.to_text().len(), 16);
        }
    }

    #[test]
    fn the_text_of_a_stamp_never_changes() {
        let stamp = LogStamp::new(Timestamp::from_millis(1_767_225_660_123), "c9JbZk1o5S8jX8c1QH2oJg");
        assert_eq!(stamp.to_text(), "AAABm3bbktvh4kRV");
        assert_ne!(stamp, LogStamp::new(stamp.at(), "c9JbZk1o5S8jX8c1QH2oJh"));
    }

    #[test]
    fn any_other_text_is_the_stamp_of_no_entry() {
        let long = "A".repeat(4096);
        for text in ["", "A", "AAABm3bbktvh4kw", "AAABm3bbktvh4kRVA", "AAABm3bbktvh4kw=", "AAABm3bbktvh4k\u{e9}", &long]
        {
            let stamp = LogStamp::of_text(text);
            assert_eq!(stamp.at().as_millis(), u64::MAX, "{text}");
            assert_eq!(stamp, LogStamp::of_text(text));
        }
    }
}
