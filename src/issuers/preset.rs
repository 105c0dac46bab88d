//! A table of the settings for well-known issuers.

use std::str::FromStr;

use super::claim_names::{ClaimNames, RequiredClaim};
use crate::{error::ConfigError, jwt::Algorithm};

/// The settings for a well-known issuer: see [`Issuer::preset`](super::Issuer::preset).
///
/// A preset names the claims from which the service reads scopes, roles, session and token id. Some
/// presets also require a claim that only the issuer's access tokens have. You can change every
/// setting of the [`Issuer`](super::Issuer) after the preset.
///
/// | preset | scopes | roles | session | token id | required |
/// |--|--|--|--|--|--|
/// | `Plain` | `scope`, `scp` | `roles`, `groups` | `sid` | `jti` | |
/// | `Entra` | `scp`, `roles` | `roles` | `sid` | `uti` | `azp` or `appid` |
/// | `Auth0` | `scope`, `permissions` | `permissions` | `sid` | `jti` | |
/// | `Okta` | `scp` | `groups` | `sid` | `jti` | `cid` |
/// | `Keycloak` | `scope` | `realm_access.roles` | `sid` | `jti` | `typ` is `Bearer` |
/// | `Cognito` | `scope` | `cognito:groups` | `origin_jti` | `jti` | `token_use` is `access` |
/// | `Google`, `Firebase`, `Apple` | none | none | none | `jti` | |
/// | `Supabase` | none | `role` | `session_id` | `jti` | |
/// | `Clerk` | none | `org_role` | `sid` | `jti` | |
/// | `GithubActions` | none | none | none | `jti` | |
/// | `Kubernetes` | none | none | none | `jti` | |
///
/// The last column names the claim that a token must have.
///
/// Google, Firebase and Apple give applications only ID tokens, and no access tokens that are JWTs.
/// So their presets accept ID tokens.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[non_exhaustive]
pub enum Preset {
    /// Another issuer, with the usual claim names.
    #[default]
    Plain,
    /// Microsoft Entra ID, versions 1.0 and 2.0. Configure the `api://` URI or the client id of
    /// your API as the audience.
    Entra,
    /// Auth0, with or without its RFC 9068 profile.
    Auth0,
    /// A custom authorization server of Okta. Only Okta can check the tokens of its org
    /// authorization server.
    Okta,
    /// A realm of Keycloak.
    Keycloak,
    /// A user pool of Amazon Cognito. Its access tokens have no `aud`: use
    /// [`any_audience`](super::Issuer::any_audience) and require your `client_id`.
    Cognito,
    /// Google's ID tokens. The audience is your client id.
    Google,
    /// Firebase Authentication. The audience is your project's id.
    Firebase,
    /// Sign in with Apple. The audience is your client id.
    Apple,
    /// Supabase Auth. The audience is `authenticated`.
    Supabase,
    /// Session tokens of Clerk, which have no `aud`: use
    /// [`any_audience`](super::Issuer::any_audience) and require your `azp`.
    Clerk,
    /// The `OpenID` Connect tokens of GitHub Actions.
    GithubActions,
    /// Service account tokens of Kubernetes. They may live for a year: see
    /// [`max_access_lifetime`](super::Issuer::max_access_lifetime).
    Kubernetes,
}

/// One row of the table in the docs of [`Preset`].
struct Habits {
    preset: Preset,
    name: &'static str,
    scopes: &'static [&'static str],
    roles: &'static [&'static str],
    session: Option<&'static str>,
    token_id: Option<&'static str>,
    /// The names of claims, and the only accepted value, if any. The token must have one of these
    /// claims.
    required: Option<(&'static [&'static str], Option<&'static str>)>,
    /// The accepted algorithms. If empty, all algorithms with public keys.
    algorithms: &'static [Algorithm],
}

const NOTHING: Habits = Habits {
    preset: Preset::Plain,
    name: "",
    scopes: &[],
    roles: &[],
    session: None,
    token_id: None,
    required: None,
    algorithms: &[],
};

