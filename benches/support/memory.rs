//! The memory of this process.

/// Returns the resident memory in bytes; zero where there is no `/proc`.
pub fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|text| text.trim().trim_end_matches(" kB").parse::<usize>().ok());
    kibibytes.unwrap_or_default() * 1024
}
