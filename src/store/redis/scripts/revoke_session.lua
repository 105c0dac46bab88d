
-- Ends one session, and logs it even if there was nothing to end: a record that was lost is still alive elsewhere, in
-- the tokens.   ARGV: 9 field.
local field = ARGV[9]
local text = redis.call('HGET', USER, field)
local r = decode(text)
local found = r and alive(r)
if found then
  end_session(field, r)
elseif r and is_unlogged(r) then
  log_end(field, r)
else
  if text and not r then
    redis.call('HDEL', USER, field)
    redis.call('HDEL', LABELS, field)
  end
  emit('s', SUBJECT, sid_of(field), '', NOW + KEEP)
end
prune()
return revoked(found)
