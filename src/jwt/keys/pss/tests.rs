#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a failed unwrap is a failed test")]

use super::{super::der::element, *};
use crate::jwt::{SigningKey, VerifyingKey};

const ANY: &str = include_str!("../../../../tests/keys/TEST-rsa-pss-pkcs8.pem");
const ANY_PUBLIC: &str = include_str!("../../../../tests/keys/TEST-rsa-pss-public.pem");
const FOR_SHA256: &str = include_str!("../../../../tests/keys/TEST-rsa-pss-sha256-pkcs8.pem");
const FOR_SHA256_PUBLIC: &str = include_str!("../../../../tests/keys/TEST-rsa-pss-sha256-public.pem");

const PSS: [Algorithm; 3] = [Algorithm::PS256, Algorithm::PS384, Algorithm::PS512];

fn der_of(pem: &str) -> Vec<u8> {
    pem::decode(pem.as_bytes()).unwrap().to_vec()
}

#[test]
fn a_pss_key_signs_and_verifies_with_the_hashes_that_it_allows_and_no_other_algorithm() {
    for (private, public, allowed) in
        [(ANY, ANY_PUBLIC, &PSS[..]), (FOR_SHA256, FOR_SHA256_PUBLIC, &[Algorithm::PS256])]
    {
        for algorithm in Algorithm::ALL {
            let signing = [SigningKey::from_pem(algorithm, private), SigningKey::from_der(algorithm, der_of(private))];
            let verifying =
                [VerifyingKey::from_pem(algorithm, public), VerifyingKey::from_der(algorithm, der_of(public))];
            if !allowed.contains(&algorithm) {
                let errors = signing.map(|key| key.unwrap_err()).into_iter().chain(verifying.map(Result::unwrap_err));
                for error in errors {
                    let text = error.to_string();
                    let problem = if PSS.contains(&algorithm) {
                        format!("whose parameters do not allow {algorithm}")
                    } else {
                        format!("which must not be used with {algorithm}")
                    };
                    assert!(text.contains("`RSASSA-PSS`") && text.contains(&problem), "{text}");
                }
                continue;
            }
            for signing in signing.map(Result::unwrap) {
                let signature = signing.sign(b"a.b").unwrap();
                for verifying in verifying.each_ref().map(|key| key.as_ref().unwrap()) {
                    assert!(verifying.verify(b"a.b", &signature) && !verifying.verify(b"a.c", &signature));
                    assert_eq!(verifying.kid(), signing.kid());
                }
            }
        }
    }
}

#[test]
fn the_halves_of_a_pss_pair_are_not_taken_for_one_another() {
    assert!(SigningKey::from_pem(Algorithm::PS256, ANY_PUBLIC).is_err());
    assert!(SigningKey::from_der(Algorithm::PS256, der_of(ANY_PUBLIC)).is_err());
    assert!(VerifyingKey::from_pem(Algorithm::PS256, ANY).is_err());
    assert!(VerifyingKey::from_der(Algorithm::PS256, der_of(ANY)).is_err());
}

#[test]
fn a_pss_pem_may_have_other_line_ends_and_text_around_it() {
    for pem in [ANY.replace('\n', "\r\n"), format!("Key Attributes: none\n{ANY}trailing text\n")] {
        assert!(SigningKey::from_pem(Algorithm::PS256, &pem).is_ok(), "{}", &pem[..30]);
    }
}

/// Returns the public key with these parameters, each a whole element.
fn with_parameters(parameters: &[&[u8]]) -> Vec<u8> {
    let der = der_of(ANY_PUBLIC);
    let bits = &der[der.len() - 275..];
    assert_eq!(bits[0], BIT_STRING);
    let oid = element(OBJECT_IDENTIFIER, &[RSASSA_PSS]);
    let algorithm = element(SEQUENCE, &[&[oid.as_slice()], parameters].concat());
    element(SEQUENCE, &[&algorithm, bits]).to_vec()
}

fn hash(identifier: &[u8], parameters: &[u8]) -> Vec<u8> {
    element(SEQUENCE, &[&element(OBJECT_IDENTIFIER, &[identifier]), parameters]).to_vec()
}

/// Returns the four parameters: two hashes, the salt length and the trailer.
fn fields(message: &[u8], mask: &[u8], salt: Option<&[u8]>, trailer: Option<&[u8]>) -> Vec<u8> {
    let function = element(SEQUENCE, &[&element(OBJECT_IDENTIFIER, &[MGF1]), mask]);
    let optional = |tag, number: Option<&[u8]>| {
        number.map(|number| element(tag, &[&element(INTEGER, &[number])]).to_vec()).unwrap_or_default()
    };
    let (salt, trailer) = (optional(0xa2, salt), optional(0xa3, trailer));
    element(SEQUENCE, &[&element(0xa0, &[message]), &element(0xa1, &[&function]), &salt, &trailer]).to_vec()
}

