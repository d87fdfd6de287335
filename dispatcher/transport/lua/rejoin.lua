-- Registers a producer again with a job that it gave up while another call of its was joining.
-- KEYS: prefix
-- ARGV: id, producer
-- Returns 'joined', or 'over' where the job has its outcome, or is unknown
local job = redis.call('HMGET', JOB .. ARGV[1], 'state', 'sharers')
if not job[1] or is_settled(job[1]) then return 'over' end
for sharer in string.gmatch(job[2] or '', '%S+') do
  if sharer == ARGV[2] then return 'joined' end
end
write_when_full()
redis.call('HSET', JOB .. ARGV[1], 'sharers', (job[2] or '') .. ' ' .. ARGV[2])
return 'joined'
