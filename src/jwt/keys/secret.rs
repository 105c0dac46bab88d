//! Checks of the secrets for HMAC signatures.

use super::algorithm::{Algorithm, KeyType};
use crate::error::ConfigError;

/// Secrets that every attacker tries first: examples from web sites, tutorials and templates. Add
/// only a text that is public in exactly this form. [`is_example`] also finds a text that is
/// repeated, padded or in another case.
const EXAMPLES: &[&[u8]] = &[
    b"secret",
    b"supersecret",
    b"super-secret",
    b"super_secret",
    b"mysecret",
    b"my-secret",
    b"my_secret",
    b"secretkey",
    b"secret-key",
    b"secret_key",
    b"mysecretkey",
    b"my-secret-key",
    b"my_secret_key",
    b"your-secret",
    b"your-secret-key",
    b"your_secret_key",
    b"your-secret-key-here",
    b"your_secret_key_here",
    b"jwt-secret",
    b"jwt_secret",
    b"jwtsecret",
    b"your-jwt-secret",
    b"your_jwt_secret",
    b"changeme",
    b"change-me",
    b"change_me",
    b"changeit",
    b"password",
    // jwt.io, before and since 2025.
    b"your-256-bit-secret",
    b"your-384-bit-secret",
    b"your-512-bit-secret",
    b"a-string-secret-at-least-256-bits-long",
    b"a-valid-string-secret-that-is-at-least-384-bits-long",
    b"a-valid-string-secret-that-is-at-least-512-bits-long-which-is-very-long",
    // FastAPI's tutorial.
    b"09d25e094faa6ca2556c818166b7a9563b93f7099f6f0f4caa6cf63b88e8d3e7",
    // Supabase's template.
    b"super-secret-jwt-token-with-at-least-32-characters-long",
    b"your-super-secret-jwt-token-with-at-least-32-characters-long",
    // Common defaults in the configuration of projects.
    b"your-secret-key-change-in-production",
    b"your-secret-key-change-this-in-production",
    b"your-super-secret-jwt-key-change-in-production",
    b"your-super-secret-jwt-key-change-this-in-production",
];

const REMEDY: &str = "generate a random secret, for example with `openssl rand -base64 64`";

/// Returns an error if the secret is too short, easy to guess, or the text of another key. The
/// message does not contain the secret.
pub(super) fn check(setting: &'static str, algorithm: Algorithm, secret: &[u8]) -> Result<(), ConfigError> {
    let KeyType::Secret { minimum } = algorithm.key_type() else {
        return Err(ConfigError::conflict(
            setting,
            format!("is a secret, but {algorithm} needs a key pair"),
            format!("give the {}, or use HS256, HS384 or HS512", algorithm.key_type()),
        ));
    };
    // This check comes before the check of the length. If an operator passes a key file as the
    // secret, an error about the length would be misleading.
    if is_key_text(secret) {
        return Err(ConfigError::new(
            setting,
            format!("is the text of a PEM, SSH or JSON Web Key, which {algorithm} would use as a plain secret"),
            "read it with `from_pem` or `from_jwk` for the key's own algorithm",
        ));
    }
    if secret.len() < minimum {
        let len = secret.len();
        return Err(ConfigError::new(
            setting,
            format!("is a secret of {len} bytes, but {algorithm} needs at least {minimum} (RFC 7518 section 3.2)"),
            REMEDY,
        ));
    }
    if is_one_byte_repeated(secret) {
        return Err(ConfigError::new(setting, "is a secret of one byte repeated", REMEDY));
    }
    if EXAMPLES.iter().any(|example| is_example(secret, example)) {
        return Err(ConfigError::new(setting, "is a secret from public examples", REMEDY));
    }
    Ok(())
}

/// Returns an error if the secret is text that begins or ends with white space. Often this is the
/// newline at the end of a file. If one node trims it and another node does not, they sign with
/// different secrets.
///
/// Text is UTF-8 without control characters other than white space. Less than 1 of 10¹¹ random
/// secrets of 32 bytes fails the check. Callers skip the check for JWKs, because the base64url of a
/// JWK states the exact bytes.
pub(super) fn check_ends(setting: &'static str, secret: &[u8]) -> Result<(), ConfigError> {
    let is_text = |text: &&str| text.chars().all(|c| !c.is_control() || c.is_whitespace());
    // Some editors write a byte order mark before the text. Unicode does not count the mark as
    // white space.
    let is_space = |c: char| c.is_whitespace() || c == '\u{feff}';
    if str::from_utf8(secret).ok().filter(is_text).is_some_and(|text| text.trim_matches(is_space) != text) {
        return Err(ConfigError::new(
            setting,
            "is a secret that begins or ends with white space, often the newline at the end of a file",
            "trim the text before you pass it, on every node (if tokens were signed with the white space, \
             give the untrimmed secret as a JWK of the type `oct`)",
        ));
    }
    Ok(())
}

