
-- Revokes something of another issuer's.   KEYS: 3 d.   ARGV: 8 hash, 9 keep, 10 '1' for a token, '' for what revokes all
-- tokens issued until now.
local hash, keep = ARGV[8], tonumber(ARGV[9])
local known, value, before, found = redis.call('GET', KEYS[3]), '1', '', nil
if ARGV[10] == '1' then
  found = not known
else
  local moment = math.max(tonumber(known or '0') or 0, NOW)
  value, before = int(moment), int(moment)
  found = tonumber(known or '0') ~= moment
end
redis.call('SET', KEYS[3], value, 'KEEPTTL')
live_until(KEYS[3], later(keep))
emit('f', '', hash, before, later(keep))
return revoked(found)
