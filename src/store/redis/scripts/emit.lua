
-- Writes the log: first the entry, then `m`, which counts it. In the other order, a failure in
-- between would leave a number without entry, a hole for ever: Redis keeps the earlier writes of a
-- failed script. So the script deletes an entry that `m` cannot count. The nudge comes last and may
-- fail (no right to the channel).
--
-- Times in the log never go back. Otherwise the time of a predecessor would not bound the entries
-- lost before it. MOST bounds the memory of the log, because revocations are written even out of
-- memory. A reader sees the hole by the chain, and asks the store about older tokens.
local MOST = 1000000
local emitted, told = 0, nil

-- Counts the newest entry if it follows the last one that `m` counts. A script of an older version,
-- or one that could not delete its entry, may have ended between entry and `m`. Otherwise the next
-- entry would have the same number and predecessor. Every reader would then see a broken chain for
-- as long as the log holds both.
local function adopt()
  local newest = redis.pcall('XREVRANGE', LOG, '+', '-', 'COUNT', 1)
  if newest.err or not newest[1] then
    return
  end
  local entry = {}
  for i = 1, #newest[1][2], 2 do
    entry[newest[1][2][i]] = newest[1][2][i + 1]
  end
  local at = tonumber(entry.at)
  if tonumber(entry.seq) == SEQUENCE + 1 and entry.prev == HEAD and entry.nonce and at then
    SEQUENCE, HEAD, AT = SEQUENCE + 1, entry.nonce, at
  end
end

local function emit(kind, subject, object, extra, till)
  emitted = emitted + 1
  local nonce = NONCE
  if emitted > 1 then
    nonce = NONCE .. '.' .. emitted
  else
    adopt()
  end
  local at = math.max(NOW, AT)
  local id = redis.call('XADD', LOG, 'MINID', '~', int(math.max(NOW - KEEP, 0)), '*', 'seq', int(SEQUENCE + 1),
    'nonce', nonce, 'prev', HEAD, 'prev_at', int(AT), 'at', int(at), 'kind', kind, 'sub', subject, 'obj', object,
    'extra', extra, 'until', int(till))
  local counted = redis.pcall('HSET', META, 'seq', int(SEQUENCE + 1), 'head', nonce, 'at', int(at))
  if type(counted) == 'table' and counted.err then
    redis.pcall('XDEL', LOG, id)
    error(counted)
  end
  SEQUENCE, HEAD, AT, told = SEQUENCE + 1, nonce, at, { kind, subject, object, extra, int(till) }
  -- From here on, errors are ignored: a log that lives longer than needed, or is longer, does no
  -- harm.
  pcall(live_until, LOG, NOW + KEEP)
  redis.pcall('XTRIM', LOG, 'MAXLEN', '~', MOST)
  redis.pcall('SPUBLISH', ARGV[6], int(SEQUENCE))
end

-- Answers a revocation. After seven fields come the five of its log entry, and MAX_FAILOVER.
local function revoked(found)
  local answer = { NONCE, 'ok', NOW, found and 1 or 0, INCARNATION, SEQUENCE, MAX_STALENESS, unpack(told) }
  answer[#answer + 1] = MAX_FAILOVER
  return answer
end

-- Answers a revocation that would change nothing, with the entry that the log has already.
local function unchanged(sequence, kind, subject, object, extra, till)
  return {
    NONCE, 'ok', NOW, 0, INCARNATION, sequence, MAX_STALENESS, kind, subject, object, extra, int(till), MAX_FAILOVER,
  }
end

local function republished()
  return { NONCE, 'ok', NOW }
end
