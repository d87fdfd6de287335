-- Puts a wake-up of a job that was accepted long ago into the broker's list, at `maxmemory` too where the reserve is left.
-- KEYS: prefix, list
-- ARGV: LPUSH or RPUSH, message
-- Returns how many messages the list holds
draw_on_reserve()
return redis.call(ARGV[1], KEYS[2], ARGV[2])
