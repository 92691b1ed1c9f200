// Masking of secrets in everything that leaves this package as text.

package transport

import (
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/hallwaydb/hallway/sidecar/secret"
)

// secretNames are query parameters and form fields that hold secrets by
// convention, whoever put them there.
var secretNames = []string{
	"access_token", "api_key", "apikey", "api-key", "auth", "authorization", "client_secret",
	"key", "passwd", "password", "refresh_token", "secret", "sig", "signature", "token",
	"x-amz-credential", "x-amz-security-token", "x-amz-signature",
}

// redactor knows the secrets of one client: those of its configuration, and
// tokens as they come.
type redactor struct {
	names map[string]bool

	mu      sync.RWMutex
	fixed   []string
	current string // the token in use; the one before stays in previous
	prev    string
}

func newRedactor(names ...string) *redactor {
	r := &redactor{names: make(map[string]bool, len(secretNames)+len(names))}
	for _, n := range append(slices.Clone(secretNames), names...) {
		r.names[strings.ToLower(n)] = true
	}
	return r
}

// add makes the text of s unshowable. What is shorter than four characters
// would mask half of every message and is left to the redaction by name.
func (r *redactor) add(s Secret) {
	if t := s.Reveal(); len(t) >= 4 {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, form := range []string{t, url.QueryEscape(t), url.PathEscape(t)} {
			if !slices.Contains(r.fixed, form) {
				r.fixed = append(r.fixed, form)
			}
		}
		// Longest first, so that a secret which contains another goes whole.
		slices.SortFunc(r.fixed, func(a, b string) int { return len(b) - len(a) })
	}
}

// token replaces the token in use.
func (r *redactor) token(t string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if t != r.current && len(t) >= 4 {
		r.prev, r.current = r.current, t
	}
}

// text masks every known secret in s.
func (r *redactor) text(s string) string {
	if s == "" {
		return s
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, t := range r.fixed {
		s = strings.ReplaceAll(s, t, secret.Mask)
	}
	for _, t := range []string{r.current, r.prev} {
		if t != "" {
			s = strings.ReplaceAll(s, t, secret.Mask)
		}
	}
	return s
}

// url gives path and query, the values of secret parameters masked. The host
// is the server's option and said elsewhere.
func (r *redactor) url(u *url.URL) string {
	out := u.EscapedPath()
	if out == "" {
		out = "/"
	}
	if u.RawQuery != "" {
		parts := strings.Split(u.RawQuery, "&")
		for i, p := range parts {
			name, _, has := strings.Cut(p, "=")
			plain, err := url.QueryUnescape(name)
			if has && (err != nil || r.names[strings.ToLower(plain)]) {
				parts[i] = name + "=" + secret.Mask
			}
		}
		out += "?" + strings.Join(parts, "&")
	}
	return r.text(out)
}
