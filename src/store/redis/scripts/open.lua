
-- Opens a session.   ARGV: 9 field, 10 tag, 11 idle, 12 absolute, 13 began ('' if not told), 14 max sessions (0: no
-- cap), 15 label.
local field, tag, label = ARGV[9], ARGV[10], ARGV[15]
local idle, absolute, cap = tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[14])

-- Not by the generation: that may be far ahead, if the clock once was. A revocation that is to come was made before the
-- clock was put back, so at the latest now: logins that are under way are refused, and those that begin later are not.
if ALL_REVOKED > NOW then
  ALL_REVOKED = NOW
  redis.call('HSET', USER, 'r', int(NOW))
end
if ARGV[13] ~= '' and ALL_REVOKED >= tonumber(ARGV[13]) then
  return { NONCE, 'superseded', NOW }
end
if redis.call('HEXISTS', USER, field) == 1 then
  return { NONCE, 'exists', NOW }
end

-- With a cap everything is looked at, so what is looked at must be bounded: of ended sessions the newest DEAD stay, the
-- others become unknown, which is refused as well; and one call ends at most EVICTED, the next ones go on.
local DEAD, EVICTED = 64, 256
local evicted = {}
if cap > 0 then
  local live, dead = {}, {}
  local all = redis.call('HGETALL', USER)
  for i = 1, #all, 2 do
    local r = is_session(all[i]) and decode(all[i + 1])
    if r and alive(r) then
      live[#live + 1] = { field = all[i], record = r }
    elseif is_session(all[i]) then
      if r and is_unlogged(r) then
        log_end(all[i], r)
      end
      dead[#dead + 1] = { field = all[i], rotated = r and r.rotated or 0 }
    end
  end
  table.sort(dead, function(a, b) return a.rotated < b.rotated end)
  for i = 1, #dead - DEAD do
    redis.call('HDEL', USER, dead[i].field)
    redis.call('HDEL', LABELS, dead[i].field)
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
  for i = 1, math.min(#live - cap + 1, EVICTED) do
    end_session(live[i].field, live[i].record)
    evicted[i] = sid_of(live[i].field)
  end
end

local record = {
  tag = tag, generation = math.max(NOW, GENERATION, HIGHEST), opened = NOW, absolute = later(absolute),
  refresh = math.min(later(idle), later(absolute)), rotated = NOW, counter = 0, flags = 0,
}
local fields = { field, encode(record), 'o', int(record.generation) }
local said, kept = string.match(fences[4] or '', '^([^:]*):(.*)$')
if said then
  -- A revocation of all sessions has something to end from here on.
  fields[5], fields[6] = 'e', said .. ';' .. kept
end
redis.call('HSET', USER, unpack(fields))
local last = math.max(NOW, record.refresh) + KEEP
live_until(USER, last)
if label ~= '' then
  redis.call('HSET', LABELS, field, label)
  live_until(LABELS, last)
end
prune()
return { NONCE, 'opened', NOW, record.generation, record.refresh, evicted }
