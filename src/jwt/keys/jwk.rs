//! Reads a JSON Web Key strictly (RFC 7517, RFC 7518 section 6, RFC 8037 section 2).
//!
//! The `Jwk` of `jsonwebtoken` is not used. It ignores `alg`, `use`, `key_ops` and `crv`, accepts
//! AES keys as HMAC secrets, and shows secrets in `Debug`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use zeroize::Zeroizing;

use super::{
    algorithm::{Algorithm, KeyType},
    der,
    pem::Half,
    public_key::PublicKey,
};
use crate::{
    error::ConfigError,
    jwt::json::{self, FromMembers},
};

/// A JSON Web Key with checked members. Its numbers are not checked yet.
pub(super) struct Jwk {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
    pub(super) material: Material,
}

pub(super) enum Material {
    Secret(Zeroizing<Vec<u8>>),
    Public(PublicKey),
    Private {
        public: PublicKey,
        /// PKCS#8, or PKCS#1 for RSA.
        der: Zeroizing<Vec<u8>>,
    },
}

/// The members that the crate uses and that must be strings.
const TEXT_MEMBERS: [&str; 16] =
    ["kty", "use", "alg", "kid", "crv", "x", "y", "d", "n", "e", "p", "q", "dp", "dq", "qi", "k"];

/// The members that only private keys have. RFC 7518 section 6 and RFC 8037 section 2 define them,
/// except `priv` of the newer key type `AKP`.
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "priv"];

/// Parses a JWK. `half` says if it must be a public or a private key. `asked` is the algorithm that
/// the application configured. If it is `None`, the key must name its algorithm.
pub(super) fn parse(
    setting: &'static str,
    half: Half,
    asked: Option<Algorithm>,
    json: &str,
) -> Result<Jwk, ConfigError> {
    let members = serde_json::from_str(json).map_err(|error| {
        ConfigError::new(
            setting,
            format!("is not a JSON Web Key, or has a duplicate member ({})", place_of(&error)),
            "give the text of one JWK, not of a set",
        )
    })?;
    read(setting, half, asked, members)
}

/// Reads a key from its members, as [`parse`] does from a text.
pub(super) fn read(
    setting: &'static str,
    half: Half,
    asked: Option<Algorithm>,
    members: Members,
) -> Result<Jwk, ConfigError> {
    KeyReader { setting, half, members }.read(asked)
}

/// Returns the line and column of an error. The message of `serde_json` is left out, because it may
/// quote key material.
pub(super) fn place_of(error: &serde_json::Error) -> String {
    format!("line {}, column {}", error.line(), error.column())
}

/// The members of a JWK. Unknown members are ignored, as RFC 7517 section 4 requires. Duplicate
/// members are an error.
#[derive(Default)]
pub(super) struct Members {
    /// The present members of [`TEXT_MEMBERS`] and [`PRIVATE_MEMBERS`], with a value of any type.
    names: BTreeSet<&'static str>,
    text: BTreeMap<&'static str, Zeroizing<String>>,
    key_ops: Option<Vec<Zeroizing<String>>>,
    /// A member whose value has the wrong type.
    ill_typed: Option<&'static str>,
}

impl Members {
    /// Returns the value of a member that is a string.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.text.get(name).map(|value| value.as_str())
    }

    /// Returns true if the key has this member of [`TEXT_MEMBERS`] or [`PRIVATE_MEMBERS`], with a
    /// value of any type.
    pub(super) fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    pub(super) fn is_secret(&self) -> bool {
        self.text("kty") == Some("oct")
    }

    /// Returns the first member that only private keys (of any key type) have.
    pub(super) fn private_member(&self) -> Option<&'static str> {
        PRIVATE_MEMBERS.into_iter().find(|name| self.has(name))
    }

    /// Returns true if `use` or `key_ops` does not allow this key to verify. Treats an ill-typed
    /// member as absent.
    pub(super) fn is_for_something_else(&self) -> bool {
        let cannot_verify = |operations: &Vec<Zeroizing<String>>| !operations.iter().any(|text| **text == "verify");
        self.text("use").is_some_and(|used| used != "sig") || self.key_ops.as_ref().is_some_and(cannot_verify)
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        json::read_object(deserializer, Self::default())
    }
}

impl<'de> FromMembers<'de> for Members {
    const EXPECTED: &'static str = "a JSON Web Key";

    fn read_member<M: MapAccess<'de>>(&mut self, name: &str, map: &mut M) -> Result<(), M::Error> {
        let known = |names: &[&'static str]| names.iter().copied().find(|known| *known == name);
        self.names.extend(known(&PRIVATE_MEMBERS).or_else(|| known(&TEXT_MEMBERS)));
        match known(&TEXT_MEMBERS).or_else(|| known(&["key_ops"])) {
            None => drop(map.next_value::<IgnoredAny>()?),
            Some(known) => match (known, map.next_value()?) {
                ("key_ops", Member::Texts(operations)) => self.key_ops = Some(operations),
                ("key_ops", _) | (_, Member::Texts(_) | Member::Other) => self.ill_typed = Some(known),
                (_, Member::Text(text)) => drop(self.text.insert(known, text)),
            },
        }
        Ok(())
    }
}

