-- A drawn 45009: every process stops calling for a while.
-- KEYS: the API's counts. ARGV: seconds of the first block and of the longest.
-- Answers the milliseconds until the block ends. Answers that were under way when it began belong
-- to it; one drawn soon after its end makes the next block four times as long, since a limit longer
-- than a minute was met.
local time = redis.call('time')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local base, most = tonumber(ARGV[1]), tonumber(ARGV[2])
local seen = redis.call('hmget', KEYS[1], 'block', 'length')
local over, length = tonumber(seen[1]) or 0, tonumber(seen[2]) or 0
if over <= now then
  length = now - over < 2 * length and math.min(math.max(length * 4, base), most) or base
  over = now + length
  redis.call('hset', KEYS[1], 'block', string.format('%.6f', over), 'length', tostring(length))
  local keep = math.ceil(3 * length) + 60
  if redis.call('ttl', KEYS[1]) < keep then redis.call('expire', KEYS[1], keep) end
end
return math.ceil((over - now) * 1000)
