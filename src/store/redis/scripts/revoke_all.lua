
-- Ends all sessions of a user except one: sets a generation above theirs. Reads at most 128 fields.
-- ARGV: 9 field of the session that stays ('' for none).
local field = ARGV[9]
-- The store refuses logins that began at `r` or earlier. A call that ends no session renews `r`
-- only if `r` is at least LONGEST_LOGIN ms old. If each call renewed `r`, a caller could block all
-- logins of a user by calls in quick succession. If no call renewed `r`, a login that began before
-- a password change could succeed after it.
local LONGEST_LOGIN = 10000

local kept = field ~= '' and decode(redis.call('HGET', USER, field))
if kept and not alive(kept) then
  kept = false
end

local last = last_end_of_all()
local is_last = last and last.is_last
local spared = is_last and last.field ~= '' and last.field ~= field and decode(redis.call('HGET', USER, last.field))
if spared and not alive(spared) then
  spared = false
end
if is_last and not spared then
  if NOW - ALL_REVOKED >= LONGEST_LOGIN then
    redis.call('HSET', USER, 'r', int(NOW))
    live_until(USER, NOW + KEEP)
  end
  return unchanged(last.sequence, 'u', SUBJECT, sid_of(last.field), int(GENERATION), NOW + KEEP)
end

-- `found` is exact for a user with few fields. A search of many fields would take too long. `found`
-- is then true if a session may be alive.
local found
if redis.call('HLEN', USER) <= 128 then
  found = false
  local all = redis.call('HGETALL', USER)
  for i = 1, #all, 2 do
    local r = is_session(all[i]) and all[i] ~= field and decode(all[i + 1])
    found = found or (r and alive(r))
  end
else
  found = is_last or HIGHEST > 0
end

end_all(math.max(GENERATION, HIGHEST, NOW) + 1, NOW, field, kept, ':')
prune()
return revoked(found)
