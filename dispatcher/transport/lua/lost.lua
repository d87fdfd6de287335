-- The waiting jobs of a queue whose wake-up is lost. They are to be published again, at the head.
-- KEYS: prefix
-- ARGV: queue, where the sequence numbers end that must have started by now ('(7': those below 7, '+inf': all),
--       grace_ms, limit, how many of the first are passed over
-- Returns {id, function, shown, attempts so far} for each
local queue, upto, grace, limit = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
if not draw_on_reserve() then return {} end
local _, reached = progress_of(queue)
local lost = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', WAITING .. queue, '-inf', upto, 'LIMIT', ARGV[5], limit)) do
  local jk = JOB .. id
  local job = redis.pcall('HMGET', jk, 'state', 'published_ms', 'function', 'shown', 'copies', 'attempt',
    'accepted_ms')
  -- A record that cannot be read is none of a waiting job: it must not stand in the way of the others.
  local published = not job.err and tonumber(job[2] or job[7])
  if not published or job[1] ~= 'waiting' or not job[3] then
    redis.call('ZREM', WAITING .. queue, id)
  else
    -- Each copy doubles the grace: a wake-up that a busy worker holds back must not be copied again and again.
    local copies = tonumber(job[5]) or 0
    -- A job that was published once, at the tail, stands where it was accepted, give or take how long its producer took
    -- to publish it. So its turn is over when one accepted a grace later has started: however long the queue, and
    -- however much several producers' numbers and messages are out of step.
    local in_order = upto ~= '+inf' and copies == 0 and (job[6] or '0') == '0'
    if (in_order and reached or now) - published >= grace * 2 ^ math.min(copies, 8) then
      redis.call('HSET', jk, 'published_ms', now, 'copies', copies + 1)
      count('republished:lost_message')
      lost[#lost + 1] = { id, job[3], job[4] or '', job[6] or '0' }
    end
  end
end
return lost
