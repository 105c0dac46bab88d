//! JWK: key sets and `kid`.
//!
//! The service is given its sets and never fetches one, so JWK-02, JWK-16 and JWK-17 do not apply.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm as Jose, EncodingKey};
use serde_json::{Value, json};
use tower_bearer::{
    KeySet,
    jwt::{Algorithm, SigningKey, VerifyingKey},
};

use crate::{
    keys::{header, joined, number, public_jwk, set, with, without},
    subject::{Outcome, Subject},
    support::{
        fixture::{SECRET, sign_with},
        test_keys::{encoding, signing},
    },
};

fn secret_jwk(kid: &str) -> Value {
    json!({"kty": "oct", "alg": "HS256", "kid": kid, "k": URL_SAFE_NO_PAD.encode(SECRET)})
}

/// Returns a token that the P-256 key signed, with this `kid`.
fn token(kid: Option<&str>, claims: &str) -> String {
    sign_with(Jose::ES256, &encoding(Algorithm::ES256), header("ES256", kid).as_bytes(), claims.as_bytes())
}

/// Returns a service with its own key and a P-256 key that was published under this name.
fn with_published(kid: &str) -> Subject {
    let jwk = with(public_jwk(&signing(Algorithm::ES256)), "kid", json!(kid));
    let keys = KeySet::from_published_jwks(&set(&[jwk])).unwrap();
    Subject::with_keys(joined(signing(Algorithm::EdDSA), &keys))
}

#[tokio::test]
async fn jwk_01_an_unknown_kid_is_refused_though_the_signature_is_good() {
    let subject = with_published("k1");
    let claims = subject.claims_text().await;
    subject.expect_token("the name", &token(Some("k1"), &claims), Outcome::Ok).await;
    let thumbprint = signing(Algorithm::ES256).kid().unwrap().to_owned();
    let other_key = signing(Algorithm::EdDSA).kid().unwrap().to_owned();
    let longest = "k".repeat(255);
    for kid in ["k2", "k", "k11", "K1", "0", "null", "undefined", &thumbprint, &other_key, &longest] {
        subject.expect_token(kid, &token(Some(kid), &claims), Outcome::InvalidToken).await;
    }
    for number in 0..50 {
        let kid = format!("random-{number}-{}", number * 7919);
        subject.expect_token(&kid, &token(Some(&kid), &claims), Outcome::InvalidToken).await;
    }
    // Invalid names are refused too.
    for kid in
        [json!(""), json!(1), json!(null), json!(["k1"]), json!({"k1": 1}), json!("k".repeat(256)), json!("k1\u{0}")]
    {
        let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": kid}).to_string();
        let token = sign_with(Jose::ES256, &encoding(Algorithm::ES256), header.as_bytes(), claims.as_bytes());
        subject.expect_token(&format!("kid {kid}"), &token, Outcome::InvalidToken).await;
    }
    subject.expect_token("the name, still", &token(Some("k1"), &claims), Outcome::Ok).await;
}

#[tokio::test]
async fn jwk_05_without_kid_the_only_key_of_the_algorithm_verifies() {
    // One key, with a name or without.
    let own = signing(Algorithm::ES256);
    for own in [own.clone(), own.clone().with_kid("k1").unwrap(), own.clone().without_kid()] {
        let subject = Subject::with_keys(KeySet::signing(own.clone()));
        let claims = subject.claims_text().await;
        subject.expect_token("one key, no kid", &token(None, &claims), Outcome::Ok).await;
        subject.expect_token("its own", &subject.valid().await, Outcome::Ok).await;
        let outcome = if own.kid().is_some() { Outcome::Ok } else { Outcome::InvalidToken };
        let kid = own.kid().unwrap_or("k1");
        subject.expect_token("a kid", &token(Some(kid), &claims), outcome).await;
    }
    // Several of one algorithm without names, the right one last: sixteen is the most.
    let secret = |number: u8| format!("{SECRET}{number}");
    let key = |number| SigningKey::from_secret(Algorithm::HS256, secret(number)).unwrap();
    let signed = |number, kid: Option<&str>, claims: &str| {
        let encoding = EncodingKey::from_secret(secret(number).as_bytes());
        sign_with(Jose::HS256, &encoding, header("HS256", kid).as_bytes(), claims.as_bytes())
    };
    let unnamed = (1..16).try_fold(KeySet::signing(key(0).without_kid()), |keys, number| {
        keys.and_verifying(key(number).verifying_key().clone().without_kid())
    });
    let subject = Subject::with_keys(unnamed.unwrap());
    let claims = subject.claims_text().await;
    for number in 0..17 {
        let outcome = if number < 16 { Outcome::Ok } else { Outcome::InvalidToken };
        let token = signed(number, None, &claims);
        subject.expect_token(&format!("key {number} of sixteen"), &token, outcome).await;
    }
    // With several named keys a token must name its key. Otherwise a client without a key could
    // make the service try all.
    let named = KeySet::signing(key(0)).and_verifying(key(1).verifying_key().clone()).unwrap();
    let one_unnamed = named.clone().and_verifying(key(2).verifying_key().clone().without_kid()).unwrap();
    for (keys, unnamed) in [(named, None), (one_unnamed, Some(2))] {
        let subject = Subject::with_keys(keys);
        let claims = subject.claims_text().await;
        for number in 0..3 {
            let outcome = if unnamed == Some(number) { Outcome::Ok } else { Outcome::InvalidToken };
            subject.expect_token(&format!("key {number}, no kid"), &signed(number, None, &claims), outcome).await;
            let kid = key(number).kid().unwrap().to_owned();
            let outcome = if number < 2 { Outcome::Ok } else { Outcome::InvalidToken };
            subject
                .expect_token(&format!("key {number}, its kid"), &signed(number, Some(&kid), &claims), outcome)
                .await;
        }
    }
    // None of the algorithm.
    subject.expect_token("another algorithm", &token(None, &claims), Outcome::InvalidToken).await;
}

