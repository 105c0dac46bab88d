//! A wall clock of a process that a test shifts while the process runs.

use std::{fs, path::PathBuf, process::Command, sync::OnceLock};

/// The shift of a process' wall clock. Needs a C compiler, and Linux's `LD_PRELOAD`.
pub struct ShiftedClock {
    file: PathBuf,
}

impl ShiftedClock {
    /// Creates a shift by a number of seconds.
    pub fn by(seconds: i64) -> Self {
        let mut name = [0; 8];
        getrandom::fill(&mut name).unwrap();
        let file = std::env::temp_dir().join(format!("tower-bearer-clock-{:016x}", u64::from_ne_bytes(name)));
        let clock = Self { file };
        clock.shift(seconds);
        clock
    }

    /// Changes the shift.
    pub fn shift(&self, seconds: i64) {
        use std::os::unix::fs::FileExt;

        let options = fs::OpenOptions::new().write(true).create(true).truncate(false).open(&self.file);
        options.unwrap().write_all_at(&seconds.to_ne_bytes(), 0).unwrap();
    }

    /// Returns the variables with which a process has this clock.
    pub fn variables(&self) -> Vec<(String, String)> {
        let text = |path: &PathBuf| path.to_str().unwrap().to_owned();
        vec![("LD_PRELOAD".to_owned(), text(library())), ("SHIFTED_CLOCK".to_owned(), text(&self.file))]
    }
}

impl Drop for ShiftedClock {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}

/// Compiles the library once for each process of tests.
fn library() -> &'static PathBuf {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/shifted_clock.c");
        let library = std::env::temp_dir().join(format!("tower-bearer-clock-{}.so", std::process::id()));
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o", library.to_str().unwrap(), source, "-ldl"])
            .output()
            .expect("a C compiler `cc`");
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        library
    })
}
