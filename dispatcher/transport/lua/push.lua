-- Puts a wake-up of a job that was accepted long ago into the broker's list, at `maxmemory` too where the reserve is left.
-- KEYS: prefix, list
-- ARGV: LPUSH or RPUSH, message, whether it was taken from there just before, and goes back in any case (0 or 1)
-- Returns how many messages the list holds
if ARGV[3] == '1' then write_when_full() else draw_on_reserve() end
return redis.call(ARGV[1], KEYS[2], ARGV[2])
