-- Forgets a dead letter: what it was called with, or what the garbage said. Its outcome stays as long as outcomes do.
-- KEYS: prefix
-- ARGV: id
-- Returns 1, or 0 when there is no such dead letter; a job that lives is not touched.
if redis.call('ZREM', PREFIX .. 'dead', ARGV[1]) == 0 then return 0 end
redis.call('HDEL', JOB .. ARGV[1], 'envelope', 'done', 'raw')
return 1
