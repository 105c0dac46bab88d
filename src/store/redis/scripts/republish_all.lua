
-- Puts back a generation that may have been lost. Never a new one, which would end the sessions that were opened since.
--
-- revoke_all set the generation one above its own time, at least: so logins that began by then are refused, and later
-- ones are not. Logged for `keep`, not only for as long as the entry that was lost: where sessions came back alive, tokens
-- were minted since.   ARGV: 9 generation, 10 field of the session that stays ('' for none), 11 until.
local generation, field = tonumber(ARGV[9]), ARGV[10]
if tonumber(ARGV[11]) <= NOW or generation <= GENERATION then
  return republished()
end
local kept = field ~= '' and decode(redis.call('HGET', USER, field))
if kept and not alive(kept) then
  kept = false
end
redis.call('HSET', USER, 'g', int(generation), 'r', int(math.max(ALL_REVOKED, math.min(NOW, generation - 1))))
live_until(USER, NOW + KEEP)
if kept and kept.generation < generation then
  kept.generation = generation
  redis.call('HSET', USER, field, encode(kept), 'o', int(math.max(HIGHEST, generation)))
end
emit('u', SUBJECT, kept and sid_of(field) or '', int(generation), NOW + KEEP)
GENERATION = generation
prune()
return republished()
