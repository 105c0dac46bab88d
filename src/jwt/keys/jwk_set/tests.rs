#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a failed unwrap is a failed test")]

use std::error::Error;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::*;
use crate::jwt::{KeySet, SigningKey};

const RSA: &str = include_str!("../../../../tests/keys/RFC-7515-A.2.jwk.json");
const SECRET: &str = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";

/// RFC 8037 appendix A.1.
fn ed25519() -> Value {
    json!({"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"})
}

/// RFC 7515 appendix A.3.
fn p256() -> Value {
    json!({
        "kty": "EC",
        "crv": "P-256",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    })
}

/// Another point of P-256, from a Wycheproof key file.
fn p256_other() -> Value {
    json!({
        "kty": "EC",
        "crv": "P-256",
        "x": "04N0xi21hshyvBp7I167sbE_bXqyqkAPfefdklMO7wY",
        "y": "UI8exy-C06a7DUnjIdENkxeFtHM4-l_41LqEw9nVgmw",
    })
}

/// RFC 7515 appendix A.2, the public half.
fn rsa() -> Value {
    let pair: Value = serde_json::from_str(RSA).unwrap();
    json!({"kty": "RSA", "n": pair["n"], "e": pair["e"]})
}

fn secret() -> Value {
    json!({"kty": "oct", "alg": "HS256", "k": SECRET})
}

fn with(mut jwk: Value, name: &str, value: Value) -> Value {
    jwk[name] = value;
    jwk
}

fn without(mut jwk: Value, name: &str) -> Value {
    jwk.as_object_mut().unwrap().remove(name);
    jwk
}

fn named(jwk: Value, kid: &str) -> Value {
    with(jwk, "kid", json!(kid))
}

fn set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

fn kids(keys: &KeySet) -> Vec<&str> {
    keys.verifying_keys().iter().filter_map(VerifyingKey::kid).collect()
}

#[track_caller]
fn refusal(outcome: Result<KeySet, ConfigError>) -> String {
    let error = outcome.unwrap_err();
    let mut text = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text} {cause} {cause:?}");
        source = cause.source();
    }
    for value in [
        SECRET,
        "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddx",
    ] {
        assert!(!text.contains(&value[..16]), "{text}");
    }
    error.to_string()
}

/// Returns `n` usable keys with different names.
fn many(n: usize) -> Vec<Value> {
    (0..n).map(|index| named(ed25519(), &format!("k{index}"))).collect()
}

