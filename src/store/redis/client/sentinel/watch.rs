//! The watch, which asks each sentinel for the primary: about every second (more often if
//! `patience` is below 4 s), and immediately after a failover.
//!
//! The application names some sentinels, and their answers name the others. Each sentinel has a
//! separate task, so a sentinel that hangs delays no other task. A task asks over one connection,
//! and listens for `+switch-master` over another. After this message, all tasks ask immediately.
//! All tasks end when the [`SentinelWatch`] is dropped.

use std::{
    collections::{BTreeMap, HashSet},
    convert::Infallible,
    fmt::{self, Write},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::StreamExt;
use redis::{AsyncConnectionConfig, Client, ConnectionInfo, Pipeline, Value};
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
    task::{JoinHandle, JoinSet},
    time::{Instant, MissedTickBehavior, interval, sleep, timeout},
};

use crate::{
    clock::jittered,
    error::StoreErrorKind,
    store::redis::client::{
        address::{self, Address, Agreement},
        answer::{CommandError, Moment, Reply, decimal, malformed},
        sentinel::votes::{Vote, Votes},
    },
};

/// The longest time between two questions to a sentinel.
const LONGEST_INTERVAL: Duration = Duration::from_secs(1);
/// The pause after the first failure. Each further failure doubles the pause, up to a second.
const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
/// The shortest time between two questions. All signals within this time cause one question.
const SPACING: Duration = Duration::from_millis(20);
/// The time without an answer after which the watch drops a sentinel that the application did not
/// name.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(60);
/// The maximum number of sentinels that the watch asks. No deployment has more.
const MOST: usize = 32;
/// The longest wait for an answer. A later answer would be too old.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// The interval at which the watch checks if there is a majority, and logs a change.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The owner of the tasks that ask the sentinels of one store. Dropping the owner ends the tasks.
pub(crate) struct SentinelWatch {
    shared: Arc<Shared>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// The state that the tasks share.
struct Shared {
    /// The sentinels that the application named, with credentials and TLS; never empty.
    named: Vec<ConnectionInfo>,
    master: String,
    settings: AsyncConnectionConfig,
    /// The time limit of connecting, and of each answer.
    wait: Duration,
    interval: Duration,
    votes: Mutex<Votes>,
    /// The latest error of each sentinel that does not answer.
    troubles: Mutex<BTreeMap<Address, String>>,
    /// A signal that makes all tasks ask immediately.
    poke: watch::Sender<u64>,
    /// The number of answers so far.
    answers: watch::Sender<u64>,
}

impl SentinelWatch {
    /// Creates a watch that asks no sentinel before the first call of [`primary`](Self::primary).
    pub(crate) fn new(
        named: Vec<ConnectionInfo>,
        master: String,
        settings: AsyncConnectionConfig,
        patience: Duration,
        limit: Duration,
    ) -> Self {
        let count = named.iter().filter_map(address::of).collect::<HashSet<_>>().len();
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        let shared = Shared {
            named,
            master,
            settings,
            wait: limit.min(LONGEST_WAIT),
            interval: LONGEST_INTERVAL.min(patience / 4),
            votes: Mutex::new(Votes::new(patience, count)),
            troubles: Mutex::default(),
            poke: watch::Sender::new(0),
            answers: watch::Sender::new(0),
        };
        Self { shared: Arc::new(shared), task: Mutex::new(None) }
    }

    /// Returns the primary that a majority names. Waits at most for the time limit of one answer.
    /// The caller must be inside a Tokio runtime, on which the tasks then run.
    pub(crate) async fn primary(&self) -> Result<Agreement, CommandError> {
        self.start();
        let mut answers = self.shared.answers.subscribe();
        let asked = async {
            loop {
                if let Some(agreement) = self.shared.votes().primary(Moment::now()) {
                    return Some(agreement);
                }
                answers.changed().await.ok()?;
            }
        };
        // `changed` cannot fail, because `self` owns the sender.
        timeout(self.shared.wait, asked).await.ok().flatten().ok_or_else(|| self.shared.disagreement())
    }

