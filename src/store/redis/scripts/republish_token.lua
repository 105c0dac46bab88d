
-- Marks an access token whose mark may have been lost.   ARGV: 9 jti, 10 until.
local jti, till = ARGV[9], tonumber(ARGV[10])
local mark = '!' .. jti
local known = tonumber(redis.call('HGET', USER, mark) or '0') or 0
if till <= NOW or till <= known then
  return republished()
end
redis.call('HSET', USER, mark, int(till))
live_until(USER, math.max(NOW + KEEP, till))
emit('t', SUBJECT, jti, '', till)
prune()
return republished()