#[test]
fn a_set_of_ones_own_is_read_whole() {
    let json = set(&[named(ed25519(), "a"), named(p256(), "b"), named(with(rsa(), "alg", json!("PS256")), "c")]);
    let keys = KeySet::from_jwks(&json).unwrap();
    assert_eq!(kids(&keys), ["a", "b", "c"]);
    assert!(keys.signing_key().is_none());
    let secrets = set(&[named(secret(), "a"), named(with(secret(), "alg", json!("HS512")), "b")]);
    assert_eq!(kids(&KeySet::from_jwks(&secrets).unwrap()), ["a", "b"]);
    // Unknown members of the set are ignored (RFC 7517 section 5).
    let more = format!(r#"{{"other":[{{"kty":1}}],{}"#, &set(&[ed25519()])[1..]);
    assert!(KeySet::from_jwks(&more).is_ok());
}

#[test]
fn one_unusable_key_spoils_a_set_of_ones_own_and_is_named() {
    for (what, bad, reason) in [
        ("unknown type", with(ed25519(), "kty", json!("AKP")), "unsupported type or curve"),
        ("unknown curve", with(p256(), "crv", json!("P-521")), "unsupported type or curve"),
        ("no type", without(p256(), "kty"), "unsupported type or curve"),
        ("encryption", with(p256(), "use", json!("enc")), "`use`"),
        ("no verification", with(p256(), "key_ops", json!(["sign"])), "key_ops"),
        ("no algorithm", rsa(), "names no algorithm"),
        ("algorithm of encryption", with(rsa(), "alg", json!("RSA-OAEP")), "not a supported signature algorithm"),
        ("small", with(with(rsa(), "alg", json!("RS256")), "n", json!("qqqr")), "2048"),
        ("off its curve", with(p256(), "y", json!("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a4")), "no point"),
        ("ill-typed", with(p256(), "x", json!(5)), "`x` has the wrong type"),
        ("ill-typed kid", with(p256(), "kid", json!(["b"])), "`kid` has the wrong type"),
    ] {
        let bad = if bad["kid"].is_null() { named(bad, "b\u{e9}") } else { bad };
        let message = refusal(KeySet::from_jwks(&set(&[named(ed25519(), "a"), bad])));
        assert!(message.contains(reason) && message.starts_with("`jwks` key 1"), "{what}: {message}");
        assert!(message.contains("(kid \"b\u{e9}\")") || what == "ill-typed kid", "{what}: {message}");
    }
}

#[test]
fn a_kid_that_is_no_name_is_not_shown() {
    for kid in ["a\u{1b}[31m", &"k".repeat(300)] {
        let message = refusal(KeySet::from_jwks(&set(&[named(p256(), kid)])));
        assert!(message.contains("key 0") && !message.contains(kid) && message.len() < 300, "{message}");
    }
}

#[test]
fn two_keys_of_one_name_and_one_key_twice_are_refused_in_a_set_of_ones_own() {
    for (what, keys) in [
        ("same algorithm", [named(p256(), "z"), named(p256(), "z")]),
        ("other algorithms", [named(p256(), "z"), named(ed25519(), "z")]),
        ("the same key", [ed25519(), ed25519()]),
        ("the same key for two algorithms", [with(rsa(), "alg", json!("RS256")), with(rsa(), "alg", json!("PS256"))]),
    ] {
        let message = refusal(KeySet::from_jwks(&set(&keys)));
        assert!(message.contains("name (`kid`"), "{what}: {message}");
    }
    let secrets = set(&[named(secret(), "z"), named(with(secret(), "alg", json!("HS512")), "z")]);
    assert!(refusal(KeySet::from_jwks(&secrets)).contains("name (`kid`"));
}

/// Returns `kid` and algorithm of each key of a published set.
fn published(keys: &[Value]) -> Vec<(Option<String>, &'static str)> {
    let keys = KeySet::from_published_jwks(&set(keys)).unwrap();
    keys.verifying_keys().iter().map(|key| (key.kid().map(str::to_owned), key.algorithm().as_str())).collect()
}

#[test]
fn a_published_name_may_stand_under_several_algorithms_but_not_for_two_keys() {
    let z = |jwk: Value| named(jwk, "z");
    let alg = |jwk: Value, alg: &str| with(jwk, "alg", json!(alg));
    let kid = |text: &str| Some(text.to_owned());
    // One RSA key under one name for two algorithms, and another type under the same name.
    let keys = [z(alg(rsa(), "RS256")), z(alg(rsa(), "RS512")), z(p256()), z(ed25519()), z(alg(ed25519(), "Ed25519"))];
    assert_eq!(published(&keys), ["RS256", "RS512", "ES256", "EdDSA", "Ed25519"].map(|alg| (kid("z"), alg)));
    let asked = KeySet::from_published_jwks_with([Algorithm::RS512], &set(&keys)).unwrap();
    assert_eq!(asked.verifying_keys().len(), 1);
    // A key that occurs twice counts once, in whatever form.
    assert_eq!(published(&[z(p256()), z(alg(p256(), "ES256")), z(with(p256(), "x5t", json!("AA")))]).len(), 1);
    assert_eq!(published(&[ed25519(), ed25519(), alg(ed25519(), "Ed25519")]), [(None, "EdDSA"), (None, "Ed25519")]);
    // Of two different keys neither is taken, in whatever order, and even if one occurs twice.
    let good = named(ed25519(), "good");
    let other = with(p256_other(), "kid", json!("z"));
    for keys in [
        vec![z(p256()), other.clone(), good.clone()],
        vec![good.clone(), other.clone(), z(p256())],
        vec![z(p256()), other.clone(), z(p256()), good.clone()],
        vec![other.clone(), other.clone(), good.clone(), z(p256()), z(p256())],
    ] {
        assert_eq!(published(&keys), [(kid("good"), "EdDSA")]);
    }
    let message = refusal(KeySet::from_published_jwks(&set(&[z(p256()), other.clone()])));
    assert!(message.contains("several keys for each name"), "{message}");
    // Without names, the set contains both.
    assert_eq!(published(&[p256(), without(other, "kid")]), [(None, "ES256"), (None, "ES256")]);
}

#[test]
fn an_unusable_key_does_not_take_a_name_from_a_usable_one() {
    for other in [
        with(ed25519(), "kty", json!("AKP")),
        with(p256(), "alg", json!("ES512")),
        with(ed25519(), "x", json!(1)),
        with(ed25519(), "use", json!(1)),
        with(rsa(), "use", json!("enc")),
        with(rsa(), "key_ops", json!(["encrypt", "wrapKey"])),
        with(p256(), "x", json!(1)),
    ] {
        for keys in [[named(p256(), "z"), named(other.clone(), "z")], [named(other.clone(), "z"), named(p256(), "z")]] {
            assert_eq!(published(&keys), [(Some("z".to_owned()), "ES256")], "{other}");
        }
    }
}

#[test]
fn secrets_and_public_keys_do_not_stand_in_one_set() {
    for keys in [[secret(), p256()], [p256(), secret()], [secret(), json!({"kty": "unknown"})]] {
        assert!(refusal(KeySet::from_jwks(&set(&keys))).contains("mixes"));
    }
}

#[test]
fn private_and_secret_members_spoil_every_set_whatever_key_they_are_in() {
    for name in ["d", "p", "q", "dp", "dq", "qi", "oth", "priv"] {
        for value in [json!("AQAB"), json!(0), json!(false), json!({}), json!([{}]), json!([""]), json!(" ")] {
            for jwk in [ed25519(), p256(), with(rsa(), "alg", json!("RS256")), json!({"kty": "unknown"}), json!({})] {
                let keys = set(&[named(p256(), "a"), named(with(jwk, name, value.clone()), "b")]);
                for read in [KeySet::from_jwks, KeySet::from_published_jwks] {
                    let message = refusal(read(&keys));
                    assert!(message.contains(&format!("key 1 (kid \"b\") has the member `{name}`")), "{message}");
                }
            }
        }
    }
    for jwk in [secret(), json!({"kty": "oct"}), with(p256(), "k", json!(1)), json!({"kty": "unknown", "k": "AA"})] {
        let message = refusal(KeySet::from_published_jwks(&set(&[named(p256(), "a"), jwk])));
        assert!(message.contains("key 1 is a secret"), "{message}");
    }
}

#[test]
fn members_without_a_value_are_absent_and_members_of_other_types_are_ignored() {
    // As a common .NET library writes every key.
    let padded = |jwk: Value| {
        let names = [
            "alg", "crv", "d", "dp", "dq", "e", "k", "key_ops", "kid", "n", "oth", "p", "q", "qi", "use", "x", "x5c",
            "x5t", "x5u", "y", "priv",
        ];
        [Value::Null, json!(""), json!([])].map(|empty| {
            let is_absent = |name: &&&str| jwk.get(**name).is_none();
            names.iter().filter(is_absent).fold(jwk.clone(), |jwk, name| with(jwk, name, empty.clone()))
        })
    };
    for jwk in [ed25519(), p256(), with(rsa(), "alg", json!("RS256")), named(p256(), "a")] {
        for padded in padded(jwk.clone()) {
            for read in [KeySet::from_jwks, KeySet::from_published_jwks] {
                let keys = read(&set(std::slice::from_ref(&padded))).unwrap();
                let key = &keys.verifying_keys()[0];
                assert_eq!(key.kid(), jwk["kid"].as_str(), "{padded}");
                assert_eq!(key.thumbprint(), VerifyingKey::from_jwk(&jwk.to_string()).unwrap().thumbprint());
            }
        }
    }
    // The type of an empty value does not matter, but a missing number does.
    for (jwk, name) in [(p256(), "y"), (p256(), "crv"), (ed25519(), "x"), (with(rsa(), "alg", json!("RS256")), "n")] {
        for empty in [Value::Null, json!(""), json!([])] {
            let bad = set(&[with(jwk.clone(), name, empty)]);
            assert!(KeySet::from_jwks(&bad).is_err() && KeySet::from_published_jwks(&bad).is_err(), "{name}");
        }
    }
    let alg = with(rsa(), "alg", json!("RS256"));
    for (jwk, name) in [(p256(), "n"), (p256(), "e"), (ed25519(), "y"), (alg.clone(), "crv"), (alg, "x")] {
        for value in [json!("AQAB"), json!(5), json!({"a": [1]})] {
            let keys = set(&[with(jwk.clone(), name, value)]);
            assert!(KeySet::from_jwks(&keys).is_ok() && KeySet::from_published_jwks(&keys).is_ok(), "{name}");
        }
    }
}

#[test]
fn a_key_of_a_spiffe_bundle_is_for_signatures_if_it_says_so() {
    let used = |used: &str| named(with(p256(), "use", json!(used)), used);
    assert_eq!(published(&[used("jwt-svid"), used("x509-svid")]), [(Some("jwt-svid".to_owned()), "ES256")]);
    assert!(KeySet::from_jwks(&set(&[used("jwt-svid")])).is_ok());
}

#[test]
fn the_name_ed25519_is_an_algorithm_of_its_own() {
    let named = |alg: &str| with(ed25519(), "alg", json!(alg));
    assert_eq!(published(&[named("Ed25519")]), [(None, "Ed25519")]);
    assert_eq!(published(&[named("EdDSA"), named("Ed25519")]), [(None, "EdDSA"), (None, "Ed25519")]);
    let (old, new) = (Algorithm::EdDSA, Algorithm::Ed25519);
    for (asked, jwk, expected) in [
        (&[new][..], ed25519(), Some(new)),
        (&[old], ed25519(), Some(old)),
        (&[new, old], ed25519(), Some(old)),
        (&[Algorithm::RS256, new], ed25519(), Some(new)),
        (&[new], named("EdDSA"), None),
        (&[old], named("Ed25519"), None),
        (&[new, old], named("Ed25519"), Some(new)),
        (&[old, new], named("Ed448"), None),
    ] {
        let keys = KeySet::from_published_jwks_with(asked.iter().copied(), &set(std::slice::from_ref(&jwk)));
        let algorithm = keys.ok().map(|keys| keys.verifying_keys()[0].algorithm());
        assert_eq!(algorithm, expected, "{asked:?}: {jwk}");
    }
}

#[test]
fn what_is_not_for_this_crate_is_left_out_of_a_published_set() {
    let good = named(ed25519(), "good");
    for other in [
        json!({}),
        json!({"kty": 1}),
        json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"}),
        with(p256(), "crv", json!("secp256k1")),
        with(p256(), "crv", json!("P-384")),
        with(p256(), "alg", json!("ES384")),
        with(p256(), "alg", json!("HS256")),
        with(p256(), "use", json!("enc")),
        with(p256(), "use", json!("SIG")),
        with(p256(), "key_ops", json!("verify")),
        with(p256(), "key_ops", json!(["verify", "verify"])),
        with(p256(), "kid", json!(5)),
        with(p256(), "kid", json!("a\u{0}")),
        with(p256(), "x", json!({"a": {"a": 1}})),
        with(p256(), "x", json!("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU=")),
        with(p256(), "y", json!("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a4")),
        without(p256(), "y"),
        rsa(),
        with(rsa(), "alg", json!("RSA-OAEP-256")),
        with(with(rsa(), "alg", json!("RS256")), "e", json!("AQ")),
        with(with(rsa(), "alg", json!("RS256")), "n", json!("qqqr")),
    ] {
        let first = KeySet::from_published_jwks(&set(&[other.clone(), good.clone()]));
        let last = KeySet::from_published_jwks(&set(&[good.clone(), other.clone()]));
        for keys in [first, last] {
            assert_eq!(kids(&keys.unwrap()), ["good"], "{other}");
        }
        // If the set has no other key, no key is usable. The source of the error says why.
        let error = KeySet::from_published_jwks(&set(std::slice::from_ref(&other))).unwrap_err();
        assert!(error.to_string().contains("no key that can be used"), "{other}: {error}");
        assert!(error.source().unwrap().to_string().contains("`jwks` key 0"), "{other}");
    }
}

#[test]
fn keys_that_name_no_algorithm_are_taken_for_the_first_that_is_asked_for_and_fits() {
    let keys = set(&[
        named(rsa(), "none"),
        named(with(rsa(), "alg", json!("RS256")), "same"),
        named(with(rsa(), "alg", json!("PS256")), "other"),
        named(p256(), "curve"),
    ]);
    let alone: [(_, &[_], _); 5] = [
        (None, &["same", "other", "curve"], None),
        (Some(Algorithm::RS256), &["none", "same"], Some("RS256")),
        (Some(Algorithm::PS256), &["none", "other"], Some("PS256")),
        (Some(Algorithm::RS512), &["none"], Some("RS512")),
        (Some(Algorithm::ES256), &["curve"], None),
    ];
    for (algorithm, expected, of_none) in alone {
        let read = match algorithm {
            None => KeySet::from_published_jwks(&keys),
            Some(algorithm) => KeySet::from_published_jwks_with([algorithm], &keys),
        }
        .unwrap();
        assert_eq!(kids(&read), expected, "{algorithm:?}");
        assert!(read.verifying_keys().iter().all(|key| algorithm.is_none_or(|asked| key.algorithm() == asked)));
        assert_eq!(algorithm_of(&read, "none"), of_none);
    }
    // One key serves one algorithm, and the order of the list says which one.
    let (rs, ps, es) = (Algorithm::RS256, Algorithm::PS256, Algorithm::ES256);
    for (list, expected, of_none) in [
        (&[rs, ps][..], &["none", "same", "other"][..], "RS256"),
        (&[ps, rs], &["none", "same", "other"], "PS256"),
        (&[es, rs], &["none", "same", "curve"], "RS256"),
        (&[es, Algorithm::RS512, rs], &["none", "same", "curve"], "RS512"),
    ] {
        let read = KeySet::from_published_jwks_with(list.iter().copied(), &keys).unwrap();
        assert_eq!(kids(&read), expected, "{list:?}");
        assert_eq!(algorithm_of(&read, "none"), Some(of_none), "{list:?}");
    }
    assert!(refusal(KeySet::from_published_jwks_with([Algorithm::ES384], &keys)).contains("no key that can be used"));
    for list in [&[][..], &[Algorithm::HS256], &[rs, Algorithm::HS512]] {
        let error = KeySet::from_published_jwks_with(list.iter().copied(), &keys).unwrap_err();
        assert_eq!(error.setting(), "algorithms", "{list:?}");
    }
}

fn algorithm_of(keys: &KeySet, kid: &str) -> Option<&'static str> {
    keys.verifying_keys().iter().find(|key| key.kid() == Some(kid)).map(|key| key.algorithm().as_str())
}

