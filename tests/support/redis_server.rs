//! A real `redis-server` for one test, on a free loopback port and in a temporary folder.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use redis::{AsyncConnectionConfig, Client, aio::MultiplexedConnection};

/// The time limit for a server to start or to answer. Only a hang takes longer.
const START: Duration = Duration::from_secs(30);

/// A running `redis-server`. Dropping it kills the server and removes its folder.
pub struct RedisServer {
    child: Option<Child>,
    port: u16,
    folder: PathBuf,
    options: Vec<String>,
    variables: Vec<(String, String)>,
}

impl RedisServer {
    /// Starts a server without persistence.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a server with further command-line options, such as `&["--maxmemory", "3mb"]`. Set a
    /// password later by `CONFIG SET requirepass`, because the start is detected without one.
    pub fn start_with(options: &[&str]) -> Self {
        Self::start_process(options, &[])
    }

    /// Starts a server with these environment variables.
    pub fn start_with_variables(variables: &[(String, String)]) -> Self {
        Self::start_process(&[], variables)
    }

    fn start_process(options: &[&str], variables: &[(String, String)]) -> Self {
        for _ in 0..20 {
            let port = free_port();
            let folder = std::env::temp_dir().join(format!("tower-bearer-redis-{}-{port}", std::process::id()));
            fs::create_dir_all(&folder).expect("a folder for the server");
            let options = options.iter().map(ToString::to_string).collect();
            let mut server = Self { child: None, port, folder, options, variables: variables.to_vec() };
            if server.launch() {
                return server;
            }
        }
        panic!("redis-server does not start; is it installed?");
    }

    /// Returns the URL to connect to.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// Removes the folder, so that the server cannot save its data.
    pub fn remove_folder(&self) {
        fs::remove_dir_all(&self.folder).expect("the folder of the server");
    }

    /// Returns the port, which [`restart`](Self::restart) keeps.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Opens a connection for the test's own commands.
    pub async fn admin(&self) -> MultiplexedConnection {
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(START)).set_connection_timeout(Some(START));
        let client = Client::open(self.url()).expect("the server's URL");
        client.get_multiplexed_async_connection_with_config(&config).await.expect("a connection to the server")
    }

    /// Pauses the process (`SIGSTOP`). Connections stay open without answers.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// Resumes a paused process (`SIGCONT`).
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    /// Stops the server by `SIGTERM`, so that it saves its data as configured.
    pub fn stop(&mut self) {
        self.signal("-TERM");
        self.reap();
    }

    /// Kills the server (`SIGKILL`).
    pub fn kill(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
        }
        self.reap();
    }

    /// Kills the server if it runs, and starts it with the same port, folder and options.
    pub fn restart(&mut self) {
        self.kill();
        assert!(self.launch(), "the server does not start again on port {}", self.port);
    }

    fn launch(&mut self) -> bool {
        let child = Command::new("redis-server")
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .args(["--loglevel", "warning", "--dir"])
            .arg(&self.folder)
            .args(&self.options)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server runs; is it installed?");
        let id = child.id();
        self.child = Some(child);
        let deadline = Instant::now() + START;
        while Instant::now() < deadline {
            // Another server may have taken the port, so the answer must come from the started
            // process.
            if self.process_id() == Some(id) {
                return true;
            }
            if self.child.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None))) {
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
        self.kill();
        false
    }

    /// Returns the id of the process that answers on the port.
    fn process_id(&self) -> Option<u32> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_millis(500))).ok()?;
        stream.write_all(b"INFO server\r\n").ok()?;
        let mut text = String::new();
        let mut buffer = [0; 4096];
        while !text.contains("process_id:") || !text.ends_with("\r\n") {
            let read = stream.read(&mut buffer).ok().filter(|read| *read > 0)?;
            text.push_str(&String::from_utf8_lossy(&buffer[..read]));
        }
        text.lines().find_map(|line| line.strip_prefix("process_id:"))?.trim().parse().ok()
    }

    fn signal(&self, signal: &str) {
        if let Some(child) = &self.child {
            let status = Command::new("kill").args([signal, &child.id().to_string()]).status();
            assert!(status.is_ok_and(|status| status.success()), "kill {signal} failed");
        }
    }

    fn reap(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Returns a free port of the loopback address.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("a bound listener").port()
}
