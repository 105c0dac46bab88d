//! The names of the claims from which the crate reads scopes, roles, session and token id.

use std::collections::HashSet;

use serde_json::Value;

use crate::{
    error::TokenError,
    ids::{SessionId, Subject, TokenId, is_id},
    jwt::{External, Header, Mapped, Payload, RawClaims, Scope},
};

/// The names under which an issuer writes its claims. Different issuers use different names.
#[derive(Clone, Debug, Default)]
pub(super) struct ClaimNames {
    pub(super) scopes: Vec<String>,
    pub(super) roles: Vec<String>,
    pub(super) session: Option<String>,
    /// The claim that contains the token's id. `None` for `jti`.
    pub(super) token_id: Option<String>,
    pub(super) required: Vec<RequiredClaim>,
}

/// A claim that each accepted token must have.
#[derive(Clone, Debug)]
pub(super) struct RequiredClaim {
    /// The names of claims. The token must have one of these claims.
    pub(super) names: Vec<String>,
    /// The accepted values. An empty list accepts every value except `null`.
    pub(super) values: Vec<String>,
}

impl ClaimNames {
    /// Reads the claims of a token whose signature was verified.
    pub(super) fn read(&self, payload: &Payload, header: &Header, is_revocable: bool) -> Result<Mapped, TokenError> {
        if !self.required.iter().all(|required| required.is_met_by(payload)) {
            return Err(TokenError::Claims(
                "a claim that the issuer's settings require is missing or has another value",
            ));
        }
        let claims = &payload.custom;
        // The issuer may be a service with this crate or with its predecessor `fastcore.security`.
        // Such a service marks its refresh tokens by this claim.
        if claims.get("type").and_then(Value::as_str) == Some("refresh") {
            return Err(TokenError::WrongType);
        }
        let id = |name: &Option<String>| name.as_deref().and_then(|name| id(payload, name));
        let roles = distinct(self.roles.iter().flat_map(|name| texts(find(claims, name))));
        Ok(Mapped {
            scope: self.scope(claims),
            session_id: id(&self.session).map(SessionId::new),
            token_id: id(&self.token_id).map(TokenId::new),
            external: External {
                is_revocable,
                roles: roles.map(str::to_owned).collect(),
                has_issued_at: payload.iat.is_some(),
                key: (header.kid.as_deref().map(Into::into), header.alg),
            },
        })
    }

    /// Returns the scope tokens of all scope claims. Omits texts that are not scope tokens, such as
    /// a role with a space in its name. No route can require such a text.
    fn scope(&self, claims: &RawClaims) -> Scope {
        let words = self.scopes.iter().flat_map(|name| match find(claims, name) {
            Some(Value::String(text)) => text.split(' ').collect(),
            other => texts(other),
        });
        let is_token = |word: &&str| !word.contains(' ') && Scope::parse(word).is_some_and(|scope| !scope.is_empty());
        let tokens: Vec<_> = distinct(words).filter(is_token).collect();
        Scope::parse(&tokens.join(" ")).unwrap_or_default()
    }
}

impl RequiredClaim {
    fn is_met_by(&self, payload: &Payload) -> bool {
        self.names.iter().any(|name| match registered(payload, name) {
            Some(texts) => texts.iter().any(|&text| self.accepts(text)),
            None => match find(&payload.custom, name) {
                None | Some(Value::Null) => false,
                Some(_) if self.values.is_empty() => true,
                Some(Value::String(text)) => self.accepts(text),
                Some(_) => false,
            },
        })
    }

    fn accepts(&self, text: &str) -> bool {
        self.values.is_empty() || self.values.iter().any(|value| value == text)
    }
}

/// Returns the texts of a registered claim such as `aud`. `payload.custom` does not contain these
/// claims. Returns `None` for every other name.
fn registered<'p>(payload: &'p Payload, name: &str) -> Option<Vec<&'p str>> {
    let text = match name {
        "iss" => payload.iss.as_deref(),
        "sub" => payload.sub.as_ref().map(Subject::as_str),
        "jti" => payload.jti.as_ref().map(TokenId::as_str),
        "aud" => return Some(payload.aud.iter().flatten().map(String::as_str).collect()),
        _ => return None,
    };
    Some(text.into_iter().collect())
}

/// Returns the claim with this name. The name may contain dots, such as `kubernetes.io`. If there
/// is no such claim, reads the name as a path, such as `realm_access.roles`.
fn find<'c>(claims: &'c RawClaims, name: &str) -> Option<&'c Value> {
    claims.get(name).or_else(|| {
        let mut members = name.split('.');
        let first = claims.get(members.next()?)?;
        members.try_fold(first, |value, member| value.get(member))
    })
}

/// Returns the texts of a claim, which is one text or an array of texts. Returns no texts for a
/// claim of another type.
fn texts(claim: Option<&Value>) -> Vec<&str> {
    match claim {
        Some(Value::String(text)) if !text.is_empty() => vec![text],
        Some(Value::Array(values)) => values.iter().filter_map(Value::as_str).filter(|text| !text.is_empty()).collect(),
        _ => Vec::new(),
    }
}

