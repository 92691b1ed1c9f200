package vendors

import (
	"fmt"
	"net/url"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/fakes/airtable"
	"github.com/hallwaydb/hallway/tests/harness"
)

func TestAirtable(t *testing.T) {
	t.Parallel()
	s := airtable.New(airtable.Options{})
	defer s.Close()
	crm := airtable.AddCRM(s)
	rows := make([]map[string]any, 250)
	for i := range rows {
		rows[i] = map[string]any{"Name": fmt.Sprintf("Person %03d", i), "Amount": float64(i), "Status": []string{"Lead", "Customer"}[i%2]}
	}
	_, err := s.Seed(crm.Contacts, rows...)
	require.NoError(t, err)
	harness.Judge(t, "airtable.js", s.URL, harness.Controls{
		"calls": func(args url.Values) any { return s.Calls(args.Get("kind")) },
		"forget": func(url.Values) any {
			s.Forget()
			return nil
		},
		"methods": func(url.Values) any {
			var out []string
			for _, r := range s.Requests() {
				out = append(out, fmt.Sprintf("%s %s %d", r.Method, r.Path, r.Status))
			}
			return out
		},
		"limit": func(args url.Values) any {
			n, err := strconv.Atoi(args.Get("per_second"))
			if err != nil {
				return err.Error()
			}
			s.SetOptions(airtable.Options{PerSecond: n, Lockout: 300 * time.Millisecond})
			return nil
		},
		"expire": func(url.Values) any {
			s.ExpireCursors()
			return nil
		},
		"fail": func(args url.Values) any {
			status, err := strconv.Atoi(args.Get("status"))
			if err != nil {
				return err.Error()
			}
			s.FailNext("", status, args.Get("body"))
			return nil
		},
	})
}
