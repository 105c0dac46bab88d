//! KEY: algorithms and keys. A key has one algorithm. Both are checked before any request.
//!
//! The rows about signatures are in `signatures`. KEY-34 and KEY-35 are unit tests of the library,
//! because they need other features than this file.

use std::process::Command;

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{Algorithm as Jose, EncodingKey};
use serde_json::{Value, json};
use tower::Layer;
use tower_bearer::{
    AuthLayer, KeySet, NewSession, TokenService,
    compat::Settings,
    error::ConfigError,
    jwt::{Algorithm, SigningKey, VerifyingKey},
    tokens::TokenServiceBuilder,
};

use crate::{
    subject::{Outcome, Subject, bearer},
    support::{
        fixture::{AUDIENCE, ISSUER, SECRET, read_part, sign_with},
        test_keys::{encoding, signing, text},
    },
};

pub(crate) const RSA: [Algorithm; 6] =
    [Algorithm::RS256, Algorithm::RS384, Algorithm::RS512, Algorithm::PS256, Algorithm::PS384, Algorithm::PS512];
pub(crate) const HMAC: [Algorithm; 3] = [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];

/// One pair of each type, by its algorithm, PKCS#8 and SPKI.
const PAIRS: [(Algorithm, &str, &str); 4] = [
    (Algorithm::RS256, "TEST-rsa-2048-pkcs8.pem", "TEST-rsa-2048-public.pem"),
    (Algorithm::ES256, "TEST-ec-p256-pkcs8.pem", "TEST-ec-p256-public.pem"),
    (Algorithm::ES384, "TEST-ec-p384-pkcs8.pem", "TEST-ec-p384-public.pem"),
    (Algorithm::EdDSA, "TEST-ed25519-pkcs8.pem", "TEST-ed25519-public.pem"),
];

fn der_of(pem: &str) -> Vec<u8> {
    STANDARD.decode(pem.lines().filter(|line| !line.starts_with("-----")).collect::<String>()).unwrap()
}

/// Returns the public JWK of a key, as the crate writes it.
pub(crate) fn public_jwk(key: &SigningKey) -> Value {
    let mut set: Value = serde_json::from_str(&KeySet::signing(key.clone()).to_jwks()).unwrap();
    set["keys"][0].take()
}

pub(crate) fn with(mut jwk: Value, name: &str, value: Value) -> Value {
    jwk[name] = value;
    jwk
}

pub(crate) fn without(mut jwk: Value, names: &[&str]) -> Value {
    for name in names {
        jwk.as_object_mut().unwrap().remove(*name);
    }
    jwk
}

pub(crate) fn set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

pub(crate) fn number(jwk: &Value, name: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap()
}

fn jose(algorithm: Algorithm) -> Jose {
    algorithm.as_str().parse().unwrap()
}

/// Returns a header with this `alg` and, if given, `kid`.
pub(crate) fn header(algorithm: &str, kid: Option<&str>) -> String {
    let mut header = json!({"alg": algorithm, "typ": "at+jwt"});
    if let Some(kid) = kid {
        header["kid"] = kid.into();
    }
    header.to_string()
}

/// Returns a token with `alg` = `says` that is signed with the algorithm `by`.
fn signed(says: Algorithm, by: Algorithm, key: &EncodingKey, kid: Option<&str>, claims: &str) -> String {
    sign_with(jose(by), key, header(says.as_str(), kid).as_bytes(), claims.as_bytes())
}

/// Returns a set that signs with one key and also verifies with all keys of the other set.
pub(crate) fn joined(signing: SigningKey, others: &KeySet) -> KeySet {
    let others = others.verifying_keys().iter().cloned();
    others.fold(KeySet::signing(signing), |keys, key| keys.and_verifying(key).unwrap())
}

