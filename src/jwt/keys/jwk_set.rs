//! JSON Web Key Sets (RFC 7517 section 5): the operator's own, those that others publish, and one
//! to publish.
//!
//! `jsonwebtoken`'s `JwkSet` is not used: one ill-typed member makes its whole set unusable, and of
//! two keys with one name it finds the first.

use std::collections::{BTreeMap, BTreeSet};

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

/// More text than 64 large RSA keys with their certificates need. It may come over the network, so
/// its length is checked before it is read.
const MAX_LEN: usize = 256 * 1024;

/// The most keys of a published set, usable or not: a bound of the cost of reading one. Issuers
/// publish two to ten.
///
/// More than [`MAX_KEYS`] usable ones are an error. To hold more would make every token without
/// `kid` cost more. To take the first ones would let the order of someone else's list decide which
/// tokens are good.
const MAX_PUBLISHED: usize = 64;

/// Returns all keys of the operator's own set.
pub(super) fn own(json: &str) -> Result<Vec<VerifyingKey>, ConfigError> {
    // Without a backend, the first key would be called unfit.
    Backend::compiled_in()?;
    let keys = parse(json)?;
    if keys.len() > MAX_KEYS {
        let problem = format!("has {} keys, more than the {MAX_KEYS} that a set can hold", keys.len());
        return Err(ConfigError::new(SETTING, problem, "take away the keys whose last token has expired"));
    }
    // An operator who publishes such a set would publish the secret (RFC 8725 section 2.1;
    // Wycheproof's MixedKeySet).
    if keys.iter().any(Members::is_secret) && !keys.iter().all(Members::is_secret) {
        return Err(ConfigError::conflict(
            SETTING,
            "mixes secrets (`oct`) and public keys",
            "keep secrets out of sets that others may read",
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

/// Returns the usable keys of someone else's set. Keys that name no algorithm are read for `asked`.
pub(super) fn published(asked: Option<Algorithm>, json: &str) -> Result<Vec<VerifyingKey>, ConfigError> {
    // Without a backend, every key would be left out as unfit.
    Backend::compiled_in()?;
    if let Some(algorithm) = asked.filter(|algorithm| matches!(algorithm.key_type(), KeyType::Secret { .. })) {
        return Err(ConfigError::new(
            "algorithm",
            format!("is {algorithm}, whose keys are secrets, but a published set has public keys"),
            "name the one that the issuer signs with",
        ));
    }
    let keys = parse(json)?;
    if keys.len() > MAX_PUBLISHED {
        let problem = format!("has {} keys, more than {MAX_PUBLISHED}", keys.len());
        return Err(ConfigError::new(SETTING, problem, "check the address that it came from"));
    }
    let mut names = BTreeSet::new();
    for (index, members) in keys.iter().enumerate() {
        // The secrets of such an issuer are public. The other keys of its set are no better than
        // this one.
        if members.is_secret() || members.has("k") {
            let problem = format!("{} is a secret, which must never be published", part(index, members));
            return Err(ConfigError::new(SETTING, problem, "ask the issuer to replace its keys"));
        }
        if let Some(name) = members.private_member() {
            return Err(private(&part(index, members), name));
        }
        let kid = members.text("kid").filter(|_| !members.is_for_something_else());
        if kid.is_some_and(|kid| !names.insert(kid)) {
            return Err(same_name(&part(index, members)));
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
    match first_unfit {
        Some(error) if usable.is_empty() => Err(ConfigError::new(
            SETTING,
            "has no key that can be used",
            "see the source for the first one's fault; keys that name no algorithm need `from_published_jwks_with`",
        )
        .with_source(error)),
        _ if usable.len() > MAX_KEYS => Err(ConfigError::out_of_range(
            SETTING,
            format!("has {} usable keys, more than the {MAX_KEYS} that a set can hold", usable.len()),
            "name the algorithm with `from_published_jwks_with`, or take the keys that you need into a set of your own",
        )),
        _ => distinct(usable),
    }
}

/// Writes the public keys as a set to publish.
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
    // Maps of strings always have a JSON text.
    serde_json::to_string(&Published { keys: keys.iter().filter_map(jwk).collect() }).unwrap_or_default()
}

struct Read {
    key: VerifyingKey,
    has_kid: bool,
}

fn verifying(asked: Option<Algorithm>, members: Members) -> Result<Read, ConfigError> {
    let jwk = jwk::read(SETTING, Half::Public, asked, members)?;
    Ok(Read { has_kid: jwk.kid.is_some(), key: VerifyingKey::of_jwk(jwk)? })
}

/// Returns the keys, or an error if two have one name. A name stands for one key, whatever its
/// algorithm (RFC 7517 section 4.5).
///
/// Keys without a name are compared by their default names, which are thumbprints, so that each key
/// is in the set once. Then these names are removed, because the issuer's tokens name no key
/// either.
fn distinct(keys: Vec<Read>) -> Result<Vec<VerifyingKey>, ConfigError> {
    let mut names = BTreeSet::new();
    match keys.iter().find(|read| read.key.kid().is_some_and(|kid| !names.insert(kid))) {
        None => Ok(keys.into_iter().map(|read| if read.has_kid { read.key } else { read.key.without_kid() }).collect()),
        Some(read) => Err(same_name(&format!("an {} key", read.key.algorithm()))),
    }
}

fn same_name(part: &str) -> ConfigError {
    ConfigError::conflict(
        SETTING,
        format!("{part} has the name (`kid`, or by default the thumbprint) of another key of the set"),
        "give different keys different names, and each key once",
    )
}

fn private(part: &str, name: &str) -> ConfigError {
    ConfigError::new(
        SETTING,
        format!("{part} has the member `{name}` of a private key, which a verifier must not hold"),
        "give the public key only, and replace a private one that was published",
    )
}

/// Returns the name of a key in errors: its place in the set and, if it can be shown, its `kid`.
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

/// Reads the members of each key.
fn parse(json: &str) -> Result<Vec<Members>, ConfigError> {
    if json.len() > MAX_LEN {
        let problem = format!("is a text of {} bytes, more than {MAX_LEN}", json.len());
        return Err(ConfigError::new(SETTING, problem, "check where it came from"));
    }
    let set: Set = serde_json::from_str(json).map_err(|error| {
        let place = jwk::place_of(&error);
        ConfigError::new(
            SETTING,
            format!(
                "is not a JWK Set (an object with an array `keys` of objects), or has a duplicate member ({place})"
            ),
            "give the text of a JWK Set (RFC 7517 section 5); for a single key use `VerifyingKey::from_jwk`",
        )
    })?;
    // `deserialize` rejects a set without the member.
    let keys = set.keys.unwrap_or_default();
    if keys.is_empty() {
        return Err(ConfigError::missing(SETTING, "has no key", "give a set with the keys to verify with"));
    }
    Ok(keys)
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