/// Returns true if the secret is the text of a PEM, SSH or JSON Web Key. If the text of a public
/// key is the secret, anyone can forge tokens (CVE-2015-9235, CVE-2022-29217, CVE-2024-33663).
fn is_key_text(secret: &[u8]) -> bool {
    let text = secret.trim_ascii_start();
    let contains = |needle: &[u8]| secret.windows(needle.len()).any(|window| window == needle);
    contains(b"-----BEGIN ") || text.starts_with(b"ssh-") || text.starts_with(b"ecdsa-sha2-") || contains(b"\"kty\"")
}

fn is_one_byte_repeated(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| Some(byte) == bytes.first())
}

/// Returns true if the secret is the example, the example repeated, or one of the two with padding.
/// The padding is one byte at the end, repeated any number of times. The last repetition of the
/// example can be incomplete. Ignores ASCII case.
fn is_example(secret: &[u8], example: &[u8]) -> bool {
    let same = secret.iter().zip(example.iter().cycle()).take_while(|(a, b)| a.eq_ignore_ascii_case(b)).count();
    same >= example.len() && secret.get(same..).is_some_and(is_one_byte_repeated)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    fn refusal(algorithm: Algorithm, secret: &[u8]) -> Option<String> {
        check("signing_key", algorithm, secret).err().map(|error| error.to_string())
    }

    #[test]
    fn a_secret_shorter_than_the_hash_is_refused_and_a_longer_one_is_not() {
        let bytes: Vec<u8> = (0..=255).collect();
        for (algorithm, minimum) in [(Algorithm::HS256, 32), (Algorithm::HS384, 48), (Algorithm::HS512, 64)] {
            for short in [0, 1, minimum - 1] {
                let message = refusal(algorithm, bytes.get(..short).unwrap()).unwrap();
                assert!(message.contains(&format!("{short} bytes")), "{message}");
            }
            for enough in [minimum, minimum + 1, 65, 129, 256] {
                assert_eq!(refusal(algorithm, bytes.get(..enough).unwrap()), None);
            }
        }
    }

    #[test]
    fn text_with_white_space_at_an_end_is_refused_without_quoting_it() {
        let secret = "a TEST secret of\nwhich the middle may have spaces";
        assert!(check_ends("secret", secret.as_bytes()).is_ok());
        for space in [" ", "\n", "\r\n", "\t", "\n\n", "\u{a0}", "\u{2028}", "\u{3000}", "\u{feff}"] {
            for text in [format!("{secret}{space}"), format!("{space}{secret}")] {
                let message = check_ends("secret", text.as_bytes()).unwrap_err().to_string();
                assert!(message.contains("`secret` is a secret that begins or ends with white space"), "{message}");
                assert!(message.contains("newline") && message.contains("trim"), "{message}");
                assert!(!message.contains("TEST"), "{message}");
            }
        }
        for byte in [0xff, 0x01] {
            let binary = [secret.as_bytes(), &[byte, b'\n']].concat();
            assert!(check_ends("secret", &binary).is_ok(), "random bytes may end with any byte");
        }
    }

    #[test]
    fn examples_are_refused_also_repeated_padded_or_in_another_case() {
        for secret in [
            "secretsecretsecretsecretsecretsecret",
            "SecretSecretSecretSecretSecretSecr",
            "changeme000000000000000000000000",
            "ChangeMe!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!",
            "your-256-bit-secretyour-256-bit-secret",
            "your-256-bit-secret\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            "a-string-secret-at-least-256-bits-long",
            "super-secret-jwt-token-with-at-least-32-characters-long",
            "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        ] {
            let message = refusal(Algorithm::HS256, secret.as_bytes()).unwrap();
            assert!(!message.contains(secret), "{message}");
        }
    }

    #[test]
    fn a_secret_that_only_begins_like_an_example_is_accepted() {
        for secret in ["secret-Yj7fV0kq3mZb2nXwT9rLcA5dG8hE1sPu", "test-secret-that-is-at-least-32-bytes-long"] {
            assert_eq!(refusal(Algorithm::HS256, secret.as_bytes()), None);
        }
    }

    #[test]
    fn the_text_of_another_key_is_refused() {
        for text in [
            "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE",
            "\n  -----BEGIN RSA PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE",
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl",
            "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBE",
            r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
        ] {
            assert!(refusal(Algorithm::HS256, text.as_bytes()).unwrap().contains("from_pem"));
        }
    }
}
