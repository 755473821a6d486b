-- KEYS: tries under way, of each count. ARGV: a try's id, and for how many milliseconds more it holds
-- its places; one that has ended takes none again.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
for _, key in ipairs(KEYS) do
  redis.call('ZADD', key, 'XX', now + ARGV[2], ARGV[1])
  redis.call('PEXPIRE', key, ARGV[2])
end
