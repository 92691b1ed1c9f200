package clients

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/hallwaydb/hallway/tests/harness"
)

// report is what a client got, in its own words.
type report struct {
	Version string `json:"version"`

	// Inserted is a row with a value of every type, as RETURNING gave it.
	Inserted    map[string]any `json:"inserted"`
	Updated     updated        `json:"updated"`
	UpdatedNone *int           `json:"updated_none"`
	Deleted     deleted        `json:"deleted"`
	DeletedNone *int           `json:"deleted_none"`
	// Batch are the rows of one INSERT of many, as RETURNING gave them.
	Batch  []contact `json:"batch"`
	Copied int       `json:"copied"`
	// Quiet counts the notices heard until the first rollback.
	Quiet      *int   `json:"quiet"`
	RolledBack string `json:"rolled_back"`
	// Repeated are rows that one prepared SELECT found, each after one prepared
	// INSERT and one prepared UPDATE.
	Repeated []contact `json:"repeated"`
	// Skipped is how many of two rows ON CONFLICT DO NOTHING inserted.
	Skipped *int `json:"skipped"`
	// Upserted are a row that was there and one that was not.
	Upserted []contact `json:"upserted"`
	// Found is the key of a row that was looked for before it was made again.
	Found string `json:"found"`

	Warnings    map[string][]notice `json:"warnings"`
	Errors      map[string]failure  `json:"errors"`
	CancelledMS int                 `json:"cancelled_ms"`

	// Records and Orders are what is there in the end, as the client reads it.
	Records []contact `json:"records"`
	Orders  []string  `json:"orders"`
}

type contact struct {
	ID       string  `json:"id"`
	Email    string  `json:"email"`
	LastName string  `json:"last_name"`
	Status   string  `json:"status"`
	Score    float64 `json:"score"`
}

type updated struct {
	contact
	Count int `json:"count"`
}

type deleted struct {
	Count int `json:"count"`
	// ID is what DELETE returned, Inserted what INSERT did.
	ID       string `json:"id"`
	Inserted string `json:"inserted"`
}

type notice struct {
	Severity string `json:"severity"`
	Code     string `json:"code"`
	Message  string `json:"message"`
	Detail   string `json:"detail"`
}

// failure is an error as the client's user catches it: its class, and the
// fields of the server's error that can be reached from there.
type failure struct {
	Class   string `json:"class"`
	Code    string `json:"code"`
	Message string `json:"message"`
	Detail  string `json:"detail"`
	Hint    string `json:"hint"`
	Schema  string `json:"schema"`
	Table   string `json:"table"`
	Column  string `json:"column"`
	// Fields are those that the client itself names, beyond the server's error.
	Fields []string `json:"fields"`
}

// traits are where clients differ.
type traits struct {
	// class of errors; classes has those that differ, by the report's name.
	class   string
	classes map[string]string
	// copies says that it can COPY FROM STDIN, nests that its transactions have
	// savepoints, orm that it writes SQL by itself, finds that it can find or create, names
	// that its own error names the fields of a unique violation.
	copies, nests, orm, finds, names bool
	// cancelled is empty if a cancelled query ends with the server's 57014,
	// else how it ends.
	cancelled string
	// unreached are fields of errors that the client does not hand on, by the
	// report's name.
	unreached map[string][]string
}

func (tr traits) classOf(kind string) string {
	if c, ok := tr.classes[kind]; ok {
		return c
	}
	return tr.class
}