/// Returns a public key in every common form, as bytes that an attacker may use as an HMAC secret.
fn public_forms(algorithm: Algorithm) -> Vec<(&'static str, Vec<u8>)> {
    let spki = text(PAIRS.iter().find(|pair| pair.0 == algorithm).unwrap().2);
    let jwk = public_jwk(&signing(algorithm));
    let mut forms = vec![
        ("PEM", spki.clone().into_bytes()),
        ("PEM without its last line feed", spki.trim_end().into()),
        ("PEM with CRLF", spki.replace('\n', "\r\n").into_bytes()),
        ("PEM with an empty line", format!("{spki}\n").into_bytes()),
        ("PEM's body", spki.lines().filter(|line| !line.starts_with('-')).collect::<String>().into_bytes()),
        ("DER", der_of(&spki)),
        ("JWK", jwk.to_string().into_bytes()),
        ("JWK, indented", serde_json::to_vec_pretty(&jwk).unwrap()),
        ("JWK Set", set(std::slice::from_ref(&jwk)).into_bytes()),
        ("JWK without use, alg and kid", without(jwk.clone(), &["use", "alg", "kid"]).to_string().into_bytes()),
        ("thumbprint", signing(algorithm).kid().unwrap().into()),
    ];
    let field = |bytes: &[u8]| [&u32::try_from(bytes.len()).unwrap().to_be_bytes(), bytes].concat();
    let ssh = |name: &str, fields: &[&[u8]]| {
        let blob: Vec<u8> = [name.as_bytes()].iter().chain(fields).flat_map(|bytes| field(bytes)).collect();
        [format!("{name} {}", STANDARD.encode(&blob)).into_bytes(), blob]
    };
    let lines = match algorithm {
        Algorithm::ES256 | Algorithm::ES384 => {
            let (x, y) = (number(&jwk, "x"), number(&jwk, "y"));
            let point = [&[4], &x[..], &y].concat();
            forms.push(("0x04, x and y", point.clone()));
            forms.push(("x and y", [&x[..], &y].concat()));
            forms.push(("the compressed point", [&[2 + (y.last().unwrap() & 1)], &x[..]].concat()));
            forms.push(("x", x));
            let curve = if algorithm == Algorithm::ES256 { "nistp256" } else { "nistp384" };
            ssh(&format!("ecdsa-sha2-{curve}"), &[curve.as_bytes(), &point])
        }
        Algorithm::EdDSA => {
            let x = number(&jwk, "x");
            forms.push(("the 32 bytes", x.clone()));
            forms.push(("their base64url", jwk["x"].as_str().unwrap().into()));
            ssh("ssh-ed25519", &[&x])
        }
        _ => {
            let pkcs1 = text("TEST-rsa-2048-public-pkcs1.pem");
            forms.push(("PKCS#1 PEM", pkcs1.clone().into_bytes()));
            forms.push(("PKCS#1 PEM without its last line feed", pkcs1.trim_end().into()));
            forms.push(("PKCS#1 PEM with CRLF", pkcs1.replace('\n', "\r\n").into_bytes()));
            forms.push(("PKCS#1 DER", der_of(&pkcs1)));
            let (n, e) = (number(&jwk, "n"), number(&jwk, "e"));
            forms.push(("the modulus", n.clone()));
            ssh("ssh-rsa", &[&e, &[&[0], &n[..]].concat()])
        }
    };
    forms.extend(["SSH line", "SSH blob"].into_iter().zip(lines));
    forms.push(("nothing", Vec::new()));
    forms
}

/// Asserts that a MAC under a public key in any form is no signature, in sets with and without
/// secrets.
async fn no_public_key_is_taken_for_a_secret(algorithm: Algorithm) {
    let secret = SigningKey::from_secret(Algorithm::HS256, SECRET).unwrap().with_kid("secret").unwrap();
    let alone = KeySet::signing(signing(algorithm));
    let beside_a_secret = alone.clone().and_verifying(secret.verifying_key().clone()).unwrap();
    for keys in [alone, beside_a_secret] {
        let subject = Subject::with_keys(keys);
        let claims = subject.claims_text().await;
        let own = signing(algorithm);
        let good = signed(algorithm, algorithm, &encoding(algorithm), own.kid(), &claims);
        subject.expect_token("signed by the key", &good, Outcome::Ok).await;
        for (form, bytes) in public_forms(algorithm) {
            for hmac in HMAC {
                for kid in [None, own.kid()] {
                    let key = EncodingKey::from_secret(&bytes);
                    let forged = signed(hmac, hmac, &key, kid, &claims);
                    let what = format!("{hmac} under {algorithm}'s key as {form}, kid {kid:?}");
                    subject.expect_token(&what, &forged, Outcome::InvalidToken).await;
                }
                // The header that the key is for, on the MAC.
                let forged = signed(algorithm, hmac, &EncodingKey::from_secret(&bytes), own.kid(), &claims);
                let what = format!("{hmac} under {form}, called {algorithm}");
                subject.expect_token(&what, &forged, Outcome::InvalidToken).await;
            }
        }
    }
    // An application cannot configure such a text as a secret by mistake.
    for (form, bytes) in public_forms(algorithm) {
        if form.starts_with("PEM") && form != "PEM's body" || form.contains("JWK") || form == "SSH line" {
            let error = fixture_builder().secret(&bytes).build().unwrap_err();
            assert!(error.to_string().contains("is the text of a PEM, SSH or JSON Web Key"), "{form}: {error}");
        }
    }
}

fn fixture_builder() -> TokenServiceBuilder {
    TokenService::builder().issuer(ISSUER).audience(AUDIENCE).store(tower_bearer::MemoryStore::default())
}

#[tokio::test]
async fn key_01_an_rsa_public_key_is_no_hmac_secret() {
    no_public_key_is_taken_for_a_secret(Algorithm::RS256).await;
}

#[tokio::test]
async fn key_02_an_ec_public_key_is_no_hmac_secret() {
    no_public_key_is_taken_for_a_secret(Algorithm::ES256).await;
    no_public_key_is_taken_for_a_secret(Algorithm::ES384).await;
}

#[tokio::test]
async fn key_03_an_ed25519_public_key_is_no_hmac_secret() {
    no_public_key_is_taken_for_a_secret(Algorithm::EdDSA).await;
}

