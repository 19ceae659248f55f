-- part: now
-- The store passes the time: the database runs in this process, so its clock is this machine's.
:now

-- part: behind
-- An id after all that there were, if the table's counter is behind those of the history: somebody has set it back or
-- emptied it (Django does, for tests). Else NULL, and the counter gives one. Each look is a step or two down an index.
(
    SELECT max(h.id, COALESCE((SELECT max(id) FROM {jobs}), 0)) + 1
    FROM {history} AS h
    WHERE h.id > COALESCE((SELECT seq FROM {schema}.sqlite_sequence WHERE name = '{prefix}jobs'), 0)
      AND h.id < 9223372036854775807
    ORDER BY h.id DESC
    LIMIT 1
)

-- part: ids
IN (SELECT value FROM json_each(:ids))

-- Checks keep out what cannot be read. But a table may have lost them, and then one row must not stop all the others:
-- what follows reads any value as one that the checks would let in. (Of another type it is seen to in Python.)

-- part: within
-- A time within the years 1 to 9999. What is no number is greater than any.
min(max({it}, -62135596800000000), 253402300799999999)

-- part: finite
-- Seconds that are a time.
CASE WHEN {it} BETWEEN 0 AND 10000000000 THEN {it} END

-- part: name
-- A name or another short text; what is longer than any that is let in is cut, so that it costs nobody to carry it.
CASE WHEN length(CAST({it} AS blob)) <= 1020 THEN {it} ELSE substr({it}, 1, 200) || '...' END

-- part: words
-- An error and the like.
CASE WHEN length(CAST({it} AS blob)) <= 65536 THEN {it} ELSE substr({it}, 1, 1000) || '...' END

-- part: object
-- A meta: one that is cut is no JSON any more, and shown as unreadable.
CASE WHEN length(CAST({it} AS blob)) <= 16384 THEN {it} ELSE substr({it}, 1, 200) END

-- part: only
-- A bind that is NULL asks nothing.
(:only IS NULL OR id IN (SELECT value FROM json_each(:only)))

-- part: counter
-- A whole number of times.
CAST(min(max({it}, 0), 1000000000) AS integer)

-- part: most
-- The largest count that still takes another one.
999999999

-- part: text
-- The first bytes of a text that is too long; what has no type of its own is one.
CAST(substr(CAST({it} AS blob), 1, 1020) AS text)

-- part: whole
-- A payload or a result: too large a one is not read.
CASE WHEN length(CAST({it} AS blob)) <= 67108864 THEN {it} END

-- part: claimed
-- The columns of a claimed job, in the order of claim.Claimed. Its texts are bounded: a claim may bring a thousand.
id, {name:queue}, priority, run_at, {name:task},
CASE WHEN length(CAST(payload AS blob)) <= 16384 THEN payload END,
created_at, attempt, failures, crashes, rescues, free_retries,
max_attempts, max_run_time, keep_failed, {object:meta},
(claimed_at - unknown_since) / 1000000.0, token, suspect

-- part: next
-- For a look at the lanes: the microseconds until the next scheduled job is due.
SELECT NULL, NULL, NULL, due
FROM (SELECT {within:run_at} - {now} AS due FROM {jobs} WHERE state = 'scheduled' ORDER BY run_at, id LIMIT 1)

-- part: live
-- A live job as people see it; the same columns as {ended}.
id, {name:state}, {name:queue}, priority, run_at, {name:task}, {whole:payload}, created_at,
attempt, failures, crashes, rescues, free_retries, max_attempts, max_run_time, keep_failed, {object:meta},
{words:error}, {name:worker}, claimed_at, cancel_requested,
NULL, NULL, NULL

-- part: ended
id, {name:state}, {name:queue}, priority, run_at, {name:task}, {whole:payload}, created_at,
attempt, failures, crashes, rescues, free_retries, max_attempts, max_run_time, keep_failed, {object:meta},
{words:error}, {name:worker}, claimed_at, 0,
finished_at, seconds, {whole:result}

-- part: filter
-- A bind that is NULL asks nothing.
(:states IS NULL OR state IN (SELECT value FROM json_each(:states)))
AND (:queues IS NULL OR queue IN (SELECT value FROM json_each(:queues)))
AND (:tasks IS NULL OR task IN (SELECT value FROM json_each(:tasks)))
AND (:created_after IS NULL OR created_at > :created_after)
AND (:created_before IS NULL OR created_at < :created_before)

-- part: done
-- The live jobs of the outcomes whose claims still hold. CROSS JOIN: the outcomes drive, a primary key look-up each.
json_each(:outcomes) AS d
    CROSS JOIN {jobs} AS j ON j.id = json_extract(d.value, '$.id') AND j.token = json_extract(d.value, '$.token')

-- part: lost
-- The jobs of lapsed workers.
SELECT id
    FROM {jobs}
    WHERE state = 'running' AND worker IN (SELECT value FROM json_each(:workers)) AND {only}

-- part: newest
-- An id may have been given twice, where the database was restored or failed over: the later end is the one that counts.
ON CONFLICT (id) DO UPDATE SET
    run_at = excluded.run_at, created_at = excluded.created_at, claimed_at = excluded.claimed_at, finished_at = excluded.finished_at,
    seconds = excluded.seconds, max_run_time = excluded.max_run_time, priority = excluded.priority, attempt = excluded.attempt,
    failures = excluded.failures, crashes = excluded.crashes, rescues = excluded.rescues, free_retries = excluded.free_retries,
    max_attempts = excluded.max_attempts, keep_failed = excluded.keep_failed, state = excluded.state, queue = excluded.queue,
    task = excluded.task, worker = excluded.worker, meta = excluded.meta, error = excluded.error,
    payload = excluded.payload, result = excluded.result

