package rest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
)

func TestWithScopes(t *testing.T) {
	oauth := &Auth{Type: "oauth2", Scopes: []string{"a"}, OptionalScopes: &OptionalScopes{Param: "may", Scopes: []string{"b"}}}
	for _, test := range []struct {
		auth             *Auth
		options          map[string]string
		scopes, optional []string
		class            connectors.Class
	}{
		{auth: oauth, scopes: []string{"a"}, optional: []string{"b"}},
		{auth: oauth, options: map[string]string{"scopes": "x:y\tz", "optional_scopes": " "}, scopes: []string{"x:y", "z"}},
		{auth: oauth, options: map[string]string{"optional_scopes": "c d"}, scopes: []string{"a"}, optional: []string{"c", "d"}},
		{auth: oauth, options: map[string]string{"scopes": "é"}, class: connectors.InvalidOptionValue},
		{auth: &Auth{Type: "client_credentials"}, options: map[string]string{"scopes": "c"}, scopes: []string{"c"}},
		{auth: &Auth{Type: "client_credentials"}, options: map[string]string{"optional_scopes": "c"}, class: connectors.InvalidOption},
		{auth: &Auth{Type: "bearer"}, options: map[string]string{"scopes": "c"}, class: connectors.InvalidOption},
	} {
		got, err := test.auth.withScopes(test.options)
		if test.class != 0 {
			var e *connectors.Error
			require.ErrorAs(t, err, &e, "%v", test.options)
			require.Equal(t, test.class, e.Class, "%v", test.options)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, test.scopes, got.Scopes, "%v", test.options)
		if got.OptionalScopes != nil {
			require.ElementsMatch(t, test.optional, got.OptionalScopes.Scopes, "%v", test.options)
		}
	}
	require.Equal(t, []string{"a"}, oauth.Scopes, "the manifest's stay")
}
