-- KEYS: counts of tries. ARGV: for each its limit of failures and its milliseconds.
-- Begins a try under all of them, or under none: {'go'}, {'wait', which} while tries under way may
-- still fill that count, or {'over', milliseconds until it is, whether we are the first to be told}.
local function count(key, field) return tonumber(redis.call('HGET', key, field) or '0') end
for i, key in ipairs(KEYS) do
  if count(key, 'failed') >= tonumber(ARGV[2 * i - 1]) then
    return {'over', redis.call('PTTL', key), redis.call('HSETNX', key, 'told', 1)}
  end
end
for i, key in ipairs(KEYS) do
  if count(key, 'failed') + count(key, 'begun') >= tonumber(ARGV[2 * i - 1]) then
    return {'wait', i}
  end
end
for i, key in ipairs(KEYS) do
  redis.call('HINCRBY', key, 'begun', 1)
  if redis.call('PTTL', key) < 0 then redis.call('PEXPIRE', key, ARGV[2 * i]) end
end
return {'go'}