-- name: has_versions
SELECT EXISTS (SELECT 1 FROM {schema}.sqlite_schema WHERE type = 'table' AND :table IN ('"' || name || '"', '"main"."' || name || '"'));

-- name: place
SELECT 'main'
FROM {schema}.sqlite_schema
WHERE type = 'table' AND :table IN ('"' || name || '"', '"main"."' || name || '"');

-- name: create_versions
CREATE TABLE IF NOT EXISTS {versions} (version integer PRIMARY KEY, applied_at text NOT NULL DEFAULT CURRENT_TIMESTAMP);

-- name: lock_versions
-- Two migrators at once: BEGIN IMMEDIATE lets in one at a time.
SELECT 1;

-- name: version
SELECT max(version)
FROM {versions};

-- name: migrated
INSERT INTO {versions} (version)
VALUES (:version);

-- name: drop
DROP TABLE {jobs};
DROP TABLE {history};
DROP TABLE {attempts};
DROP TABLE {workers};
DROP TABLE {queues};
DROP TABLE {versions};

-- name: now
SELECT {now};

-- name: check
SELECT sqlite_version(), (SELECT encoding FROM pragma_encoding), (SELECT journal_mode FROM pragma_journal_mode);

-- name: ids
-- For each table that counts its ids: the last one given, and the last that there is; of its rows the smallest, the
-- largest that leaves some, and one that leaves hardly any; and the statement that sets the counter right.
WITH used (id) AS (
    SELECT id FROM (SELECT min(id) AS id FROM {jobs}) UNION ALL SELECT min(id) FROM {history}
    UNION ALL SELECT max(id) FROM {jobs} WHERE id < 9000000000000000000
    UNION ALL SELECT max(id) FROM {history} WHERE id < 9000000000000000000
),
given (last, beyond) AS (
    SELECT max(COALESCE((SELECT seq FROM {schema}.sqlite_sequence WHERE name = '{prefix}jobs'), 0),
               COALESCE((SELECT max(id) FROM {jobs}), 0), COALESCE((SELECT max(id) FROM used), 0)),
           (SELECT max(id) FROM {jobs} WHERE id >= 9000000000000000000)
)
SELECT '{prefix}jobs', last, 9223372036854775807, (SELECT min(id) FROM used), COALESCE((SELECT max(id) FROM used), 0),
       beyond, 'UPDATE sqlite_sequence SET seq = ' || COALESCE((SELECT max(id) FROM used WHERE id < 9000000000000000000), 0)
               || ' WHERE name = ''{prefix}jobs'''
FROM given
UNION ALL
SELECT '{prefix}attempts', COALESCE((SELECT max(id) FROM {attempts}), 0), 9223372036854775807,
       NULL, COALESCE((SELECT max(id) FROM {attempts}), 0), NULL,
       'DELETE FROM {prefix}attempts WHERE id >= 9000000000000000000';

-- part: tables
('{prefix}jobs', '{prefix}history', '{prefix}attempts', '{prefix}workers', '{prefix}queues')

-- name: strangers
SELECT 'foreign key', key."table", one.name || '.' || key."from", one.name
FROM {schema}.sqlite_schema AS one
JOIN pragma_foreign_key_list(one.name) AS key
WHERE one.type = 'table' AND lower(key."table") IN {tables}
UNION ALL
SELECT 'trigger', tbl_name, name, tbl_name
FROM {schema}.sqlite_schema
WHERE type = 'trigger' AND lower(tbl_name) IN {tables}
ORDER BY 1, 2, 3;

-- name: insert
-- It begins with INSERT: before that word Python's sqlite3 opens the transaction of the caller's connection.
INSERT INTO {jobs} (id, state, queue, priority, run_at, task, payload, created_at,
                    max_attempts, max_run_time, keep_failed, meta)
VALUES ({behind}, CASE WHEN COALESCE(:run_at, {now} + CAST(:delay * 1000000 AS integer)) <= {now} THEN 'ready' ELSE 'scheduled' END,
        :queue, :priority, COALESCE(:run_at, {now} + CAST(:delay * 1000000 AS integer)), :task, :payload, {now},
        :max_attempts, :max_run_time, :keep_failed, :meta)
RETURNING id, state, run_at, created_at;

-- name: insert_ready
-- A job that is due at once and says no more than it must: what most are.
INSERT INTO {jobs} (id, state, queue, priority, run_at, task, payload, created_at)
VALUES ({behind}, 'ready', :queue, :priority, {now}, :task, :payload, {now})
RETURNING id, created_at;

-- name: insert_many
INSERT INTO {jobs} (id, state, queue, priority, run_at, task, payload, created_at,
                    max_attempts, max_run_time, keep_failed, meta)
SELECT {behind} + nth, CASE WHEN due <= {now} THEN 'ready' ELSE 'scheduled' END, queue, priority, due, task, payload, {now},
       max_attempts, max_run_time, keep_failed, meta
FROM (
    SELECT key AS nth,
           COALESCE(json_extract(value, '$.due'),
                    {now} + CAST(json_extract(value, '$.delay') * 1000000 AS integer)) AS due,
           json_extract(value, '$.queue') AS queue,
           json_extract(value, '$.priority') AS priority,
           json_extract(value, '$.task') AS task,
           json_extract(value, '$.payload') AS payload,
           json_extract(value, '$.max_attempts') AS max_attempts,
           json_extract(value, '$.max_run_time') AS max_run_time,
           json_extract(value, '$.keep_failed') AS keep_failed,
           json_extract(value, '$.meta') AS meta
    FROM json_each(:rows)
)
ORDER BY nth
RETURNING id, state, run_at, created_at;

