//! KEY: only the right signature is accepted. The raw signatures of KEY-31 are in unit tests.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use tower_bearer::{
    KeySet,
    jwt::{Algorithm, verify_compact},
};

use crate::{
    keys::{HMAC, RSA, joined, number, public_jwk, set},
    subject::{Outcome, Subject},
    support::test_keys::signing,
    vectors,
};

fn signature_of(token: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(token.rsplit_once('.').unwrap().1).unwrap()
}

fn with_signature(token: &str, signature: &[u8]) -> String {
    format!("{}.{}", token.rsplit_once('.').unwrap().0, URL_SAFE_NO_PAD.encode(signature))
}

/// n of P-256 and P-384 (FIPS 186-4, appendix D.1.2).
const ORDERS: [(Algorithm, &str); 2] = [
    (Algorithm::ES256, "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"),
    (
        Algorithm::ES384,
        "ffffffffffffffffffffffffffffffffffffffffffffffffc7634d81f4372ddf581a0db248b0a77aecec196accc52973",
    ),
];

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// Returns the big-endian sum in the length of the first number, and true if there is a carry.
fn sum(a: &[u8], b: &[u8]) -> (Vec<u8>, bool) {
    let mut carry = 0;
    let mut out = a.to_vec();
    let shift = a.len() - b.len();
    for at in (0..a.len()).rev() {
        let addend = if at >= shift { u16::from(b[at - shift]) } else { 0 };
        let total = u16::from(a[at]) + addend + carry;
        out[at] = (total & 0xff) as u8;
        carry = total >> 8;
    }
    (out, carry != 0)
}

fn one(len: usize) -> Vec<u8> {
    let mut one = vec![0; len];
    one[len - 1] = 1;
    one
}

/// Encodes an ECDSA signature in DER (RFC 3279 section 2.2.3).
fn der_signature(r: &[u8], s: &[u8]) -> Vec<u8> {
    let integer = |number: &[u8]| {
        let start = number.iter().position(|byte| *byte != 0).unwrap_or(number.len() - 1);
        let mut bytes = number[start..].to_vec();
        if bytes[0] & 0x80 != 0 {
            bytes.insert(0, 0);
        }
        [&[2, u8::try_from(bytes.len()).unwrap()], &bytes[..]].concat()
    };
    let body = [integer(r), integer(s)].concat();
    [&[0x30, u8::try_from(body.len()).unwrap()], &body[..]].concat()
}

#[tokio::test]
async fn key_24_a_signature_of_zeros_and_the_like_is_none() {
    for (algorithm, order) in ORDERS {
        let n = hex(order);
        let len = n.len();
        let (zero, one, before_n) = (vec![0; len], one(len), sum(&n, &vec![0xff; len]).0);
        assert_eq!(sum(&before_n, &one).0, n, "n - 1");
        let half: Vec<u8> = n
            .iter()
            .scan(0, |carry, byte| {
                let value = *carry << 7 | byte >> 1;
                *carry = byte & 1;
                Some(value)
            })
            .collect();
        let numbers = [&zero, &one, &before_n, &n, &sum(&n, &one).0, &vec![0xff; len], &half];
        let subject = Subject::with_keys(KeySet::signing(signing(algorithm)));
        let token = subject.valid().await;
        for (i, r) in numbers.iter().enumerate() {
            for (j, s) in numbers.iter().enumerate() {
                let what = format!("{algorithm}: r {i}, s {j}");
                let pair = with_signature(&token, &[r.as_slice(), s].concat());
                subject.expect_token(&what, &pair, Outcome::InvalidToken).await;
                let der = with_signature(&token, &der_signature(r, s));
                subject.expect_token(&format!("{what} in DER"), &der, Outcome::InvalidToken).await;
            }
        }
        // CVE-2022-21449 as it was first shown.
        let psychic = format!("{}.MAYCAQACAQA", token.rsplit_once('.').unwrap().0);
        subject.expect_token("MAYCAQACAQA", &psychic, Outcome::InvalidToken).await;
        for len in [1, 2, 63, 64, 65, 96, 128] {
            let zeros = with_signature(&token, &vec![0; len]);
            subject.expect_token(&format!("{len} zeros"), &zeros, Outcome::InvalidToken).await;
        }
    }
    for algorithm in RSA.into_iter().chain([Algorithm::EdDSA]) {
        let subject = Subject::with_keys(KeySet::signing(signing(algorithm)));
        let token = subject.valid().await;
        let len = signature_of(&token).len();
        for (what, signature) in
            [("zero", vec![0; len]), ("one", one(len)), ("all ones", vec![0xff; len]), ("short", vec![0])]
        {
            let forged = with_signature(&token, &signature);
            subject.expect_token(&format!("{algorithm}: {what}"), &forged, Outcome::InvalidToken).await;
        }
    }
}

