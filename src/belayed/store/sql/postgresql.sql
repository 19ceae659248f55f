-- part: now
-- The server's time at the start of the statement: one for all its rows, never the transaction's frozen one, and
-- stable, so that the planner takes it as an index condition.
COALESCE(CAST(:now AS timestamptz), statement_timestamp())

-- part: ids
ANY (ARRAY(SELECT CAST(value AS bigint) FROM json_array_elements_text(CAST(:ids AS json)) AS listed(value)))

-- part: only
-- A bind that is NULL asks nothing.
(CAST(:only AS text) IS NULL OR id = ANY (ARRAY(SELECT CAST(value AS bigint) FROM json_array_elements_text(CAST(:only AS json)) AS listed(value))))

-- part: most
-- No counter passes its type's end, whatever another program has written: an error would keep all that ends with it.
2147483646

-- part: first
CAST('0001-01-01 00:00Z' AS timestamptz)

-- part: last
CAST('9999-12-31 23:59:59.999999Z' AS timestamptz)

-- Checks keep out what cannot be read. But a table may have lost them, and then one row must not stop all the others:
-- what follows reads any value as one that the checks would let in.

-- part: within
-- A time within the years 1 to 9999: drivers read no other, and arithmetic with an infinite one is an error.
CASE WHEN {it} < {first} THEN {first} WHEN {it} > {last} THEN {last} ELSE {it} END

-- part: utc
CASE WHEN {it} < {first} THEN {first} WHEN {it} > {last} THEN {last} ELSE {it} END AT TIME ZONE 'UTC'

-- part: finite
-- Seconds that are a time. NaN is greater than all other numbers.
CASE WHEN {it} BETWEEN 0 AND 10000000000 THEN {it} END

-- part: name
-- A name or another short text; what is longer than any that is let in is cut, so that it costs nobody to carry it.
CASE WHEN octet_length({it}) <= 1020 THEN {it} ELSE substr({it}, 1, 200) || '...' END

-- part: words
-- An error and the like.
CASE WHEN octet_length({it}) <= 65536 THEN {it} ELSE substr({it}, 1, 1000) || '...' END

-- part: object
-- A meta: one that is cut is no JSON any more, and shown as unreadable.
CASE WHEN octet_length({it}) <= 16384 THEN {it} ELSE substr({it}, 1, 200) END

-- part: whole
-- A payload or a result: too large a one is not read.
CASE WHEN octet_length({it}) <= 67108864 THEN {it} END

-- part: takes_hints
-- A session that listens and stays in a transaction keeps all that is notified; once the queue is full, every COMMIT of
-- a transaction with a hint fails. So there is none from half of it on: workers find jobs by looking. It takes 0.3 us.
pg_notification_queue_usage() < 0.5

-- part: claimed
-- The columns of a claimed job, in the order of claim.Claimed. Its texts are bounded: a claim may bring a thousand.
j.id, {name:j.queue}, j.priority, {utc:j.run_at}, {name:j.task},
CASE WHEN octet_length(j.payload) <= 16384 THEN j.payload END,
{utc:j.created_at}, j.attempt, j.failures, j.crashes, j.rescues, j.free_retries,
j.max_attempts, {finite:j.max_run_time}, j.keep_failed, {object:j.meta},
CASE WHEN isfinite(j.unknown_since)
     THEN CAST(EXTRACT(EPOCH FROM j.claimed_at - j.unknown_since) AS double precision) END, j.token, j.suspect

-- part: next
-- For a look at the lanes: the microseconds until the next scheduled job is due.
(
    SELECT NULL, NULL, NULL, CAST(EXTRACT(EPOCH FROM {within:run_at} - {now}) * 1000000 AS bigint)
    FROM {jobs}
    WHERE state = 'scheduled'
    ORDER BY run_at, id
    LIMIT 1
)

-- part: ahead
-- The ready jobs of a lane, from its mark on.
FROM {jobs}
WHERE state = 'ready'
  AND queue = lane.queue
  AND (priority, run_at, id) >= (lane.priority, lane.mark_at, lane.mark_id)
  AND priority <= lane.upto

-- part: head
-- Which jobs come first over several lanes: a few of each are looked at, of those that are likely to have the next jobs
-- (`early`), then of the others where they may come before the last one wanted (`late`). A lane all of whose few are
-- among the `nearest` may have more that come before the `last` of these (`rest`).
-- NOT IN, and further down IS TRUE: no join of CTEs, of which the planner may take one for one row and compare each with
-- each; and no look at the ids through the index of all that is ready.
WITH lane AS MATERIALIZED (
    SELECT nth, queue, priority, upto, COALESCE(mark_at, '-infinity') AS mark_at, mark_id, few, late
    FROM json_to_recordset(CAST(:lanes AS json)) AS l(
        nth integer, queue text COLLATE "C", priority integer, upto integer, mark_at timestamptz, mark_id bigint,
        few integer, late boolean)
    WHERE queue NOT IN (SELECT name FROM {queues} WHERE paused_at IS NOT NULL)
),
early AS MATERIALIZED (
    SELECT lane.nth, ahead.*
    FROM lane
    CROSS JOIN LATERAL (SELECT priority, run_at, id {ahead} ORDER BY queue, priority, run_at, id LIMIT lane.few) AS ahead
    WHERE NOT lane.late
),
edge AS MATERIALIZED (
    SELECT priority, run_at, id
    FROM early
    ORDER BY priority, run_at, id
    OFFSET :count - 1
    LIMIT 1
),
late AS MATERIALIZED (
    SELECT lane.nth, ahead.*
    FROM lane
    CROSS JOIN LATERAL (SELECT priority, run_at, id {ahead} ORDER BY queue, priority, run_at, id LIMIT lane.few) AS ahead
    WHERE lane.late
      AND (lane.priority, lane.mark_at, lane.mark_id)
          <= (COALESCE((SELECT priority FROM edge), 2147483647), COALESCE((SELECT run_at FROM edge), 'infinity'),
              (SELECT id FROM edge))
),
nearest AS MATERIALIZED (
    SELECT nth, priority, run_at, id
    FROM (SELECT * FROM early UNION ALL SELECT * FROM late) AS looked
    ORDER BY priority, run_at, id
    LIMIT :count
),
last AS MATERIALIZED (
    SELECT priority, run_at, id
    FROM nearest
    ORDER BY priority, run_at, id
    OFFSET :count - 1
    LIMIT 1
),
rest AS MATERIALIZED (
    SELECT lane.nth, ahead.*
    FROM (SELECT nth, count(*) AS jobs FROM nearest GROUP BY nth) AS found
    JOIN lane USING (nth)
    CROSS JOIN LATERAL (
        SELECT priority, run_at, id
        {ahead}
          AND (priority, run_at, id)
              <= (COALESCE((SELECT priority FROM last), 2147483647), COALESCE((SELECT run_at FROM last), 'infinity'),
                  (SELECT id FROM last))
        ORDER BY queue, priority, run_at, id
        OFFSET lane.few
        LIMIT :count
    ) AS ahead
    WHERE found.jobs = lane.few
),
head AS MATERIALIZED (
    SELECT nth, priority, run_at, id
    FROM nearest
    WHERE NOT EXISTS (SELECT FROM rest)
    UNION ALL
    (
        SELECT nth, priority, run_at, id
        FROM (SELECT * FROM nearest UNION ALL SELECT * FROM rest) AS looked
        WHERE EXISTS (SELECT FROM rest)
        ORDER BY priority, run_at, id
        LIMIT :count
    )
)

