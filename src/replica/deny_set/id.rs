//! Ids in few bytes. A node may store millions of ids, and most of them are texts that encode 128
//! bits.
//!
//! [`PackedId::of`] packs an id only if its text is the canonical encoding of its bits. So two
//! packed ids are equal if and only if their texts are equal.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use uuid::{Uuid, fmt::Hyphenated};

/// The length of the longest text that encodes 128 bits.
pub(super) const LONGEST_TEXT: usize = Hyphenated::LENGTH;
/// The length of 128 bits in base64url.
const RANDOM: usize = 22;

/// An id, as text or as the bits that its text encodes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum PackedId<'a> {
    /// A text that is not packed.
    Text(&'a [u8]),
    /// 128 bits in base64url, the form of this crate's own ids.
    Random([u8; 16]),
    /// 128 bits in the form of RFC 9562 section 4: hyphens, and lower case.
    Uuid([u8; 16]),
}

impl<'a> PackedId<'a> {
    pub(super) const EMPTY: Self = Self::Text(&[]);

    pub(super) fn of(text: &'a str) -> Self {
        let bits = match text.len() {
            RANDOM => random(text).map(Self::Random),
            Hyphenated::LENGTH => uuid(text).map(|uuid| Self::Uuid(uuid.into_bytes())),
            _ => None,
        };
        bits.unwrap_or(Self::Text(text.as_bytes()))
    }

    /// Returns the number of the id's variant, which fits into 2 bits.
    pub(super) fn form(&self) -> u8 {
        match self {
            Self::Text(_) => 0,
            Self::Random(_) => 1,
            Self::Uuid(_) => 2,
        }
    }

    /// Reads an id of this form. Returns the id and the bytes after it.
    pub(super) fn read(form: u8, bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        match form {
            0 => {
                let (length, bytes) = bytes.split_first_chunk::<2>()?;
                let (text, rest) = bytes.split_at_checked(u16::from_le_bytes(*length).into())?;
                Some((Self::Text(text), rest))
            }
            1 => bytes.split_first_chunk().map(|(bits, rest)| (Self::Random(*bits), rest)),
            2 => bytes.split_first_chunk().map(|(bits, rest)| (Self::Uuid(*bits), rest)),
            _ => None,
        }
    }

    /// Appends the id to `to`. Returns `None` if its length does not fit into 16 bits.
    pub(super) fn write(&self, to: &mut Vec<u8>) -> Option<()> {
        match self {
            Self::Text(text) => {
                to.extend_from_slice(&u16::try_from(text.len()).ok()?.to_le_bytes());
                to.extend_from_slice(text);
            }
            Self::Random(bits) | Self::Uuid(bits) => to.extend_from_slice(bits),
        }
        Some(())
    }

    /// Returns the count of bytes that [`write`](Self::write) appends.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Text(text) => 2 + text.len(),
            Self::Random(bits) | Self::Uuid(bits) => bits.len(),
        }
    }

    /// Returns the text of the id. Writes it into `buffer` if the id is packed.
    pub(super) fn text<'b>(&'b self, buffer: &'b mut [u8; LONGEST_TEXT]) -> Option<&'b str> {
        match self {
            Self::Text(text) => std::str::from_utf8(text).ok(),
            Self::Random(bits) => {
                let length = URL_SAFE_NO_PAD.encode_slice(bits, buffer).ok()?;
                std::str::from_utf8(buffer.get(..length)?).ok()
            }
            Self::Uuid(bits) => Some(Uuid::from_bytes(*bits).hyphenated().encode_lower(buffer)),
        }
    }
}

/// Decodes 22 characters of base64url, which contain 4 bits more than an id. Rejects a text if
/// these 4 bits are not zero, because the text is then not canonical.
fn random(text: &str) -> Option<[u8; 16]> {
    // For 22 characters, `decode_slice` demands a buffer of 18 bytes.
    let mut bits = [0; 18];
    let length = URL_SAFE_NO_PAD.decode_slice(text, &mut bits).ok()?;
    bits.get(..length)?.try_into().ok()
}

fn uuid(text: &str) -> Option<Uuid> {
    let uuid = Uuid::try_parse(text).ok()?;
    let mut canonical = [0; LONGEST_TEXT];
    (*uuid.hyphenated().encode_lower(&mut canonical) == *text).then_some(uuid)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn returns(text: &str) -> PackedId<'_> {
        let id = PackedId::of(text);
        let mut bytes = Vec::new();
        id.write(&mut bytes).unwrap();
        assert_eq!(bytes.len(), id.len());
        bytes.push(7);
        let (read, rest) = PackedId::read(id.form(), &bytes).unwrap();
        assert_eq!((read, rest), (id, [7].as_slice()), "{text}");
        assert_eq!(read.text(&mut [0; LONGEST_TEXT]), Some(text));
        id
    }

    #[test]
    fn what_is_written_is_read_and_is_the_same_text() {
        for text in
            ["", "alice", "é", &"x".repeat(255), "....................--", "________________________________..--"]
        {
            assert!(matches!(returns(text), PackedId::Text(_)), "{text}");
        }
        for bits in [[0; 16], [0xff; 16], *b"0123456789abcdef"] {
            assert_eq!(returns(&URL_SAFE_NO_PAD.encode(bits)), PackedId::Random(bits));
            assert_eq!(returns(&Uuid::from_bytes(bits).to_string()), PackedId::Uuid(bits));
        }
    }

    #[test]
    fn texts_that_stand_for_the_same_bits_are_different_ids() {
        let uuid = "a1a2a3a4-b1b2-c1c2-d1d2-d3d4d5d6d7d8";
        let others = [uuid.to_uppercase(), uuid.replace('-', ""), format!("{{{uuid}}}"), format!("urn:uuid:{uuid}")];
        for other in &others {
            assert!(matches!(returns(other), PackedId::Text(_)), "{other}");
        }
        let mixed = uuid.replacen('a', "A", 1);
        assert_ne!(returns(&mixed), returns(uuid));
        // The last character has four bits to spare.
        assert!(matches!(returns("AAAAAAAAAAAAAAAAAAAAAA"), PackedId::Random(_)));
        assert!(matches!(returns("AAAAAAAAAAAAAAAAAAAAAB"), PackedId::Text(_)));
        assert!(matches!(returns("AAAAAAAAAAAAAAAAAAAA=="), PackedId::Text(_)));
    }

    #[test]
    fn what_cannot_have_been_written_is_not_read() {
        assert_eq!(PackedId::read(3, &[0; 16]), None);
        for form in [1, 2] {
            assert_eq!(PackedId::read(form, &[0; 15]), None);
        }
        assert_eq!(PackedId::read(0, &[1, 0]), None);
        let long = "x".repeat(usize::from(u16::MAX) + 1);
        assert_eq!(PackedId::of(&long).write(&mut Vec::new()), None);
    }
}
