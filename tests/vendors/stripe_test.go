package vendors

import (
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors/rest"
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

// TestStripe_Events: the client knows of no event about an object that has a change
// log which the connector does not read, nor the other way round.
func TestStripe_Events(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", ".dev", "vendors", "node_modules", "stripe", "esm", "resources", "Events.d.ts"))
	require.NoError(t, err)
	known := map[string]string{} // the kind of object that it is about, by type
	for _, m := range regexp.MustCompile(`(?s)export interface (\w+Event) extends EventBase \{\s*type: '([^']+)'`).FindAllSubmatch(text, -1) {
		about := regexp.MustCompile(`(?s)namespace ` + string(m[1]) + ` \{.*?object: ([^;]+);`).FindSubmatch(text)
		known[string(m[2])] = ""
		if about != nil {
			known[string(m[2])] = string(about[1])
		}
	}
	require.Greater(t, len(known), 200)

	text, err = os.ReadFile(filepath.Join("..", "..", "connectors", "stripe", "stripe.yaml"))
	require.NoError(t, err)
	m, err := rest.Parse("stripe.yaml", text)
	require.NoError(t, err)
	kinds := map[string]string{"customers": "Customer", "products": "Product", "prices": "Price", "subscriptions": "Subscription",
		"invoices": "Invoice", "charges": "Charge", "payment_intents": "PaymentIntent", "refunds": "Refund"}
	for _, o := range m.Objects {
		if o.Changes == nil {
			continue
		}
		var want, own []string
		for event, about := range known {
			if about == kinds[o.Name] && event != "invoice.upcoming" {
				want = append(want, event)
			}
		}
		for _, log := range o.Changes.Logs {
			require.LessOrEqual(t, len(log.Only.Values), 20, "Stripe takes no more")
			for _, event := range log.Only.Values {
				require.Contains(t, known, event)
				if log.Key == "object_id" {
					own = append(own, event)
				}
			}
		}
		require.ElementsMatch(t, want, own, o.Name)
		delete(kinds, o.Name)
	}
	require.Empty(t, kinds, "objects without a log")
}
