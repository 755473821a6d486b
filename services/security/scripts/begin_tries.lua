-- KEYS: for each count its failures, and its tries under way. ARGV: the try's id, the milliseconds
-- that it holds its places unless it is kept; for each count its limit of failures.
-- Begins a try under all of them, or under none: {'go'}, {'wait', which} while tries under way may
-- still fill that count, or {'over', milliseconds until it is, whether we are the first to be told}.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local id, hold = ARGV[1], tonumber(ARGV[2])
local function failed(i) return tonumber(redis.call('HGET', KEYS[2 * i - 1], 'failed') or '0') end
for i = 1, #KEYS / 2 do
  if failed(i) >= tonumber(ARGV[2 + i]) then
    local key = KEYS[2 * i - 1]
    return {'over', redis.call('PTTL', key), redis.call('HSETNX', key, 'told', 1)}
  end
end
for i = 1, #KEYS / 2 do
  redis.call('ZREMRANGEBYSCORE', KEYS[2 * i], '-inf', now)
  if failed(i) + redis.call('ZCARD', KEYS[2 * i]) >= tonumber(ARGV[2 + i]) then
    return {'wait', i}
  end
end
for i = 1, #KEYS / 2 do
  redis.call('ZADD', KEYS[2 * i], now + hold, id)
  redis.call('PEXPIRE', KEYS[2 * i], hold)
end
return {'go'}
