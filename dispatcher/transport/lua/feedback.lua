-- Logs what a source says at once, all or nothing: nothing where it would be more than it may say within the window.
-- KEYS: prefix
-- ARGV: source, per_source, window_ms, max_feedback, ttl_ms, the entries
-- Returns {'logged', positions …} or {'refused', wait_ms}
local said, limit, window = PREFIX .. 'feedback-source:' .. ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local entries = #ARGV - 5
-- When the source gave its last ones, the latest first. However they fall, no window holds more than the limit, but what
-- is above it by itself: that is taken where nothing else was said.
local first = tonumber(redis.call('LINDEX', said, math.max(limit - entries, 0)) or '')
if first and now - first < window then
  count('feedback_refused', entries)
  return { 'refused', tostring(math.min(first + window - now, window)) }
end
local reply = { 'logged' }
for i = 6, #ARGV do
  reply[#reply + 1] = redis.call('XADD', PREFIX .. 'feedback', 'MAXLEN', '~', ARGV[4], '*', 'entry', ARGV[i])
  redis.call('LPUSH', said, now)
end
redis.call('PEXPIRE', PREFIX .. 'feedback', ARGV[5])
redis.call('LTRIM', said, 0, limit - 1)
redis.call('PEXPIRE', said, window)
count('feedback', entries)
return reply