    /// Returns an error unless a majority still names the primary of `agreement`.
    ///
    /// # Errors
    ///
    /// No majority names this primary any more. If a majority names another primary, the store must
    /// drop the connection.
    pub(crate) fn confirm(&self, agreement: &Agreement) -> Result<(), CommandError> {
        let names = self.shared.votes().names(agreement, Moment::now());
        match names {
            Some(true) => Ok(()),
            Some(false) => {
                let text = "the sentinels name a primary other than the server that answered";
                Err(CommandError::new(StoreErrorKind::Unavailable, true, text))
            }
            None => {
                // The tasks may have ended with their runtime.
                self.start();
                Err(self.shared.disagreement())
            }
        }
    }

    /// Returns whether a majority names a primary other than that of `agreement`.
    pub(crate) fn names_another(&self, agreement: &Agreement) -> bool {
        self.shared.votes().names(agreement, Moment::now()) == Some(false)
    }

    /// Forgets the answers of the sentinels, and asks all sentinels again.
    pub(crate) fn suspect(&self) {
        self.shared.votes().forget(Moment::now());
        self.shared.poke();
    }

    /// Returns the reason why there is no majority; `None` if there is a majority.
    pub(crate) fn trouble(&self) -> Option<String> {
        let is_agreed = self.shared.votes().primary(Moment::now()).is_some();
        (!is_agreed).then(|| self.shared.explain())
    }

    /// Starts the tasks if they do not run. The tasks end with the runtime that started them.
    fn start(&self) {
        let mut task = lock(&self.task);
        if task.as_ref().is_none_or(JoinHandle::is_finished)
            && let Ok(runtime) = Handle::try_current()
        {
            *task = Some(runtime.spawn(ask_all(Arc::clone(&self.shared))));
        }
    }
}

impl Drop for SentinelWatch {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.task).take() {
            task.abort();
        }
    }
}

impl fmt::Debug for SentinelWatch {
    /// Formats the watch without URL and password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SentinelWatch").field("master", &self.shared.master).finish_non_exhaustive()
    }
}

impl Shared {
    /// Locks the votes.
    fn votes(&self) -> MutexGuard<'_, Votes> {
        lock(&self.votes)
    }

    /// Makes all tasks ask.
    fn poke(&self) {
        self.poke.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Returns the error of a call while there is no majority.
    fn disagreement(&self) -> CommandError {
        CommandError::new(StoreErrorKind::Unavailable, false, &self.explain())
    }

    /// Returns the reason why there is no majority, and the error of each sentinel.
    fn explain(&self) -> String {
        let mut text = self.votes().explain(Moment::now());
        for ((host, port), trouble) in lock(&self.troubles).iter().take(MOST) {
            // Writing to a `String` cannot fail.
            let _ = write!(text, "; {host}:{port}: {trouble}");
        }
        text
    }

    /// Returns the settings for a sentinel that the application did not name. Credentials and TLS
    /// are those of the first named sentinel.
    fn info_of(&self, (host, port): &Address) -> Option<ConnectionInfo> {
        self.named.first().map(|named| address::at(named, host.clone(), *port))
    }

    /// Returns the commands of one question. `SENTINEL SENTINELS` names the other sentinels.
    fn commands(&self) -> Pipeline {
        let mut pipeline = Pipeline::with_capacity(3);
        pipeline.cmd("SENTINEL").arg("MYID");
        pipeline.cmd("SENTINEL").arg("MASTER").arg(&self.master);
        pipeline.cmd("SENTINEL").arg("SENTINELS").arg(&self.master);
        pipeline
    }

    /// Records a sentinel's answer, and returns the other sentinels that the answer names.
    fn learn(&self, asked: Moment, values: Vec<Value>) -> Result<Vec<Address>, CommandError> {
        let (id, vote, others) = answer(asked, values)?;
        self.votes().record(&id, vote, Moment::now());
        self.answers.send_modify(|count| *count = count.wrapping_add(1));
        Ok(others)
    }
}

/// Reads the answer of a sentinel: its id, its vote, and the addresses of the others.
fn answer(asked: Moment, values: Vec<Value>) -> Result<(String, Vote, Vec<Address>), CommandError> {
    let mut reply = Reply::of(Value::Array(values))?;
    let id = reply.text()?;
    if id.is_empty() || id.len() > 64 {
        return Err(malformed());
    }
    let master = properties(reply.value()?)?;
    let number = |name: &str| master.get(name).and_then(|text| decimal(text.as_bytes())).ok_or_else(malformed);
    let vote = Vote {
        asked,
        address: address(&master).ok_or_else(malformed)?,
        epoch: number("config-epoch")?,
        others: number("num-other-sentinels")?,
    };
    let (mut list, mut others) = (reply.array()?, Vec::new());
    while !list.is_empty() && others.len() < MOST {
        others.extend(address(&properties(list.value()?)?));
    }
    Ok((id, vote, others))
}

