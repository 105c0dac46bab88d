
-- Functions on a user's sessions. KEYS: 3 user, 4 labels, 5 index. ARGV: 8 subject.
--
-- Redis runs one script at a time. So each script reads a limited number of fields, however many
-- the user has. COUNT limits a page of HSCAN. If the hash has the compact encoding, the page
-- contains all fields: at most the server's hash-max-listpack-entries.
local USER, LABELS, INDEX, SUBJECT = KEYS[3], KEYS[4], KEYS[5], ARGV[8]

local fences = redis.call('HMGET', USER, 'g', 'o', 'r', 'e', 'x', 'l')
-- The lowest generation that is not revoked, and the highest generation that any session had.
local GENERATION, HIGHEST = tonumber(fences[1] or '0'), tonumber(fences[2] or '0')
-- The time of the last `revoke_all`. A login must have begun after it.
local ALL_REVOKED = tonumber(fences[3] or '-1')
-- The progress of building the index of live sessions: 'done', or a cursor of HSCAN. False if there
-- is no index, because no login had a cap of sessions.
local INDEXED = fences[5]
-- The time and the nonce of the user's last log entry; false if the hash has none.
local LAST = fences[6]
if not (GENERATION and HIGHEST and ALL_REVOKED) then
  return { NONCE, 'untrusted', NOW }
end

-- `Record` in keys.rs describes the layout.
local RECORD, RECORD_SIZE = '>c8I8I8I8I8I8I4B', 53

local function encode(r)
  return struct.pack(RECORD, r.tag, r.generation, r.opened, r.absolute, r.refresh, r.rotated, r.counter, r.flags)
end

-- Parses a record. Returns nil if the record is absent or unreadable.
local function decode(text)
  if not text or #text ~= RECORD_SIZE then
    return nil
  end
  local read, tag, generation, opened, absolute, refresh, rotated, counter, flags = pcall(struct.unpack, RECORD, text)
  if not read then
    return nil
  end
  return {
    tag = tag, generation = generation, opened = opened, absolute = absolute, refresh = refresh, rotated = rotated,
    counter = counter, flags = flags,
  }
end

local REVOKED, LOGGED = 1, 2

local function was_revoked(r)
  return r.flags % 2 == 1
end

-- Returns true if a session was revoked and the log does not have its end. If the sequence in the
-- record is above the newest sequence, the store has lost the log entry.
local function is_unlogged(r)
  return was_revoked(r) and (r.flags < LOGGED or r.absolute > SEQUENCE)
end

local function alive(r)
  return not was_revoked(r) and r.generation >= GENERATION and NOW < r.refresh
end

-- Returns true if the field contains a session's record. Fields of one byte contain other data, and
-- '!' starts the field of a token's mark (keys.rs).
local function is_session(field)
  return #field > 1 and string.sub(field, 1, 1) ~= '!'
end

-- Returns the session's id in the name of a field. '=' escapes some ids (keys.rs).
local function sid_of(field)
  if string.sub(field, 1, 1) == '=' then
    return string.sub(field, 2)
  end
  return field
end

-- Writes a log entry about this user, and saves the entry's time and nonce. The user's new tokens
-- name this entry.
local function tell(kind, object, extra, till)
  emit(kind, SUBJECT, object, extra, till)
  LAST = int(AT) .. '.' .. HEAD
  redis.call('HSET', USER, 'l', LAST)
end

-- Returns the time and the nonce of the user's last entry. Returns two empty texts if every node
-- has applied the entry, or if no node decides without the store.
--
-- Every node has applied an entry that is older than `known_after` ms. 2000 ms are the largest
-- difference between two servers' clocks (`RevocationLog::clock_margin`). The factor 1.001 allows
-- for a node whose clock is 0.1 % slow.
local function last_entry()
  local at, nonce = string.match(LAST or '', '^(%d+)%.(.+)$')
  local known_after = 2000 + (MAX_STALENESS + MAX_FAILOVER) * 1.001
  if not at or MAX_STALENESS == 0 or NOW > tonumber(at) + known_after then
    return '', ''
  end
  return at, nonce
end

-- Logs the end of a revoked session. Then replaces the absolute end in the record with the entry's
-- sequence. If the first step fails, the session remains revoked, and the next script that reads
-- its record logs the end.
local function log_end(field, r)
  tell('s', sid_of(field), '', NOW + KEEP)
  r.flags, r.absolute = REVOKED + LOGGED, SEQUENCE
  redis.call('HSET', USER, field, encode(r))
end

-- Ends a session. The record stays, so that a check can distinguish a revoked session from an
-- unknown one.
local function end_session(field, r)
  r.flags, r.rotated = r.flags + REVOKED, NOW
  r.refresh, r.absolute = math.min(r.refresh, NOW), math.min(r.absolute, NOW)
  redis.call('HSET', USER, field, encode(r))
  redis.call('HDEL', LABELS, field)
  live_until(USER, NOW + KEEP)
  log_end(field, r)
  -- `ZREM` is the last step. If `log_end` fails, the session stays in the index, and the next
  -- eviction finds it there and logs its end.
  if INDEXED then
    redis.call('ZREM', INDEX, field)
  end
