#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a failed unwrap is a failed test")]

use super::*;

const RSA: &str = include_str!("../../../../tests/keys/TEST-rsa-2048-pkcs8.pem");
const RSA_PKCS1: &str = include_str!("../../../../tests/keys/TEST-rsa-2048-pkcs1.pem");
const RSA_PUBLIC: &str = include_str!("../../../../tests/keys/TEST-rsa-2048-public.pem");
const RSA_PUBLIC_PKCS1: &str = include_str!("../../../../tests/keys/TEST-rsa-2048-public-pkcs1.pem");
const RSA_1024: &str = include_str!("../../../../tests/keys/TEST-rsa-1024-pkcs8.pem");
const P256: &str = include_str!("../../../../tests/keys/TEST-ec-p256-pkcs8.pem");
const P256_SEC1: &str = include_str!("../../../../tests/keys/TEST-ec-p256-sec1.pem");
const P256_PUBLIC: &str = include_str!("../../../../tests/keys/TEST-ec-p256-public.pem");
const P384: &str = include_str!("../../../../tests/keys/TEST-ec-p384-pkcs8.pem");
const P384_PUBLIC: &str = include_str!("../../../../tests/keys/TEST-ec-p384-public.pem");
const SECP256K1: &str = include_str!("../../../../tests/keys/TEST-ec-secp256k1-pkcs8.pem");
const SECP256K1_PUBLIC: &str = include_str!("../../../../tests/keys/TEST-ec-secp256k1-public.pem");
const ED25519: &str = include_str!("../../../../tests/keys/TEST-ed25519-pkcs8.pem");
const ED25519_PUBLIC: &str = include_str!("../../../../tests/keys/TEST-ed25519-public.pem");

const SECRET: &[u8] = b"TEST secret of sixty-four bytes, which is long enough for HS512!";

/// An algorithm, a private PEM and its public PEM.
const PAIRS: [(Algorithm, &str, &str); 13] = [
    (Algorithm::RS256, RSA, RSA_PUBLIC),
    (Algorithm::RS384, RSA, RSA_PUBLIC),
    (Algorithm::RS512, RSA, RSA_PUBLIC),
    (Algorithm::PS256, RSA, RSA_PUBLIC),
    (Algorithm::PS384, RSA, RSA_PUBLIC),
    (Algorithm::PS512, RSA, RSA_PUBLIC),
    (Algorithm::RS256, RSA_PKCS1, RSA_PUBLIC_PKCS1),
    (Algorithm::RS256, RSA_PKCS1, RSA_PUBLIC),
    (Algorithm::PS256, RSA, RSA_PUBLIC_PKCS1),
    (Algorithm::ES256, P256, P256_PUBLIC),
    (Algorithm::ES384, P384, P384_PUBLIC),
    (Algorithm::EdDSA, ED25519, ED25519_PUBLIC),
    (Algorithm::Ed25519, ED25519, ED25519_PUBLIC),
];

fn der_of(pem: &str) -> Vec<u8> {
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    base64::engine::general_purpose::STANDARD.decode(body).unwrap()
}

#[track_caller]
fn assert_pair(signing: &SigningKey, verifying: &VerifyingKey) {
    let mut signature = signing.sign(b"header.claims").unwrap();
    assert!(verifying.verify(b"header.claims", &signature));
    assert!(signing.verifying_key().verify(b"header.claims", &signature));
    assert!(!verifying.verify(b"header.claimz", &signature));
    assert!(!verifying.verify(b"header.claims", &Vec::new()));
    *signature.last_mut().unwrap() ^= 1;
    assert!(!verifying.verify(b"header.claims", &signature));
    assert_eq!(signing.kid(), verifying.kid());
    assert_eq!(signing.algorithm(), verifying.algorithm());
}

#[test]
fn what_a_private_pem_signs_its_public_pem_verifies_also_as_der() {
    for (algorithm, private, public) in PAIRS {
        let signing = SigningKey::from_pem(algorithm, private).unwrap();
        let verifying = VerifyingKey::from_pem(algorithm, public).unwrap();
        assert_pair(&signing, &verifying);
        let signing_by_der = SigningKey::from_der(algorithm, der_of(private)).unwrap();
        let verifying_by_der = VerifyingKey::from_der(algorithm, der_of(public)).unwrap();
        assert_pair(&signing_by_der, &verifying);
        assert_pair(&signing, &verifying_by_der);
        assert_eq!(signing.kid().unwrap().len(), 43, "a SHA-256 thumbprint");
    }
}