/// Returns the address among the properties of a server or sentinel.
fn address(properties: &BTreeMap<String, String>) -> Option<Address> {
    let port = properties.get("port")?.parse().ok().filter(|port| *port != 0)?;
    Some((properties.get("ip").filter(|host| !host.is_empty())?.clone(), port))
}

/// Reads an array of names, each followed by its value.
fn properties(value: Value) -> Result<BTreeMap<String, String>, CommandError> {
    let (mut reply, mut properties) = (Reply::of(value)?, BTreeMap::new());
    while !reply.is_empty() {
        properties.insert(reply.text()?, reply.text()?);
    }
    Ok(properties)
}

/// Runs a task for each sentinel, and logs when a majority is lost or found.
async fn ask_all(shared: Arc<Shared>) {
    // This function keeps a sender, so that the channel never closes.
    let (found, mut queue) = mpsc::channel::<Address>(MOST);
    let (mut tasks, mut asked) = (JoinSet::new(), HashSet::new());
    for info in &shared.named {
        if let Some(address) = address::of(info)
            && asked.insert(address.clone())
        {
            tasks.spawn(ask_one(Arc::clone(&shared), info.clone(), address, true, found.clone()));
        }
    }
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // With `true`, the first check also logs a missing majority.
    let mut is_agreed = true;
    loop {
        tokio::select! {
            Some(address) = queue.recv() => {
                if asked.len() < MOST && !asked.contains(&address) && let Some(info) = shared.info_of(&address) {
                    asked.insert(address.clone());
                    tasks.spawn(ask_one(Arc::clone(&shared), info, address, false, found.clone()));
                }
            }
            Some(ended) = tasks.join_next() => {
                if let Ok(address) = ended {
                    lock(&shared.troubles).remove(&address);
                    asked.remove(&address);
                }
            }
            _ = looks.tick() => is_agreed = log_change(&shared, is_agreed),
        }
    }
}

/// Logs if a majority was lost or found. Returns whether there is one.
fn log_change(shared: &Shared, was_agreed: bool) -> bool {
    let is_agreed = shared.votes().primary(Moment::now()).is_some();
    #[cfg(feature = "tracing")]
    match (was_agreed, is_agreed) {
        (true, false) => tracing::warn!(reason = shared.explain(), "no majority of the sentinels names a primary"),
        (false, true) => tracing::info!("a majority of the sentinels names a primary again"),
        _ => {}
    }
    let _ = was_agreed;
    is_agreed
}

/// Asks one sentinel until the watch drops that sentinel. Returns the sentinel's address.
async fn ask_one(
    shared: Arc<Shared>,
    info: ConnectionInfo,
    address: Address,
    is_named: bool,
    found: mpsc::Sender<Address>,
) -> Address {
    let (mut last_answer, mut pause) = (Instant::now(), SHORTEST_PAUSE);
    let mut poked = shared.poke.subscribe();
    loop {
        let begun = Instant::now();
        let error = converse(&shared, &info, &address, &found, &mut last_answer).await;
        lock(&shared.troubles).insert(address.clone(), error.code().to_owned());
        if !is_named && last_answer.elapsed() > GIVEN_UP_AFTER {
            return address;
        }
        if last_answer > begun {
            pause = SHORTEST_PAUSE;
        }
        // A signal ends the pause early. `SPACING` limits how often the task then asks an absent
        // sentinel.
        let _ = timeout(jittered(pause), poked.changed()).await;
        sleep(SPACING).await;
        pause = pause.saturating_mul(2).min(LONGEST_INTERVAL);
    }
}

