//! Records the commands that a Redis receives, by `MONITOR`.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::Duration,
};

/// A running recording.
pub struct Monitor {
    stream: TcpStream,
    reader: thread::JoinHandle<Vec<u8>>,
}

impl Monitor {
    /// Starts to record the commands of a local server, which may need a password.
    pub fn start(port: u16, password: Option<&str>) -> Self {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the server");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        let login = password.map(|password| format!("AUTH {password}\r\n")).unwrap_or_default();
        stream.write_all(format!("{login}MONITOR\r\n").as_bytes()).expect("a request");
        let expected = if password.is_some() { "+OK\r\n+OK\r\n" } else { "+OK\r\n" };
        let mut begun = vec![0; expected.len()];
        stream.read_exact(&mut begun).expect("an answer");
        assert_eq!(begun, expected.as_bytes());
        let mut reader = stream.try_clone().expect("the same stream");
        let reader = thread::spawn(move || {
            let mut told = Vec::new();
            // An error is the end of the recording: a server that ends may reset the connection.
            let _ = reader.read_to_end(&mut told);
            told
        });
        Self { stream, reader }
    }

    /// Returns all that was recorded until the server ended.
    pub fn all(self) -> String {
        String::from_utf8_lossy(&self.reader.join().expect("the reader")).into_owned()
    }

    /// Waits until a command that contains `last` is recorded, and returns everything so far. The
    /// test must have sent that command last and got its answer.
    pub async fn until(self, last: &str) -> String {
        let Self { stream, reader } = self;
        // The server answers `QUIT` after all earlier output.
        let _ = (&stream).write_all(b"QUIT\r\n");
        let told = tokio::task::spawn_blocking(move || reader.join().expect("the reader")).await.expect("the reader");
        drop(stream);
        let told = String::from_utf8_lossy(&told).into_owned();
        assert!(told.contains(last), "the monitor has not seen {last}: {told}");
        told
    }
}

/// Decodes the escapes of `MONITOR`: `\x00`, `\n`, `\"`.
pub fn unescaped(told: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::new(), told.as_bytes());
    while let [first, tail @ ..] = rest {
        rest = match (first, tail) {
            (b'\\', [b'x', high, low, tail @ ..]) => {
                let digits = [*high, *low];
                let byte = std::str::from_utf8(&digits).ok().and_then(|hex| u8::from_str_radix(hex, 16).ok());
                bytes.push(byte.expect("two hexadecimal digits"));
                tail
            }
            (b'\\', [escaped, tail @ ..]) => {
                bytes.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'a' => 7,
                    b'b' => 8,
                    other => *other,
                });
                tail
            }
            (other, tail) => {
                bytes.push(*other);
                tail
            }
        };
    }
    bytes
}