#[test]
fn parameters_must_name_the_hash_of_the_algorithm_twice_and_a_salt_that_is_not_longer() {
    const NULL_ELEMENT: &[u8] = &[NULL, 0];
    const SHA1: &[u8] = &[0x2b, 0x0e, 0x03, 0x02, 0x1a];
    let sha = |identifier| hash(identifier, NULL_ELEMENT);
    let (sha256, sha384, sha512) = (sha(SHA256), sha(SHA384), sha(SHA512));
    let accepts =
        |algorithm, parameters: &[u8]| VerifyingKey::from_der(algorithm, with_parameters(&[parameters])).is_ok();
    for (algorithm, hash, len) in [(PSS[0], &sha256, 32), (PSS[1], &sha384, 48), (PSS[2], &sha512, 64)] {
        for (salt, is_allowed) in [(0, true), (20, true), (len, true), (len + 1, false), (0x80, false), (0xff, false)] {
            assert_eq!(accepts(algorithm, &fields(hash, hash, Some(&[salt]), None)), is_allowed, "{algorithm}, {salt}");
        }
        for other in PSS.into_iter().filter(|other| *other != algorithm) {
            assert!(!accepts(other, &fields(hash, hash, Some(&[20]), None)), "{algorithm} and {other}");
        }
    }
    let accepts = |parameters: &[u8]| accepts(Algorithm::PS256, parameters);
    let bare = hash(SHA256, &[]);
    assert!(accepts(&fields(&bare, &sha256, None, None)) && accepts(&fields(&sha256, &bare, None, Some(&[1]))));
    let good = fields(&sha256, &sha256, Some(&[32]), None);
    assert!(accepts(&good));
    // SHA-1, also by default, and two hashes.
    let only_hash = element(SEQUENCE, &[&element(0xa0, &[&sha256])]);
    for bad in [
        fields(&sha(SHA1), &sha(SHA1), None, None),
        fields(&sha256, &sha(SHA1), None, None),
        fields(&sha(SHA1), &sha256, None, None),
        fields(&sha256, &sha512, None, None),
        only_hash.to_vec(),
        element(SEQUENCE, &[]).to_vec(),
        NULL_ELEMENT.to_vec(),
        fields(&sha256, &sha256, Some(&[0, 32]), None),
        fields(&sha256, &sha256, Some(&[]), None),
        fields(&sha256, &sha256, None, Some(&[2])),
        fields(&hash(SHA256, &[NULL, 1, 0]), &sha256, None, None),
        fields(&hash(SHA256, &[NULL, 0, NULL, 0]), &sha256, None, None),
        [good.as_slice(), NULL_ELEMENT].concat(),
        good[..good.len() - 1].to_vec(),
    ] {
        assert!(!accepts(&bad), "{bad:02x?}");
    }
}

#[test]
fn a_damaged_pss_key_is_refused_and_never_panics() {
    for (half, pem) in [
        (Half::Private, ANY),
        (Half::Public, ANY_PUBLIC),
        (Half::Private, FOR_SHA256),
        (Half::Public, FOR_SHA256_PUBLIC),
    ] {
        let der = der_of(pem);
        let is_key = |der: &[u8]| match half {
            Half::Private => SigningKey::from_der(Algorithm::PS256, der).is_ok(),
            Half::Public => VerifyingKey::from_der(Algorithm::PS256, der).is_ok(),
        };
        assert!(is_key(&der));
        assert!(!is_key(&[&der[..], &[0]].concat()), "a byte more");
        for len in 0..der.len() {
            assert!(!matches!(to_pkcs1("key", half, Algorithm::PS256, &der[..len]), Ok(Some(_))), "cut to {len}");
        }
        // The structure in front of the numbers: no changed byte may panic.
        for at in 0..100 {
            for value in [0, 1, 0x7f, 0x80, 0x81, 0x82, 0x84, 0xff] {
                let mut changed = der.clone();
                changed[at] = value;
                let _ = to_pkcs1("key", half, Algorithm::PS256, &changed);
            }
        }
    }
    // More after the key, and a bit string that is not whole bytes.
    let der = der_of(ANY_PUBLIC);
    let outer = |parts: &[&[u8]]| element(SEQUENCE, parts).to_vec();
    let (algorithm, bits) = der[4..].split_at(der.len() - 4 - 275);
    assert!(VerifyingKey::from_der(Algorithm::PS256, outer(&[algorithm, bits])).is_ok());
    let mut seven_bits = bits.to_vec();
    seven_bits[4] = 1;
    for damaged in [outer(&[algorithm, bits, &[NULL, 0]]), outer(&[algorithm, &seven_bits]), outer(&[algorithm])] {
        let error = VerifyingKey::from_der(Algorithm::PS256, damaged).unwrap_err();
        assert!(error.to_string().contains("structure is damaged"), "{error}");
    }
    // The attributes of a private key are ignored (RFC 5208 section 5).
    let private = der_of(ANY);
    let attributes = element(0xa0, &[]);
    assert!(SigningKey::from_der(Algorithm::PS256, outer(&[&private[4..], &attributes])).is_ok());
    assert!(SigningKey::from_der(Algorithm::PS256, outer(&[&private[4..], &attributes, &attributes])).is_err());
}
