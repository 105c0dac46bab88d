//! Checks the PEM text of a key (RFC 7468), and converts DER to PEM.
//!
//! The crate passes each key to `jsonwebtoken` as PEM, because both backends then accept the same
//! keys. With DER, the two backends would expect different structures.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use super::algorithm::{Algorithm, KeyType};
use crate::error::ConfigError;

/// The half of a key pair that a constructor expects.
#[derive(Clone, Copy)]
pub(super) enum Half {
    Private,
    Public,
}

impl Half {
    /// Returns the PEM labels of this half. The first label means PKCS#8 or SPKI, and the second
    /// one PKCS#1.
    const fn labels(self) -> [&'static str; 2] {
        match self {
            Self::Private => ["PRIVATE KEY", "RSA PRIVATE KEY"],
            Self::Public => ["PUBLIC KEY", "RSA PUBLIC KEY"],
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::Public => "public",
        }
    }

    /// Returns the error for a text in the right encoding that contains no usable key.
    pub(super) fn unreadable(self, setting: &'static str, algorithm: Algorithm) -> ConfigError {
        let half = self.name();
        let remedy = match (self, algorithm.key_type()) {
            (_, KeyType::Secret { .. }) => "use HS256, HS384 and HS512 with `from_secret`",
            (Self::Private, KeyType::Rsa) => "give PKCS#8 or PKCS#1 of 2048 to 8192 bits (4096 with `rust-crypto`)",
            (Self::Public, KeyType::Rsa) => "give SPKI or PKCS#1 of 2048 to 8192 bits (4096 with `rust-crypto`)",
            (Self::Private, _) => {
                "give PKCS#8 on the algorithm's curve; convert SEC1 with \
                 `openssl pkcs8 -topk8 -nocrypt -in old.pem -out new.pem`"
            }
            (Self::Public, _) => "give SPKI on the algorithm's curve, with an uncompressed point",
        };
        ConfigError::new(setting, format!("cannot be read as a {half} key for {algorithm}"), remedy)
    }
}

/// Returns an error unless the text is exactly one PEM block with a label of this half.
pub(super) fn check(setting: &'static str, half: Half, pem: &[u8]) -> Result<(), ConfigError> {
    let refuse = |problem: &'static str, remedy: &'static str| Err(ConfigError::new(setting, problem, remedy));
    let text = std::str::from_utf8(pem).unwrap_or_default();
    // In environment files and YAML, a key often has `\` and `n` in place of each line end.
    if text.contains("\\n") {
        return refuse("has `\\n` as two characters in place of line ends", "replace each of them by a line end");
    }
    let mut labels = text.split("-----BEGIN ").skip(1).map(|block| block.split("-----").next().unwrap_or_default());
    match (half, labels.next(), labels.next()) {
        (_, None, _) => refuse("is not a PEM text", "give the key with its BEGIN and END lines, or use `from_der`"),
        (_, Some("EC PRIVATE KEY" | "EC PARAMETERS"), _) => refuse(
            "is an EC key in SEC1 form",
            "convert it to PKCS#8 with `openssl pkcs8 -topk8 -nocrypt -in old.pem -out new.pem`",
        ),
        (_, Some(_), Some(_)) => refuse("contains more than one PEM block", "give exactly one key"),
        (_, Some(label), None) if half.labels().contains(&label) => Ok(()),
        (_, Some("ENCRYPTED PRIVATE KEY"), _) => {
            refuse("is encrypted", "decrypt it with `openssl pkey -in old.pem -out new.pem`")
        }
        (Half::Public, Some("CERTIFICATE"), _) => {
            refuse("is a certificate", "extract its public key with `openssl x509 -in cert.pem -pubkey -noout`")
        }
        (Half::Private, Some("CERTIFICATE"), _) => {
            refuse("is a certificate, which cannot sign", "give the private key that belongs to it")
        }
        (Half::Private, Some("PUBLIC KEY" | "RSA PUBLIC KEY"), _) => {
            refuse("is a public key, which cannot sign", "give the private key, or use `VerifyingKey`")
        }
        (Half::Public, Some("PRIVATE KEY" | "RSA PRIVATE KEY"), _) => refuse(
            "is a private key, which a verifier must not have",
            "give the public key: `openssl pkey -in private.pem -pubout -out public.pem`",
        ),
        (_, Some(_), _) => {
            refuse("has an unknown label after BEGIN", "give a private key as PKCS#8, a public key as SPKI")
        }
    }
}

/// Decodes the first PEM block. Returns `None` if its body is not base64, for example because the
/// block has headers of RFC 1421.
pub(super) fn decode(pem: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let text = std::str::from_utf8(pem).ok()?;
    let (_, block) = text.split_once("-----BEGIN ")?;
    let (_, block) = block.split_once("-----")?;
    let (body, _) = block.split_once("-----END ")?;
    // Allocates once. A string that grows would leave copies of key material in freed memory.
    let mut base64 = Zeroizing::new(String::with_capacity(body.len()));
    base64.extend(body.chars().filter(|character| !character.is_ascii_whitespace()));
    STANDARD.decode(base64.as_str()).ok().map(Zeroizing::new)
}

/// Converts DER to PEM, once with each label of this half, because the DER does not show its label.
pub(super) fn from_der(half: Half, der: &[u8]) -> [Zeroizing<String>; 2] {
    half.labels().map(|label| armour(label, der))
}

/// Converts a PKCS#1 key to PEM.
pub(super) fn from_pkcs1(half: Half, der: &[u8]) -> Zeroizing<String> {
    let [_, label] = half.labels();
    armour(label, der)
}

fn armour(label: &str, der: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(STANDARD.encode(der));
    Zeroizing::new(format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", body.as_str()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn each_fault_of_a_pem_text_is_named() {
        let block = |label: &str, body: &str| format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n");
        let rows = [
            ("no PEM", "is not a PEM text"),
            (&block("PRIVATE KEY", "AAAA").replace('\n', "\\n"), "two characters"),
            (&block("ENCRYPTED PRIVATE KEY", "AAAA"), "is encrypted"),
            (&block("CERTIFICATE", "AAAA"), "is a certificate"),
            (&block("EC PRIVATE KEY", "AAAA"), "SEC1"),
            (&block("PUBLIC KEY", "AAAA"), "is a public key"),
        ];
        for (text, problem) in rows {
            let error = check("key", Half::Private, text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
        }
        check("key", Half::Private, block("PRIVATE KEY", "AAAA").as_bytes()).unwrap();
    }
}
