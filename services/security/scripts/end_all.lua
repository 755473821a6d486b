-- KEYS: the sorted set of one subject's sessions. Deletes them all and answers their keys.
local keys = redis.call('ZRANGE', KEYS[1], 0, -1)
for _, key in ipairs(keys) do redis.call('DEL', key) end
redis.call('DEL', KEYS[1])
return keys
