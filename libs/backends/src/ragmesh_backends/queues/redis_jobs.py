"""RedisJobs: the job queue on one Redis stream, with at-least-once delivery.

    submit   record + queue entry           one script, on the disk before it returns
    take     entry -> a worker's hands      XREADGROUP; `reclaim` takes what a dead worker held (XAUTOCLAIM)
    start    attempt + 1                    the fencing token of everything that follows
    finish   record final, entry removed    one script

A job has exactly one entry from submit to its end, so that a job is lost only with Redis' data, and then the
reconciler makes it again from the records. Needs Redis 6.2 with `appendonly yes` and `noeviction`
(`redis.client.require_durable` checks it).
"""

from __future__ import annotations

from ragmesh_backends.queues.delivery import JobDelivery
from ragmesh_backends.queues.intake import JobIntake
from ragmesh_backends.queues.reading import JobReading
from ragmesh_backends.queues.watching import JobWatching

__all__ = ["RedisJobs"]


class RedisJobs(JobIntake, JobDelivery, JobReading, JobWatching):
    """The queue of all tenants.

    Besides the errors that a method names, each raises Unavailable (dependency `queue`) when Redis is down, hung or
    takes no writes, and DeadlineExceeded when the request in hand ran out of time. After either, a change may have
    been made or not; every method bears repetition.
    """
