-- Finds how equal calls have ended, or joins the jobs that run for them.
-- KEYS: prefix
-- ARGV: producer, then name, topics, function, queue ('' to join no job) for each call
-- Returns {'cached', entry}, {'shared', id, deadline_ms} or {'none'} for each
local replies, seen, cache = {}, {}, result_cache()
for i = 2, #ARGV, 4 do
  local name, topics, queue = ARGV[i], ARGV[i + 1], ARGV[i + 3]
  local entry = cache.kept(name, topics)
  local id, deadline_at
  if not entry and queue ~= '' then id, deadline_at = cache.join(name, topics, queue, ARGV[1]) end
  local how = entry and 'hit' or id and 'shared' or 'miss'
  -- One that may be shared is counted as a miss when it is accepted: another may come before it.
  if how ~= 'miss' or queue == '' then
    local counter = 'cache:' .. how .. ':' .. ARGV[i + 2]
    seen[counter] = (seen[counter] or 0) + 1
  end
  replies[#replies + 1] = entry and { 'cached', entry } or id and { 'shared', id, deadline_at } or { 'none' }
end
-- What is kept is found at `maxmemory` too; nobody joins a job there.
write_when_full()
for name, by in pairs(seen) do count(name, by) end
return replies
