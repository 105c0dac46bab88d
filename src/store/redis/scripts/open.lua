
-- Opens a session. With a cap of sessions, the script reads at most 512 fields and 1000 members of
-- the index, and evicts at most 100 sessions. ARGV: 9 field, 10 tag, 11 idle, 12 absolute, 13 time
-- at which the login began ('' if unknown), 14 max sessions (0: no cap), 15 label. 16 is the time
-- before the first attempt if the client repeats the call ('' in the first attempt).
local field, tag, label = ARGV[9], ARGV[10], ARGV[15]
local idle, absolute, cap = tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[14])

-- Refuses a login that began before the last `revoke_all`, which is at ALL_REVOKED. `g` cannot
-- decide this, because `g` stays ahead if the clock was ahead once. If ALL_REVOKED is in the
-- future, the clock was set back since that `revoke_all`. The script then sets ALL_REVOKED to the
-- present time. So it refuses logins in progress, and admits later logins.
if ALL_REVOKED > NOW then
  ALL_REVOKED = NOW
  redis.call('HSET', USER, 'r', int(NOW))
end
if ARGV[13] ~= '' and ALL_REVOKED >= tonumber(ARGV[13]) then
  return { NONCE, 'superseded', NOW }
end
local present = redis.call('HGET', USER, field)
if present then
  -- If the client repeats the call, an earlier attempt may have opened this session after the call
  -- began. The repetition must not revive a session that has ended since.
  local r = ARGV[16] ~= '' and decode(present)
  if not r or r.tag ~= tag or r.counter ~= 0 or r.opened < tonumber(ARGV[16]) then
    return { NONCE, 'exists', NOW }
  end
  if not alive(r) then
    return { NONCE, 'superseded', NOW }
  end
  return { NONCE, 'opened', NOW, r.generation, r.refresh, {}, last_entry() }
end

-- The limits of the work in one login. The next logins do the remaining work.
local SMALL, PAGE, LOOKED_AT, MOST_LOOKED_AT, EVICTED = 512, 192, 200, 1000, 100

-- Builds the whole index if the user has few fields, otherwise one page of it.
local function build_index()
  local page, cursor
  if redis.call('HLEN', USER) <= SMALL then
    page, cursor = redis.call('HGETALL', USER), 'done'
  else
    local scanned = redis.pcall('HSCAN', USER, string.match(INDEXED or '', '^%d+$') or '0', 'COUNT', PAGE)
    if scanned.err then
      scanned = redis.call('HSCAN', USER, '0', 'COUNT', PAGE)
    end
    page, cursor = scanned[2], scanned[1] == '0' and 'done' or scanned[1]
  end
  index_live(page)
  redis.call('HSET', USER, 'x', cursor)
  INDEXED = cursor
  for i = 1, #page, 2 do
    local r = is_session(page[i]) and decode(page[i + 1])
    if r and is_unlogged(r) then
      log_end(page[i], r)
    end
  end
end

-- Ends the sessions whose last use is longest ago, until one more session fits under the cap.
-- Returns the ids of the ended sessions.
local function make_room()
  local fields = redis.call('ZRANGE', INDEX, 0, math.min(math.max(LOOKED_AT, cap + EVICTED), MOST_LOOKED_AT) - 1)
  if #fields == 0 then
    return {}
  end
  local values = redis.call('HMGET', USER, unpack(fields))
  local live, gone = {}, {}
  for i, member in ipairs(fields) do
    local r = decode(values[i])
    if r and alive(r) then
      live[#live + 1] = { field = member, record = r }
    else
      if r and is_unlogged(r) then
        log_end(member, r)
      end
      gone[#gone + 1] = member
    end
  end
  if #gone > 0 then
    redis.call('ZREM', INDEX, unpack(gone))
  end
  -- Counts the live sessions in `fields`, because the other members of the index may have expired.
  -- For a cap near MOST_LOOKED_AT or above, `fields` is too short. So the script then counts all
  -- members.
  local count = #live
  if cap + EVICTED > MOST_LOOKED_AT then
    count = redis.call('ZCARD', INDEX)
  end
  table.sort(live, function(a, b)
    if a.record.rotated ~= b.record.rotated then
      return a.record.rotated < b.record.rotated
    end
    if a.record.opened ~= b.record.opened then
      return a.record.opened < b.record.opened
    end
    return sid_of(a.field) < sid_of(b.field)
  end)
  local evicted = {}
  for i = 1, math.min(count - cap + 1, EVICTED, #live) do
    end_session(live[i].field, live[i].record)
    evicted[i] = sid_of(live[i].field)
  end
  return evicted
end

local evicted = {}
if cap > 0 then
  if INDEXED ~= 'done' then
    build_index()
  end
  evicted = make_room()
end

local record = {
  tag = tag, generation = math.max(NOW, GENERATION, HIGHEST), opened = NOW, absolute = later(absolute),
  refresh = math.min(later(idle), later(absolute)), rotated = NOW, counter = 0, flags = 0,
}
local fields = { field, encode(record), 'o', int(record.generation) }
local said, kept = string.match(fences[4] or '', '^([%d.]*):(.*)$')
if said then
  -- Replaces ':' by ';', because the new session is alive. So the next `revoke_all` has a session
  -- to end, and is no repetition of the last one.
  fields[5], fields[6] = 'e', said .. ';' .. kept
end
redis.call('HSET', USER, unpack(fields))
local last = math.max(NOW, record.refresh) + KEEP
live_until(USER, last)
if INDEXED then
  redis.call('ZADD', INDEX, int(NOW), field)
  live_until(INDEX, last)
end
if label ~= '' then
  redis.call('HSET', LABELS, field, label)
  live_until(LABELS, last)
end
prune()
return { NONCE, 'opened', NOW, record.generation, record.refresh, evicted, last_entry() }
