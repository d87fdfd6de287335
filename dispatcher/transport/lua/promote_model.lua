-- Makes a kept model the champion.
-- KEYS: prefix
-- ARGV: version
-- Returns 1, or 0 when there is none of that version
if redis.call('HEXISTS', key('models'), ARGV[1]) == 0 or redis.call('EXISTS', key('model:' .. ARGV[1])) == 0 then
  return 0
end
redis.call('SET', key('champion'), ARGV[1])
return 1
