
-- Republishes the denial of a token, session or subject of another issuer. Reads one key.
-- KEYS: 3 d. ARGV: 8 hash of the id, 9 until, 10 the moment of the denial ('' for a token).
local hash, wanted, before = ARGV[8], tonumber(ARGV[9]), ARGV[10]
local known, sequence = read_denial(redis.call('GET', KEYS[3]))
local kept = known and redis.call('PEXPIRETIME', KEYS[3]) or 0
local moment = math.max(known or 0, tonumber(before) or 0)
local is_known = known and (before == '' or known == moment) and kept >= wanted and sequence and sequence <= SEQUENCE
if wanted <= NOW or is_known then
  return republished()
end
if before ~= '' then
  before = int(moment)
end
deny(hash, before == '' and '1' or before, before, math.max(wanted, kept, NOW + KEEP))
return republished()
