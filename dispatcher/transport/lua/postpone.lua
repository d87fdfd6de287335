-- Puts off the next look at a job whose record cannot be read; it stays due for as long as it is there.
-- KEYS: prefix
-- ARGV: id, pause_ms
-- Returns 1
write_when_full()
redis.call('ZADD', PREFIX .. 'due', 'XX', now + tonumber(ARGV[2]), ARGV[1])
return 1