#[test]
fn text_with_a_newline_at_its_end_is_no_secret_except_in_a_jwk() {
    let text = "a TEST secret from a file that ends with a newline\n";
    let signing = SigningKey::from_secret(Algorithm::HS256, text).unwrap_err();
    let verifying = VerifyingKey::from_secret(Algorithm::HS256, text).unwrap_err();
    for (error, setting) in [(signing, "signing_key"), (verifying, "verifying_key")] {
        assert_eq!(error.setting(), setting);
        assert!(error.to_string().contains("white space") && !error.to_string().contains("TEST"), "{error}");
    }
    let service = crate::TokenService::builder().secret(text).store(crate::MemoryStore::default()).build().unwrap_err();
    assert_eq!(service.setting(), "secret");
    // A service that has signed with the newline continues with a JWK.
    let k = URL_SAFE_NO_PAD.encode(text);
    let jwk = format!(r#"{{"kty":"oct","alg":"HS256","k":"{k}"}}"#);
    let signing = SigningKey::from_jwk(&jwk).unwrap();
    assert_pair(&signing, &VerifyingKey::from_jwk(&jwk).unwrap());
}

#[test]
fn a_secret_signs_and_verifies_and_its_name_depends_on_it_and_tells_nothing() {
    let mut names = std::collections::BTreeSet::new();
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        let signing = SigningKey::from_secret(algorithm, SECRET).unwrap();
        assert_pair(&signing, &VerifyingKey::from_secret(algorithm, SECRET).unwrap());
        let mut other = SECRET.to_vec();
        other[0] ^= 1;
        let other = SigningKey::from_secret(algorithm, other).unwrap();
        for key in [signing, other] {
            assert_eq!(key.kid().unwrap().len(), 12);
            assert!(names.insert(key.kid().unwrap().to_owned()), "one name for two keys");
        }
    }
    assert!(!LABEL.contains(&b'.'), "the label could be the signing input of a token");
}

#[test]
fn a_key_of_another_type_than_the_algorithms_is_refused() {
    let types = [(RSA, RSA_PUBLIC), (P256, P256_PUBLIC), (P384, P384_PUBLIC), (ED25519, ED25519_PUBLIC)];
    let algorithms = [Algorithm::RS256, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA];
    for (i, (private, public)) in types.into_iter().enumerate() {
        for (j, algorithm) in algorithms.into_iter().enumerate() {
            assert_eq!(SigningKey::from_pem(algorithm, private).is_ok(), i == j);
            assert_eq!(VerifyingKey::from_pem(algorithm, public).is_ok(), i == j);
            assert_eq!(SigningKey::from_der(algorithm, der_of(private)).is_ok(), i == j);
            assert_eq!(VerifyingKey::from_der(algorithm, der_of(public)).is_ok(), i == j);
        }
        for algorithm in [Algorithm::HS256, Algorithm::HS512] {
            assert!(SigningKey::from_pem(algorithm, private).is_err());
            assert!(VerifyingKey::from_pem(algorithm, public).is_err());
            assert!(VerifyingKey::from_der(algorithm, der_of(public)).is_err());
            assert!(VerifyingKey::from_secret(algorithm, public).is_err(), "a public key's text as a secret");
        }
        for algorithm in algorithms {
            assert!(SigningKey::from_secret(algorithm, SECRET).is_err());
            assert!(VerifyingKey::from_secret(algorithm, SECRET).is_err());
        }
    }
}

#[test]
fn the_halves_of_a_pair_are_not_taken_for_one_another() {
    for (algorithm, private, public) in PAIRS {
        for error in [
            SigningKey::from_pem(algorithm, public).unwrap_err(),
            SigningKey::from_der(algorithm, der_of(public)).unwrap_err(),
        ] {
            assert_eq!(error.setting(), "signing_key");
        }
        for error in [
            VerifyingKey::from_pem(algorithm, private).unwrap_err(),
            VerifyingKey::from_der(algorithm, der_of(private)).unwrap_err(),
        ] {
            assert_eq!(error.setting(), "verifying_key");
        }
    }
}