-- name: reserve
-- The largest id that there was, for a bulk load that gives the next ones; and the time. The first statement changes
-- nothing, but it takes the lock of those that write: nobody else can give ids before the load has. (Python's sqlite3
-- opens the caller's transaction before an UPDATE, not before a SELECT.)
UPDATE {schema}.sqlite_sequence
SET seq = seq
WHERE name = '{prefix}jobs';

SELECT max(COALESCE((SELECT seq FROM {schema}.sqlite_sequence WHERE name = '{prefix}jobs'), 0),
           COALESCE((SELECT max(id) FROM {jobs}), 0),
           COALESCE((SELECT max(id) FROM {history} WHERE id < 9223372036854775807), 0)),
       {now};

-- name: load
-- Placeholders by position: it is run once for each row.
INSERT INTO {jobs} (id, state, queue, priority, run_at, task, payload, created_at,
                    max_attempts, max_run_time, keep_failed, meta)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: lanes
-- A loose index scan: one probe for each queue and priority, at most 16 priorities of a queue (the last stands for
-- all above it), so that its cost depends on neither the number of jobs nor that of priorities. Not by a comparison of
-- (queue, priority): that seeks the queue, and then walks over all the jobs of its smaller priorities. And when the next
-- scheduled job is due.
WITH RECURSIVE lane (job, before, nth) AS (
    SELECT (SELECT id FROM {jobs} WHERE state = 'ready' ORDER BY queue, priority, run_at, id LIMIT 1), NULL, 0
    UNION ALL
    SELECT COALESCE(
               (
                   SELECT next.id
                   FROM {jobs} AS next
                   WHERE next.state = 'ready' AND next.queue = now.queue AND next.priority > now.priority
                     AND (now.queue IS NOT lane.before OR lane.nth < 14)
                   ORDER BY next.queue, next.priority, next.run_at, next.id
                   LIMIT 1
               ),
               (
                   SELECT next.id
                   FROM {jobs} AS next
                   WHERE next.state = 'ready' AND next.queue > now.queue
                   ORDER BY next.queue, next.priority, next.run_at, next.id
                   LIMIT 1
               )
           ),
           now.queue,
           CASE WHEN now.queue IS lane.before THEN lane.nth + 1 ELSE 0 END
    FROM lane
    JOIN {jobs} AS now ON now.id = lane.job
)
SELECT {name:queue} AS queue, priority, {within:run_at}, id
FROM lane
JOIN {jobs} ON id = job
UNION ALL
{next};

-- name: lanes_of
-- The same for the queues named.
WITH RECURSIVE lane (job, nth) AS (
    SELECT (
               SELECT id
               FROM {jobs}
               WHERE state = 'ready' AND queue = wanted.value
               ORDER BY queue, priority, run_at, id
               LIMIT 1
           ),
           1
    FROM json_each(:queues) AS wanted
    UNION ALL
    SELECT (
               SELECT next.id
               FROM {jobs} AS next
               WHERE next.state = 'ready' AND next.queue = now.queue AND next.priority > now.priority AND lane.nth < 16
               ORDER BY next.queue, next.priority, next.run_at, next.id
               LIMIT 1
           ),
           lane.nth + 1
    FROM lane
    JOIN {jobs} AS now ON now.id = lane.job
)
SELECT {name:queue} AS queue, priority, {within:run_at}, id
FROM lane
JOIN {jobs} ON id = job
UNION ALL
{next}
ORDER BY queue, priority;

-- name: claim
-- One lane: a queue, and priorities from that of the mark to `upto`. Deleted rows are gone at once here, so that the
-- scan needs no more of the mark than its priority.
UPDATE {jobs}
SET state = 'running', worker = :worker, token = :token, claimed_at = {now}
WHERE id IN (
    SELECT id
    FROM {jobs}
    WHERE state = 'ready' AND queue = :queue AND priority >= :priority AND priority <= :upto
      AND NOT EXISTS (SELECT 1 FROM {queues} WHERE name = :queue AND paused_at IS NOT NULL)
    ORDER BY queue, priority, run_at, id
    LIMIT :count
)
RETURNING {claimed};

-- name: peek
-- The next jobs of several lanes, each after a position, for the merge of lanes.
WITH lane (nth, queue, upto, priority, run_at, id) AS MATERIALIZED (
    SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
           json_extract(value, '$[3]'), json_extract(value, '$[4]'), json_extract(value, '$[5]')
    FROM json_each(:lanes)
    WHERE json_extract(value, '$[1]') NOT IN (SELECT name FROM {queues} WHERE paused_at IS NOT NULL)
)
SELECT lane.nth, j.priority, {within:j.run_at}, j.id
FROM lane
CROSS JOIN {jobs} AS j ON j.id IN (
    SELECT id
    FROM {jobs}
    WHERE state = 'ready' AND queue = lane.queue AND priority <= lane.upto
      AND (priority, run_at, id) > (lane.priority, lane.run_at, lane.id)
    ORDER BY queue, priority, run_at, id
    LIMIT :count
);

-- name: claim_ids
-- Jobs that a look has found, as far as they are what they were: ready, and in the lanes looked at.
UPDATE {jobs}
SET state = 'running', worker = :worker, token = :token, claimed_at = {now}
WHERE id {ids} AND +state = 'ready' AND queue NOT IN (SELECT name FROM {queues} WHERE paused_at IS NOT NULL)
  AND queue IN (SELECT value FROM json_each(:queues)) AND priority BETWEEN :low AND :high
RETURNING {claimed};

-- name: payload
-- And its size: of one that is too large nothing else.
SELECT {whole:payload}, length(CAST(payload AS blob))
FROM {jobs}
WHERE id = :id AND token = :token;

-- name: succeed
-- Fenced: a row whose token has changed is another claim's; its id is missing from the answer.
INSERT INTO {history} (id, run_at, created_at, claimed_at, finished_at, seconds, max_run_time, priority, attempt,
                       failures, crashes, rescues, free_retries, max_attempts, keep_failed, state, queue, task,
                       worker, meta, error, payload, result)
SELECT j.id, j.run_at, j.created_at, j.claimed_at, {now}, json_extract(d.value, '$.seconds'), j.max_run_time,
       j.priority, min(j.attempt, {most}) + 1, j.failures, j.crashes, j.rescues, j.free_retries, j.max_attempts, j.keep_failed,
       'succeeded', j.queue, j.task, j.worker, j.meta, NULL,
       CASE WHEN length(CAST(j.payload AS blob)) <= 4096 THEN j.payload END, json_extract(d.value, '$.result')
FROM {done}
WHERE json_extract(d.value, '$.keep')
{newest};

DELETE FROM {attempts}
WHERE job_id IN (
    SELECT j.id
    FROM {done}
    WHERE NOT json_extract(d.value, '$.keep')
);

DELETE FROM {jobs}
WHERE id IN (SELECT j.id FROM {done})
RETURNING id;

-- name: finish
-- Jobs that ended otherwise than by success. Where the database refuses what is to be done with a job's attempts, it is
-- not done (`recorded`, and in succeed a `keep` that is NULL): the job ends all the same.
INSERT INTO {history} (id, run_at, created_at, claimed_at, finished_at, seconds, max_run_time, priority, attempt,
                       failures, crashes, rescues, free_retries, max_attempts, keep_failed, state, queue, task,
                       worker, meta, error, payload)
SELECT j.id, j.run_at, j.created_at, j.claimed_at, {now}, json_extract(d.value, '$.seconds'), j.max_run_time,
       j.priority, min(j.attempt, {most}) + json_extract(d.value, '$.started'),
       min(j.failures, {most}) + json_extract(d.value, '$.failed'),
       min(j.crashes, {most}) + json_extract(d.value, '$.crashed'), j.rescues, j.free_retries, j.max_attempts, j.keep_failed,
       json_extract(d.value, '$.state'), j.queue, j.task, j.worker, j.meta, json_extract(d.value, '$.error'), j.payload
FROM {done}
WHERE json_extract(d.value, '$.keep')
{newest};

INSERT INTO {attempts} (job_id, started_at, ended_at, number, outcome, worker, error_type, message, traceback)
SELECT j.id, {now} - CAST(json_extract(d.value, '$.seconds') * 1000000 AS integer), {now}, min(j.attempt, {most}) + 1,
       json_extract(d.value, '$.outcome'), j.worker, json_extract(d.value, '$.error_type'),
       json_extract(d.value, '$.message'), json_extract(d.value, '$.traceback')
FROM {done}
WHERE json_extract(d.value, '$.keep') AND json_extract(d.value, '$.started') AND json_extract(d.value, '$.recorded');

DELETE FROM {attempts}
WHERE job_id IN (
    SELECT j.id
    FROM {done}
    WHERE NOT json_extract(d.value, '$.keep') AND json_extract(d.value, '$.recorded')
);

DELETE FROM {jobs}
WHERE id IN (SELECT j.id FROM {done})
RETURNING id;

-- name: back
-- Jobs that go back to wait: to be tried again, or released.
INSERT INTO {attempts} (job_id, started_at, ended_at, number, outcome, worker, error_type, message, traceback)
SELECT j.id, {now} - CAST(json_extract(d.value, '$.seconds') * 1000000 AS integer), {now}, min(j.attempt, {most}) + 1,
       json_extract(d.value, '$.outcome'), j.worker, json_extract(d.value, '$.error_type'),
       json_extract(d.value, '$.message'), json_extract(d.value, '$.traceback')
FROM {done}
WHERE json_extract(d.value, '$.started') AND json_extract(d.value, '$.recorded');

UPDATE {jobs} AS t
SET state = CASE WHEN c.delay > 0 THEN 'scheduled' ELSE 'ready' END,
    run_at = CASE WHEN c.delay IS NULL THEN t.run_at ELSE {now} + CAST(c.delay * 1000000 AS integer) END,
    attempt = min(t.attempt, {most}) + c.started,
    failures = min(t.failures, {most}) + c.failed,
    crashes = min(t.crashes, {most}) + c.crashed,
    free_retries = min(t.free_retries, {most}) + c.free,
    unknown_since = CASE WHEN c.unknown THEN COALESCE(t.unknown_since, {now})
                         WHEN NOT c.started THEN t.unknown_since END,
    suspect = c.suspect OR (t.suspect AND NOT c.started),
    error = COALESCE(c.error, t.error),
    worker = NULL,
    token = NULL,
    claimed_at = NULL
FROM (
    SELECT j.id,
           json_extract(d.value, '$.delay') AS delay,
           json_extract(d.value, '$.started') AS started,
           json_extract(d.value, '$.failed') AS failed,
           json_extract(d.value, '$.crashed') AS crashed,
           json_extract(d.value, '$.free') AS free,
           json_extract(d.value, '$.unknown') AS unknown,
           json_extract(d.value, '$.suspect') AS suspect,
           json_extract(d.value, '$.error') AS error
    FROM {done}
) AS c
WHERE t.id = c.id
RETURNING id;

-- name: locked
-- There are no locks of rows here: who writes keeps all others from it.
SELECT id
FROM {jobs}
WHERE id {ids} AND false;

-- name: settle
-- A job that was asked to be cancelled while it ran, and has come back, is cancelled now.
INSERT INTO {history} (id, run_at, created_at, claimed_at, finished_at, max_run_time, priority, attempt,
                       failures, crashes, rescues, free_retries, max_attempts, keep_failed, state, queue, task,
                       worker, meta, error, payload)
SELECT id, run_at, created_at, claimed_at, {now}, max_run_time, priority, attempt,
       failures, crashes, rescues, free_retries, max_attempts, keep_failed, 'cancelled', queue, task,
       worker, meta, error, payload
FROM {jobs}
WHERE id {ids} AND state IN ('ready', 'scheduled') AND cancel_requested
{newest};

DELETE FROM {jobs}
WHERE id {ids} AND state IN ('ready', 'scheduled') AND cancel_requested;

-- name: trim
-- Of each job's attempts, the first 5 and the last 20 are kept.
DELETE FROM {attempts}
WHERE id IN (
    SELECT id
    FROM (
        SELECT id,
               row_number() OVER (PARTITION BY job_id ORDER BY id) AS nth,
               row_number() OVER (PARTITION BY job_id ORDER BY id DESC) AS last
        FROM {attempts}
        WHERE job_id {ids}
    )
    WHERE nth > 5 AND last > 20
);

-- name: settled
-- Of outcomes that were refused: those that this worker has written after all (the answer was lost, or the job's own
-- transaction has completed it), with the state that the job ended in.
SELECT d.id, (SELECT state FROM {history} AS h WHERE h.id = d.id)
FROM (
    SELECT json_extract(value, '$.id') AS id, json_extract(value, '$.attempt') AS number
    FROM json_each(:outcomes)
) AS d
WHERE EXISTS (SELECT 1 FROM {history} AS h WHERE h.id = d.id AND h.worker = :worker AND h.attempt >= d.number)
   OR EXISTS (SELECT 1 FROM {attempts} AS a WHERE a.job_id = d.id AND a.worker = :worker AND a.number = d.number
              AND a.outcome <> 'lost');

-- name: beat
-- A row of NULL says that the worker was registered; the others are the running jobs that were asked to be cancelled.
UPDATE {workers}
SET beat_at = {now}
WHERE id = :worker;

SELECT NULL
FROM {workers}
WHERE id = :worker AND beat_at = {now}
UNION ALL
SELECT id
FROM {jobs}
WHERE state = 'running' AND worker = :worker AND cancel_requested;

-- name: register
-- It answers with the row: without an answer, the database has passed over it.
INSERT INTO {workers} (id, started_at, beat_at, lapse, pid, name, host, queues, version)
VALUES (:worker, {now}, {now}, :lapse, :pid, :name, :host, :queues, :version)
ON CONFLICT (id) DO UPDATE SET beat_at = excluded.beat_at
RETURNING id;

-- name: retire
DELETE FROM {workers}
WHERE id = :worker;

-- name: signs
-- When each worker has last shown that it lives: by its beat, or by its latest claim if it is not registered. As text:
-- it is never read as a time, but compared with what it was. And the jobs that :worker holds, or nobody.
SELECT id, CAST(beat_at AS text), {finite:lapse}, NULL
FROM {workers}
UNION ALL
SELECT worker, CAST(max(claimed_at) AS text), NULL, NULL
FROM {jobs} AS j
WHERE state = 'running' AND worker IS NOT NULL AND NOT EXISTS (SELECT 1 FROM {workers} AS w WHERE w.id = j.worker)
GROUP BY worker
UNION ALL
SELECT NULL, NULL, NULL, id
FROM {jobs}
WHERE state = 'running' AND (worker = :worker OR worker IS NULL);

-- name: lapsed
-- Of the workers that were seen, those that have not beaten since.
SELECT w.id
FROM json_each(:signs) AS s
JOIN {workers} AS w ON w.id = json_extract(s.value, '$.worker')
    AND CAST(w.beat_at AS text) = json_extract(s.value, '$.sign')
ORDER BY w.id;

-- name: orphaned
-- Of the unregistered ones, those that have neither claimed nor registered since.
SELECT json_extract(value, '$.worker')
FROM json_each(:signs)
WHERE NOT EXISTS (SELECT 1 FROM {workers} WHERE id = json_extract(value, '$.worker'))
  AND json_extract(value, '$.sign') = (
      SELECT CAST(max(claimed_at) AS text)
      FROM {jobs}
      WHERE state = 'running' AND worker = json_extract(value, '$.worker'));

-- name: rescue
-- Whether its attempt had started is unknown, so it is no failure; but at :most rescues a job is put aside as poison,
-- unless it was asked to be cancelled: that is what it will be. Until then it is a suspect, which runs alone: the next
-- time that its worker dies, those that were claimed beside it are not counted. What the database refuses is done for a
-- few of them (:only), or without its record.
INSERT INTO {attempts} (job_id, ended_at, number, outcome, worker, error_type, message)
SELECT id, {now}, min(attempt, {most}) + 1, 'lost', worker, NULL, 'the worker stopped beating'
FROM {jobs}
WHERE :recorded AND id IN ({lost} AND (rescues + 1 < :most OR cancel_requested) ORDER BY worker, id LIMIT :count);

UPDATE {jobs}
SET state = 'ready', rescues = min(rescues, {most}) + 1, suspect = 1, worker = NULL, token = NULL, claimed_at = NULL
WHERE id IN ({lost} AND (rescues + 1 < :most OR cancel_requested) ORDER BY worker, id LIMIT :count)
RETURNING id;

-- name: poison
INSERT INTO {history} (id, run_at, created_at, claimed_at, finished_at, max_run_time, priority, attempt,
                       failures, crashes, rescues, free_retries, max_attempts, keep_failed, state, queue, task,
                       worker, meta, error, payload)
SELECT id, run_at, created_at, claimed_at, {now}, max_run_time, priority, attempt,
       failures, crashes, min(rescues, {most}) + 1, free_retries, max_attempts, keep_failed, 'failed', queue, task,
       worker, meta, :error, payload
FROM {jobs}
WHERE id IN ({lost} AND rescues + 1 >= :most AND NOT cancel_requested ORDER BY worker, id LIMIT :count)
{newest};

INSERT INTO {attempts} (job_id, ended_at, number, outcome, worker, error_type, message)
SELECT id, {now}, min(attempt, {most}) + 1, 'lost', worker, NULL, :error
FROM {jobs}
WHERE :recorded AND id IN ({lost} AND rescues + 1 >= :most AND NOT cancel_requested ORDER BY worker, id LIMIT :count);

DELETE FROM {jobs}
WHERE id IN ({lost} AND rescues + 1 >= :most AND NOT cancel_requested ORDER BY worker, id LIMIT :count)
RETURNING id;

-- name: held_by
-- What these workers hold.
SELECT id
FROM {jobs}
WHERE state = 'running' AND worker IN (SELECT value FROM json_each(:workers))
ORDER BY worker, id
LIMIT :count;

-- name: strays
-- Claims of a worker that it does not know: the answer to its claim was lost. And jobs that run nowhere, as their row says.
UPDATE {jobs}
SET state = 'ready', worker = NULL, token = NULL, claimed_at = NULL
WHERE state = 'running' AND (worker = :worker OR worker IS NULL) AND id NOT {ids}
RETURNING id;

-- name: bury
-- A lapsed worker is forgotten once it holds nothing; one that beats again registers anew.
DELETE FROM {workers}
WHERE id IN (SELECT value FROM json_each(:workers))
  AND NOT EXISTS (SELECT 1 FROM {jobs} AS j WHERE j.state = 'running' AND j.worker = {workers}.id);

-- name: promote
-- It answers with their number: to return a thousand ids takes a tenth of the time.
UPDATE {jobs}
SET state = 'ready'
WHERE id IN (
    SELECT id
    FROM {jobs}
    WHERE state = 'scheduled' AND run_at <= {now} AND {only}
    ORDER BY run_at, id
    LIMIT :count
);

SELECT changes();

-- name: promote_urgent
-- Of more due jobs than one batch takes, the most urgent: those of the 16 smallest priorities, in their order. CROSS
-- JOIN: the priorities drive, a look-up each, and the rows come in the order of the index.
WITH RECURSIVE level (priority, nth) AS (
    SELECT (SELECT priority FROM {jobs} WHERE state = 'scheduled' ORDER BY priority, run_at, id LIMIT 1), 1
    UNION ALL
    SELECT (
               SELECT next.priority
               FROM {jobs} AS next
               WHERE next.state = 'scheduled' AND next.priority > level.priority
               ORDER BY next.priority, next.run_at, next.id
               LIMIT 1
           ),
           nth + 1
    FROM level
    WHERE level.priority IS NOT NULL AND nth < 16
)
UPDATE {jobs}
SET state = 'ready'
WHERE id IN (
    SELECT j.id
    FROM level
    CROSS JOIN {jobs} AS j INDEXED BY "{prefix}jobs_urgent"
    WHERE j.state = 'scheduled' AND j.priority = level.priority AND j.run_at <= {now}
    LIMIT :count
);

SELECT changes();

-- name: next_due
SELECT ({within:run_at} - {now}) / 1000000.0
FROM {jobs}
WHERE state = 'scheduled'
ORDER BY run_at, id
LIMIT 1;

-- name: scheduled
-- The jobs that are due next, and in how many seconds: to look past those that cannot be made ready.
SELECT id, ({within:run_at} - {now}) / 1000000.0
FROM {jobs}
WHERE state = 'scheduled'
ORDER BY run_at, id
LIMIT :count;

-- name: get
SELECT {live}
FROM {jobs}
WHERE id = :id
UNION ALL
SELECT {ended}
FROM {history}
WHERE id = :id;

-- name: attempts
SELECT number, {name:outcome}, {name:worker}, started_at, ended_at,
       {words:error_type}, {words:message}, {words:traceback}
FROM {attempts}
WHERE job_id = :id
ORDER BY id;

-- name: find
-- Newest first, by id; a page ends where the next one begins. Each table by its order or, where ids are given, by these:
-- `:ids IS NULL OR id IN …` would be no condition that is looked up. What names no column is tested first, and once: a
-- table that can hold none of the states is left alone. +id: no range is walked instead, whatever old statistics say.
SELECT *
FROM (SELECT {live} FROM {jobs} WHERE :in_jobs AND :ids IS NULL AND id < :before AND {filter} ORDER BY id DESC LIMIT :count)
UNION ALL
SELECT *
FROM (SELECT {live} FROM {jobs} WHERE :in_jobs AND id {ids} AND +id < :before AND {filter} ORDER BY id DESC LIMIT :count)
UNION ALL
SELECT *
FROM (SELECT {ended} FROM {history} WHERE :in_history AND :ids IS NULL AND id < :before AND {filter} ORDER BY id DESC LIMIT :count)
UNION ALL
SELECT *
FROM (SELECT {ended} FROM {history} WHERE :in_history AND id {ids} AND +id < :before AND {filter} ORDER BY id DESC LIMIT :count)
ORDER BY 1 DESC
LIMIT :count;

-- name: matching
-- Ids in order, for changes of many jobs in pieces.
SELECT *
FROM (SELECT id FROM {jobs} WHERE :in_jobs AND :ids IS NULL AND id > :after AND {filter} ORDER BY id LIMIT :count)
UNION ALL
SELECT *
FROM (SELECT id FROM {jobs} WHERE :in_jobs AND id {ids} AND +id > :after AND {filter} ORDER BY id LIMIT :count)
UNION ALL
SELECT *
FROM (SELECT id FROM {history} WHERE :in_history AND :ids IS NULL AND id > :after AND {filter} ORDER BY id LIMIT :count)
UNION ALL
SELECT *
FROM (SELECT id FROM {history} WHERE :in_history AND id {ids} AND +id > :after AND {filter} ORDER BY id LIMIT :count)
ORDER BY 1
LIMIT :count;

-- name: counts
SELECT {name:queue}, {name:state}, count(*), min(run_at)
FROM {jobs}
GROUP BY queue, state
ORDER BY queue, state;

-- name: overdue
-- What is due and yet scheduled waits too: no worker is there to make it ready.
SELECT {name:queue}, count(*), min(run_at),
       EXISTS (SELECT 1 FROM {queues} AS q WHERE q.name = j.queue AND q.paused_at IS NOT NULL)
FROM {jobs} AS j
WHERE state IN ('ready', 'scheduled') AND attempt = 0 AND run_at < {now} - CAST(:age * 1000000 AS integer)
GROUP BY queue
ORDER BY queue;

-- name: ended_counts
-- Counted up to :most, so that a long history costs no more than that.
SELECT 'succeeded', count(*) FROM (SELECT 1 FROM {history} WHERE state = 'succeeded' LIMIT :most)
UNION ALL
SELECT 'failed', count(*) FROM (SELECT 1 FROM {history} WHERE state = 'failed' LIMIT :most)
UNION ALL
SELECT 'cancelled', count(*) FROM (SELECT 1 FROM {history} WHERE state = 'cancelled' LIMIT :most);

-- name: workers
SELECT {name:w.id}, {name:w.name}, {name:w.host}, w.pid, {words:w.queues}, {name:w.version}, w.started_at, w.beat_at,
       w.beat_at >= {now} - CAST({finite:w.lapse} * 1000000 AS integer),
       (SELECT count(*) FROM {jobs} AS j WHERE j.state = 'running' AND j.worker = w.id)
FROM {workers} AS w
ORDER BY w.started_at, w.id;

-- name: cancel_waiting
INSERT INTO {history} (id, run_at, created_at, claimed_at, finished_at, max_run_time, priority, attempt,
                       failures, crashes, rescues, free_retries, max_attempts, keep_failed, state, queue, task,
                       worker, meta, error, payload)
SELECT id, run_at, created_at, NULL, {now}, max_run_time, priority, attempt,
       failures, crashes, rescues, free_retries, max_attempts, keep_failed, 'cancelled', queue, task,
       NULL, meta, error, payload
FROM {jobs}
WHERE id {ids} AND state IN ('ready', 'scheduled')
{newest};

DELETE FROM {jobs}
WHERE id {ids} AND state IN ('ready', 'scheduled')
RETURNING id;

-- What the database has passed over is to run as before.
DELETE FROM {history}
WHERE id {ids} AND finished_at = {now} AND +state = 'cancelled'
  AND EXISTS (SELECT 1 FROM {jobs} AS j WHERE j.id = {history}.id AND j.state IN ('ready', 'scheduled'));

-- name: cancel_running
UPDATE {jobs}
SET cancel_requested = 1
WHERE id {ids} AND state = 'running'
RETURNING id;

-- name: retry_ended
-- A live job whose id was given twice stays as it is, and so does the history of the other.
-- +state: without statistics, the index by state would be taken for better than a look-up of each id.
INSERT INTO {jobs} (id, state, queue, priority, run_at, task, payload, created_at, attempt,
                    max_attempts, max_run_time, keep_failed, meta, error)
SELECT id, 'ready', queue, priority, {now}, task, payload, created_at, attempt,
       max_attempts, max_run_time, keep_failed, meta, error
FROM {history} AS h
WHERE id {ids} AND +state IN ('failed', 'cancelled') AND payload IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM {jobs} AS j WHERE j.id = h.id)
RETURNING id;