-- part: live
-- A live job as people see it; the same columns as {ended}.
id, {name:state}, {name:queue}, priority, {utc:run_at}, {name:task}, {whole:payload}, {utc:created_at},
attempt, failures, crashes, rescues, free_retries, max_attempts, {finite:max_run_time}, keep_failed, {object:meta},
{words:error}, {name:worker}, {utc:claimed_at}, cancel_requested,
CAST(NULL AS timestamp), CAST(NULL AS double precision), CAST(NULL AS text)

-- part: ended
id, {name:state}, {name:queue}, priority, {utc:run_at}, {name:task}, {whole:payload}, {utc:created_at},
attempt, failures, crashes, rescues, free_retries, max_attempts, {finite:max_run_time}, keep_failed, {object:meta},
{words:error}, {name:worker}, {utc:claimed_at}, false,
{utc:finished_at}, {finite:seconds}, {whole:result}

-- part: filter
-- A bind that is NULL asks nothing; the planner sees the value and drops the condition.
(CAST(:ids AS text) IS NULL OR id = {ids})
AND (CAST(:states AS text) IS NULL OR state IN (SELECT json_array_elements_text(CAST(:states AS json))))
AND (CAST(:queues AS text) IS NULL OR queue IN (SELECT json_array_elements_text(CAST(:queues AS json))))
AND (CAST(:tasks AS text) IS NULL OR task IN (SELECT json_array_elements_text(CAST(:tasks AS json))))
AND (CAST(:created_after AS timestamptz) IS NULL OR created_at > :created_after)
AND (CAST(:created_before AS timestamptz) IS NULL OR created_at < :created_before)

-- part: newest
-- An id may have been given twice, where the database was restored or failed over: the later end is the one that counts.
ON CONFLICT (id) DO UPDATE SET
    run_at = excluded.run_at, created_at = excluded.created_at, claimed_at = excluded.claimed_at, finished_at = excluded.finished_at,
    seconds = excluded.seconds, max_run_time = excluded.max_run_time, priority = excluded.priority, attempt = excluded.attempt,
    failures = excluded.failures, crashes = excluded.crashes, rescues = excluded.rescues, free_retries = excluded.free_retries,
    max_attempts = excluded.max_attempts, keep_failed = excluded.keep_failed, state = excluded.state, queue = excluded.queue,
    task = excluded.task, worker = excluded.worker, meta = excluded.meta, error = excluded.error,
    payload = excluded.payload, result = excluded.result

-- name: has_schema
SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = :name);

-- name: create_schema
CREATE SCHEMA IF NOT EXISTS {schema};

-- name: has_versions
SELECT to_regclass(CAST(:table AS text)) IS NOT NULL;

-- name: place
SELECT n.nspname
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = to_regclass(CAST(:table AS text));

-- name: create_versions
CREATE TABLE IF NOT EXISTS {versions} (version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now());

-- name: lock_versions
-- Two migrators at once: the second waits here, and then finds nothing to do.
SELECT pg_advisory_xact_lock(hashtext('belayed migrate'), hashtext(CAST(:table AS text)));

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
DROP DOMAIN {instant}, {span}, {label}, {small}, {brief}, {body}, {live_state}, {end_state}, {outcome};

-- name: now
SELECT {now} AT TIME ZONE 'UTC';

-- name: check
SELECT current_setting('server_version'), current_setting('server_encoding'), NULL;

-- name: ids
-- For each table that counts its ids: the last one given (NULL: that may not be read), and the last that there is; of its
-- rows the smallest, the largest that leaves some, and one that leaves hardly any, which no sequence minds; and the
-- statement that sets the counter right.
WITH used AS (
    SELECT '{prefix}jobs' AS name, pg_get_serial_sequence('{jobs}', 'id') AS sequence,
           LEAST((SELECT min(id) FROM {jobs}), (SELECT min(id) FROM {history})) AS least,
           GREATEST((SELECT max(id) FROM {jobs} WHERE id < 9000000000000000000),
                    (SELECT max(id) FROM {history} WHERE id < 9000000000000000000), 0) AS greatest
    UNION ALL
    SELECT '{prefix}attempts', pg_get_serial_sequence('{attempts}', 'id'), NULL, GREATEST((SELECT max(id) FROM {attempts} WHERE id < 9000000000000000000), 0)
)
SELECT name,
       CASE WHEN has_sequence_privilege(sequence, 'USAGE, SELECT')
            THEN COALESCE(pg_sequence_last_value(CAST(sequence AS regclass)), 0) END,
       seqmax, least, greatest, CAST(NULL AS bigint),
       format('SELECT setval(%L, %s, %L)', sequence, GREATEST(greatest, 1), greatest > 0)
FROM used
LEFT JOIN pg_sequence ON seqrelid = CAST(sequence AS regclass)
ORDER BY name DESC;

-- name: sessions
-- Through a Unix socket the settings of TCP are shown as 0, and what they are otherwise is the reset value.
SELECT current_database(), COALESCE(inet_client_addr() <> inet_server_addr(), false),
       MAX(number) FILTER (WHERE name = 'tcp_keepalives_idle'),
       MAX(number) FILTER (WHERE name = 'tcp_keepalives_interval'),
       MAX(number) FILTER (WHERE name = 'tcp_keepalives_count'),
       MAX(number) FILTER (WHERE name = 'tcp_user_timeout') / 1000,
       MAX(number) FILTER (WHERE name = 'idle_in_transaction_session_timeout') / 1000
FROM (SELECT name, CAST(CASE WHEN inet_client_addr() IS NULL THEN reset_val ELSE setting END AS double precision) AS number
      FROM pg_settings
      WHERE name LIKE 'tcp\_%' OR name = 'idle_in_transaction_session_timeout') AS settings;

-- part: tables
ARRAY[to_regclass('{jobs}'), to_regclass('{history}'), to_regclass('{attempts}'), to_regclass('{workers}'),
      to_regclass('{queues}')]

