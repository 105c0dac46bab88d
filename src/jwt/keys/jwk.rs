//! Reads a JSON Web Key strictly (RFC 7517, RFC 7518 section 6, RFC 8037 section 2).
//!
//! The module does not use the `Jwk` of `jsonwebtoken`. That type ignores `alg`, `use`, `key_ops`
//! and `crv`, accepts AES keys as HMAC secrets, and shows secrets in `Debug`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};
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

/// A JSON Web Key whose members are checked. Its numbers are not checked yet.
pub(super) struct Jwk {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
    /// The only issuer whose tokens the key may verify. Entra ID writes this member.
    pub(super) issuer: Option<String>,
    pub(super) material: Material,
}

pub(super) enum Material {
    Secret(Zeroizing<Vec<u8>>),
    Public(PublicKey),
    Private {
        public: PublicKey,
        /// The private key in DER: PKCS#1 for RSA, and PKCS#8 for other types.
        der: Zeroizing<Vec<u8>>,
    },
}

/// The members that the crate reads and whose values must be strings.
const TEXT_MEMBERS: [&str; 17] =
    ["kty", "use", "alg", "kid", "crv", "x", "y", "d", "n", "e", "p", "q", "dp", "dq", "qi", "k", "issuer"];

/// The members that every type of key can have.
const COMMON_MEMBERS: [&str; 5] = ["kty", "use", "key_ops", "alg", "kid"];

/// The algorithms for keys that name no algorithm. The curve of the key decides between them.
const BY_CURVE: &[Algorithm] = &[Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA];

/// The members that only private keys have. RFC 7518 section 6 and RFC 8037 section 2 define all of
/// them except `priv`, a member of the newer key type `AKP`.
const PRIVATE_MEMBERS: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "priv"];

/// Parses the text of a JWK, which must contain the key half `half`. `asked` is the algorithm that
/// the application configured. If `asked` is `None`, the JWK must name its algorithm.
pub(super) fn parse(
    setting: &'static str,
    half: Half,
    asked: Option<Algorithm>,
    json: &str,
) -> Result<Jwk, ConfigError> {
    let asked = asked.as_ref().map(std::slice::from_ref);
    let members = serde_json::from_str(json).map_err(|error| {
        ConfigError::new(
            setting,
            format!("is not JSON ({})", place_of(&error)),
            "give the text of one JSON Web Key, not of a set",
        )
    })?;
    read(setting, half, asked, members)
}

/// Reads a key from the members of a JWK. `asked` lists the algorithms that the application allows.
/// If `asked` is `None`, the JWK must name its algorithm.
pub(super) fn read(
    setting: &'static str,
    half: Half,
    asked: Option<&[Algorithm]>,
    members: Members,
) -> Result<Jwk, ConfigError> {
    KeyReader { setting, half, members }.read(asked)
}

/// Returns the line and column of a parser error. Omits the parser's message, because it may quote
/// key material.
pub(super) fn place_of(error: &serde_json::Error) -> String {
    format!("line {}, column {}", error.line(), error.column())
}

/// The members of a JWK. Unknown members are ignored (RFC 7517 section 4).
///
/// A member with the value `null`, `""` or `[]` counts as absent, because some libraries write a
/// member even if it has no value.
///
/// An element of another type than an object can be read as `Members` too, so that it does not make
/// the other keys of a set unusable. [`read`] then fails for the reason in `fault`.
#[derive(Default)]
pub(super) struct Members {
    fault: Option<Fault>,
    /// True if `kty` is `oct`. If `kty` occurs more than once, one such value is enough.
    is_secret: bool,
    text: BTreeMap<&'static str, Zeroizing<String>>,
    key_ops: Option<Vec<Zeroizing<String>>>,
    /// The known members whose value has the wrong type. `oth` and `priv` are always in this set,
    /// because the crate does not read their values.
    ill_typed: BTreeSet<&'static str>,
}

/// The reason why a JSON value is no JWK, whatever members it has.
#[derive(Clone, Copy)]
enum Fault {
    NoObject,
    DuplicateMember,
}

impl Members {
    fn no_object() -> Self {
        Self { fault: Some(Fault::NoObject), ..Self::default() }
    }

