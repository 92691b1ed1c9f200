package bridge

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/connectors"
	hallwayv1 "github.com/hallwaydb/hallway/proto/hallway/v1"
	"github.com/hallwaydb/hallway/sidecar/rows"
)

type secretMap map[string]map[string]string

func (m secretMap) Lookup(name string) (map[string]string, error) {
	if v, ok := m[name]; ok {
		return v, nil
	}
	return nil, fmt.Errorf("secret %q is not in the sidecar's secret store", name)
}

func withUser(opts ...string) func(*hallwayv1.Relation) {
	return func(r *hallwayv1.Relation) {
		for i := 0; i < len(opts); i += 2 {
			r.UserOptions = append(r.UserOptions, &hallwayv1.Option{Name: opts[i], Value: opts[i+1]})
		}
	}
}

func TestSecrets_ReachTheConnectorAndNothingElse(t *testing.T) {
	var got []map[string]string
	f := &fake{open: func(s connectors.ServerSpec) error {
		got = append(got, s.Credential)
		return &connectors.Error{Class: connectors.Unauthenticated, Message: "no"}
	}}
	w := start(t, f, func(c *Config) {
		c.Secrets = secretMap{"prod": {"": "s3cr3t-bare"}, "full": {"token": "s3cr3t-token", "user": "u"}}
	})
	c := w.client()
	var texts []string
	for i, opts := range [][]string{
		{"secret", "prod"}, {"secret", "full"}, {"secret", "full", "token", "s3cr3t-own"}, {"token", "s3cr3t-inline"}, {"secret", "nope"},
	} {
		_, err := c.Describe(t.Context(), &hallwayv1.DescribeRequest{Relation: things(uint64(i+1), withUser(opts...))})
		e := wire(t, err)
		texts = append(texts, err.Error()+e.String())
		if i < 4 {
			assert.Equal(t, "28000", e.GetSqlstate())
		} else {
			assert.Equal(t, "HV024", e.GetSqlstate())
			assert.Equal(t, `secret "nope" is not in the sidecar's secret store`, e.GetMessage())
		}
	}
	assert.Equal(t, []map[string]string{{"token": "s3cr3t-bare"}, {"token": "s3cr3t-token", "user": "u"},
		{"token": "s3cr3t-own", "user": "u"}, {"token": "s3cr3t-inline"}}, got)
	assert.NotContains(t, w.log.String()+strings.Join(texts, ""), "s3cr3t")
	assert.Contains(t, w.log.String(), "call failed")
}

func TestSources_AreSharedByCredentialAndClosedWhenIdle(t *testing.T) {
	f := &fake{}
	w := start(t, f, func(c *Config) { c.SourceIdle = 3 * time.Second })
	var wg sync.WaitGroup
	for i := range 20 {
		c := w.client()
		wg.Add(1)
		go func() {
			defer wg.Done()
			_, err := c.Describe(t.Context(), &hallwayv1.DescribeRequest{Relation: things(1, withUser("token", fmt.Sprint("t", i%2)))})
			assert.NoError(t, err)
		}()
	}
	wg.Wait()
	opened, _, _ := f.count()
	assert.Equal(t, 2, opened, "one for each credential")
	soon(t, "idle sources are closed", func() bool {
		_, closed, _ := f.count()
		return closed == 2 && w.srv.Stats().Sources == 0
	})
	c := w.client()
	_, err := c.Describe(t.Context(), &hallwayv1.DescribeRequest{Relation: things(1)})
	require.NoError(t, err, "and opened again")
}

func TestSources_InUseAreNotClosed(t *testing.T) {
	hold := make(chan struct{})
	f := &fake{scan: func(context.Context, connectors.Query, *rows.Builder) (connectors.ScanResult, error) {
		<-hold
		return connectors.ScanResult{}, nil
	}}
	w := start(t, f, func(c *Config) { c.SourceIdle = 20 * time.Millisecond })
	c := w.client()
	p := planOf(t, c, &hallwayv1.PlanRequest{Relation: things(1)})
	st, err := c.Scan(t.Context(), &hallwayv1.ScanRequest{Relation: things(1), Plan: p.GetPlan()})
	require.NoError(t, err)
	_, err = st.Recv()
	require.NoError(t, err)
	soon(t, "what nobody uses is closed", func() bool {
		opened, closed, _ := f.count()
		return closed == opened-1
	})
	time.Sleep(100 * time.Millisecond)
	opened, closed, _ := f.count()
	assert.Equal(t, opened-1, closed, "the scan's source was closed under it")
	close(hold)
	_, err = drainScan(t, st, nil)
	require.NoError(t, err)
}

