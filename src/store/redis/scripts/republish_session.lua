
-- Republishes the end of a session. Creates a lost record anew, ended, so that of many nodes only
-- the first writes. The entry lasts for `keep`, longer than the lost one: if the record came back
-- alive, nodes may have minted tokens since. Looks at one record and a page of pruning. ARGV: 9
-- field, 10 tag, 11 until.
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
