// Settle, Touch and Maintain: what backends ask of the cache itself.

package bridge

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/hallwaydb/hallway/connectors"
	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
	"github.com/hallwaydb/hallway/sidecar/cache"
	"github.com/hallwaydb/hallway/sidecar/cache/flight"
)

// maxSettle bounds Settle's wait: a read behind it can go to the API instead.
const maxSettle = time.Second

// maxUses bounds one Touch.
const maxUses = 10000

// Settle waits a little until the cache shows a session's writes.
func (s *Server) Settle(ctx context.Context, req *hallwayv1.SettleRequest) (*hallwayv1.SettleResponse, error) {
	b, err := s.bindTable(ctx, req.GetRelation())
	if err != nil {
		return nil, err
	}
	defer b.release()
	t := s.cached(callOf(ctx), b)
	if t == nil {
		return &hallwayv1.SettleResponse{Settled: true}, nil
	}
	wait, cancel := context.WithTimeout(ctx, min(time.Duration(min(req.GetWaitMs(), 1<<20))*time.Millisecond, maxSettle))
	defer cancel()
	if s.undone(wait, 0) != nil {
		return &hallwayv1.SettleResponse{}, nil
	}
	if req.GetInstanceId() == s.cfg.Instance {
		return &hallwayv1.SettleResponse{Settled: s.queue.settled(wait, t, req.GetWriteNumber())}, nil
	}
	// Another process wrote, and what it had not brought into the cache is lost.
	s.overlay.Doubt(t.place.Server, time.Now().Add(t.lag))
	if err := t.db.InvalidateObject(wait, t.def.ServerOID, "", 0); err != nil {
		s.log.InfoContext(ctx, "writes of a sidecar before this one cannot be settled", "error", err.Error())
		return &hallwayv1.SettleResponse{}, nil
	}
	return &hallwayv1.SettleResponse{Settled: true}, nil
}

// Touch tells the cache which regions were read.
func (s *Server) Touch(ctx context.Context, req *hallwayv1.TouchRequest) (*hallwayv1.TouchResponse, error) {
	if len(req.GetUses()) > maxUses {
		return nil, protocolError("%d uses", len(req.GetUses()))
	}
	c := callOf(ctx)
	if s.cfg.Cache == nil || c.conn == nil || c.conn.backend() == nil || c.conn.backend().identity == (cache.Identity{}) {
		return &hallwayv1.TouchResponse{}, nil
	}
	uses := make([]cache.Use, len(req.GetUses()))
	for i, u := range req.GetUses() {
		uses[i] = cache.Use{CacheID: u.GetCacheId(), Hash: u.GetHash()}
	}
	peer := c.conn.backend()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if err := s.cfg.Cache.Database(peer.identity, peer.address).Touch(ctx, uses); err != nil {
		// It decides about nothing but what goes first.
		s.log.DebugContext(ctx, "noting which regions were read", "error", err.Error())
	}
	return &hallwayv1.TouchResponse{}, nil
}