#[tokio::test]
async fn key_25_an_ecdsa_signature_out_of_range_or_of_another_length_is_none() {
    for (algorithm, order) in ORDERS {
        let n = hex(order);
        let len = n.len();
        let subject = Subject::with_keys(KeySet::signing(signing(algorithm)));
        let token = subject.valid().await;
        let signature = signature_of(&token);
        let (r, s) = signature.split_at(len);
        assert_eq!(s.len(), len);
        let max = vec![0xff; len];
        // r + n and s + n are the same numbers modulo n; they need a bit more.
        let ((r_n, r_carry), (s_n, s_carry)) = (sum(r, &n), sum(s, &n));
        let wide = |number: &[u8], carry: bool| [&[u8::from(carry)], number].concat();
        for (what, bad) in [
            ("r = n", [&n, s].concat()),
            ("s = n", [r, &n].concat()),
            ("r beyond n", [&max, s].concat()),
            ("s beyond n", [r, &max].concat()),
            ("r + n", [&r_n, s].concat()),
            ("s + n", [r, &s_n].concat()),
            ("r + n with its carry", [&wide(&r_n, r_carry), s].concat()),
            ("s + n with its carry", [r, &wide(&s_n, s_carry)].concat()),
            ("both with a zero before", [&[0], r, &[0], s].concat()),
            ("r and s changed places", [s, r].concat()),
            ("a zero at the end", [&signature[..], &[0]].concat()),
            ("a zero before", [&[0], &signature[..]].concat()),
            ("sixteen zeros at the end", [&signature[..], &[0; 16]].concat()),
            ("a byte less at the end", signature[..2 * len - 1].to_vec()),
            ("a byte less at the beginning", signature[1..].to_vec()),
            ("r alone", r.to_vec()),
            ("twice", [&signature[..], &signature].concat()),
            ("with the other curve's length", [&vec![0; 48 - len % 48][..], r, s].concat()),
            ("one bit", [&[signature[0] ^ 1], &signature[1..]].concat()),
        ] {
            let forged = with_signature(&token, &bad);
            subject.expect_token(&format!("{algorithm}: {what}"), &forged, Outcome::InvalidToken).await;
        }
        subject.expect_token("unchanged", &token, Outcome::Ok).await;
    }
}

#[tokio::test]
async fn key_26_an_ecdsa_signature_in_der_is_none() {
    // RFC 7518 section 3.4: R and S side by side, and no other form.
    for (algorithm, order) in ORDERS {
        let subject = Subject::with_keys(KeySet::signing(signing(algorithm)));
        for round in 0..8 {
            // Each signature is another: with and without leading bits set.
            let token = subject.valid().await;
            let signature = signature_of(&token);
            let (r, s) = signature.split_at(order.len() / 2);
            let der = with_signature(&token, &der_signature(r, s));
            subject.expect_token(&format!("{algorithm}, {round}"), &der, Outcome::InvalidToken).await;
            subject.expect_token("side by side", &token, Outcome::Ok).await;
        }
    }
}