/// Returns every way to configure a secret, with its error.
fn refusals_of_secret(algorithm: Algorithm, secret: &[u8]) -> Vec<(&'static str, Option<ConfigError>)> {
    let jwk = json!({"kty": "oct", "alg": algorithm.as_str(), "k": URL_SAFE_NO_PAD.encode(secret)});
    let unnamed = without(jwk.clone(), &["alg"]).to_string();
    let text = jwk.to_string();
    let mut refusals = vec![
        ("build", fixture_builder().secret(secret).algorithm(algorithm).build().err()),
        ("SigningKey::from_secret", SigningKey::from_secret(algorithm, secret).err()),
        ("VerifyingKey::from_secret", VerifyingKey::from_secret(algorithm, secret).err()),
        ("SigningKey::from_jwk", SigningKey::from_jwk(&text).err()),
        ("SigningKey::from_jwk_with", SigningKey::from_jwk_with(algorithm, &unnamed).err()),
        ("VerifyingKey::from_jwk", VerifyingKey::from_jwk(&text).err()),
        ("VerifyingKey::from_jwk_with", VerifyingKey::from_jwk_with(algorithm, &unnamed).err()),
        ("KeySet::from_jwks", KeySet::from_jwks(&set(&[jwk])).err()),
    ];
    if let Ok(secret) = std::str::from_utf8(secret) {
        let variables = [("JWT_SECRET_KEY", secret), ("JWT_ALGORITHM", algorithm.as_str())];
        let built = Settings::from_vars(variables).and_then(|settings| fixture_builder().settings(&settings).build());
        refusals.push(("settings", built.err()));
    }
    refusals
}

#[test]
fn key_05_an_empty_secret_is_refused_when_the_service_is_built() {
    for algorithm in HMAC {
        for (way, error) in refusals_of_secret(algorithm, b"") {
            assert!(error.is_some(), "{algorithm} by {way}");
        }
    }
    // As one of several keys it spoils the set.
    let good = json!({"kty": "oct", "alg": "HS256", "kid": "a", "k": URL_SAFE_NO_PAD.encode(SECRET)});
    let empty = json!({"kty": "oct", "alg": "HS256", "kid": "b", "k": ""});
    assert!(KeySet::from_jwks(&set(std::slice::from_ref(&good))).is_ok());
    assert!(KeySet::from_jwks(&set(&[good, empty])).is_err());
}

#[test]
fn key_06_a_secret_shorter_than_its_hash_is_refused_when_the_service_is_built() {
    let bytes: Vec<u8> = (1..=255).collect();
    for (algorithm, least) in [(Algorithm::HS256, 32), (Algorithm::HS384, 48), (Algorithm::HS512, 64)] {
        for len in [1, 2, 8, 16, 31, 32, 47, 48, 63] {
            for (way, error) in refusals_of_secret(algorithm, &bytes[..len]) {
                assert_eq!(error.is_some(), len < least, "{len} bytes for {algorithm} by {way}: {error:?}");
                // It says how many bytes there are and how many are needed.
                let message = error.map(|error| error.to_string()).unwrap_or_default();
                assert!(
                    len >= least || message.contains(&format!("{len} bytes")) && message.contains(&least.to_string()),
                    "{message}"
                );
            }
        }
    }
}

#[tokio::test]
async fn key_07_a_secret_longer_than_the_hashs_block_is_accepted() {
    let bytes: Vec<u8> = (0..=255).cycle().take(1024).collect();
    for algorithm in HMAC {
        for len in [64, 65, 127, 128, 129, 255, 1024] {
            let key = SigningKey::from_secret(algorithm, &bytes[..len]).unwrap();
            let subject = Subject::with_keys(KeySet::signing(key));
            let what = format!("{algorithm} with {len} bytes");
            subject.expect_token(&what, &subject.valid().await, Outcome::Ok).await;
            // Not cut: the last byte counts.
            let mut other = bytes[..len].to_vec();
            *other.last_mut().unwrap() ^= 1;
            let claims = subject.claims_text().await;
            let forged = signed(algorithm, algorithm, &EncodingKey::from_secret(&other), None, &claims);
            subject.expect_token(&format!("{what}, another last byte"), &forged, Outcome::InvalidToken).await;
        }
    }
}

#[test]
fn key_10_without_an_algorithm_or_a_key_nothing_is_built() {
    // An empty list of algorithms cannot be written: a set is made of keys, each of which has its
    // own.
    let error = fixture_builder().build().unwrap_err();
    assert_eq!(error.setting(), "secret", "{error}");
    for json in [r#"{"keys":[]}"#, "{}"] {
        assert!(KeySet::from_jwks(json).is_err(), "{json}");
        assert!(KeySet::from_published_jwks(json).is_err(), "{json}");
    }
    // A set of which nothing is left is none either.
    let others = set(&[json!({"kty": "AKP", "alg": "ML-DSA-44"}), json!({"kty": "EC", "use": "enc"})]);
    assert!(KeySet::from_published_jwks(&others).is_err());
    for name in ["", "none", "None", "NONE", "nOnE", "HS256,RS256", "HS-256", "hs256", "*", "any", "ES512", "ES256K"] {
        assert!(name.parse::<Algorithm>().is_err(), "{name:?}");
        let variables = [("JWT_ALGORITHM", name), ("JWT_SECRET_KEY", SECRET)];
        let built = Settings::from_vars(variables).and_then(|settings| fixture_builder().settings(&settings).build());
        assert!(built.is_err(), "{name:?}");
    }
}

