//! The rules of the store on a real Redis. Each test runs a sequence that fails without its rule.

mod denylist;
mod log;
mod records;
mod revocation;
mod rotation;
mod sessions;

use std::time::Duration;

use tower_bearer::store::{DenyRequest, ExternalId};

const HOUR: Duration = Duration::from_secs(3600);

/// A script that ages all records of the user `KEYS[1]` by `ARGV[1]` milliseconds.
const AGE: &str = r"
local n = 0
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  local value = redis.call('HGET', KEYS[1], field)
  if #value == 53 then
    local tag, g, o, a, r, t, c, f = struct.unpack('>c8I8I8I8I8I8I4B', value)
    local by = tonumber(ARGV[1])
    redis.call('HSET', KEYS[1], field, struct.pack('>c8I8I8I8I8I8I4B', tag, g, o - by, a - by, r - by, t - by, c, f))
    n = n + 1
  end
end
return n";

const ISSUER: &str = "https://issuer.example";

fn deny(issuer: &str, id: ExternalId) -> DenyRequest {
    DenyRequest::new(issuer, id, HOUR)
}