DELETE FROM {history}
WHERE id {ids} AND +state IN ('failed', 'cancelled')
  AND EXISTS (SELECT 1 FROM {jobs} AS j WHERE j.id = {history}.id AND j.state = 'ready' AND j.run_at = {now});

-- name: retry_waiting
UPDATE {jobs}
SET state = 'ready', run_at = {now}, failures = 0, crashes = 0, rescues = 0, free_retries = 0,
    unknown_since = NULL, suspect = 0
WHERE id {ids} AND state = 'scheduled'
RETURNING id;

-- name: delete_waiting
-- One whose state nobody knows does not run.
DELETE FROM {jobs}
WHERE id {ids} AND state <> 'running'
RETURNING id;

-- name: delete_ended
DELETE FROM {history}
WHERE id {ids}
RETURNING id;

-- name: delete_attempts
DELETE FROM {attempts}
WHERE job_id {ids};

-- name: change
UPDATE {jobs}
SET queue = COALESCE(:queue, queue),
    priority = COALESCE(:priority, priority),
    run_at = COALESCE(:run_at, {now} + CAST(:delay * 1000000 AS integer), run_at),
    state = CASE WHEN COALESCE(:run_at, {now} + CAST(:delay * 1000000 AS integer), run_at) <= {now}
                 THEN 'ready' ELSE 'scheduled' END
