//! Parses any bytes as a session record and as a RESP reply. Neither may panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_bearer::store::redis::fuzzing;

fuzz_target!(|data: &[u8]| {
    fuzzing::record(data);
    fuzzing::reply(data);
});
