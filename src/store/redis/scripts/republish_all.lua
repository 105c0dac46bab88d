
-- Puts back a generation that may have been lost. Never a new one, which would end the sessions
-- that were opened since. Looks at one record and a page of pruning.
--
-- revoke_all set the generation one above its own time, at least. So logins that began by then are
-- refused, and later ones are not. Logged for `keep`, not only for as long as the entry that was
-- lost: if sessions came back alive, tokens were minted since.
-- ARGV: 9 generation, 10 field of the session that stays ('' for none), 11 until.
local generation, field = tonumber(ARGV[9]), ARGV[10]
if tonumber(ARGV[11]) <= NOW or generation <= GENERATION then
  return republished()
end
local kept = field ~= '' and decode(redis.call('HGET', USER, field))
if kept and not alive(kept) then
  kept = false
end
end_all(generation, math.max(ALL_REVOKED, math.min(NOW, generation - 1)), field, kept, ';')
prune()
return republished()