func TestSources_ResetOpensAnewAndDisturbsNobody(t *testing.T) {
	hold := make(chan struct{})
	f := &fake{scan: func(context.Context, connectors.Query, *rows.Builder) (connectors.ScanResult, error) {
		<-hold
		return connectors.ScanResult{}, nil
	}}
	w := start(t, f)
	c := w.client()
	p := planOf(t, c, &hallwayv1.PlanRequest{Relation: things(1)})
	st, err := c.Scan(t.Context(), &hallwayv1.ScanRequest{Relation: things(1), Plan: p.GetPlan()})
	require.NoError(t, err)
	_, err = st.Recv()
	require.NoError(t, err)
	w.srv.Reset()
	_, closed, _ := f.count()
	assert.Zero(t, closed, "a scan uses it")
	_, err = c.Describe(t.Context(), &hallwayv1.DescribeRequest{Relation: &hallwayv1.RelationRef{Handle: 1}})
	require.NoError(t, err)
	opened, _, tables := f.count()
	assert.Equal(t, [2]int{2, 2}, [2]int{opened, tables})
	close(hold)
	_, err = drainScan(t, st, nil)
	require.NoError(t, err)
	soon(t, "its last user closes it", func() bool { _, closed, _ := f.count(); return closed == 1 })
	w.srv.Reset()
	soon(t, "and an idle one is closed at once", func() bool { _, closed, _ := f.count(); return closed == 2 })
}

func TestSources_FailureToOpenIsTriedAgain(t *testing.T) {
	fail := true
	f := &fake{open: func(connectors.ServerSpec) error {
		if fail {
			return &connectors.Error{Class: connectors.InvalidOption, Message: "bad"}
		}
		return nil
	}}
	c := start(t, f).client()
	_, err := c.Describe(t.Context(), &hallwayv1.DescribeRequest{Relation: things(1)})
	assert.Equal(t, "HV00D", wire(t, err).GetSqlstate())
	fail = false
	_, err = c.Describe(t.Context(), &hallwayv1.DescribeRequest{Relation: things(1)})
	require.NoError(t, err)
}

func TestConnector_UnknownOneListsThoseThereAre(t *testing.T) {
	_, err := start(t, &fake{}).client().Describe(t.Context(), &hallwayv1.DescribeRequest{Relation: things(1, func(r *hallwayv1.Relation) {
		r.ServerOptions[0].Value = "hubspot"
	})})
	e := wire(t, err)
	assert.Equal(t, "HV024", e.GetSqlstate())
	assert.Contains(t, e.GetHint(), "fake")
}

func TestRelations_AreHeldOnceAndOnlyWhileInUse(t *testing.T) {
	w := start(t, &fake{})
	clients := []hallwayv1.BridgeClient{w.client(), w.client()}
	for _, c := range clients {
		_, err := c.Describe(t.Context(), &hallwayv1.DescribeRequest{Relation: things(1)})
		require.NoError(t, err)
	}
	_, err := clients[0].Describe(t.Context(), &hallwayv1.DescribeRequest{Relation: things(2, withUser("token", "x"))})
	require.NoError(t, err)
	count := func() int {
		w.srv.relations.mu.Lock()
		defer w.srv.relations.mu.Unlock()
		return len(w.srv.relations.known)
	}
	assert.Equal(t, 2, count(), "equal definitions are one, other credentials another")

	var rs relations
	r, err := rs.intern(things(1).GetDefinition())
	require.NoError(t, err)
	again, err := rs.intern(things(9).GetDefinition())
	require.NoError(t, err)
	assert.Same(t, r, again)
	runtime.KeepAlive(r)
	r, again = nil, nil
	soon(t, "what nobody holds is forgotten", func() bool {
		runtime.GC()
		rs.mu.Lock()
		defer rs.mu.Unlock()
		return len(rs.known) == 0
	})
	_, _ = r, again
}