#[test]
fn a_refusal_of_pem_names_the_way_out() {
    let two = format!("{RSA}{P256}");
    let relabelled = |label: &str| RSA.replace("PRIVATE KEY", label);
    for (pem, hint) in [
        (P256_SEC1.to_owned(), "openssl pkcs8 -topk8"),
        (format!("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n{P256_SEC1}"), "topk8"),
        (relabelled("ENCRYPTED PRIVATE KEY"), "openssl pkey"),
        (relabelled("CERTIFICATE"), "give the private key"),
        (relabelled("OPENSSH PRIVATE KEY"), "PKCS#8"),
        (two, "exactly one key"),
        (String::new(), "from_der"),
        ("junk".to_owned(), "from_der"),
    ] {
        for algorithm in [Algorithm::ES256, Algorithm::RS256] {
            let message = SigningKey::from_pem(algorithm, &pem).unwrap_err().to_string();
            assert!(message.contains(hint), "{message}");
        }
    }
    let certificate = VerifyingKey::from_pem(Algorithm::RS256, relabelled("CERTIFICATE")).unwrap_err().to_string();
    assert!(certificate.contains("openssl x509"), "{certificate}");
    let message = SigningKey::from_der(Algorithm::ES256, der_of(P256_SEC1)).unwrap_err().to_string();
    assert!(message.contains("openssl pkcs8 -topk8"), "{message}");
}

#[test]
fn damaged_key_files_are_refused_and_never_panic() {
    for (algorithm, private, public) in PAIRS {
        let (private, public) = (der_of(private), der_of(public));
        for cut in [0, 1, 2, 10, 30] {
            assert!(SigningKey::from_der(algorithm, &private[..cut]).is_err());
            assert!(VerifyingKey::from_der(algorithm, &public[..cut]).is_err());
        }
        assert!(SigningKey::from_der(algorithm, &private[..private.len() - 1]).is_err());
        assert!(VerifyingKey::from_der(algorithm, &public[..public.len() - 1]).is_err());
    }
}

#[test]
fn an_rsa_key_of_1024_bits_and_a_key_on_an_unknown_curve_are_refused() {
    for algorithm in [Algorithm::RS256, Algorithm::PS512] {
        let message = SigningKey::from_pem(algorithm, RSA_1024).unwrap_err().to_string();
        assert!(message.contains("2048"), "{message}");
    }
    for algorithm in [Algorithm::ES256, Algorithm::ES384] {
        assert!(SigningKey::from_pem(algorithm, SECP256K1).is_err());
        assert!(VerifyingKey::from_pem(algorithm, SECP256K1_PUBLIC).is_err());
    }
}

#[test]
fn a_point_off_its_curve_is_refused() {
    // The last byte of an SPKI is the last byte of `y`.
    for (algorithm, public) in [(Algorithm::ES256, P256_PUBLIC), (Algorithm::ES384, P384_PUBLIC)] {
        let mut der = der_of(public);
        *der.last_mut().unwrap() ^= 1;
        let message = VerifyingKey::from_der(algorithm, der).unwrap_err().to_string();
        assert!(message.contains("no point"), "{message}");
    }
}

#[test]
fn a_name_has_1_to_255_bytes_without_control_characters() {
    let key = VerifyingKey::from_pem(Algorithm::EdDSA, ED25519_PUBLIC).unwrap();
    for good in ["k", "clé 1", "../../dev/null", &"k".repeat(255)] {
        assert_eq!(key.clone().with_kid(good).unwrap().kid(), Some(good));
    }
    for bad in ["", "a\nb", "\u{7f}", "\u{85}", &"k".repeat(256), &"é".repeat(128)] {
        assert_eq!(key.clone().with_kid(bad).unwrap_err().setting(), "kid");
    }
    assert_eq!(key.without_kid().kid(), None);
    let signing = SigningKey::from_pem(Algorithm::EdDSA, ED25519).unwrap().with_kid("a").unwrap();
    assert_eq!((signing.kid(), signing.verifying_key().kid()), (Some("a"), Some("a")));
    assert_eq!(signing.without_kid().verifying_key().kid(), None);
}

#[test]
fn debug_shows_algorithm_and_name_only() {
    let signing = SigningKey::from_secret(Algorithm::HS256, SECRET).unwrap().with_kid("name").unwrap();
    assert_eq!(format!("{signing:?}"), r#"SigningKey { algorithm: HS256, kid: Some("name"), .. }"#);
    assert_eq!(format!("{:?}", signing.verifying_key()), r#"VerifyingKey { algorithm: HS256, kid: Some("name"), .. }"#);
}

#[test]
fn halves_that_do_not_belong_together_are_refused() {
    let key = EncodingKey::from_secret(SECRET);
    let other = VerifyingKey::from_secret(Algorithm::HS256, [SECRET, b"!"].concat()).unwrap();
    assert!(SigningKey::tried(key, other).is_err());
}

#[test]
fn keys_can_be_shared_between_threads() {
    fn shared<T: Send + Sync + Clone + 'static>() {}
    shared::<SigningKey>();
    shared::<VerifyingKey>();
    shared::<crate::jwt::KeySet>();
}