/// Connects to a sentinel and asks it repeatedly. Returns the first error.
async fn converse(
    shared: &Arc<Shared>,
    info: &ConnectionInfo,
    address: &Address,
    found: &mpsc::Sender<Address>,
    last_answer: &mut Instant,
) -> CommandError {
    let client = match Client::open(info.clone()) {
        Ok(client) => client,
        Err(error) => return error.into(),
    };
    // `listen` makes all tasks ask sooner after a failover. It runs until `ask` ends.
    tokio::select! {
        asked = ask(shared, &client, address, found, last_answer) => match asked {
            Err(error) => error,
            Ok(never) => match never {},
        },
        never = listen(shared, &client) => match never {},
    }
}

/// Asks a sentinel at intervals and after signals, over a new connection. Returns the first error.
async fn ask(
    shared: &Shared,
    client: &Client,
    address: &Address,
    found: &mpsc::Sender<Address>,
    last_answer: &mut Instant,
) -> Result<Infallible, CommandError> {
    let connect = client.get_multiplexed_async_connection_with_config(&shared.settings);
    let mut connection = timeout(shared.wait, connect).await.map_err(|_| CommandError::timeout())??;
    let mut poked = shared.poke.subscribe();
    loop {
        let asked = Moment::now();
        let commands = shared.commands();
        let answered = timeout(shared.wait, commands.query_async::<Vec<Value>>(&mut connection)).await;
        let others = shared.learn(asked, answered.map_err(|_| CommandError::timeout())??)?;
        *last_answer = Instant::now();
        lock(&shared.troubles).remove(address);
        for other in others {
            // If the channel is full, the next answer names the others again.
            let _ = found.try_send(other);
        }
        let _ = timeout(shared.interval, poked.changed()).await;
        sleep(SPACING).await;
    }
}

/// Makes all tasks ask when this sentinel reports another primary.
async fn listen(shared: &Shared, client: &Client) -> Infallible {
    loop {
        if let Ok(Ok(mut subscription)) = timeout(shared.wait, client.get_async_pubsub()).await
            && let Ok(Ok(())) = timeout(shared.wait, subscription.subscribe("+switch-master")).await
        {
            let mut messages = subscription.on_message();
            while let Some(message) = messages.next().await {
                let is_ours = |text: String| text.split(' ').next() == Some(shared.master.as_str());
                if message.get_payload::<String>().is_ok_and(is_ours) {
                    shared.poke();
                }
            }
        }
        sleep(jittered(LONGEST_INTERVAL)).await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Value {
        Value::Array(texts.iter().map(|text| Value::BulkString(text.as_bytes().to_vec())).collect())
    }

    fn of_a_sentinel(master: &[&str], others: Vec<Value>) -> Result<(String, Vote, Vec<Address>), CommandError> {
        let id = Value::BulkString(b"5f0e8f3f".to_vec());
        answer(Moment::at(7), vec![id, texts(master), Value::Array(others)])
    }

    const MASTER: [&str; 8] = ["ip", "10.0.0.1", "port", "6379", "config-epoch", "3", "num-other-sentinels", "2"];

    #[test]
    fn the_answer_of_a_sentinel_is_read() {
        let other = texts(&["name", "x", "ip", "10.0.0.9", "port", "26379"]);
        let unknown = texts(&["name", "y", "ip", "", "port", "0"]);
        let (id, vote, others) = of_a_sentinel(&MASTER, vec![other, unknown]).unwrap();
        assert_eq!((id.as_str(), vote.asked, vote.epoch, vote.others), ("5f0e8f3f", Moment::at(7), 3, 2));
        assert_eq!(vote.address, ("10.0.0.1".to_owned(), 6379));
        assert_eq!(others, [("10.0.0.9".to_owned(), 26379)]);
    }

    #[test]
    fn an_answer_that_lacks_a_part_is_no_vote() {
        for left_out in [0, 2, 4, 6] {
            let mut master = MASTER.to_vec();
            master.drain(left_out..left_out + 2);
            assert!(of_a_sentinel(&master, Vec::new()).is_err(), "{left_out}");
        }
        for (place, wrong) in [(3, "x"), (3, "0"), (3, "70000"), (5, "-1"), (7, "")] {
            let mut master = MASTER;
            master.iter_mut().skip(place).take(1).for_each(|value| *value = wrong);
            assert!(of_a_sentinel(&master, Vec::new()).is_err(), "{place}: {wrong}");
        }
        assert!(answer(Moment::at(0), Vec::new()).is_err());
        assert!(answer(Moment::at(0), vec![Value::Nil, Value::Nil, Value::Nil]).is_err());
    }
}
