
-- Writes the log. First the entry, then what speaks of it: a script that fails half-way keeps its earlier writes, and
-- a number without its entry would be a hole for ever. The nudge comes last and may fail (no right to the channel).
--
-- Times in the log never go back, else the time of a predecessor would not bound what was lost before it. MOST bounds
-- the memory of a log that is written faster than it grows old, for revocations are written even out of memory: a
-- reader sees the hole by the chain, and asks the store about tokens of before.
local MOST = 1000000
local emitted, told = 0, nil
local function emit(kind, subject, object, extra, till)
  emitted = emitted + 1
  local nonce = NONCE
  if emitted > 1 then
    nonce = NONCE .. '.' .. emitted
  end
  local at = math.max(NOW, AT)
  redis.call('XADD', LOG, 'MINID', '~', int(math.max(NOW - KEEP, 0)), '*', 'seq', int(SEQUENCE + 1), 'nonce', nonce,
    'prev', HEAD, 'prev_at', int(AT), 'at', int(at), 'kind', kind, 'sub', subject, 'obj', object, 'extra', extra,
    'until', int(till))
  live_until(LOG, NOW + KEEP)
  SEQUENCE, HEAD, AT, told = SEQUENCE + 1, nonce, at, { kind, subject, object, extra, int(till) }
  redis.call('HSET', META, 'seq', int(SEQUENCE), 'head', HEAD, 'at', int(AT))
  redis.call('XTRIM', LOG, 'MAXLEN', '~', MOST)
  redis.pcall('SPUBLISH', ARGV[6], int(SEQUENCE))
end

-- Answers a revocation. After the seven: the five that the log says of it, and MAX_FAILOVER.
local function revoked(found)
  local answer = { NONCE, 'ok', NOW, found and 1 or 0, INCARNATION, SEQUENCE, MAX_STALENESS, unpack(told) }
  answer[#answer + 1] = MAX_FAILOVER
  return answer
end

-- Answers a revocation that would change nothing, with the entry that says so already.
local function unchanged(sequence, kind, subject, object, extra, till)
  return {
    NONCE, 'ok', NOW, 0, INCARNATION, sequence, MAX_STALENESS, kind, subject, object, extra, int(till), MAX_FAILOVER,
  }
end

local function republished()
  return { NONCE, 'ok', NOW }
end