#[test]
fn key_11_a_key_of_another_family_than_its_algorithm_is_refused_when_it_is_made() {
    let asymmetric: Vec<Algorithm> =
        RSA.into_iter().chain([Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA, Algorithm::Ed25519]).collect();
    for &algorithm in &asymmetric {
        // With a secret.
        for (way, error) in refusals_of_secret(algorithm, SECRET.as_bytes()) {
            assert!(error.is_some(), "{algorithm} with a secret by {way}");
        }
        // With a key of another type.
        for (other, private, public) in PAIRS {
            let fits = algorithm == other
                || RSA.contains(&algorithm) && RSA.contains(&other)
                || (algorithm, other) == (Algorithm::Ed25519, Algorithm::EdDSA);
            let (private, public) = (text(private), text(public));
            let jwk = without(public_jwk(&signing(other)), &["alg"]).to_string();
            for (way, accepted) in [
                ("SigningKey::from_pem", SigningKey::from_pem(algorithm, &private).is_ok()),
                ("SigningKey::from_der", SigningKey::from_der(algorithm, der_of(&private)).is_ok()),
                ("VerifyingKey::from_pem", VerifyingKey::from_pem(algorithm, &public).is_ok()),
                ("VerifyingKey::from_der", VerifyingKey::from_der(algorithm, der_of(&public)).is_ok()),
                ("VerifyingKey::from_jwk_with", VerifyingKey::from_jwk_with(algorithm, &jwk).is_ok()),
                (
                    "KeySet::from_published_jwks_with",
                    KeySet::from_published_jwks_with([algorithm], &format!(r#"{{"keys":[{jwk}]}}"#)).is_ok(),
                ),
            ] {
                assert_eq!(accepted, fits, "{algorithm} with {other}'s key by {way}");
            }
        }
    }
    for hmac in HMAC {
        for (other, private, public) in PAIRS {
            assert!(SigningKey::from_pem(hmac, text(private)).is_err(), "{hmac} with {other}'s");
            assert!(VerifyingKey::from_pem(hmac, text(public)).is_err(), "{hmac} with {other}'s");
            assert!(VerifyingKey::from_jwk_with(hmac, &public_jwk(&signing(other)).to_string()).is_err());
        }
    }
}

#[tokio::test]
async fn key_13_a_key_verifies_by_its_own_algorithm_and_no_other() {
    // RSA keys would compute six algorithms, and secrets three.
    for family in [&RSA[..], &HMAC] {
        for &own in family {
            let key = signing(own);
            let subject = Subject::with_keys(KeySet::signing(key.clone()));
            let claims = subject.claims_text().await;
            for &other in family {
                let encoding = encoding(own);
                for kid in [None, key.kid()] {
                    let outcome = if own == other { Outcome::Ok } else { Outcome::InvalidToken };
                    let token = signed(other, other, &encoding, kid, &claims);
                    subject.expect_token(&format!("{own}'s key, {other}, kid {kid:?}"), &token, outcome).await;
                    // A header that lies about what was signed with helps as little, in either
                    // direction.
                    let token = signed(other, own, &encoding, kid, &claims);
                    subject.expect_token(&format!("{own}'s key and signature called {other}"), &token, outcome).await;
                    let token = signed(own, other, &encoding, kid, &claims);
                    subject.expect_token(&format!("{own}'s key, {other} called {own}"), &token, outcome).await;
                }
            }
        }
    }
}

#[tokio::test]
async fn key_14_a_jwk_without_alg_has_the_algorithm_that_is_configured_and_never_the_headers() {
    let pair = signing(Algorithm::RS256);
    let jwk = without(public_jwk(&pair), &["alg"]);
    // Without an algorithm there is no key: not at the first token either.
    assert!(VerifyingKey::from_jwk(&jwk.to_string()).unwrap_err().to_string().contains("names no algorithm"));
    assert!(KeySet::from_jwks(&set(std::slice::from_ref(&jwk))).is_err());
    assert!(KeySet::from_published_jwks(&set(std::slice::from_ref(&jwk))).is_err());
    let secret = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET)});
    assert!(VerifyingKey::from_jwk(&secret.to_string()).is_err());

    let issuer = signing(Algorithm::EdDSA);
    for configured in RSA {
        let by_key = KeySet::verifying(VerifyingKey::from_jwk_with(configured, &jwk.to_string()).unwrap());
        let by_set = KeySet::from_published_jwks_with([configured], &set(std::slice::from_ref(&jwk))).unwrap();
        for keys in [by_key, by_set] {
            let subject = Subject::with_keys(joined(issuer.clone(), &keys));
            let claims = subject.claims_text().await;
            for says in RSA {
                let outcome = if says == configured { Outcome::Ok } else { Outcome::InvalidToken };
                for kid in [None, pair.kid()] {
                    let token = signed(says, says, &encoding(says), kid, &claims);
                    subject.expect_token(&format!("configured {configured}, token {says}"), &token, outcome).await;
                }
            }
        }
    }
}

