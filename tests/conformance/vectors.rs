//! VEC: vectors of others. Each test prints how many it judged, and demands that number.
//!
//! VEC-01 as a whole and the raw signatures of VEC-06 are unit tests, because no public function
//! computes them. VEC-10 is the group JSN.

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use http::{HeaderName, Request, header::AUTHORIZATION};
use http_body_util::Full;
use serde_json::Value;
use tower::Layer;
use tower_bearer::{
    KeySet,
    error::TokenError,
    jwt::{Algorithm, SigningKey, VerifyingKey, verify_compact},
};

use crate::{
    keys::{joined, set, without},
    subject::{Outcome, Subject, authorization, bearer, send},
    support::{self, test_keys::signing},
};

/// Returns the vectors of this file.
pub(crate) fn json(path: &str) -> Value {
    serde_json::from_slice(&support::vectors::read(path)).unwrap()
}

/// RFC 6750 section 2.1.
pub(crate) fn is_b64token(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    !body.is_empty() && body.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte))
}

/// Returns the outcome of a bad token after `Bearer `.
fn refused_as(text: &str) -> Outcome {
    if is_b64token(text) { Outcome::InvalidToken } else { Outcome::InvalidRequest }
}

fn groups(file: &Value) -> &[Value] {
    file["testGroups"].as_array().unwrap()
}

fn tests(group: &Value) -> &[Value] {
    group["tests"].as_array().unwrap()
}

/// Reads the key or set of a group as an application would.
fn keys_of(group: &Value) -> Option<KeySet> {
    let given = if group["public"].is_null() { &group["private"] } else { &group["public"] };
    let set = if given["keys"].is_array() { given.to_string() } else { set(std::slice::from_ref(given)) };
    KeySet::from_jwks(&set).ok()
}

/// Returns a subject with its own key that also verifies with these keys.
fn subject_with(keys: Option<&KeySet>) -> Subject {
    let own = signing(Algorithm::ES384);
    Subject::with_keys(keys.map_or_else(|| KeySet::signing(own.clone()), |keys| joined(own.clone(), keys)))
}

const SIGNATURES: &str = "wycheproof/json_web_signature_test.json";

#[test]
#[ignore = "reads third-party vectors, which are no part of the tree: see CONTRIBUTING.md"]
fn vec_01_wycheproof_json_web_signature_through_the_public_functions() {
    let file = json(SIGNATURES);
    // One group has a refused key, a secret of zeros. The unit test has all 401 vectors.
    let (mut agreed, mut deviating, mut without_key) = (0, Vec::new(), 0);
    for group in groups(&file).iter().filter(|group| group["comment"] != "base64") {
        let keys = keys_of(group);
        without_key += usize::from(keys.is_none());
        for test in tests(group) {
            let text = test["jws"].as_str().unwrap();
            let accepted = keys.as_ref().is_some_and(|keys| verify_compact(keys, text.as_bytes()).is_ok());
            if accepted == (test["result"] == "valid") {
                agreed += 1;
            } else {
                deviating.push(test["tcId"].as_u64().unwrap());
            }
        }
    }
    println!("{SIGNATURES}: {agreed} as expected, deviating {deviating:?}, {without_key} groups whose key is refused");
    // 346, 350: header PS384 by a key for PS256. 347, 351: ES512. Four keys are for encryption, two
    // are on P-521.
    assert_eq!((agreed, without_key), (376, 6));
    assert_eq!(deviating, [346, 347, 350, 351]);
}

