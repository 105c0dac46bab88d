
-- Revokes one access token.   ARGV: 9 jti, 10 until.
local jti, till = ARGV[9], tonumber(ARGV[10])
local mark = '!' .. jti
local known = tonumber(redis.call('HGET', USER, mark) or '0') or 0
redis.call('HSET', USER, mark, int(math.max(known, till)))
live_until(USER, math.max(NOW + KEEP, known, till))
emit('t', SUBJECT, jti, '', till)
prune()
return revoked(known <= NOW and till > NOW)
