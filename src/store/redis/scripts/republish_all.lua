
-- Republishes a `revoke_all` with its original generation, because a new generation would end the
-- sessions that were opened since. Reads one record and the fields that it prunes.
--
-- The new `r` is at least the time of that `revoke_all`, and at most the present time. So the store
-- refuses logins that began before that `revoke_all`, and admits logins that begin after this
-- script. The new entry lasts for `keep`, so longer than the lost entry. The loss may have made
-- ended sessions alive again, and nodes may have minted tokens for them. ARGV: 9 generation, 10
-- field of the session that stays ('' for none), 11 until.
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
