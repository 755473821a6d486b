-- One question of one process about one API.
-- KEYS: the epoch, who waits, the API's block, when a block behind this address last ended, the
-- names of the APIs that are called, and for each meter (the API's, then the source address's) its
-- counts and its permits that are out.
-- ARGV: the question as JSON (gate.py: Gate._question).
-- Answers the epoch, the permits granted to each lane, for each lane that wants more, after how many
-- milliseconds there may be one (-1: it wants no more), and 1 if the permit is a probe's. An epoch
-- alone says that Redis has lost its memory since the asker last looked; an epoch and a number that
-- it has lost the end of it: what it heard from the asker after his question of that number.
-- While the API is blocked, nobody is let through but one probe at a time, at growing intervals, of
-- which each lane has its own longest: blocks.py has the same for a process without Redis.
-- Constants: BUCKETS, LATE, POLL, REGROW, ALIVE, ALIVE_MS, HEARD, HEARD_SECONDS (meters.py), PROBE,
-- MOST1, MOST2, MOST3, HOLD, LOOK (blocks.py).
local ask = cjson.decode(ARGV[1])
local epoch = redis.call('get', KEYS[1])
if not epoch then
  epoch = ask.fresh
  redis.call('set', KEYS[1], epoch)
end
if ask.known ~= '' and ask.known ~= epoch then return {epoch} end
local heard = HEARD .. ask.process .. ':' .. KEYS[2]
local last = tonumber(redis.call('get', heard)) or 0
if last < ask.heard then return {epoch, last} end
redis.call('set', heard, ask.number, 'EX', HEARD_SECONDS)
local time = redis.call('time')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local who = KEYS[2]

local function count(meter, rule, n, at)
  if n <= 0 then return end
  local index = math.floor(at / rule.width)
  redis.call('hincrby', meter.key, rule.name .. ':' .. index, n)
  if rule.sum == 0 then rule.from, rule.to = index, index end
  rule.from, rule.to = math.min(rule.from, index), math.max(rule.to, index)
  rule.sum, rule.changed = rule.sum + n, true
end

local function count_all(meter, n, at)
  for _, rule in ipairs(meter.rules) do count(meter, rule, n, at) end
end

