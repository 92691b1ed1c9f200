package salesforce

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	"github.com/hallwaydb/hallway/sidecar/rows"
	"github.com/hallwaydb/hallway/sidecar/secret"
	fake "github.com/hallwaydb/hallway/tests/fakes/salesforce"
)

// Every way to log in, and sessions that end in the middle of a scan: no record is
// lost or comes twice, and one login follows each.
func TestLogin(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	inPEM := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	for name, credential := range map[string]map[string]string{
		"refresh_token":      {"client_id": fake.ClientID, "client_secret": fake.ClientSecret, "refresh_token": fake.RefreshToken},
		"password":           {"client_id": fake.ClientID, "client_secret": fake.ClientSecret, "user": fake.Username, "password": fake.Password},
		"client_credentials": {"client_id": fake.ClientID, "client_secret": fake.ClientSecret},
		"jwt_bearer":         {"client_id": fake.ClientID, "user": fake.Username, "private_key": inPEM("PRIVATE KEY", private)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := fake.New(fake.Options{PageSize: 10, SessionCalls: 4, PublicKeyPEM: inPEM("PUBLIC KEY", public)})
			defer s.Close()
			traps(t, s, 100)
			env := testEnv()
			env.Tokens = secret.NewTokens(t.TempDir())
			spec := connectors.ServerSpec{Name: "sf", Options: map[string]string{"instance_url": s.URL, "login_url": s.URL}, Credential: credential}
			src, err := New().Open(t.Context(), env, spec)
			require.NoError(t, err)
			defer src.Close()
			tab, err := src.Table(t.Context(), imported(t.Context(), t, src, "everything__c"))
			require.NoError(t, err)
			require.Len(t, scanAll(t, tab, connectors.Query{}), 100)
			calls := s.Calls()
			require.LessOrEqual(t, calls["token"], calls[""]/4+1)
			require.Greater(t, calls["token"], 2)

			for name := range credential {
				wrong := map[string]string{}
				for k, v := range credential {
					wrong[k] = v
				}
				if wrong[name] = "wrong"; name == "private_key" {
					continue
				}
				src, err := New().Open(t.Context(), env, connectors.ServerSpec{Name: "sf", Options: spec.Options, Credential: wrong})
				require.NoError(t, err)
				_, err = src.Import(t.Context(), connectors.ImportRequest{RemoteSchema: "default"})
				var e *connectors.Error
				require.ErrorAs(t, err, &e, name)
				require.Equal(t, connectors.Unauthenticated, e.Class, name)
				_ = src.Close()
			}
		})
	}
}

// scanAll gives the rows of a scan, of columns as text; without columns the first.
func scanAll(t *testing.T, tab connectors.Table, q connectors.Query) [][]pushdown.Value {
	t.Helper()
	out, err := scanError(t, tab, q)
	require.NoError(t, err)
	return out
}

func scanError(t *testing.T, tab connectors.Table, q connectors.Query) ([][]pushdown.Value, error) {
	t.Helper()
	if q.Stats == nil {
		q.Stats = &connectors.Stats{}
	}
	if q.Columns == nil {
		q.Columns = []int{0}
	}
	types := make([]pushdown.Type, len(q.Columns))
	for i := range types {
		types[i] = sqlTypes["text"]
	}
	var out [][]pushdown.Value
	b := rows.NewBuilder(types, func(tuples []byte, n int) error {
		got, err := rows.DecodeTuples(types, tuples, n)
		out = append(out, got...)
		return err
	}, rows.Options{})
	_, err := tab.Scan(t.Context(), q, b)
	return out, err
}
