-- Makes a kept model the champion, at `maxmemory` too: a bad one must be taken back however full the server is.
-- KEYS: prefix
-- ARGV: version
-- Returns 1, or 0 when there is none of that version
local described = redis.call('HEXISTS', PREFIX .. 'models', ARGV[1]) == 1
if not described or redis.call('EXISTS', PREFIX .. 'model:' .. ARGV[1]) == 0 then return 0 end
write_when_full()
redis.call('SET', PREFIX .. 'champion', ARGV[1])
return 1
