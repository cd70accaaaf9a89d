"""What happens to jobs inside Redis, each script in one atomic step. All keys share the hash tag `{jobs}`: one slot.

A job is a hash `{jobs}:job:<id>`: `data` (JSON, never changes), state, stage, done, total, attempt, failure_reason,
failure_message, created, updated (milliseconds by the server's clock), entry (the stream entry that stands for it),
cancel. A worker's hold on a job is (entry, attempt): what was reclaimed or handed back meanwhile has another pair, and
the late worker's writes are ignored. Only commands of Redis 6.2.
"""

from __future__ import annotations

_HEAD = """
local P = KEYS[1]
local items = cjson.decode(ARGV[1])
local time = redis.call('TIME')
local now = string.format('%d', time[1] * 1000 + math.floor(time[2] / 1000))
local FINAL = {READY = true, DEAD_LETTERED = true, CANCELLED = true}
local function job_key(id) return P .. ':job:' .. id end
local function tell(key, id, state)
  local data = redis.call('HMGET', key, 'tenant', 'batch')
  redis.call('PUBLISH', P .. ':changed:' .. data[1], id .. ' ' .. state .. ' ' .. data[2])
end
local function done_with(entry)
  redis.call('XACK', P .. ':stream', 'workers', entry)
  redis.call('XDEL', P .. ':stream', entry)
end
local function held(key, item)
  local now_held = redis.call('HMGET', key, 'entry', 'attempt', 'state')
  return now_held[1] == item.entry and now_held[2] == tostring(item.attempt) and not FINAL[now_held[3]]
end
"""

SUBMIT = (
    _HEAD
    + """
local answers = {}
for i, item in ipairs(items) do
  local key = job_key(item.id)
  local state = redis.call('HGET', key, 'state')
  local known = state and (not FINAL[state] or item.request ~= '')
  if item.request ~= '' then
    local request = P .. ':request:' .. item.tenant .. ':' .. item.request
    local digest = redis.call('HGET', request, 'digest')
    if digest and digest ~= item.digest then return {'REUSED'} end
    if not digest then
      redis.call('HSET', request, 'digest', item.digest)
      redis.call('EXPIRE', request, ARGV[2])
    end
    if not redis.call('HGET', request, item.id) then
      redis.call('HSET', request, item.id, string.format('%06d', redis.call('HLEN', request)))
    end
  end
  if not known then
    local entry = redis.call('XADD', P .. ':stream', '*', 'job', item.id)
    redis.call('HSET', key, 'data', item.data, 'tenant', item.tenant, 'batch', item.batch, 'state', 'ACCEPTED',
      'stage', 'NONE', 'done', 0, 'total', 0, 'attempt', 0, 'failure_reason', '', 'failure_message', '',
      'created', now, 'updated', now, 'entry', entry, 'cancel', '')
    redis.call('PERSIST', key)
    local index = P .. ':tenant:' .. item.tenant
    redis.call('ZADD', index, now, item.id)
    redis.call('ZREMRANGEBYSCORE', index, '-inf', now - ARGV[3] * 1000)
    if item.batch ~= '' then
      local batch = P .. ':batch:' .. item.tenant .. ':' .. item.batch
      redis.call('ZADD', batch, now, item.id)
      redis.call('EXPIRE', batch, ARGV[3])
    end
    tell(key, item.id, 'ACCEPTED')
  end
  answers[#answers + 1] = redis.call('HGETALL', key)
end
return answers
"""
)

START = (
    _HEAD
    + """
local answers = {}
for i, item in ipairs(items) do
  local key = job_key(item.id)
  local job = redis.call('HMGET', key, 'state', 'cancel', 'entry')
  local answer = {}
  if not job[1] or FINAL[job[1]] or job[3] ~= item.entry then
    done_with(item.entry)
  elseif job[2] ~= '' then
    redis.call('HSET', key, 'state', 'CANCELLED', 'stage', 'NONE', 'updated', now)
    redis.call('EXPIRE', key, ARGV[2])
    done_with(item.entry)
    tell(key, item.id, 'CANCELLED')
  else
    redis.call('HINCRBY', key, 'attempt', 1)
    redis.call('HSET', key, 'state', 'RUNNING', 'stage', 'PARSING', 'done', 0, 'total', 0, 'updated', now)
    tell(key, item.id, 'RUNNING')
    answer = redis.call('HGETALL', key)
  end
  answers[#answers + 1] = answer
end
return answers
"""
)

PROGRESS = (
    _HEAD
    + """
for i, item in ipairs(items) do
  local key = job_key(item.id)
  if held(key, item) then
    redis.call('HSET', key, 'stage', item.stage, 'done', 0, 'total', item.total, 'updated', now)
    tell(key, item.id, 'RUNNING')
  end
end
return 1
"""
)

FINISH = (
    _HEAD
    + """
for i, item in ipairs(items) do
  local key = job_key(item.id)
  if held(key, item) then
    redis.call('HSET', key, 'state', item.state, 'stage', 'NONE', 'failure_reason', item.reason,
      'failure_message', item.message, 'updated', now)
    redis.call('HSET', key, 'done', redis.call('HGET', key, 'total'))
    redis.call('EXPIRE', key, ARGV[2])
    done_with(item.entry)
    tell(key, item.id, item.state)
  end
end
return 1
"""
)

RELEASE = (
    _HEAD
    + """
for i, item in ipairs(items) do
  local key = job_key(item.id)
  if held(key, item) then
    local entry = redis.call('XADD', P .. ':stream', '*', 'job', item.id)
    done_with(item.entry)
    redis.call('HSET', key, 'state', 'ACCEPTED', 'stage', 'NONE', 'entry', entry, 'updated', now)
    if item.attempt > 0 and item.uncounted then redis.call('HINCRBY', key, 'attempt', -1) end
    tell(key, item.id, 'ACCEPTED')
  end
end
return 1
"""
)

HEARTBEAT = (
    _HEAD
    + """
local asked = {}
for i, item in ipairs(items) do
  local pending = redis.call('XPENDING', P .. ':stream', 'workers', item.entry, item.entry, 1)
  if pending[1] and pending[1][2] == ARGV[2] then
    redis.call('XCLAIM', P .. ':stream', 'workers', ARGV[2], 0, item.entry, 'JUSTID')
  end
  if redis.call('HGET', job_key(item.id), 'cancel') == '1' then asked[#asked + 1] = item.id end
end
return asked
"""
)

CANCEL = (
    _HEAD
    + """
local item = items[1]
local key = job_key(item.id)
local job = redis.call('HMGET', key, 'tenant', 'state', 'entry')
if job[1] ~= item.tenant then return {'UNKNOWN'} end
if FINAL[job[2]] then return {'FINISHED'} end
redis.call('HSET', key, 'cancel', '1', 'updated', now)
if job[2] == 'ACCEPTED' then
  redis.call('HSET', key, 'state', 'CANCELLED')
  redis.call('EXPIRE', key, ARGV[2])
  done_with(job[3])
  tell(key, item.id, 'CANCELLED')
end
return redis.call('HGETALL', key)
"""
)
