package hubspot

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/secret"
	"github.com/hallwaydb/hallway/sidecar/transport"
	fake "github.com/hallwaydb/hallway/tests/fakes/hubspot"
)

// authorizeURL is what a person is asked to open.
func authorizeURL(t *testing.T, options ...string) (*url.URL, error) {
	t.Helper()
	env := testEnv()
	env.Tokens, env.AllowHosts = secret.NewTokens(t.TempDir()), append(env.AllowHosts, "app.hubspot.com", "api.hubapi.com")
	server := connectors.ServerSpec{Name: "hs", Options: map[string]string{}, Credential: map[string]string{"client_id": fake.ClientID, "client_secret": fake.ClientSecret, "authorization": "ours"}}
	for i := 0; i < len(options); i += 2 {
		server.Options[options[i]] = options[i+1]
	}
	src, err := New().Open(t.Context(), env, server)
	if err != nil {
		return nil, err
	}
	defer func() { require.NoError(t, src.Close()) }()
	client, params := src.(interface {
		Authorization() (*transport.Client, map[string]string)
	}).Authorization()
	ctx, cancel := context.WithCancel(t.Context())
	var shown *url.URL
	err = client.Authorize(ctx, transport.Authorization{Params: params, Show: func(text string) {
		u, err := url.Parse(text)
		require.NoError(t, err)
		shown = u
		cancel() // nobody opens it
	}})
	require.ErrorIs(t, err, context.Canceled)
	return shown, nil
}

func TestScopes(t *testing.T) {
	u, err := authorizeURL(t)
	require.NoError(t, err)
	require.Equal(t, "https://app.hubspot.com/oauth/authorize", u.Scheme+"://"+u.Host+u.Path)
	q := u.Query()
	require.Equal(t, "code", q.Get("response_type"))
	require.Equal(t, fake.ClientID, q.Get("client_id"))
	// What is shown as a table can be granted.
	asked := append(strings.Fields(q.Get("scope")), strings.Fields(q.Get("optional_scope"))...)
	for table, scopes := range map[string][]string{
		"contacts": {"crm.objects.contacts.read", "crm.objects.contacts.write"}, "companies": {"crm.objects.companies.read", "crm.objects.companies.write"},
		"deals": {"crm.objects.deals.read", "crm.objects.deals.write"}, "owners": {"crm.objects.owners.read"}, "tickets": {"tickets"}, "products": {"e-commerce"},
		"line_items": {"crm.objects.line_items.read", "crm.objects.line_items.write"}, "quotes": {"crm.objects.quotes.read", "crm.objects.quotes.write"},
		"custom objects": {"crm.objects.custom.read", "crm.objects.custom.write", "crm.schemas.custom.read"},
	} {
		for _, s := range scopes {
			require.True(t, slices.Contains(asked, s), "%s of %s", s, table)
		}
	}
	require.Contains(t, strings.Fields(q.Get("scope")), "crm.objects.contacts.read", "not an optional one")
	require.NotContains(t, strings.Fields(q.Get("scope")), "tickets", "an account may not have them")

	u, err = authorizeURL(t, "scopes", " oauth  tickets ", "optional_scopes", "e-commerce")
	require.NoError(t, err)
	require.Equal(t, "oauth tickets", u.Query().Get("scope"))
	require.Equal(t, "e-commerce", u.Query().Get("optional_scope"))

	u, err = authorizeURL(t, "optional_scopes", "")
	require.NoError(t, err)
	require.Equal(t, q.Get("scope"), u.Query().Get("scope"))
	require.False(t, u.Query().Has("optional_scope"))

	_, err = authorizeURL(t, "scopes", "oauth a\"b")
	var e *connectors.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, connectors.InvalidOptionValue, e.Class)
	require.Equal(t, `invalid value for option "scopes": "oauth a\"b"`, e.Message)
}