    /// Returns the value of a member that is a string.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.text.get(name).map(|value| value.as_str())
    }

    /// Returns true if the key has this member, with a value of any type. `name` must be in
    /// [`TEXT_MEMBERS`] or [`PRIVATE_MEMBERS`].
    pub(super) fn has(&self, name: &str) -> bool {
        self.text.contains_key(name) || self.ill_typed.contains(name)
    }

    pub(super) fn is_secret(&self) -> bool {
        self.is_secret
    }

    /// Returns the first member that only private keys have, if any. Ignores the type of the key.
    pub(super) fn private_member(&self) -> Option<&'static str> {
        PRIVATE_MEMBERS.into_iter().find(|name| self.has(name))
    }

    /// Returns the first member whose value has the wrong type. Ignores members that have no
    /// meaning for this type of key.
    fn ill_typed(&self) -> Option<&'static str> {
        let of_type: &[&'static str] = match self.text("kty") {
            Some("RSA") => &["n", "e", "d", "p", "q", "dp", "dq", "qi"],
            Some("EC") => &["crv", "x", "y", "d"],
            Some("OKP") => &["crv", "x", "d"],
            Some("oct") => &["k"],
            _ => &[],
        };
        COMMON_MEMBERS.iter().chain(of_type).copied().find(|name| self.ill_typed.contains(name))
    }
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any JSON value")
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Members, M::Error> {
                json::read_object(MapAccessDeserializer::new(map), Members::default())
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Members, S::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Members::no_object())
            }

            fn visit_str<E>(self, _: &str) -> Result<Members, E> {
                Ok(Members::no_object())
            }

            fn visit_bool<E>(self, _: bool) -> Result<Members, E> {
                Ok(Members::no_object())
            }

            fn visit_i64<E>(self, _: i64) -> Result<Members, E> {
                Ok(Members::no_object())
            }

            fn visit_u64<E>(self, _: u64) -> Result<Members, E> {
                Ok(Members::no_object())
            }

            fn visit_f64<E>(self, _: f64) -> Result<Members, E> {
                Ok(Members::no_object())
            }

            fn visit_unit<E>(self) -> Result<Members, E> {
                Ok(Members::no_object())
            }
        }

        deserializer.deserialize_any(MembersVisitor)
    }
}

impl<'de> FromMembers<'de> for Members {
    const EXPECTED: &'static str = "a JSON Web Key";

    fn read_member<M: MapAccess<'de>>(&mut self, name: &str, map: &mut M) -> Result<(), M::Error> {
        let known = |names: &[&'static str]| names.iter().copied().find(|known| *known == name);
        let is_text = known(&TEXT_MEMBERS).is_some();
        let Some(name) = known(&TEXT_MEMBERS).or_else(|| known(&PRIVATE_MEMBERS)).or_else(|| known(&["key_ops"]))
        else {
            map.next_value::<IgnoredAny>()?;
            return Ok(());
        };
        match map.next_value()? {
            Member::Null => {}
            Member::Text(text) if text.is_empty() => {}
            Member::Texts(texts) if texts.is_empty() => {}
            Member::Text(text) if is_text => {
                self.is_secret |= name == "kty" && *text == "oct";
                self.text.insert(name, text);
            }
            Member::Texts(operations) if name == "key_ops" => self.key_ops = Some(operations),
            Member::Text(_) | Member::Texts(_) | Member::Other => drop(self.ill_typed.insert(name)),
        }
        Ok(())
    }

    /// Reads the value too, so that no secret and no private member goes unnoticed.
    fn read_duplicate<M: MapAccess<'de>>(&mut self, name: &str, map: &mut M) -> Result<(), M::Error> {
        self.fault = Some(Fault::DuplicateMember);
        self.read_member(name, map)
    }
}

/// The value of a member, of any JSON type. A value of the wrong type must make only its key
/// unusable, and not the whole set.
enum Member {
    Null,
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
                        Member::Null | Member::Texts(_) | Member::Other => only_texts = false,
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
                Ok(Member::Null)
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
    fn read(&self, asked: Option<&[Algorithm]>) -> Result<Jwk, ConfigError> {
        match self.members.fault {
            None => {}
            Some(Fault::NoObject) => {
                return Err(self.refuse("is not a JSON object", "give a JSON Web Key (RFC 7517 section 4)"));
            }
            // Parsers differ in which of the two members they use.
            Some(Fault::DuplicateMember) => {
                return Err(self.refuse("is a JWK with a duplicate member", "write each member only once"));
            }
        }
        if let Some(name) = self.members.ill_typed() {
            return Err(self.refuse(
                format!("is a JWK whose `{name}` has the wrong type"),
                "write the member as RFC 7517 and RFC 7518 section 6 require",
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
                "is a private JWK, which a verifier must not have",
                "give the public one, without `d`, `p`, `q`, `dp`, `dq` and `qi`",
            )),
            _ => {
                let owned = |name| self.text(name).map(str::to_owned);
                Ok(Jwk { algorithm, kid: owned("kid"), issuer: owned("issuer"), material })
            }
        }
    }

