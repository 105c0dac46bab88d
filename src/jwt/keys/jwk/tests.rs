#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a failed unwrap is a failed test")]

use serde_json::{Value, json};

use super::*;
use crate::jwt::{SigningKey, VerifyingKey};

/// The signing input of RFC 7515 appendices A.2 and A.3, after the header.
const CLAIMS: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

/// RFC 7515 appendix A.1.
const HS256: &str =
    r#"{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}"#;
const HS256_HEADER: &str = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9";
const HS256_SIGNATURE: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// RFC 7515 appendix A.2.
const RS256: &str = include_str!("../../../../tests/keys/RFC-7515-A.2.jwk.json");
const RS256_HEADER: &str = "eyJhbGciOiJSUzI1NiJ9";
const RS256_SIGNATURE: &str = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";

/// RFC 7515 appendix A.3.
const ES256: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0","d":"jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}"#;
const ES256_HEADER: &str = "eyJhbGciOiJFUzI1NiJ9";
const ES256_SIGNATURE: &str = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

/// RFC 8037 appendix A.1; the message and signature of A.4, the thumbprint of A.3.
const EDDSA: &str = r#"{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
const EDDSA_MESSAGE: &[u8] = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc";
const EDDSA_SIGNATURE: &str = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";

/// RFC 7638 section 3.1, without its `kid`.
const THUMBPRINT_EXAMPLE: &str = r#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256"}"#;

const PRIVATE_MEMBERS: [&str; 6] = ["d", "p", "q", "dp", "dq", "qi"];

fn value(jwk: &str) -> Value {
    serde_json::from_str(jwk).unwrap()
}

/// Returns the JWK with one member replaced, or removed if the new value is null.
fn with(jwk: &str, name: &str, member: Value) -> String {
    let mut jwk = value(jwk);
    match member {
        Value::Null => drop(jwk.as_object_mut().unwrap().remove(name)),
        member => jwk[name] = member,
    }
    jwk.to_string()
}

fn public(jwk: &str) -> String {
    PRIVATE_MEMBERS.iter().fold(jwk.to_owned(), |jwk, name| with(&jwk, name, Value::Null))
}

fn decoded(base64url: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(base64url).unwrap()
}

#[test]
fn the_examples_of_rfc_7515_and_rfc_8037_verify_and_are_reproduced() {
    for (algorithm, jwk, header, signature) in [
        (Algorithm::HS256, HS256, HS256_HEADER, HS256_SIGNATURE),
        (Algorithm::RS256, RS256, RS256_HEADER, RS256_SIGNATURE),
        (Algorithm::ES256, ES256, ES256_HEADER, ES256_SIGNATURE),
    ] {
        let message = format!("{header}.{CLAIMS}").into_bytes();
        let key = VerifyingKey::from_jwk_with(algorithm, &public(jwk)).unwrap();
        assert!(key.verify(&message, &decoded(signature)));
        let signing = SigningKey::from_jwk_with(algorithm, jwk).unwrap();
        assert_eq!(signing.kid(), key.kid());
        let ours = signing.sign(&message).unwrap();
        assert!(key.verify(&message, &ours));
        // ECDSA signatures contain a random number; the others are deterministic.
        assert!(algorithm == Algorithm::ES256 || ours == decoded(signature));
    }
    let key = SigningKey::from_jwk(EDDSA).unwrap();
    assert_eq!(key.sign(EDDSA_MESSAGE).unwrap(), decoded(EDDSA_SIGNATURE));
    assert!(VerifyingKey::from_jwk(&public(EDDSA)).unwrap().verify(EDDSA_MESSAGE, &decoded(EDDSA_SIGNATURE)));
}

