package rest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
)

// What a credential lacks is said with what is to be done about it.
func TestAuth_Lacking(t *testing.T) {
	t.Parallel()
	login := &Auth{Type: "login", Body: []Pair{{Name: "identity", Value: "{user}"}, {Name: "password", Value: "{password}"}}}
	oauth := &Auth{Type: "oauth2", Grants: []string{"token", "client_credentials"}}
	for _, c := range []struct {
		auth          *Auth
		credential    map[string]string
		message, hint string
	}{
		{login, nil, `role "Anna" has no credential for server "crm"`,
			`A superuser can give it one of the sidecar's secrets: CREATE USER MAPPING FOR "Anna" SERVER crm OPTIONS (secret '...'). The API takes user, password.`},
		{login, map[string]string{"user": "a"}, `user mapping option "password" is missing`,
			`The API is used with auth login: ALTER USER MAPPING ... OPTIONS (ADD password '...').`},
		{oauth, nil, `role "Anna" has no credential for server "crm"`,
			`A superuser can give it one of the sidecar's secrets: CREATE USER MAPPING FOR "Anna" SERVER crm OPTIONS (secret '...'). The API takes one of these sets of options: token; client_id, client_secret.`},
		{oauth, map[string]string{"client_id": "a"}, "the user mapping's options are not enough to authenticate",
			"Give one of these sets of options: token; client_id, client_secret."},
	} {
		_, err := auth(c.auth, nil, "CRM", connectors.ServerSpec{Name: "crm", User: "Anna", Credential: c.credential})
		var e *connectors.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, connectors.InvalidOption, e.Class)
		require.Equal(t, c.message, e.Message)
		require.Equal(t, c.hint, e.Hint)
	}
}
