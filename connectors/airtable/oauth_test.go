package airtable

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/sidecar/secret"
	fake "github.com/hallwaydb/hallway/tests/fakes/airtable"
)

// Tokens that end while pages are read are renewed, each time by another refresh
// token, and what is kept outlives the server's source.
func TestOAuth(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "base", "CRM")
	list := make([]map[string]any, 450)
	for i := range list {
		list[i] = map[string]any{"Name": fmt.Sprintf("P%03d", i)}
	}
	_, err := w.Seed(w.Contacts, list...)
	require.NoError(t, err)
	e := env()
	e.Tokens = secret.NewTokens(t.TempDir())
	spec := w.spec("base", "CRM", "oauth_url", w.URL+"/oauth2/v1")
	spec.Credential = map[string]string{"client_id": fake.Client, "refresh_token": w.Refresh()}
	for range 2 { // the second finds the tokens of the first
		src, err := New().Open(t.Context(), e, spec)
		require.NoError(t, err)
		w.src = src
		tab, tspec := w.table(t, "default", "contacts")
		for range 3 {
			w.ExpireTokens()
			require.Len(t, scan(t, tab, tspec, nil, "name"), 450)
		}
		require.NoError(t, src.Close())
	}
	renewed := w.Calls(fake.OAuth)
	require.GreaterOrEqual(t, renewed, 6)
	require.LessOrEqual(t, renewed, 8)
	for _, r := range w.Requests() {
		if r.Kind == fake.OAuth {
			require.Equal(t, 200, r.Status, string(r.Body))
		}
	}
}