/// Asserts that every way to read this public key refuses it, and that a published set with a good
/// key leaves it out.
fn assert_unusable(what: &str, algorithm: Algorithm, jwk: &Value) {
    let named = with(jwk.clone(), "kid", json!("bad"));
    let good = with(public_jwk(&signing(Algorithm::EdDSA)), "kid", json!("good"));
    assert!(VerifyingKey::from_jwk(&named.to_string()).is_err(), "{what}: from_jwk");
    assert!(VerifyingKey::from_jwk_with(algorithm, &named.to_string()).is_err(), "{what}: from_jwk_with");
    for keys in [vec![named.clone()], vec![good.clone(), named.clone()], vec![named.clone(), good.clone()]] {
        assert!(KeySet::from_jwks(&set(&keys)).is_err(), "{what}: from_jwks");
    }
    assert!(
        KeySet::from_published_jwks(&set(std::slice::from_ref(&named))).is_err(),
        "{what}: alone in a published set"
    );
    let left = KeySet::from_published_jwks(&set(&[named.clone(), good])).unwrap();
    let kids: Vec<_> = left.verifying_keys().iter().filter_map(VerifyingKey::kid).collect();
    assert_eq!(kids, ["good"], "{what}: published");
    let by_algorithm = KeySet::from_published_jwks_with([algorithm], &set(&[named]));
    assert!(by_algorithm.is_err(), "{what}: from_published_jwks_with");
}

#[test]
fn key_15_an_rsa_modulus_below_2048_bits_is_refused() {
    let small = text("TEST-rsa-1024-pkcs8.pem");
    // Wycheproof's 1024-bit key, json_web_key_test 8.
    let n1024 = "rJBIp6T1YK-RtPyvYqFFlcucqewSAA_IReSFchE8qyiQrbARqRlXWkB2DR8j_pJQnIpYELbQWZC5Cd0PTGAU8rMbar2AW6zpmBbi7aQf17lUBdt8XI9M9rq7FPVQ1dDdUXm1SVH_9qqWhvMPR422SbfHBEzCAtzK0ANDRo6qz78";
    let n = number(&public_jwk(&signing(Algorithm::RS256)), "n");
    assert!(n[0] & 0x80 != 0, "2048 bits");
    let mut n2047 = n.clone();
    n2047[0] = 0x7f;
    let n1536 = &n[64..];
    assert!(n1536[0] != 0);
    for algorithm in RSA {
        let message = SigningKey::from_pem(algorithm, &small).unwrap_err().to_string();
        assert!(message.contains("2048"), "{message}");
        assert!(SigningKey::from_der(algorithm, der_of(&small)).is_err());
        let jwk = public_jwk(&signing(algorithm));
        for (what, n) in [
            ("1024 bits", n1024.to_owned()),
            ("1536 bits", URL_SAFE_NO_PAD.encode(n1536)),
            ("2047 bits", URL_SAFE_NO_PAD.encode(&n2047)),
            ("2047 bits in 2056", URL_SAFE_NO_PAD.encode([&[0], &n2047[..]].concat())),
            ("2048 bits by zeros", URL_SAFE_NO_PAD.encode([&[0; 128], &n[128..]].concat())),
            ("8 bits", "_w".to_owned()),
            ("none", String::new()),
        ] {
            assert_unusable(&format!("{algorithm} of {what}"), algorithm, &with(jwk.clone(), "n", json!(n)));
        }
        assert!(VerifyingKey::from_jwk(&jwk.to_string()).is_ok(), "2048 bits");
    }
}

#[test]
fn key_16_an_rsa_exponent_of_one_even_or_huge_is_refused() {
    for algorithm in RSA {
        let jwk = public_jwk(&signing(algorithm));
        let exponent = |bytes: &[u8]| with(jwk.clone(), "e", json!(URL_SAFE_NO_PAD.encode(bytes)));
        let bad: [&[u8]; 12] = [
            &[],
            &[0],
            &[1],
            &[2],
            &[4],
            &[1, 0, 0],
            &[0, 1, 0, 1],
            // 2^32, 2^32 + 1, 2^33 + 1, and as long as the modulus.
            &[1, 0, 0, 0, 0],
            &[1, 0, 0, 0, 1],
            &[2, 0, 0, 0, 1],
            &[0xff; 9],
            &[0xff; 256],
        ];
        for e in bad {
            assert_unusable(&format!("{algorithm} with e {e:?}"), algorithm, &exponent(e));
        }
        for e in [&[3][..], &[17], &[1, 0, 1]] {
            assert!(VerifyingKey::from_jwk(&exponent(e).to_string()).is_ok(), "e {e:?}");
        }
        // The same in DER, whose last bytes are the exponent's: 65536.
        for name in ["TEST-rsa-2048-public.pem", "TEST-rsa-2048-public-pkcs1.pem"] {
            let mut der = der_of(&text(name));
            assert!(VerifyingKey::from_der(algorithm, &der).is_ok() && der.ends_with(&[2, 3, 1, 0, 1]));
            *der.last_mut().unwrap() = 0;
            assert!(VerifyingKey::from_der(algorithm, &der).is_err(), "{name}");
        }
    }
}