#[test]
fn the_default_name_is_the_thumbprint_of_rfc_7638() {
    let kid = |jwk: &str| VerifyingKey::from_jwk(jwk).unwrap().kid().unwrap().to_owned();
    assert_eq!(kid(THUMBPRINT_EXAMPLE), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    assert_eq!(kid(&public(EDDSA)), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
}

#[test]
fn a_kid_in_the_key_is_its_name_and_keeps_the_rules_of_names() {
    let key = VerifyingKey::from_jwk(&with(THUMBPRINT_EXAMPLE, "kid", json!("2011-04-29"))).unwrap();
    assert_eq!(key.kid(), Some("2011-04-29"));
    let key = VerifyingKey::from_jwk(&with(THUMBPRINT_EXAMPLE, "kid", json!(""))).unwrap();
    assert_eq!(key.kid(), Some("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"), "absent, so the default");
    for bad in [json!("a\u{0}"), json!("k".repeat(256)), json!(1), json!(["a"])] {
        assert!(VerifyingKey::from_jwk(&with(THUMBPRINT_EXAMPLE, "kid", bad)).is_err());
    }
}

#[test]
fn an_algorithm_is_named_once_or_more_often_but_always_the_same() {
    // A curve implies the algorithm. The types RSA and oct do not.
    assert_eq!(SigningKey::from_jwk(ES256).unwrap().algorithm(), Algorithm::ES256);
    assert_eq!(SigningKey::from_jwk(EDDSA).unwrap().algorithm(), Algorithm::EdDSA);
    for jwk in [HS256, RS256] {
        assert!(SigningKey::from_jwk(jwk).unwrap_err().to_string().contains("from_jwk_with"));
    }
    for (jwk, fitting, others) in [
        (HS256, "HS256", ["HS384", "RS256", "A256GCM", "A256KW", "none", "hs256"]),
        (RS256, "PS512", ["HS256", "ES256", "RSA1_5", "RSA-OAEP", "none", "EdDSA"]),
        (ES256, "ES256", ["ES384", "ES512", "ES521", "ES224", "HS256", "RS256"]),
        (EDDSA, "EdDSA", ["ES256", "HS256", "Ed25519", "ECDH-ES", "none", "eddsa"]),
    ] {
        let named = with(jwk, "alg", json!(fitting));
        assert_eq!(SigningKey::from_jwk(&named).unwrap().algorithm().as_str(), fitting);
        assert!(SigningKey::from_jwk_with(fitting.parse().unwrap(), &named).is_ok());
        for other in others {
            let differs = with(jwk, "alg", json!(other));
            assert!(SigningKey::from_jwk_with(fitting.parse().unwrap(), &differs).is_err(), "{fitting} and {other}");
            if let Some(other) = Algorithm::from_jose(other) {
                assert!(SigningKey::from_jwk_with(other, &named).is_err(), "{fitting} and {other}");
            }
            // Every oct key may be used for HS384 if it is long enough. `Ed25519` is another name
            // for the signatures of `EdDSA`.
            let is_possible = matches!(other, "HS384" | "Ed25519");
            assert_eq!(SigningKey::from_jwk(&differs).is_ok(), is_possible, "{other}");
        }
    }
}

#[test]
fn use_and_key_ops_are_honoured() {
    for (name, member, signs, verifies) in [
        ("use", json!("sig"), true, true),
        ("use", json!("enc"), false, false),
        ("use", json!("SIG"), false, false),
        ("use", json!("jwt-svid"), true, true),
        ("use", json!("x509-svid"), false, false),
        ("use", json!(""), true, true),
        ("use", json!(["sig"]), false, false),
        ("key_ops", json!(["sign", "verify"]), true, true),
        ("key_ops", json!(["sign"]), true, false),
        ("key_ops", json!(["verify"]), false, true),
        ("key_ops", json!([]), true, true),
        ("key_ops", json!(["encrypt"]), false, false),
        ("key_ops", json!(["sign", "verify", "sign"]), false, false),
        ("key_ops", json!("verify"), false, false),
        ("key_ops", json!([1]), false, false),
    ] {
        let signing = SigningKey::from_jwk(&with(ES256, name, member.clone()));
        assert_eq!(signing.is_ok(), signs, "{name}: {member}");
        let verifying = VerifyingKey::from_jwk(&with(&public(ES256), name, member.clone()));
        assert_eq!(verifying.is_ok(), verifies, "{name}: {member}");
    }
    // A signing secret also verifies.
    for (operations, signs) in [(json!(["sign"]), false), (json!(["sign", "verify"]), true)] {
        let jwk = with(HS256, "key_ops", operations);
        assert_eq!(SigningKey::from_jwk_with(Algorithm::HS256, &jwk).is_ok(), signs);
    }
}

#[test]
fn a_member_twice_is_refused_known_or_not_however_it_is_spelled() {
    let jwk = public(EDDSA);
    let body = jwk.trim_end_matches('}');
    assert!(VerifyingKey::from_jwk(&format!(r#"{body},"x5c":["AA"],"other":{{"a":1,"a":2}}}}"#)).is_ok());
    for twice in
        [r#""kty":"OKP""#, r#""\u006bty":"OKP""#, r#""crv":"Ed25519""#, r#""o":1,"o":1"#, r#""o":1,"\u006f":2"#]
    {
        assert!(VerifyingKey::from_jwk(&format!("{body},{twice}}}")).is_err(), "{twice}");
    }
}

#[test]
fn what_is_no_single_jwk_is_refused() {
    for text in [
        "",
        "null",
        "[]",
        "{}",
        r#""OKP""#,
        r#"{"kty":null}"#,
        r#"{"kty":"OKP","crv":"X25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
        r#"{"kty":"okp","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
        r#"["OKP","Ed25519","11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"]"#,
        &format!(r#"{{"keys":[{}]}}"#, public(EDDSA)),
        &format!("{} {}", public(EDDSA), public(EDDSA)),
        &with(&public(EDDSA), "crv", json!(1)),
    ] {
        let error = VerifyingKey::from_jwk(text).unwrap_err();
        assert_eq!(error.setting(), "verifying_key", "{text}");
    }
}

#[test]
fn the_halves_of_a_pair_are_not_taken_for_one_another() {
    for (algorithm, jwk) in [(Algorithm::RS256, RS256), (Algorithm::ES256, ES256), (Algorithm::EdDSA, EDDSA)] {
        assert!(SigningKey::from_jwk_with(algorithm, &public(jwk)).is_err());
        assert!(VerifyingKey::from_jwk_with(algorithm, jwk).is_err());
    }
}

#[test]
fn a_private_key_whose_halves_differ_or_are_incomplete_is_refused() {
    // The private half of RFC 7515 appendix A.3 with another point of the curve, from a Wycheproof
    // key file.
    let other_x = with(ES256, "x", json!("04N0xi21hshyvBp7I167sbE_bXqyqkAPfefdklMO7wY"));
    let other = with(&other_x, "y", json!("UI8exy-C06a7DUnjIdENkxeFtHM4-l_41LqEw9nVgmw"));
    assert!(VerifyingKey::from_jwk(&public(&other)).is_ok(), "the point alone is good");
    assert!(SigningKey::from_jwk(&other).is_err());
    let other = with(EDDSA, "d", json!("jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"));
    assert!(SigningKey::from_jwk(&other).is_err());
    let other = with(RS256, "n", value(THUMBPRINT_EXAMPLE)["n"].clone());
    assert!(SigningKey::from_jwk_with(Algorithm::RS256, &other).is_err());
    for missing in PRIVATE_MEMBERS {
        let jwk = with(RS256, missing, Value::Null);
        assert!(SigningKey::from_jwk_with(Algorithm::RS256, &jwk).is_err(), "without {missing}");
    }
    let more_primes = with(RS256, "oth", json!([{"r": "AQAB", "d": "AQAB", "t": "AQAB"}]));
    assert!(SigningKey::from_jwk_with(Algorithm::RS256, &more_primes).is_err());
    let two_primes = with(RS256, "oth", json!([]));
    assert!(SigningKey::from_jwk_with(Algorithm::RS256, &two_primes).is_ok());
}

#[test]
fn numbers_are_canonical_and_have_their_size() {
    let verifying = |jwk: String| VerifyingKey::from_jwk(&jwk);
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    // Padding, the standard alphabet, trailing bits, whitespace, one byte less and one more.
    for bad in
        [&format!("{x}="), &x.replace('_', "/"), &x.replace("Ro", "Rp"), &format!(" {x}"), &x[..42], &format!("{x}AA")]
    {
        assert!(verifying(with(&public(EDDSA), "x", json!(bad))).is_err(), "{bad}");
    }
    let ec = public(ES256);
    assert!(verifying(with(&ec, "crv", json!("P-384"))).is_err());
    assert!(verifying(with(&ec, "crv", json!("secp256k1"))).is_err());
    assert!(verifying(with(&ec, "y", Value::Null)).is_err());
    let error = verifying(with(&ec, "y", json!("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a4"))).unwrap_err();
    assert!(error.to_string().contains("no point"), "{error}");
}

#[test]
fn an_rsa_key_of_unfit_size_or_exponent_is_refused() {
    let verifying = |name, number: &[u8]| {
        VerifyingKey::from_jwk(&with(THUMBPRINT_EXAMPLE, name, json!(URL_SAFE_NO_PAD.encode(number))))
    };
    for good in [&[3][..], &[0xff, 0xff, 0xff, 0xff]] {
        assert!(verifying("e", good).is_ok(), "exponent {good:?}");
    }
    let none: &[u8] = &[];
    for bad in [none, &[0], &[1], &[2], &[1, 0, 0], &[0, 1, 0, 1], &[1, 0, 0, 0, 1], &[2, 0, 0, 0, 1], &[0xff; 32]] {
        assert!(verifying("e", bad).is_err(), "exponent {bad:?}");
    }
    let modulus = decoded(value(THUMBPRINT_EXAMPLE)["n"].as_str().unwrap());
    let even = [&modulus[..255], &[0]].concat();
    let short = [&[0x7f][..], &modulus[1..]].concat();
    let zero = [&[0][..], &modulus].concat();
    let long = [&[1][..], &[0x55; 1024]].concat();
    for bad in [none, &modulus[..128], &even, &short, &zero, &long] {
        assert!(verifying("n", bad).is_err(), "modulus of {} bytes", bad.len());
    }
}

#[test]
fn a_secret_keeps_the_rules_of_secrets() {
    let jwk = |secret: &[u8]| format!(r#"{{"kty":"oct","alg":"HS256","k":"{}"}}"#, URL_SAFE_NO_PAD.encode(secret));
    let none: &[u8] = &[];
    for bad in [none, &[7; 31], &[7; 32], b"secretsecretsecretsecretsecretsecret"] {
        assert!(SigningKey::from_jwk(&jwk(bad)).is_err());
        assert!(VerifyingKey::from_jwk(&jwk(bad)).is_err());
    }
}

#[test]
fn no_message_repeats_key_material() {
    let d = "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI";
    for jwk in [
        with(ES256, "kty", json!("oct")),
        with(ES256, "alg", json!(d)),
        with(ES256, "use", json!(d)),
        with(ES256, "kid", json!([d])),
        with(ES256, "key_ops", json!(d)),
        with(ES256, "x", json!(d)),
        format!(r#""{d}""#),
    ] {
        let error = SigningKey::from_jwk(&jwk).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(&d[..16]), "{error}");
        assert!(std::error::Error::source(&error).is_none());
    }
}