#[tokio::test]
async fn key_28_an_ed25519_signature_has_no_twin() {
    // L = 2^252 + 27742317777372353535851937790883648493, little-endian (RFC 8032 section 5.1).
    let order = hex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    let subject = Subject::with_keys(KeySet::signing(signing(Algorithm::EdDSA)));
    let token = subject.valid().await;
    let signature = signature_of(&token);
    let (r, s) = signature.split_at(32);
    let reversed = |bytes: &[u8]| bytes.iter().rev().copied().collect::<Vec<_>>();
    let mut twin = reversed(s);
    for times in 1..=14 {
        let (next, carry) = sum(&twin, &reversed(&order));
        assert!(!carry, "s + {times}L fits in 256 bits");
        twin = next;
        let forged = with_signature(&token, &[r, &reversed(&twin)].concat());
        subject.expect_token(&format!("s + {times}L"), &forged, Outcome::InvalidToken).await;
    }
    let high_bit = [&signature[..63], &[signature[63] | 0x80]].concat();
    let other_sign = [&signature[..31], &[signature[31] ^ 0x80], &signature[32..]].concat();
    for (what, bad) in [
        ("the highest bit of s", high_bit),
        ("the sign of R", other_sign),
        ("s = L", [r, &order].concat()),
        ("s = 0", [r, &[0; 32]].concat()),
        ("R = 0", [&[0; 32], s].concat()),
        ("R the identity", [&[1], &[0; 31][..], s].concat()),
        ("s before R", [s, r].concat()),
        ("a byte more", [&signature[..], &[0]].concat()),
        ("a byte less", signature[..63].to_vec()),
        ("64 zeros", vec![0; 64]),
    ] {
        subject.expect_token(what, &with_signature(&token, &bad), Outcome::InvalidToken).await;
    }
    subject.expect_token("unchanged", &token, Outcome::Ok).await;
}

#[tokio::test]
async fn key_29_an_rsa_signature_has_exactly_the_moduluss_length_and_is_below_it() {
    for algorithm in RSA {
        let subject = Subject::with_keys(KeySet::signing(signing(algorithm)));
        let n = number(&public_jwk(&signing(algorithm)), "n");
        // s + n fits in 2048 bits for some signatures only: look for one (a fifth of them or more,
        // by this modulus).
        let mut fitting = None;
        for _ in 0..200 {
            let token = subject.valid().await;
            let (s_n, carry) = sum(&signature_of(&token), &n);
            subject
                .expect_token(
                    "s + n with its carry",
                    &with_signature(&token, &[&[u8::from(carry)], &s_n[..]].concat()),
                    Outcome::InvalidToken,
                )
                .await;
            if !carry {
                fitting = Some((token, s_n));
                break;
            }
        }
        let (token, s_n) = fitting.expect("a signature below 2^2048 - n");
        let s = signature_of(&token);
        for (what, bad) in [
            ("s + n", s_n),
            ("n", n.clone()),
            ("a zero before", [&[0], &s[..]].concat()),
            ("two zeros before", [&[0, 0], &s[..]].concat()),
            ("a zero after", [&s[..], &[0]].concat()),
            ("a byte less", s[..255].to_vec()),
            ("the first byte missing", s[1..].to_vec()),
            ("twice", [&s[..], &s].concat()),
            ("reversed", s.iter().rev().copied().collect()),
        ] {
            let forged = with_signature(&token, &bad);
            subject.expect_token(&format!("{algorithm}: {what}"), &forged, Outcome::InvalidToken).await;
        }
        subject.expect_token("unchanged", &token, Outcome::Ok).await;
    }
}

#[tokio::test]
#[ignore = "reads third-party vectors, which are no part of the tree: see CONTRIBUTING.md"]
async fn key_30_a_pkcs1_padding_that_is_not_the_one_is_refused() {
    // Wycheproof's second group: 213 paddings made with the private key, each wrong in one way. (Of
    // the raw ones VEC-06 has more.)
    let file = vectors::json("wycheproof/json_web_signature_test.json");
    let group = &file["testGroups"][2];
    let keys = KeySet::from_jwks(&set(std::slice::from_ref(&group["public"]))).unwrap();
    let subject = Subject::with_keys(joined(signing(Algorithm::EdDSA), &keys));
    let (mut forged, mut good) = (0, 0);
    for test in group["tests"].as_array().unwrap() {
        let text = test["jws"].as_str().unwrap();
        let what = format!("{}: {}", test["tcId"], test["comment"]);
        if test["result"] == "valid" {
            assert!(verify_compact(&keys, text.as_bytes()).is_ok(), "{what}");
            good += 1;
            continue;
        }
        assert!(verify_compact(&keys, text.as_bytes()).is_err(), "{what}");
        if vectors::is_b64token(text) {
            subject.expect_token(&what, text, Outcome::InvalidToken).await;
        }
        forged += 1;
    }
    println!("PKCS#1 v1.5: {forged} forgeries refused, {good} accepted");
    assert_eq!((forged, good), (225, 1));
}