-- name: strangers
SELECT 'foreign key', CAST(CAST(confrelid AS regclass) AS text), conname, CAST(CAST(conrelid AS regclass) AS text)
FROM pg_constraint
WHERE contype = 'f' AND confrelid = ANY ({tables})
UNION ALL
SELECT 'foreign key', CAST(CAST(conrelid AS regclass) AS text), conname, CAST(CAST(conrelid AS regclass) AS text)
FROM pg_constraint
WHERE contype = 'f' AND conrelid = ANY ({tables})
UNION ALL
SELECT 'trigger', CAST(CAST(tgrelid AS regclass) AS text), tgname, CAST(CAST(tgrelid AS regclass) AS text)
FROM pg_trigger
WHERE NOT tgisinternal AND tgrelid = ANY ({tables})
UNION ALL
SELECT 'rule', CAST(CAST(ev_class AS regclass) AS text), rulename, CAST(CAST(ev_class AS regclass) AS text)
FROM pg_rewrite
WHERE ev_class = ANY ({tables})
ORDER BY 1, 2, 3;

-- name: no_entry
-- The schema, if its tables are out of the role's reach: if none was named, each of the search path with such tables.
SELECT quote_ident(nspname), quote_ident(current_user)
FROM pg_namespace AS n
WHERE NOT has_schema_privilege(n.oid, 'USAGE')
  AND (nspname = :name
       OR CAST(:name AS text) IS NULL
          AND EXISTS (SELECT FROM pg_class WHERE relnamespace = n.oid AND relname = '{prefix}jobs')
          AND nspname = ANY (string_to_array(replace(current_setting('search_path'), ' ', ''), ',')));

-- name: no_room
-- The schema that new tables go into, if the role may not make any there.
SELECT quote_ident(nspname), quote_ident(current_user)
FROM pg_namespace
WHERE nspname = coalesce(:name, current_schema()) AND NOT has_schema_privilege(oid, 'CREATE');

-- name: lacking
-- The rights that the role lacks.
SELECT 'TABLE ' || name, string_agg(needed, ', ' ORDER BY needed), quote_ident(current_user)
FROM unnest(ARRAY['{jobs}', '{history}', '{attempts}', '{workers}', '{queues}']) AS named(name)
CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS wanted(needed)
WHERE NOT has_table_privilege(name, needed)
GROUP BY name
UNION ALL
SELECT 'TABLE {versions}', 'SELECT', quote_ident(current_user)
WHERE NOT has_table_privilege('{versions}', 'SELECT')
UNION ALL
SELECT 'SEQUENCE ' || name, 'USAGE', quote_ident(current_user)
FROM unnest(ARRAY[pg_get_serial_sequence('{jobs}', 'id'), pg_get_serial_sequence('{attempts}', 'id')]) AS named(name)
WHERE NOT has_sequence_privilege(name, 'USAGE')
UNION ALL
SELECT 'FUNCTION pg_notify(text, text)', 'EXECUTE', quote_ident(current_user)
WHERE NOT has_function_privilege('pg_notify(text, text)', 'EXECUTE')
ORDER BY 1;

-- name: secured
-- The tables of which the role may not see all rows.
SELECT CAST(CAST(oid AS regclass) AS text), quote_ident(current_user)
FROM pg_class
WHERE oid = ANY ({tables}) AND relrowsecurity AND row_security_active(oid)
ORDER BY 1;

-- name: copies
SELECT n.nspname, quote_ident(n.nspname)
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relname = '{prefix}jobs' AND c.relkind IN ('r', 'p') AND c.oid <> to_regclass('{jobs}')
  AND n.nspname = ANY (current_schemas(true))
ORDER BY 1;

-- name: notified
-- How full the queue of notifications is; and the session that has been idle in a transaction for longest, if any.
SELECT pg_notification_queue_usage(),
       (SELECT pid FROM pg_stat_activity WHERE state LIKE 'idle in transaction%' ORDER BY xact_start LIMIT 1);

-- name: insert
-- The hint rides along: one trip, and PostgreSQL sends the same hint of one transaction only once. One VALUES row,
-- because nothing is prepared: of the forms tried it is the quickest to plan.
INSERT INTO {jobs} (state, queue, priority, run_at, task, payload, created_at,
                    max_attempts, max_run_time, keep_failed, meta)
VALUES (
    CASE WHEN COALESCE(CAST(:run_at AS timestamptz), {now} + make_interval(secs => CAST(:delay AS double precision)))
              <= {now}
         THEN 'ready' ELSE 'scheduled' END,
    :queue, :priority,
    COALESCE(CAST(:run_at AS timestamptz), {now} + make_interval(secs => CAST(:delay AS double precision))),
    :task, :payload, {now}, CAST(:max_attempts AS integer), CAST(:max_run_time AS double precision),
    :keep_failed, CAST(:meta AS text)
)
RETURNING id, state, run_at AT TIME ZONE 'UTC', created_at AT TIME ZONE 'UTC',
          CASE WHEN CAST(:hint AS text) IS NOT NULL AND {takes_hints} THEN pg_notify(:channel, :hint) END;

-- name: insert_ready
-- A job that is due at once and says no more than it must: what most are. The time is given as it is: to put it in a
-- zone is 3 % of the statement's work.
INSERT INTO {jobs} (state, queue, priority, run_at, task, payload, created_at)
VALUES ('ready', :queue, :priority, statement_timestamp(), :task, :payload, statement_timestamp())
RETURNING id, created_at;

-- name: insert_told
-- The same with a hint.
INSERT INTO {jobs} (state, queue, priority, run_at, task, payload, created_at)
VALUES ('ready', :queue, :priority, statement_timestamp(), :task, :payload, statement_timestamp())
RETURNING id, created_at, CASE WHEN {takes_hints} THEN pg_notify(:channel, :hint) END;

-- name: insert_many
-- Ids are given in the order of the rows: the sort comes before the identity column's default.
INSERT INTO {jobs} AS j (state, queue, priority, run_at, task, payload, created_at,
                         max_attempts, max_run_time, keep_failed, meta)
SELECT CASE WHEN due.at <= due.now THEN 'ready' ELSE 'scheduled' END, queue, priority, due.at, task, payload,
       due.now, max_attempts, max_run_time, keep_failed, meta
FROM (
    SELECT r.*, clock.now, COALESCE(r.due, clock.now + make_interval(secs => r.delay)) AS at
    FROM (SELECT {now} AS now) AS clock,
         json_to_recordset(CAST(:rows AS json)) AS r(
             nth integer, queue text, priority integer, due timestamptz, delay double precision, task text,
             payload text, max_attempts integer, max_run_time double precision, keep_failed boolean, meta text)
) AS due
ORDER BY due.nth
RETURNING j.id, j.state, j.run_at AT TIME ZONE 'UTC', j.created_at AT TIME ZONE 'UTC';