WHERE id {ids} AND state IN ('ready', 'scheduled')
RETURNING id;

-- name: pause
INSERT INTO {queues} (name, paused_at)
VALUES (:queue, {now})
ON CONFLICT (name) DO UPDATE SET paused_at = COALESCE(paused_at, excluded.paused_at)
RETURNING name;

-- name: resume
UPDATE {queues}
SET paused_at = NULL
WHERE name = :queue
RETURNING name;

-- name: paused
SELECT {name:name}
FROM {queues}
WHERE paused_at IS NOT NULL
ORDER BY name;

-- name: mend
-- Columns that have lost their checks may hold what those of another table refuse, and then a job cannot move to it.
-- They are set to what is read of them.
UPDATE {jobs}
SET unknown_since = CAST({within:unknown_since} AS integer), suspect = suspect = 1,
    cancel_requested = cancel_requested = 1, token = {text:token},
    run_at = CAST({within:run_at} AS integer), created_at = CAST({within:created_at} AS integer),
    claimed_at = CAST({within:claimed_at} AS integer), max_run_time = CAST({finite:max_run_time} AS real),
    priority = CAST(min(max(priority, -2147483648), 2147483647) AS integer), attempt = {counter:attempt},
    failures = {counter:failures}, crashes = {counter:crashes}, rescues = {counter:rescues},
    free_retries = {counter:free_retries},
    max_attempts = CASE WHEN max_attempts BETWEEN 1 AND 2147483647 THEN CAST(max_attempts AS integer) END,
    keep_failed = CASE WHEN keep_failed IN (0, 1) THEN keep_failed END,
    queue = COALESCE(NULLIF({text:queue}, ''), 'default'), task = COALESCE(NULLIF({text:task}, ''), 'unknown'),
    worker = {text:worker}, error = CAST(substr(CAST(error AS blob), 1, 65536) AS text),
    meta = CASE WHEN length(CAST(meta AS blob)) <= 16384
                THEN CASE WHEN json_valid(meta) THEN CASE WHEN json_type(meta) = 'object' THEN CAST(meta AS text) END END END,
    payload = CAST(COALESCE({whole:payload}, '') AS text)
