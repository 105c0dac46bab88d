
-- Ends a session whose end the store may have lost. A record that was lost is made again, ended, so
-- that of many nodes that republish it only the first writes. Logged for `keep`, not only for as
-- long as the entry that was lost: if the record came back alive, tokens were minted since. Looks
-- at one record and a page of pruning.
-- ARGV: 9 field, 10 tag, 11 until.
local field = ARGV[9]
if tonumber(ARGV[11]) <= NOW then
  return republished()
end
local r = decode(redis.call('HGET', USER, field))
if r and is_unlogged(r) then
  log_end(field, r)
elseif not (r and (was_revoked(r) or (r.generation < GENERATION and last_end_of_all()))) then
  end_session(field, r or tombstone(ARGV[10]))
end
prune()
return republished()
