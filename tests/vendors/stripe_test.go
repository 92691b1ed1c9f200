package vendors

import (
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/fakes/stripe"
	"github.com/hallwaydb/hallway/tests/harness"
)

// TestStripe: Stripe's own client is content with our server.
func TestStripe(t *testing.T) {
	server, err := stripe.New(stripe.Options{})
	require.NoError(t, err)
	defer server.Close()
	server.Seed(1, stripe.Seeds{Customers: 350, Products: 20, Prices: 40, Subscriptions: 60, Invoices: 60, Charges: 150})
	number := func(args url.Values, name string) int {
		n, err := strconv.Atoi(args.Get(name))
		require.NoError(t, err)
		return n
	}
	var release func()
	harness.Judge(t, "stripe.js", server.URL, harness.Controls{
		"fail": func(args url.Values) any {
			server.Fail(map[string]stripe.Fault{"before": stripe.FailBefore, "after": stripe.FailAfter, "cut": stripe.Cut}[args.Get("fault")])
			return nil
		},
		"count": func(args url.Values) any { return len(server.Objects(args.Get("kind"))) },
		"hold": func(url.Values) any {
			release = server.Hold()
			return nil
		},
		// begun answers when a request is under way.
		"begun": func(url.Values) any {
			for now := 0; now == 0; now, _ = server.Running() {
				time.Sleep(time.Millisecond)
			}
			return nil
		},
		"release": func(url.Values) any {
			release()
			return nil
		},
		"locked": func(args url.Values) any {
			server.Set(func(k *stripe.Knobs) { k.LockTimeoutEvery = number(args, "every") })
			return nil
		},
		"limited": func(args url.Values) any {
			server.Set(func(k *stripe.Knobs) { k.RateLimitEvery = number(args, "every") })
			return nil
		},
		"deny": func(args url.Values) any {
			server.Deny(args.Get("resource"), args.Get("end") == "")
			return nil
		},
	})
}
