-- KEYS: for each count under which a try was begun its failures, and its tries under way. ARGV: the
-- try's id; 'failed', 'passed' or 'void'; for each count its limit, its milliseconds, and 1 where a
-- good try makes up for the failures.
local id, how = ARGV[1], ARGV[2]
for i = 1, #KEYS / 2 do
  local key = KEYS[2 * i - 1]
  local limit, time, forgiven = tonumber(ARGV[3 * i]), ARGV[3 * i + 1], ARGV[3 * i + 2]
  redis.call('ZREM', KEYS[2 * i], id)
  if how == 'failed' then
    local failed = redis.call('HINCRBY', key, 'failed', 1)
    if failed == limit or redis.call('PTTL', key) < 0 then redis.call('PEXPIRE', key, time) end
  elseif how == 'passed' and forgiven == '1' then
    redis.call('HDEL', key, 'failed', 'told')
  end
end
