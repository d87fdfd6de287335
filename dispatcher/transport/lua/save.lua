-- Records the calls of a running job that have ended, so that another attempt does not make them again. Counts only under
-- the current token.
-- KEYS: prefix
-- ARGV: id, token, done (as `encode_done` of outcomes.py writes it)
-- Returns 'saved' or 'stale' (another attempt has it, or it is settled)
local jk = JOB .. ARGV[1]
local job = redis.call('HMGET', jk, 'state', 'attempt')
if job[1] ~= 'running' or job[2] ~= ARGV[2] then return 'stale' end
write_when_full()
redis.call('HSET', jk, 'done', ARGV[3])
return 'saved'
