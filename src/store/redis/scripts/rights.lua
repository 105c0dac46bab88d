-- Returns the commands of the scripts and the reads that the user has no right to, and those that
-- the server does not know. Names each once. Writes nothing.
--
-- KEYS: 1 m, 2 log, 3 user, 4 labels, 5 denied, 6 index. ARGV: 1 nonce; 2-7 as in meta.lua, unused
-- here.
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local META, LOG, USER, LABELS, DENIED, INDEX = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6]
local missing, unknown, named = {}, {}, {}
for _, command in ipairs({
  { 'TIME' }, { 'ROLE' },
  { 'HMGET', META, 'inc' }, { 'HSET', META, 'inc', '' }, { 'PERSIST', META },
  { 'XADD', LOG, '*', 'seq', '1' }, { 'XTRIM', LOG, 'MAXLEN', '1' }, { 'XRANGE', LOG, '-', '+' }, { 'DEL', LOG },
  { 'XREVRANGE', LOG, '+', '-' }, { 'XDEL', LOG, '0-1' },
  { 'PEXPIRETIME', USER }, { 'PEXPIREAT', USER, '1' },
  { 'HGET', USER, 'g' }, { 'HMGET', USER, 'g' }, { 'HSET', USER, 'g', '1' }, { 'HDEL', USER, 'g' },
  { 'HEXISTS', USER, 'g' }, { 'HGETALL', USER }, { 'HLEN', USER }, { 'HSCAN', USER, '0' },
  { 'EXISTS', LABELS }, { 'HGET', LABELS, 'x' }, { 'HSET', LABELS, 'x', '' }, { 'HDEL', LABELS, 'x' },
  { 'GET', DENIED }, { 'SET', DENIED, '1' },
  { 'ZADD', INDEX, '1', 'x' }, { 'ZRANGE', INDEX, '0', '1' }, { 'ZREM', INDEX, 'x' }, { 'ZCARD', INDEX },
  { 'UNLINK', INDEX },
}) do
  local name = string.lower(command[1])
  -- `acl_check_cmd` raises an error for a command that the server does not know.
  local is_known, is_allowed = pcall(redis.acl_check_cmd, unpack(command))
  if not (is_known and is_allowed) and not named[name] then
    named[name] = true
    table.insert(is_known and missing or unknown, name)
  end
end
return { ARGV[1], 'ok', now, missing, unknown }