#[tokio::test]
#[ignore = "reads third-party vectors, which are no part of the tree: see CONTRIBUTING.md"]
async fn vec_02_wycheproof_json_web_key_through_the_loading_of_sets() {
    let path = "wycheproof/json_web_key_test.json";
    let file = json(path);
    let (mut agreed, mut refused_sets) = (0, 0);
    for group in groups(&file) {
        let keys = keys_of(group);
        refused_sets += usize::from(keys.is_none());
        let subject = subject_with(keys.as_ref());
        for test in tests(group) {
            let text = test["jws"].as_str().unwrap();
            let what = format!("{}: {} {}", test["tcId"], group["comment"], test["comment"]);
            let accepted = keys.as_ref().is_some_and(|keys| verify_compact(keys, text.as_bytes()).is_ok());
            assert_eq!(accepted, test["result"] == "valid", "{what}");
            // No payload of them is a claims set, so all are refused as tokens.
            subject.expect_token(&what, text, refused_as(text)).await;
            agreed += 1;
        }
        // As published sets they are refused too. Sets with secrets are never accepted, so one of
        // the five valid ones is left.
        if !group["public"].is_null() {
            let published = KeySet::from_published_jwks(&group["public"].to_string());
            assert_eq!(published.is_ok(), keys.is_some(), "{}", group["comment"]);
        }
        assert!(KeySet::from_published_jwks(&group["private"].to_string()).is_err(), "{}", group["comment"]);
    }
    println!("{path}: {agreed} as expected, {refused_sets} sets refused");
    // All 26: 7 (ROCA), which the catalogue leaves open, is refused with the others.
    assert_eq!((agreed, refused_sets), (26, 20));
}

#[tokio::test]
#[ignore = "reads third-party vectors, which are no part of the tree: see CONTRIBUTING.md"]
async fn vec_03_wycheproof_json_web_signature_as_bearer_tokens() {
    let file = json(SIGNATURES);
    let (mut invalid, mut valid, mut signed_anew) = (0, 0, 0);
    for group in groups(&file) {
        let keys = keys_of(group);
        let subject = subject_with(keys.as_ref());
        for test in tests(group) {
            let text = test["jws"].as_str().unwrap();
            let what = format!("{}: {} {}", test["tcId"], group["comment"], test["comment"]);
            // The valid ones too: what they sign is no claims set.
            subject.expect_token(&what, text, refused_as(text)).await;
            *(if test["result"] == "valid" { &mut valid } else { &mut invalid }) += 1;
        }
        // The group's private key can sign claims of this crate. Eight are refused as keys: a
        // secret of zeros, two on P-521, four for encryption, and one whose `key_ops` are the one
        // text "sign, verify".
        let Ok(key) = SigningKey::from_jwk(&group["private"].to_string()) else { continue };
        let subject = Subject::with_keys(KeySet::signing(key));
        subject.expect_token("signed anew", &subject.valid().await, Outcome::Ok).await;
        signed_anew += 1;
    }
    println!(
        "{SIGNATURES} as bearer: {invalid} invalid and {valid} valid ones refused, {signed_anew} keys sign claims"
    );
    assert_eq!((invalid, valid, signed_anew), (355, 46, 15));
}

/// Asserts that a text is refused without a signature check or a store call. A failed check would
/// give `Signature`.
async fn assert_refused_cheaply(subject: &Subject, keys: &KeySet, what: &str, text: &str) {
    let calls = subject.fixture.store.calls();
    let error = verify_compact(keys, text.as_bytes()).unwrap_err();
    assert!(matches!(error, TokenError::Malformed(_)), "{what}: {error}");
    subject.expect_token(what, text, refused_as(text)).await;
    assert_eq!(subject.fixture.store.calls(), calls, "{what}: the store was asked");
}

