//! A TCP proxy that on command freezes, changes its target, or cuts connections.

use std::{
    collections::HashSet,
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU16, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
    time::{Instant, sleep_until},
};

const UNLIMITED: i64 = i64::MAX;

/// Converts a number of bytes to the type of the budgets.
fn count(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(UNLIMITED)
}

/// A proxy between clients and a server on the loopback address. Dropping it closes all
/// connections.
pub struct Proxy {
    port: u16,
    state: Arc<State>,
    acceptor: JoinHandle<()>,
}

struct State {
    /// The bytes towards the server.
    requests: Direction,
    /// The bytes towards the client.
    replies: Direction,
    /// A counter. Its increase closes the connections of earlier numbers.
    cut: watch::Sender<u64>,
    /// A counter. Its increase silences the connections of earlier numbers, which stay open.
    silenced: AtomicU64,
    /// New connections are accepted, but nothing passes.
    holds_new: watch::Sender<bool>,
    /// The blocked client addresses. Their connections stay open without traffic, and are closed at
    /// the end of the block.
    blocked: watch::Sender<HashSet<IpAddr>>,
    /// The target port of new connections.
    server_port: AtomicU16,
}

struct Direction {
    frozen: watch::Sender<bool>,
    /// The bytes that may pass before all connections are cut.
    budget: AtomicI64,
    /// The bytes that may pass before this direction freezes.
    hold: AtomicI64,
    wire: Mutex<Option<Wire>>,
    /// Bytes to insert before the next ones.
    forged: Mutex<Vec<u8>>,
    passed: AtomicU64,
}

/// A link of bounded speed.
#[derive(Clone, Copy)]
struct Wire {
    bytes_per_second: u64,
    /// The time at which the link will have sent everything.
    free: Instant,
}

impl Direction {
    /// Waits until the link would have sent these bytes after all earlier ones.
    async fn send(&self, bytes: usize) {
        let free = {
            let mut wire = self.wire.lock().expect("no panic");
            let Some(wire) = wire.as_mut() else { return };
            let takes = Duration::from_nanos(bytes as u64 * 1_000_000_000 / wire.bytes_per_second);
            wire.free = wire.free.max(Instant::now()) + takes;
            wire.free
        };
        sleep_until(free).await;
    }
}

impl Proxy {
    /// Starts a proxy in front of `server_port`.
    pub async fn start(server_port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let port = listener.local_addr().expect("a bound listener").port();
        let state = Arc::new(State {
            requests: Direction::default(),
            replies: Direction::default(),
            cut: watch::Sender::new(0),
            silenced: AtomicU64::new(0),
            holds_new: watch::Sender::new(false),
            blocked: watch::Sender::default(),
            server_port: AtomicU16::new(server_port),
        });
        let acceptor = tokio::spawn(accept(listener, Arc::clone(&state)));
        Self { port, state, acceptor }
    }

    /// Returns the URL to use instead of the server's.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Returns the port to use instead of the server's.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Holds back all bytes in both directions, also on new connections.
    pub fn freeze(&self) {
        self.freeze_requests();
        self.freeze_replies();
    }

    /// Holds back the bytes towards the server.
    pub fn freeze_requests(&self) {
        self.state.requests.frozen.send_replace(true);
    }

    /// Holds back the bytes towards the client.
    pub fn freeze_replies(&self) {
        self.state.replies.frozen.send_replace(true);
    }

    /// Lets everything pass again, beginning with the held bytes.
    pub fn resume(&self) {
        self.state.requests.frozen.send_replace(false);
        self.state.replies.frozen.send_replace(false);
        self.state.holds_new.send_replace(false);
    }

    /// Silences the present connections for ever without closing them. Serves new ones.
    pub fn silence(&self) {
        self.state.silenced.fetch_add(1, Ordering::SeqCst);
    }

    /// Keeps new connections open but silent until [`resume`](Self::resume).
    pub fn hold_new_connections(&self) {
        self.state.holds_new.send_replace(true);
    }

    /// Partitions the network: silently drops all traffic from and to these addresses.
    pub fn block(&self, sources: &[&str]) {
        self.state.blocked.send_replace(sources.iter().map(|ip| ip.parse().expect("an address")).collect());
    }

    /// Ends the partition, and closes the blocked connections.
    pub fn unblock(&self) {
        self.state.blocked.send_replace(HashSet::new());
    }

    /// Directs new connections to another server. Present ones stay.
    pub fn move_to(&self, server_port: u16) {
        self.state.server_port.store(server_port, Ordering::SeqCst);
    }

    /// Closes all connections. Serves new ones.
    pub fn cut(&self) {
        self.state.cut();
    }

    /// Closes all connections after `bytes` more towards the server. New connections have no limit.
    pub fn cut_requests_after(&self, bytes: u32) {
        self.state.requests.budget.store(bytes.into(), Ordering::SeqCst);
    }

    /// Closes all connections after `bytes` more towards the client. New connections have no limit.
    pub fn cut_replies_after(&self, bytes: u32) {
        self.state.replies.budget.store(bytes.into(), Ordering::SeqCst);
    }