    /// Returns an error if `use` or `key_ops` forbids signing or verifying with this key (RFC 7517
    /// sections 4.2 and 4.3). `use` can also be `jwt-svid`, the mark of signature keys in SPIFFE
    /// (JWT-SVID section 4.2).
    fn check_use(&self, is_secret: bool) -> Result<(), ConfigError> {
        if self.text("use").is_some_and(|used| !matches!(used, "sig" | "jwt-svid")) {
            return Err(self.refuse("is a JWK whose `use` is not `sig`", "give a key that is meant for signatures"));
        }
        let Some(operations) = &self.members.key_ops else { return Ok(()) };
        // A secret must allow both operations, because the service verifies its own tokens with the
        // same secret.
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

    /// Returns the algorithm of this key. Fails if `alg`, the type of the key and the application
    /// name different algorithms (RFC 8725 section 3.1).
    fn algorithm(&self, asked: Option<&[Algorithm]>) -> Result<Algorithm, ConfigError> {
        let (kty, crv) = (self.text("kty"), self.text("crv"));
        let fits = |algorithm: &Algorithm| match algorithm.key_type() {
            KeyType::Secret { .. } => kty == Some("oct"),
            KeyType::Rsa => kty == Some("RSA"),
            KeyType::P256 => (kty, crv) == (Some("EC"), Some("P-256")),
            KeyType::P384 => (kty, crv) == (Some("EC"), Some("P-384")),
            KeyType::Ed25519 => (kty, crv) == (Some("OKP"), Some("Ed25519")),
        };
        if !Algorithm::ALL.iter().any(fits) {
            return Err(self.refuse(
                "is a JWK of an unsupported type or curve",
                "use `kty` `oct` or `RSA`, `EC` with `crv` `P-256` or `P-384`, or `OKP` with `Ed25519`",
            ));
        }
        let named = match self.text("alg") {
            None => None,
            Some(name) => Some(Algorithm::from_jose(name).ok_or_else(|| {
                self.refuse(
                    "is a JWK whose `alg` is not a supported signature algorithm",
                    "give another key, for example for ES256",
                )
            })?),
        };
        let algorithm = match (named, asked) {
            (Some(named), _) => Some(named).filter(|named| fits(named) && asked.is_none_or(|all| all.contains(named))),
            // `EdDSA` takes precedence over `Ed25519`, because it is still the usual name.
            (None, Some(asked)) if asked.contains(&Algorithm::EdDSA) && fits(&Algorithm::EdDSA) => {
                Some(Algorithm::EdDSA)
            }
            (None, _) => asked.unwrap_or(BY_CURVE).iter().copied().find(fits),
        };
        algorithm.ok_or_else(|| {
            let expected: Vec<_> =
                asked.unwrap_or(named.as_slice()).iter().map(|algorithm| algorithm.as_str()).collect();
            if expected.is_empty() {
                return self.refuse("is a JWK that names no algorithm", "add `alg` to the JWK, or use `from_jwk_with`");
            }
            self.refuse(
                format!("is a JWK whose `kty`, `crv` or `alg` does not fit {}", expected.join(" or ")),
                "use each key only with the algorithm for which it was generated",
            )
        })
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

    /// Returns a number. Refuses leading zeros, because one key could then have several thumbprints
    /// (`Base64urlUInt`, RFC 7518 section 2).
    fn number(&self, name: &'static str) -> Result<Zeroizing<Vec<u8>>, ConfigError> {
        let bytes = self.bytes(name)?;
        match bytes.first() {
            Some(first) if *first != 0 => Ok(bytes),
            _ => Err(self.refuse(
                format!("is a JWK whose `{name}` is zero or has leading zero bytes"),
                "encode the number without leading zero bytes",
            )),
        }
    }

    /// Returns a coordinate or private number of a key on a curve. It must have the full length of
    /// the curve's field (RFC 7518 section 6.2.1.2).
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

    /// Decodes canonical unpadded base64url (RFC 7515 section 2). Refuses other forms, so that a
    /// key has only one text.
    fn bytes(&self, name: &'static str) -> Result<Zeroizing<Vec<u8>>, ConfigError> {
        self.text(name).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok()).map(Zeroizing::new).ok_or_else(|| {
            self.refuse(
                format!("is a JWK whose `{name}` is missing, or is not base64url without padding"),
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
