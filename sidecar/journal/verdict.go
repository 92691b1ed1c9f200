package journal

// Verdicts: what became of entries, from the claim on them to the word in the journal.

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hallwaydb/hallway/connectors"
)

// verdict is what became of an entry.
type verdict struct {
	state, sqlstate, message, todo string
	key                            []string
	// again is when to look again, if it is open; 0: not by itself.
	again time.Duration
	// doubt: the API may not show yet what it has.
	doubt bool
	// keep what the journal has of the row's values.
	keep bool
}

// alike is a verdict for each of list.
func alike(list []*entry, v verdict) []verdict {
	out := make([]verdict, len(list))
	for i := range out {
		out[i] = v
	}
	return out
}

const updateVerdicts = `WITH durable AS (SELECT set_config('synchronous_commit', 'on', true))
UPDATE hallway.write_log w SET state = v.state, sqlstate = v.sqlstate, message = v.message, todo = v.todo,
  key = coalesce(v.key::text[], w.key),
  unknown_at = CASE WHEN v.doubt THEN coalesce(w.unknown_at, clock_timestamp()) END,
  next_attempt = CASE WHEN v.again >= 0 THEN clock_timestamp() + v.again * interval '1 millisecond' END,
  attempts = CASE WHEN v.again > 0 THEN w.attempts + 1 ELSE w.attempts END,
  before = CASE WHEN v.keep THEN w.before END, after = CASE WHEN v.keep THEN w.after END, row_values = CASE WHEN v.keep THEN w.row_values END,
  settled_at = CASE WHEN v.state IN ('refused', 'orphaned', 'compensated') OR v.state = 'applied' AND w.outbox THEN clock_timestamp() END
FROM durable, unnest($1::int8[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::int8[], $8::bool[], $9::bool[])
  AS v (id, state, sqlstate, message, todo, key, again, keep, doubt)
WHERE w.id = v.id AND w.state = ANY ($10)`

// write notes verdicts of entries that are in one of the states still.
func (n *node) write(ctx context.Context, list []*entry, verdicts []verdict, from ...string) error {
	var id, again []int64
	var state []string
	var sqlstate, message, todo, key []*string
	var keep, doubt []bool
	for i, e := range list {
		v := verdicts[i]
		switch {
		case v.state == stateCompensated:
			n.m.undone.Add(1)
		case v.state == stateApplied && v.again == 0 && from[0] == statePending:
			n.m.delivered.Add(1)
		case from[0] == stateUnknown && v.state != stateUnknown:
			n.m.found.Add(1)
		}
		id, state = append(id, e.ID), append(state, v.state)
		sqlstate, message, todo = append(sqlstate, orNull(v.sqlstate)), append(message, orNull(clip(v.message))), append(todo, orNull(v.todo))
		key, keep = append(key, textArray(v.key)), append(keep, v.keep)
		doubt = append(doubt, v.doubt || v.state == stateUnknown)
		ms := v.again.Milliseconds()
		if v.again <= 0 {
			ms = -1
		}
		again = append(again, ms)
	}
	// What the API has done is known here alone, and the entry is claimed.
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		try, cancel := context.WithTimeout(context.WithoutCancel(ctx), n.commitTimeout())
		_, err := n.exec(try, updateVerdicts, id, state, sqlstate, message, todo, key, again, keep, doubt, from)
		cancel()
		var pg *pgconn.PgError
		switch {
		case err == nil || n.ctx.Err() != nil:
			return err
		case errors.As(err, &pg) && strings.HasPrefix(pg.Code, "22"):
			// What the API said does not fit into the database: without it.
			clear(message)
			clear(key)
		}
		sleep(n.ctx, pause)
	}
}

// claim makes entries this sidecar's to work on, before the API is called, and
// gives those that were to be had. keys are their new idempotency keys; nil: they have
// theirs.
func (n *node) claim(ctx context.Context, list []*entry, from, to string, keys []string) ([]*entry, error) {
	ids := make([]int64, len(list))
	for i, e := range list {
		ids[i] = e.ID
	}
	var got []int64
	err := n.query(ctx, `WITH durable AS (SELECT set_config('synchronous_commit', 'on', true)),
u AS (UPDATE hallway.write_log w SET state = $2, instance = $3, idempotency_key = coalesce(($5::text[])[array_position($1, w.id)], w.idempotency_key),
  next_attempt = clock_timestamp() + $6::interval
  FROM durable WHERE w.id = ANY ($1) AND (w.state = $4 OR w.state = 'compensating' AND w.state = $2 AND w.next_attempt <= clock_timestamp()) RETURNING w.id)
SELECT coalesce(array_agg(id), '{}') FROM u`, []any{ids, to, n.m.cfg.Instance, from, keys, claimFor}, &got)
	if err != nil {
		// Where it was done after all, nothing came of it: nobody has to wait until it
		// is over, or to ask what was sent.
		var untouched []int64
		for _, e := range list {
			if e.State == from {
				untouched = append(untouched, e.ID)
			}
		}
		_, _ = n.execSurely(`UPDATE hallway.write_log SET state = CASE WHEN id = ANY ($2) THEN $4 ELSE state END, next_attempt = clock_timestamp()
WHERE settled_at IS NULL AND id = ANY ($1) AND state = $3 AND instance = $5 AND next_attempt > clock_timestamp()`, ids, untouched, to, from, n.m.cfg.Instance)
		return nil, err
	}
	mine := map[int64]bool{}
	for _, id := range got {
		mine[id] = true
	}
	var out []*entry
	for _, e := range list {
		if mine[e.ID] {
			out = append(out, e)
		}
	}
	return out, nil
}

const (
	// claimFor is how long a claim lasts: whoever has it is done by then.
	claimFor = 2 * time.Minute
	// callTimeout bounds what is asked of the API at once.
	callTimeout = time.Minute
)

// backoff after so many attempts: what the API refuses for now is known within a
// minute of its being back.
func backoff(attempts int) time.Duration { return min(time.Second<<min(attempts, 5), 20*time.Second) }

// Explain is an error's text for the journal: a connector's without its cause,
// which is for the log. Transient: the same may work later.
func Explain(err error) (text string, transient bool) {
	var ce *connectors.Error
	if !errors.As(err, &ce) {
		return "the sidecar failed; its log has the cause", true
	}
	text = ce.Message
	if ce.API != "" {
		text = "[" + ce.API + "]: " + text
	}
	if ce.Detail != "" {
		text += " (" + ce.Detail + ")"
	}
	switch ce.Class {
	case connectors.Unavailable, connectors.RateLimited, connectors.Locked, connectors.DeadlineExceeded, connectors.Unauthenticated,
		connectors.UnknownOutcome, connectors.Internal, connectors.Protocol, connectors.Conflict:
		return text, true
	}
	return text, false
}

// explain is Explain, and logs what that keeps for the log.
func (n *node) explain(err error) (text string, transient bool) {
	var ce *connectors.Error
	if !errors.As(err, &ce) {
		n.log.Warn("asking the API about the journal's entries failed", "error", err.Error())
	} else if ce.Err != nil {
		n.log.Info("asking the API about the journal's entries failed", "error", err.Error(), "cause", ce.Err.Error())
	}
	return Explain(err)
}

func isUnknown(err error) bool {
	var ce *connectors.Error
	return !errors.As(err, &ce) || ce.Class == connectors.UnknownOutcome
}
