-- A drawn 45009: every process stops calling, but for one probe at a time.
-- KEYS: the API's block, the names of the APIs that are blocked. ARGV: the API's name, 1 if the call
-- that drew it was a probe, seconds of the first wait, the highest level of waiting, errcode, errmsg.
-- Answers for each lane the milliseconds until a call of it may be tried.
-- A wait ends nothing by itself: it is over when a call passes (answered.lua). Only a probe that is
-- refused after the wait makes the next one longer: a minute, an hour, until the platforms' midnight,
-- a month. Answers to calls that were under way when the block began belong to it.
-- Constants: PROBE, MOST1, MOST2, MOST3 (blocks.py).
local time = redis.call('time')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local name, probed, base, highest = ARGV[1], ARGV[2] == '1', tonumber(ARGV[3]), tonumber(ARGV[4])
local seen = redis.call('hmget', KEYS[1], 'over', 'level', 'refusals', 'refused')
local over, level = tonumber(seen[1]), tonumber(seen[2]) or 0
local refusals, refused = tonumber(seen[3]) or 0, tonumber(seen[4]) or 0
local at = string.format('%.6f', now)

local function wait()
  if level == 0 then return base end
  if level == 1 then return base * 60 end
  if level == 2 then return 86400 - (now + 28800) % 86400 end
  return 30 * 86400
end

if not over or probed then
  if not over then
    level, refusals = 0, 0
    redis.call('hset', KEYS[1], 'since', at)
  end
  if not over or now >= over then
    if over then level = math.min(level + 1, highest) end
    over = now + wait()
    redis.call('hset', KEYS[1], 'over', string.format('%.6f', over), 'level', level)
    redis.call('expire', KEYS[1], math.ceil(over - now) + 86400)
  end
  refusals, refused = refusals + 1, now
  redis.call('hset', KEYS[1], 'refusals', refusals, 'refused', at, 'probing', 0,
    'errcode', ARGV[5], 'errmsg', ARGV[6])
  if probed then redis.call('hset', KEYS[1], 'probed', at, 'answer', ARGV[5]) end
  redis.call('sadd', KEYS[2], name)
  local ends = math.max(redis.call('ttl', KEYS[1]), redis.call('ttl', KEYS[2]))
  redis.call('expire', KEYS[2], ends)
end
local waits = {}
for lane, most in ipairs({MOST1, MOST2, MOST3}) do
  local due = math.min(refused + math.min(PROBE * 2 ^ (refusals - 1), most), math.max(over, refused))
  waits[lane] = math.max(1, math.ceil((due - now) * 1000))
end
return waits
