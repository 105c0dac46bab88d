
-- The denials of other issuers' tokens, sessions and subjects. KEYS: 3 d.
--
-- A denial of a session or subject ends the tokens that were issued up to a moment: the end of the
-- current half second. So repeated calls for one id write at most two entries a second. A call also
-- ends the tokens that are issued after it in the same half second.
local WINDOW_END = (math.floor(NOW / 500) + 1) * 500 - 1

-- Parses the value of a denial. Returns its moment (1 for a token), and the sequence of its log
-- entry (nil if layout 1 wrote the value).
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
