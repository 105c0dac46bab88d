
-- Republishes a `revoke_all` with its original generation. A new generation would end the sessions
-- that were opened since. Reads one record and the fields that it prunes.
--
-- The generation is at least one above the time of that `revoke_all`. So the store refuses logins
-- that began before the `revoke_all`. It admits logins that begin after this republication. The new
-- entry lasts for `keep`, so longer than the lost entry. If the loss of data made ended sessions
-- alive again, nodes may have minted tokens for them since. ARGV: 9 generation, 10 field of the
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
