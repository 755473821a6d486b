-- The answer to a probe that was no refusal.
-- KEYS: the API's block, the names of the APIs that are blocked, when a block behind this address
-- last ended. ARGV: the API's name, 1 if the call passed, what came back.
-- A call that passes ends the block, for every process. What else is blocked behind the same address
-- may be tried at once then. A call without a readable answer leaves the place to the next probe.
local time = redis.call('time')
local at = string.format('%.6f', tonumber(time[1]) + tonumber(time[2]) / 1000000)
if redis.call('exists', KEYS[1]) == 0 then return 0 end
if ARGV[2] == '1' then
  redis.call('del', KEYS[1])
  redis.call('srem', KEYS[2], ARGV[1])
  redis.call('set', KEYS[3], at, 'EX', 86400)
  return 1
end
redis.call('hset', KEYS[1], 'refused', at, 'probing', 0, 'probed', at, 'answer', ARGV[3])
return 0