#[test]
fn key_18_a_modulus_of_the_roca_generator_is_refused() {
    // Optional by the catalogue; it costs 38 remainders when a key is made. Wycheproof's key,
    // json_web_key_test 7.
    let n = "AanFpofbj7KjD4Lf-N2hVMKR7yewSyXhhbirIMTGpfYEhZ_lnt5UoK98DnKIgArXGTu3MaW_HhFw16HGaTDUHqPrId7fe4r11CqRw09yBFuW79V8sYIwHdzCaWflUI6auImYbVfoN9_nD5n8N8SY9DwXw7mwZM9wREPXoDPgOoIWl6q_MPsp7n0zs3Z5ZaiQWOOzl1S9OhwAfSiiOwz6efnXEaxuTEtPd7BjSx7NaFka8Dx9U7YqXy2RFj1O9PjyaDGuRh7YXsX3iMUSP_wSyHQg_c_qHRtKUsNSGCT7OZg0hzm2KphtjnayKJvC64vAbROBR4Ubg6Bxg9IQVZ-QYyE";
    let n = URL_SAFE_NO_PAD.decode(n).unwrap();
    for algorithm in RSA {
        // With its one leading zero and without.
        for n in [&n[..], &n[usize::from(n[0] == 0)..]] {
            let jwk = with(public_jwk(&signing(algorithm)), "n", json!(URL_SAFE_NO_PAD.encode(n)));
            assert_unusable("ROCA", algorithm, &jwk);
        }
    }
    let jwk = with(public_jwk(&signing(Algorithm::RS256)), "n", json!(URL_SAFE_NO_PAD.encode(&n)));
    let message = VerifyingKey::from_jwk(&jwk.to_string()).unwrap_err().to_string();
    assert!(message.contains("CVE-2017-15361"), "{message}");
}

#[test]
fn key_19_a_point_off_its_curve_or_on_another_is_refused() {
    let (p256, p384) = (public_jwk(&signing(Algorithm::ES256)), public_jwk(&signing(Algorithm::ES384)));
    let ed = public_jwk(&signing(Algorithm::EdDSA));
    let changed = |jwk: &Value, name: &str, by: fn(&mut Vec<u8>)| {
        let mut bytes = number(jwk, name);
        by(&mut bytes);
        with(jwk.clone(), name, json!(URL_SAFE_NO_PAD.encode(bytes)))
    };
    for (algorithm, jwk, other) in [(Algorithm::ES256, &p256, &p384), (Algorithm::ES384, &p384, &p256)] {
        let zeros = URL_SAFE_NO_PAD.encode(vec![0; number(jwk, "x").len()]);
        let ones = URL_SAFE_NO_PAD.encode(vec![0xff; number(jwk, "x").len()]);
        for (what, bad) in [
            ("another x", changed(jwk, "x", |x| x[5] ^= 1)),
            ("another y", changed(jwk, "y", |y| *y.last_mut().unwrap() ^= 1)),
            ("x and y changed places", with(with(jwk.clone(), "x", jwk["y"].clone()), "y", jwk["x"].clone())),
            ("zero", with(with(jwk.clone(), "x", json!(zeros)), "y", json!(zeros))),
            ("x is zero", with(jwk.clone(), "x", json!(zeros))),
            ("beyond the field", with(with(jwk.clone(), "x", json!(ones)), "y", json!(ones))),
            ("a byte less", changed(jwk, "x", |x| x.truncate(x.len() - 1))),
            ("a byte more", changed(jwk, "y", |y| y.insert(0, 0))),
            ("no y", without(jwk.clone(), &["y"])),
            ("the other curve's name", with(jwk.clone(), "crv", other["crv"].clone())),
            ("the other curve's algorithm", with(jwk.clone(), "alg", other["alg"].clone())),
            (
                "the other curve's name and algorithm",
                with(with(jwk.clone(), "crv", other["crv"].clone()), "alg", other["alg"].clone()),
            ),
            ("P-521", with(jwk.clone(), "crv", json!("P-521"))),
            ("secp256k1", with(jwk.clone(), "crv", json!("secp256k1"))),
            ("Ed25519", with(jwk.clone(), "crv", json!("Ed25519"))),
            ("the curve's name in lower case", with(jwk.clone(), "crv", json!("p-256"))),
            ("no curve", without(jwk.clone(), &["crv"])),
        ] {
            assert_unusable(&format!("{algorithm}: {what}"), algorithm, &bad);
        }
    }
    let point = |bytes: &[u8]| with(ed.clone(), "x", json!(URL_SAFE_NO_PAD.encode(bytes)));
    for (what, bad) in [
        ("a byte less", changed(&ed, "x", |x| x.truncate(x.len() - 1))),
        ("a byte more", changed(&ed, "x", |x| x.push(0))),
        ("X25519", with(ed.clone(), "crv", json!("X25519"))),
        ("Ed448", with(ed.clone(), "crv", json!("Ed448"))),
        ("P-256", with(ed.clone(), "crv", json!("P-256"))),
        ("y = 2, which has no x", point(&[&[2], &[0; 31][..]].concat())),
        ("zero, of order 4", point(&[0; 32])),
        ("the identity, under which everyone can sign", point(&[&[1], &[0; 31][..]].concat())),
        ("y = 3 written as p + 3", point(&[&[0xf0], &[0xff; 30][..], &[0x7f]].concat())),
        ("all ones", point(&[0xff; 32])),
    ] {
        assert_unusable(&format!("EdDSA: {what}"), Algorithm::EdDSA, &bad);
    }
    // In PEM and DER: the last byte of an SPKI is the point's.
    for (algorithm, _, public) in PAIRS.into_iter().filter(|pair| matches!(pair.0, Algorithm::ES256 | Algorithm::ES384))
    {
        let mut der = der_of(&text(public));
        assert!(VerifyingKey::from_der(algorithm, &der).is_ok());
        *der.last_mut().unwrap() ^= 1;
        assert!(VerifyingKey::from_der(algorithm, &der).is_err(), "{algorithm}");
        let armoured = format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(&der));
        assert!(VerifyingKey::from_pem(algorithm, armoured).is_err(), "{algorithm}");
        assert!(VerifyingKey::from_pem(algorithm, text("TEST-ec-secp256k1-public.pem")).is_err(), "{algorithm}");
        assert!(SigningKey::from_pem(algorithm, text("TEST-ec-secp256k1-pkcs8.pem")).is_err(), "{algorithm}");
    }
}

