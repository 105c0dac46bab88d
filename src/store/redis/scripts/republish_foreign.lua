
-- Denies again something of another issuer's that may have been lost.   KEYS: 3 d.   ARGV: 8 hash, 9 until, 10 the moment
-- up to which tokens are dead, '' for a token.
local hash, till, before = ARGV[8], tonumber(ARGV[9]), ARGV[10]
local known = redis.call('GET', KEYS[3])
local moment = math.max(tonumber(known or '0') or 0, tonumber(before) or 0)
local is_known = known and (before == '' or tonumber(known) == moment) and redis.call('PEXPIRETIME', KEYS[3]) >= till
if till <= NOW or is_known then
  return republished()
end
if before ~= '' then
  before = int(moment)
end
redis.call('SET', KEYS[3], before == '' and '1' or before, 'KEEPTTL')
live_until(KEYS[3], till)
emit('f', '', hash, before, till)
return republished()
