
-- Exchanges the counter of a refresh token for the next one. Reads one record and the fields that
-- it prunes. MAY_ADVANCE is false in the script for a server that is out of memory. That script
-- revokes on reuse, and never advances a counter. ARGV: 9 field, 10 tag, 11 counter, 12 idle, 13
-- grace.
local field, tag, counter = ARGV[9], ARGV[10], tonumber(ARGV[11])
local idle, grace = tonumber(ARGV[12]), tonumber(ARGV[13])

local text = redis.call('HGET', USER, field)
if not text then
  return { NONCE, 'unknown', NOW }
end
local r = decode(text)
if not r or r.tag ~= tag then
  return { NONCE, 'untrusted', NOW }
end
if is_unlogged(r) then
  log_end(field, r)
end
if was_revoked(r) then
  return { NONCE, 'revoked', NOW, r.rotated }
end
if r.generation < GENERATION then
  return { NONCE, 'revoked', NOW, GENERATION - 1 }
end
if NOW >= r.refresh then
  return { NONCE, 'expired', NOW }
end

local function successor(status)
  return { NONCE, status, NOW, r.counter, r.generation, r.rotated, r.refresh, last_entry() }
end

-- If the clock was set back, the elapsed time counts as zero. `<` is necessary, because a grace of
-- zero allows no replay.
if counter == r.counter - 1 and math.max(NOW - r.rotated, 0) < grace then
  return successor('replayed')
end
-- An equal counter is the normal case. If the counter is higher, the store has lost a newer record,
-- and the verified token is newer than the present record. The largest u32 has no successor.
if counter >= r.counter and counter < 4294967295 then
  if not MAY_ADVANCE then
    return { NONCE, 'full', NOW }
  end
  r.counter, r.rotated, r.refresh = counter + 1, NOW, math.min(later(idle), r.absolute)
  redis.call('HSET', USER, field, encode(r))
  local last = math.max(NOW, r.refresh) + KEEP
  live_until(USER, last)
  if redis.call('EXISTS', LABELS) == 1 then
    live_until(LABELS, last)
  end
  if INDEXED then
    redis.call('ZADD', INDEX, int(NOW), field)
    live_until(INDEX, last)
  end
  prune()
  return successor('rotated')
end

end_session(field, r)
prune()
return { NONCE, 'reused', NOW }