WHERE id {ids};

UPDATE {history}
SET finished_at = CAST({within:finished_at} AS integer), seconds = CAST({finite:seconds} AS real),
    result = CAST({whole:result} AS text),
    run_at = CAST({within:run_at} AS integer), created_at = CAST({within:created_at} AS integer),
    claimed_at = CAST({within:claimed_at} AS integer), max_run_time = CAST({finite:max_run_time} AS real),
    priority = CAST(min(max(priority, -2147483648), 2147483647) AS integer), attempt = {counter:attempt},
    failures = {counter:failures}, crashes = {counter:crashes}, rescues = {counter:rescues},
    free_retries = {counter:free_retries},
    max_attempts = CASE WHEN max_attempts BETWEEN 1 AND 2147483647 THEN CAST(max_attempts AS integer) END,
    keep_failed = CASE WHEN keep_failed IN (0, 1) THEN keep_failed END,
    queue = COALESCE(NULLIF({text:queue}, ''), 'default'), task = COALESCE(NULLIF({text:task}, ''), 'unknown'),
    worker = {text:worker}, error = CAST(substr(CAST(error AS blob), 1, 65536) AS text),
    meta = CASE WHEN length(CAST(meta AS blob)) <= 16384
                THEN CASE WHEN json_valid(meta) THEN CASE WHEN json_type(meta) = 'object' THEN CAST(meta AS text) END END END,
    payload = CAST({whole:payload} AS text)
