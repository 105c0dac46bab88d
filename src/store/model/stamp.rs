//! The stamp of a log entry.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use crate::clock::Timestamp;

/// The length of a stamp in bytes: 8 for the time, 4 for the hash. In base64, without padding, it
/// has 16 characters.
const LEN: usize = 12;

/// A short name of a log entry: its time, and a hash of its random name
/// ([`nonce`](super::LogEntry::nonce)).
///
/// An access token that is issued shortly after a revocation of its user contains the stamp. A node
/// compares the stamp with the entries that it has read. A stamp does not contain the number of the
/// entry, so clients cannot derive the number of revocations. See `docs/protocol.md`, section 5.6.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct LogStamp {
    at: Timestamp,
    /// A hash of the entry's nonce.
    name: u32,
}

impl LogStamp {
    /// Creates the stamp of an entry from its time and its [`nonce`](super::LogEntry::nonce).
    #[must_use]
    pub fn new(at: Timestamp, nonce: &str) -> Self {
        Self { at, name: fnv(nonce.as_bytes()) }
    }

    /// Returns the time at which the entry was written.
    #[must_use]
    pub fn at(self) -> Timestamp {
        self.at
    }

    /// Returns the text for a token. All texts have 16 characters.
    pub(crate) fn to_text(self) -> String {
        let mut bytes = [0; LEN];
        let content = self.at.as_millis().to_be_bytes().into_iter().chain(self.name.to_be_bytes());
        bytes.iter_mut().zip(content).for_each(|(byte, value)| *byte = value);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Reads a stamp from the text in a token. For an invalid text, returns a stamp that no log
    /// entry has. The node then asks the store about the token, as for every stamp that it does not
    /// know.
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

/// Returns a hash (FNV-1a) that is the same on every node. The hash need not be cryptographic,
/// because a nonce is random and contains no secret.
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