// Maintain does what hallway.refresh() and its relatives ask for.
func (s *Server) Maintain(ctx context.Context, req *hallwayv1.MaintainRequest) (*hallwayv1.MaintainResponse, error) {
	if req.GetAction() == hallwayv1.MaintainAction_MAINTAIN_ACTION_RESUME {
		return s.resume(ctx)
	}
	b, err := s.bindTable(ctx, req.GetRelation())
	if err != nil {
		return nil, err
	}
	defer b.release()
	t := s.cached(callOf(ctx), b)
	if t == nil {
		return nil, &connectors.Error{Class: connectors.NotSupported,
			Message: fmt.Sprintf("foreign table %q is not cached", b.rel.spec.Name), Detail: s.whyNotCached(b)}
	}
	t.db.Retry() // it runs: the session that asks is one of its
	n := int64(0)
	switch req.GetAction() {
	case hallwayv1.MaintainAction_MAINTAIN_ACTION_REFRESH:
		if t.def.Replica {
			n, err = s.sync(ctx, b.rel.spec.Name, t, req.GetWaitMs())
		} else {
			n, err = s.refresh(ctx, b.rel, t)
		}
	case hallwayv1.MaintainAction_MAINTAIN_ACTION_INVALIDATE:
		s.forgetObject(t)
		if err = t.db.InvalidateTable(ctx, t.def.Relid); err != nil {
			err = notDone("forgetting what is cached", err)
		}
	case hallwayv1.MaintainAction_MAINTAIN_ACTION_FORGET:
		if len(req.GetKey()) != len(t.def.Key) {
			return nil, &connectors.Error{Class: connectors.InvalidValue,
				Message: fmt.Sprintf("a key of %d values, and the table's has %d", len(req.GetKey()), len(t.def.Key))}
		}
		s.forgetObject(t)
		if n, err = t.db.Forget(ctx, t.def.Relid, req.GetKey()); err != nil {
			err = notDone("forgetting a row", err)
		}
	case hallwayv1.MaintainAction_MAINTAIN_ACTION_SYNC:
		n, err = s.sync(ctx, b.rel.spec.Name, t, req.GetWaitMs())
	default:
		return nil, protocolError("action %d", req.GetAction())
	}
	if err != nil {
		return nil, err
	}
	return &hallwayv1.MaintainResponse{Rows: uint64(max(n, 0))}, nil
}

func (s *Server) whyNotCached(b *bound) string {
	switch {
	case s.cfg.Cache == nil:
		return "The sidecar's setting cache is off."
	case !b.rel.policy.on:
		return "Its option cache, or its server's, is 'off'."
	}
	return "It has no key, so rows cannot be told from each other."
}

// notDone is the error of maintenance that the database did not do.
func notDone(what string, err error) error {
	e := &connectors.Error{Class: connectors.Unavailable, Message: what + " did not work: " + err.Error(), Err: err}
	if errors.Is(err, cache.ErrBusy) || errors.Is(err, cache.ErrFull) || errors.Is(err, cache.ErrOvertaken) || cache.IsLocked(err) {
		e.Class, e.Hint = connectors.Locked, "Try again."
	}
	return e
}

// forgetObject makes whoever asks next get what the API says now.
func (s *Server) forgetObject(t *cachedTable) {
	s.overlay.Forget(t.place.Server, t.place.Object)
	s.flights.Retire(func(tag any) bool {
		o, ok := tag.(*shared)
		return ok && o.t.place.Server == t.place.Server && o.t.place.Object == t.place.Object
	})
}

func (s *Server) sync(ctx context.Context, name string, t *cachedTable, waitMs uint64) (int64, error) {
	if s.cfg.Replicas == nil || !t.def.Replica {
		return 0, &connectors.Error{Class: connectors.NotSupported, Message: fmt.Sprintf("foreign table %q is not a replica", name),
			Hint: "Set its option cache to 'replica'."}
	}
	n, err := s.cfg.Replicas.Sync(ctx, t.id, t.at, t.def, time.Duration(min(waitMs, 1<<40))*time.Millisecond)
	if err != nil {
		return n, fmt.Errorf("waiting for the replica: %w", err)
	}
	return n, nil
}

func (s *Server) resume(ctx context.Context) (*hallwayv1.MaintainResponse, error) {
	peer := callOf(ctx).conn.backend()
	if s.cfg.Replicas == nil && s.cfg.Journal == nil || peer.identity == (cache.Identity{}) {
		return nil, &connectors.Error{Class: connectors.NotSupported, Message: "this sidecar does no work in the background"}
	}
	if s.cfg.Journal != nil {
		if err := s.cfg.Journal.Resume(ctx, peer.identity, peer.address); err != nil {
			return nil, notDone("resuming the journal", err)
		}
	}
	if s.cfg.Replicas != nil {
		if err := s.cfg.Replicas.Resume(ctx, peer.identity, peer.address); err != nil {
			return nil, fmt.Errorf("resuming: %w", err)
		}
	}
	return &hallwayv1.MaintainResponse{}, nil
}

