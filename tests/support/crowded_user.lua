-- Fills the hash of a user: KEYS 1 the hash; ARGV 1 first, 2 last, 3 now; sessions that live for a day, and marks.
for n = tonumber(ARGV[1]), tonumber(ARGV[2]) do
  local now = tonumber(ARGV[3])
  local record = struct.pack('>c8I8I8I8I8I8I4B', 'tag-tag-', now, now - n, now + 86400000, now + 86400000, now - n, 0, 0)
  redis.call('HSET', KEYS[1], string.format('session-%014d', n), record,
    string.format('!session-%014d.0.a', n), string.format('%.0f.1', now + 86400000))
end