// judge compares the report with the scenario and with PocketBase.
func (w *world) judge(t *testing.T, r report, tr traits) {
	t.Helper()
	api := w.records(t)

	t.Run("insert returns what the API made of it", func(t *testing.T) {
		rec := find(api, w.email("types"))
		require.NotNil(t, rec, "the API has no such record")
		require.Equal(t, `O'Brien "x" \ 🦆`, rec["last_name"])
		require.Equal(t, []any{"api", "on-premises"}, rec["interests"])
		require.Equal(t, map[string]any{"a": []any{float64(1), nil, "ü"}, "b": map[string]any{"c": true}}, rec["profile"])
		require.Equal(t, "1990-02-03 00:00:00.000Z", rec["birthday"])
		require.Equal(t, "2026-01-02 03:04:05.678Z", rec["last_seen"])
		for _, k := range []string{"id", "email", "last_name", "status", "score", "balance", "subscribed", "interests", "profile", "first_name", "notes"} {
			assert.Equal(t, rec[k], r.Inserted[k], k)
		}
		for _, k := range []string{"last_seen", "created", "updated"} {
			require.Equal(t, parseTime(t, rec[k]), parseTime(t, r.Inserted[k]), k)
		}
		require.Equal(t, "1990-02-03", r.Inserted["birthday"])
		require.Nil(t, r.Inserted["phone"])
		require.Nil(t, r.Inserted["company"])
	})
	t.Run("update and delete", func(t *testing.T) {
		rec := find(api, w.email("ada"))
		require.NotNil(t, rec)
		require.Equal(t, updated{contact{ID: rec["id"].(string), LastName: "Lovelace", Score: 7}, 1},
			updated{contact{ID: r.Updated.ID, LastName: r.Updated.LastName, Score: r.Updated.Score}, r.Updated.Count})
		require.Equal(t, "Lovelace", rec["last_name"])
		require.Equal(t, float64(7), rec["score"])
		require.Equal(t, 0, value(t, r.UpdatedNone))
		require.Equal(t, 1, r.Deleted.Count)
		require.NotEmpty(t, r.Deleted.ID)
		require.Equal(t, r.Deleted.Inserted, r.Deleted.ID)
		require.Nil(t, find(api, w.email("gone")))
		require.Equal(t, 0, value(t, r.DeletedNone))
	})
	t.Run("a batch returns its ids in order", func(t *testing.T) {
		require.Len(t, r.Batch, 25)
		for i, row := range r.Batch {
			rec := find(api, w.email(fmt.Sprintf("batch%02d", i)))
			require.NotNil(t, rec)
			require.Equal(t, rec["email"], row.Email)
			require.Equal(t, rec["id"], row.ID)
			require.Equal(t, float64(i), rec["score"])
		}
	})
	t.Run("copy", func(t *testing.T) {
		want := 0
		if tr.copies {
			want = 12
		}
		require.Equal(t, want, r.Copied)
		require.Len(t, named(api, "copy"), want)
	})
	t.Run("commit and rollback", func(t *testing.T) {
		require.Equal(t, 0, value(t, r.Quiet), "notices without a rollback")
		rec := find(api, w.email("commit"))
		require.NotNil(t, rec)
		require.Equal(t, float64(5), rec["score"])
		// What the API took, it keeps, and the client is told so.
		rec = find(api, w.email("rollback"))
		require.NotNil(t, rec)
		require.Equal(t, rec["id"], r.RolledBack)
		require.Equal(t, 1, standing(t, r.Warnings["rollback"]))
		rec = find(api, w.email("savepoint"))
		require.Equal(t, tr.nests, rec != nil)
		if tr.nests {
			require.Equal(t, 1, standing(t, r.Warnings["savepoint"]))
		}
		// The local rows went with their transactions.
		require.Equal(t, []string{w.email("commit")}, r.Orders)
		require.Equal(t, []harness.Row{{w.email("commit")}}, w.admin.On(t).Query("SELECT contact FROM orders"))
	})
	t.Run("prepared statements again and again", func(t *testing.T) {
		require.Len(t, r.Repeated, 8)
		for i, row := range r.Repeated {
			rec := find(api, w.email(fmt.Sprintf("repeat%02d", i)))
			require.NotNil(t, rec)
			require.Equal(t, rec["email"], row.Email)
			require.Equal(t, float64(10+i), rec["score"])
			require.Equal(t, float64(10+i), row.Score)
		}
	})
	t.Run("refusals of the API are errors of the client", func(t *testing.T) {
		for kind, want := range map[string]failure{
			"check":      {Code: "23514", Column: "email", Message: "Must be a valid email address", Detail: "answered 400, code validation_is_email"},
			"unique":     {Code: "23505", Column: "email", Message: "Value must be unique", Detail: "Key (email)=(" + w.email("types") + ") already exists."},
			"notNull":    {Code: "23502", Column: "last_name", Message: "Cannot be blank", Detail: "answered 400, code validation_required"},
			"foreignKey": {Code: "23503", Column: "company", Message: "Failed to find all relation records", Detail: "Key (company)=(nosuchcompany00) is not present in the API."},
			"readOnly":   {Code: "428C9", Column: "created", Message: `column "created" of foreign table "contacts" cannot be written`, Detail: "The API sets it itself.", Hint: "Leave it out."},
		} {
			have, ok := r.Errors[kind]
			require.True(t, ok, kind)
			text := fmt.Sprintf("%s: %+v", kind, have)
			assert.Equal(t, tr.classOf(kind), have.Class, text)
			for _, f := range []struct{ name, want, have string }{
				{"code", want.Code, have.Code}, {"column", want.Column, have.Column}, {"message", want.Message, have.Message},
				{"detail", want.Detail, have.Detail}, {"hint", want.Hint, have.Hint},
				{"table", "contacts", have.Table}, {"schema", "crm", have.Schema},
			} {
				switch {
				case slices.Contains(tr.unreached[kind], f.name):
					assert.Empty(t, f.have, "%s can be reached after all: %s", f.name, text)
				default:
					assert.Contains(t, f.have, f.want, text)
				}
			}
			require.Nil(t, find(api, w.email(strings.ToLower(kind))))
		}
		if tr.names {
			require.Equal(t, []string{"email"}, r.Errors["unique"].Fields)
		}
	})
	t.Run("a refusal ends the transaction", func(t *testing.T) {
		require.Equal(t, "23514", r.Errors["inTransaction"].Code, "%+v", r.Errors["inTransaction"])
		require.Equal(t, "25P02", r.Errors["afterwards"].Code, "%+v", r.Errors["afterwards"])
		require.Empty(t, r.Warnings["failed"], "nothing had been written")
	})
	t.Run("of a batch that is refused the API has what the warning says", func(t *testing.T) {
		require.Equal(t, "23514", r.Errors["partial"].Code, "%+v", r.Errors["partial"])
		stands := 0
		if len(r.Warnings["partial"]) > 0 {
			stands = standing(t, r.Warnings["partial"])
		}
		require.Len(t, named(api, "partial"), stands)
	})
	t.Run("upsert_key", func(t *testing.T) {
		require.Len(t, named(api, "upsert"), 2)
		require.Len(t, r.Upserted, 2)
		for i, row := range r.Upserted {
			rec := find(api, w.email(fmt.Sprintf("upsert%02d", i)))
			require.NotNil(t, rec)
			require.Equal(t, rec["email"], row.Email)
			require.Equal(t, rec["id"], row.ID)
			require.Equal(t, float64(2), rec["score"])
		}
	})
	t.Run("on conflict", func(t *testing.T) {
		if !tr.orm {
			return
		}
		require.Equal(t, 1, value(t, r.Skipped))
		require.NotNil(t, find(api, w.email("fresh")))
		if tr.finds {
			require.Equal(t, find(api, w.email("types"))["id"], r.Found)
		}
		// What an ORM calls an upsert names the unique columns: docs/clients.md.
		have := r.Errors["upsert"]
		require.Contains(t, have.Message, "there is no unique or exclusion constraint matching the ON CONFLICT specification", "%+v", have)
	})
	t.Run("cancel", func(t *testing.T) {
		have := r.Errors["cancelled"]
		if tr.cancelled == "" {
			require.Equal(t, "57014", have.Code, "%+v", have)
		} else {
			require.Equal(t, tr.cancelled, have.Class, "%+v", have)
		}
		require.Less(t, r.CancelledMS, 60_000, "the API would have kept it for ever")
		require.Positive(t, w.slow.asked.Load(), "the API was never asked")
		require.Eventually(t, func() bool { return w.slow.held.Load() == 0 }, 30*time.Second, 10*time.Millisecond,
			"the request goes on in the API")
	})
	t.Run("what the client reads is what the API holds", func(t *testing.T) {
		var have, want []string
		for _, c := range r.Records {
			have = append(have, fmt.Sprintf("%s %s %s %s %g", c.ID, c.Email, c.LastName, c.Status, c.Score))
		}
		for _, c := range api {
			want = append(want, fmt.Sprintf("%v %v %v %v %v", c["id"], c["email"], c["last_name"], c["status"], c["score"]))
		}
		require.Equal(t, want, have)
		require.Len(t, api, 25+r.Copied+8+len(named(api, "partial"))+len(named(api, "savepoint"))+len(named(api, "fresh"))+len(named(api, "upsert"))+
			len([]string{"types", "ada", "commit", "rollback"}))
	})
}

