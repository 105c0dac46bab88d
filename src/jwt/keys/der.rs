//! Writes and reads DER (ITU-T X.690). The crate writes the numbers of a JWK as DER, because the
//! backends do not read JWKs. It reads the outer structure of keys that the backends do not
//! support.

use zeroize::Zeroizing;

use super::algorithm::KeyType;

/// DER that may contain a private key. Its memory is wiped when it is dropped.
type Der = Zeroizing<Vec<u8>>;

pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const NULL: u8 = 0x05;
pub(super) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
/// The tag of the public key in an `ECPrivateKey`: `[1]`, explicit (RFC 5915 section 3).
const PUBLIC_KEY: u8 = 0xa1;

/// Object identifiers in DER: `id-ecPublicKey` (RFC 5480 section 2.1.1), `secp256r1` and
/// `secp384r1` (section 2.1.1.1), and `id-Ed25519` (RFC 8410 section 3).
const EC_PUBLIC_KEY_OID: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
const P256_OID: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384_OID: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
const ED25519_OID: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];

/// Encodes an `RSAPublicKey` (RFC 8017 appendix A.1.1).
pub(super) fn rsa_public_key(n: &[u8], e: &[u8]) -> Der {
    element(SEQUENCE, &[&integer(n), &integer(e)])
}

/// Encodes an `RSAPrivateKey` of two primes (RFC 8017 appendix A.1.2). The numbers are n, e, d, p,
/// q, dp, dq, qi.
pub(super) fn rsa_private_key(numbers: [&[u8]; 8]) -> Der {
    let encoded: Vec<Der> = [[0].as_slice()].into_iter().chain(numbers).map(integer).collect();
    let parts: Vec<&[u8]> = encoded.iter().map(|part| part.as_slice()).collect();
    element(SEQUENCE, &parts)
}

/// Encodes an EC private key as `PrivateKeyInfo` (RFC 5208 section 5). Includes the public key, so
/// that the backend compares both halves. Returns `None` if `curve` is not P-256 or P-384.
pub(super) fn ec_private_key(curve: KeyType, d: &[u8], x: &[u8], y: &[u8]) -> Option<Der> {
    let curve_oid = match curve {
        KeyType::P256 => P256_OID,
        KeyType::P384 => P384_OID,
        KeyType::Secret { .. } | KeyType::Rsa | KeyType::Ed25519 => return None,
    };
    let public = element(PUBLIC_KEY, &[&element(BIT_STRING, &[&[0, 4], x, y])]);
    let key = element(SEQUENCE, &[&integer(&[1]), &element(OCTET_STRING, &[d]), &public]);
    let algorithm = element(SEQUENCE, &[EC_PUBLIC_KEY_OID, curve_oid]);
    Some(element(SEQUENCE, &[&integer(&[0]), &algorithm, &element(OCTET_STRING, &[&key])]))
}

/// Encodes an Ed25519 private key as `PrivateKeyInfo` (RFC 8410 section 7).
pub(super) fn ed25519_private_key(d: &[u8]) -> Der {
    let key = element(OCTET_STRING, &[&element(OCTET_STRING, &[d])]);
    element(SEQUENCE, &[&integer(&[0]), &element(SEQUENCE, &[ED25519_OID]), &key])
}

/// Encodes a non-negative integer with the fewest bytes. If the first bit is set, adds a zero byte,
/// because the number would otherwise be negative.
fn integer(big_endian: &[u8]) -> Der {
    let zeros = big_endian.iter().take_while(|byte| **byte == 0).count();
    let number = big_endian.get(zeros..).unwrap_or_default();
    let needs_zero = number.first().is_none_or(|byte| byte & 0x80 != 0);
    let sign: &[u8] = if needs_zero { &[0] } else { &[] };
    element(INTEGER, &[sign, number])
}