#[tokio::test]
#[ignore = "reads third-party vectors, which are no part of the tree: see CONTRIBUTING.md"]
async fn key_31_a_pss_salt_of_another_length_than_the_hash_is_refused() {
    // RFC 7518 section 3.5. Wycheproof's groups of PS256 and PS512 have salts of every length (unit
    // tests have the raw ones).
    let file = vectors::json("wycheproof/json_web_signature_test.json");
    let mut refused = 0;
    for group in file["testGroups"].as_array().unwrap() {
        if !["ps256", "ps384", "ps512"].iter().any(|name| group["comment"] == *name) {
            continue;
        }
        let keys = KeySet::from_jwks(&set(std::slice::from_ref(&group["public"]))).unwrap();
        let subject = Subject::with_keys(joined(signing(Algorithm::EdDSA), &keys));
        for test in group["tests"].as_array().unwrap() {
            let comment = test["comment"].as_str().unwrap();
            if !["SaltLenChanged", "SaltModified"].contains(&comment) {
                continue;
            }
            let text = test["jws"].as_str().unwrap();
            assert_eq!(test["result"], "invalid", "{comment}");
            assert!(verify_compact(&keys, text.as_bytes()).is_err(), "{comment}");
            subject.expect_token(comment, text, Outcome::InvalidToken).await;
            refused += 1;
        }
    }
    println!("PSS: {refused} salts of another length refused");
    assert_eq!(refused, 8);
}

#[tokio::test]
async fn key_33_a_mac_is_compared_whole_and_by_the_backend() {
    // Time is not measured here; what is shown is that no comparison of ours exists. `jsonwebtoken`
    // compares in constant time: by `hmac::verify` of aws-lc-rs, or `Mac::verify_slice` of
    // RustCrypto.
    for (name, source) in [
        ("algorithm.rs", include_str!("../../src/jwt/keys/algorithm.rs")),
        ("compact.rs", include_str!("../../src/jwt/token/compact.rs")),
        ("key.rs", include_str!("../../src/jwt/keys/key.rs")),
    ] {
        for line in source.lines().take_while(|line| !line.contains("mod tests")) {
            let code = line.split("//").next().unwrap_or_default();
            let compares =
                code.contains("==") || code.contains("!=") || code.contains(".eq(") || code.contains("starts_with");
            let of_a_mac = ["signature", "mac", "tag"].iter().any(|word| code.contains(word));
            assert!(!(compares && of_a_mac), "{name}: {line}");
        }
    }
    // And it behaves so: no part of a MAC is enough, and nothing beside it is let through.
    for algorithm in HMAC {
        let subject = Subject::with_keys(KeySet::signing(signing(algorithm)));
        let token = subject.valid().await;
        let mac = signature_of(&token);
        for len in 0..mac.len() {
            let cut = with_signature(&token, &mac[..len]);
            assert!(verify_compact(&KeySet::signing(signing(algorithm)), cut.as_bytes()).is_err());
            if [1, mac.len() / 2, mac.len() - 1].contains(&len) {
                subject.expect_token(&format!("{algorithm}: {len} bytes"), &cut, Outcome::InvalidToken).await;
            }
            let mut other = mac.clone();
            other[len] ^= 0x80;
            subject
                .expect_token(
                    &format!("{algorithm}: byte {len}"),
                    &with_signature(&token, &other),
                    Outcome::InvalidToken,
                )
                .await;
        }
        for (what, long) in [("a zero more", [&mac[..], &[0]].concat()), ("twice", [&mac[..], &mac].concat())] {
            subject
                .expect_token(&format!("{algorithm}: {what}"), &with_signature(&token, &long), Outcome::InvalidToken)
                .await;
        }
        subject.expect_token("unchanged", &token, Outcome::Ok).await;
    }
}
