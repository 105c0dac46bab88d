//! The checks of the servers before the first call: version, eviction policy, rights and layout.

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::{
    error::{ConfigError, StoreError, StoreErrorKind},
    store::{
        ExternalId,
        redis::{
            client::{
                Client,
                answer::{CommandError, Reply, property},
                cause::RedisCause,
                connect_error::{ConnectError, Unfit},
                lookout,
            },
            layout::keys::ExternalKey,
            ops::bucket::touch,
            scripts::{self, Context, Parts, ScriptCall},
        },
    },
};

const OLDEST_VERSION: u32 = 7;
/// The maximum number of buckets that [`touch_all`] handles simultaneously.
const TOUCHES_AT_ONCE: usize = 64;

/// Checks the servers, and creates the missing buckets. The store's timeout applies to each call.
///
/// # Errors
///
/// A server does not meet the requirements, or does not answer.
pub(crate) async fn check(parts: &Parts, allow_eviction: bool) -> Result<(), ConnectError> {
    let is_checked = check_server(&parts.client, allow_eviction).await?;
    // Reads the servers' settings first, because they determine the failover bound, which
    // `touch_all` writes into each bucket.
    let settings = lookout::look(&parts.client).await.map_err(StoreError::from)?;
    parts.client.guard().note_settings(settings);
    if let Some(prover) = &parts.prover {
        prover.begin().await?;
    }
    check_rights(parts.unchecked(parts.client.deadline())).await?;
    touch_all(parts).await?;
    // Only a successful attempt gets here, so the store logs the warning once.
    #[cfg(feature = "tracing")]
    if !is_checked {
        tracing::warn!(
            "the user has no right to INFO, so the Redis server's version and eviction policy are not checked; \
             grant it with ACL SETUSER"
        );
    }
    let _ = is_checked;
    Ok(())
}

/// Rejects a server that is too old, or whose eviction policy is not allowed. Returns false if the
/// user has no right to `INFO`, so that this check is impossible.
async fn check_server(client: &Client, allow_eviction: bool) -> Result<bool, ConnectError> {
    let Some(server) = lookout::info(client, "server").await.map_err(StoreError::from)? else {
        return Ok(false);
    };
    if let Some(version) = server.iter().find_map(|text| old_version(text)) {
        let remedy = format!("use Redis {OLDEST_VERSION}.0 or later, or Valkey");
        let error =
            ConfigError::new("url", format!("leads to a server of version {version:.20}, which is too old"), remedy);
        return Err(error.with_source(Unfit::Version(version.to_owned())).into());
    }
    // If `allow_eviction` permits the policy, `lookout` reports the policy as a warning.
    match lookout::eviction_policy(client).await.map_err(StoreError::from)? {
        Some(policy) if !allow_eviction => Err(ConfigError::new(
            "allow_eviction",
            format!("is off, but the server's maxmemory-policy {policy:.20} may drop revocations"),
            "set maxmemory-policy to noeviction, or accept the loss with allow_eviction(true)",
        )
        .with_source(Unfit::Eviction(policy))
        .into()),
        _ => Ok(true),
    }
}

/// Rejects a user without a necessary right, and a server without a necessary command. Otherwise
/// the first revocation would fail.
async fn check_rights(context: Context<'_>) -> Result<(), ConnectError> {
    let keyspace = context.keyspace;
    let denied = ExternalKey { bucket: 0, ..keyspace.external("", &ExternalId::Token("".into())) };
    let keys = vec![keyspace.user(0, "0"), keyspace.labels(0, "0"), keyspace.denied(&denied), keyspace.index(0, "0")];
    let call = ScriptCall::new(&scripts::RIGHTS, 0, keys, Vec::new()).repeatable();
    let mut answer = call.run(context).await?;
    let (missing, unknown) = (names(&mut answer.rest)?, names(&mut answer.rest)?);
    if !unknown.is_empty() {
        let checkout = context.client.checkout(0, context.deadline).await.map_err(StoreError::from)?;
        let error = CommandError::new(StoreErrorKind::Rejected, false, "the server does not know a command");
        let error = error.because(RedisCause::UnknownCommand(Some(unknown.to_ascii_uppercase())));
        return Err(StoreError::from(error.at(checkout.address())).into());
    }
    if missing.is_empty() {
        return Ok(());
    }
    let problem = format!("names a user who has no right to {missing} on the keys of this prefix");
    let error = ConfigError::new("url", problem, "grant the right with ACL SETUSER");
    Err(error.with_source(Unfit::Rights(missing)).into())
}

/// Reads the names of commands, and joins them.
fn names(reply: &mut Reply) -> Result<String, StoreError> {
    let (mut commands, mut names) = (reply.array()?, Vec::new());
    while !commands.is_empty() {
        names.push(commands.text()?);
    }
    Ok(names.join(", "))
}

/// Creates the missing buckets. Returns an error if a bucket has another layout or number of
/// buckets than this node.
async fn touch_all(parts: &Parts) -> Result<(), ConnectError> {
    let buckets = parts.keyspace.buckets();
    let touches = stream::iter(0..buckets)
        .map(|bucket| touch(parts.unchecked(parts.client.deadline()), bucket))
        .buffer_unordered(TOUCHES_AT_ONCE);
    match touches.try_collect::<()>().await {
        Err(error) if error.kind() == StoreErrorKind::Layout => {
            let problem =
                format!("is {buckets}, but the data under the prefix have another layout or number of buckets");
            let remedy = "give every node the same number of buckets and crate version, or choose another `prefix`";
            Err(ConfigError::new("buckets", problem, remedy).with_source(error).into())
        }
        outcome => Ok(outcome?),
    }
}

/// Returns the version in `INFO server` if the server is too old. Valkey reports its own version
/// and that of the compatible Redis, and one recent version is enough.
fn old_version(server: &str) -> Option<&str> {
    let recent = |version: &&str| {
        version
            .split('.')
            .next()
            .and_then(|major| major.parse::<u32>().ok())
            .is_some_and(|major| major >= OLDEST_VERSION)
    };
    let versions = || ["redis_version", "valkey_version"].into_iter().filter_map(|name| property(server, name));
    if versions().any(|version| recent(&version)) { None } else { versions().next().or(Some("unknown")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_before_seven_is_too_old_and_valkey_is_not() {
        assert_eq!(old_version("redis_version:6.2.5\r\n"), Some("6.2.5"));
        assert_eq!(old_version("redis_version:7.0.15\r\n"), None);
        assert_eq!(old_version("redis_version:10.1\r\n"), None);
        assert_eq!(old_version("valkey_version:8.1.8\r\n"), None);
        assert_eq!(old_version("nothing\r\n"), Some("unknown"));
    }
}