/// A reader that returns the elements of a DER structure one after the other. It accepts only the
/// shortest form of a length, and elements of at most 65 535 bytes.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(der: &'a [u8]) -> Self {
        Self(der)
    }

    /// Reads the next element, and returns its content. Returns `None` if the element has another
    /// tag or is malformed.
    pub(super) fn element(&mut self, tag: u8) -> Option<&'a [u8]> {
        let [found, head, rest @ ..] = self.0 else { return None };
        let (len, rest) = match (*head, rest) {
            (0..=0x7f, rest) => (usize::from(*head), rest),
            (0x81, [len, rest @ ..]) if *len >= 0x80 => (usize::from(*len), rest),
            (0x82, [high, low, rest @ ..]) if *high > 0 => (usize::from(u16::from_be_bytes([*high, *low])), rest),
            _ => return None,
        };
        if *found != tag {
            return None;
        }
        let (content, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        Some(content)
    }

    /// Reads the next element, and returns a reader of its content.
    pub(super) fn nested(&mut self, tag: u8) -> Option<Self> {
        self.element(tag).map(Self)
    }

    /// Returns true if the next element has this tag. Does not read the element.
    pub(super) fn is_next(&self, tag: u8) -> bool {
        self.0.first() == Some(&tag)
    }

    /// Returns `Some` if no element is left.
    pub(super) fn end(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }
}

pub(super) fn element(tag: u8, parts: &[&[u8]]) -> Der {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    let len_bytes = len.to_be_bytes();
    let significant = len_bytes.iter().skip_while(|byte| **byte == 0);
    // Allocates once. A vector that grows would leave copies of key material in freed memory.
    let mut der = Zeroizing::new(Vec::with_capacity(len.saturating_add(2 + len_bytes.len())));
    der.push(tag);
    if len >= 0x80 {
        #[allow(clippy::cast_possible_truncation, reason = "a usize has at most eight bytes")]
        der.push(0x80 | significant.clone().count() as u8);
        der.extend(significant);
    } else {
        der.push(len_bytes.last().copied().unwrap_or_default());
    }
    for part in parts {
        der.extend_from_slice(part);
    }
    der
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_integer_has_the_fewest_bytes_and_never_a_sign_bit() {
        assert_eq!(integer(&[]).as_slice(), [2, 1, 0]);
        assert_eq!(integer(&[0, 0]).as_slice(), [2, 1, 0]);
        assert_eq!(integer(&[0, 0x7f]).as_slice(), [2, 1, 0x7f]);
        assert_eq!(integer(&[0x80]).as_slice(), [2, 2, 0, 0x80]);
    }

    #[test]
    fn what_is_written_is_read_and_other_forms_of_a_length_are_not() {
        for len in [0, 1, 127, 128, 255, 256, 65_535] {
            let der = element(OCTET_STRING, &[&vec![7; len]]);
            let mut reader = Reader::new(&der);
            assert!(reader.end().is_none() && reader.is_next(OCTET_STRING) && reader.element(INTEGER).is_none());
            assert_eq!(reader.element(OCTET_STRING).map(<[u8]>::len), Some(len));
            assert!(reader.end().is_some() && reader.element(OCTET_STRING).is_none());
            let cut = der.get(..der.len() - 1).unwrap_or_default();
            assert!(Reader::new(cut).element(OCTET_STRING).is_none());
        }
        // Indefinite, longer than needed, and more than two bytes.
        for head in [
            &[0x80, 0][..],
            &[0x81, 0x7f],
            &[0x81, 0],
            &[0x82, 0, 0xff],
            &[0x82, 0, 0],
            &[0x83, 0, 1, 0],
            &[0x83, 1, 0, 0],
            &[0x84, 0xff, 0xff, 0xff, 0xff],
            &[0x88, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[0xff],
        ] {
            let der = [&[OCTET_STRING], head, &[7; 300]].concat();
            assert!(Reader::new(&der).element(OCTET_STRING).is_none(), "{head:?}");
        }
        for cut in [&[][..], &[OCTET_STRING], &[OCTET_STRING, 0x81], &[OCTET_STRING, 0x82, 1], &[OCTET_STRING, 1]] {
            assert!(Reader::new(cut).element(OCTET_STRING).is_none(), "{cut:?}");
        }
    }

    #[test]
    fn a_length_takes_as_many_bytes_as_it_needs() {
        for (len, head) in [(127, &[4, 127][..]), (128, &[4, 0x81, 128]), (256, &[4, 0x82, 1, 0])] {
            let der = element(OCTET_STRING, &[&vec![7; len]]);
            assert!(der.starts_with(head));
            assert_eq!(der.len(), head.len() + len);
        }
    }
}
