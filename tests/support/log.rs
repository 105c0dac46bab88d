//! The log at TRACE of a test's thread, on which its tasks run too unless it asks for more threads.

use std::{
    io,
    sync::{Arc, Mutex, Once},
};

use tracing::subscriber::DefaultGuard;

/// What has been logged since it was made.
pub struct Log {
    lines: Lines,
    _capture: DefaultGuard,
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Listens until it is dropped.
    pub fn capture() -> Self {
        // While one subscriber alone exists, tracing asks the thread that first comes by an event
        // whether anybody wants it, and believes that for all threads: a test without a log would
        // silence it for those that have one. So every thread has a subscriber.
        static EVERYWHERE: Once = Once::new();
        EVERYWHERE.call_once(|| {
            tracing::subscriber::set_global_default(tracing_subscriber::registry())
                .expect("no other global subscriber");
        });
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        Self { lines, _capture: tracing::subscriber::set_default(subscriber) }
    }

    /// One line an event: time, level, module, message, fields.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.lines.0.lock().expect("no panic")).into_owned()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