#[test]
fn what_is_no_set_is_refused() {
    let key = ed25519().to_string();
    for text in [
        String::new(),
        "null".to_owned(),
        "[]".to_owned(),
        format!("[{key}]"),
        format!("[[{key}]]"),
        key.clone(),
        r#"{"keys":[]}"#.to_owned(),
        r#"{"keys":null}"#.to_owned(),
        r#"{"Keys":[]}"#.to_owned(),
        format!(r#"{{"keys":{key}}}"#),
        format!(r#"{{"keys":{{"a":{key}}}}}"#),
        format!(r#"{{"keys":[{key}],"keys":[{key}]}}"#),
        format!(r#"{{"keys":[{key}],"\u006beys":[]}}"#),
        format!(r#"{{"keys":[{key}],"a":1,"a":1}}"#),
        format!(r#"{{"keys":[{key}]}} {{}}"#),
        format!(r#"{{"keys":[{key}]"#),
        format!(r#"{{"keys":[{key},]}}"#),
        format!("{{\"keys\":[{key}]}}{}", " ".repeat(MAX_LEN)),
        "[".repeat(100_000),
        format!(r#"{{"keys":[{{"kty":{}"#, "[".repeat(100_000)),
    ] {
        for read in [KeySet::from_jwks, KeySet::from_published_jwks] {
            let message = refusal(read(&text));
            assert!(message.starts_with("`jwks` "), "{message}");
        }
    }
    let padded = format!("{{\"keys\":[{key}]}}");
    let padded = format!("{padded}{}", " ".repeat(MAX_LEN - padded.len()));
    assert!(KeySet::from_published_jwks(&padded).is_ok(), "as long as allowed");
}

/// Returns a set with these elements of `keys`, which may be any text.
fn set_of(elements: &[&str]) -> String {
    format!(r#"{{"keys":[{}]}}"#, elements.join(","))
}

#[test]
fn an_element_that_is_no_key_is_left_out_of_a_published_set() {
    let good = named(ed25519(), "good").to_string();
    let key = named(p256(), "other").to_string();
    let and = |member: &str| key.replace('}', &format!(",{member}}}"));
    for other in [
        "null",
        "true",
        "1",
        "-1",
        "1.5",
        r#""a""#,
        "[]",
        &format!("[{key}]"),
        r#"["\ud800", 1e999]"#,
        &and(r#""kty":"EC""#),
        &and(r#""k\u0074y":"EC""#),
        &and(r#""kty":"OKP""#),
        &and(r#""x":"AA""#),
        &and(r#""kid":"other""#),
        &and(r#""kid":null"#),
        r#"{"o":1,"\u006f":1}"#,
    ] {
        for elements in [[other, &good], [&good, other]] {
            assert_eq!(kids(&KeySet::from_published_jwks(&set_of(&elements)).unwrap()), ["good"], "{other}");
            refusal(KeySet::from_jwks(&set_of(&elements)));
        }
        let error = KeySet::from_published_jwks(&set_of(&[other])).unwrap_err();
        assert!(error.to_string().contains("no key that can be used"), "{other}: {error}");
        assert!(error.source().unwrap().to_string().contains("`jwks` key 0"), "{other}");
        assert!(matches!(super::published(None, &set_of(&[other])), Err(NoKeys::Withdrawn(_))), "{other}");
        refusal(VerifyingKey::from_jwk(other).map(KeySet::verifying));
    }
}

#[test]
fn a_duplicate_member_hides_no_secret_and_no_private_key() {
    let good = named(ed25519(), "good").to_string();
    for (other, expected) in [
        (r#"{"kty":"oct","kty":"EC"}"#, "secret"),
        (r#"{"kty":"EC","kty":"oct"}"#, "secret"),
        (r#"{"kty":"oct","kty":null}"#, "secret"),
        (r#"{"kty":"EC","k":"AA","k":""}"#, "secret"),
        (r#"{"kty":"EC","k":null,"\u006b":"AA"}"#, "secret"),
        (r#"{"kty":"EC","d":"AA","d":""}"#, "private"),
        (r#"{"kty":"EC","d":[],"d":1}"#, "private"),
        (r#"{"kty":"EC","d":1,"d":null}"#, "private"),
        (r#"{"kty":"EC","o":1,"o":1,"priv":"AA"}"#, "private"),
    ] {
        for elements in [[other, &good], [&good, other]] {
            let Err(NoKeys::Withdrawn(error)) = super::published(None, &set_of(&elements)) else { panic!("{other}") };
            assert!(error.to_string().contains(expected), "{other}: {error}");
        }
    }
}

#[test]
fn the_number_of_keys_is_bounded() {
    assert_eq!(KeySet::from_jwks(&set(&many(16))).unwrap().verifying_keys().len(), 16);
    assert!(refusal(KeySet::from_jwks(&set(&many(17)))).contains("17 keys"));
    // Only the length of the text bounds the number of published keys.
    let other = |index| json!({"kty": "AKP", "kid": format!("other {index}")});
    let keys = set(&many(200).into_iter().chain((0..200).map(other)).collect::<Vec<_>>());
    let keys = KeySet::from_published_jwks(&keys).unwrap();
    assert_eq!(keys.verifying_keys().len(), 200);
    assert_eq!(keys.candidates(Some("k199"), Algorithm::EdDSA).count(), 1);
}

#[test]
fn sixteen_keys_are_tried_with_one_token_at_most() {
    let text = include_str!("../../../../tests/keys/TEST-ec-p256-public.pem");
    let test_key = VerifyingKey::from_pem(Algorithm::ES256, text).unwrap();
    let jwk: Value = serde_json::from_str(&KeySet::verifying(test_key.without_kid()).to_jwks()).unwrap();
    let unnamed = [p256(), p256_other(), jwk["keys"][0].clone()];
    let read = |keys: &[Value]| KeySet::from_published_jwks(&set(keys)).unwrap();
    assert_eq!(read(&unnamed).candidates(None, Algorithm::ES256).count(), 3);
    // Distinct unnamed keys of one algorithm: small changes of a modulus are still odd numbers of
    // 2048 bits.
    let modulus = URL_SAFE_NO_PAD.decode(rsa()["n"].as_str().unwrap()).unwrap();
    let unnamed: Vec<_> = (0..20)
        .map(|number| {
            let mut n = modulus.clone();
            n[100] = number;
            with(with(rsa(), "alg", json!("RS256")), "n", json!(URL_SAFE_NO_PAD.encode(n)))
        })
        .collect();
    let keys = read(&unnamed);
    assert_eq!(keys.verifying_keys().len(), 20);
    assert_eq!(keys.candidates(None, Algorithm::RS256).count(), 16);
    assert_eq!(keys.candidates(Some("a"), Algorithm::RS256).count(), 0);
}

#[test]
fn what_is_written_is_public_and_reads_back_as_keys_that_verify() {
    let private = |jwk: Value, d: &str| with(jwk, "d", json!(d)).to_string();
    let pairs = [
        SigningKey::from_jwk(&private(ed25519(), "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")).unwrap(),
        SigningKey::from_jwk(&private(p256(), "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI")).unwrap(),
        SigningKey::from_pem(Algorithm::ES384, include_str!("../../../../tests/keys/TEST-ec-p384-pkcs8.pem")).unwrap(),
        SigningKey::from_jwk_with(Algorithm::PS384, RSA).unwrap().with_kid("\"quoted\" \u{e9}").unwrap(),
        SigningKey::from_jwk(&secret().to_string()).unwrap(),
    ];
    let keys = pairs
        .iter()
        .skip(1)
        .try_fold(KeySet::signing(pairs[0].clone()), |keys, pair| keys.and_verifying(pair.verifying_key().clone()));
    let json = keys.unwrap().to_jwks();
    let written: Value = serde_json::from_str(&json).unwrap();
    let members = |index: usize| written["keys"][index].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(written["keys"].as_array().unwrap().len(), 4, "no secret");
    assert_eq!(members(0), ["alg", "crv", "kid", "kty", "use", "x"]);
    assert_eq!(members(1), ["alg", "crv", "kid", "kty", "use", "x", "y"]);
    assert_eq!(members(2), members(1));
    assert_eq!(members(3), ["alg", "e", "kid", "kty", "n", "use"]);
    assert_eq!((&written["keys"][1]["x"], &written["keys"][1]["y"]), (&p256()["x"], &p256()["y"]));
    assert_eq!(written["keys"][3]["n"], rsa()["n"]);
    assert_eq!(written["keys"][2]["crv"], "P-384");

    for read in [KeySet::from_published_jwks(&json).unwrap(), KeySet::from_jwks(&json).unwrap()] {
        for (pair, key) in pairs.iter().zip(read.verifying_keys()) {
            assert_eq!((pair.kid(), pair.algorithm()), (key.kid(), key.algorithm()));
            assert_eq!(pair.verifying_key().thumbprint(), key.thumbprint());
            assert!(key.verify(b"message", &pair.sign(b"message").unwrap()));
        }
        assert_eq!(read.to_jwks(), json);
    }
    let only_secrets = KeySet::signing(pairs[4].clone());
    assert_eq!(only_secrets.to_jwks(), r#"{"keys":[]}"#);
    let unnamed = KeySet::verifying(pairs[0].verifying_key().clone().without_kid());
    assert!(!unnamed.to_jwks().contains("kid"));
}

#[test]
fn a_thumbprint_is_the_default_name_and_does_not_change_with_the_name() {
    // RFC 8037 appendix A.3.
    let key = VerifyingKey::from_jwk(&ed25519().to_string()).unwrap();
    assert_eq!(key.thumbprint().as_deref(), Some("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"));
    assert_eq!(key.with_kid("a").unwrap().thumbprint().as_deref(), Some("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"));
    for algorithm in [Algorithm::RS256, Algorithm::PS512] {
        let key = VerifyingKey::from_jwk_with(algorithm, &rsa().to_string()).unwrap();
        assert_eq!(key.thumbprint().as_deref(), key.kid());
    }
    assert_eq!(VerifyingKey::from_jwk(&secret().to_string()).unwrap().thumbprint(), None);
}
