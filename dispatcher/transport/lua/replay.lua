-- Makes a dead letter a live job again, under its own id, with a fresh deadline and fresh attempts.
-- KEYS: prefix, result key
-- ARGV: id, deadline_ms, keep_ms
-- Returns {'replayed', function, queue, shown, attempts so far}, {'unknown'} or {'not_dead'}
local id = ARGV[1]
local jk = JOB .. id
local job = redis.call('HMGET', jk, 'state', 'queue', 'function', 'shown', 'envelope', 'attempt')
if not job[1] then return { 'unknown' } end
if job[1] ~= 'failed' or not job[5] then return { 'not_dead' } end
local deadline = now + tonumber(ARGV[2])
local sequence = redis.call('HINCRBY', PREFIX .. 'sequence', job[2], 1)
redis.call('ZREM', PREFIX .. 'dead', id)
redis.call('DEL', KEYS[2])
-- The attempt number goes on: it is the fencing token, and an old attempt may still be running somewhere.
redis.call('HSET', jk, 'state', 'waiting', 'sequence', sequence, 'published_ms', now, 'deadline_ms', deadline,
  'failures', 0, 'lost', 0)
redis.call('HDEL', jk, 'settled_ms', 'settled_by', 'cancel', 'progress', 'copies', 'done')
redis.call('PEXPIREAT', jk, deadline + tonumber(ARGV[3]))
wait_in_queue(id, job[2], sequence)
redis.call('ZADD', PREFIX .. 'due', deadline, id)
count('replayed')
return { 'replayed', job[3], job[2], job[4], job[6] or '0' }
