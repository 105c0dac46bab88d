//! Reads and writes JSON Web Key Sets (RFC 7517 section 5). Reads the operator's own set and the
//! sets that issuers publish. Writes the set that the service publishes.
//!
//! The module does not use the `JwkSet` of `jsonwebtoken`. If one member has a wrong type, that
//! `JwkSet` rejects the whole set. If two keys have the same name, it finds only the first.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{
    Serialize,
    de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess},
};

use super::{
    algorithm::{Algorithm, Backend, KeyType},
    jwk::{self, Members},
    key::{MAX_KEYS, VerifyingKey},
    pem::Half,
};
use crate::{
    error::ConfigError,
    ids::is_id,
    jwt::json::{self, FromMembers},
};

const SETTING: &str = "jwks";

/// The maximum length of a set in bytes. A set of 64 large RSA keys with certificates is shorter.
/// The reader checks the length before it parses, because the set may come from the network. The
/// limit also bounds the number of published keys to about 3000.
const MAX_LEN: usize = 256 * 1024;

/// Reads the operator's own set. Fails if a key is not usable.
pub(super) fn own(json: &str) -> Result<Vec<VerifyingKey>, ConfigError> {
    // Without this check, the error for a missing backend would blame the first key.
    Backend::compiled_in()?;
    let keys = parse(json)?;
    if keys.len() > MAX_KEYS {
        let problem = format!("has {} keys, but a set can have at most {MAX_KEYS}", keys.len());
        return Err(ConfigError::new(
            SETTING,
            problem,
            "remove old keys once every token that they signed has expired",
        ));
    }
    // If an operator published a mixed set, its secrets would be public too (RFC 8725 section 2.1;
    // Wycheproof's MixedKeySet).
    if keys.iter().any(Members::is_secret) && !keys.iter().all(Members::is_secret) {
        return Err(ConfigError::conflict(
            SETTING,
            "mixes secrets (`oct`) and public keys",
            "put the secrets into a set of their own, and publish only public keys",
        ));
    }
    let mut read = Vec::with_capacity(keys.len());
    for (index, members) in keys.into_iter().enumerate() {
        let part = part(index, &members);
        if let Some(name) = members.private_member() {
            return Err(private(&part, name));
        }
        read.push(verifying(None, members).map_err(|error| error.of_part(SETTING, &part))?);
    }
    distinct(read)
}

/// The reason why a text contains no usable key.
pub(crate) enum NoKeys {
    /// The text is no JWK Set, the accepted algorithms are invalid, or no signature backend is
    /// compiled in. The keys of an earlier set may still be in use.
    Unreadable(ConfigError),
    /// The text is a JWK Set without a usable key, or with a secret or private key. The issuer no
    /// longer uses the keys of an earlier set.
    Withdrawn(ConfigError),
}

impl NoKeys {
    pub(crate) fn into_error(self) -> ConfigError {
        match self {
            Self::Unreadable(error) | Self::Withdrawn(error) => error,
        }
    }
}

/// Reads the usable keys of a set that an issuer publishes. `asked` lists the accepted algorithms.
/// A key that names no algorithm gets the first of `asked` that fits its type.
pub(super) fn published(asked: Option<&[Algorithm]>, json: &str) -> Result<Vec<VerifyingKey>, NoKeys> {
    // Without this check, a missing backend would make every key unusable, and the error would not
    // name the cause.
    Backend::compiled_in().map_err(NoKeys::Unreadable)?;
    check_asked(asked).map_err(NoKeys::Unreadable)?;
    let keys = members_of(json).map_err(NoKeys::Unreadable)?;
    usable(asked, keys).map_err(NoKeys::Withdrawn)
}