#[tokio::test]
#[ignore = "reads third-party vectors, which are no part of the tree: see CONTRIBUTING.md"]
async fn vec_05_encrypted_tokens_are_refused_before_anything_is_computed() {
    let subject = Subject::new();
    let keys = KeySet::signing(signing(Algorithm::RS256));
    for (path, encrypted, signed) in
        [("wycheproof/json_web_encryption_test.json", 139, 0), ("wycheproof/json_web_crypto_test.json", 34, 49)]
    {
        let file = json(path);
        let mut count = (0, 0);
        for group in groups(&file) {
            let group_keys = keys_of(group);
            let group_subject = subject_with(group_keys.as_ref());
            for test in tests(group) {
                let what = format!("{path} {}: {}", test["tcId"], test["comment"]);
                // Some are objects: the JSON serialization.
                let text_of = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                if test["jwe"].is_null() {
                    // The signatures are also part of VEC-01.
                    let text = text_of(&test["jws"]);
                    let accepted =
                        group_keys.as_ref().is_some_and(|keys| verify_compact(keys, text.as_bytes()).is_ok());
                    assert_eq!(accepted, test["result"] == "valid", "{what}");
                    group_subject.expect_token(&what, &text, refused_as(&text)).await;
                    count.1 += 1;
                } else {
                    assert_refused_cheaply(&subject, &keys, &what, &text_of(&test["jwe"])).await;
                    // The key to it makes no difference: it is for encryption, and no key of ours.
                    assert!(group_keys.is_none(), "{what}");
                    count.0 += 1;
                }
            }
        }
        println!("{path}: {} encrypted, {} signed", count.0, count.1);
        assert_eq!(count, (encrypted, signed), "{path}");
    }
}

fn cookbook(path: &str) -> Value {
    json(&format!("jose-cookbook/{path}.json"))
}

/// Returns every text in `output`: compact, and both JSON forms.
fn outputs(example: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    example["output"].as_object().unwrap().iter().map(|(form, value)| (form.clone(), text(value))).collect()
}

