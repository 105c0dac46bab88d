//! Runs an example of this crate as a separate process.

use std::{
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// The time limit for an example to start or to end.
const START: Duration = Duration::from_secs(30);

/// A running example. Dropping it kills it.
pub struct Example {
    child: Child,
    url: String,
    stdout: Output,
    stderr: Output,
}

impl Example {
    /// Starts an example on a free port with only these environment variables. Waits until it has
    /// printed its address.
    pub fn start(name: &str, variables: &[(&str, &str)]) -> Self {
        let (mut child, stdout, stderr) = spawn(name, variables);
        let Some(url) = stdout.wait_for(url_in) else {
            let _ = (child.kill(), child.wait());
            panic!("the example `{name}` does not start: {}{}", stdout.text(), stderr.text());
        };
        Self { child, url, stdout, stderr }
    }

    /// Runs an example that must end by itself. Returns its exit status and its whole output.
    pub fn run_to_end(name: &str, variables: &[(&str, &str)]) -> (ExitStatus, String) {
        let (mut child, mut stdout, mut stderr) = spawn(name, variables);
        let deadline = Instant::now() + START;
        let status = loop {
            match child.try_wait().expect("a child of our own") {
                Some(status) => break status,
                None if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
                None => {
                    let _ = (child.kill(), child.wait());
                    panic!("the example `{name}` did not end with {variables:?}: {}{}", stdout.text(), stderr.text());
                }
            }
        };
        (status, format!("{}{}", stdout.all(), stderr.all()))
    }

    /// Returns `http://127.0.0.1:<port>`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the host and port to connect to.
    pub fn authority(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// Kills the example. Returns its standard output and standard error.
    pub fn stop(mut self) -> (String, String) {
        self.end();
        (self.stdout.all(), self.stderr.all())
    }

    /// Pauses the process (`SIGSTOP`). Connections stay open without answers.
    #[cfg(unix)]
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Resumes a paused process (`SIGCONT`).
    #[cfg(unix)]
    pub fn resume(&self) {
        self.signal("CONT");
    }

    #[cfg(unix)]
    fn signal(&self, signal: &str) {
        // The shell's own `kill`: a small system may have no such program.
        let sent = Command::new("sh").args(["-c", &format!("kill -{signal} {}", self.child.id())]).status();
        assert!(sent.is_ok_and(|status| status.success()), "the signal is not sent");
    }

    /// Sends SIGTERM. Returns the exit status, and the time until the process has ended.
    #[cfg(unix)]
    pub fn terminate(mut self) -> (ExitStatus, Duration) {
        let began = Instant::now();
        self.signal("TERM");
        loop {
            match self.child.try_wait().expect("a child of our own") {
                Some(status) => return (status, began.elapsed()),
                None if began.elapsed() < START => thread::sleep(Duration::from_millis(5)),
                None => panic!("the example does not end after SIGTERM"),
            }
        }
    }

    fn end(&mut self) {
        let _ = (self.child.kill(), self.child.wait());
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        self.end();
        if thread::panicking() {
            eprintln!("the example printed:\n{}{}", self.stdout.text(), self.stderr.text());
        }
    }
}

fn spawn(name: &str, variables: &[(&str, &str)]) -> (Child, Output, Output) {
    let path = path_of(name);
    let mut child = Command::new(&path)
        .env_clear()
        .env("BIND", "127.0.0.1:0")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}; build it: cargo build --examples", path.display()));
    let stdout = Output::of(child.stdout.take().expect("piped"));
    let stderr = Output::of(child.stderr.take().expect("piped"));
    (child, stdout, stderr)
}

/// Returns the path of the example's binary. `cargo test` puts it beside the folder of the test
/// binary.
fn path_of(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let profile = test.ancestors().nth(2).expect("<profile>/deps/<test>");
    profile.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

fn url_in(line: &str) -> Option<String> {
    let start = line.find("http://127.0.0.1:")?;
    let url = line[start..].split(|c: char| c.is_whitespace() || c == ',').next()?;
    Some(url.to_owned())
}

/// The output of a process. A thread reads it continuously, so that the process never blocks on a
/// full pipe.
struct Output {
    lines: Arc<(Mutex<Lines>, Condvar)>,
    reader: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Lines {
    text: String,
    ended: bool,
}

impl Output {
    fn of(stream: impl Read + Send + 'static) -> Self {
        let lines = Arc::new((Mutex::new(Lines::default()), Condvar::new()));
        let shared = Arc::clone(&lines);
        let reader = thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            let (lines, changed) = &*shared;
            while stream.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                lines.lock().unwrap().text.push_str(&String::from_utf8_lossy(&line));
                line.clear();
                changed.notify_all();
            }
            lines.lock().unwrap().ended = true;
            changed.notify_all();
        });
        Self { lines, reader: Some(reader) }
    }

    /// Returns the first value that `find` finds in a line. Returns `None` when the process ends or
    /// the time is up.
    fn wait_for(&self, find: impl Fn(&str) -> Option<String>) -> Option<String> {
        let (lines, changed) = &*self.lines;
        let waiting = |lines: &mut Lines| !lines.ended && lines.text.lines().all(|line| find(line).is_none());
        let (lines, _) = changed.wait_timeout_while(lines.lock().unwrap(), START, waiting).unwrap();
        lines.text.lines().find_map(find)
    }

    /// Returns the output so far.
    fn text(&self) -> String {
        self.lines.0.lock().unwrap().text.clone()
    }

    /// Waits for the end of the process and returns its whole output.
    fn all(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader");
        }
        self.text()
    }
}
