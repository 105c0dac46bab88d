
-- A user's sessions.   KEYS: 3 user, 4 labels.   ARGV: 8 subject.
local USER, LABELS, SUBJECT = KEYS[3], KEYS[4], ARGV[8]

local fences = redis.call('HMGET', USER, 'g', 'o', 'r')
-- The first generation that is alive, the highest that was ever given to a session, and when all were revoked.
local GENERATION, HIGHEST = tonumber(fences[1] or '0'), tonumber(fences[2] or '0')
local ALL_REVOKED = tonumber(fences[3] or '-1')
if not (GENERATION and HIGHEST and ALL_REVOKED) then
  return { NONCE, 'untrusted', NOW }
end

-- record.rs says what stands where.
local RECORD, RECORD_SIZE = '>c8I8I8I8I8I8I4B', 53

local function encode(r)
  return struct.pack(RECORD, r.tag, r.generation, r.opened, r.absolute, r.refresh, r.rotated, r.counter, r.flags)
end

-- The record, or nil if there is none or if it cannot be read.
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

local function is_unlogged(r)
  return was_revoked(r) and r.flags < LOGGED
end

local function alive(r)
  return not was_revoked(r) and r.generation >= GENERATION and NOW < r.refresh
end

-- keys.rs: 'g', 'o', 'r', 'c' are ours, '!' starts the mark of a token, '=' escapes a session's id.
local function is_session(field)
  return #field > 1 and string.sub(field, 1, 1) ~= '!'
end

local function sid_of(field)
  if string.sub(field, 1, 1) == '=' then
    return string.sub(field, 2)
  end
  return field
end

-- Logs the end of a session, and that it is logged: if the first fails (a right that is missing), the session is dead
-- all the same, and whoever looks at it next logs it.
local function log_end(field, r)
  emit('s', SUBJECT, sid_of(field), '', NOW + KEEP)
  r.flags = r.flags + LOGGED
  redis.call('HSET', USER, field, encode(r))
end

-- Ends a session. Its record stays, as large as it was, to tell a revoked session from an unknown one.
local function end_session(field, r)
  r.flags, r.rotated = r.flags + REVOKED, NOW
  r.refresh, r.absolute = math.min(r.refresh, NOW), math.min(r.absolute, NOW)
  redis.call('HSET', USER, field, encode(r))
  redis.call('HDEL', LABELS, field)
  live_until(USER, NOW + KEEP)
  log_end(field, r)
end

-- Whether a field has nothing more to tell. What has ended is known for `keep` more.
local function is_over(field, value)
  if not is_session(field) then
    return string.sub(field, 1, 1) == '!' and (tonumber(value) or 0) <= NOW
  end
  local r = decode(value)
  return not r or r.refresh + KEEP <= NOW or (r.generation < GENERATION and GENERATION + KEEP <= NOW)
end

-- Removes a few fields that are over. Whatever stands in them, it never makes the script fail.
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
      end
    end
    if page[1] ~= cursor then
      redis.call('HSET', USER, 'c', page[1])
    end
  end)
  if not pruned then
    redis.call('HDEL', USER, 'c')
  end
end