/// The value of a member. A value of the wrong type makes its key unusable, but not the whole set.
enum Member {
    Text(Zeroizing<String>),
    Texts(Vec<Zeroizing<String>>),
    Other,
}

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MemberVisitor;

        impl<'de> Visitor<'de> for MemberVisitor {
            type Value = Member;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any JSON value")
            }

            fn visit_str<E>(self, text: &str) -> Result<Member, E> {
                Ok(Member::Text(Zeroizing::new(text.to_owned())))
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Member, S::Error> {
                let (mut texts, mut only_texts) = (Vec::new(), true);
                while let Some(element) = seq.next_element()? {
                    match element {
                        Member::Text(text) => texts.push(text),
                        Member::Texts(_) | Member::Other => only_texts = false,
                    }
                }
                Ok(if only_texts { Member::Texts(texts) } else { Member::Other })
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Member, M::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Member::Other)
            }

            fn visit_bool<E>(self, _: bool) -> Result<Member, E> {
                Ok(Member::Other)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Member, E> {
                Ok(Member::Other)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Member, E> {
                Ok(Member::Other)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Member, E> {
                Ok(Member::Other)
            }

            fn visit_unit<E>(self) -> Result<Member, E> {
                Ok(Member::Other)
            }
        }

        deserializer.deserialize_any(MemberVisitor)
    }
}

struct KeyReader {
    setting: &'static str,
    half: Half,
    members: Members,
}

impl KeyReader {
    fn read(&self, asked: Option<Algorithm>) -> Result<Jwk, ConfigError> {
        if let Some(name) = self.members.ill_typed {
            return Err(self.refuse(
                format!("is a JWK whose `{name}` has the wrong type"),
                "write it as RFC 7517 and RFC 7518 section 6 require",
            ));
        }
        self.check_use(self.members.is_secret())?;
        let algorithm = self.algorithm(asked)?;
        let material = match algorithm.key_type() {
            KeyType::Secret { .. } => Material::Secret(self.bytes("k")?),
            KeyType::Rsa => self.rsa()?,
            curve @ (KeyType::P256 | KeyType::P384) => self.ec(curve)?,
            KeyType::Ed25519 => self.ed25519()?,
        };
        match (self.half, &material) {
            (Half::Private, Material::Public(_)) => {
                Err(self.refuse("is a public JWK, which cannot sign", "give the private one, or use `VerifyingKey`"))
            }
            (Half::Public, Material::Private { .. }) => Err(self.refuse(
                "is a private JWK, which a verifier must not hold",
                "give the public one, without `d`, `p`, `q`, `dp`, `dq` and `qi`",
            )),
            _ => Ok(Jwk { algorithm, kid: self.text("kid").map(str::to_owned), material }),
        }
    }

    /// Returns an error if `use` or `key_ops` is present and forbids the use of the key (RFC 7517
    /// sections 4.2 and 4.3).
    fn check_use(&self, is_secret: bool) -> Result<(), ConfigError> {
        if self.text("use").is_some_and(|used| used != "sig") {
            return Err(self.refuse("is a JWK whose `use` is not `sig`", "give a key for signatures"));
        }
        let Some(operations) = &self.members.key_ops else { return Ok(()) };
        // A service verifies with the same secret that signs, because a secret has no public half.
        let needed: &[&str] = match self.half {
            Half::Public => &["verify"],
            Half::Private if is_secret => &["sign", "verify"],
            Half::Private => &["sign"],
        };
        let distinct: BTreeSet<&str> = operations.iter().map(|text| text.as_str()).collect();
        if distinct.len() != operations.len() || !needed.iter().all(|operation| distinct.contains(operation)) {
            let needed = needed.join("` and `");
            return Err(self.refuse(
                format!("is a JWK whose `key_ops` do not allow `{needed}`, or name an operation twice"),
                "give a key that allows this use, and name each operation once",
            ));
        }
        Ok(())
    }

