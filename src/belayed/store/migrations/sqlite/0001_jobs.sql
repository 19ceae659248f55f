-- Times are microseconds since 1970 in UTC, which compare fast and hold the years 1 to 9999;
-- `datetime(run_at / 1000000, 'unixepoch')` shows them.
-- STRICT and the checks keep out what no reader could read, whoever writes it, and texts so long that to carry them would
-- hurt all others. Each has a check of its own: an UPDATE makes only those of the columns that it sets.
-- The live jobs only: what has ended moves to the history, so that a claim never walks past it.
-- AUTOINCREMENT: without it the id of a job that has moved to the history would be given out again.
CREATE TABLE {jobs} (
    id integer PRIMARY KEY AUTOINCREMENT,
    run_at integer NOT NULL,
    created_at integer NOT NULL,
    claimed_at integer,
    unknown_since integer,
    max_run_time real,
    priority integer NOT NULL,
    attempt integer NOT NULL DEFAULT 0,
    failures integer NOT NULL DEFAULT 0,
    crashes integer NOT NULL DEFAULT 0,
    rescues integer NOT NULL DEFAULT 0,
    free_retries integer NOT NULL DEFAULT 0,
    max_attempts integer,
    keep_failed integer,
    suspect integer NOT NULL DEFAULT 0,
    cancel_requested integer NOT NULL DEFAULT 0,
    state text NOT NULL,
    queue text NOT NULL,
    task text NOT NULL,
    worker text,
    token text,
    meta text,
    error text,
    payload text NOT NULL,
    CHECK (id > 0),
    CHECK (state IN ('scheduled', 'ready', 'running')),
    CHECK (run_at BETWEEN -62135596800000000 AND 253402300799999999),
    CHECK (created_at BETWEEN -62135596800000000 AND 253402300799999999),
    CHECK (claimed_at BETWEEN -62135596800000000 AND 253402300799999999),
    CHECK (unknown_since BETWEEN -62135596800000000 AND 253402300799999999),
    CHECK (priority BETWEEN -2147483648 AND 2147483647),
    CHECK (max(attempt, failures, crashes, rescues, free_retries) <= 1000000000),
    CHECK (min(attempt, failures, crashes, rescues, free_retries) >= 0),
    CHECK (max_attempts BETWEEN 1 AND 2147483647),
    CHECK (max_run_time BETWEEN 0 AND 10000000000),
    CHECK (keep_failed IN (0, 1)),
    CHECK (CASE WHEN json_valid(meta) THEN json_type(meta) = 'object' ELSE meta IS NULL END),
    CHECK (suspect IN (0, 1)),
    CHECK (cancel_requested IN (0, 1)),
    CHECK (length(CAST(queue AS blob)) BETWEEN 1 AND 1020),
    CHECK (length(CAST(task AS blob)) BETWEEN 1 AND 1020),
    CHECK (length(CAST(worker AS blob)) <= 1020),
    CHECK (length(CAST(meta AS blob)) <= 16384),
    CHECK (length(CAST(error AS blob)) <= 65536),
    CHECK (length(CAST(payload AS blob)) <= 67108864),
    CHECK (length(CAST(token AS blob)) <= 1020)
) STRICT;
-- In the order of claims; only due jobs are ready, so that it holds no job for the future.
CREATE INDEX {schema}."{prefix}jobs_ready" ON "{prefix}jobs" (queue, priority, run_at, id) WHERE state = 'ready';
CREATE INDEX {schema}."{prefix}jobs_scheduled" ON "{prefix}jobs" (run_at, id) WHERE state = 'scheduled';
-- In the order in which due jobs become ready, if they are many.
CREATE INDEX {schema}."{prefix}jobs_urgent" ON "{prefix}jobs" (priority, run_at, id) WHERE state = 'scheduled';
CREATE INDEX {schema}."{prefix}jobs_running" ON "{prefix}jobs" (worker, id) WHERE state = 'running';