    /// Lets `bytes` more pass towards the server, and holds back the rest until
    /// [`resume`](Self::resume).
    pub fn hold_requests_after(&self, bytes: u64) {
        self.state.requests.hold.store(i64::try_from(bytes).expect("a small number"), Ordering::SeqCst);
    }

    /// Returns true if requests are held back.
    pub fn holds_requests(&self) -> bool {
        *self.state.requests.frozen.borrow()
    }

    /// Inserts a reply before the next one, even while replies are held back. Later replies then
    /// answer the wrong requests.
    pub fn forge_reply(&self, reply: &[u8]) {
        self.state.replies.forged.lock().expect("no panic").extend_from_slice(reply);
    }

    /// Limits the speed towards the client, for all connections together.
    pub fn slow_replies(&self, bytes_per_second: u64) {
        *self.state.replies.wire.lock().expect("no panic") = Some(Wire { bytes_per_second, free: Instant::now() });
    }

    /// Removes a limit that was not reached.
    pub fn unlimited(&self) {
        self.state.requests.budget.store(UNLIMITED, Ordering::SeqCst);
        self.state.replies.budget.store(UNLIMITED, Ordering::SeqCst);
    }

    /// Returns the number of bytes that passed towards the server.
    pub fn request_bytes(&self) -> u64 {
        self.state.requests.passed.load(Ordering::SeqCst)
    }

    /// Returns the number of bytes that passed towards the client.
    pub fn reply_bytes(&self) -> u64 {
        self.state.replies.passed.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.acceptor.abort();
        self.state.cut();
    }
}

impl State {
    fn cut(&self) {
        self.cut.send_modify(|count| *count += 1);
    }
}

impl Default for Direction {
    fn default() -> Self {
        Self {
            frozen: watch::Sender::new(false),
            budget: AtomicI64::new(UNLIMITED),
            hold: AtomicI64::new(UNLIMITED),
            forged: Mutex::default(),
            wire: Mutex::default(),
            passed: AtomicU64::new(0),
        }
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    while let Ok((client, source)) = listener.accept().await {
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let mut cut = state.cut.subscribe();
            if state.holds_new.subscribe().wait_for(|holds| !holds).await.is_err() {
                return;
            }
            let (ip, mut blocked) = (source.ip(), state.blocked.subscribe());
            if blocked.borrow().contains(&ip) {
                let _ = blocked.wait_for(|blocked| !blocked.contains(&ip)).await;
                return;
            }
            let server_port = state.server_port.load(Ordering::SeqCst);
            let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server_port)).await else { return };
            let _ = (client.set_nodelay(true), server.set_nodelay(true));
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            let pumps = async {
                tokio::select! {
                    () = pump(from_client, to_server, &state, &state.requests) => (),
                    () = pump(from_server, to_client, &state, &state.replies) => (),
                }
            };
            tokio::pin!(pumps);
            tokio::select! {
                () = &mut pumps => return,
                _ = cut.changed() => return,
                _ = blocked.wait_for(|blocked| blocked.contains(&ip)) => (),
            }
            // Dropping the pumps drops the bytes that they hold. The connection stays open.
            tokio::select! {
                _ = cut.changed() => (),
                _ = blocked.wait_for(|blocked| !blocked.contains(&ip)) => (),
            }
        });
    }
}

async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    state: &State,
    direction: &Direction,
) {
    let mut frozen = direction.frozen.subscribe();
    let born = state.silenced.load(Ordering::SeqCst);
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(read) = from.read(&mut buffer).await {
        let forged = std::mem::take(&mut *direction.forged.lock().expect("no panic"));
        if to.write_all(&forged).await.is_err() {
            return;
        }
        if read == 0 || frozen.wait_for(|frozen| !frozen).await.is_err() {
            return;
        }
        if state.silenced.load(Ordering::SeqCst) != born {
            continue;
        }
        direction.send(read).await;
        let hold = direction.hold.load(Ordering::SeqCst);
        if hold != UNLIMITED {
            let first = usize::try_from(hold).unwrap_or(0).min(read);
            if to.write_all(&buffer[..first]).await.is_err() {
                return;
            }
            direction.passed.fetch_add(first as u64, Ordering::SeqCst);
            direction.hold.store(hold - count(first), Ordering::SeqCst);
            if first < read || hold == count(first) {
                direction.hold.store(UNLIMITED, Ordering::SeqCst);
                direction.frozen.send_replace(true);
                if frozen.wait_for(|frozen| !frozen).await.is_err() {
                    return;
                }
            }
            if to.write_all(&buffer[first..read]).await.is_err() {
                return;
            }
            direction.passed.fetch_add((read - first) as u64, Ordering::SeqCst);
            continue;
        }
        let budget = direction.budget.load(Ordering::SeqCst);
        let allowed = usize::try_from(budget).unwrap_or(0).min(read);
        if to.write_all(&buffer[..allowed]).await.is_err() {
            return;
        }
        direction.passed.fetch_add(allowed as u64, Ordering::SeqCst);
        if budget == UNLIMITED {
            continue;
        }
        if allowed < read || budget == count(allowed) {
            direction.budget.store(UNLIMITED, Ordering::SeqCst);
            state.cut();
            return;
        }
        direction.budget.store(budget - count(allowed), Ordering::SeqCst);
    }
}
