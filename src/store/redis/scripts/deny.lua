
-- Denies a token, session or subject of another issuer. Reads one key. KEYS: 3 d. ARGV: 8 hash of
-- the id, 9 keep, 10 '1' for a token, '' for a session or subject.
local hash, keep, is_token = ARGV[8], tonumber(ARGV[9]), ARGV[10] == '1'
local known, sequence = read_denial(redis.call('GET', KEYS[3]))
local moment = math.max(known or 0, WINDOW_END)
local before = is_token and '' or int(moment)
local wanted = math.min(WINDOW_END + keep, END_OF_TIME)
if keep == 0 then
  return unchanged(SEQUENCE, 'f', '', hash, before, NOW)
end
local kept = known and redis.call('PEXPIRETIME', KEYS[3]) or 0
if known and (is_token or known == moment) and kept >= wanted and sequence and sequence <= SEQUENCE then
  return unchanged(sequence, 'f', '', hash, before, kept)
end
deny(hash, is_token and '1' or before, before, math.max(wanted, kept, NOW + KEEP))
return revoked(not known or (not is_token and known < NOW))
