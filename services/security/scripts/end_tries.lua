-- KEYS: counts under which a try was begun. ARGV: 'failed', 'passed' or 'void'; for each key its
-- limit, its milliseconds, and 1 where a good try makes up for the failures.
for i, key in ipairs(KEYS) do
  local limit, time, forgiven = tonumber(ARGV[3 * i - 1]), ARGV[3 * i], ARGV[3 * i + 1]
  local begun = tonumber(redis.call('HGET', key, 'begun') or '0')
  if begun > 0 then redis.call('HINCRBY', key, 'begun', -1) end
  if ARGV[1] == 'failed' then
    local failed = redis.call('HINCRBY', key, 'failed', 1)
    if failed == limit or redis.call('PTTL', key) < 0 then redis.call('PEXPIRE', key, time) end
  elseif ARGV[1] == 'passed' and forgiven == '1' then
    redis.call('HDEL', key, 'failed', 'told')
  end
end
