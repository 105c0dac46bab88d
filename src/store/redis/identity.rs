//! The identity of the server at the other end of a connection.

use redis::{Value, aio::MultiplexedConnection};
use sha2::{Digest, Sha256};

use crate::{
    error::StoreErrorKind,
    store::{
        ServerId,
        redis::{failure::Failure, info},
    },
};

/// Asks a server for the random name of its process (`run_id`). `None` if it does not tell: the
/// user has no right to `INFO`, or a proxy answers.
pub(super) async fn run_id(mut link: MultiplexedConnection) -> Result<Option<String>, Failure> {
    let answer = redis::cmd("INFO").arg("server").query_async::<Value>(&mut link).await.map_err(Failure::from);
    match answer {
        Ok(value) => Ok(info::text(value).ok().and_then(|text| info::property(&text, "run_id").map(str::to_owned))),
        Err(failure) if failure.broken || failure.kind == StoreErrorKind::Timeout => Err(failure),
        Err(_) => Ok(None),
    }
}

/// Returns the identity of a process, under the word of sentinels by which it is the primary.
pub(super) fn server_id(run_id: &str, word: Option<(u64, u64)>) -> ServerId {
    let mut hash = Sha256::new();
    hash.update(run_id);
    if let Some((era, epoch)) = word {
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
