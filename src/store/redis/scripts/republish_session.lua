
-- Republishes the end of a session. If the store has lost the record, the script writes the record
-- of an ended session. Other nodes that republish the same end find this record, and write nothing.
-- The new entry lasts for `keep`, so longer than the lost entry. The loss may have made the session
-- alive again, and nodes may have minted tokens for it. Reads one record and the fields that it
-- prunes. ARGV: 9 field, 10 tag, 11 until.
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
