
-- A user's sessions. KEYS: 3 user, 4 labels, 5 index. ARGV: 8 subject.
--
-- Redis runs one script at a time. So each script looks at a bounded number of fields, however many
-- the user has. COUNT bounds a page of HSCAN, except for a hash in the compact encoding: there the
-- server's hash-max-listpack-entries does.
local USER, LABELS, INDEX, SUBJECT = KEYS[3], KEYS[4], KEYS[5], ARGV[8]

local fences = redis.call('HMGET', USER, 'g', 'o', 'r', 'e', 'x', 'l')
-- The lowest generation that is alive, the highest that any session had, and the time by which a
-- login must not have begun.
local GENERATION, HIGHEST = tonumber(fences[1] or '0'), tonumber(fences[2] or '0')
local ALL_REVOKED = tonumber(fences[3] or '-1')
-- The progress of the index of live sessions: false without any cap, 'done', or a cursor of HSCAN.
local INDEXED = fences[5]
-- The time and the nonce of the user's last log entry; false if none was noted.
local LAST = fences[6]
if not (GENERATION and HIGHEST and ALL_REVOKED) then
  return { NONCE, 'untrusted', NOW }
end

-- `Record` in keys.rs describes the layout.
local RECORD, RECORD_SIZE = '>c8I8I8I8I8I8I4B', 53

local function encode(r)
  return struct.pack(RECORD, r.tag, r.generation, r.opened, r.absolute, r.refresh, r.rotated, r.counter, r.flags)
end

-- Returns the record, or nil if there is none or if it cannot be read.
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

-- Returns true if a session has ended and the log does not have its end. A sequence above the
-- newest one belongs to a log that was lost together with its `m`.
local function is_unlogged(r)
  return was_revoked(r) and (r.flags < LOGGED or r.absolute > SEQUENCE)
end

local function alive(r)
  return not was_revoked(r) and r.generation >= GENERATION and NOW < r.refresh
end

-- keys.rs: 'g', 'o', 'r', 'e', 'x', 'c', 'l' are no sessions, '!' starts the mark of a token, '='
-- escapes a session's id.
local function is_session(field)
  return #field > 1 and string.sub(field, 1, 1) ~= '!'
end

local function sid_of(field)
  if string.sub(field, 1, 1) == '=' then
    return string.sub(field, 2)
  end
  return field
end

-- Writes a log entry of this user, and notes its time and nonce for the user's next tokens.
local function tell(kind, object, extra, till)
  emit(kind, SUBJECT, object, extra, till)
  LAST = int(AT) .. '.' .. HEAD
  redis.call('HSET', USER, 'l', LAST)
end

-- Returns the time and the nonce of the user's last entry, or two empty texts once every node must
-- have applied it. Two servers' clocks may differ by 2 s (`RevocationLog::clock_margin`), and a
-- node's clock may be slower by a thousandth.
local function last_entry()
  local at, nonce = string.match(LAST or '', '^(%d+)%.(.+)$')
  local known_after = 2000 + (MAX_STALENESS + MAX_FAILOVER) * 1.001
  if not at or MAX_STALENESS == 0 or NOW > tonumber(at) + known_after then
    return '', ''
  end
  return at, nonce
end

-- Logs the end of a session, then notes the entry's sequence in the record, in place of the
-- absolute end. If the first step fails (a missing right), the session is dead nevertheless, and
-- the next script that reads it logs its end.
local function log_end(field, r)
  tell('s', sid_of(field), '', NOW + KEEP)
  r.flags, r.absolute = REVOKED + LOGGED, SEQUENCE
  redis.call('HSET', USER, field, encode(r))
end

-- Ends a session. Its record stays, to distinguish a revoked session from an unknown one.
local function end_session(field, r)
  r.flags, r.rotated = r.flags + REVOKED, NOW
  r.refresh, r.absolute = math.min(r.refresh, NOW), math.min(r.absolute, NOW)
  redis.call('HSET', USER, field, encode(r))
  redis.call('HDEL', LABELS, field)
  live_until(USER, NOW + KEEP)
  log_end(field, r)
  -- Last: the next eviction finds a session in the index whose end could not be logged.
  if INDEXED then
    redis.call('ZREM', INDEX, field)
  end
end

-- Adds the live sessions among these fields and values to the index.
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
  -- Lua's stack limits the arguments of one call.
  for i = 1, #members, 1000 do
    redis.call('ZADD', INDEX, unpack(members, i, math.min(i + 999, #members)))
  end
  if #members > 0 then
    live_until(INDEX, last + KEEP)
  end
end

-- Makes the record of an ended session that the store does not know.
local function tombstone(tag)
  return {
    tag = tag, generation = GENERATION, opened = NOW, absolute = NOW, refresh = NOW, rotated = NOW, counter = 0,
    flags = 0,
  }
end

-- Reads a token's mark: the end of its revocation, and the sequence of its entry (nil in the form
-- of layout 1). Returns nil if there is none or if it cannot be read.
local function read_mark(value)
  local till, sequence = string.match(value or '', '^(%d+)%.?(%d*)$')
  return tonumber(till), tonumber(sequence)
end

-- Reads the last revocation of all sessions, if its entry is in the log: the entry's sequence, the
-- field of the session that was kept ('' for none), and true if no session was opened since.
-- Otherwise returns nil.
local function last_end_of_all()
  local sequence, generation, is_last, field = string.match(fences[4] or '', '^(%d+)%.(%d+)([:;])(.*)$')
  sequence = tonumber(sequence)
  if not sequence or tonumber(generation) ~= GENERATION or sequence > SEQUENCE then
    return nil
  end
  return { sequence = sequence, field = field, is_last = is_last == ':' }
end

-- Ends all sessions of a lower generation but `kept` (a live record at `field`, or false), and logs
-- it. The user's hash stays: the marks of single tokens must outlive this. `state` is ':' if no
-- other session is alive then, else ';'.
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
  -- Last: it proves that the entry is in the log.
  redis.call('HSET', USER, 'e', int(SEQUENCE) .. '.' .. int(generation) .. state .. field)
end

-- Returns true if a field is no longer needed. An ended record is kept for `keep` more.
local function is_over(field, value)
  if not is_session(field) then
    return string.sub(field, 1, 1) == '!' and (read_mark(value) or 0) <= NOW
  end
  local r = decode(value)
  return not r or math.max(r.refresh, r.rotated) + KEEP <= NOW
    or (r.generation < GENERATION and GENERATION + KEEP <= NOW)
end

-- Removes a few fields that are over, and adds live sessions that the index lacks (a restored
-- backup, a script that failed half-way). No content of the fields makes the script fail.
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
