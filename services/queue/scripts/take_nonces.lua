-- KEYS: nonces. ARGV: for how many seconds they are kept, then each one's message id.
-- Answers the positions (from 0) of nonces that were seen with another message.
local taken = {}
for n, key in ipairs(KEYS) do
  if not redis.call('SET', key, ARGV[n + 1], 'NX', 'EX', ARGV[1]) then
    if redis.call('GET', key) ~= ARGV[n + 1] then taken[#taken + 1] = n - 1 end
  end
end
return taken
