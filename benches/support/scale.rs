//! The amount of work of a benchmark.

use std::{env, fmt, time::Duration};

/// The part of its work that a benchmark does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scale {
    /// All of it.
    Full,
    /// A tenth of everything.
    Tenth,
    /// Each step about once, to see that it works. Its times say nothing, so none are printed.
    Test,
}

impl Scale {
    /// Returns the scale that the arguments ask for: `quick` for a tenth, `--test` for a test.
    ///
    /// Only `cargo bench` passes `--bench`, so `cargo test --benches` tests, as criterion does.
    pub fn from_arguments() -> Self {
        if has_argument("--test") || !has_argument("--bench") {
            println!("test mode: each step runs about once, nothing is measured");
            Self::Test
        } else if has_argument("quick") {
            Self::Tenth
        } else {
            Self::Full
        }
    }

    /// Returns the count, a tenth of it, or `least` in a test.
    pub fn count(self, full: usize, least: usize) -> usize {
        match self {
            Self::Full => full,
            Self::Tenth => full / 10,
            Self::Test => least,
        }
    }

    /// Returns the time, a tenth of it, or 20 ms in a test.
    pub fn time(self, full: Duration) -> Duration {
        match self {
            Self::Full => full,
            Self::Tenth => full / 10,
            Self::Test => Duration::from_millis(20),
        }
    }

    /// Prints a line of results, except in a test.
    pub fn print(self, line: impl fmt::Display) {
        if self != Self::Test {
            println!("{line}");
        }
    }
}

/// Returns true if the program was called with this argument.
pub fn has_argument(name: &str) -> bool {
    env::args().skip(1).any(|argument| argument == name)
}