-- name: reserve
-- Ids for rows that COPY will bring, and the time that they are created at. They are told one by one only if another
-- session has taken some from among them. The sequence is looked up once, not for each.
SELECT min(id), CASE WHEN max(id) - min(id) >= count(*) THEN CAST(array_to_json(array_agg(id)) AS text) END,
       {now} AT TIME ZONE 'UTC'
FROM (
    SELECT nextval((SELECT CAST(pg_get_serial_sequence(CAST(:table AS text), 'id') AS regclass))) AS id
    FROM generate_series(1, CAST(:count AS integer))
) AS given;

-- name: load
COPY {jobs} (id, state, queue, priority, run_at, task, payload, created_at,
             max_attempts, max_run_time, keep_failed, meta)
FROM STDIN;

-- name: notify
SELECT CASE WHEN {takes_hints} THEN pg_notify(:channel, :hint) END;

-- name: lanes
-- A loose index scan: one probe for each queue and priority, at most 16 priorities of a queue (the last stands for
-- all above it), so that its cost depends on neither the number of jobs nor that of priorities. And when the next
-- scheduled job is due.
WITH RECURSIVE lane AS (
    (
        SELECT queue, priority, run_at, id, 1 AS nth
        FROM {jobs}
        WHERE state = 'ready'
        ORDER BY queue, priority, run_at, id
        LIMIT 1
    )
    UNION ALL
    SELECT next.queue, next.priority, next.run_at, next.id,
           CASE WHEN next.queue = lane.queue THEN lane.nth + 1 ELSE 1 END
    FROM lane
    CROSS JOIN LATERAL (
        SELECT queue, priority, run_at, id
        FROM {jobs}
        WHERE state = 'ready'
          AND (queue, priority) > (lane.queue, CASE WHEN lane.nth < 16 THEN lane.priority ELSE 2147483647 END)
        ORDER BY queue, priority, run_at, id
        LIMIT 1
    ) AS next
)
SELECT {name:queue} AS queue, priority, {utc:run_at}, id
FROM lane
UNION ALL
{next};

-- name: lanes_of
-- The same for the queues named.
WITH RECURSIVE lane AS (
    SELECT first.queue, first.priority, first.run_at, first.id, 1 AS nth
    FROM json_array_elements_text(CAST(:queues AS json)) AS wanted(queue)
    CROSS JOIN LATERAL (
        SELECT queue, priority, run_at, id
        FROM {jobs}
        WHERE state = 'ready' AND queue = wanted.queue COLLATE "C"
        ORDER BY queue, priority, run_at, id
        LIMIT 1
    ) AS first
    UNION ALL
    SELECT next.queue, next.priority, next.run_at, next.id, lane.nth + 1
    FROM lane
    CROSS JOIN LATERAL (
        SELECT queue, priority, run_at, id
        FROM {jobs}
        WHERE state = 'ready' AND queue = lane.queue AND priority > lane.priority AND lane.nth < 16
        ORDER BY queue, priority, run_at, id
        LIMIT 1
    ) AS next
)
SELECT {name:queue} AS queue, priority, {utc:run_at}, id
FROM lane
UNION ALL
{next}
ORDER BY queue, priority;

-- name: claim
-- One lane: a queue, and priorities from that of the mark to `upto`. The mark lets the scan pass over the rows that
-- an old snapshot keeps dead. SKIP LOCKED: claimers pass each other instead of queueing. MATERIALIZED: inlined, the
-- planner may run the LIMIT again and claim more than asked for. ANY (ARRAY(…)), here and below: it is looked up by
-- primary key; joined, the planner reads the whole table for a batch of some size.
WITH picked AS MATERIALIZED (
    SELECT id
    FROM {jobs}
    WHERE state = 'ready'
      AND queue = :queue
      AND (priority, run_at, id) >= (:priority, COALESCE(CAST(:mark_at AS timestamptz), '-infinity'), :mark_id)
      AND priority <= :upto
      AND NOT EXISTS (SELECT FROM {queues} WHERE name = :queue AND paused_at IS NOT NULL)
    ORDER BY queue, priority, run_at, id
    LIMIT :count
    FOR UPDATE SKIP LOCKED
)
UPDATE {jobs} AS j
SET state = 'running', worker = :worker, token = :token, claimed_at = {now}
WHERE j.id = ANY (ARRAY(SELECT id FROM picked))
RETURNING {claimed};

-- name: look_lanes
-- The ids that come first over several lanes, as one JSON text: rows would take longer than the look.
{head}
SELECT CAST(json_agg(id ORDER BY priority, run_at, id) AS text)
FROM head;

-- name: claim_lanes
-- Several lanes: look without locks which jobs come first over all lanes (`head`), then lock those that are `free`, and
-- of a lane where others have taken some the next ones `instead`.
{head},
free AS MATERIALIZED (
    SELECT id
    FROM {jobs}
    WHERE id = ANY (ARRAY(SELECT id FROM head))
      AND (state = 'ready' AND queue IN (SELECT queue FROM lane)) IS TRUE
      AND priority BETWEEN :low AND :high
    FOR UPDATE SKIP LOCKED
),
picked AS MATERIALIZED (
    SELECT id
    FROM free
    UNION ALL
    SELECT instead.id
    FROM (SELECT nth, count(*) AS jobs FROM head WHERE id NOT IN (SELECT id FROM free) GROUP BY nth) AS taken
    JOIN lane USING (nth)
    CROSS JOIN LATERAL (
        SELECT id
        {ahead}
          AND NOT id = ANY (ARRAY(SELECT id FROM free))
        ORDER BY queue, priority, run_at, id
        LIMIT taken.jobs
        FOR UPDATE SKIP LOCKED
    ) AS instead
)
UPDATE {jobs} AS j
SET state = 'running', worker = :worker, token = :token, claimed_at = {now}
WHERE j.id = ANY (ARRAY(SELECT id FROM picked))
RETURNING {claimed};

-- name: claim_ids
-- Jobs that a look has found a moment ago, as far as they are what they were: ready, and in the lanes looked at.
WITH picked AS MATERIALIZED (
    SELECT id
    FROM {jobs}
    WHERE id = {ids}
      AND (state = 'ready' AND queue IN (SELECT json_array_elements_text(CAST(:queues AS json)))
           AND queue NOT IN (SELECT name FROM {queues} WHERE paused_at IS NOT NULL)) IS TRUE
      AND priority BETWEEN :low AND :high
    FOR UPDATE SKIP LOCKED
)
UPDATE {jobs} AS j
SET state = 'running', worker = :worker, token = :token, claimed_at = {now}
WHERE j.id = ANY (ARRAY(SELECT id FROM picked))
RETURNING {claimed};

