package vendors

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/url"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/fakes/salesforce"
	"github.com/hallwaydb/hallway/tests/harness"
)

func TestSalesforce(t *testing.T) {
	t.Parallel()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	public, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	require.NoError(t, err)
	var ahead atomic.Int64
	s := salesforce.New(salesforce.Options{
		BulkPolls:    1,
		Clock:        func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) },
		PublicKeyPEM: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})),
	})
	defer s.Close()
	harness.Judge(t, "salesforce.js", s.URL, harness.Controls{
		"calls": func(url.Values) any { return s.Calls() },
		"assertions": func(url.Values) any {
			good := assertion(t, key, s.URL)
			return map[string]string{"assertion": good, "forged": good[:len(good)-8] + "AAAAAAAA"}
		},
		"tick": func(args url.Values) any {
			n, err := strconv.Atoi(args.Get("minutes"))
			if err != nil {
				return err.Error()
			}
			ahead.Add(int64(time.Duration(n) * time.Minute))
			return nil
		},
		"fail": func(args url.Values) any {
			status, err := strconv.Atoi(args.Get("status"))
			if err != nil {
				return err.Error()
			}
			s.FailNext(1, status, args.Get("code"), "as told")
			return nil
		},
	})
}

// assertion is a JWT as the bearer flow wants it.
func assertion(t *testing.T, key *rsa.PrivateKey, audience string) string {
	t.Helper()
	claims, err := json.Marshal(map[string]any{"iss": salesforce.ClientID, "sub": salesforce.Username, "aud": audience, "exp": time.Now().Add(2 * time.Minute).Unix()})
	require.NoError(t, err)
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256"}`)) + "." + base64.RawURLEncoding.EncodeToString(claims)
	sum := sha256.Sum256([]byte(text))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	require.NoError(t, err)
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}