#[tokio::test]
async fn key_21_a_key_that_is_not_for_verifying_is_not_used() {
    // The issuer's keys, of which one is good: those that are for something else verify nothing,
    // though their signatures are right.
    let good = signing(Algorithm::EdDSA);
    for algorithm in [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::ES384] {
        let other = signing(algorithm);
        for (name, value, used) in [
            ("use", json!("sig"), true),
            ("use", json!("enc"), false),
            ("use", json!("SIG"), false),
            // A member without a value is absent.
            ("use", json!(""), true),
            ("use", Value::Null, true),
            ("use", json!(["sig"]), false),
            ("key_ops", json!(["verify"]), true),
            ("key_ops", json!(["sign", "verify"]), true),
            ("key_ops", json!(["encrypt"]), false),
            ("key_ops", json!(["sign"]), false),
            ("key_ops", json!(["Verify"]), false),
            ("key_ops", json!([]), true),
            ("use", json!("jwt-svid"), true),
            ("use", json!("x509-svid"), false),
            ("key_ops", json!("verify"), false),
            ("key_ops", json!(["verify", 1]), false),
            ("key_ops", json!(["verify", "verify"]), false),
        ] {
            let jwk = with(public_jwk(&other), name, value.clone());
            let keys = KeySet::from_published_jwks(&set(&[jwk.clone(), public_jwk(&good)])).unwrap();
            // The good one signs here, so it is in the set already.
            let others = keys.verifying_keys().iter().filter(|key| key.kid() != good.kid()).cloned();
            let keys = others.fold(KeySet::signing(good.clone()), |keys, key| keys.and_verifying(key).unwrap());
            let subject = Subject::with_keys(keys);
            let claims = subject.claims_text().await;
            for kid in [None, other.kid()] {
                let token = signed(algorithm, algorithm, &encoding(algorithm), kid, &claims);
                let outcome = if used { Outcome::Ok } else { Outcome::InvalidToken };
                subject.expect_token(&format!("{algorithm}, {name} {value}, kid {kid:?}"), &token, outcome).await;
            }
            assert_eq!(VerifyingKey::from_jwk(&jwk.to_string()).is_ok(), used, "{name} {value}");
            assert_eq!(KeySet::from_jwks(&set(&[jwk])).is_ok(), used, "{name} {value}");
        }
    }
    // The same of secrets, which only a set of one's own may have, and of keys that are to sign.
    let secret = json!({"kty": "oct", "alg": "HS256", "k": URL_SAFE_NO_PAD.encode(SECRET)});
    for (name, value, verifies, signs) in [
        ("use", json!("sig"), true, true),
        ("use", json!("enc"), false, false),
        ("key_ops", json!(["verify"]), true, false),
        ("key_ops", json!(["sign", "verify"]), true, true),
        ("key_ops", json!(["wrapKey", "unwrapKey"]), false, false),
    ] {
        let jwk = with(secret.clone(), name, value.clone()).to_string();
        assert_eq!(VerifyingKey::from_jwk(&jwk).is_ok(), verifies, "{name} {value}");
        assert_eq!(SigningKey::from_jwk(&jwk).is_ok(), signs, "{name} {value}");
    }
}

#[test]
fn key_22_a_secret_for_another_purpose_is_no_hmac_secret() {
    let secret = |alg: &str| json!({"kty": "oct", "alg": alg, "kid": "k", "k": URL_SAFE_NO_PAD.encode(SECRET)});
    assert!(KeySet::from_jwks(&set(&[secret("HS256")])).is_ok());
    // An empty text names no algorithm, so the application has to.
    assert!(VerifyingKey::from_jwk(&secret("").to_string()).is_err());
    assert!(KeySet::from_jwks(&set(&[secret("")])).is_err());
    assert!(VerifyingKey::from_jwk_with(Algorithm::HS256, &secret("").to_string()).is_ok());
    for alg in [
        "A256GCM",
        "A256KW",
        "A128KW",
        "A128GCM",
        "A256GCMKW",
        "A128CBC-HS256",
        "A256CBC-HS512",
        "dir",
        "PBES2-HS256+A128KW",
        "HS1",
        "HS256/64",
        "hs256",
        "none",
        "RS256",
        "ES256",
        "EdDSA",
    ] {
        let jwk = secret(alg).to_string();
        assert!(VerifyingKey::from_jwk(&jwk).is_err(), "{alg:?}");
        assert!(SigningKey::from_jwk(&jwk).is_err(), "{alg:?}");
        for algorithm in HMAC {
            // Not even if the application says otherwise.
            assert!(VerifyingKey::from_jwk_with(algorithm, &jwk).is_err(), "{alg:?}");
            assert!(SigningKey::from_jwk_with(algorithm, &jwk).is_err(), "{alg:?}");
        }
        assert!(KeySet::from_jwks(&set(&[secret(alg)])).is_err(), "{alg:?}");
        // In a set that someone publishes, any secret spoils the set.
        let good = public_jwk(&signing(Algorithm::EdDSA));
        assert!(KeySet::from_published_jwks(&set(&[good, secret(alg)])).is_err(), "{alg:?}");
    }
}

