"""The scripts that change jobs. Each is one atomic step: a record and its queue entry never disagree, whatever dies.

Redis runs a script alone and writes what it changed to the append-only file as one transaction. Time is the
server's, so that the clocks of the mesh's machines do not matter. A script gets the key prefix and makes every other
name from it: all names share one hash tag, hence one slot.

The fencing token is the attempt: a worker changes a job only while the record's attempt is the one that the worker
started, so that one that was thought dead and comes back changes nothing. `starter` is the queue object that made
the last start; with it a start whose reply was lost can be repeated without counting twice.
"""

from __future__ import annotations

from ragmesh_backends.redis.script import Script

_COMMON = """
local prefix = KEYS[1]
local stream = prefix .. 'work'
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local stamp = string.format('%.0f', now)
local final = {READY = true, DEAD_LETTERED = true, CANCELLED = true}

local function batch_name(tenant, batch)
  return 'batch:' .. #tenant .. ':' .. tenant .. ':' .. batch
end

local function announce(id, tenant, batch)
  redis.call('PUBLISH', prefix .. 'changes:job:' .. id, id)
  if batch ~= '' then
    redis.call('PUBLISH', prefix .. 'changes:' .. batch_name(tenant, batch), id)
  end
end

local function enqueue(record, id)
  local entry = redis.call('XADD', stream, '*', 'job', id)
  redis.call('HSET', record, 'entry', entry)
end

local function dequeue(entry)
  redis.call('XACK', stream, 'workers', entry)
  redis.call('XDEL', stream, entry)
end

local function conclude(record, id, tenant, batch, state, reason, message)
  redis.call('HSET', record, 'state', state, 'stage', 'NONE', 'updated', stamp, 'reason', reason, 'message', message)
  redis.call('HDEL', record, 'cancel')
  redis.call('ZADD', prefix .. 'ended', stamp, id)
  announce(id, tenant, batch)
end

-- A few old records at a time, paid for by those who add new ones.
local function forget_old(retention)
  local old = redis.call('ZRANGEBYSCORE', prefix .. 'ended', '-inf', string.format('%.0f', now - retention),
    'LIMIT', 0, 64)
  for _, id in ipairs(old) do
    local record = prefix .. 'job:' .. id
    local f = redis.call('HMGET', record, 'tenant', 'batch')
    if f[1] then
      redis.call('ZREM', prefix .. 'of:' .. f[1], id)
      if f[2] ~= '' then redis.call('ZREM', prefix .. batch_name(f[1], f[2]), id) end
      redis.call('DEL', record)
    end
    redis.call('ZREM', prefix .. 'ended', id)
  end
end
"""


def _script(body: str) -> Script:
    return Script(_COMMON + body)


# ARGV: retention us, request key or '', request's life s, digest, then of each job: id, tenant, batch, fixed.
# Reply: {'known', digest, ids joined by a blank}, or {'made', created us of each job, '' where it was there already}.
SUBMIT = _script(
    """
local request = ARGV[2]
if request ~= '' then
  local known = redis.call('HMGET', request, 'digest', 'jobs')
  if known[1] then return {'known', known[1], known[2]} end
end
local made = {'made'}
local ids = {}
for at = 5, #ARGV, 4 do
  local id, tenant, batch = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local record = prefix .. 'job:' .. id
  ids[#ids + 1] = id
  if redis.call('EXISTS', record) == 1 then
    made[#made + 1] = ''
  else
    redis.call('HSET', record, 'tenant', tenant, 'batch', batch, 'fixed', ARGV[at + 3], 'state', 'ACCEPTED',
      'stage', 'NONE', 'done', 0, 'total', 0, 'attempt', 0, 'created', stamp, 'updated', stamp)
    enqueue(record, id)
    local order = redis.call('INCR', prefix .. 'sequence')
    redis.call('ZADD', prefix .. 'of:' .. tenant, order, id)
    if batch ~= '' then redis.call('ZADD', prefix .. batch_name(tenant, batch), order, id) end
    announce(id, tenant, batch)
    made[#made + 1] = stamp
  end
end
if request ~= '' then
  redis.call('HSET', request, 'digest', ARGV[4], 'jobs', table.concat(ids, ' '))
  redis.call('EXPIRE', request, ARGV[3])
end
forget_old(tonumber(ARGV[1]))
return made
"""
)

# ARGV: starter, then of each job: id, entry, attempt as the worker knows it.
# Reply: of each job its new attempt and time, or two '' when it is not to be worked on.
START = _script(
    """
local reply = {}
for at = 2, #ARGV, 3 do
  local id, entry, attempt = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2])
  local record = prefix .. 'job:' .. id
  local f = redis.call('HMGET', record, 'state', 'entry', 'attempt', 'starter', 'cancel', 'tenant', 'batch')
  local started, time = '', ''
  if not f[1] or final[f[1]] or f[2] ~= entry then
    dequeue(entry)
  elseif tonumber(f[3]) == attempt + 1 and f[4] == ARGV[1] then
    started, time = f[3], stamp
  elseif tonumber(f[3]) == attempt then
    if f[5] then
      conclude(record, id, f[6], f[7], 'CANCELLED', '', '')
      dequeue(entry)
    else
      started, time = tostring(attempt + 1), stamp
      redis.call('HSET', record, 'state', 'RUNNING', 'stage', 'PARSING', 'done', 0, 'total', 0,
        'attempt', started, 'starter', ARGV[1], 'updated', stamp)
      announce(id, f[6], f[7])
    end
  end
  reply[#reply + 1] = started
  reply[#reply + 1] = time
end
return reply
"""
)