WHERE id {ids};

-- name: prune
-- It answers with how many it was, and whether some were left that it was to delete.
DELETE FROM {attempts}
WHERE job_id IN (
    SELECT id
    FROM {history}
    WHERE state = :state AND finished_at < {now} - CAST(:age * 1000000 AS integer)
    ORDER BY finished_at, id
    LIMIT :count
);

DELETE FROM {history}
WHERE id IN (
    SELECT id
    FROM {history}
    WHERE state = :state AND finished_at < {now} - CAST(:age * 1000000 AS integer)
    ORDER BY finished_at, id
    LIMIT :count
);

SELECT changes(), changes() < :count AND EXISTS (
    SELECT 1
    FROM {history}
    WHERE state = :state AND finished_at < {now} - CAST(:age * 1000000 AS integer)
);

-- name: passed
-- The place of a succeeded job that is so many older than another one, or than all. Step by step: to pass over a million
-- in one go takes half a second.
SELECT finished_at, id
FROM {history}
WHERE state = 'succeeded' AND (finished_at, id) < (COALESCE(:finished_at, 9223372036854775807), :id)
ORDER BY finished_at DESC, id DESC
LIMIT 1 OFFSET :count - 1;

-- name: prune_excess
-- The succeeded jobs from a place on, the oldest first.
DELETE FROM {attempts}
WHERE job_id IN (
    SELECT id
    FROM {history}
    WHERE state = 'succeeded' AND (finished_at, id) <= (:finished_at, :id)
    ORDER BY finished_at, id
    LIMIT :count
);

DELETE FROM {history}
WHERE id IN (
    SELECT id
    FROM {history}
    WHERE state = 'succeeded' AND (finished_at, id) <= (:finished_at, :id)
    ORDER BY finished_at, id
    LIMIT :count
);

SELECT changes(), changes() < :count AND EXISTS (
    SELECT 1
    FROM {history}
    WHERE state = 'succeeded' AND (finished_at, id) <= (:finished_at, :id)
);
