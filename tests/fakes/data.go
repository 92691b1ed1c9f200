// The fake CRM's records, and the pages of the benchmark.

package fakes

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// contacts gives n records with what a CRM has in it: missing fields, null,
// empty strings, twins in case and accent, other scripts.
func contacts(n int) []map[string]any {
	rng := rand.New(rand.NewPCG(1, 2))
	names := []any{"Ann", "ann", "ANN", "Änn", "Zoë", "Zoe", "", nil, "O'Brien", `a"b\c`, "50%", "x_y", "Ωμέγα", "名前", "🦆 duck"}
	stages := []any{"new", "open", "won", "lost", "New", nil}
	out := make([]map[string]any, n)
	for i := range out {
		o := map[string]any{
			"id":      fmt.Sprintf("c%05d", i+1),
			"email":   fmt.Sprintf("contact%d@example.com", i+1),
			"name":    names[rng.IntN(len(names))],
			"stage":   stages[rng.IntN(len(stages))],
			"amount":  float64(rng.IntN(2_000_00)) / 100,
			"active":  rng.IntN(2) == 0,
			"created": time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(rng.IntN(1_000_000)) * time.Minute).Format(time.RFC3339),
		}
		if rng.IntN(10) == 0 {
			delete(o, "amount")
		}
		out[i] = o
	}
	return out
}

// benchPage is a page of 100 CRM objects of 13 fields, as an API would encode
// it, with the cursor still to be put in by BenchBody.
func benchPage(seed uint64) []byte {
	rng := rand.New(rand.NewPCG(seed, 7))
	results := make([]map[string]any, PageSize)
	for i := range results {
		n := rng.IntN(1_000_000)
		results[i] = map[string]any{
			"id": fmt.Sprintf("%015d", rng.Uint64()%1e15), "email": fmt.Sprintf("user%d@example.com", n),
			"first_name": fmt.Sprintf("First%d", n%977), "last_name": fmt.Sprintf("Last-%d O'Neil", n%1009),
			"phone": fmt.Sprintf("+49 30 %07d", n), "company": fmt.Sprintf("Company %d GmbH & Co", n%5000),
			"stage": []string{"new", "open", "won", "lost"}[n%4], "amount": float64(n) / 100, "score": n % 100,
			"active": n%2 == 0, "created": "2025-03-04T05:06:07.123Z", "updated": "2026-01-02T03:04:05.678Z",
			"notes": strings.Repeat("Called twice, will \"decide\" soon. ", 1+n%4),
		}
	}
	b, err := json.Marshal(results)
	if err != nil {
		panic(err) // of constant data
	}
	return b
}

// BenchBodies are the results arrays that mode "bench" serves in turn, so that
// a benchmark can decode the same pages itself.
func (s *Server) BenchBodies() [][]byte {
	s.benchOnce.Do(func() {
		for i := range 16 {
			s.benchPages = append(s.benchPages, benchPage(uint64(i)))
		}
	})
	return s.benchPages
}

// BenchBody is the page number n (from 0) of a scan over rows rows, whole.
func (s *Server) BenchBody(n, rows int) []byte {
	bodies := s.BenchBodies()
	body := append(make([]byte, 0, 1<<16), `{"results":`...)
	body = append(body, bodies[n%len(bodies)]...)
	if (n+1)*PageSize < rows {
		body = append(body, `,"paging":{"next":{"after":"`...)
		body = strconv.AppendInt(body, int64(n+1), 10)
		body = append(body, `"}}`...)
	}
	return append(body, '}')
}

func (s *Server) bench(w http.ResponseWriter, r *http.Request, parts []string) {
	rows, err := strconv.Atoi(parts[1])
	if err != nil || len(parts) < 3 {
		writeError(w, 404, "want /bench/{rows}/{object}")
		return
	}
	if r.Method == http.MethodPost {
		writeJSON(w, 201, map[string]any{"id": "x1", "email": "x1@example.com"})
		return
	}
	n, _ := strconv.Atoi(r.URL.Query().Get("after"))
	body := s.BenchBody(n, rows)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body)
}
