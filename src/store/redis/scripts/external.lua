
-- The denials of another issuer's things. KEYS: 3 d.
--
-- A moment of denial is the end of the current half second. So repeated calls for one id write two
-- entries a second at most, and the tokens issued until each of them are dead. A token issued after
-- the call in that half second is refused too. `iat` has whole seconds, and the end is one
-- millisecond before the next half. So to an issuer that writes whole seconds this makes no
-- difference: the token would have the `iat` of the call.
local WINDOW_END = (math.floor(NOW / 500) + 1) * 500 - 1

-- Reads a value: the moment (1 for a token), and the sequence of its entry (nil in the form of
-- layout 1).
local function read_denial(value)
  local moment, sequence = string.match(value or '', '^(%d+)%.?(%d*)$')
  return tonumber(moment), tonumber(sequence)
end

local function deny(hash, value, before, till)
  redis.call('SET', KEYS[3], value, 'KEEPTTL')
  live_until(KEYS[3], till)
  emit('f', '', hash, before, till)
  redis.call('SET', KEYS[3], value .. '.' .. int(SEQUENCE), 'KEEPTTL')
end