var stands = regexp.MustCompile(`^(\d+) rows? written through Hallway stands? in the API although the (?:sub)?transaction was rolled back$`)

// standing is how many rows the one WARNING says to stand in the API.
func standing(t *testing.T, heard []notice) int {
	t.Helper()
	require.Len(t, heard, 1, "one warning: %+v", heard)
	require.Equal(t, "WARNING", heard[0].Severity)
	m := stands.FindStringSubmatch(heard[0].Message)
	require.NotNil(t, m, heard[0].Message)
	require.Contains(t, heard[0].Detail, "contacts: "+m[1]+" inserted")
	n, err := strconv.Atoi(m[1])
	require.NoError(t, err)
	return n
}

// parseTime reads a time as the API or a client writes it.
func parseTime(t *testing.T, v any) time.Time {
	t.Helper()
	s, ok := v.(string)
	require.True(t, ok, "not a text: %v", v)
	out, err := time.Parse(time.RFC3339, strings.Replace(s, " ", "T", 1))
	require.NoError(t, err)
	return out.UTC()
}

func value(t *testing.T, n *int) int {
	t.Helper()
	require.NotNil(t, n, "the report does not say it")
	return *n
}

// asJSON is a value as it looks after a trip through JSON, for reports made in Go.
func asJSON(t *testing.T, v any) map[string]any {
	t.Helper()
	b, err := json.Marshal(v)
	require.NoError(t, err)
	return decode(t, b)
}

func decode(t *testing.T, b []byte) (out map[string]any) {
	t.Helper()
	require.NoError(t, json.Unmarshal(b, &out))
	return out
}
