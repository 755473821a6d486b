-- KEYS: one for each who asks; its value is the time (seconds UTC) when he is as if he had never
-- asked. ARGV: for each the seconds in which one piece grows back, how many there may be at once,
-- and how many are taken (less than nothing: given back).
-- For each the seconds to wait, as text; '0' where it was taken.
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1000000
local waits = {}
for i, key in ipairs(KEYS) do
  local each, most, count = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
  local rested = math.max(tonumber(redis.call('GET', key) or '0'), now) + count * each
  local wait = rested - now - most * each
  if count > 0 and wait > 0.001 then
    waits[i] = tostring(wait)
  else
    local left = math.ceil((rested - now) * 1000)
    if left > 0 then
      redis.call('SET', key, string.format('%.6f', rested), 'PX', left)
    else
      redis.call('DEL', key)
    end
    waits[i] = '0'
  end
end
return waits