CREATE TABLE {history} (
    id integer PRIMARY KEY,
    run_at integer NOT NULL,
    created_at integer NOT NULL,
    claimed_at integer,
    finished_at integer NOT NULL,
    seconds real,
    max_run_time real,
    priority integer NOT NULL,
    attempt integer NOT NULL,
    failures integer NOT NULL,
    crashes integer NOT NULL,
    rescues integer NOT NULL,
    free_retries integer NOT NULL,
    max_attempts integer,
    keep_failed integer,
    state text NOT NULL,
    queue text NOT NULL,
    task text NOT NULL,
    worker text,
    meta text,
    error text,
    payload text,
    result text,
    CHECK (id > 0),
    CHECK (state IN ('succeeded', 'failed', 'cancelled')),
    CHECK (run_at BETWEEN -62135596800000000 AND 253402300799999999),
    CHECK (created_at BETWEEN -62135596800000000 AND 253402300799999999),
    CHECK (claimed_at BETWEEN -62135596800000000 AND 253402300799999999),
    CHECK (finished_at BETWEEN -62135596800000000 AND 253402300799999999),
    CHECK (priority BETWEEN -2147483648 AND 2147483647),
    CHECK (max(attempt, failures, crashes, rescues, free_retries) <= 1000000000),
    CHECK (min(attempt, failures, crashes, rescues, free_retries) >= 0),
    CHECK (max_attempts BETWEEN 1 AND 2147483647),
    CHECK (max_run_time BETWEEN 0 AND 10000000000),
    CHECK (keep_failed IN (0, 1)),
    CHECK (CASE WHEN json_valid(meta) THEN json_type(meta) = 'object' ELSE meta IS NULL END),
    CHECK (seconds BETWEEN 0 AND 10000000000),
    CHECK (length(CAST(queue AS blob)) BETWEEN 1 AND 1020),
    CHECK (length(CAST(task AS blob)) BETWEEN 1 AND 1020),
    CHECK (length(CAST(worker AS blob)) <= 1020),
    CHECK (length(CAST(meta AS blob)) <= 16384),
    CHECK (length(CAST(error AS blob)) <= 65536),
    CHECK (length(CAST(payload AS blob)) <= 67108864),
    CHECK (length(CAST(result AS blob)) <= 67108864)
) STRICT;
CREATE INDEX {schema}."{prefix}history_ended" ON "{prefix}history" (state, finished_at, id);

-- One row for each attempt that started and did not succeed.
CREATE TABLE {attempts} (
    id integer PRIMARY KEY,
    job_id integer NOT NULL,
    started_at integer,
    ended_at integer NOT NULL,
    number integer NOT NULL,
    outcome text NOT NULL,
    worker text,
    error_type text,
    message text,
    traceback text,
    CHECK (started_at BETWEEN -62135596800000000 AND 253402300799999999),
    CHECK (ended_at BETWEEN -62135596800000000 AND 253402300799999999),
    CHECK (number BETWEEN 0 AND 1000000001),
    CHECK (outcome IN ('failed', 'retry', 'cancelled', 'interrupted', 'timed out', 'crashed', 'lost')),
    CHECK (length(CAST(worker AS blob)) <= 1020),
    CHECK (length(CAST(error_type AS blob)) <= 65536),
    CHECK (length(CAST(message AS blob)) <= 65536),
    CHECK (length(CAST(traceback AS blob)) <= 65536)
) STRICT;
CREATE INDEX {schema}."{prefix}attempts_job" ON "{prefix}attempts" (job_id, id);

CREATE TABLE {workers} (
    id text PRIMARY KEY,
    started_at integer NOT NULL,
    beat_at integer NOT NULL,
    lapse real NOT NULL,
    pid integer NOT NULL,
    name text NOT NULL,
    host text NOT NULL,
    queues text NOT NULL,
    version text NOT NULL,
    CHECK (started_at BETWEEN -62135596800000000 AND 253402300799999999),
    CHECK (beat_at BETWEEN -62135596800000000 AND 253402300799999999),
    CHECK (lapse BETWEEN 0 AND 10000000000),
    CHECK (pid BETWEEN 0 AND 2147483647),
    CHECK (length(CAST(id AS blob)) BETWEEN 1 AND 1020),
    CHECK (length(CAST(name AS blob)) BETWEEN 1 AND 1020),
    CHECK (length(CAST(host AS blob)) BETWEEN 1 AND 1020),
    CHECK (length(CAST(queues AS blob)) <= 65536),
    CHECK (length(CAST(version AS blob)) BETWEEN 1 AND 1020)
) STRICT, WITHOUT ROWID;

CREATE TABLE {queues} (
    name text PRIMARY KEY,
    paused_at integer,
    CHECK (paused_at BETWEEN -62135596800000000 AND 253402300799999999),
    CHECK (length(CAST(name AS blob)) BETWEEN 1 AND 1020)
) STRICT, WITHOUT ROWID;
