//! The topology of a cluster: the primary of each bucket, as a node reports it.

use std::time::Duration;

use futures_util::{StreamExt, stream::FuturesUnordered};
use redis::Value;
use tokio::time::{Instant, sleep};

use crate::{
    error::StoreErrorKind,
    store::redis::client::{
        address::Address,
        answer::{CommandError, Reply},
        connections::{Connections, config::ConnectionConfig, connector::Connector},
    },
};

/// The delay after which a query also asks the next node.
const STAGGER: Duration = Duration::from_millis(50);
const SLOTS: u16 = 16384;

/// The topology as one node reports it.
pub(crate) struct Topology {
    /// The primary of each bucket; `None` if the bucket has no primary.
    pub(crate) primaries: Vec<Option<Address>>,
    /// All nodes that serve slots, including replicas.
    pub(crate) nodes: Vec<Address>,
}

/// Asks the nodes over short-lived connections, each [`STAGGER`] after the node before. Returns the
/// first answer.
pub(crate) async fn ask(
    connector: &Connector,
    config: &ConnectionConfig,
    nodes: Vec<Address>,
    buckets: u32,
) -> Result<Topology, CommandError> {
    let ask = |(number, node): (u32, Address)| async move {
        sleep(STAGGER.saturating_mul(number)).await;
        ask_one(connector, config, &node, buckets).await
    };
    let mut answers: FuturesUnordered<_> = (0..).zip(nodes).map(ask).collect();
    let mut last = CommandError::new(StoreErrorKind::Unavailable, false, "there is no node to ask");
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(topology) => return Ok(topology),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Asks one node for the topology.
async fn ask_one(
    connector: &Connector,
    config: &ConnectionConfig,
    node: &Address,
    buckets: u32,
) -> Result<Topology, CommandError> {
    let unusable = |_| CommandError::new(StoreErrorKind::Rejected, true, "the address cannot be used");
    // No caller needs the identity of the server behind this connection.
    let config = ConnectionConfig { connections: 1, identifies: false, ..config.clone() };
    let connections =
        Connections::new(connector.source(Some(node), &config).map_err(unusable)?, &config, connector.guard());
    let deadline = Instant::now() + config.timeout;
    let checkout = connections.checkout(deadline).await?;
    parse(checkout.command(redis::cmd("CLUSTER").arg("SLOTS"), deadline).await?, node, buckets)
}

/// Reads the answer of `CLUSTER SLOTS`. It contains, for each range of slots: the first slot, the
/// last slot, the primary, and the replicas.
fn parse(answer: Value, asked: &Address, buckets: u32) -> Result<Topology, CommandError> {
    let mut ranges = Reply::of(answer)?;
    let mut topology = Topology { primaries: vec![None; buckets.try_into().unwrap_or(0)], nodes: Vec::new() };
    while !ranges.is_empty() {
        let mut range = ranges.array()?;
        let (first, last) = (range.number()?, range.number()?);
        let mut primary = true;
        while !range.is_empty() {
            let Some(node) = address(range.array()?, asked)? else {
                primary = false;
                continue;
            };
            if primary {
                let held = (0..).zip(&mut topology.primaries);
                held.filter(|(bucket, _)| (first..=last).contains(&slot(*bucket).into()))
                    .for_each(|(_, place)| *place = Some(node.clone()));
            }
            primary = false;
            if !topology.nodes.contains(&node) {
                topology.nodes.push(node);
            }
        }
    }
    if topology.primaries.iter().all(Option::is_none) {
        // The node was removed from the cluster, or has not joined it yet.
        return Err(CommandError::new(StoreErrorKind::Unavailable, false, "the node knows no primary"));
    }
    Ok(topology)
}

/// Reads a node's address. Returns `None` if the answer contains no usable address.
fn address(mut node: Reply, asked: &Address) -> Result<Option<Address>, CommandError> {
    let (host, port) = (node.optional_text()?.unwrap_or_default(), node.number()?);
    let Ok(port) = u16::try_from(port) else { return Ok(None) };
    Ok(match host.as_str() {
        _ if port == 0 => None,
        "?" => None,
        // An empty host means the host of the node that was asked.
        "" => Some((asked.0.clone(), port)),
        _ => Some((host, port)),
    })
}

/// Returns the slot of a bucket: the CRC-16/XMODEM of the bucket's number, which is the hash tag of
/// its keys.
fn slot(bucket: u32) -> u16 {
    crc16(bucket.to_string().as_bytes()) % SLOTS
}

fn crc16(bytes: &[u8]) -> u16 {
    let shift = |crc: u16, _| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
    bytes.iter().fold(0, |crc, byte| (0..8).fold(crc ^ (u16::from(*byte) << 8), shift))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn range(first: i64, last: i64, nodes: &[(Value, i64)]) -> Value {
        let node = |(host, port): &(Value, i64)| Value::Array(vec![host.clone(), Value::Int(*port), text("id")]);
        Value::Array([Value::Int(first), Value::Int(last)].into_iter().chain(nodes.iter().map(node)).collect())
    }

    fn asked() -> Address {
        ("asked".to_owned(), 1)
    }

    #[test]
    fn a_slot_is_the_one_of_the_cluster_specification() {
        assert_eq!(crc16(b"123456789"), 0x31c3);
        // The answers of `CLUSTER KEYSLOT tb:{0}:m` and so on.
        assert_eq!([0, 1, 9, 10, 1023].map(slot), [13907, 9842, 10106, 247, 14911]);
    }

    #[test]
    fn a_bucket_stands_on_the_first_node_of_the_range_that_holds_its_slot() {
        let answer = Value::Array(vec![
            range(0, 9842, &[(text("a"), 7), (text("b"), 8)]),
            range(9843, 16383, &[(Value::Nil, 9), (text(""), 10)]),
        ]);
        let Topology { primaries, nodes } = parse(answer, &asked(), 2).unwrap();
        assert_eq!(primaries, [Some(("asked".to_owned(), 9)), Some(("a".to_owned(), 7))]);
        assert_eq!(nodes.len(), 4);
    }

    #[test]
    fn a_primary_whose_address_nobody_knows_is_none_and_its_replica_does_not_take_its_place() {
        let answer = Value::Array(vec![
            range(0, 9999, &[(text("?"), 7), (text("b"), 8)]),
            range(10000, 16383, &[(text("a"), 7), (text("c"), 70_000)]),
        ]);
        let Topology { primaries, nodes } = parse(answer, &asked(), 2).unwrap();
        assert_eq!(primaries, [Some(("a".to_owned(), 7)), None]);
        assert_eq!(nodes.len(), 2);
    }

    #[test]
    fn a_node_that_knows_of_no_primary_or_answers_otherwise_is_an_error() {
        let unknown = Value::Array(vec![range(0, 16383, &[(text("?"), 7)])]);
        for answer in [Value::Array(Vec::new()), unknown, Value::Nil, Value::Array(vec![Value::Int(1)])] {
            assert!(parse(answer, &asked(), 2).is_err());
        }
    }
}
