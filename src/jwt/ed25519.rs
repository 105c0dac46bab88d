//! Whether 32 bytes are a public key of Ed25519 (RFC 8032 section 5.1.3). AWS-LC looks at the first signature only, and then at less.

/// An element of the field of 2^255 - 19 in five limbs of 51 bits, the least first; they may be a little longer.
type Element = [u128; 5];

const LIMB: u128 = (1 << 51) - 1;
const ONE: Element = [1, 0, 0, 0, 0];
const MINUS_ONE: Element = [LIMB - 19, LIMB, LIMB, LIMB, LIMB];
/// -121665/121666, the constant of the curve (RFC 8032 section 5.1).
const D: Element = [0x3_4dca_1359_78a3, 0x1_a828_3b15_6ebd, 0x5_e7a2_6001_c029, 0x7_39c6_63a0_3cbb, 0x5_2036_cee2_b6ff];

/// The y of the points whose order divides 8. Under such a key everyone can sign: the identity's equation holds whatever was signed.
const SMALL_ORDER: [Element; 5] = [
    [0; 5],
    ONE,
    MINUS_ONE,
    [0x4d3d_706a_17c7, 0x1_aec1_6797_49fb, 0x1_4c80_a83d_9c40, 0x3_a763_661c_967d, 0x7_a03a_c927_7fdc],
    [0x7_b2c2_8f95_e826, 0x6_513e_9868_b604, 0x6_b37f_57c2_63bf, 0x4_589c_99e3_6982, 0x5fc5_36d8_8023],
];

/// Whether this is the one encoding of a point on the curve, and not of small order.
pub(super) fn is_public_key(encoded: &[u8]) -> bool {
    let Ok(bytes) = <&[u8; 32]>::try_from(encoded) else { return false };
    let y = read(bytes);
    if y != canonical(y) || SMALL_ORDER.contains(&y) {
        return false;
    }
    // x^2 = (y^2 - 1) / (d y^2 + 1). A quotient is a square if the product is one, and the product if its ((p - 1) / 2)th power is 1
    // (Euler's criterion; that it is 0 only for y = 1 and -1, which are left).
    let square = product(y, y);
    let (numerator, denominator) = (sum(square, MINUS_ONE), sum(product(D, square), ONE));
    let fraction = product(numerator, denominator);
    // 2^254 - 10: all bits but two.
    let power = (0..254).rev().fold(ONE, |power, bit| {
        let squared = product(power, power);
        if matches!(bit, 0 | 3) { squared } else { product(squared, fraction) }
    });
    canonical(power) == ONE
}

/// Little-endian, without the highest bit, which is x's sign.
fn read(bytes: &[u8; 32]) -> Element {
    let limb = |at: usize, shift: u32| {
        let word = bytes.get(at..at + 8).and_then(|word| word.try_into().ok()).map(u64::from_le_bytes);
        u128::from(word.unwrap_or_default()) >> shift & LIMB
    };
    [limb(0, 0), limb(6, 3), limb(12, 6), limb(19, 1), limb(24, 12)]
}

fn sum([a0, a1, a2, a3, a4]: Element, [b0, b1, b2, b3, b4]: Element) -> Element {
    carried([a0 + b0, a1 + b1, a2 + b2, a3 + b3, a4 + b4])
}

/// What goes beyond 2^255 comes back 19 times.
fn product([a0, a1, a2, a3, a4]: Element, [b0, b1, b2, b3, b4]: Element) -> Element {
    carried([
        a0 * b0 + 19 * (a4 * b1 + a3 * b2 + a2 * b3 + a1 * b4),
        a1 * b0 + a0 * b1 + 19 * (a4 * b2 + a3 * b3 + a2 * b4),
        a2 * b0 + a1 * b1 + a0 * b2 + 19 * (a4 * b3 + a3 * b4),
        a3 * b0 + a2 * b1 + a1 * b2 + a0 * b3 + 19 * a4 * b4,
        a4 * b0 + a3 * b1 + a2 * b2 + a1 * b3 + a0 * b4,
    ])
}

/// Limbs of 51 bits again; the first may be longer by the last 19.
fn carried(mut element: Element) -> Element {
    for _ in 0..4 {
        let carry = carry(&mut element);
        let [first, ..] = &mut element;
        *first += 19 * carry;
    }
    element
}

/// Carries from limb to limb, and gives what goes beyond the last one.
fn carry(element: &mut Element) -> u128 {
    element.iter_mut().fold(0, |carry, limb| {
        *limb += carry;
        let beyond = *limb >> 51;
        *limb &= LIMB;
        beyond
    })
}

/// The one form below 2^255 - 19.
fn canonical(element: Element) -> Element {
    let reduced = carried(element);
    let mut plus_19 = reduced;
    let [first, ..] = &mut plus_19;
    *first += 19;
    if carry(&mut plus_19) == 0 { reduced } else { plus_19 }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failed unwrap is a failed test")]

    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

    use super::*;

    /// y little-endian, with more in the highest byte.
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
        // Computed apart from this: among the first twenty these have none, and 0 and 1 are of small order.
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
        // p to 2^255 - 1: y = 0 to 18 written otherwise, of which 3, 4, 5 and others are points.
        for low in 0xed..=0xff {
            let mut bytes = [0xff; 32];
            bytes[0] = low;
            bytes[31] = 0x7f;
            assert!(!is_public_key(&bytes), "p + {}", low - 0xed);
            bytes[31] = 0xff;
            assert!(!is_public_key(&bytes), "p + {}, the other sign", low - 0xed);
        }
    }

    /// The pure-Rust backend decodes the point when its verifier is made.
    #[cfg(feature = "rust-crypto")]
    #[test]
    fn another_implementation_agrees() {
        use jsonwebtoken::{Algorithm, DecodingKey, crypto::rust_crypto::DEFAULT_PROVIDER, jwk::ThumbprintHash};

        let mut bytes = vec![7; 32];
        let mut points = 0;
        for _ in 0..300 {
            bytes = (DEFAULT_PROVIDER.key_utils.compute_digest)(&bytes, ThumbprintHash::SHA256).unwrap();
            let theirs =
                (DEFAULT_PROVIDER.verifier_factory)(&Algorithm::EdDSA, &DecodingKey::from_ed_der(&bytes)).is_ok();
            assert_eq!(is_public_key(&bytes), theirs, "{bytes:?}");
            points += usize::from(theirs);
        }
        assert!((100..200).contains(&points), "{points}");
    }
}
