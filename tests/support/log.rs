//! The log at TRACE of a test's thread. The tasks of a single-threaded runtime run there too.

use std::{
    io,
    sync::{Arc, Mutex, Once},
};

use tracing::subscriber::DefaultGuard;

/// The events of this thread since its creation.
pub struct Log {
    lines: Lines,
    _capture: DefaultGuard,
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Starts to capture events, until the value is dropped.
    pub fn capture() -> Self {
        // With a single subscriber, tracing caches the interest of the first thread that meets an
        // event, for all threads. A test without a log would so silence the others. A global
        // subscriber prevents that cache.
        static GLOBAL: Once = Once::new();
        GLOBAL.call_once(|| {
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

    /// Returns one line per event: time, level, module, message, fields.
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
