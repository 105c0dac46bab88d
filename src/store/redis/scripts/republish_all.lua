
-- Republishes a `revoke_all` with its own generation: a new one would end the sessions that were
-- opened since. Looks at one record and a page of pruning.
--
-- The generation is at least one above the time of that `revoke_all`. So logins that began before
-- it are refused, and later ones are not. The entry lasts for `keep`, longer than the lost one: if
-- sessions came back alive, nodes may have minted tokens since. ARGV: 9 generation, 10 field of the
-- session that stays ('' for none), 11 until.
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