-- name: payload
-- And its size: of one that is too large nothing else.
SELECT {whole:payload}, octet_length(payload)
FROM {jobs}
WHERE id = :id AND token = :token;

-- name: succeed
-- Fenced: a row whose token has changed is another claim's; its id is missing from the answer. ANY beside the join, here
-- and below, and the join with what came as JSON: the planner takes the one for 10 rows and the other for 100, whatever
-- the tables hold, and so hashes. A CTE that it takes for one row it compares with each row of the other.
WITH done AS (
    SELECT *
    FROM json_to_recordset(CAST(:outcomes AS json)) AS d(
        id bigint, token text COLLATE "C", seconds double precision, result text, keep boolean)
),
gone AS (
    DELETE FROM {jobs} AS j
    USING done
    WHERE j.id = ANY (ARRAY(SELECT id FROM done)) AND j.id = done.id AND j.token = done.token
    RETURNING j.*, done.seconds, done.result, done.keep
),
kept AS (
    INSERT INTO {history} (id, run_at, created_at, claimed_at, finished_at, seconds, max_run_time, priority, attempt,
                           failures, crashes, rescues, free_retries, max_attempts, keep_failed, state, queue, task,
                           worker, meta, error, payload, result)
    SELECT id, run_at, created_at, claimed_at, {now}, seconds, max_run_time, priority, LEAST(attempt, {most}) + 1,
           failures, crashes, rescues, free_retries, max_attempts, keep_failed, 'succeeded', queue, task,
           worker, meta, NULL, CASE WHEN octet_length(payload) <= 4096 THEN payload END, result
    FROM gone
    WHERE keep
    {newest}
),
forgotten AS (
    DELETE FROM {attempts}
    WHERE job_id = ANY (ARRAY(SELECT id FROM gone WHERE NOT keep))
)
SELECT id
FROM gone;

-- name: finish
-- Jobs that ended otherwise than by success. Where the database refuses what is to be done with a job's attempts, it is
-- not done (`recorded`, and in succeed a `keep` that is NULL): the job ends all the same.
WITH done AS (
    SELECT *
    FROM json_to_recordset(CAST(:outcomes AS json)) AS d(
        id bigint, token text COLLATE "C", state text, outcome text, started boolean, seconds double precision,
        failed boolean, crashed boolean, keep boolean, recorded boolean, error text, error_type text, message text,
        traceback text)
),
gone AS (
    DELETE FROM {jobs} AS j
    USING done
    WHERE j.id = ANY (ARRAY(SELECT id FROM done)) AND j.id = done.id AND j.token = done.token
    RETURNING j.id, j.run_at, j.created_at, j.claimed_at, j.max_run_time, j.priority, j.attempt, j.failures, j.crashes,
              j.rescues, j.free_retries, j.max_attempts, j.keep_failed, j.queue, j.task, j.worker, j.meta, j.payload,
              done.state, done.outcome, done.started, done.seconds, done.failed, done.crashed, done.keep, done.recorded,
              done.error, done.error_type, done.message, done.traceback
),
kept AS (
    INSERT INTO {history} (id, run_at, created_at, claimed_at, finished_at, seconds, max_run_time, priority, attempt,
                           failures, crashes, rescues, free_retries, max_attempts, keep_failed, state, queue, task,
                           worker, meta, error, payload)
    SELECT id, run_at, created_at, claimed_at, {now}, seconds, max_run_time, priority,
           LEAST(attempt, {most}) + CAST(started AS integer), LEAST(failures, {most}) + CAST(failed AS integer),
           LEAST(crashes, {most}) + CAST(crashed AS integer),
           rescues, free_retries, max_attempts, keep_failed, state, queue, task, worker, meta, error, payload
    FROM gone
    WHERE keep
    {newest}
),
tried AS (
    INSERT INTO {attempts} (job_id, started_at, ended_at, number, outcome, worker, error_type, message, traceback)
    SELECT id, {now} - make_interval(secs => seconds), {now}, LEAST(attempt, {most}) + 1, outcome, worker,
           error_type, message, traceback
    FROM gone
    WHERE keep AND started AND recorded
),
forgotten AS (
    DELETE FROM {attempts}
    WHERE job_id = ANY (ARRAY(SELECT id FROM gone WHERE NOT keep AND recorded))
)
SELECT id
FROM gone;

-- name: back
-- Jobs that go back to wait: to be tried again, or released. The rows are read before the update: the insert runs
-- after it, and a lock taken then would pass over them. Joined with `done` again, not with `held`: see succeed.
WITH done AS (
    SELECT *
    FROM json_to_recordset(CAST(:outcomes AS json)) AS d(
        id bigint, token text COLLATE "C", outcome text, started boolean, seconds double precision,
        delay double precision, failed boolean, crashed boolean, recorded boolean, free boolean, unknown boolean,
        suspect boolean, error text, error_type text, message text, traceback text)
),
held AS MATERIALIZED (
    SELECT j.id, j.attempt, j.worker, done.outcome, done.started AND done.recorded AS recorded, done.seconds,
           done.error_type, done.message, done.traceback
    FROM {jobs} AS j
    JOIN done ON j.id = done.id AND j.token = done.token
    WHERE j.id = ANY (ARRAY(SELECT id FROM done))
    ORDER BY j.id
    FOR UPDATE OF j
),
recorded AS (
    INSERT INTO {attempts} (job_id, started_at, ended_at, number, outcome, worker, error_type, message, traceback)
    SELECT id, {now} - make_interval(secs => seconds), {now}, LEAST(attempt, {most}) + 1, outcome, worker,
           error_type, message, traceback
    FROM held
    WHERE recorded
)
UPDATE {jobs} AS j
SET state = CASE WHEN done.delay > 0 THEN 'scheduled' ELSE 'ready' END,
    run_at = CASE WHEN done.delay IS NULL THEN j.run_at ELSE {now} + make_interval(secs => done.delay) END,
    attempt = LEAST(j.attempt, {most}) + CAST(done.started AS integer),
    failures = LEAST(j.failures, {most}) + CAST(done.failed AS integer),
    crashes = LEAST(j.crashes, {most}) + CAST(done.crashed AS integer),
    free_retries = LEAST(j.free_retries, {most}) + CAST(done.free AS integer),
    unknown_since = CASE WHEN done.unknown THEN COALESCE(j.unknown_since, {now})
                         WHEN NOT done.started THEN j.unknown_since END,
    suspect = done.suspect OR (j.suspect AND NOT done.started),
    error = COALESCE(done.error, j.error),
    worker = NULL,
    token = NULL,
    claimed_at = NULL
FROM done
WHERE j.id = ANY (ARRAY(SELECT id FROM held)) AND j.id = done.id AND j.token = done.token
RETURNING j.id;

