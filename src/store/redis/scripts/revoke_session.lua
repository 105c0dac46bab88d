
-- Ends one session, and logs it unless the log has its end already. An absent session is logged
-- too: its record may have been lost while its tokens live. The script creates the record, ended,
-- so that a repetition changes nothing. Looks at one record and a page of pruning. ARGV: 9 field,
-- 10 tag.
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
  -- Also an expired session: nodes may accept its access tokens within the leeway.
  end_session(field, r or tombstone(tag))
end
prune()
return revoked(found)
