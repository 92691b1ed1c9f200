package sync

// Jobs: one River client a database. A job is "bring this replica up to date";
// it is unique by table, so that it does not matter how many sidecars add it.

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/cache"
	"github.com/hallwaydb/hallway/sidecar/database"
)

// refresh is the job's arguments.
type refresh struct {
	Relid uint32 `json:"relid"`
}

// Kind is the job's name in river_job.
func (refresh) Kind() string { return "replica" }

const queue = "hallway"

// maxAttempts is how often one job is tried; after that the next one is added.
const maxAttempts = 1000

// jobs are the River client of a database.
type jobs struct {
	n      *node
	client *river.Client[pgx.Tx]
}

func (n *node) startJobs(ctx context.Context, db *database.Database, pool *pgxpool.Pool) (*jobs, error) {
	workers := river.NewWorkers()
	if err := river.AddWorkerSafely(workers, &worker{n: n, db: db}); err != nil {
		return nil, fmt.Errorf("starting jobs: %w", err)
	}
	client, err := river.NewClient(riverpgxv5.New(pool), &river.Config{
		ID: n.client(), Schema: schema, Workers: workers,
		Queues: map[string]river.QueueConfig{queue: {MaxWorkers: n.m.cfg.Workers}},
		// One connection of ours listens for all, so River needs none of its own.
		PollOnly: true, FetchPollInterval: 500 * time.Millisecond,
		// A copy takes as long as it takes; what a dead sidecar left is found by
		// its lock, see rescue.
		JobTimeout:                  -1,
		CompletedJobRetentionPeriod: time.Hour,
		MaxAttempts:                 maxAttempts,
		// Its warnings tell of what this package logs or does not mind.
		Logger: slog.New(quiet{n.log.Handler()}),
	})
	if err != nil {
		return nil, fmt.Errorf("starting jobs: %w", err)
	}
	if err := client.Start(context.WithoutCancel(ctx)); err != nil {
		return nil, fmt.Errorf("starting jobs: %w", err)
	}
	return &jobs{n: n, client: client}, nil
}

// quiet lets errors alone through.
type quiet struct{ slog.Handler }

func (q quiet) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelError }

// stop cancels what runs, and waits a while for it.
func (j *jobs) stop() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := j.client.StopAndCancel(ctx); err != nil {
		j.n.log.Warn("stopping jobs", "error", err.Error())
	}
}

// add makes a job for a replica, unless there is one. now: one that waits for
// its next try is tried at once.
func (j *jobs) add(ctx context.Context, relid uint32, now bool) error {
	res, err := j.client.Insert(ctx, refresh{Relid: relid}, &river.InsertOpts{
		Queue: queue,
		UniqueOpts: river.UniqueOpts{ByArgs: true, ByState: []rivertype.JobState{rivertype.JobStateAvailable,
			rivertype.JobStatePending, rivertype.JobStateRetryable, rivertype.JobStateRunning, rivertype.JobStateScheduled}},
	})
	if err != nil {
		return fmt.Errorf("adding a job: %w", err)
	}
	if now && res.UniqueSkippedAsDuplicate && res.Job.State != rivertype.JobStateRunning && res.Job.ScheduledAt.After(time.Now()) {
		if _, err := j.client.JobRetry(ctx, res.Job.ID); err != nil && !errors.Is(err, rivertype.ErrNotFound) {
			return fmt.Errorf("hurrying a job: %w", err)
		}
	}
	return nil
}

// lostAfter is how long the database may say that this sidecar runs a job that
// it does not: taking one up, and noting its end, are not instant.
const lostAfter = 10 * time.Second

// rescue sets free the jobs of sidecars that died, which is when their locks
// are free, and those whose end could not be noted.
func (n *node) rescue(ctx context.Context, pool *pgxpool.Pool) error {
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error { //nolint:wrapcheck // said within
		rows, err := tx.Query(ctx, `SELECT id, attempted_by[array_upper(attempted_by, 1)] FROM hallway_sync.river_job
WHERE state = 'running' AND queue = $1`, queue)
		if err != nil {
			return fmt.Errorf("looking for abandoned jobs: %w", err)
		}
		type running struct {
			ID int64
			By *string
		}
		list, err := pgx.CollectRows(rows, pgx.RowToStructByPos[running])
		if err != nil {
			return fmt.Errorf("looking for abandoned jobs: %w", err)
		}
		var dead []int64
		for _, r := range list {
			if deref(r.By) == n.client() {
				if n.lost(r.ID) {
					dead = append(dead, r.ID)
				}
				continue
			}
			var free bool
			if err := tx.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock(`+sidecarLock("$1")+`)`, deref(r.By)).Scan(&free); err != nil {
				return fmt.Errorf("looking for abandoned jobs: %w", err)
			}
			if free {
				dead = append(dead, r.ID)
			}
		}
		if len(dead) == 0 {
			return nil
		}
		n.log.Info("taking up what another sidecar left", "jobs", len(dead))
		_, err = tx.Exec(ctx, `UPDATE hallway_sync.river_job SET state = 'available', scheduled_at = now(), attempt = greatest(attempt - 1, 0)
WHERE id = ANY ($1) AND state = 'running'`, dead)
		if err != nil {
			return fmt.Errorf("taking up abandoned jobs: %w", err)
		}
		return nil
	})
}

// lost reports whether a job that is said to run here has not for a while.
func (n *node) lost(id int64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.active[id] {
		delete(n.suspects, id)
		return false
	}
	since, ok := n.suspects[id]
	if !ok {
		n.suspects[id] = time.Now()
		return false
	}
	if time.Since(since) < lostAfter {
		return false
	}
	delete(n.suspects, id)
	return true
}

func (n *node) working(id int64, now bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.suspects, id)
	if now {
		n.active[id] = true
	} else {
		delete(n.active, id)
	}
}

// worker does the jobs.
type worker struct {
	river.WorkerDefaults[refresh]
	n  *node
	db *database.Database
}

// Timeout is none.
func (w *worker) Timeout(*river.Job[refresh]) time.Duration { return -1 }

// NextRetry after a failure: soon at first, and every five minutes at last.
func (w *worker) NextRetry(job *river.Job[refresh]) time.Time {
	return time.Now().Add(backoff(job.Attempt))
}

func backoff(failures int) time.Duration {
	return min(time.Second<<min(max(failures, 1)-1, 9), 5*time.Minute)
}

// Work brings one replica up to date.
func (w *worker) Work(ctx context.Context, job *river.Job[refresh]) error {
	w.n.working(job.ID, true)
	defer w.n.working(job.ID, false)
	err := w.n.refresh(ctx, w.db, job.Args.Relid, job.Attempt)
	var limited *connectors.Error
	switch {
	case err == nil:
		// Whatever was asked for meanwhile is due now.
		w.n.poke()
		return nil
	case ctx.Err() != nil:
		return river.JobSnooze(0) //nolint:wrapcheck // River's own
	case errors.Is(err, errElsewhere), errors.Is(err, cache.ErrOvertaken):
		return river.JobSnooze(2 * time.Second) //nolint:wrapcheck // River's own
	case errors.As(err, &limited) && limited.Class == connectors.RateLimited && limited.RetryAfter > 0:
		return river.JobSnooze(limited.RetryAfter) //nolint:wrapcheck // River's own
	}
	// River keeps the text, so it is the one for people.
	return errors.New(describe(err))
}
