package transport

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
)

func TestBudget_Learns(t *testing.T) {
	usage := []BudgetHeader{{"Usage", BudgetForm("api-usage={used}/{max}")}}
	daily := []BudgetHeader{{"Daily", BudgetForm("{max}")}, {"Left", BudgetForm("{remaining}")}}
	for _, c := range []struct {
		name    string
		rules   []BudgetHeader
		header  http.Header
		left    float64
		of      float64
		unknown bool
	}{
		{"used of all", usage, http.Header{"Usage": {"api-usage=18/5000"}}, 4982, 5000, false},
		{"beside others", usage, http.Header{"Usage": {"per-app-api-usage=17/250(appName=sample), api-usage=18/5000"}}, 4982, 5000, false},
		{"others alone", usage, http.Header{"Usage": {"per-app-api-usage=17/250"}}, 0, 0, true},
		{"more than all", usage, http.Header{"Usage": {"api-usage=5001/5000"}}, 0, 5000, false},
		{"no number", usage, http.Header{"Usage": {"api-usage=many/5000"}}, 0, 0, true},
		{"none", usage, http.Header{}, 0, 0, true},
		{"two headers", daily, http.Header{"Daily": {"250000"}, "Left": {"9"}}, 9, 250000, false},
		{"what remains alone", daily, http.Header{"Left": {"9"}}, 9, 0, false},
		{"all alone", daily, http.Header{"Daily": {"250000"}}, 0, 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := budget{rules: &Budget{Headers: c.rules, Reserve: -1}}
			left, of, told := b.learn(c.header, time.Now())
			assert.Equal(t, !c.unknown, told)
			assert.InDelta(t, c.left, left, 0)
			assert.InDelta(t, c.of, of, 0)
			assert.Nil(t, b.admit("CRM", time.Now()), "nothing is kept")
		})
	}
}

func TestBudget_KeepsTheReserve(t *testing.T) {
	now := time.Now()
	b := budget{rules: &Budget{Headers: []BudgetHeader{{"Usage", BudgetForm("{used}/{max}")}}, Reserve: 10, Percent: true}}
	use := func(n int) { b.learn(http.Header{"Usage": {fmt.Sprintf("%d/200", n)}}, now) }
	require.Nil(t, b.admit("CRM", now), "nothing is known")
	use(179)
	require.Nil(t, b.admit("CRM", now))
	use(180)
	e := b.admit("CRM", now.Add(time.Minute))
	require.NotNil(t, e)
	assert.Equal(t, connectors.RateLimited, e.Class)
	assert.Equal(t, 4*time.Minute, e.RetryAfter)
	assert.Equal(t, "20 of 200 calls remain, and the option api_reserve keeps 20.", e.Detail)
	// One call in five minutes finds out whether there are more.
	now = now.Add(budgetProbe)
	require.Nil(t, b.admit("CRM", now))
	require.NotNil(t, b.admit("CRM", now), "one")
	use(5)
	require.Nil(t, b.admit("CRM", now))
}

func TestBudget_OfAClient(t *testing.T) {
	used := 0
	a := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		used++
		w.Header().Set("Usage", fmt.Sprintf("%d/10", used))
	})
	var seen []string
	c := a.client(t, func(env *connectors.Env, cfg *Config) {
		cfg.Budget = &Budget{Headers: []BudgetHeader{{"Usage", BudgetForm("{used}/{max}")}}, Reserve: 7}
		env.ObserveBudget = func(api, host string, remaining, most float64) {
			seen = append(seen, fmt.Sprint(api, remaining, most))
			assert.Equal(t, a.Listener.Addr().String(), host)
		}
	})
	var err error
	for n := 0; err == nil && n < 100; n++ {
		var resp *Response
		if resp, err = c.Do(t.Context(), &Request{Path: "/x"}); err == nil {
			require.NoError(t, resp.Close())
		}
	}
	var typed *connectors.Error
	require.ErrorAs(t, err, &typed)
	require.Equal(t, connectors.RateLimited, typed.Class)
	require.Equal(t, []string{"CRM9 10", "CRM8 10", "CRM7 10"}, seen)
	require.Equal(t, 3, used, "the next call was not made")
}
