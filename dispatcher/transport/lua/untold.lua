-- Takes the jobs that were cancelled where no worker saw it.
-- KEYS: prefix
-- ARGV: limit
-- Returns {id, function, shown} for each
local rows = {}
for _, id in ipairs(redis.call('LPOP', PREFIX .. 'untold', ARGV[1]) or {}) do
  local job = redis.call('HMGET', JOB .. id, 'function', 'shown')
  if job[1] then rows[#rows + 1] = { id, job[1], job[2] or '' } end
end
return rows
