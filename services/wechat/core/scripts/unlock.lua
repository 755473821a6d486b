-- KEYS: a lock. ARGV: its owner. Lets the lock go if it is still the owner's.
if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end
return 0
