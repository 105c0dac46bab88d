-- Returns a page of a user's sessions with their labels. Writes nothing. Reads about `limit`
-- fields. If the hash has the compact encoding, HSCAN reads all fields: at most the server's
-- hash-max-listpack-entries.
--
-- KEYS: 1 m, 2 log, 3 user, 4 labels.
-- ARGV: 1 nonce, 2 layout, 3 buckets, 4-7 unused here, 8 subject, 9 cursor, 10 limit.
local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000 + math.floor(tonumber(clock[2]) / 1000)
local meta = redis.call('HMGET', KEYS[1], 'layout', 'buckets')
if meta[1] and (meta[1] ~= ARGV[2] or meta[2] ~= ARGV[3]) then
  return { ARGV[1], 'layout', now, meta[1], meta[2] or '' }
end

local page = redis.call('HSCAN', KEYS[3], ARGV[9], 'COUNT', ARGV[10])
local found = {}
for i = 1, #page[2], 2 do
  local field = page[2][i]
  if #field > 1 and string.sub(field, 1, 1) ~= '!' then
    found[#found + 1] = field
    found[#found + 1] = page[2][i + 1]
    found[#found + 1] = redis.call('HGET', KEYS[4], field) or ''
  end
end
return { ARGV[1], 'ok', now, redis.call('HGET', KEYS[3], 'g') or '0', page[1], found }