end

-- Adds live sessions to the index. `page` contains fields and values in turn.
local function index_live(page)
  local members, last = {}, 0
  for i = 1, #page, 2 do
    local r = is_session(page[i]) and decode(page[i + 1])
    if r and alive(r) then
      members[#members + 1] = int(r.rotated)
      members[#members + 1] = page[i]
      last = math.max(last, r.refresh)
    end
  end
  -- Lua's stack limits the number of arguments in a call.
  for i = 1, #members, 1000 do
    redis.call('ZADD', INDEX, unpack(members, i, math.min(i + 999, #members)))
  end
  if #members > 0 then
    live_until(INDEX, last + KEEP)
  end
end

-- Makes a record for an ended session whose record the store does not have.
local function tombstone(tag)
  return {
    tag = tag, generation = GENERATION, opened = NOW, absolute = NOW, refresh = NOW, rotated = NOW, counter = 0,
    flags = 0,
  }
end

-- Parses a token's mark. Returns the end of the revocation, and the sequence of its log entry (nil
-- if layout 1 wrote the mark). Returns nil if the mark is absent or unreadable.
local function read_mark(value)
  local till, sequence = string.match(value or '', '^(%d+)%.?(%d*)$')
  return tonumber(till), tonumber(sequence)
end

-- Parses field `e`, the last `revoke_all`. Returns the sequence of its log entry, the field of the
-- excepted session ('' for none), and `is_last`: true if no other session can be alive. Returns nil
-- if the field is absent, or if the store has lost the entry.
local function last_end_of_all()
  local sequence, generation, is_last, field = string.match(fences[4] or '', '^(%d+)%.(%d+)([:;])(.*)$')
  sequence = tonumber(sequence)
  if not sequence or tonumber(generation) ~= GENERATION or sequence > SEQUENCE then
    return nil
  end
  return { sequence = sequence, field = field, is_last = is_last == ':' }
end

-- Ends all sessions with a lower generation except `kept`, and writes a log entry. `kept` is the
-- live record in `field`, or false. The user's hash stays, because it also contains the marks of
-- revoked tokens. `state` is ':' if only `kept` can be alive afterwards, and ';' if another session
-- may be alive.
local function end_all(generation, revoked, field, kept, state)
  redis.call('HSET', USER, 'g', int(generation), 'r', int(revoked))
  live_until(USER, NOW + KEEP)
  if INDEXED and state == ':' then
    redis.call('UNLINK', INDEX)
    redis.call('HSET', USER, 'x', 'done')
    if kept then
      redis.call('ZADD', INDEX, int(kept.rotated), field)
      live_until(INDEX, kept.refresh + KEEP)
    end
  end
  if kept then
    if kept.generation < generation then
      kept.generation = generation
      redis.call('HSET', USER, field, encode(kept), 'o', int(math.max(HIGHEST, generation)))
    end
  else
    field = ''
  end
  tell('u', sid_of(field), int(generation), NOW + KEEP)
  GENERATION = generation
  -- `e` is the last write, because `e` proves that the log has the entry.
  redis.call('HSET', USER, 'e', int(SEQUENCE) .. '.' .. int(generation) .. state .. field)
end

-- Returns true if a field is no longer needed. The record of an ended session is needed for `keep`
-- after its end.
local function is_over(field, value)
  if not is_session(field) then
    return string.sub(field, 1, 1) == '!' and (read_mark(value) or 0) <= NOW
  end
  local r = decode(value)
  return not r or math.max(r.refresh, r.rotated) + KEEP <= NOW
    or (r.generation < GENERATION and GENERATION + KEEP <= NOW)
end

-- Prunes: reads a page of fields, and removes those for which `is_over` returns true. Also adds
-- live sessions that the index lacks after a restored backup or a failed script. Ignores errors, so
-- that no content of the fields makes the script fail.
local function prune()
  local pruned = pcall(function()
    local cursor = redis.call('HGET', USER, 'c') or '0'
    if not string.match(cursor, '^%d+$') then
      cursor = '0'
    end
    local page = redis.call('HSCAN', USER, cursor, 'COUNT', 16)
    for i = 1, #page[2], 2 do
      if is_over(page[2][i], page[2][i + 1]) then
        redis.call('HDEL', USER, page[2][i])
        redis.call('HDEL', LABELS, page[2][i])
        if INDEXED then
          redis.call('ZREM', INDEX, page[2][i])
        end
      end
    end
    if INDEXED then
      index_live(page[2])
    end
    if page[1] ~= cursor then
      redis.call('HSET', USER, 'c', page[1])
    end
  end)
  if not pruned then
    redis.call('HDEL', USER, 'c')
  end
end