// surePatience bounds refresh's wait for the API's list to show what was written.
const surePatience = 15 * time.Second

// untilSure waits until the API's list must show all that was written and is not
// known here: what it shows before must not be kept.
func (s *Server) untilSure(ctx context.Context, rel *relation, t *cachedTable) error {
	for end := time.Now().Add(surePatience); ; {
		at := s.overlay.View(t.place).SureAt
		if at.IsZero() {
			return nil
		}
		wait := max(time.Until(at), 0) + time.Millisecond
		if time.Now().Add(wait).After(end) {
			return &connectors.Error{Class: connectors.Conflict,
				Message: fmt.Sprintf("foreign table %q cannot be refreshed yet", rel.spec.Name),
				Detail:  "Rows of its object were written, and the API's lists may not show them for some time.",
				Hint:    fmt.Sprintf("Try again in %.0f s.", math.Ceil(wait.Seconds()))}
		}
		if !sleep(ctx, wait) {
			return fmt.Errorf("waiting for the API to show what was written: %w", ctx.Err())
		}
	}
}

// emptyHash is the shim's hash of a predicate without bytes: PostgreSQL's
// hash_bytes_extended, as hashtextextended gives it for an empty text.
const emptyHash = -6939563903564495251

// refreshTries bounds how often refresh reads all rows, if some are written
// meanwhile.
const refreshTries = 3

// refresh reads all rows of a table and keeps them as the region without
// conjuncts.
func (s *Server) refresh(ctx context.Context, rel *relation, t *cachedTable) (int64, error) {
	for tries := 1; ; tries++ {
		if err := s.untilSure(ctx, rel, t); err != nil {
			return 0, err
		}
		n, err := s.refreshOnce(ctx, rel, t)
		if tries == refreshTries || !errors.Is(err, cache.ErrOvertaken) {
			return n, err
		}
	}
}

func (s *Server) refreshOnce(ctx context.Context, rel *relation, t *cachedTable) (int64, error) {
	b, err := s.bindRelation(ctx, rel)
	if err != nil {
		return 0, err
	}
	mine := true // b is released here, not by a flight
	defer func() {
		if mine {
			b.release()
		}
	}()
	q := &connectors.Query{Stats: &connectors.Stats{}}
	q.Columns = t.columns
	view := s.overlay.View(t.place)
	p := &prepared{query: *q, header: &hallwayv1.ScanHeader{}, answered: &hallwayv1.PlanResponse{}}
	f, err := p.lay(b.rel, t, view)
	if err != nil {
		return 0, err
	}
	q = &p.query
	region := cache.Region{Predicate: []byte{}, Hash: emptyHash, Columns: t.columns}
	key := flightKey(b.rel, t, region, q, 0)
	// One that is under way began before; only one of the two can be kept.
	s.flights.Quiet(ctx, key)
	tag := &shared{t: t, stats: q.Stats, kept: !view.Unsure}
	deadline, _ := ctx.Deadline()
	r, _ := s.flights.Join(ctx, flight.Request{Key: key, Owner: connOf(ctx), Stamp: view.Stamp, Deadline: deadline},
		tag, s.flight(b, q, region, f, tag, 0))
	defer r.Close()
	mine = false
	for {
		_, err := r.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, err
		}
	}
	for {
		o, known := r.Outcome(ctx, time.Minute)
		switch {
		case ctx.Err() != nil:
			return 0, fmt.Errorf("waiting for the rows to be kept: %w", ctx.Err())
		case known && o.Err != nil:
			return 0, notDone("keeping the rows", o.Err)
		case known:
			return o.Rows, nil
		}
	}
}
