-- The first part of every script that writes: reads the arguments and the time, makes a missing
-- bucket, and checks the layout.
--
-- KEYS: 1 m, 2 log. ARGV: 1 nonce, 2 layout, 3 buckets, 4 keep, 5 '<dmax>:<fmax>', 6 channel, 7
-- deadline ('' for none).
-- Every script returns: nonce, status, now, and the fields that belong to the status.
local META, LOG = KEYS[1], KEYS[2]
local NONCE = ARGV[1]

-- tostring() would write a time in milliseconds as 1.7e+12.
local function int(number)
  return string.format('%.0f', number)
end

local clock = redis.call('TIME')
local NOW = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)

-- The same as `Timestamp::END_OF_TIME`, the upper limit of all times.
local END_OF_TIME = 253402300800000
local function later(duration)
  return math.min(NOW + duration, END_OF_TIME)
end

-- The staleness and the failover bound of the calling node, in ms.
local DMAX, FMAX = string.match(ARGV[5], '^(%d+):(%d+)$')

local meta = redis.call('HMGET', META, 'inc', 'layout', 'buckets', 'seq', 'head', 'at', 'keep', 'born', 'dmax', 'fmax')
if not meta[1] then
  -- A new incarnation begins. Entries of an earlier incarnation do not belong to the new log.
  redis.call('DEL', LOG)
  meta = { NONCE, ARGV[2], ARGV[3], '0', NONCE, int(NOW), ARGV[4], int(NOW), DMAX, FMAX }
  redis.call('HSET', META, 'inc', meta[1], 'layout', meta[2], 'buckets', meta[3], 'seq', meta[4], 'head', meta[5],
    'at', meta[6], 'keep', meta[7], 'born', meta[8], 'dmax', meta[9], 'fmax', meta[10])
elseif meta[2] ~= ARGV[2] or meta[3] ~= ARGV[3] then
  return { NONCE, 'layout', NOW, meta[2] or '', meta[3] or '' }
end

local INCARNATION, BORN = meta[1], tonumber(meta[8])
local SEQUENCE, HEAD, AT = tonumber(meta[4]), meta[5], tonumber(meta[6])
local KEEP, MAX_STALENESS = tonumber(meta[7]), tonumber(meta[9])
-- A node of an earlier version does not write `fmax`.
local MAX_FAILOVER = tonumber(meta[10] or '0')
if not (BORN and SEQUENCE and HEAD and AT and KEEP and MAX_STALENESS and MAX_FAILOVER) then
  return { NONCE, 'untrusted', NOW }
end
if KEEP < tonumber(ARGV[4]) then
  redis.call('HSET', META, 'keep', ARGV[4])
  if SEQUENCE > 0 then
    -- `from` is the old `keep`: the traces of earlier revocations still expire after this time. If
    -- the last increase was less than the new `keep` ago, a lower `from` of that increase stays.
    local last, from = redis.call('HMGET', META, 'grew', 'from'), KEEP
    if tonumber(last[1]) and NOW < tonumber(last[1]) + tonumber(ARGV[4]) then
      from = math.min(from, tonumber(last[2]) or 0)
    end
    redis.call('HSET', META, 'grew', int(NOW), 'from', int(from))
  end
  KEEP = tonumber(ARGV[4])
end
if MAX_STALENESS < tonumber(DMAX) then
  MAX_STALENESS = tonumber(DMAX)
  redis.call('HSET', META, 'dmax', DMAX)
end
if MAX_FAILOVER < tonumber(FMAX) then
  MAX_FAILOVER = tonumber(FMAX)
  redis.call('HSET', META, 'fmax', FMAX)
end

if ARGV[7] ~= '' and NOW > tonumber(ARGV[7]) then
  return { NONCE, 'late', NOW }
end

-- Makes a key live at least until `at`. Never shortens the time to live.
local function live_until(key, at)
  if redis.call('PEXPIRETIME', key) < at then
    redis.call('PEXPIREAT', key, int(at))
  end
end
