package salesforce

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	fake "github.com/hallwaydb/hallway/tests/fakes/salesforce"
)

// The org says with each answer how many calls of the day are used: some are left
// to others.
func TestReserve(t *testing.T) {
	s := fake.New(fake.Options{DailyLimit: 40})
	defer s.Close()
	traps(t, s, 10)
	server := serverSpec(s)
	server.Options["api_reserve"] = "50%"
	src, err := New().Open(t.Context(), testEnv(), server)
	require.NoError(t, err)
	defer src.Close()
	tab, err := src.Table(t.Context(), imported(t.Context(), t, src, "everything__c"))
	require.NoError(t, err)
	for n := 0; err == nil && n < 100; n++ {
		_, err = scanError(t, tab, connectors.Query{})
	}
	refused, ok := errorOf(err)
	require.True(t, ok, "%v", err)
	require.Equal(t, connectors.RateLimited, refused.Class)
	require.Contains(t, refused.Detail, "20 of 40 calls remain")
	require.Equal(t, 20, s.Calls()[""], "no more were made")
	for _, bad := range []string{"much", "-1", "100%", "1e99"} {
		server.Options["api_reserve"] = bad
		_, err := New().Open(t.Context(), testEnv(), server)
		refused, ok := errorOf(err)
		require.True(t, ok)
		require.Equal(t, connectors.InvalidOptionValue, refused.Class, bad)
	}
}
