package salesforce

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	"github.com/hallwaydb/hallway/connectors/conformance"
	"github.com/hallwaydb/hallway/sidecar/pushdown"
	fake "github.com/hallwaydb/hallway/tests/fakes/salesforce"
)

// bulkTable is a table of an org that is read by jobs.
func bulkTable(t *testing.T, s *fake.Server, options map[string]string) connectors.Table {
	t.Helper()
	server := serverSpec(s)
	server.Options["bulk"] = "always"
	server.Credential = map[string]string{"client_id": fake.ClientID, "client_secret": fake.ClientSecret}
	src, err := New().Open(t.Context(), testEnv(), server)
	require.NoError(t, err)
	t.Cleanup(func() { _ = src.Close() })
	spec := imported(t.Context(), t, src, "everything__c")
	for name, value := range options {
		spec.Options[name] = value
	}
	tab, err := src.Table(t.Context(), spec)
	require.NoError(t, err)
	return tab
}

// A session that ends while a job is made, looked at or read is renewed.
func TestBulk_SessionsEnd(t *testing.T) {
	t.Parallel()
	s := fake.New(fake.Options{SessionCalls: 2, BulkPolls: 3, BulkPage: 30})
	defer s.Close()
	traps(t, s, 100)
	tab := bulkTable(t, s, nil)
	s.ResetCalls()
	require.Len(t, scanAll(t, tab, connectors.Query{}), 100)
	calls := s.Calls()
	require.GreaterOrEqual(t, calls["bulk_results"], 4)
	require.Zero(t, calls["query"])
	require.GreaterOrEqual(t, calls["token"], 3)
	require.Eventually(t, func() bool { return s.Jobs() == 0 }, time.Minute, 5*time.Millisecond)
}

// The next page, to which an answer has a link, and the next part of a job's result, to
// which a header leads, are asked for before the rows of the one before are taken.
func TestAsksAhead(t *testing.T) {
	t.Parallel()
	s := fake.New(fake.Options{PageSize: 40, BulkPage: 40})
	defer s.Close()
	traps(t, s, 100)
	text := []pushdown.Type{sqlTypes["text"]}
	q := connectors.Query{Request: pushdown.Request{Columns: []int{0}}}
	s.ResetCalls()
	conformance.AsksAhead(t, bindTable(t, openSource(t, s), "Everything__c", nil, "Id"), q, text, 100,
		func() int { c := s.Calls(); return c["query"] + c["query_more"] })
	bulk := bulkTable(t, s, nil)
	s.ResetCalls()
	conformance.AsksAhead(t, bulk, q, text, 100, func() int { return s.Calls()["bulk_results"] })
}

func TestBulk_Failure(t *testing.T) {
	t.Parallel()
	s := fake.New(fake.Options{BulkPolls: 1, BulkFailure: "QUERY_TIMEOUT: Your query request was running for too long."})
	defer s.Close()
	traps(t, s, 10)
	tab := bulkTable(t, s, nil)
	err := refused(t, tab)
	require.Equal(t, connectors.Unavailable, err.Class)
	require.Equal(t, "QUERY_TIMEOUT", err.Code)
	require.Contains(t, err.Message, `has ended as "Failed": QUERY_TIMEOUT: Your query request`)
	require.Contains(t, err.Detail, "It is job 750")
	s.Configure(func(o *fake.Options) { o.BulkFailure = "" })
	require.Len(t, scanAll(t, tab, connectors.Query{}), 10)
	require.Eventually(t, func() bool { return s.Jobs() == 0 }, time.Minute, 5*time.Millisecond)
	s.FailNext(1, 400, "FEATURENOTENABLED", "Bulk API is not enabled for this org")
	err = refused(t, tab)
	require.Equal(t, "FEATURENOTENABLED", err.Code, "who says always does not get anything else")
}

func refused(t *testing.T, tab connectors.Table) *connectors.Error {
	t.Helper()
	_, err := scanError(t, tab, connectors.Query{})
	typed, ok := errorOf(err)
	require.True(t, ok, "%v", err)
	return typed
}

// Deleted records come by a job, too.
func TestBulk_DeletedRecords(t *testing.T) {
	t.Parallel()
	s := fake.New(fake.Options{})
	defer s.Close()
	traps(t, s, 20)
	ids, err := s.Insert("Everything__c", map[string]any{"Name": "gone", "Key__c": "gone"})
	require.NoError(t, err)
	require.NoError(t, s.Remove("Everything__c", ids[0]))
	require.Len(t, scanAll(t, bulkTable(t, s, nil), connectors.Query{}), 20)
	tab := bulkTable(t, s, map[string]string{"include_deleted": "true"})
	require.Len(t, scanAll(t, tab, connectors.Query{}), 21)
	request := tab.Request(connectors.Query{Request: pushdown.Request{Columns: []int{0}}})
	require.True(t, strings.HasPrefix(request, `POST /services/data/v62.0/jobs/query {"operation":"queryAll",`), request)
	require.Contains(t, request, `"query":"SELECT Id FROM Everything__c"}`)
}

// The Bulk API knows no compound fields: a query that reads one is read without it.
func TestBulk_CompoundFields(t *testing.T) {
	t.Parallel()
	s := fake.New(fake.Options{})
	defer s.Close()
	server := serverSpec(s)
	server.Options["bulk"] = "always"
	src, err := New().Open(t.Context(), testEnv(), server)
	require.NoError(t, err)
	defer src.Close()
	spec := imported(t.Context(), t, src, "account")
	tab, err := src.Table(t.Context(), spec)
	require.NoError(t, err)
	for i, c := range spec.Columns {
		request := tab.Request(connectors.Query{Request: pushdown.Request{Columns: []int{0, i}}})
		require.Equal(t, c.Type.Kind == pushdown.JSONB, strings.HasPrefix(request, "GET "), "%s: %s", c.Name, request)
	}
	require.True(t, slices.ContainsFunc(spec.Columns, func(c connectors.ColumnSpec) bool { return c.Type.Kind == pushdown.JSONB }))
}
