
-- Ends all sessions of a user but one, by a generation that none of them has. Nothing is unlinked: the marks of single
-- tokens must outlive it.   ARGV: 9 field of the session that stays ('' for none).
local field = ARGV[9]
local kept = field ~= '' and decode(redis.call('HGET', USER, field))
if kept and not alive(kept) then
  kept = false
end

-- Exact for as many fields as are quickly looked at. Beyond that: whether a session was opened since the last time, or
-- one was spared then that is not spared now.
local found
if redis.call('HLEN', USER) <= 128 then
  found = false
  local all = redis.call('HGETALL', USER)
  for i = 1, #all, 2 do
    local r = is_session(all[i]) and all[i] ~= field and decode(all[i + 1])
    found = found or (r and alive(r))
  end
else
  found = HIGHEST > GENERATION or (HIGHEST == GENERATION and HIGHEST > 0 and not kept)
end

GENERATION = math.max(GENERATION, HIGHEST, NOW) + 1
redis.call('HSET', USER, 'g', int(GENERATION), 'r', int(NOW))
live_until(USER, NOW + KEEP)
if kept then
  kept.generation = GENERATION
  redis.call('HSET', USER, field, encode(kept), 'o', int(GENERATION))
end
emit('u', SUBJECT, kept and sid_of(field) or '', int(GENERATION), NOW + KEEP)
prune()
return revoked(found)
