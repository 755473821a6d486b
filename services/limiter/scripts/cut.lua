-- A drawn 45033: half as many at once, and one more each REGROW seconds.
-- KEYS: the API's counts. ARGV: the most.
local time = redis.call('time')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local most = tonumber(ARGV[1])
local seen = redis.call('hmget', KEYS[1], 'at_once', 'cut')
local cut = tonumber(seen[2]) or 0
if now - cut < 1 then return 0 end
local at_once = math.min(most, (tonumber(seen[1]) or most) + math.floor((now - cut) / REGROW))
local half = math.max(2, math.floor(at_once / 2))
redis.call('hset', KEYS[1], 'at_once', half, 'cut', string.format('%.6f', now))
return 1