-- name: locked
-- Those of the jobs whose rows somebody else holds a lock of: nothing can be written of these now. A row without an xmax
-- has never been locked: row-level security has hidden it.
WITH free AS MATERIALIZED (
    SELECT id
    FROM {jobs}
    WHERE id = {ids}
    FOR UPDATE SKIP LOCKED
)
SELECT id
FROM {jobs}
WHERE id = {ids} AND NOT (id = ANY (ARRAY(SELECT id FROM free))) AND xmax <> 0;

-- name: settle
-- A job that was asked to be cancelled while it ran, and has come back, is cancelled now.
WITH gone AS (
    DELETE FROM {jobs}
    WHERE id = {ids} AND state IN ('ready', 'scheduled') AND cancel_requested
    RETURNING *
)
INSERT INTO {history} (id, run_at, created_at, claimed_at, finished_at, max_run_time, priority, attempt,
                       failures, crashes, rescues, free_retries, max_attempts, keep_failed, state, queue, task,
                       worker, meta, error, payload)
SELECT id, run_at, created_at, claimed_at, {now}, max_run_time, priority, attempt,
       failures, crashes, rescues, free_retries, max_attempts, keep_failed, 'cancelled', queue, task,
       worker, meta, error, payload
FROM gone
{newest};

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
        WHERE job_id = {ids}
    ) AS ranked
    WHERE nth > 5 AND last > 20
);

-- name: settled
-- Of outcomes that were refused: those that this worker has written after all (the answer was lost, or the job's own
-- transaction has completed it), with the state that the job ended in. Not EXISTS: without statistics, the planner hashes
-- all attempts for it.
SELECT d.id, (SELECT state FROM {history} AS h WHERE h.id = d.id)
FROM json_to_recordset(CAST(:outcomes AS json)) AS d(id bigint, attempt bigint)
WHERE COALESCE(
    (SELECT true FROM {history} AS h WHERE h.id = d.id AND h.worker = :worker AND h.attempt >= d.attempt),
    (SELECT true FROM {attempts} AS a WHERE a.job_id = d.id AND a.worker = :worker AND a.number = d.attempt
     AND a.outcome <> 'lost' LIMIT 1)
);

-- name: beat
-- One statement, which commits by itself. A row of NULL says that the worker was registered; the others are the running
-- jobs that were asked to be cancelled.
WITH beaten AS (
    UPDATE {workers}
    SET beat_at = {now}
    WHERE id = :worker
    RETURNING id
)
SELECT CAST(NULL AS bigint)
FROM beaten
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
SELECT id, CAST(beat_at AT TIME ZONE 'UTC' AS text), {finite:lapse}, CAST(NULL AS bigint)
FROM {workers}
UNION ALL
SELECT worker, CAST(max(claimed_at) AT TIME ZONE 'UTC' AS text), NULL, NULL
FROM {jobs} AS j
WHERE state = 'running' AND worker IS NOT NULL AND NOT EXISTS (SELECT FROM {workers} AS w WHERE w.id = j.worker)
GROUP BY worker
UNION ALL
SELECT NULL, NULL, NULL, id
FROM {jobs}
WHERE state = 'running' AND (worker = :worker OR worker IS NULL);

-- name: lapsed
-- Of the workers that were seen, those that have not beaten since. A worker that beats from here on waits.
SELECT w.id
FROM {workers} AS w
JOIN json_to_recordset(CAST(:signs AS json)) AS s(worker text COLLATE "C", sign text COLLATE "C")
    ON w.id = s.worker AND CAST(w.beat_at AT TIME ZONE 'UTC' AS text) = s.sign
ORDER BY w.id
FOR UPDATE OF w SKIP LOCKED;

-- name: orphaned
-- Of the unregistered ones, those that have neither claimed nor registered since.
SELECT s.worker
FROM json_to_recordset(CAST(:signs AS json)) AS s(worker text COLLATE "C", sign text COLLATE "C")
WHERE NOT EXISTS (SELECT FROM {workers} AS w WHERE w.id = s.worker)
  AND s.sign = (
      SELECT CAST(max(claimed_at) AT TIME ZONE 'UTC' AS text)
      FROM {jobs}
      WHERE state = 'running' AND worker = s.worker);

-- name: rescue
-- Whether its attempt had started is unknown, so it is no failure; but at :most rescues a job is put aside as poison,
-- unless it was asked to be cancelled: that is what it will be. Until then it is a suspect, which runs alone: the next
-- time that its worker dies, those that were claimed beside it are not counted. What the database refuses is done for a
-- few of them (:only), or without its record.
WITH picked AS MATERIALIZED (
    SELECT id, worker, attempt
    FROM {jobs}
    WHERE state = 'running'
      AND worker IN (SELECT json_array_elements_text(CAST(:workers AS json)))
      AND {only}
      AND (LEAST(rescues, {most}) + 1 < :most OR cancel_requested)
    ORDER BY worker, id
    LIMIT :count
    FOR UPDATE SKIP LOCKED
),
tried AS (
    INSERT INTO {attempts} (job_id, ended_at, number, outcome, worker, error_type, message)
    SELECT id, {now}, LEAST(attempt, {most}) + 1, 'lost', worker, NULL, 'the worker stopped beating'
    FROM picked
    WHERE CAST(:recorded AS boolean)
)
UPDATE {jobs} AS j
SET state = 'ready', rescues = LEAST(j.rescues, {most}) + 1, suspect = true, worker = NULL, token = NULL,
    claimed_at = NULL
WHERE j.id = ANY (ARRAY(SELECT id FROM picked))
RETURNING j.id;

-- name: poison
WITH picked AS MATERIALIZED (
    SELECT id
    FROM {jobs}
    WHERE state = 'running'
      AND worker IN (SELECT json_array_elements_text(CAST(:workers AS json)))
      AND {only}
      AND LEAST(rescues, {most}) + 1 >= :most AND NOT cancel_requested
    ORDER BY worker, id
    LIMIT :count
    FOR UPDATE SKIP LOCKED
),
gone AS (
    DELETE FROM {jobs} AS j
    WHERE j.id = ANY (ARRAY(SELECT id FROM picked))
    RETURNING j.*
),
kept AS (
    INSERT INTO {history} (id, run_at, created_at, claimed_at, finished_at, max_run_time, priority, attempt,
                           failures, crashes, rescues, free_retries, max_attempts, keep_failed, state, queue, task,
                           worker, meta, error, payload)
    SELECT id, run_at, created_at, claimed_at, {now}, max_run_time, priority, attempt,
           failures, crashes, LEAST(rescues, {most}) + 1, free_retries, max_attempts, keep_failed, 'failed', queue, task,
           worker, meta, :error, payload
    FROM gone
    {newest}
),
tried AS (
    INSERT INTO {attempts} (job_id, ended_at, number, outcome, worker, error_type, message)
    SELECT id, {now}, LEAST(attempt, {most}) + 1, 'lost', worker, NULL, :error
    FROM gone
    WHERE CAST(:recorded AS boolean)
)
SELECT id
FROM gone;

