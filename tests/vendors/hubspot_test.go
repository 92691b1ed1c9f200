package vendors

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/fakes/hubspot"
	"github.com/hallwaydb/hallway/tests/harness"
)

// TestHubSpot has @hubspot/api-client judge tests/fakes/hubspot.
func TestHubSpot(t *testing.T) {
	server := hubspot.New(hubspot.Options{})
	defer server.Close()
	server.Seed("contacts", 10_050, func(i int) map[string]string {
		return map[string]string{"email": "seed" + strconv.Itoa(i) + "@example.com", "firstname": "Seed", "num_employees": strconv.Itoa(i)}
	})
	can := harness.Controls{
		"owner": func(a url.Values) any { return server.AddOwner(a.Get("email"), "Olga", "Owner") },
		"calls": func(url.Values) any { return server.Calls() },
		"lag": func(a url.Values) any {
			lag, err := time.ParseDuration(a.Get("lag"))
			require.NoError(t, err)
			server.SetSearchLag(lag)
			return nil
		},
		"refused": func(url.Values) any { return server.Refused() },
		"heal":    func(url.Values) any { server.Heal(); return nil },
		"fail": func(a url.Values) any {
			status, err := strconv.Atoi(a.Get("status"))
			require.NoError(t, err)
			times, err := strconv.Atoi(a.Get("times"))
			require.NoError(t, err)
			path := a.Get("path")
			server.Fail(hubspot.Fault{Status: status, Times: times, Policy: a.Get("policy"),
				Match: func(r *http.Request) bool { return strings.Contains(r.URL.Path, path) }})
			return nil
		},
		"refreshToken": func(url.Values) any { return server.NewRefreshToken() },
		"expire":       func(url.Values) any { server.Expire(); return nil },
		"grant":        func(a url.Values) any { server.Grant(a["scope"]...); return nil },
	}
	harness.Judge(t, "hubspot.js", server.URL, can)
	require.NotZero(t, server.Calls()["search"], "the client has not called the server")
}

// TestHubSpot_Limits: the client waits as HubSpot means it to, and knows the limits
// for what they are.
func TestHubSpot_Limits(t *testing.T) {
	now := time.Now()
	server := hubspot.New(hubspot.Options{PerSecondSearches: 4, PerTenSeconds: 20, PerDay: 1000, Now: func() time.Time { return now }})
	defer server.Close()
	server.Seed("contacts", 3, func(int) map[string]string { return map[string]string{"firstname": "Seed"} })
	harness.Judge(t, "hubspot_limits.js", server.URL, harness.Controls{
		"refused": func(url.Values) any { return server.Refused() },
		"fail": func(url.Values) any {
			server.Fail(hubspot.Fault{Status: http.StatusTooManyRequests, Policy: "SECONDLY", Times: 2})
			return nil
		},
	})
}