fn usable(asked: Option<&[Algorithm]>, keys: Vec<Members>) -> Result<Vec<VerifyingKey>, ConfigError> {
    let keys = not_empty(keys)?;
    for (index, members) in keys.iter().enumerate() {
        // An issuer that publishes a secret has made a grave error, so its other keys are not
        // trustworthy either.
        if members.is_secret() || members.has("k") {
            let problem = format!("{} is a secret, which must never be published", part(index, members));
            return Err(ConfigError::new(SETTING, problem, "ask the issuer to replace its keys"));
        }
        if let Some(name) = members.private_member() {
            return Err(private(&part(index, members), name));
        }
    }
    let (mut usable, mut first_unfit) = (Vec::new(), None);
    for (index, members) in keys.into_iter().enumerate() {
        let part = part(index, &members);
        match verifying(asked, members) {
            Ok(key) => usable.push(key),
            Err(error) => drop(first_unfit.get_or_insert_with(|| error.of_part(SETTING, &part))),
        }
    }
    let had_usable = !usable.is_empty();
    let usable = unambiguous(usable);
    if !usable.is_empty() {
        return Ok(usable);
    }
    if had_usable {
        return Err(ConfigError::conflict(
            SETTING,
            "has several keys for each name (`kid`) and algorithm, so none of them can be used",
            "ask the issuer to give different keys different names",
        ));
    }
    let error = ConfigError::new(
        SETTING,
        "has no key that can be used",
        "see the source of this error for the first key, and use `from_published_jwks_with` for keys without `alg`",
    );
    Err(match first_unfit {
        Some(unfit) => error.with_source(unfit),
        None => error,
    })
}

/// Returns an error if `asked` is empty or contains an algorithm whose keys are secrets (RFC 8725
/// section 3.1).
pub(super) fn check_asked(asked: Option<&[Algorithm]>) -> Result<(), ConfigError> {
    const REMEDY: &str = "give the algorithms that the issuer signs with";
    let Some(asked) = asked else { return Ok(()) };
    if asked.is_empty() {
        return Err(ConfigError::missing("algorithms", "is an empty list", REMEDY));
    }
    match asked.iter().find(|algorithm| matches!(algorithm.key_type(), KeyType::Secret { .. })) {
        None => Ok(()),
        Some(secret) => Err(ConfigError::new(
            "algorithms",
            format!("contains {secret}, whose keys are secrets, but a published set has only public keys"),
            REMEDY,
        )),
    }
}

/// Returns the public keys as the text of a JWK Set. Omits secrets.
pub(super) fn write(keys: &[VerifyingKey]) -> String {
    #[derive(Serialize)]
    struct Published {
        keys: Vec<BTreeMap<&'static str, String>>,
    }

    let jwk = |key: &VerifyingKey| {
        let mut jwk: BTreeMap<_, _> = key.public()?.members(key.algorithm()).into_iter().collect();
        jwk.extend([("use", "sig".to_owned()), ("alg", key.algorithm().to_string())]);
        jwk.extend(key.kid().map(|kid| ("kid", kid.to_owned())));
        Some(jwk)
    };
    // Serialization of a map of strings cannot fail.
    serde_json::to_string(&Published { keys: keys.iter().filter_map(jwk).collect() }).unwrap_or_default()
}

struct Read {
    key: VerifyingKey,
    has_kid: bool,
}

impl Read {
    /// Returns the key. If its JWK has no `kid`, removes the name that the key got by default,
    /// because the tokens of the key's owner have no `kid` either.
    fn named(self) -> VerifyingKey {
        if self.has_kid { self.key } else { self.key.without_kid() }
    }
}

fn verifying(asked: Option<&[Algorithm]>, members: Members) -> Result<Read, ConfigError> {
    let jwk = jwk::read(SETTING, Half::Public, asked, members)?;
    Ok(Read { has_kid: jwk.kid.is_some(), key: VerifyingKey::of_jwk(jwk)? })
}

/// Returns the keys, or an error if two keys have the same name. In the operator's own set, a `kid`
/// belongs to exactly one key, even across algorithms (RFC 7517 section 4.5).
///
/// If a JWK has no `kid`, the function compares the default name of its key (see [`VerifyingKey`]).
/// So it also finds a key that occurs twice without `kid`.
fn distinct(keys: Vec<Read>) -> Result<Vec<VerifyingKey>, ConfigError> {
    let mut names = BTreeSet::new();
    match keys.iter().find(|read| read.key.kid().is_some_and(|kid| !names.insert(kid))) {
        None => Ok(keys.into_iter().map(Read::named).collect()),
        Some(read) => Err(same_name(&format!("an {} key", read.key.algorithm()))),
    }
}