-- name: held_by
-- What these workers hold.
SELECT id
FROM {jobs}
WHERE state = 'running'
  AND worker IN (SELECT json_array_elements_text(CAST(:workers AS json)))
ORDER BY worker, id
LIMIT :count;

-- name: strays
-- Claims of a worker that it does not know: the answer to its claim was lost. And jobs that run nowhere, as their row
-- says. SKIP LOCKED: a job that is locked is about to end or to change, perhaps in a transaction of the application's;
-- there will be another look.
WITH picked AS MATERIALIZED (
    SELECT id
    FROM {jobs}
    WHERE state = 'running' AND worker = :worker AND NOT (id = {ids})
    ORDER BY id
    FOR UPDATE SKIP LOCKED
),
-- Apart, in the order of the index, and not all at once: the planner takes them for many, and would sort them.
orphans AS MATERIALIZED (
    SELECT id
    FROM {jobs}
    WHERE state = 'running' AND worker IS NULL AND NOT (id = {ids})
    ORDER BY worker, id
    LIMIT 1000
    FOR UPDATE SKIP LOCKED
)
UPDATE {jobs} AS j
SET state = 'ready', worker = NULL, token = NULL, claimed_at = NULL
WHERE j.id = ANY (ARRAY(SELECT id FROM picked UNION ALL SELECT id FROM orphans))
RETURNING j.id;

-- name: bury
-- A lapsed worker, whose row is locked, is forgotten once it holds nothing; one that beats again registers anew.
DELETE FROM {workers} AS w
WHERE w.id IN (SELECT json_array_elements_text(CAST(:workers AS json)))
  AND NOT EXISTS (SELECT FROM {jobs} WHERE state = 'running' AND worker = w.id);

-- name: promote
-- It answers with their number: ids would be read by nobody.
WITH due AS MATERIALIZED (
    SELECT id
    FROM {jobs}
    WHERE state = 'scheduled' AND run_at <= {now} AND {only}
    ORDER BY run_at, id
    LIMIT :count
    FOR UPDATE SKIP LOCKED
),
made AS (
    UPDATE {jobs} AS j
    SET state = 'ready'
    WHERE j.id = ANY (ARRAY(SELECT id FROM due))
    RETURNING 1
)
SELECT count(*)
FROM made;

-- name: promote_urgent
-- Of more due jobs than one batch takes, the most urgent: those of the 16 smallest priorities, in their order.
WITH RECURSIVE level AS (
    (
        SELECT priority, 1 AS nth
        FROM {jobs}
        WHERE state = 'scheduled'
        ORDER BY priority, run_at, id
        LIMIT 1
    )
    UNION ALL
    SELECT next.priority, level.nth + 1
    FROM level
    CROSS JOIN LATERAL (
        SELECT priority
        FROM {jobs}
        WHERE state = 'scheduled' AND priority > level.priority
        ORDER BY priority, run_at, id
        LIMIT 1
    ) AS next
    WHERE level.nth < 16
),
due AS MATERIALIZED (
    SELECT urgent.id
    FROM level
    CROSS JOIN LATERAL (
        SELECT id
        FROM {jobs}
        WHERE state = 'scheduled' AND priority = level.priority AND run_at <= {now}
        ORDER BY priority, run_at, id
        LIMIT :count
        FOR UPDATE SKIP LOCKED
    ) AS urgent
    LIMIT :count
),
made AS (
    UPDATE {jobs} AS j
    SET state = 'ready'
    WHERE j.id = ANY (ARRAY(SELECT id FROM due))
    RETURNING 1
)
SELECT count(*)
FROM made;

-- name: next_due
SELECT CAST(EXTRACT(EPOCH FROM {within:run_at} - {now}) AS double precision)
FROM {jobs}
WHERE state = 'scheduled'
ORDER BY run_at, id
LIMIT 1;

-- name: scheduled
-- The jobs that are due next, and in how many seconds: to look past those that cannot be made ready.
SELECT id, CAST(EXTRACT(EPOCH FROM {within:run_at} - {now}) AS double precision)
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
SELECT number, {name:outcome}, {name:worker}, {utc:started_at}, {utc:ended_at},
       {words:error_type}, {words:message}, {words:traceback}
FROM {attempts}
WHERE job_id = :id
ORDER BY id;

-- name: find
-- Newest first, by id; a page ends where the next one begins. A table that can hold none of the states is left alone.
(
    SELECT {live}
    FROM {jobs}
    WHERE CAST(:in_jobs AS boolean) AND id < :before AND {filter}
    ORDER BY id DESC
    LIMIT :count
)
UNION ALL
(
    SELECT {ended}
    FROM {history}
    WHERE CAST(:in_history AS boolean) AND id < :before AND {filter}
    ORDER BY id DESC
    LIMIT :count
)
ORDER BY 1 DESC
LIMIT :count;

-- name: matching
-- Ids in order, for changes of many jobs in pieces.
(
    SELECT id
    FROM {jobs}
    WHERE CAST(:in_jobs AS boolean) AND id > :after AND {filter}
    ORDER BY id
    LIMIT :count
)
UNION ALL
(
    SELECT id
    FROM {history}
    WHERE CAST(:in_history AS boolean) AND id > :after AND {filter}
    ORDER BY id
    LIMIT :count
)
ORDER BY 1
LIMIT :count;

-- name: counts
SELECT {name:queue}, {name:state}, count(*), {utc:min(run_at)}
FROM {jobs}
GROUP BY queue, state
ORDER BY queue, state;

-- name: overdue
-- What is due and yet scheduled waits too: no worker is there to make it ready.
SELECT {name:queue}, count(*), {utc:min(run_at)},
       EXISTS (SELECT FROM {queues} AS q WHERE q.name = j.queue AND q.paused_at IS NOT NULL)
FROM {jobs} AS j
WHERE state IN ('ready', 'scheduled') AND attempt = 0
  AND run_at < {now} - make_interval(secs => CAST(:age AS double precision))
GROUP BY queue
ORDER BY queue;

-- name: ended_counts
-- Counted up to :most, so that a long history costs no more than that.
SELECT state, (SELECT count(*) FROM (SELECT FROM {history} WHERE state = ended.state LIMIT :most) AS counted)
FROM (VALUES ('succeeded'), ('failed'), ('cancelled')) AS ended(state);

-- name: workers
SELECT {name:w.id}, {name:w.name}, {name:w.host}, w.pid, {words:w.queues}, {name:w.version},
       {utc:w.started_at}, {utc:w.beat_at},
       w.beat_at >= {now} - make_interval(secs => COALESCE({finite:w.lapse}, 0)),
       (SELECT count(*) FROM {jobs} AS j WHERE j.state = 'running' AND j.worker = w.id)
