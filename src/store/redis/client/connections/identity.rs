//! The identity of the server at the other end of a connection.

use redis::{Pipeline, Value, aio::MultiplexedConnection};
use sha2::{Digest, Sha256};

use crate::{
    error::StoreErrorKind,
    store::{
        ServerId,
        redis::client::answer::{CommandError, info_text, property},
    },
};

/// Asks a server for the random name of its process (`run_id`). Returns `None` if the user has no
/// right to `INFO`, or if a proxy leaves the name out.
///
/// With `with_term`, the name also contains `master_replid`, which changes at each promotion. So
/// the name of a server changes if it is demoted and promoted again.
pub(crate) async fn name(
    mut multiplexed: MultiplexedConnection,
    with_term: bool,
) -> Result<Option<String>, CommandError> {
    let mut pipeline = Pipeline::with_capacity(2);
    pipeline.cmd("INFO").arg("server");
    if with_term {
        pipeline.cmd("INFO").arg("replication");
    }
    match pipeline.query_async::<Vec<Value>>(&mut multiplexed).await.map_err(CommandError::from) {
        Ok(answers) => {
            let mut texts = answers.into_iter().map(|answer| info_text(answer).ok());
            let (server, replication) = (texts.next().flatten(), texts.next().flatten());
            Ok(server.and_then(|server| if with_term { name_of_term(&server, &replication?) } else { run_id(&server) }))
        }
        Err(error) if error.broken || error.kind == StoreErrorKind::Timeout => Err(error),
        Err(_) => Ok(None),
    }
}

/// Reads the random name of the process from its answer to `INFO server`.
fn run_id(server: &str) -> Option<String> {
    property(server, "run_id").map(str::to_owned)
}

/// Returns one name for a server process and its term as a primary: `run_id` of `INFO server`, and
/// `master_replid` of `INFO replication`. A promoted server gets a new `master_replid`.
pub(crate) fn name_of_term(server: &str, replication: &str) -> Option<String> {
    Some(format!("{}:{}", run_id(server)?, property(replication, "master_replid")?))
}

/// Returns the identity of the process with this name. Behind sentinels, the identity includes the
/// era and epoch of the sentinels' agreement.
pub(crate) fn server_id(name: &str, agreement: Option<(u64, u64)>) -> ServerId {
    let mut hash = Sha256::new();
    hash.update(name);
    if let Some((era, epoch)) = agreement {
        hash.update(era.to_be_bytes());
        hash.update(epoch.to_be_bytes());
    }
    let mut number = [0; 8];
    number.iter_mut().zip(hash.finalize()).for_each(|(byte, hashed)| *byte = hashed);
    ServerId::new(u64::from_be_bytes(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_is_promoted_again_has_another_name() {
        let name = |replid: &str| name_of_term("redis_mode:standalone\r\nrun_id:ab\r\n", replid);
        let first = name("role:master\r\nmaster_replid:cd\r\nmaster_replid2:ef\r\n");
        assert_eq!(first.as_deref(), Some("ab:cd"));
        assert_ne!(name("master_replid:gh\r\n"), first);
        assert_eq!(name("role:master\r\n"), None);
    }

    #[test]
    fn another_process_and_another_epoch_are_another_server() {
        let ids = [
            server_id("a", None),
            server_id("b", None),
            server_id("a", Some((0, 1))),
            server_id("a", Some((0, 2))),
            server_id("a", Some((1, 1))),
        ];
        for (index, id) in ids.iter().enumerate() {
            assert!(ids.iter().skip(index + 1).all(|other| other != id), "{index}");
        }
        assert_eq!(server_id("a", None), server_id("a", None));
    }
}