    /// Returns the algorithm of this key. `alg`, the curve and the application must not name
    /// different algorithms (RFC 8725 section 3.1).
    fn algorithm(&self, asked: Option<Algorithm>) -> Result<Algorithm, ConfigError> {
        let by_curve = match (self.text("kty"), self.text("crv")) {
            (Some("oct" | "RSA"), None) => None,
            (Some("EC"), Some("P-256")) => Some(Algorithm::ES256),
            (Some("EC"), Some("P-384")) => Some(Algorithm::ES384),
            (Some("OKP"), Some("Ed25519")) => Some(Algorithm::EdDSA),
            _ => {
                return Err(self.refuse(
                    "is a JWK of an unsupported type or curve",
                    "use `kty` `oct` or `RSA`, `EC` with `crv` `P-256` or `P-384`, or `OKP` with `Ed25519`",
                ));
            }
        };
        let named = match self.text("alg") {
            None => None,
            Some(name) => Some(Algorithm::from_jose(name).ok_or_else(|| {
                self.refuse("is a JWK whose `alg` is not a supported signature algorithm", "give a key for signatures")
            })?),
        };
        let mut said = [asked, named, by_curve].into_iter().flatten();
        let Some(algorithm) = said.next() else {
            return Err(self.refuse("is a JWK that names no algorithm", "use `from_jwk_with`, or give it an `alg`"));
        };
        let fits = match algorithm.key_type() {
            KeyType::Secret { .. } => self.text("kty") == Some("oct"),
            KeyType::Rsa => self.text("kty") == Some("RSA"),
            KeyType::P256 | KeyType::P384 | KeyType::Ed25519 => by_curve.is_some(),
        };
        if !fits || said.any(|other| other != algorithm) {
            return Err(self.refuse(
                format!("is a JWK whose `kty`, `crv` or `alg` does not fit {algorithm}"),
                "use each key only with the algorithm for which it was generated",
            ));
        }
        Ok(algorithm)
    }

    /// Reads the numbers of an RSA key (RFC 7518 section 6.3).
    #[allow(clippy::many_single_char_names, reason = "they are the RFC's names")]
    fn rsa(&self) -> Result<Material, ConfigError> {
        let (n, e) = (self.number("n")?, self.number("e")?);
        if self.members.has("oth") {
            return Err(self.refuse("is an RSA key of more than two primes", "generate a key of two primes"));
        }
        let public = PublicKey::Rsa { n: n.to_vec(), e: e.to_vec() };
        if ["d", "p", "q", "dp", "dq", "qi"].iter().all(|name| self.text(name).is_none()) {
            return Ok(Material::Public(public));
        }
        let (d, p, q) = (self.number("d")?, self.number("p")?, self.number("q")?);
        let (dp, dq, qi) = (self.number("dp")?, self.number("dq")?, self.number("qi")?);
        Ok(Material::Private { public, der: der::rsa_private_key([&n, &e, &d, &p, &q, &dp, &dq, &qi]) })
    }

    /// Reads the numbers of an EC key (RFC 7518 section 6.2).
    fn ec(&self, curve: KeyType) -> Result<Material, ConfigError> {
        let (x, y) = (self.coordinate("x", curve)?, self.coordinate("y", curve)?);
        let public = PublicKey::Ec { x: x.to_vec(), y: y.to_vec() };
        if self.text("d").is_none() {
            return Ok(Material::Public(public));
        }
        let d = self.coordinate("d", curve)?;
        Ok(match der::ec_private_key(curve, &d, &x, &y) {
            Some(der) => Material::Private { public, der },
            None => Material::Public(public),
        })
    }

    /// Reads the numbers of an Ed25519 key (RFC 8037 section 2).
    fn ed25519(&self) -> Result<Material, ConfigError> {
        let x = self.coordinate("x", KeyType::Ed25519)?.to_vec();
        let public = PublicKey::Ed25519 { x };
        if self.text("d").is_none() {
            return Ok(Material::Public(public));
        }
        let d = self.coordinate("d", KeyType::Ed25519)?;
        Ok(Material::Private { public, der: der::ed25519_private_key(&d) })
    }

    /// Returns a number without leading zeros (`Base64urlUInt`, RFC 7518 section 2). Leading zeros
    /// would allow several thumbprints for one key.
    fn number(&self, name: &'static str) -> Result<Zeroizing<Vec<u8>>, ConfigError> {
        let bytes = self.bytes(name)?;
        match bytes.first() {
            Some(first) if *first != 0 => Ok(bytes),
            _ => Err(self.refuse(format!("is a JWK whose `{name}` is zero or has leading zeros"), "remove the zeros")),
        }
    }

    /// Returns a number in the full length of the curve's field (RFC 7518 section 6.2.1.2). Another
    /// length is an error.
    fn coordinate(&self, name: &'static str, curve: KeyType) -> Result<Zeroizing<Vec<u8>>, ConfigError> {
        let bytes = self.bytes(name)?;
        if Some(bytes.len()) == curve.coordinate_len() {
            return Ok(bytes);
        }
        Err(self.refuse(
            format!("is a JWK whose `{name}` does not have the length for a {curve}"),
            "check that `crv` is right and that no leading zeros were lost",
        ))
    }

    /// Decodes canonical unpadded base64url (RFC 7515 section 2), so that a key has only one text.
    fn bytes(&self, name: &'static str) -> Result<Zeroizing<Vec<u8>>, ConfigError> {
        self.text(name).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()).map(Zeroizing::new).ok_or_else(|| {
            self.refuse(
                format!("is a JWK whose `{name}` is missing or not unpadded base64url"),
                "write the key as RFC 7518 section 6 requires",
            )
        })
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.members.text(name)
    }

    fn refuse(&self, problem: impl Into<String>, remedy: &'static str) -> ConfigError {
        ConfigError::new(self.setting, problem.into(), remedy)
    }
}

#[cfg(all(test, any(feature = "aws-lc-rs", feature = "rust-crypto")))]
mod tests;