/// Removes ambiguous keys from a published set.
///
/// If different keys have the same `kid` and algorithm, a token does not say which of them signed
/// it. The function then removes all of them. If the same key occurs twice, the function keeps it
/// once.
fn unambiguous(keys: Vec<Read>) -> Vec<VerifyingKey> {
    let mut places = HashMap::new();
    let mut found: Vec<(Read, bool)> = Vec::with_capacity(keys.len());
    for read in keys {
        // If the JWK has no `kid`, `key.kid()` returns the thumbprint, the default name of the key.
        let name = (read.key.algorithm(), read.has_kid, read.key.kid().map(str::to_owned));
        let place = *places.entry(name).or_insert(found.len());
        match found.get_mut(place) {
            Some((first, is_unique)) => *is_unique &= first.key.thumbprint() == read.key.thumbprint(),
            None => found.push((read, true)),
        }
    }
    found.into_iter().filter(|(_, is_unique)| *is_unique).map(|(read, _)| read.named()).collect()
}

fn same_name(part: &str) -> ConfigError {
    ConfigError::conflict(
        SETTING,
        format!("{part} has the name (`kid`, or by default the thumbprint) of another key of the set"),
        "give each key only once, with its own `kid`",
    )
}

fn private(part: &str, name: &str) -> ConfigError {
    ConfigError::new(
        SETTING,
        format!("{part} has the member `{name}` of a private key, which a verifier must not have"),
        "give only the public key; if the private key was published, replace it",
    )
}

/// Returns the name of a key in error texts: its index in the set and, if the `kid` is a valid id,
/// its `kid`.
fn part(index: usize, members: &Members) -> String {
    match members.text("kid").filter(|kid| is_id(kid)) {
        Some(kid) => format!("key {index} (kid {kid:?})"),
        None => format!("key {index}"),
    }
}

#[derive(Default)]
struct Set {
    keys: Option<Vec<Members>>,
}

/// Reads the members of each key. Fails if the text is too long, or is no JWK Set with at least one
/// key.
fn parse(json: &str) -> Result<Vec<Members>, ConfigError> {
    not_empty(members_of(json)?)
}

fn not_empty(keys: Vec<Members>) -> Result<Vec<Members>, ConfigError> {
    if keys.is_empty() {
        return Err(ConfigError::missing(SETTING, "has no key", "give a set with at least one verifying key"));
    }
    Ok(keys)
}

/// Reads the members of each key. Fails if the text is too long, is no JWK Set, or has a duplicate
/// member at its top level. Most faults within one key do not matter here. But a member name or a
/// known member with a lone surrogate or an endless number makes the whole set unreadable.
fn members_of(json: &str) -> Result<Vec<Members>, ConfigError> {
    if json.len() > MAX_LEN {
        let problem = format!("is a text of {} bytes, but the maximum is {MAX_LEN}", json.len());
        return Err(ConfigError::new(SETTING, problem, "check that the text is a JWK Set, and remove unused keys"));
    }
    let set: Set = serde_json::from_str(json).map_err(|error| {
        let place = jwk::place_of(&error);
        ConfigError::new(
            SETTING,
            format!("is not a JWK Set (an object with an array `keys`), or has a duplicate member ({place})"),
            "give the text of a JWK Set (RFC 7517 section 5); for a single key use `VerifyingKey::from_jwk`",
        )
    })?;
    // Without the member `keys`, `deserialize` has already failed.
    Ok(set.keys.unwrap_or_default())
}

impl<'de> Deserialize<'de> for Set {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let set = json::read_object(deserializer, Self::default())?;
        if set.keys.is_none() {
            return Err(D::Error::custom("no `keys`"));
        }
        Ok(set)
    }
}

impl<'de> FromMembers<'de> for Set {
    const EXPECTED: &'static str = "a JWK Set";

    fn read_member<M: MapAccess<'de>>(&mut self, name: &str, map: &mut M) -> Result<(), M::Error> {
        match name {
            "keys" => self.keys = Some(map.next_value()?),
            _ => drop(map.next_value::<IgnoredAny>()?),
        }
        Ok(())
    }
}

#[cfg(all(test, any(feature = "aws-lc-rs", feature = "rust-crypto")))]
mod tests;
