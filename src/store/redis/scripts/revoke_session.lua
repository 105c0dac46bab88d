
-- Ends one session, and writes a log entry if the log does not have the session's end yet. If the
-- record is absent, the store may have lost it while tokens of the session are still valid. So the
-- script then writes a log entry and the record of an ended session. A repetition finds this record
-- and changes nothing. Reads one record and the fields that it prunes. ARGV: 9 field, 10 tag.
local field, tag = ARGV[9], ARGV[10]
local r = decode(redis.call('HGET', USER, field))
if r and r.tag ~= tag then
  r = nil
end
if r and was_revoked(r) and not is_unlogged(r) then
  return unchanged(r.absolute, 's', SUBJECT, sid_of(field), '', r.rotated + KEEP)
end
local all = last_end_of_all()
if r and not was_revoked(r) and r.generation < GENERATION and all then
  return unchanged(all.sequence, 'u', SUBJECT, sid_of(all.field), int(GENERATION), NOW + KEEP)
end
local found = r and alive(r)
if r and is_unlogged(r) then
  log_end(field, r)
else
  -- The session may be expired. Its end is logged too, because nodes may accept its access tokens
  -- within the leeway.
  end_session(field, r or tombstone(tag))
end
prune()
return revoked(found)
