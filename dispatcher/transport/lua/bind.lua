-- Binds a queue, as kombu does, at `maxmemory` too: a node must be able to start there. Queues are few.
-- KEYS: prefix, the sets that bindings are in
-- ARGV: the binding
-- Returns 1
write_when_full()
for i = 2, #KEYS do redis.call('SADD', KEYS[i], ARGV[1]) end
return 1