# ARGV: consumer, then of each job: id, entry, attempt. Reply: ids that are asked to stop.
HEARTBEAT = _script(
    """
local stop, alive = {}, {}
for at = 2, #ARGV, 3 do
  local f = redis.call('HMGET', prefix .. 'job:' .. ARGV[at], 'attempt', 'cancel')
  if f[1] == ARGV[at + 2] then
    alive[#alive + 1] = ARGV[at + 1]
    if f[2] then stop[#stop + 1] = ARGV[at] end
  end
end
if #alive > 0 then
  alive[#alive + 1] = 'JUSTID'
  redis.call('XCLAIM', stream, 'workers', ARGV[1], 0, unpack(alive))
end
return stop
"""
)

# ARGV: stage, then of each job: id, attempt, total. Reply: how many were changed.
PROGRESS = _script(
    """
local changed = 0
for at = 2, #ARGV, 3 do
  local record = prefix .. 'job:' .. ARGV[at]
  local f = redis.call('HMGET', record, 'state', 'attempt', 'tenant', 'batch')
  if f[1] == 'RUNNING' and f[2] == ARGV[at + 1] then
    redis.call('HSET', record, 'stage', ARGV[1], 'done', 0, 'total', ARGV[at + 2], 'updated', stamp)
    announce(ARGV[at], f[3], f[4])
    changed = changed + 1
  end
end
return changed
"""
)

# ARGV: retention us, then of each job: id, entry, attempt, state, reason, message.
# Reply: how many were another worker's by now and stay as they are.
FINISH = _script(
    """
local stale = 0
for at = 2, #ARGV, 6 do
  local id, entry, state = ARGV[at], ARGV[at + 1], ARGV[at + 3]
  local record = prefix .. 'job:' .. id
  local f = redis.call('HMGET', record, 'state', 'entry', 'attempt', 'tenant', 'batch', 'total')
  if not f[1] or final[f[1]] then
    dequeue(entry)
  elseif f[2] == entry and f[3] == ARGV[at + 2] then
    if state == 'READY' then redis.call('HSET', record, 'done', f[6]) end
    conclude(record, id, f[4], f[5], state, ARGV[at + 4], ARGV[at + 5])
    dequeue(entry)
  else
    stale = stale + 1
  end
end
forget_old(tonumber(ARGV[1]))
return stale
"""
)

# ARGV: of each job: id, entry, attempt. A new entry is delivered by the next read, where a claimed one would wait to
# be looked for. Reply: how many were handed back.
RELEASE = _script(
    """
local released = 0
for at = 1, #ARGV, 3 do
  local id, entry = ARGV[at], ARGV[at + 1]
  local record = prefix .. 'job:' .. id
  local f = redis.call('HMGET', record, 'state', 'entry', 'attempt', 'tenant', 'batch', 'cancel')
  if not f[1] or final[f[1]] then
    dequeue(entry)
  elseif f[2] == entry and f[3] == ARGV[at + 2] then
    dequeue(entry)
    if f[6] then
      conclude(record, id, f[4], f[5], 'CANCELLED', '', '')
    else
      redis.call('HSET', record, 'state', 'ACCEPTED', 'stage', 'NONE', 'done', 0, 'total', 0, 'updated', stamp)
      enqueue(record, id)
      announce(id, f[4], f[5])
    end
    released = released + 1
  end
end
return released
"""
)

# ARGV: job id, tenant. Reply: 'absent', 'ended', or 'done'.
CANCEL = _script(
    """
local id = ARGV[1]
local record = prefix .. 'job:' .. id
local f = redis.call('HMGET', record, 'state', 'entry', 'tenant', 'batch')
if not f[1] or f[3] ~= ARGV[2] then return 'absent' end
if f[1] == 'CANCELLED' then return 'done' end
if final[f[1]] then return 'ended' end
if f[1] == 'ACCEPTED' then
  conclude(record, id, f[3], f[4], 'CANCELLED', '', '')
  dequeue(f[2])
else
  redis.call('HSET', record, 'cancel', '1')
end
return 'done'
"""
)

# ARGV: idle ms. Workers get a new name with each start; those long gone that hold nothing are removed.
FORGET_CONSUMERS = _script(
    """
local removed = 0
for _, info in ipairs(redis.call('XINFO', 'CONSUMERS', stream, 'workers')) do
  local c = {}
  for at = 1, #info, 2 do c[info[at]] = info[at + 1] end
  if c['pending'] == 0 and c['idle'] > tonumber(ARGV[1]) then
    redis.call('XGROUP', 'DELCONSUMER', stream, 'workers', c['name'])
    removed = removed + 1
  end
end
return removed
"""
)
