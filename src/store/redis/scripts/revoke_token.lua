
-- Revokes one access token.   ARGV: 8 jti, 9 until.
local jti, till = ARGV[8], tonumber(ARGV[9])
local mark = '!' .. jti
local known = tonumber(redis.call('HGET', USER, mark) or '0') or 0
redis.call('HSET', USER, mark, int(math.max(known, till)))
live_until(USER, math.max(NOW + KEEP, known, till))
emit('t', SUBJECT, jti, '', till)
prune()
return revoked(known <= NOW and till > NOW)
