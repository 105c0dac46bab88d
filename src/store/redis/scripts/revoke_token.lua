
-- Revokes one access token. Reads one mark and the fields that it prunes. ARGV: 9 jti, 10 until.
local jti, wanted = ARGV[9], tonumber(ARGV[10])
if wanted <= NOW then
  return unchanged(SEQUENCE, 't', SUBJECT, jti, '', wanted)
end
local mark = '!' .. jti
local known, sequence = read_mark(redis.call('HGET', USER, mark))
if known and known >= wanted and sequence and sequence <= SEQUENCE then
  return unchanged(sequence, 't', SUBJECT, jti, '', known)
end
-- The mark lasts for at least `keep`, because another node may accept the token for longer than the
-- caller does.
local till = math.max(wanted, known or 0, NOW + KEEP)
redis.call('HSET', USER, mark, int(till))
live_until(USER, till)
tell('t', jti, '', till)
redis.call('HSET', USER, mark, int(till) .. '.' .. int(SEQUENCE))
prune()
return revoked((known or 0) <= NOW)
