
-- Writes a revocation to the log: first the entry, then its number, nonce and time to `m`, and last
-- the nudge. If a script fails, Redis keeps its earlier writes. If `m` came first, a failure could
-- leave a number in `m` whose entry is missing for ever. If the write to `m` fails, the script
-- deletes the entry. The nudge may fail, because it needs a right that is optional.
--
-- Times in the log never decrease. So no entry is older than the entries before it, even if the log
-- has lost those.
--
-- MOST is the maximum number of entries. It limits the memory, because revocations write entries
-- even if the server is out of memory. If the log lost an entry, each later reader finds that the
-- next entry names an absent predecessor. The reader then asks the store about older tokens.
local MOST = 1000000
-- The number of entries that this call has written, and the fields of the last one.
local emitted, told = 0, nil

-- Updates SEQUENCE, HEAD and AT if a failed script wrote one more entry to the log than to `m`.
-- Without this function, the next entry would get the same number and predecessor as that entry.
-- Every reader would then find a break, for as long as the log has both entries.
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
  -- The script ignores errors of the remaining steps. At worst the log is too long, lives too long,
  -- or loses a nudge. None of these does harm.
  pcall(live_until, LOG, NOW + KEEP)
  redis.pcall('XTRIM', LOG, 'MAXLEN', '~', MOST)
  redis.pcall('SPUBLISH', ARGV[6], int(SEQUENCE))
end

-- Returns the answer to a revocation: seven fields, five fields of its log entry, and MAX_FAILOVER.
local function revoked(found)
  local answer = { NONCE, 'ok', NOW, found and 1 or 0, INCARNATION, SEQUENCE, MAX_STALENESS, unpack(told) }
  answer[#answer + 1] = MAX_FAILOVER
  return answer
end

-- Returns the answer to a revocation that changes nothing: the same fields, of the existing entry.
local function unchanged(sequence, kind, subject, object, extra, till)
  return {
    NONCE, 'ok', NOW, 0, INCARNATION, sequence, MAX_STALENESS, kind, subject, object, extra, int(till), MAX_FAILOVER,
  }
end

local function republished()
  return { NONCE, 'ok', NOW }
end