#[test]
fn jwk_07_of_two_keys_of_one_name_the_first_never_wins() {
    let (p256, ed, rsa) = (signing(Algorithm::ES256), signing(Algorithm::EdDSA), signing(Algorithm::RS256));
    let z = |key: &SigningKey| with(public_jwk(key), "kid", json!("z"));
    let other_alg = with(z(&rsa), "alg", json!("PS256"));
    let mut other_n = number(&z(&rsa), "n");
    other_n[100] ^= 1;
    let other_rsa = with(z(&rsa), "n", json!(URL_SAFE_NO_PAD.encode(other_n)));
    // A set of one's own with any name twice is refused. A token names a published key by `kid` and
    // algorithm: different keys that share both are left out, and the same key counts once.
    for (what, keys, published) in [
        ("one key twice", vec![z(&p256), z(&p256)], 1),
        ("two keys of one type and algorithm", vec![z(&rsa), other_rsa.clone()], 0),
        ("the same beside another key", vec![z(&rsa), other_rsa.clone(), public_jwk(&ed)], 1),
        ("of two types", vec![z(&p256), z(&ed)], 2),
        ("one RSA key for two algorithms", vec![z(&rsa), other_alg.clone()], 2),
        ("the second and the third", vec![public_jwk(&rsa), z(&p256), z(&ed)], 3),
        ("one key twice without a name", vec![without(z(&p256), &["kid"]), without(z(&p256), &["kid"])], 1),
        (
            "a name that is the other's thumbprint",
            vec![with(z(&ed), "kid", json!(p256.kid().unwrap())), without(z(&p256), &["kid"])],
            2,
        ),
    ] {
        let reversed: Vec<_> = keys.iter().rev().cloned().collect();
        for keys in [keys, reversed] {
            assert!(KeySet::from_jwks(&set(&keys)).is_err(), "{what}: one's own");
            let read = KeySet::from_published_jwks(&set(&keys)).map_or(0, |keys| keys.verifying_keys().len());
            assert_eq!(read, published, "{what}: published");
        }
    }
    // A key that cannot be used takes no name from another one.
    for unusable in
        [with(z(&ed), "crv", json!("Ed448")), with(z(&p256), "alg", json!("ES512")), with(z(&p256), "x", json!(1))]
    {
        assert!(KeySet::from_jwks(&set(&[z(&rsa), unusable.clone()])).is_err());
        let published = KeySet::from_published_jwks(&set(&[z(&rsa), unusable])).unwrap();
        assert_eq!(published.verifying_keys().len(), 1);
    }
    let secrets = [secret_jwk("z"), with(secret_jwk("z"), "alg", json!("HS512"))];
    assert!(KeySet::from_jwks(&set(&secrets)).is_err());
    // One for encryption may have the name: no signature is its.
    let encryption = with(z(&rsa), "use", json!("enc"));
    assert!(KeySet::from_published_jwks(&set(&[encryption, z(&p256)])).is_ok());
    // Key by key: two of one name and algorithm.
    let named = |key: &SigningKey| key.verifying_key().clone().with_kid("z").unwrap();
    let other_secret = VerifyingKey::from_secret(Algorithm::HS256, SECRET.replace("TEST", "NEXT")).unwrap();
    let keys = KeySet::verifying(VerifyingKey::from_secret(Algorithm::HS256, SECRET).unwrap().with_kid("z").unwrap());
    assert!(keys.and_verifying(other_secret.with_kid("z").unwrap()).is_err());
    assert!(KeySet::verifying(named(&p256)).and_verifying(named(&p256)).is_err());
    assert!(KeySet::signing(p256.clone().with_kid("z").unwrap()).and_verifying(named(&p256)).is_err());
}