#[tokio::test]
#[ignore = "reads third-party vectors, which are no part of the tree: see CONTRIBUTING.md"]
async fn vec_07_the_jose_cookbook() {
    let subject = Subject::new();
    let (mut verified, mut refused) = (0, 0);
    let mut refuse = async |keys: &KeySet, what: &str, text: &str| {
        assert!(verify_compact(keys, text.as_bytes()).is_err(), "{what}");
        subject.expect_token(what, text, refused_as(text)).await;
        refused += 1;
    };
    // RFC 7520 section 4: signatures. With its algorithm: the keys of the RFC do not all name one.
    for (path, verifies) in [
        ("jws/4_1.rsa_v15_signature", true),
        ("jws/4_2.rsa-pss_signature", true),
        ("jws/4_3.ecdsa_signature", false), // ES512
        ("jws/4_4.hmac-sha2_integrity_protection", true),
        ("jws/4_5.signature_with_detached_content", false),
        ("jws/4_6.protecting_specific_header_fields", false),
        ("jws/4_7.protecting_content_only", false),
        ("jws/4_8.multiple_signatures", false),
        ("rfc7797/hmac-sha2_b64_false", false),
        ("rfc7797/4.2.hmac-sha2_b64_false", false),
        ("curve25519/jws", true),
    ] {
        let example = cookbook(path);
        let input = &example["input"];
        // 4.8 has three keys and algorithms.
        let algorithms = input["alg"].as_array().cloned().unwrap_or_else(|| vec![input["alg"].clone()]);
        let jwks = input["key"].as_array().cloned().unwrap_or_else(|| vec![input["key"].clone()]);
        let mut keys = KeySet::signing(signing(Algorithm::ES384));
        for (jwk, algorithm) in jwks.iter().zip(&algorithms) {
            let Ok(algorithm) = algorithm.as_str().unwrap().parse() else { continue };
            let public = without(jwk.clone(), &["d", "p", "q", "dp", "dq", "qi"]);
            let key = VerifyingKey::from_jwk_with(algorithm, &public.to_string()).unwrap();
            keys = keys.and_verifying(key).unwrap();
        }
        for (form, text) in outputs(&example) {
            let what = format!("{path}, {form}");
            if verifies && form == "compact" {
                let payload = verify_compact(&keys, text.as_bytes()).unwrap();
                assert_eq!(payload, input["payload"].as_str().unwrap().as_bytes(), "{what}");
                verified += 1;
                // It is text, and no claims set.
                let subject = Subject::with_keys(joined(signing(Algorithm::RS256).with_kid("own").unwrap(), &keys));
                subject.expect_token(&what, &text, Outcome::InvalidToken).await;
            } else {
                refuse(&keys, &what, &text).await;
            }
        }
    }
    // Section 5: encryption.
    let keys = KeySet::signing(signing(Algorithm::RS256));
    for path in [
        "jwe/5_1.key_encryption_using_rsa_v15_and_aes-hmac-sha2",
        "jwe/5_2.key_encryption_using_rsa-oaep_with_aes-gcm",
        "jwe/5_3.key_wrap_using_pbes2-aes-keywrap_with-aes-cbc-hmac-sha2",
        "jwe/5_4.key_agreement_with_key_wrapping_using_ecdh-es_and_aes-keywrap_with_aes-gcm",
        "jwe/5_5.key_agreement_using_ecdh-es_with_aes-cbc-hmac-sha2",
        "jwe/5_6.direct_encryption_using_aes-gcm",
        "jwe/5_7.key_wrap_using_aes-gcm_keywrap_with_aes-cbc-hmac-sha2",
        "jwe/5_8.key_wrap_using_aes-keywrap_with_aes-gcm",
        "jwe/5_9.compressed_content",
        "jwe/5_10.including_additional_authentication_data",
        "jwe/5_11.protecting_specific_header_fields",
        "jwe/5_12.protecting_content_only",
        "jwe/5_13.encrypting_to_multiple_recipients",
    ] {
        let example = cookbook(path);
        for (form, text) in outputs(&example) {
            assert_refused_cheaply(&subject, &keys, &format!("{path}, {form}"), &text).await;
            refuse(&keys, &format!("{path}, {form}"), &text).await;
        }
    }
    println!("RFC 7520, RFC 7797 and RFC 8037: {verified} texts verified, {refused} refused");
    assert_eq!(verified, 4);
    // Section 3: keys.
    let jwk = |path: &str| cookbook(path).to_string();
    assert!(VerifyingKey::from_jwk(&jwk("jwk/3_1.ec_public_key")).is_err(), "P-521");
    assert!(SigningKey::from_jwk(&jwk("jwk/3_2.ec_private_key")).is_err(), "P-521");
    let rsa = VerifyingKey::from_jwk_with(Algorithm::RS256, &jwk("jwk/3_3.rsa_public_key")).unwrap();
    assert_eq!(rsa.kid(), Some("bilbo.baggins@hobbiton.example"));
    let pair = SigningKey::from_jwk_with(Algorithm::RS256, &jwk("jwk/3_4.rsa_private_key")).unwrap();
    assert_eq!(pair.verifying_key().thumbprint(), rsa.thumbprint());
    assert!(VerifyingKey::from_jwk_with(Algorithm::RS256, &jwk("jwk/3_4.rsa_private_key")).is_err(), "a private key");
    assert!(SigningKey::from_jwk(&jwk("jwk/3_5.symmetric_key_mac_computation")).is_ok());
    assert!(SigningKey::from_jwk(&jwk("jwk/3_6.symmetric_key_encryption")).is_err(), "A256GCM");
}

/// What RFC 7515 appendices A.1 to A.3 and A.5 sign, and RFC 7519 sections 3.1 and 6.1:
/// `{"iss":"joe","exp":1300819380,...}`.
const JOE: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
/// RFC 7515 appendix A.1: the key, which has the text of RFC 7519 section 3.1 too.
const A1_KEY: &str =
    r#"{"kty":"oct","k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}"#;
const A2_KEY: &str = include_str!("../keys/RFC-7515-A.2.jwk.json");
const A3_KEY: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
/// RFC 8037 appendix A.2.
const ED25519_KEY: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

