// The check that a credential is still good, for APIs that show a stranger an
// empty list in place of a refusal.

package rest

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/transport"
)

// checkEvery is for how long a credential that was found good is believed.
const checkEvery = time.Minute

// checkCredential asks the API whether it knows us, if the manifest says how
// and nobody asked of late. again: it was asked, and said yes (perhaps only to
// a new token), so what came before may not count.
func (s *source) checkCredential(ctx context.Context, stats *connectors.Stats) (again bool, err error) {
	if s.check == "" || time.Now().UnixNano()-s.checked.Load() < int64(checkEvery) {
		return false, nil
	}
	resp, err := s.client.Do(ctx, &transport.Request{Method: s.m.Auth.Check.Method, Path: s.check, Stats: stats})
	if err != nil {
		return false, err
	}
	defer func() { _ = resp.Close() }()
	if resp.Status >= 400 {
		e := resp.StatusError("")
		switch resp.Status {
		case http.StatusBadRequest, http.StatusUnauthorized, http.StatusNotFound:
			e.Class = connectors.Unauthenticated
			e.Message = "the API does not know this credential"
			e.Hint = "Check the user mapping's options."
		}
		return false, e
	}
	// Read to the end, so that the connection is kept.
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20))
	s.checked.Store(time.Now().UnixNano())
	return true, nil
}