#[test]
fn key_37_the_rsa_crate_with_the_timing_leak_comes_only_with_rust_crypto() {
    // RUSTSEC-2023-0071: `rsa` 0.9 leaks the private key by its timing. The default features have
    // AWS-LC instead.
    let tree = |features: &[&str]| {
        let output = Command::new(env!("CARGO"))
            .args(["tree", "--offline", "--locked", "-e", "normal", "--prefix", "none"])
            .args(features)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let has = |tree: &str, name: &str| tree.lines().any(|line| line.split(' ').next() == Some(name));
    let default = tree(&[]);
    assert!(has(&default, "aws-lc-rs") && !has(&default, "rsa"), "{default}");
    let everything_else = tree(&["--features", "axum,tonic,cluster,sentinel,tls,conformance"]);
    assert!(!has(&everything_else, "rsa"), "{everything_else}");
    let other = tree(&["--no-default-features", "--features", "rust-crypto"]);
    assert!(has(&other, "rsa") && !has(&other, "aws-lc-rs"), "{other}");
}

#[tokio::test]
async fn key_39_a_retired_key_verifies_until_it_is_removed_and_new_tokens_name_the_new_one() {
    let pairs = [
        (signing(Algorithm::RS256), signing(Algorithm::ES256)),
        (signing(Algorithm::EdDSA), SigningKey::from_pem(Algorithm::PS256, text("TEST-rsa-2048-pkcs8.pem")).unwrap()),
        (
            SigningKey::from_secret(Algorithm::HS256, SECRET).unwrap(),
            SigningKey::from_secret(Algorithm::HS256, SECRET.replace("TEST", "NEXT")).unwrap(),
        ),
        (SigningKey::from_secret(Algorithm::HS256, SECRET).unwrap(), signing(Algorithm::ES384)),
    ];
    for (k1, k2) in pairs {
        let (k1, k2) = (k1.with_kid("k1").unwrap(), k2.with_kid("k2").unwrap());
        let what = format!("{} to {}", k1.algorithm(), k2.algorithm());
        let subject = Subject::with_keys(KeySet::signing(k1.clone()));
        // Nodes with other keys, on the same store and clock.
        let node = |keys: KeySet| {
            let clock = subject.fixture.clock.clone();
            let service = TokenService::builder().issuer(ISSUER).audience(AUDIENCE).clock(clock);
            service.keys(keys).store(subject.fixture.store.clone()).build().unwrap()
        };
        let before = subject.fixture.tokens.clone();
        // First the new key verifies, then it signs, then the old one goes.
        let prepared = node(KeySet::signing(k1.clone()).and_verifying(k2.verifying_key().clone()).unwrap());
        let rotated = node(KeySet::signing(k2.clone()).and_verifying(k1.verifying_key().clone()).unwrap());
        let after = node(KeySet::signing(k2.clone()));
        let session = || NewSession::new("42").scope("read");
        let old = before.create_token_pair(session()).await.unwrap();
        let new = rotated.create_token_pair(session()).await.unwrap();
        let (old_token, new_token) = (old.access().as_str(), new.access().as_str());
        assert_eq!(read_part(old_token, 0)["kid"], "k1", "{what}");
        for token in [new_token, new.refresh().as_str()] {
            assert_eq!(read_part(token, 0)["kid"], "k2", "{what}");
        }
        for (name, service, takes_old, takes_new) in [
            ("before", &before, true, false),
            ("prepared", &prepared, true, true),
            ("rotated", &rotated, true, true),
            ("after", &after, false, true),
        ] {
            for (token, taken) in [(old_token, takes_old), (new_token, takes_new)] {
                let outcome = if taken { Outcome::Ok } else { Outcome::InvalidToken };
                let layered = AuthLayer::new(service.clone()).layer(subject.inner.clone());
                let kid = &read_part(token, 0)["kid"];
                subject.expect_of(layered, &format!("{what}, {name}: {kid}"), bearer(token), outcome).await;
            }
        }
        // A refresh with the retired key's token gives tokens of the new one.
        let renewed = rotated.refresh(old.refresh().as_str()).await.unwrap();
        assert_eq!(read_part(renewed.access().as_str(), 0)["kid"], "k2", "{what}");
        assert!(after.refresh(old.refresh().as_str()).await.is_err(), "{what}");
        // The names do not decide: the old key's signature under the new key's name is none.
        let claims = read_part(old_token, 1).to_string();
        let key = encoding(k1.algorithm());
        let crossed = signed(k1.algorithm(), k1.algorithm(), &key, Some("k2"), &claims);
        let layered = AuthLayer::new(rotated).layer(subject.inner.clone());
        subject.expect_of(layered, &format!("{what}: k1 called k2"), bearer(&crossed), Outcome::InvalidToken).await;
    }
}
