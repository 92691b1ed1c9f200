package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pocketbase/pocketbase/core"
)

// digest is of all rows of the CRM, in order of their ids.
func digest(t *testing.T, dir string) string {
	t.Helper()
	app, err := open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = app.ResetBootstrapState() }()
	h := sha256.New()
	for _, c := range []string{"companies", "contacts", "deals"} {
		records, err := app.FindRecordsByFilter(c, "", "id", 0, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			text, err := json.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			h.Write(text)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// A change of the content is meant to come with a new seedVersion, so that
// directories filled before are filled anew. Change both here together.
func TestPrepare_ContentIsAlwaysTheSame(t *testing.T) {
	const version, want = 1, "939425e30a6a7bf53b4deb89d65278ae38f96392e80418ed499343712b18df8c"
	dir := filepath.Join(t.TempDir(), "data")
	if made, err := prepare(dir, 200); err != nil || !made {
		t.Fatalf("prepare = %v, %v", made, err)
	}
	if got := digest(t, dir); seedVersion != version || got != want {
		t.Errorf("version %d holds %s, want version %d with %s", seedVersion, got, version, want)
	}
}

func TestPrepare_KeepsWhatIsThere(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	for i, c := range []struct {
		contacts int
		made     bool
	}{{20, true}, {20, false}, {40, true}} {
		made, err := prepare(dir, c.contacts)
		if err != nil || made != c.made {
			t.Errorf("run %d with %d contacts: made = %v, %v", i+1, c.contacts, made, err)
		}
	}
}

func TestPrepare_LeavesForeignDirectoriesAlone(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "thesis.txt")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := prepare(dir, 10); err == nil || !strings.Contains(err.Error(), "not made by this program") {
		t.Errorf("err = %v", err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}

func TestSchema_RefusesWhatTheCRMForbids(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	if _, err := prepare(dir, 100); err != nil {
		t.Fatal(err)
	}
	app, err := open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = app.ResetBootstrapState() }()
	c, err := app.FindCollectionByNameOrId("contacts")
	if err != nil {
		t.Fatal(err)
	}
	good := map[string]any{"email": "new@company.example", "last_name": "New", "status": "lead"}
	for name, change := range map[string]map[string]any{
		"email":      {"email": "nobody"},
		"last_name":  {"last_name": ""},
		"status":     {"status": "friend"},
		"company":    {"company": "aaaaaaaaaaaaaaa"},
		"score":      {"score": 101},
		"phone":      {"phone": "call me"},
		"notes":      {"notes": strings.Repeat("x", 501)},
		"first_name": {"first_name": strings.Repeat("é", 61)},
		"":           {},
		"email ":     {"email": "person1@company1.example"},
	} {
		r := core.NewRecord(c)
		r.Load(good)
		r.Load(change)
		err := app.Validate(r)
		if field := strings.TrimSpace(name); field == "" && err != nil {
			t.Errorf("a good contact is refused: %v", err)
		} else if field != "" && field != "email" && (err == nil || !strings.Contains(err.Error(), field)) {
			t.Errorf("%v: err = %v, want one about %s", change, err, field)
		} else if field == "email" {
			if err := app.Save(r); err == nil || !strings.Contains(err.Error(), field) {
				t.Errorf("%v: err = %v, want one about %s", change, err, field)
			}
		}
	}
}
