package transport

import (
	"bytes"
	"io"
	"net/http"
	"testing"

	"github.com/hallwaydb/hallway/connectors"
)

// BenchmarkDo is what the client adds to a call: compare with net/http alone.
func BenchmarkDo(b *testing.B) {
	answer := bytes.Repeat([]byte("x"), 300)
	a := serve(b, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(answer) })
	payload := []byte(`{"email":"ada@example.com"}`)
	b.Run("client", func(b *testing.B) {
		env := a.env()
		env.Log = nil
		c, err := New(env, Config{API: "CRM", BaseURL: a.URL, Auth: Bearer{NewSecret("some-token")}})
		if err != nil {
			b.Fatal(err)
		}
		defer c.Close()
		var st connectors.Stats
		b.ReportAllocs()
		for b.Loop() {
			r, err := c.Do(b.Context(), &Request{Method: "POST", Path: "/x", Body: payload, Write: true, Stats: &st})
			if err != nil {
				b.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, r.Body)
			_ = r.Close()
		}
	})
	b.Run("net/http", func(b *testing.B) {
		c := &http.Client{Transport: newTransport()}
		defer c.CloseIdleConnections()
		b.ReportAllocs()
		for b.Loop() {
			r, err := c.Post(a.URL, "application/json", bytes.NewReader(payload))
			if err != nil {
				b.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, r.Body)
			_ = r.Body.Close()
		}
	})
}
