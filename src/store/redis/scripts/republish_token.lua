
-- Republishes the revocation of an access token. Reads one mark and the fields that it prunes.
-- ARGV: 9 jti, 10 until.
local jti, wanted = ARGV[9], tonumber(ARGV[10])
local mark = '!' .. jti
local known, sequence = read_mark(redis.call('HGET', USER, mark))
if wanted <= NOW or (known and known >= wanted and sequence and sequence <= SEQUENCE) then
  return republished()
end
local till = math.max(wanted, known or 0, NOW + KEEP)
redis.call('HSET', USER, mark, int(till))
live_until(USER, till)
tell('t', jti, '', till)
redis.call('HSET', USER, mark, int(till) .. '.' .. int(SEQUENCE))
prune()
return republished()
