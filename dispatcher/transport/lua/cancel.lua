-- Cancels a job. One that does not run ends at once; one that runs is told at its next heartbeat, or, with hard,
-- ends at once as well, and its attempt finds that its lease is lost.
-- KEYS: prefix, result key
-- ARGV: id, reason, hard (0 or 1), meta, result_ms
-- Returns 'unknown', 'settled:<state>', 'cancelled' or 'requested'
local id = ARGV[1]
local jk = job_key(id)
local state = redis.call('HGET', jk, 'state')
if not state or state == 'garbage' then return 'unknown' end
if SETTLED[state] then return 'settled:' .. state end
redis.call('HSET', jk, 'cancel', ARGV[2])
if state == 'running' and ARGV[3] == '0' then return 'requested' end
conclude(id, 'cancelled', ARGV[4], { result_key = KEYS[2], result_ms = tonumber(ARGV[5]), dead = false }, now_ms())
-- No worker sees this end; the node that sweeps tells Celery's events of it.
redis.call('RPUSH', key('untold'), id)
redis.call('LTRIM', key('untold'), -10000, -1)
redis.call('PEXPIRE', key('untold'), 3600000)
return 'cancelled'
