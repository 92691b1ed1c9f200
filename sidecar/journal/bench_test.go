package journal_test

import (
	"slices"
	"testing"
	"time"
)

// BenchmarkWrite compares one row written with the journal, one without, and a
// local commit that waits for the disk: commits/write is what the journal adds,
// in local commits.
func BenchmarkWrite(b *testing.B) {
	w := newWorld(b)
	c := w.db.Connect(b)
	w.table(c, "plain", ", journal 'false'")
	c.Exec("CREATE TABLE here (email text)")
	statements := []string{"INSERT INTO here (email) VALUES ('x')", "INSERT INTO plain (name) VALUES ('x')", "INSERT INTO items (name) VALUES ('x')"}
	for range 50 {
		for _, sql := range statements {
			c.Exec("%s", sql)
		}
	}
	times := make([][]time.Duration, len(statements))
	for b.Loop() {
		for i, sql := range statements {
			began := time.Now()
			c.Exec("%s", sql)
			times[i] = append(times[i], time.Since(began))
		}
	}
	var median [3]float64
	for i, list := range times {
		slices.Sort(list)
		median[i] = list[len(list)/2].Seconds() * 1000
	}
	b.ReportMetric(median[0], "ms/local-commit")
	b.ReportMetric(median[1], "ms/write-unjournaled")
	b.ReportMetric(median[2], "ms/write-journaled")
	b.ReportMetric((median[2]-median[1])/median[0], "commits/write")
}

// BenchmarkBulk writes 10,000 rows a statement, 100 a request, with the journal
// and without.
func BenchmarkBulk(b *testing.B) {
	w := newWorld(b)
	c := w.db.Connect(b)
	w.table(c, "plain", ", journal 'false', batch_rows '100'")
	c.Exec("ALTER FOREIGN TABLE items OPTIONS (batch_rows '100')")
	for _, table := range []string{"plain", "items"} {
		b.Run(map[string]string{"plain": "unjournaled", "items": "journaled"}[table], func(b *testing.B) {
			c := c.On(b)
			for b.Loop() {
				c.Exec("INSERT INTO %s (name, n) SELECT 'x' || i, i FROM generate_series(1, 10000) i", table)
			}
			b.ReportMetric(float64(10000*b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