FROM {workers} AS w
ORDER BY w.started_at, w.id;

-- name: cancel_waiting
-- The lock waits for an outcome that is not committed yet: a job that comes back meanwhile is seen as what it is then.
-- In the order of ids, as finishing does.
SELECT id
FROM {jobs}
WHERE id = {ids}
ORDER BY id
FOR UPDATE;

WITH gone AS (
    DELETE FROM {jobs}
    WHERE id = {ids} AND state IN ('ready', 'scheduled')
    RETURNING *
),
kept AS (
    INSERT INTO {history} (id, run_at, created_at, finished_at, max_run_time, priority, attempt,
                           failures, crashes, rescues, free_retries, max_attempts, keep_failed, state, queue, task,
                           meta, error, payload)
    SELECT id, run_at, created_at, {now}, max_run_time, priority, attempt,
           failures, crashes, rescues, free_retries, max_attempts, keep_failed, 'cancelled', queue, task,
           meta, error, payload
    FROM gone
    {newest}
)
SELECT id
FROM gone;

-- name: cancel_running
UPDATE {jobs}
SET cancel_requested = true
WHERE id = {ids} AND state = 'running'
RETURNING id;

-- name: retry_ended
-- A live job whose id was given twice stays as it is, and so does the history of the other. A job leaves the history only
-- once it is among the jobs: the database may pass over its row there.
WITH picked AS MATERIALIZED (
    SELECT *
    FROM {history} AS h
    WHERE id = {ids} AND state IN ('failed', 'cancelled') AND payload IS NOT NULL
      AND NOT EXISTS (SELECT FROM {jobs} AS j WHERE j.id = h.id)
    ORDER BY id
    FOR UPDATE
),
made AS (
    INSERT INTO {jobs} (id, state, queue, priority, run_at, task, payload, created_at, attempt,
                        max_attempts, max_run_time, keep_failed, meta, error)
    SELECT id, 'ready', queue, priority, {now}, task, payload, created_at, attempt,
           max_attempts, max_run_time, keep_failed, meta, error
    FROM picked
    RETURNING id
),
gone AS (
    DELETE FROM {history}
    WHERE id = ANY (ARRAY(SELECT id FROM made))
)
SELECT id
FROM made;

-- name: retry_waiting
UPDATE {jobs}
SET state = 'ready', run_at = {now}, failures = 0, crashes = 0, rescues = 0, free_retries = 0,
    unknown_since = NULL, suspect = false
WHERE id = {ids} AND state = 'scheduled'
RETURNING id;

-- name: delete_waiting
-- One whose state nobody knows does not run.
DELETE FROM {jobs}
WHERE id = {ids} AND state <> 'running'
RETURNING id;

-- name: delete_ended
DELETE FROM {history}
WHERE id = {ids}
RETURNING id;

-- name: delete_attempts
DELETE FROM {attempts}
WHERE job_id = {ids};

-- name: change
UPDATE {jobs}
SET queue = COALESCE(CAST(:queue AS text), queue),
    priority = COALESCE(CAST(:priority AS integer), priority),
    run_at = COALESCE(CAST(:run_at AS timestamptz),
                      {now} + make_interval(secs => CAST(:delay AS double precision)), run_at),
    state = CASE WHEN COALESCE(CAST(:run_at AS timestamptz),
                               {now} + make_interval(secs => CAST(:delay AS double precision)), run_at) <= {now}
                 THEN 'ready' ELSE 'scheduled' END
WHERE id = {ids} AND state IN ('ready', 'scheduled')
RETURNING id;

-- name: pause
INSERT INTO {queues} (name, paused_at)
VALUES (:queue, {now})
ON CONFLICT (name) DO UPDATE SET paused_at = COALESCE({queues}.paused_at, excluded.paused_at)
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
SET run_at = {within:run_at}, created_at = {within:created_at}, claimed_at = {within:claimed_at},
    unknown_since = {within:unknown_since}, max_run_time = {finite:max_run_time}, queue = {name:queue},
    task = {name:task}, worker = {name:worker}, meta = {object:meta}, error = {words:error},
    payload = COALESCE({whole:payload}, '')
WHERE id = {ids};

UPDATE {history}
SET run_at = {within:run_at}, created_at = {within:created_at}, claimed_at = {within:claimed_at},
    finished_at = {within:finished_at}, seconds = {finite:seconds}, max_run_time = {finite:max_run_time},
    queue = {name:queue}, task = {name:task}, worker = {name:worker}, meta = {object:meta}, error = {words:error},
    payload = {whole:payload}, result = {whole:result}
WHERE id = {ids};

-- name: prune
-- It answers with how many it was, and whether some were left that it was to delete.
WITH old AS MATERIALIZED (
    SELECT id
    FROM {history}
    WHERE state = :state AND finished_at < {now} - make_interval(secs => CAST(:age AS double precision))
    ORDER BY finished_at, id
    LIMIT :count
    FOR UPDATE SKIP LOCKED
),
gone AS (
    DELETE FROM {history} AS h
    WHERE h.id = ANY (ARRAY(SELECT id FROM old))
    RETURNING h.id
),
forgotten AS (
    DELETE FROM {attempts}
    WHERE job_id = ANY (ARRAY(SELECT id FROM gone))
)
SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM gone) < (SELECT count(*) FROM old);

-- name: passed
-- The place of a succeeded job that is so many older than another one, or than all. Step by step: to pass over a million
-- in one go takes half a second.
SELECT {utc:finished_at}, id
FROM {history}
WHERE state = 'succeeded' AND (finished_at, id) < (COALESCE(CAST(:finished_at AS timestamptz), 'infinity'), :id)
ORDER BY finished_at DESC, id DESC
LIMIT 1 OFFSET CAST(:count AS bigint) - 1;

-- name: prune_excess
-- The succeeded jobs from a place on, the oldest first.
WITH old AS MATERIALIZED (
    SELECT id
    FROM {history}
    WHERE state = 'succeeded' AND (finished_at, id) <= (CAST(:finished_at AS timestamptz), :id)
    ORDER BY finished_at, id
    LIMIT :count
    FOR UPDATE SKIP LOCKED
),
gone AS (
    DELETE FROM {history} AS h
    WHERE h.id = ANY (ARRAY(SELECT id FROM old))
    RETURNING h.id
),
forgotten AS (
    DELETE FROM {attempts}
    WHERE job_id = ANY (ARRAY(SELECT id FROM gone))
)
SELECT (SELECT count(*) FROM gone), (SELECT count(*) FROM gone) < (SELECT count(*) FROM old);