local function forget(meter, rule)
  local last = math.min(math.floor((now - rule.seconds) / rule.width) - 1, rule.to)
  if rule.sum == 0 or rule.from > last then return end
  local fields = {}
  for index = rule.from, last do fields[#fields + 1] = rule.name .. ':' .. index end
  for first = 1, #fields, 1000 do
    local until_ = math.min(first + 999, #fields)
    for _, n in ipairs(redis.call('hmget', meter.key, unpack(fields, first, until_))) do
      rule.sum = rule.sum - (tonumber(n) or 0)
    end
    redis.call('hdel', meter.key, unpack(fields, first, until_))
  end
  rule.from, rule.changed = last + 1, true
end

local function back(meter, ids)
  if #ids == 0 then return 0 end
  return redis.call('zrem', meter.out, unpack(ids))
end

local function bury(meter)
  local seen, dead = {}, {}
  for _, id in ipairs(redis.call('zrange', meter.out, 0, -1)) do
    local process = string.match(id, '^[^:]*')
    if seen[process] == nil then
      seen[process] = process == ask.process or redis.call('exists', ALIVE .. process) == 1
    end
    if not seen[process] then dead[#dead + 1] = id end
  end
  return back(meter, dead)
end

local function read(meter)
  for _, rule in ipairs(meter.rules) do
    rule.width = rule.seconds / BUCKETS
    local name = rule.name
    local seen = redis.call('hmget', meter.key, name .. ':sum', name .. ':from', name .. ':to')
    rule.sum = tonumber(seen[1]) or 0
    rule.from = tonumber(seen[2]) or 0
    rule.to = tonumber(seen[3]) or 0
  end
  local over = redis.call('zremrangebyscore', meter.out, '-inf', string.format('%.6f', now))
  count_all(meter, over + back(meter, ask.done), now)
  count_all(meter, back(meter, ask.late), now + LATE)
  back(meter, ask.unused)
  for _, id in ipairs(ask.adopt) do
    redis.call('zadd', meter.out, string.format('%.6f', now + ask.lease), id)
  end
  for _, rule in ipairs(meter.rules) do
    count(meter, rule, rule.missed, now)
    forget(meter, rule)
  end
  meter.flying = redis.call('zcard', meter.out)
  if ask.at_once > 0 and meter == ask.meters[1] and meter.flying > ask.mine then
    local over = bury(meter)
    count_all(meter, over, now)
    meter.flying = meter.flying - over
  end
end

local function wait_for(meter, rule, lane)
  local need, freed = rule.sum + meter.flying + 1 - rule.most[lane], 0
  if need <= 0 then return 0 end
  for index = rule.from, rule.to do
    freed = freed + (tonumber(redis.call('hget', meter.key, rule.name .. ':' .. index)) or 0)
    if freed >= need then return (index + 1) * rule.width + rule.seconds - now end
  end
  return POLL
end

local function drop_mine()
  local mine, prefix = {}, ask.process .. ':'
  for _, id in ipairs(redis.call('zrange', KEYS[7], 0, -1)) do
    if string.sub(id, 1, #prefix) == prefix then mine[#mine + 1] = id end
  end
  for i in ipairs(ask.meters) do back({out = KEYS[2 * i + 5]}, mine) end
end

redis.call('set', ALIVE .. ask.process, 1, 'PX', ALIVE_MS)
if ask.again then drop_mine() end
for i, meter in ipairs(ask.meters) do
  meter.key, meter.out = KEYS[2 * i + 4], KEYS[2 * i + 5]
  read(meter)
end
local api = ask.meters[1]
local seen = redis.call('hmget', api.key, 'at_once', 'cut')
local at_once = ask.at_once
if seen[1] then
  at_once = math.min(at_once, tonumber(seen[1]) + math.floor((now - tonumber(seen[2])) / REGROW))
end

local held = redis.call('hmget', KEYS[3], 'over', 'refused', 'refusals', 'probing')
local over, probe = tonumber(held[1]), 0

local function probe_wait(lane)
  local refused, most = tonumber(held[2]), ({MOST1, MOST2, MOST3})[lane]
  local due = refused + math.min(PROBE * 2 ^ (tonumber(held[3]) - 1), most)
  due = math.min(due, math.max(over, refused))
  if (tonumber(redis.call('get', KEYS[4])) or 0) > refused then due = now end
  local probing = tonumber(held[4]) or 0
  if probing > now then due = math.max(due, math.min(probing, now + LOOK)) end
  return due - now
end

local others, better = {0, 0, 0}, false
redis.call('zremrangebyscore', who, '-inf', string.format('%.6f', now))
local marks = redis.call('zrange', who, 0, -1)
for _, mark in ipairs(marks) do
  if string.sub(mark, 3) ~= ask.process then
    local lane = tonumber(string.sub(mark, 1, 1))
    others[lane] = others[lane] + 1
  end
end

local first, unmet, granted, waits = ask.first, false, {0, 0, 0}, {-1, -1, -1}
local mine = ask.mine
for lane = 1, 3 do
  local want, wait, kept = ask.wants[lane], 0, 0
  if lane > 1 and at_once >= 4 then kept = 1 end
  local got = want
  if want > 0 then
    if unmet or better then got = 0 end
    if over then
      wait = probe_wait(lane)
      got = math.min(got, (wait <= 0 and probe == 0) and 1 or 0)
    end
    for _, meter in ipairs(ask.meters) do
      for _, rule in ipairs(meter.rules) do
        got = math.min(got, rule.most[lane] - rule.sum - meter.flying)
      end
    end
    if at_once > 0 then
      got = math.min(got, at_once - kept - api.flying)
      if others[lane] > 0 then
        got = math.min(got, math.max(1, math.ceil((at_once - kept) / (others[lane] + 1))) - mine)
      end
    end
    got = math.max(got, 0)
    if over and got == 1 then
      probe, held[4] = 1, string.format('%.6f', now + HOLD)
      redis.call('hset', KEYS[3], 'probing', held[4])
      wait = probe_wait(lane)
    end
    for _ = 1, got do
      for _, meter in ipairs(ask.meters) do
        local id = ask.process .. ':' .. first
        redis.call('zadd', meter.out, string.format('%.6f', now + ask.lease), id)
      end
      first = first + 1
    end
    for _, meter in ipairs(ask.meters) do meter.flying = meter.flying + got end
    mine, granted[lane] = mine + got, got
    if got < want then
      unmet = true
      for _, meter in ipairs(ask.meters) do
        for _, rule in ipairs(meter.rules) do wait = math.max(wait, wait_for(meter, rule, lane)) end
      end
      waits[lane] = math.ceil(math.max(wait, POLL) * 1000)
      local over = string.format('%.6f', now + math.min(wait, 1) + 5 * POLL)
      redis.call('zadd', who, over, lane .. ':' .. ask.process)
    end
  end
  if got == want and #marks > 0 then redis.call('zrem', who, lane .. ':' .. ask.process) end
  if others[lane] > 0 then better = true end
end

for _, meter in ipairs(ask.meters) do
  local longest, changed = 3600, false
  for _, rule in ipairs(meter.rules) do
    longest = math.max(longest, rule.seconds)
    if rule.changed then
      changed = true
      redis.call('hset', meter.key, rule.name .. ':sum', rule.sum, rule.name .. ':from', rule.from,
        rule.name .. ':to', rule.to)
    end
  end
  if changed then redis.call('expire', meter.key, math.ceil(longest * 1.1) + 60) end
  if first > ask.first or #ask.adopt > 0 then
    redis.call('expire', meter.out, math.ceil(ask.lease) + 60)
  end
end
if ask.name then
  local longest = 3600
  for _, rule in ipairs(api.rules) do longest = math.max(longest, rule.seconds) end
  redis.call('sadd', KEYS[5], ask.name)
  local ends = math.max(redis.call('ttl', KEYS[5]), math.ceil(longest * 1.1) + 60)
  redis.call('expire', KEYS[5], ends)
end
if unmet then redis.call('expire', who, 60) end
return {epoch, granted[1], granted[2], granted[3], waits[1], waits[2], waits[3], probe}
