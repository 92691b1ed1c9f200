package connectors

import (
	"context"
	"io/fs"
	"log/slog"
	"time"
)

// Env is what the sidecar gives a connector: its settings, never its state.
type Env struct {
	// Log is for the operator; nothing secret may go there.
	Log *slog.Logger
	// Manifests holds the files that the server option "manifest" may name.
	Manifests fs.FS
	// AllowHosts are the hosts (host, host:port, *.domain) that a base URL may
	// name and a redirect or page link may lead to; see transport.
	AllowHosts []string
	// MaxResponseBytes bounds one response of an API after decompression.
	MaxResponseBytes int64
	// MaxWait bounds a wait for an API's rate limit where the query has no
	// earlier deadline; 0: transport's default.
	MaxWait time.Duration
	// UserAgent for all requests.
	UserAgent string
	// Tokens keeps what authorization servers give; nil: nothing is kept.
	Tokens TokenStore
	// Observe is called after every HTTP attempt, for metrics; may be nil.
	// Status 0 means that no answer came.
	Observe func(api, method string, status int, took time.Duration)
	// ObserveBudget is called when an API tells how many calls remain of those that
	// it grants for a day, or another long time, for metrics; may be nil. most is how
	// many that are, 0 if it does not say.
	ObserveBudget func(api, host string, remaining, most float64)
}

// TokenStore keeps refresh tokens, which are secret, for all sidecars of an
// installation.
type TokenStore interface {
	// Exchange gives renew what is kept under name, nil if nothing is, and keeps
	// what renew returns, durably before it returns itself; nil changes nothing. No
	// two run at a time for one name.
	Exchange(ctx context.Context, name string, renew func(kept []byte) ([]byte, error)) error
}
