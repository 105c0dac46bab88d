//! Checks Ed25519 public keys (RFC 8032 section 5.1.3). AWS-LC makes fewer checks, and only when it
//! verifies the first signature.

use curve25519_dalek::edwards::CompressedEdwardsY;

/// Returns true if `encoded` is the canonical encoding of a curve point, and the point does not
/// have small order. For a public key of small order, anyone can forge signatures.
pub(super) fn is_public_key(encoded: &[u8]) -> bool {
    CompressedEdwardsY::from_slice(encoded).is_ok_and(|encoded| {
        encoded.decompress().is_some_and(|point| point.compress() == encoded && !point.is_small_order())
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed unwrap is a failed test")]

    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

    use super::*;

    /// Returns the encoding with `y` in the lowest byte and `highest` in the highest.
    fn encoded(y: u8, highest: u8) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[0] = y;
        bytes[31] = highest;
        bytes
    }

    #[test]
    fn public_keys_are_points_with_either_sign() {
        // RFC 8037 appendix A.2, and the base point (RFC 8032 section 5.1).
        let mut key: [u8; 32] =
            URL_SAFE_NO_PAD.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap().try_into().unwrap();
        let mut base = [0x66; 32];
        base[0] = 0x58;
        for point in [&mut key, &mut base] {
            assert!(is_public_key(point));
            point[31] ^= 0x80;
            assert!(is_public_key(point), "the other x");
        }
        assert!(!is_public_key(&key[1..]) && !is_public_key(&[&key[..], &[0]].concat()) && !is_public_key(&[]));
    }

    #[test]
    fn what_has_no_x_is_no_point() {
        // An independent computation gave this list. 0 and 1 belong to points of small order. The
        // other values in the list have no x.
        for y in 0..20 {
            assert_eq!(is_public_key(&encoded(y, 0)), ![0, 1, 2, 7, 8, 11, 12, 13, 17].contains(&y), "{y}");
            assert_eq!(is_public_key(&encoded(y, 0x80)), ![0, 1, 2, 7, 8, 11, 12, 13, 17].contains(&y), "-{y}");
        }
    }

    #[test]
    fn a_point_of_small_order_or_with_another_encoding_is_refused() {
        let hex = |text: &str| -> Vec<u8> {
            (0..64).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
        };
        for text in [
            "0000000000000000000000000000000000000000000000000000000000000000",
            "0100000000000000000000000000000000000000000000000000000000000000",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        ] {
            let mut bytes = hex(text);
            assert!(!is_public_key(&bytes), "{text}");
            bytes[31] ^= 0x80;
            assert!(!is_public_key(&bytes), "{text} with the other sign");
        }
        // The numbers from p to 2^255 - 1 are non-canonical encodings of y = 0 to 18. Some of these
        // y, such as 3, 4 and 5, belong to points.
        for low in 0xed..=0xff {
            let mut bytes = [0xff; 32];
            bytes[0] = low;
            bytes[31] = 0x7f;
            assert!(!is_public_key(&bytes), "p + {}", low - 0xed);
            bytes[31] = 0xff;
            assert!(!is_public_key(&bytes), "p + {}, the other sign", low - 0xed);
        }
    }
}