const HABITS: [Habits; 13] = [
    Habits {
        preset: Preset::Plain,
        name: "plain",
        scopes: &["scope", "scp"],
        roles: &["roles", "groups"],
        session: Some("sid"),
        ..NOTHING
    },
    Habits {
        preset: Preset::Entra,
        name: "entra",
        scopes: &["scp", "roles"],
        roles: &["roles"],
        session: Some("sid"),
        token_id: Some("uti"),
        required: Some((&["azp", "appid"], None)),
        algorithms: &[Algorithm::RS256],
    },
    Habits {
        preset: Preset::Auth0,
        name: "auth0",
        scopes: &["scope", "permissions"],
        roles: &["permissions"],
        session: Some("sid"),
        ..NOTHING
    },
    Habits {
        preset: Preset::Okta,
        name: "okta",
        scopes: &["scp"],
        roles: &["groups"],
        session: Some("sid"),
        required: Some((&["cid"], None)),
        algorithms: &[Algorithm::RS256],
        ..NOTHING
    },
    Habits {
        preset: Preset::Keycloak,
        name: "keycloak",
        scopes: &["scope"],
        roles: &["realm_access.roles"],
        session: Some("sid"),
        required: Some((&["typ"], Some("Bearer"))),
        ..NOTHING
    },
    Habits {
        preset: Preset::Cognito,
        name: "cognito",
        scopes: &["scope"],
        roles: &["cognito:groups"],
        session: Some("origin_jti"),
        required: Some((&["token_use"], Some("access"))),
        algorithms: &[Algorithm::RS256],
        ..NOTHING
    },
    Habits { preset: Preset::Google, name: "google", algorithms: &[Algorithm::RS256], ..NOTHING },
    Habits { preset: Preset::Firebase, name: "firebase", algorithms: &[Algorithm::RS256], ..NOTHING },
    Habits { preset: Preset::Apple, name: "apple", algorithms: &[Algorithm::RS256, Algorithm::ES256], ..NOTHING },
    Habits { preset: Preset::Supabase, name: "supabase", roles: &["role"], session: Some("session_id"), ..NOTHING },
    Habits { preset: Preset::Clerk, name: "clerk", roles: &["org_role"], session: Some("sid"), ..NOTHING },
    Habits { preset: Preset::GithubActions, name: "github-actions", algorithms: &[Algorithm::RS256], ..NOTHING },
    Habits { preset: Preset::Kubernetes, name: "kubernetes", ..NOTHING },
];

impl Preset {
    fn habits(self) -> &'static Habits {
        HABITS.iter().find(|habits| habits.preset == self).unwrap_or(&NOTHING)
    }

    pub(super) fn claim_names(self) -> ClaimNames {
        let Habits { scopes, roles, session, token_id, required, .. } = *self.habits();
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        ClaimNames {
            scopes: owned(scopes),
            roles: owned(roles),
            session: session.map(str::to_owned),
            token_id: token_id.map(str::to_owned),
            required: required
                .map(|(names, value)| RequiredClaim { names: owned(names), values: owned(value.as_slice()) })
                .into_iter()
                .collect(),
        }
    }

    /// Returns the accepted algorithms. Returns `None` for all algorithms with public keys.
    pub(super) fn algorithms(self) -> Option<&'static [Algorithm]> {
        Some(self.habits().algorithms).filter(|algorithms| !algorithms.is_empty())
    }
}

impl FromStr for Preset {
    type Err = ConfigError;

    /// Reads the name of a preset in kebab case, such as `github-actions`.
    ///
    /// # Errors
    ///
    /// No preset has this name.
    fn from_str(name: &str) -> Result<Self, ConfigError> {
        HABITS.iter().find(|habits| habits.name == name).map(|habits| habits.preset).ok_or_else(|| {
            let names: Vec<_> = HABITS.iter().map(|habits| habits.name).collect();
            ConfigError::unsupported(
                "preset",
                "is not the name of a known preset",
                format!("give one of {}; for an issuer that is not listed, give `plain`", names.join(", ")),
            )
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn each_preset_has_one_row_and_is_read_by_its_name() {
        for habits in &HABITS {
            assert_eq!(habits.name.parse::<Preset>().unwrap(), habits.preset);
            assert_eq!(HABITS.iter().filter(|other| other.preset == habits.preset).count(), 1);
        }
        assert!("Entra".parse::<Preset>().is_err());
    }
}
