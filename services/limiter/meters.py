"""Counting calls in Redis, for all processes, and in this process, for when Redis is away."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

from services.limiter.limits import Rule

BUCKETS = 200
"""A window is counted in this many parts; each part counts until the whole of it is older than the
window."""

LATE_SECONDS = 2.0
"""A call without an answer may reach the platform after we gave up: it is counted as if it were
answered so much later."""

POLL_SECONDS = 0.02
REGROW_SECONDS = 5.0

ALIVE = "limit:alive:"
ALIVE_SECONDS = 4.0
"""A process that has not been heard of for so long is dead, and its calls are over; while it calls
it is heard of each second."""

ASK = (
    f"local BUCKETS, LATE, POLL, REGROW = {BUCKETS}, {LATE_SECONDS}, {POLL_SECONDS}, {REGROW_SECONDS} "
    f"local ALIVE, ALIVE_MS = '{ALIVE}', {int(ALIVE_SECONDS * 1000)}"
    + """
local ask = cjson.decode(ARGV[1])
local epoch = redis.call('get', KEYS[1])
if not epoch then
  epoch = ask.fresh
  redis.call('set', KEYS[1], epoch)
end
if ask.known ~= '' and ask.known ~= epoch then return {epoch} end
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
    local seen = redis.call('hmget', meter.key, rule.name .. ':sum', rule.name .. ':from', rule.name .. ':to')
    rule.sum, rule.from, rule.to = tonumber(seen[1]) or 0, tonumber(seen[2]) or 0, tonumber(seen[3]) or 0
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

redis.call('set', ALIVE .. ask.process, 1, 'PX', ALIVE_MS)
for i, meter in ipairs(ask.meters) do
  meter.key, meter.out = KEYS[2 * i + 1], KEYS[2 * i + 2]
  read(meter)
end
local api = ask.meters[1]
local seen = redis.call('hmget', api.key, 'block', 'at_once', 'cut')
local block = tonumber(seen[1]) or 0
local at_once = ask.at_once
if seen[2] then
  at_once = math.min(at_once, tonumber(seen[2]) + math.floor((now - tonumber(seen[3])) / REGROW))
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
    if block > now then got, wait = 0, block - now end
    for _, meter in ipairs(ask.meters) do
      for _, rule in ipairs(meter.rules) do got = math.min(got, rule.most[lane] - rule.sum - meter.flying) end
    end
    if at_once > 0 then
      got = math.min(got, at_once - kept - api.flying)
      if others[lane] > 0 then
        got = math.min(got, math.max(1, math.ceil((at_once - kept) / (others[lane] + 1))) - mine)
      end
    end
    got = math.max(got, 0)
    for _ = 1, got do
      for _, meter in ipairs(ask.meters) do
        redis.call('zadd', meter.out, string.format('%.6f', now + ask.lease), ask.process .. ':' .. first)
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
      redis.call('zadd', who, string.format('%.6f', now + math.min(wait, 1) + 5 * POLL), lane .. ':' .. ask.process)
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
  if first > ask.first or #ask.adopt > 0 then redis.call('expire', meter.out, math.ceil(ask.lease) + 60) end
end
if unmet then redis.call('expire', who, 60) end
return {epoch, granted[1], granted[2], granted[3], waits[1], waits[2], waits[3]}
"""
)
"""One question of one process about one API. KEYS: the epoch, who waits, and for each meter (the
API's, then the source address's) its counts and its permits that are out. ARGV: the question as
JSON (gate.py: Gate._question).

Answers the epoch, the permits granted to each lane, and for each lane that wants more, after how
many milliseconds there may be one (-1: it wants no more). An epoch alone says that Redis has lost
its memory since the asker last looked.
"""

BLOCK = """
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
"""
"""A drawn 45009. KEYS: the API's counts. ARGV: seconds of the first block and of the longest.
Answers the milliseconds until the block ends. Answers that were under way when it began belong to
it; one drawn soon after its end makes the next block four times as long, since a limit longer than
a minute was met."""

CUT = (
    f"local REGROW = {REGROW_SECONDS}"
    + """
local time = redis.call('time')
local now = tonumber(time[1]) + tonumber(time[2]) / 1000000
local most = tonumber(ARGV[1])
local seen = redis.call('hmget', KEYS[1], 'at_once', 'cut')
local cut = tonumber(seen[2]) or 0
if now - cut < 1 then return 0 end
local at_once = math.min(most, (tonumber(seen[1]) or most) + math.floor((now - cut) / REGROW))
redis.call('hset', KEYS[1], 'at_once', math.max(2, math.floor(at_once / 2)), 'cut', string.format('%.6f', now))
return 1
"""
)
"""A drawn 45033: half as many at once, and one more each REGROW_SECONDS. KEYS: the API's counts.
ARGV: the most."""


class _Window:
    """One rule's calls of this process, by parts of its window."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._width = seconds / BUCKETS
        self._parts: deque[list[int]] = deque()
        self._sum = 0

    def add(self, now: float) -> None:
        index = int(now // self._width)
        if self._parts and self._parts[-1][0] == index:
            self._parts[-1][1] += 1
        else:
            self.used(now)
            self._parts.append([index, 1])
        self._sum += 1

    def used(self, now: float) -> int:
        """Calls that may lie in the last window."""
        while self._parts and (self._parts[0][0] + 1) * self._width <= now - self._seconds:
            self._sum -= self._parts.popleft()[1]
        return self._sum

    def frees(self, now: float) -> float:
        """Seconds until fewer are used."""
        return (
            (self._parts[0][0] + 1) * self._width + self._seconds - now
            if self._parts
            else POLL_SECONDS
        )


class Meter:
    """What one process knows of a thing that is counted: an API of a corp, or a source address.

    The shared count is in Redis under `key`. Times here are the event loop's.
    """

    def __init__(self, key: str, rules: Sequence[Rule]) -> None:
        self.key = key
        self.rules = tuple(rules)
        self.flying = 0
        self._windows = [_Window(rule.seconds) for rule in rules]
        self._missed = [0] * len(self.rules)

    def ended(self, now: float, *, shared: bool) -> None:
        """A call of this process was answered; Redis is not told otherwise when it is not
        `shared`."""
        for position, window in enumerate(self._windows):
            window.add(now)
            self._missed[position] += not shared

    def forgotten(self, now: float) -> None:
        """Redis has lost its memory: it must be told everything again."""
        self._missed = [window.used(now) for window in self._windows]

    def question(self, now: float) -> dict[str, Any]:
        """The meter for ASK, with what Redis was not told; that counts as told from here on."""
        missed = [
            min(missed, window.used(now))
            for missed, window in zip(self._missed, self._windows, strict=True)
        ]
        self._missed = [0] * len(self.rules)
        return {
            "rules": [
                {
                    "name": f"{rule.seconds:g}",
                    "seconds": rule.seconds,
                    "most": rule.most,
                    "missed": missed_,
                }
                for rule, missed_ in zip(self.rules, missed, strict=True)
            ]
        }

    def unheard(self, question: dict[str, Any]) -> None:
        """Redis may not have heard the question: what it was told is told again."""
        for position, rule in enumerate(question["rules"]):
            self._missed[position] += rule["missed"]

    def room(self, now: float, lane: int, share: float) -> tuple[int, float]:
        """How many calls this process may begin on its own with its share, and after how many
        seconds there is more."""
        room, wait = 1_000_000, 0.0
        for rule, window in zip(self.rules, self._windows, strict=True):
            left = max(1, int(rule.most[lane] * share)) - window.used(now) - self.flying
            if left < room:
                room, wait = left, window.frees(now)
        return room, wait