/// Returns the id that a claim contains as a text or a whole number.
fn id(payload: &Payload, name: &str) -> Option<String> {
    if let Some(texts) = registered(payload, name) {
        return texts.first().map(|&text| text.to_owned());
    }
    match find(&payload.custom, name)? {
        Value::String(text) if is_id(text) => Some(text.clone()),
        Value::Number(number) if number.is_u64() => Some(number.to_string()),
        _ => None,
    }
}

/// Returns each text only once.
fn distinct<'a>(texts: impl Iterator<Item = &'a str>) -> impl Iterator<Item = &'a str> {
    let mut seen = HashSet::new();
    texts.filter(move |text| seen.insert(*text))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::jwt::Algorithm;

    fn read(names: &ClaimNames, json: &Value) -> Result<Mapped, TokenError> {
        let payload = Payload::parse_external(json.to_string().as_bytes()).unwrap();
        names.read(&payload, &Header { alg: Algorithm::RS256, kid: None, typ: None }, false)
    }

    fn names(scopes: &[&str]) -> ClaimNames {
        ClaimNames { scopes: scopes.iter().map(|&name| name.to_owned()).collect(), ..ClaimNames::default() }
    }

    #[test]
    fn scopes_are_read_from_text_and_arrays_of_several_claims() {
        let scope = |names: &ClaimNames, json: &Value| read(names, json).unwrap().scope.to_string();
        let both = names(&["scope", "scp", "realm_access.roles"]);
        for (json, expected) in [
            (json!({ "scope": "a b" }), "a b"),
            (json!({ "scope": ["a", "b"] }), "a b"),
            (json!({ "scope": "", "scp": [] }), ""),
            (json!({ "scope": " a  b " }), "a b"),
            (json!({ "scope": "a", "scp": ["b", "a"] }), "a b"),
            (json!({ "realm_access": { "roles": ["r"] } }), "r"),
            (json!({ "realm_access.roles": ["literal"], "realm_access": { "roles": ["r"] } }), "literal"),
            (json!({ "realm_access": ["roles"] }), ""),
            (json!({ "scope": ["two words", "\"", "c", 7, null] }), "c"),
            (json!({ "scope": 7, "scp": { "a": "b" } }), ""),
            (json!({}), ""),
        ] {
            assert_eq!(scope(&both, &json), expected, "{json}");
        }
    }

    #[test]
    fn roles_session_and_token_id_come_from_their_own_claims() {
        let names = ClaimNames {
            roles: vec!["groups".to_owned()],
            session: Some("sid".to_owned()),
            token_id: Some("uti".to_owned()),
            ..ClaimNames::default()
        };
        let mapped = read(&names, &json!({ "groups": ["two words"], "sid": 7, "uti": "u", "gen": "z" })).unwrap();
        assert_eq!(mapped.external.roles, ["two words"]);
        assert_eq!(mapped.session_id.unwrap(), "7");
        assert_eq!(mapped.token_id.unwrap(), "u");
        let unfit = read(&names, &json!({ "sid": ["s"], "uti": "" })).unwrap();
        assert!(unfit.session_id.is_none() && unfit.token_id.is_none());
    }

    #[test]
    fn a_required_claim_needs_one_of_its_names_and_values() {
        let required = |values: &[&str]| ClaimNames {
            required: vec![RequiredClaim {
                names: vec!["azp".to_owned(), "appid".to_owned()],
                values: values.iter().map(|&value| value.to_owned()).collect(),
            }],
            ..ClaimNames::default()
        };
        let accepts = |names: &ClaimNames, json: &Value| read(names, json).is_ok();
        let (any, of_app) = (required(&[]), required(&["app"]));
        assert!(accepts(&any, &json!({ "appid": "x" })) && accepts(&any, &json!({ "azp": 1 })));
        assert!(!accepts(&any, &json!({ "azp": null })) && !accepts(&any, &json!({})));
        assert!(accepts(&of_app, &json!({ "azp": "x", "appid": "app" })));
        assert!(!accepts(&of_app, &json!({ "azp": "x" })) && !accepts(&of_app, &json!({ "azp": ["app"] })));
    }

    #[test]
    fn a_refresh_token_is_no_access_token() {
        let refused = read(&names(&[]), &json!({ "type": "refresh" })).unwrap_err();
        assert_eq!(refused, TokenError::WrongType);
        read(&names(&[]), &json!({ "type": "user" })).unwrap();
    }

    #[test]
    fn a_registered_claim_can_be_required_and_can_name_the_session() {
        let required = |name: &str| ClaimNames {
            required: vec![RequiredClaim { names: vec![name.to_owned()], values: vec!["right".to_owned()] }],
            session: Some("sub".to_owned()),
            ..ClaimNames::default()
        };
        for name in ["sub", "jti", "iss", "aud"] {
            let right =
                read(&required(name), &json!({ "sub": "right", "jti": "right", "iss": "right", "aud": ["right"] }));
            assert_eq!(right.unwrap().session_id.unwrap(), "right");
            let wrong = json!({ "sub": "wrong", "jti": "wrong", "iss": "wrong", "aud": "wrong" });
            assert!(read(&required(name), &wrong).is_err() && read(&required(name), &json!({})).is_err(), "{name}");
        }
    }
}
