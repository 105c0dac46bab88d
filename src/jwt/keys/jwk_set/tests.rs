#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a failed unwrap is a failed test")]

use std::error::Error;

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
fn two_keys_of_one_name_and_one_key_twice_are_refused() {
    for (what, keys) in [
        ("same algorithm", [named(p256(), "z"), named(p256(), "z")]),
        ("other algorithms", [named(p256(), "z"), named(ed25519(), "z")]),
        ("the same key", [ed25519(), ed25519()]),
        ("the same key for two algorithms", [with(rsa(), "alg", json!("RS256")), with(rsa(), "alg", json!("PS256"))]),
    ] {
        for read in [KeySet::from_jwks, KeySet::from_published_jwks] {
            let message = refusal(read(&set(&keys)));
            assert!(message.contains("name (`kid`"), "{what}: {message}");
        }
    }
    let secrets = set(&[named(secret(), "z"), named(with(secret(), "alg", json!("HS512")), "z")]);
    assert!(refusal(KeySet::from_jwks(&secrets)).contains("name (`kid`"));
}

#[test]
fn a_name_that_one_key_for_signatures_and_another_unknown_one_share_is_refused() {
    // A token with this `kid` does not say which of the two keys it means.
    for other in [
        with(ed25519(), "kty", json!("AKP")),
        with(p256(), "alg", json!("ES512")),
        with(ed25519(), "x", json!(1)),
        with(ed25519(), "use", json!(1)),
        with(p256(), "key_ops", json!(["verify"])),
    ] {
        let message = refusal(KeySet::from_published_jwks(&set(&[named(p256(), "z"), named(other.clone(), "z")])));
        assert!(message.contains("name (`kid`"), "{other}: {message}");
    }
    for other in [with(rsa(), "use", json!("enc")), with(rsa(), "key_ops", json!(["encrypt", "wrapKey"]))] {
        let keys = KeySet::from_published_jwks(&set(&[named(other, "z"), named(p256(), "z")])).unwrap();
        assert_eq!(kids(&keys), ["z"]);
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
        for value in [json!("AQAB"), Value::Null, json!([])] {
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
        with(p256(), "key_ops", json!([])),
        with(p256(), "key_ops", json!("verify")),
        with(p256(), "key_ops", json!(["verify", "verify"])),
        with(p256(), "kid", json!(5)),
        with(p256(), "kid", json!("")),
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
fn keys_that_name_no_algorithm_are_taken_for_the_one_that_is_asked_for() {
    let keys = set(&[
        named(rsa(), "none"),
        named(with(rsa(), "alg", json!("RS256")), "same"),
        named(with(rsa(), "alg", json!("PS256")), "other"),
        named(p256(), "curve"),
    ]);
    for (algorithm, expected) in [
        (None, &["same", "other", "curve"][..]),
        (Some(Algorithm::RS256), &["none", "same"]),
        (Some(Algorithm::PS256), &["none", "other"]),
        (Some(Algorithm::RS512), &["none"]),
        (Some(Algorithm::ES256), &["curve"]),
    ] {
        let read = match algorithm {
            None => KeySet::from_published_jwks(&keys),
            Some(algorithm) => KeySet::from_published_jwks_with(algorithm, &keys),
        }
        .unwrap();
        assert_eq!(kids(&read), expected, "{algorithm:?}");
        assert!(read.verifying_keys().iter().all(|key| algorithm.is_none_or(|asked| key.algorithm() == asked)));
    }
    assert!(refusal(KeySet::from_published_jwks_with(Algorithm::ES384, &keys)).contains("no key that can be used"));
    assert_eq!(KeySet::from_published_jwks_with(Algorithm::HS256, &keys).unwrap_err().setting(), "algorithm");
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
        format!(r#"{{"keys":[{key},1]}}"#),
        format!(r#"{{"keys":[{key},null]}}"#),
        format!(r#"{{"keys":[{key},[{key}]]}}"#),
        format!(r#"{{"keys":[{key},"a"]}}"#),
        format!(r#"{{"keys":[{key}],"keys":[{key}]}}"#),
        format!(r#"{{"keys":[{key}],"\u006beys":[]}}"#),
        format!(r#"{{"keys":[{key}],"a":1,"a":1}}"#),
        format!(r#"{{"keys":[{}"kty":"OKP"}}]}}"#, key.replace('}', ",")),
        format!(r#"{{"keys":[{key},{{"o":1,"\u006f":1}}]}}"#),
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

#[test]
fn the_number_of_keys_is_bounded() {
    assert_eq!(KeySet::from_jwks(&set(&many(16))).unwrap().verifying_keys().len(), 16);
    assert!(refusal(KeySet::from_jwks(&set(&many(17)))).contains("17 keys"));
    assert!(KeySet::from_published_jwks(&set(&many(16))).is_ok());
    assert!(refusal(KeySet::from_published_jwks(&set(&many(17)))).contains("17 usable keys"));
    let with_others = |others: usize| {
        let other = |index| json!({"kty": "AKP", "kid": format!("other {index}")});
        set(&many(16).into_iter().chain((0..others).map(other)).collect::<Vec<_>>())
    };
    assert!(KeySet::from_published_jwks(&with_others(48)).is_ok());
    assert!(refusal(KeySet::from_published_jwks(&with_others(49))).contains("65 keys"));
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
