
-- The denials of external ids. KEYS: 3 d.
--
-- The moment of a denial is the end of the current half second. So repeated calls for one id write
-- at most two entries a second, and each ends all tokens issued before it. A denial also ends
-- tokens issued later in its half second. For an issuer that writes `iat` in whole seconds this
-- changes nothing: such a token has the `iat` of the call.
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
