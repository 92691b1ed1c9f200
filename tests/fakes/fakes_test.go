package fakes_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/fakes"
)

func start(t *testing.T) *fakes.Server {
	t.Helper()
	s, err := fakes.Start()
	require.NoError(t, err)
	t.Cleanup(s.Close)
	return s
}

func get(t *testing.T, url string) (int, []byte, error) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, b, err
}

type page struct {
	Results []map[string]any
	Paging  struct{ Next struct{ After string } }
}

func TestServer_PagesCoverEveryObjectOnce(t *testing.T) {
	s := start(t)
	ids, after := map[any]bool{}, ""
	for {
		_, b, err := get(t, s.URL+"/ok/contacts?after="+after)
		require.NoError(t, err)
		var p page
		require.NoError(t, json.Unmarshal(b, &p))
		for _, o := range p.Results {
			require.False(t, ids[o["id"]], "%v came twice", o["id"])
			ids[o["id"]] = true
		}
		if after = p.Paging.Next.After; after == "" {
			break
		}
	}
	require.Len(t, ids, 250)
}

func TestServer_LiarIgnoresFilters(t *testing.T) {
	s := start(t)
	count := func(mode string) int {
		_, b, err := get(t, s.URL+"/"+mode+"/contacts?email=contact7@example.com")
		require.NoError(t, err)
		var p page
		require.NoError(t, json.Unmarshal(b, &p))
		return len(p.Results)
	}
	require.Equal(t, 1, count("ok"))
	require.Equal(t, fakes.PageSize, count("liar"))
}

func TestServer_CutClosesInTheMiddle(t *testing.T) {
	s := start(t)
	_, b, err := get(t, s.URL+"/cut/contacts")
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.NotEmpty(t, b)
}

func TestServer_SeesClientsGoAway(t *testing.T) {
	s := start(t)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/hang/contacts", nil)
	require.NoError(t, err)
	_, err = http.DefaultClient.Do(req)
	require.Error(t, err)
	require.Eventually(t, func() bool { return s.Cancelled() == 1 && s.InFlight() == 0 }, 30*time.Second, time.Millisecond)
}

func TestServer_BenchPagesAreWhole(t *testing.T) {
	s := start(t)
	rows, after := 0, "0"
	for after != "" {
		status, b, err := get(t, fmt.Sprintf("%s/bench/1000/contacts?after=%s", s.URL, after))
		require.NoError(t, err)
		require.Equal(t, 200, status)
		var p page
		require.NoError(t, json.Unmarshal(b, &p))
		rows += len(p.Results)
		require.Len(t, p.Results[0], 13)
		after = p.Paging.Next.After
	}
	require.Equal(t, 1000, rows)
}