#[tokio::test]
async fn vec_08_the_examples_of_rfc_7515_rfc_7519_and_rfc_8037() {
    let a2: Value = serde_json::from_str(A2_KEY).unwrap();
    let a2 = without(a2, &["d", "p", "q", "dp", "dq", "qi"]).to_string();
    let mut keys = Vec::new();
    for (name, algorithm, jwk, header, payload, signature) in [
        (
            "RFC 7515 A.1, RFC 7519 3.1",
            Algorithm::HS256,
            A1_KEY,
            "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9",
            JOE,
            "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
        ),
        (
            "RFC 7515 A.2",
            Algorithm::RS256,
            a2.as_str(),
            "eyJhbGciOiJSUzI1NiJ9",
            JOE,
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
        ),
        (
            "RFC 7515 A.3",
            Algorithm::ES256,
            A3_KEY,
            "eyJhbGciOiJFUzI1NiJ9",
            JOE,
            "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        ),
        (
            "RFC 8037 A.4",
            Algorithm::EdDSA,
            ED25519_KEY,
            "eyJhbGciOiJFZERTQSJ9",
            "RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
            "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
        ),
    ] {
        let key = VerifyingKey::from_jwk_with(algorithm, jwk).unwrap();
        let known = KeySet::verifying(key.clone());
        let text = format!("{header}.{payload}.{signature}");
        let read = verify_compact(&known, text.as_bytes()).unwrap();
        assert_eq!(URL_SAFE_NO_PAD.encode(&read), payload, "{name}");
        // One letter more or less, and another key, and it does not.
        for changed in
            [text.replacen("eyJ", "eyK", 1), text[..text.len() - 1].to_owned(), format!("{text}A"), text.to_uppercase()]
        {
            assert!(verify_compact(&known, changed.as_bytes()).is_err(), "{name}: {changed}");
        }
        let other = KeySet::signing(signing(Algorithm::ES384));
        assert_eq!(verify_compact(&other, text.as_bytes()), Err(TokenError::UnknownKey), "{name}");
        // Through the layer all have expired, in 2011, or are no claims.
        let subject = subject_with(Some(&known));
        subject.expect_token(name, &text, Outcome::InvalidToken).await;
        keys.push(key);
    }
    let keys =
        keys.into_iter().fold(KeySet::signing(signing(Algorithm::ES384)), |keys, key| keys.and_verifying(key).unwrap());
    let subject = subject_with(None);
    for (name, text) in [
        (
            "RFC 7515 A.4: ES512",
            "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA.AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn".to_owned(),
        ),
        ("RFC 7515 A.5, RFC 7519 6.1: none", format!("eyJhbGciOiJub25lIn0.{JOE}.")),
        ("the same with something for a signature", format!("eyJhbGciOiJub25lIn0.{JOE}.AA")),
        ("the same without the last dot", format!("eyJhbGciOiJub25lIn0.{JOE}")),
    ] {
        assert!(matches!(verify_compact(&keys, text.as_bytes()), Err(TokenError::Malformed(_))), "{name}");
        subject.expect_token(name, &text, Outcome::InvalidToken).await;
    }
    // A.6: the JSON serializations, whole and flattened, of A.3.
    let signature = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let flattened = serde_json::json!({"payload": JOE, "protected": "eyJhbGciOiJFUzI1NiJ9", "signature": signature});
    let whole = serde_json::json!({"payload": JOE, "signatures": [{"protected": "eyJhbGciOiJFUzI1NiJ9", "signature": signature}]});
    for json in [flattened, whole] {
        assert!(verify_compact(&keys, json.to_string().as_bytes()).is_err());
        subject.expect_token("RFC 7515 A.6", &json.to_string(), Outcome::InvalidRequest).await;
    }
}

#[test]
fn vec_09_the_thumbprints_of_rfc_7638_and_rfc_8037() {
    let key = VerifyingKey::from_jwk(ED25519_KEY).unwrap();
    assert_eq!(key.thumbprint().as_deref(), Some("kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"));
    // RFC 7638 section 3.1, with the members in another order, others between them, and escapes.
    let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";
    for jwk in [
        format!(r#"{{"kty":"RSA","n":"{n}","e":"AQAB","alg":"RS256","kid":"2011-04-29"}}"#),
        format!(
            r#" {{ "e" : "AQAB", "x5t": "AA", "n" : "{n}", "use":"sig", "alg":"RS256", "k\u0074y" : "R\u0053A" }} "#
        ),
    ] {
        let key = VerifyingKey::from_jwk(&jwk).unwrap();
        assert_eq!(key.thumbprint().as_deref(), Some("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"), "{jwk}");
        // What is published again has it too.
        let published = KeySet::from_published_jwks(&KeySet::verifying(key.clone()).to_jwks()).unwrap();
        assert_eq!(published.verifying_keys()[0].thumbprint(), key.thumbprint());
    }
}

/// The cases of Spring Security's `DefaultBearerTokenResolverTests`, each under its name there,
/// with what this crate answers. "Resolved" there is that the token gets to be checked: here the
/// good token's 200, or `invalid_token` of one that is none.
#[tokio::test]
async fn vec_12_the_cases_of_springs_resolver_of_bearer_tokens() {
    let form = "application/x-www-form-urlencoded";
    let subject = Subject::new();
    let token = subject.valid().await;
    let get = |target: &str| Request::get(target.to_owned());
    let bearer_value = format!("Bearer {token}");

    subject.expect("ValidHeader", bearer(&token), Outcome::Ok).await;
    // Spring treats the padding as part of the token. A JWT has none (RFC 7515 section 2).
    subject.expect("HeaderEndsWithPaddingIndicator", bearer(&format!("{token}==")), Outcome::InvalidToken).await;
    subject.expect("HeaderEndsWithPaddingIndicator, opaque", bearer("test-token=="), Outcome::InvalidToken).await;
    subject.expect("LowercaseHeader", authorization(format!("bearer {token}")), Outcome::Ok).await;
    subject.expect("NoHeader", get("/"), Outcome::NoCredentials).await;
    let basic = authorization(format!("Basic {}", STANDARD.encode("test:test")));
    subject.expect("HeaderWithWrongScheme", basic, Outcome::NoCredentials).await;
    // There 401 invalid_token; RFC 6750 section 3.1 calls a malformed request invalid_request.
    subject.expect("HeaderWithMissingToken", authorization("Bearer "), Outcome::InvalidRequest).await;
    let invalid = authorization("Bearer an\"invalid\"token");
    subject.expect("HeaderWithInvalidCharacters", invalid, Outcome::InvalidRequest).await;

    // A header of another name: it holds the token alone, without a scheme.
    let custom = HeaderName::from_static("custom-header");
    let with_custom = Subject::new().layered(|layer| layer.allow_header(custom.clone()));
    let its_token = with_custom.valid().await;
    with_custom.expect("CustomDefinedHeader", get("/").header(&custom, &its_token), Outcome::Ok).await;
    let scheme = get("/").header(&custom, format!("Bearer {its_token}"));
    with_custom.expect("CustomDefinedHeader with a scheme", scheme, Outcome::InvalidRequest).await;
    subject.expect("CustomDefinedHeader, not allowed", get("/").header(&custom, &token), Outcome::NoCredentials).await;

    // The query, allowed and not.
    let allowing = Subject::new().layered(|layer| layer.allow_query("access_token"));
    let allowed = allowing.valid().await;
    let query = |token: &str| get(&format!("/?access_token={token}"));
    allowing.expect("QueryParameterIsPresentAndSupported", query(&allowed), Outcome::Ok).await;
    subject.expect("QueryParameterIsPresentAndNotSupported", query(&token), Outcome::NoCredentials).await;
    let both = query(&allowed).header(AUTHORIZATION, format!("Bearer {allowed}"));
    allowing.expect("ValidHeaderTogetherWithQueryParameter", both, Outcome::InvalidRequest).await;
    // Not allowed, the query is not looked at; there two are an error even so.
    let beside = query(&token).header(AUTHORIZATION, &bearer_value);
    subject.expect("ValidHeaderTogetherWithQueryParameter, not supported", beside, Outcome::Ok).await;
    let two = get("/?access_token=token1&access_token=token2");
    allowing.expect("TwoAccessTokenQueryParameters", two, Outcome::InvalidRequest).await;
    let two = get("/?access_token=token1&access_token=token2");
    subject.expect("TwoAccessTokenQueryParameters, not supported", two, Outcome::NoCredentials).await;

    // Tokens in bodies are never read (RFC 6750 section 2.2 MAY), by whatever method and media
    // type: there is no credential, or the header's.
    for method in ["POST", "PUT", "PATCH", "DELETE", "GET"] {
        for media in [form, "multipart/form-data"] {
            for body in [format!("access_token={token}"), "access_token=token1&access_token=token2".to_owned()] {
                for subject in [&subject, &allowing] {
                    let what = format!("FormParameter: {method} {media} {}", &body[..15]);
                    let request = || Request::builder().method(method).uri("/").header("content-type", media);
                    let calls = subject.inner.calls();
                    let answer = subject.send(request().body(Full::from(body.clone())).unwrap()).await;
                    answer.assert_refused(&what, Outcome::NoCredentials, false);
                    assert_eq!(subject.inner.calls(), calls, "{what}");
                    // With the header there is one credential: the body belongs to the service
                    // inside.
                    let own = subject.valid().await;
                    let with_header = request().header(AUTHORIZATION, format!("Bearer {own}"));
                    let answer = subject.send(with_header.body(Full::from(body.clone())).unwrap()).await;
                    assert_eq!(
                        (answer.status.as_u16(), &answer.body[..]),
                        (200, &b"42"[..]),
                        "{what}, with the header"
                    );
                }
            }
        }
    }
}

/// The cases of Spring Security's `BearerTokenAuthenticationEntryPointTests`. There each part of a
/// challenge can be set; here it follows from what was wrong. There is always a realm, and never an
/// `error_description` or `error_uri`: nothing tells why (conformance rule 12).
#[tokio::test]
async fn vec_12_the_cases_of_springs_entry_point() {
    let subject = Subject::new();
    let token = subject.valid().await;
    let get = || Request::get("/").body(Full::default()).unwrap();
    let request = |value: &str| authorization(value).body(Full::default()).unwrap();
    let challenge = |headers: &http::HeaderMap| {
        let lines: Vec<_> =
            headers.get_all("www-authenticate").iter().map(|line| line.to_str().unwrap().to_owned()).collect();
        assert_eq!(lines.len(), 1);
        lines.concat()
    };
    // NoBearerTokenError, with a realm and without; SetRealmName.
    for (realm, expected) in [
        (None, r#"Bearer realm="api""#),
        (Some("test"), r#"Bearer realm="test""#),
        (Some("a realm of one's own"), r#"Bearer realm="a realm of one's own""#),
    ] {
        let layer = subject.builder();
        let layer = if let Some(realm) = realm { layer.realm(realm) } else { layer }.build().unwrap();
        let answer = send(layer.layer(subject.inner.clone()), get()).await;
        assert_eq!((answer.status.as_u16(), challenge(&answer.headers).as_str()), (401, expected));
        // InvalidRequestError, InvalidTokenError and InsufficientScopeError.
        for (value, status, error) in [("Bearer", 400, "invalid_request"), ("Bearer abc", 401, "invalid_token")] {
            let answer = send(layer.layer(subject.inner.clone()), request(value)).await;
            let expected = format!(r#"{expected}, error="{error}""#);
            assert_eq!((answer.status.as_u16(), challenge(&answer.headers)), (status, expected));
        }
        let scoped = layer.require_all_scopes(["test.read", "test.write"]).unwrap();
        let answer = send(layer.layer(scoped.layer(subject.inner.clone())), request(&format!("Bearer {token}"))).await;
        let expected = format!(r#"{expected}, error="insufficient_scope", scope="test.read test.write""#);
        assert_eq!((answer.status.as_u16(), challenge(&answer.headers)), (403, expected));
    }
    // A realm that would have to be escaped, or that no header can hold, is an error when the layer
    // is made.
    let layer = || subject.builder();
    for bad in ["a\nb", "a\0", "\u{7f}", "a\"b", "a\\b"] {
        assert!(layer().realm(bad).build().is_err(), "{bad:?}");
    }
    assert_eq!(subject.inner.calls(), 0);
}
