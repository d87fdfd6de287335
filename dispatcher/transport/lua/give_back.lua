-- Takes back leases of jobs that their worker has not begun. They wait again, where they stood.
-- KEYS: prefix
-- ARGV: id, token for each job
-- Returns for each its queue, or '' where it is no longer this attempt's to give back
local queues = {}
write_when_full()
for i = 1, #ARGV, 2 do
  local id, jk = ARGV[i], JOB .. ARGV[i]
  local job = redis.call('HMGET', jk, 'state', 'attempt', 'queue', 'sequence', 'deadline_ms')
  if job[1] == 'running' and job[2] == ARGV[i + 1] then
    redis.call('HSET', jk, 'state', 'waiting', 'published_ms', now)
    redis.call('HDEL', jk, 'lease_ms', 'nonce', 'shared')
    wait_in_queue(id, job[3], job[4])
    redis.call('ZADD', PREFIX .. 'due', job[5], id)
    count('given_back')
    queues[#queues + 1] = job[3]
  else
    queues[#queues + 1] = ''
  end
end
return queues