#[test]
fn jwk_08_secrets_and_public_keys_in_one_set_are_refused() {
    let public =
        [signing(Algorithm::ES256), signing(Algorithm::EdDSA), signing(Algorithm::RS256)].map(|key| public_jwk(&key));
    assert!(KeySet::from_jwks(&set(&public)).is_ok() && KeySet::from_published_jwks(&set(&public)).is_ok());
    assert!(KeySet::from_jwks(&set(&[secret_jwk("a"), with(secret_jwk("b"), "alg", json!("HS512"))])).is_ok());
    for at in 0..=public.len() {
        for secret in
            [secret_jwk("s"), without(secret_jwk("s"), &["alg", "kid"]), with(secret_jwk("s"), "use", json!("enc"))]
        {
            let mut keys = public.to_vec();
            keys.insert(at, secret);
            assert!(KeySet::from_jwks(&set(&keys)).is_err(), "one's own, at {at}");
            assert!(KeySet::from_published_jwks(&set(&keys)).is_err(), "published, at {at}");
            assert!(KeySet::from_published_jwks_with([Algorithm::ES256], &set(&keys)).is_err(), "published, at {at}");
        }
    }
    // A published set must not contain a secret, even alone.
    assert!(KeySet::from_published_jwks(&set(&[secret_jwk("a")])).is_err());
}

#[tokio::test]
async fn jwk_12_a_kid_is_compared_and_never_interpreted() {
    let hostile = [
        "../../dev/null",
        "/dev/null",
        "file:///dev/null",
        "C:\\nul",
        "x' UNION SELECT 'k'--",
        "' OR '1'='1",
        "*",
        "*)(uid=*",
        "k?",
        "k.",
        "k1|id",
        "|id",
        "$(id)",
        "`id`",
        "%2e%2e%2f",
        "k1%00",
        "k1 ",
        " k1",
        "k1\u{200b}",
        "k\u{0661}",
        "\u{212a}1",
        "${jndi:ldap://127.0.0.1/a}",
        "http://127.0.0.1/jwks.json",
        "{\"kid\":\"k1\"}",
        "\"k1\"",
        "k1\\",
    ];
    let subject = with_published("k1");
    let claims = subject.claims_text().await;
    for kid in hostile {
        subject.expect_token(kid, &token(Some(kid), &claims), Outcome::InvalidToken).await;
        // Nor does it turn into a secret that everyone has: the contents of /dev/null, or the text
        // itself.
        for secret in [&b""[..], kid.as_bytes()] {
            let key = EncodingKey::from_secret(secret);
            let forged = sign_with(Jose::HS256, &key, header("HS256", Some(kid)).as_bytes(), claims.as_bytes());
            subject.expect_token(kid, &forged, Outcome::InvalidToken).await;
        }
    }
    // The text is a valid name of a key.
    for kid in hostile {
        let subject = with_published(kid);
        let claims = subject.claims_text().await;
        subject.expect_token(kid, &token(Some(kid), &claims), Outcome::Ok).await;
        subject.expect_token(kid, &token(Some("k1"), &claims), Outcome::InvalidToken).await;
    }
}

#[tokio::test]
async fn jwk_14_a_kid_has_case() {
    for (known, asked) in
        [("K1", "k1"), ("k1", "K1"), ("Key", "key"), ("stra\u{df}e", "STRASSE"), ("\u{e9}", "e\u{301}")]
    {
        let subject = with_published(known);
        let claims = subject.claims_text().await;
        subject.expect_token(known, &token(Some(known), &claims), Outcome::Ok).await;
        subject.expect_token(asked, &token(Some(asked), &claims), Outcome::InvalidToken).await;
    }
}

#[test]
fn jwk_18_the_thumbprint_is_that_of_rfc_7638() {
    // Section 3.1. `alg` and `kid` are no part of it.
    let rsa = json!({
        "kty": "RSA",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
        "e": "AQAB",
        "alg": "RS256",
        "kid": "2011-04-29",
    });
    let expected = Some("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    let key = VerifyingKey::from_jwk(&rsa.to_string()).unwrap();
    assert_eq!((key.thumbprint().as_deref(), key.kid()), (expected, Some("2011-04-29")));
    let unnamed = VerifyingKey::from_jwk_with(Algorithm::PS512, &without(rsa, &["alg", "kid"]).to_string()).unwrap();
    assert_eq!((unnamed.thumbprint().as_deref(), unnamed.kid()), (expected, expected), "the default name");
    // The private key has its public key's, and a secret has none.
    for algorithm in [Algorithm::RS256, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA] {
        let pair = signing(algorithm).with_kid("k").unwrap();
        let public = VerifyingKey::from_jwk(&public_jwk(&pair).to_string()).unwrap();
        assert_eq!(pair.verifying_key().thumbprint(), public.thumbprint());
        assert_eq!(public.thumbprint().unwrap().len(), 43);
    }
    assert_eq!(VerifyingKey::from_secret(Algorithm::HS256, SECRET).unwrap().thumbprint(), None);
}
