//! What a store answers: any bytes as a session's record, and as a reply in RESP, are read or refused.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tower_bearer::store::redis::fuzzing;

fuzz_target!(|data: &[u8]| {
    fuzzing::record(data);
    fuzzing::reply(data);
});
